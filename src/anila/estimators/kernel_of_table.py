"""The kernel energy of a table in the table's own units.

Equal rows are one centre with a count; of large tables, only some rows are centres (`anila.density.kernel_rows`). A
training row is scored by the others: one copy of it is left out of its own f. So the scores of training rows are
leave-one-out scores, in any order and for any part of the table.

A DataFrame that holds more than numbers is encoded like files (`anila.data.column`): a coordinate for each text value
or category, numbers for booleans and dates. Columns from which nothing can be learned are left out, with a warning.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Float64
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from anila.data import Encoding
from anila.data.dependent import independent, require_varying
from anila.data.usable import filled_rows
from anila.density.kernel_energy import KernelEnergy, Own, leave_one_out_bandwidth
from anila.density.kernel_rows import centres_of, densest
from anila.estimators.frames import holds_more, rows_of
from anila.rng import rng

CALIBRATION = 10_000
"""Largest number of training rows whose scores set a threshold."""

EXTREME = 1e4
"""Scales beyond which a cell is never drawn: 1e300, ±∞."""


Given = Float64[np.ndarray, "given d"] | pa.Table
"""Rows of numbers, or of a frame that holds more than numbers."""


@dataclass(frozen=True)
class KernelOfTable:
    """A table's encoding and kernel.

    Args:
        encoding: Encoding of the columns.
        kernel: The kernel energy in their scales.
        place: Bytes of a row -> index of the centre that equals it.
    """

    encoding: Encoding
    kernel: KernelEnergy
    place: dict[bytes, int]

    @property
    def first_coordinates(self) -> list[int]:
        """The first coordinate of each column."""
        return [at.start for at in self.encoding.slices.values()]

    def inward(self, x: Given) -> tuple[Float[torch.Tensor, "rows k"], Own]:
        """The rows as points, and the centre that equals each row."""
        z = self.encoding.encode(as_table(x))
        found = torch.tensor([self.place.get(row.tobytes(), -1) for row in z])
        return torch.from_numpy(z), Own(found.clamp(min=0), (found >= 0).double())

    def outward(self, z: Float[torch.Tensor, "*n k"]) -> Float64[np.ndarray, "*n d"]:
        """Points of numbers, in the units of the table, with the columns that follow from others."""
        v = self.encoding.mean + self.encoding.scale * z.numpy()
        own = {name: v[..., at.start] for name, at in self.encoding.slices.items() if at.start < at.stop}
        return np.stack([own[c.name] if c.mean else c.following(own, v.shape[:-1]) for c in self.encoding.columns], -1)

    def log_prob(self, x: Given) -> Float64[np.ndarray, "rows"]:
        """log p of the observed cells: a density of numbers in their units, a probability of categories."""
        z, own = self.inward(x)
        volume = self.encoding.log_volume(self.kernel.bandwidth)
        return self.kernel.log_prob(z, own).numpy() - np.where(z.isnan().numpy(), 0, volume).sum(1)


def training_rows(estimator: BaseEstimator, X: Any) -> Given:
    """X as rows, after the estimator has stored its columns. NaN and infinite cells are allowed, empty rows are not.

    Raises:
        ValueError: If X is not a table, or has fewer than 2 rows with a cell.
    """
    if holds_more(X):
        validate_data(estimator, X, skip_check_array=True)
        table = rows_of(X)
        rows = table.filter(pa.array(filled_rows(table)))
    else:
        x = np.asarray(validate_data(estimator, X, dtype=np.float64, ensure_all_finite=False, ensure_min_samples=2))
        rows = x[~np.isnan(x).all(1)]
    if len(rows) < 2:
        raise ValueError(f"expected at least 2 rows with a cell, got {len(rows)} among {len(X)}")
    return rows


def new_rows(estimator: Any, X: Any) -> Given:
    """X as rows of the columns to which the estimator was fitted.

    Raises:
        ValueError: If the columns, or their types, are others.
    """
    check_is_fitted(estimator)
    if estimator.frame_ is not None and hasattr(X, "columns"):
        validate_data(estimator, X, skip_check_array=True, reset=False)
        return rows_of(X, estimator.table_.encoding.names)
    x = np.asarray(validate_data(estimator, X, dtype=np.float64, ensure_all_finite=False, reset=False))
    if estimator.frame_ is not None:
        raise ValueError(
            f"expected a DataFrame of {', '.join(estimator.table_.encoding.names)}, as in fit; got an array"
        )
    return x


def as_table(x: Given) -> pa.Table:
    return x if isinstance(x, pa.Table) else pa.table({str(j): np.ascontiguousarray(c) for j, c in enumerate(x.T)})


def kernel_of_table(
    x: Given, bandwidth: float | None, seed: int, trimmed: float = 0.0, dependent: bool = True
) -> tuple[KernelOfTable, Float[torch.Tensor, "rows k"], Own]:
    """The kernel energy of a table, with the rows that calibrate it, at most `CALIBRATION`.

    For a calibrating row that is a centre, one more copy is left out than for others: the row itself, and the copy that
    would be left out if it were new.

    Args:
        x: Rows.
        bandwidth: h in standard deviations; None for the likeliest by leave-one-out.
        seed: Chooses the rows if not all are used.
        trimmed: Share of the rows, the sparsest, that are not used as centres.
        dependent: Whether constants, copies and totals of other columns have coordinates: a row that breaks one is odd.

    Raises:
        ValueError: If no column has a coordinate.
    """
    order = torch.randperm(len(x), generator=rng(seed, "rows")).numpy()
    chosen, limit = np.sort(order[: centres_of(len(x))]), min(len(x), CALIBRATION)
    rows = as_table(x)
    encoding = Encoding.of(rows, robust=True)
    if not dependent:
        encoding = independent(encoding, rows)
        require_varying(encoding, "X")
    centres = encoding.encode(rows.take(chosen))
    place, first, counts = distinct(centres[densest(torch.from_numpy(centres), trimmed)])
    h = likeliest(encoding, first, counts, rng(seed, "bandwidth")) if bandwidth is None else bandwidth
    table = KernelOfTable(encoding, KernelEnergy(first, h, counts), place)
    z, own = table.inward(rows.take(order[:limit]))
    itself = (torch.arange(limit) < len(chosen)) & (own.copies > 0)
    copies = torch.minimum(own.copies + itself, counts[own.centre]).clamp(max=counts.sum() - 1)
    return table, z, Own(own.centre, copies)


def likeliest(
    encoding: Encoding,
    centres: Float[torch.Tensor, "m d"],
    counts: Float[torch.Tensor, "m"],
    generator: torch.Generator,
) -> float:
    """The bandwidth with the largest leave-one-out likelihood of rows, not of points."""
    return leave_one_out_bandwidth(centres, generator, counts, lambda h: -float(encoding.log_volume(h).sum()))


def distinct(z: Float64[np.ndarray, "n d"]) -> tuple[dict[bytes, int], torch.Tensor, torch.Tensor]:
    """The place of each distinct row, the distinct rows (m, d), and how often each occurs (m,)."""
    place: dict[bytes, int] = {}
    index = np.array([place.setdefault(row.tobytes(), len(place)) for row in z])
    first = np.unique(index, return_index=True)[1]
    return place, torch.from_numpy(z[first]), torch.from_numpy(np.bincount(index).astype(np.float64))


def without_extremes(table: KernelOfTable) -> KernelOfTable:
    """The table's kernel with cells that are too far out for any scale set to missing: no draw comes near them."""
    kernel = table.kernel
    centres = kernel.centres.masked_fill(kernel.centres.abs() > EXTREME, torch.nan)
    return replace(table, kernel=KernelEnergy(centres, kernel.bandwidth, kernel.counts))

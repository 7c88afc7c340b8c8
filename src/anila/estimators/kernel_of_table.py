"""The kernel energy of a table in people's units.

Centres are all rows as long as rows² ≤ 10⁹ (31,622 rows); of more rows 10⁹/rows are drawn at random, at least 5,000.
Equal rows are one centre that counts as often.

A row that was trained on is judged by the others: one copy of it does not count in its own f. So the scores of the
training table are leave-one-out scores, in any order and any part of it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from anila.density.kernel_energy import KernelEnergy, Own, leave_one_out_bandwidth
from anila.estimators.scaling import Scaling
from anila.rng import rng

PAIRS, FEWEST = 10**9, 5_000
"""Rows times centres of a large table; its centres at least."""

CALIBRATION = 10_000
"""Training rows at most whose scores a threshold comes from."""


@dataclass(frozen=True)
class KernelOfTable:
    """A table's scaling and kernel.

    Args:
        scaling: Of the columns.
        kernel: In standard deviations.
        place: Which centre a row is, by its bytes.
    """

    scaling: Scaling
    kernel: KernelEnergy
    place: dict[bytes, int]

    def inward(self, x: Float64[np.ndarray, "rows d"]) -> tuple[Float[torch.Tensor, "rows d"], Own]:
        """The rows in standard deviations, and which centre is each row itself."""
        z = self.scaling.inward(x)
        found = torch.tensor([self.place.get(row.tobytes(), -1) for row in z])
        return torch.from_numpy(z), Own(found.clamp(min=0), (found >= 0).double())


def training_rows(estimator: BaseEstimator, X: Any) -> Float64[np.ndarray, "n d"]:
    """X as numbers, its columns remembered by the estimator; NaN and infinite cells are let through."""
    return np.asarray(validate_data(estimator, X, dtype=np.float64, ensure_all_finite=False, ensure_min_samples=2))


def new_rows(estimator: BaseEstimator, X: Any) -> Float64[np.ndarray, "rows d"]:
    """X as numbers, of the columns that the estimator was fitted to."""
    check_is_fitted(estimator)
    return np.asarray(validate_data(estimator, X, dtype=np.float64, ensure_all_finite=False, reset=False))


def centres_of(n: int) -> int:
    """How many of n rows are centres."""
    return min(n, max(FEWEST, PAIRS // n))


def kernel_of_table(
    x: Float64[np.ndarray, "n d"], bandwidth: float | None, seed: int
) -> tuple[KernelOfTable, Float[torch.Tensor, "rows d"], Own]:
    """The kernel energy of a table, with the rows that calibrate it, at most `CALIBRATION`.

    Of a calibrating row that is a centre one copy more is left out than of others: itself, and what it would not
    count if it were new.

    Args:
        x: Rows, (n, d).
        bandwidth: h in standard deviations; None for the likeliest by leave-one-out.
        seed: Chooses the rows where not all are taken.
    """
    order = torch.randperm(len(x), generator=rng(seed, "rows")).numpy()
    chosen, limit = np.sort(order[: centres_of(len(x))]), min(len(x), CALIBRATION)
    scaling = Scaling.of(x)
    place, first, counts = distinct(scaling.inward(x[chosen]))
    generator = rng(seed, "bandwidth")
    h = leave_one_out_bandwidth(first, generator, counts) if bandwidth is None else bandwidth
    table = KernelOfTable(scaling, KernelEnergy(first, h, counts), place)
    z, own = table.inward(x[order[:limit]])
    itself = torch.arange(limit) < len(chosen)
    copies = torch.minimum(own.copies + itself, counts[own.centre]).clamp(max=len(chosen) - 1)
    return table, z, Own(own.centre, copies)


def distinct(z: Float64[np.ndarray, "n d"]) -> tuple[dict[bytes, int], torch.Tensor, torch.Tensor]:
    """The place of each distinct row, the distinct rows (m, d), and how often each is there (m,)."""
    place: dict[bytes, int] = {}
    index = np.array([place.setdefault(row.tobytes(), len(place)) for row in z])
    first = np.unique(index, return_index=True)[1]
    return place, torch.from_numpy(z[first]), torch.from_numpy(np.bincount(index).astype(np.float64))

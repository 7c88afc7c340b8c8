"""The encoding of table rows as points, and back."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from anila.data.column import Column
from anila.data.foreign import printable
from anila.data.scale import bounded, mean_and_sd
from anila.data.style import Style, style_of, styled
from anila.messages import did_you_mean, listed

SMALLEST = 1e-150
"""Standard deviation below which squares vanish in float64, and above whose inverse they overflow."""
TOLERANCE = 1e-6
"""Largest error of a column that follows from others, as a share of its scale."""


class Encoding(NamedTuple):
    """The columns of a table, in order: `encode` and `decode` map its rows to points and back.

    It is plain data: `json.dumps` writes it as it is, and pydantic's `TypeAdapter(Encoding)` reads it back.

    >>> rows = pa.table({"age": [31, 54, None], "smokes": ["no", "yes", "no"]})
    >>> encoding = Encoding.of(rows)
    >>> encoding.coordinates, encoding.encode(rows).shape
    (('age', 'smokes=no', 'smokes=yes'), (3, 3))
    >>> encoding.decode(encoding.encode(rows)).to_pylist()[1:]
    [{'age': 54, 'smokes': 'yes'}, {'age': None, 'smokes': 'no'}]
    """

    columns: tuple[Column, ...]
    style: Style = Style()
    """How the table was written, so that rows are written alike."""

    @classmethod
    def of(cls, rows: pa.Table, robust: bool = False) -> "Encoding":
        """The encoding fitted to these rows; every column gets coordinates.

        Args:
            rows: Columns of numbers, booleans, dates, text or categories; null or NaN where a cell is missing.
            robust: Whether mean and scale ignore cells that are far out, as in `mean_and_sd`.

        Raises:
            ValueError: If a column is of another kind.
        """
        plain = cls(tuple(Column.of(name, rows.column(name)) for name in rows.column_names))
        mean, sd = means_and_sds(bounded(plain.raw(rows)), robust)
        return cls(
            tuple(c.scaled(mean[at], sd[at]) for c, at in zip(plain.columns, plain.slices.values(), strict=True)),
            style_of(rows)._replace(encoding=""),
        )

    @property
    def slices(self) -> dict[str, slice]:
        """Column -> slice of its coordinates."""
        ends = np.cumsum([len(column.mean) for column in self.columns]).tolist()
        return {c.name: slice(end - len(c.mean), end) for c, end in zip(self.columns, ends, strict=True)}

    @property
    def cells(self) -> Int[Tensor, "d"]:
        """Number of the column to which each coordinate belongs."""
        return torch.tensor([k for k, column in enumerate(self.columns) for _ in column.mean])

    def by_column(self, share: Float[Tensor, "rows d"]) -> Float[Tensor, "rows columns"]:
        """Sums over the coordinates of each column."""
        return share.new_zeros(len(share), len(self.columns)).index_add_(1, self.cells.to(share.device), share)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(column.name for column in self.columns)

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Names of the coordinates: that of the column, or `column=category` for a category."""
        return tuple(name for column in self.columns for name in column.coordinates)

    @property
    def mean(self) -> Float64[np.ndarray, "d"]:
        """Mean of each coordinate."""
        return np.array([mean for column in self.columns for mean in column.mean])

    @property
    def scale(self) -> Float64[np.ndarray, "d"]:
        """Scale of each coordinate."""
        return np.array([column.scale for column in self.columns for _ in column.mean])

    def log_volume(self, h: float) -> Float64[np.ndarray, "d"]:
        """log p of points minus log p of rows, with p made of bumps of deviation h; a share for each coordinate.

        Numbers have units, which gives log scale. Categories have probabilities, not densities. On the corners of K
        seen categories and one never seen, the bump is λ^[v ≠ v_i], λ = exp(−1/(h s)²), and its sum 1 + K λ replaces
        (2π h²)^(K/2).
        """
        return np.array([c.log_volume(h) for c in self.columns for _ in c.mean])

    def raw(self, rows: pa.Table) -> Float64[np.ndarray, "n d"]:
        """The coordinates before standardisation."""
        return np.ascontiguousarray(np.concatenate([c.raw(rows.column(c.name)) for c in self.columns], 1))

    def encode(self, rows: pa.Table, absent: bool = False) -> Float64[np.ndarray, "n d"]:
        """Rows as points, NaN where a cell is missing; cells beyond 10¹⁸ scales, and ±∞, count as that far.

        A missing number is worked out where a copy or a total of it, and all else in that total, is there.

        Args:
            rows: A table with at least these columns, in any order; those without coordinates may be absent.
            absent: Whether other columns may be absent; their cells then count as missing.

        Raises:
            ValueError: If a required column is absent, all are, or one is of another kind.
        """
        wanted = [column.name for column in self.columns if column.mean]
        lacking = [name for name in wanted if name not in rows.column_names]
        telling = [column.name for column in self.columns if column.mean or column.terms]
        silent = not set(telling) & set(rows.column_names)
        if lacking and (not absent or silent):
            there = rows.column_names
            near = did_you_mean(lacking[0], [name for name in there if name not in self.names])
            lacks, columns = f"no column {listed([repr(name) for name in lacking])}; the model's are", self.names
            near = near or f"; add {'it' if len(lacking) == 1 else 'them'}, with empty cells where they are unknown"
            if silent and there:
                lacks, columns = "none of the model's columns, which are", telling
                near = did_you_mean(there[0], telling)
            raise ValueError(
                printable(f"the table has {lacks} {listed(columns)}; the table's are {listed(there)}{near}")
            )
        x = np.concatenate([column.encode(cells_of(rows, column.name)) for column in self.columns], 1)
        totals = [c for c in self.columns if c.terms and c.name in rows.column_names]
        return self.solved(x, [(total, total.values(rows.column(total.name))) for total in totals])

    def solved(
        self, x: Float64[np.ndarray, "n d"], totals: list[tuple[Column, Float64[np.ndarray, "n"]]]
    ) -> Float64[np.ndarray, "n d"]:
        """Points with the only missing part of a total worked out: v_i = (total − constant − Σ a_j v_j)/a_i, j ≠ i."""
        found = x
        for total, values in totals:
            at = [self.slices[name].start for name, _ in total.terms]
            factors, holes = np.array([factor for _, factor in total.terms]), np.isnan(found[:, at])
            alone = holes & (holes.sum(1, keepdims=True) == 1) & np.isfinite(values)[:, None]
            if alone.any():
                others = np.nansum(factors * (self.mean[at] + self.scale[at] * found[:, at]), 1)
                parts = (values - total.constant - others)[:, None] / factors
                found = found.copy()
                found[:, at] = np.where(alone, (parts - self.mean[at]) / self.scale[at], found[:, at])
        return found if found is x else self.solved(found, totals)

    def decode(self, x: Float[np.ndarray, "n d"] | Float[Tensor, "n d"]) -> pa.Table:
        """Points as rows: all columns, in their kinds and in the style of the table, null where a coordinate is NaN."""
        points = x.double().numpy(force=True) if isinstance(x, Tensor) else np.asarray(x, np.float64)
        own = {c.name: c.decode(points[:, self.slices[c.name]]) for c in self.columns if c.mean}
        following = {c.name: self.worked_out(c, own, len(points)) for c in self.columns if not c.mean}
        return styled(pa.table({name: (own | following)[name] for name in self.names}), self.style)

    def worked_out(self, column: Column, own: dict[str, pa.Array], n: int) -> pa.Array:
        """The cells of a column without coordinates: constant + Σ factor · other."""
        if column.kind == "category":
            return pa.array([column.categories[0]] * n)
        kinds = {other.name: other for other in self.columns}
        others = {name: kinds[name].values(pa.chunked_array([own[name]])) for name, _ in column.terms}
        return column.on_grid(column.following(others, (n,)))

    def broken(self, rows: pa.Table) -> dict[str, Bool[np.ndarray, "n"]]:
        """Which rows break a rule that held for every row seen, by column.

        A constant has another value, or a column differs from what it should follow from.

        Args:
            rows: As in `encode`; absent columns break nothing.
        """
        there = {column.name: cells_of(rows, column.name) for column in self.columns}
        found = {c.name: self.breaks(c, there) for c in self.columns if not c.mean}
        return {name: at for name, at in found.items() if at.any()}

    def breaks(self, column: Column, there: dict[str, pa.ChunkedArray]) -> Bool[np.ndarray, "n"]:
        """Where a column breaks its own rule."""
        cells = there[column.name]
        if column.kind == "category":
            return column.unseen(cells)
        others = {other.name: other.values(there[other.name]) for other in self.columns if other.kind != "category"}
        expected = column.following(others, (len(cells),))
        with np.errstate(invalid="ignore", over="ignore"):
            return np.abs(bounded(others[column.name]) - expected) > TOLERANCE * column.scale

    def unseen(self, rows: pa.Table) -> dict[str, Bool[np.ndarray, "n"]]:
        """Which rows have a category that no row seen had, by column; arguments as of `broken`."""
        found = {c.name: c.unseen(cells_of(rows, c.name)) for c in self.columns if c.kind == "category" and c.mean}
        return {name: at for name, at in found.items() if at.any()}


def means_and_sds(
    x: Float64[np.ndarray, "n d"], robust: bool
) -> tuple[Float64[np.ndarray, "d"], Float64[np.ndarray, "d"]]:
    """Mean and sd of each column over its cells that are not missing; 0 if there are none."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, sd = x.mean(0), x.std(0)
    for j in np.flatnonzero(~((sd > SMALLEST) & (sd < 1 / SMALLEST)) | robust).tolist():
        seen = x[~np.isnan(x[:, j]), j]
        plain = not robust and len(seen) and SMALLEST < np.ptp(seen / 2) < 1 / SMALLEST
        mean[j], sd[j] = (seen.mean(), seen.std()) if plain else mean_and_sd(seen)
    return mean, sd


def cells_of(rows: pa.Table, name: str) -> pa.ChunkedArray:
    """A column of a table; all cells are missing if it is absent."""
    if name in rows.column_names:
        return rows.column(name)
    return pa.chunked_array([pa.nulls(len(rows))])

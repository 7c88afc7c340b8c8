"""One column of a table: the kind of its cells, and how they become coordinates.

Numbers, booleans (0 and 1) and dates (days, or microseconds) are one coordinate, x = (v − mean)/sd. K categories are K:

    x_k = (1[v = k] − p_k)/s        s² = 1 − Σ p_k², the variance of the column in total

All categories are equally far apart, and the column has the same total variance as one of numbers. So a Gaussian bump
on a row is the kernel of Aitchison & Aitken (1976) for its categories. A category that was never seen is one more
corner of the same simplex, at the same distance from all others.

When decoded, a point becomes the nearest category or, if the column has steps (whole numbers, dates, prices with two
decimals), the nearest step within the range that was seen. Values beyond that range, or beyond a bound that many cells
hold, are reflected: clipped, they would pile up there (Schuster 1985).
"""

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float64

from anila.data.foreign import printable
from anila.data.scale import bounded
from anila.density.kernel_energy import FREQUENT

Kind = Literal["number", "integer", "boolean", "date", "moment", "category"]
TIMED = ("date", "moment")

FARTHEST = 1e18
"""Coordinates are clipped here, so that sums of some of their squares are finite in float32."""
ROUNDING = 1e-6
"""Rounding of a frequent value to float32 stays within this many scales of it."""
AGAIN = 5
"""How often each value occurs on average in a column that has only a few values."""
DECIMALS = 6
"""Steps of fractional values are looked for down to 10⁻⁶."""


class Column(NamedTuple):
    """A column.

    Args:
        name: Its name in the file.
        kind: The kind of its cells; a moment is a date with a time.
        mean: Mean of each of its coordinates; empty if it has none, as it is constant or follows from others.
        scale: Scale by which they are divided.
        categories: Its categories, sorted, if the kind has some.
        step: Step of values on a grid from `low`; None if they are not on one.
        low, high: The range that was seen; NaN if nothing was.
        terms: Names and factors of the columns from which it follows.
        constant: The constant added to these.
        frequent: Values that many cells have.
        shares: Share of the cells with each of these.
        zoned: Whether its times had a zone; None if they are not times or it is unknown.
    """

    name: str
    kind: Kind
    mean: tuple[float, ...]
    scale: float = 1.0
    categories: tuple[str | bool | int | float, ...] = ()
    step: float | None = None
    low: float = 0.0
    high: float = 0.0
    terms: tuple[tuple[str, float], ...] = ()
    constant: float = 0.0
    frequent: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    zoned: bool | None = None

    @classmethod
    def of(cls, name: str, cells: pa.ChunkedArray) -> "Column":
        """The column of these cells, with mean 0 and scale 1.

        Raises:
            ValueError: If they are neither numbers, dates nor text.
        """
        kind = kind_of(cells.type)
        if kind is None:
            raise ValueError(f"column {printable(name)!r}: expected numbers, dates or text, got {cells.type}")
        if kind == "category":
            found = tuple(sorted(filled(cells).unique().drop_null().to_pylist()))
            return cls(name, kind if found else "number", (0.0,) * max(1, len(found)), categories=found)
        seen = numbers(cells, kind)
        seen = seen[np.isfinite(seen)]
        zoned = is_zoned(cells.type) if kind in TIMED else None
        if not len(seen):
            return cls(name, kind, (0.0,), low=math.nan, high=math.nan, zoned=zoned)
        step, low, high = step_of(seen, kind), float(seen.min()), float(seen.max())
        values, shares = frequent(seen, step)
        return cls(name, kind, (0.0,), step=step, low=low, high=high, frequent=values, shares=shares, zoned=zoned)

    def scaled(self, mean: Float64[np.ndarray, "k"], sd: Float64[np.ndarray, "k"]) -> "Column":
        """The column with these means, and the root of the total variance as scale; 1 if that is 0."""
        scale = float(sd[0] if len(sd) == 1 else np.hypot.reduce(sd)) or 1.0
        return self._replace(mean=tuple(mean.tolist()), scale=scale)

    @property
    def coordinates(self) -> list[str]:
        """The names of its coordinates."""
        if self.kind != "category":
            return [self.name] * len(self.mean)
        return [f"{self.name}={category}" for category in self.categories[: len(self.mean)]]

    def log_volume(self, h: float) -> float:
        """The share of each coordinate, as in `Encoding.log_volume`."""
        if self.kind != "category":
            return math.log(self.scale or 1.0)
        k = max(1, len(self.mean))
        return math.log1p(k * math.exp(-1 / (h * self.scale) ** 2)) / k - math.log(h) - math.log(2 * math.pi) / 2

    def encode(self, cells: pa.ChunkedArray) -> Float64[np.ndarray, "n k"]:
        """Cells as coordinates, NaN where they are missing.

        Raises:
            ValueError: If they are of another kind.
        """
        with np.errstate(over="ignore"):
            x = (bounded(self.raw(cells)) - self.mean) / self.scale
        return np.clip(x, -FARTHEST, FARTHEST) + 0.0  # −0 becomes 0: equal rows are equal in bytes

    def raw(self, cells: pa.ChunkedArray) -> Float64[np.ndarray, "n k"]:
        """Cells as numbers or corners, before standardisation."""
        if not self.mean:
            return np.empty((len(cells), 0))
        return corners(len(self.categories))[self.places(cells)] if self.categories else self.values(cells)[:, None]

    def values(self, cells: pa.ChunkedArray) -> Float64[np.ndarray, "n"]:
        """The numbers of cells, NaN where they are missing.

        Raises:
            ValueError: If they are of another kind.
        """
        given = kind_of(cells.type)
        fits = given is not None and given != "category" and (given in TIMED) == (self.kind in TIMED)
        there = cells.null_count < len(cells)
        if not fits and there:
            expected = {"boolean": "true or false", "date": "dates", "moment": "dates"}.get(self.kind, "numbers")
            got = f"text such as {filled(cells).drop_null()[0].as_py()!r}" if given == "category" else cells.type
            raise ValueError(
                printable(f"column {self.name!r}: expected {expected} as in training, got {got}")
                + ("; write them as 2020-12-31" if self.kind in TIMED else "")
            )
        if there and self.zoned is not None and is_zoned(cells.type) != self.zoned:
            raise ValueError(
                f"column {printable(self.name)!r}: "
                + ("expected times with a zone as in training, got times without; write +00:00 after those in UTC"
                   if self.zoned else
                   "expected times without a zone as in training, got times with one; write them without")
            )  # fmt: skip
        return numbers(cells, self.kind)

    def places(self, cells: pa.ChunkedArray) -> np.ndarray:
        """Index of each cell's category: one beyond the last if it was never seen, two beyond if it is missing."""
        given, known = filled(cells).cast(pa.string()), pa.array(self.categories).cast(pa.string())
        found = pc.call_function("index_in", [given], pc.SetLookupOptions(known)).fill_null(len(known)).to_numpy()
        return found + given.is_null().to_numpy(zero_copy_only=False)

    def unseen(self, cells: pa.ChunkedArray) -> Bool[np.ndarray, "n"]:
        """Which cells hold a category that was never seen."""
        return self.places(cells) == len(self.categories)

    def decode(self, x: Float64[np.ndarray, "n k"]) -> pa.Array:
        """Coordinates as cells."""
        values = np.array(self.mean) + self.scale * x
        return self.nearest(values) if self.kind == "category" else self.on_grid(values[:, 0])

    def following(
        self, others: Mapping[str, Float64[np.ndarray, "*n"]], shape: tuple[int, ...]
    ) -> Float64[np.ndarray, "*n"]:
        """The numbers of a column without coordinates: constant + Σ factor · other."""
        return sum((factor * others[name] for name, factor in self.terms), np.full(shape, self.constant))

    def nearest(self, corner: Float64[np.ndarray, "n k"]) -> pa.Array:
        """The category of the nearest corner."""
        missing = np.any(np.isnan(corner), axis=1)
        best = np.where(missing[:, None], 0, corner).argmax(1)
        return pa.array(self.categories).take(pa.array(best, mask=missing))

    def on_grid(self, values: Float64[np.ndarray, "n"]) -> pa.Array:
        """Numbers, moved to the nearest step if there are steps, as cells of this kind."""
        missing = np.isnan(values)
        values = self.within(values)
        if self.step is not None:
            values = np.round(self.low + self.step * np.round((values - self.low) / self.step), DECIMALS)
        if self.frequent:
            known = np.array(self.frequent)
            nearest = known[np.abs(values[:, None] - known).argmin(1)]
            near = self.discrete | (np.abs(values - nearest) < ROUNDING * self.scale)
            values = np.where(near, nearest, values)
        if self.kind == "number":
            return pa.array(values, mask=missing)
        whole = pa.array(np.where(missing, 0, np.round(values)).astype(np.int64), mask=missing)
        match self.kind:
            case "boolean":
                return whole.cast(pa.bool_())
            case "date":
                return whole.cast(pa.int32()).cast(pa.date32())
            case "moment":
                return whole.cast(pa.timestamp("us"))
        return whole

    @property
    def discrete(self) -> bool:
        """Whether all cells have one of the frequent values."""
        return self.step is None and sum(self.shares) > 1 - ROUNDING

    def within(self, values: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
        """Numbers reflected back into the range that was seen, at ends that are bounds: many cells hold it, or steps
        end.

        A step reaches half a step to either side of its value. A column that follows from others is left as computed.
        """
        if not self.mean or self.discrete:
            return values
        beyond = (self.step or 0.0) / 2
        low, high = self.low - beyond, self.high + beyond
        if self.step or self.low in self.frequent:
            values = low + np.abs(values - low)
        if self.step or self.high in self.frequent:
            values = high - np.abs(values - high)
        return np.clip(values, self.low, self.high) if self.step else values


def kind_of(arrow: pa.DataType) -> Kind | None:
    """The kind of cells of a type; None if it is not usable."""
    types = pa.types
    if types.is_integer(arrow):
        return "integer"
    if types.is_floating(arrow) or types.is_decimal(arrow) or types.is_null(arrow):
        return "number"
    if types.is_boolean(arrow):
        return "boolean"
    if types.is_date(arrow):
        return "date"
    if types.is_timestamp(arrow):
        return "moment"
    textual = types.is_string(arrow) or types.is_large_string(arrow) or types.is_string_view(arrow)
    of_some_kind = types.is_dictionary(arrow) and kind_of(arrow.value_type) is not None  # pyright: ignore[reportAttributeAccessIssue]
    return "category" if textual or of_some_kind else None


def is_zoned(arrow: pa.DataType) -> bool:
    """Whether cells of a type are times with a zone."""
    return getattr(arrow, "tz", None) is not None


def numbers(cells: pa.ChunkedArray, kind: Kind) -> Float64[np.ndarray, "n"]:
    """Cells as float64: days of dates, microseconds of moments; NaN where they are missing."""
    if kind in TIMED:
        cells = cells.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    values = cells.cast(pa.float64(), safe=False).to_numpy().astype(np.float64)
    return values / 86_400e6 if kind == "date" else values


def filled(cells: pa.ChunkedArray) -> pa.Array:
    """Categories as plain texts, in one piece; an empty text is missing."""
    whole = cells.combine_chunks()
    if pa.types.is_dictionary(whole.type):
        whole = whole.dictionary_decode()
    if kind_of(whole.type) != "category":
        return whole
    text = whole.cast(pa.string())
    return without(text, [""])


def without(cells: pa.Array, values: list[str]) -> pa.Array:
    """The cells, with null in those that hold one of these values."""
    there = pc.call_function("is_in", [cells], pc.SetLookupOptions(pa.array(values, cells.type)))
    return masked(cells, there)


def masked(cells: pa.Array, there: pa.Array) -> pa.Array:
    """The cells, with null where `there` is true."""
    return pc.call_function("if_else", [there, pa.scalar(None, cells.type), cells])


def corners(k: int) -> Float64[np.ndarray, "corners k"]:
    """Corners of k categories, of one never seen, which is equally far from each, and of a missing one."""
    unseen = (1 - (k + 1) ** 0.5) / k
    return np.vstack([np.eye(k), np.full((1, k), unseen), np.full((1, k), np.nan)])


def step_of(values: Float64[np.ndarray, "n"], kind: Kind) -> float | None:
    """The greatest step of a grid that holds all values, a power of ten for fractions; None if there is none.

    >>> step_of(np.array([500.0, 2500.0]), "integer"), step_of(np.array([0.25, 1.5]), "number")
    (2000.0, 0.01)
    """
    if kind != "number":
        apart = np.abs(values - values[0])
        return float(np.gcd.reduce(apart.astype(np.int64))) or 1.0 if apart.max() < 2**62 else None
    with np.errstate(over="ignore"):
        return next((10.0**-k for k in range(DECIMALS + 1) if (np.round(values, k) == values).all()), None)


def frequent(values: Float64[np.ndarray, "n"], step: float | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The values that more than `FREQUENT` of the cells have, and their shares; all values if a few recur throughout.

    They are not looked for in columns of few steps.

    >>> frequent(np.array([0.0] * 30 + list(range(70))), 1.0)
    ((0.0,), (0.31,))
    """
    found, cells = np.unique(values, return_counts=True)
    few = len(found) * FREQUENT <= 1
    if few and step is not None:
        return (), ()
    many = (cells > FREQUENT * len(values)) | (few and AGAIN * len(found) <= len(values))
    return tuple(found[many].tolist()), tuple((cells[many] / len(values)).tolist())


def is_number(text: object) -> bool:
    try:
        float(str(text))
    except ValueError:
        return False
    return True

"""Redundant columns: constants, copies (also in other units), and totals of other columns.

From left to right, a column is kept if it is not a linear function of those kept before it. This is a Cholesky
factorisation of the correlations that skips columns whose pivot, the remaining share of variance, is 0. The others
follow from these, v = c + Σ a_j v_j, by least squares; they are dropped only if that holds in every complete row whose
cells are not too far out (`FAR` scales).
"""

import warnings

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float64

from anila.data.column import Column
from anila.data.encoding import TOLERANCE, Encoding
from anila.data.foreign import printable
from anila.data.scale import FAR, bounded
from anila.messages import counted

MOST = 500
"""Largest number of columns among which totals are looked for."""
PIVOT = 1e-10
"""Share of a column's variance below which it counts as explained."""
DIGITS = 9
"""Significant digits of factors."""


def independent(encoding: Encoding, rows: pa.Table, totals: bool = True) -> Encoding:
    """The encoding without coordinates for constant columns and columns that follow from others.

    Args:
        encoding: Encoding of the rows.
        rows: Rows, with at least twice as many complete ones as columns of numbers: fewer prove nothing.
        totals: Whether columns that follow from others lose their coordinates.
    """
    columns = [without_coordinates(c) if is_constant(c) else c for c in encoding.columns]
    numbers = [c for c in columns if c.mean and c.kind != "category" and np.isfinite(c.low)] if totals else []
    if not 1 < len(numbers) <= MOST:
        return encoding._replace(columns=tuple(columns))
    v = np.stack([c.values(rows.column(c.name)) for c in numbers], 1)
    mean, scale = np.array([c.mean[0] for c in numbers]), np.array([c.scale for c in numbers])
    found = following(numbers, v[(np.abs(bounded(v) - mean) <= FAR * scale).all(1)])
    return encoding._replace(columns=tuple(found.get(c.name, c) for c in columns))


def require_varying(encoding: Encoding, name: str) -> None:
    """Refuse a table of constants.

    Raises:
        ValueError: Naming them.
    """
    if not encoding.coordinates:
        constants = ", ".join(map(law, encoding.columns))
        raise ValueError(f"{name}: no column varies, and constant columns have no density ({constants})")


def is_constant(column: Column) -> bool:
    return len(column.categories) == 1 or (column.kind != "category" and column.low == column.high)


def without_coordinates(column: Column) -> Column:
    return column._replace(mean=(), constant=column.low, scale=abs(column.low))


def following(columns: list[Column], v: Float64[np.ndarray, "n d"]) -> dict[str, Column]:
    """The columns that follow from earlier ones, without coordinates."""
    n, d = v.shape
    if n < 2 * d + 10:
        return {}
    sd = np.array([c.scale for c in columns])
    z = (v - v.mean(0)) / sd
    kept = pivots(z.T @ z / n)
    rest = [j for j in range(d) if j not in set(kept) and np.ptp(z[:, j]) > TOLERANCE]
    factors = np.linalg.lstsq(z[:, kept], z[:, rest], rcond=None)[0] if rest else np.empty((len(kept), 0))
    found = {}
    for j, b in zip(rest, factors.T, strict=True):
        a = rounded(np.where(np.abs(b) > TOLERANCE, b, 0) * sd[j] / sd[kept])
        offset = v[:, j] - v[:, kept] @ a
        near = TOLERANCE * sd[j]
        constant = 0.0 if np.abs(offset).max() <= near else rounded(np.quantile(offset, [0.5])).item()
        if np.abs(offset - constant).max() <= near:
            terms = tuple((columns[i].name, float(at)) for i, at in zip(kept, a, strict=True) if at)
            found[columns[j].name] = columns[j]._replace(mean=(), terms=terms, constant=constant)
    return found


def pivots(correlations: Float64[np.ndarray, "d d"]) -> list[int]:
    """Indices of the columns that the kept columns before them do not explain."""
    left, own, kept = correlations.copy(), np.diag(correlations).copy(), list[int]()
    for j in range(len(left)):
        if left[j, j] > PIVOT * own[j]:
            kept.append(j)
            left[j + 1 :, j + 1 :] -= np.outer(left[j + 1 :, j], left[j, j + 1 :] / left[j, j])
    return kept


def rounded(values: Float64[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
    """Values rounded to `DIGITS` significant digits: 0.99999999997 becomes 1."""
    size = 10.0 ** (DIGITS - 1 - np.floor(np.log10(np.abs(np.where(values == 0, 1, values)))))
    return np.round(values * size) / size


def law(column: Column) -> str:
    """How a column follows, for people.

    >>> law(Column("total", "number", (), terms=(("a", 1.0), ("b", -0.5)), constant=3.0))
    'total = a - 0.5 b + 3'
    """
    if column.kind == "category":
        return f"{column.name} = {column.categories[0]}"
    parts = [(a, f"{'' if abs(a) == 1 else f'{abs(a):.9g} '}{name}") for name, a in column.terms]
    if column.constant or not parts:
        parts.append((column.constant, f"{abs(column.constant):.9g}"))
    text = " ".join(f"{'-' if a < 0 else '+'} {part}" for a, part in parts)
    return f"{column.name} = {text.removeprefix('+ ')}"


def warn_of_broken(rows: pa.Table, encoding: Encoding) -> None:
    """Warn of rows that break what held in every row that was learned: columns without coordinates are not judged.

    Args:
        rows: As of `Encoding.encode`.
        encoding: Of the model.
    """
    columns = {column.name: column for column in encoding.columns}
    found = [f"{law(columns[name])} {where(at)}" for name, at in encoding.broken(rows).items()]
    if found:
        said = f"the model does not see where rows break what held in all rows of training: {'; '.join(found)}"
        warnings.warn(printable(said), stacklevel=3)


def warn_of_unseen(rows: pa.Table, encoding: Encoding) -> None:
    """Warn of categories that no row that was learned had; arguments as of `warn_of_broken`."""
    found = [
        f"{name}={rows.column(name)[int(at.argmax())].as_py()} {where(at)}"
        for name, at in encoding.unseen(rows).items()
    ]
    if found:
        warnings.warn(printable(f"never seen in training: {'; '.join(found)}"), stacklevel=3)


def where(at: Bool[np.ndarray, "n"]) -> str:
    """How many rows, and the first of them."""
    return f"({counted(int(at.sum()), 'row')}, the first is {int(at.argmax())})"

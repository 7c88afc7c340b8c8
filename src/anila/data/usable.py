"""Which columns and rows of a table anything can be learned from."""

import warnings

import numpy as np
import pyarrow as pa

from anila.data.column import filled, is_number, kind_of, numbers
from anila.data.foreign import printable
from anila.data.selection import chosen_by, marks_by

MOST = 50
"""Categories of a column at most; each comes twice on average at least."""
EXACT = 2.0**53
"""From here on float64 does not tell whole numbers apart."""


def usable(rows: pa.Table, name: str, asked: bool = False) -> tuple[pa.Table, list[str]]:
    """The columns that can be learned from, and what was left out in words.

    Args:
        rows: All columns.
        name: Of the file.
        asked: Whether these columns were asked for by name: none is left out then.

    Raises:
        ValueError: If a column that was asked for cannot be used, or none can.
    """
    faults = {column: fault for column in rows.column_names if (fault := fault_of(rows.column(column)))}
    if not faults:
        return rows, []
    listed = ", ".join(f"{column} ({fault})" for column, fault in faults.items())
    rest = [column for column in rows.column_names if column not in faults]
    if asked or not rest:
        take = f"take {chosen_by(rest)}" if rest else "no other column is there"
        raise ValueError(printable(f"{name}: columns that cannot be learned: {listed}; {take}"))
    warnings.warn(printable(f"{name}: left out {listed}"), stacklevel=4)
    return rows.select(rest), [f"left out {listed}"]


def filled_rows(rows: pa.Table) -> np.ndarray:
    """Which rows have a cell, (n,)."""
    return np.any([~is_missing(cells) for cells in rows.columns], axis=0)


def is_missing(cells: pa.ChunkedArray) -> np.ndarray:
    """Which cells are null, NaN or empty text."""
    return filled(cells).is_null(nan_is_null=True).to_numpy(zero_copy_only=False)


def fault_of(cells: pa.ChunkedArray) -> str | None:
    """Why nothing can be learned from a column, if so."""
    kind = kind_of(cells.type)
    if kind is None:
        return f"cells of type {cells.type}"
    seen = filled(cells)
    seen = seen.filter(pa.array(~is_missing(cells)))
    if not len(seen):
        return "no cell is there"
    if kind == "category":
        return too_various(seen)
    values = numbers(pa.chunked_array([seen]), kind)
    alike = np.abs(values).min() >= EXACT and values.min() == values.max() and np.isfinite(values[0])
    return "whole numbers beyond 2**53, which float64 cannot tell apart: subtract an offset" if alike else None


def too_various(seen: pa.Array) -> str | None:
    """Why categories, or texts, are too many."""
    different = seen.unique()
    if len(different) <= min(MOST, len(seen) / 2):
        return None
    marks = [text for text in different.to_pylist() if not is_number(text)]
    if 2 * len(marks) < len(different):
        shown = [str(mark) for mark in marks[:3]]
        return f"numbers, but for {', '.join(map(repr, shown))}: correct these, or {marks_by(shown)}"
    return f"{len(different):,} different texts in {len(seen):,} rows: too many for categories"

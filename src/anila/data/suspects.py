"""Cells and columns that may be misread: marks of missing cells, and columns that merely number the rows.

Nothing is changed. The warning names the column and the setting to type if the suspicion is right: −999 may be a
number, an index may be a time.
"""

import warnings
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from anila.data.column import filled, kind_of, numbers
from anila.data.foreign import printable
from anila.data.selection import chosen_by, marks_by

NINES = [float("9" * whole + ("." + "9" * part) * (part > 0)) for whole in range(2, 8) for part in range(3)]
NUMBERS = np.array([-1.0, -9.0, *NINES, *(-mark for mark in NINES)])
"""−1, −9, and nines: 99, 99.9, −999, ..."""
Mark = str | int | float
TEXTS = ("?", "-", "--", ".", "n/a", "na", "#n/a", "<na>", "nan", "null", "missing", "unknown")
AWAY = 0.5
"""Least distance of a mark from the other values, as a share of their range."""
FEWEST = 30
"""Least number of rows for which a column can be seen to number them."""
NAMED = 5
"""Largest number of columns that are named."""


def warn_of_suspects(rows: pa.Table, name: str, asked: bool) -> None:
    """Warn of marks that were read as cells, and of columns that count the rows.

    Args:
        rows: The columns that are learned.
        name: Name of the file.
        asked: Whether these columns were asked for by name.
    """
    for text in [*said_of_marks(rows), *([] if asked else said_of_counts(rows))]:
        warnings.warn(printable(f"{name}: {text}"), stacklevel=4)


def said_of_marks(rows: pa.Table) -> Iterator[str]:
    """Possible marks, their columns, and the setting that makes them missing in all columns."""
    cells = {column: cells_like_marks(rows.column(column)) for column in rows.column_names}
    found = {column: unusual(rows.column(column), list(marks)) for column, marks in cells.items() if marks}
    marks = list(dict.fromkeys(mark for of_column in found.values() for mark in of_column))
    listed = []
    for mark in marks:
        columns = [column for column in found if mark in found[column]]
        usual = [column for column in cells if mark in cells[column] and column not in columns]
        often = sum(cells[column][mark] for column in columns)
        too = f"; also in {some(usual)}, where it may be one" if usual else ""
        listed.append(f"{mark!r} in {some(columns)} ({often:,} cell{'s' * (often > 1)}{too})")
    if marks:
        yield (
            f"values that often mark missing cells are kept as they are: {', '.join(listed)}; if they mark missing "
            "cells, " + marks_by(marks)
        )


def some(columns: list[str]) -> str:
    """Their names, or the first ones."""
    return ", ".join(columns[:NAMED]) + (f" and {len(columns) - NAMED:,} more" if len(columns) > NAMED else "")


def cells_like_marks(cells: pa.ChunkedArray) -> dict[Mark, int]:
    """Counts of texts and repeated numbers that mark missing cells in some tables."""
    kind = kind_of(cells.type)
    if kind == "category":
        found = filled(cells).drop_null().cast(pa.string()).value_counts().to_pylist()
        return {cell["values"]: cell["counts"] for cell in found if cell["values"].casefold() in TEXTS}
    if kind not in ("number", "integer"):
        return {}
    values = numbers(cells, kind)
    marks, often = np.unique(values[np.isin(values, NUMBERS)], return_counts=True)
    return {int(v) if v.is_integer() else v: n for v, n in zip(marks.tolist(), often.tolist(), strict=True) if n > 1}


def unusual(cells: pa.ChunkedArray, marks: list[Mark]) -> list[Mark]:
    """The marks that stand out: texts, numbers far from all others, and the only negative numbers."""
    numeric = [mark for mark in marks if not isinstance(mark, str)]
    if not numeric:
        return marks
    values = numbers(cells, "number")
    others = values[np.isfinite(values) & ~np.isin(values, numeric)]
    low, high = others.min(initial=np.inf), others.max(initial=-np.inf)
    if not ((others > low) & (others < high)).any():
        return []
    away = AWAY * (high - low)
    return [mark for mark in numeric if mark < 0 <= low or not low - away <= mark <= high + away]


def said_of_counts(rows: pa.Table) -> Iterator[str]:
    """The columns that number the rows, and the setting that leaves them out."""
    found = [column for column in rows.column_names if counts_rows(rows.column(column))]
    rest = [column for column in rows.column_names if column not in found]
    if found and rest:
        yield f"{some(found)} only numbers the rows, and is learned like any number; {chosen_by(rest)} leaves it out"


def counts_rows(cells: pa.ChunkedArray) -> bool:
    """Whether the cells are consecutive whole numbers without repeats, in any order.

    >>> counts_rows(pa.chunked_array([range(100, 140)])), counts_rows(pa.chunked_array([[1, 2] * 20]))
    (True, False)
    """
    kind = kind_of(cells.type)
    if len(cells) < FEWEST or kind not in ("number", "integer"):
        return False
    values = np.sort(numbers(cells, kind))
    return bool(np.isfinite(values).all() and values[0] % 1 == 0 and (np.diff(values) == 1).all())

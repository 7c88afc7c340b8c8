"""The columns and rows of a table from which something can be learned."""

import re
import warnings
from contextlib import suppress
from datetime import datetime

import numpy as np
import pyarrow as pa

from anila.data.column import filled, is_number, kind_of, numbers
from anila.data.dates import orders_of
from anila.data.delimited import DATE, DECIMAL_COMMA
from anila.data.foreign import printable
from anila.data.forms import form_of
from anila.data.selection import chosen_by, marks_by
from anila.messages import counted

MOST = 50
"""Most categories of a column; on average, each must occur at least twice."""
EXACT = 2.0**53
"""From here on, float64 cannot tell whole numbers apart."""
COARSE = 1e-3
"""Largest distance of two neighbouring float64, in standard deviations."""
NAMED = 10
"""Largest number of texts among numbers that are all listed in the setting that makes them missing cells."""
ZONED = re.compile(r".*\d{1,2}:\d{2}.*(Z|[+-]\d{2}:?\d{2})")
"""A time with its zone."""
DECORATED = re.compile(r"[$€£¥]?\s?[+\-−]?[$€£¥]?\s?\d[\d.,'’\s]*\s?([a-zµ°]{0,3}|[%‰$€£¥])")
"""A number with a currency sign or a unit, with grouped digits, or with a typographic minus."""


def usable(rows: pa.Table, name: str, asked: bool = False) -> tuple[pa.Table, list[str]]:
    """The usable columns, and what was left out, in words.

    Args:
        rows: All columns.
        name: Name of the file.
        asked: Whether these columns were asked for by name; then none is left out.

    Warns:
        UserWarning: Of columns that are left out, and why.

    Raises:
        ValueError: If a column that was asked for cannot be used, or none can.
    """
    if not rows.column_names:
        raise ValueError(f"{name}: expected at least one column, got none")
    faults = {column: fault for column in rows.column_names if (fault := fault_of(rows.column(column)))}
    for column in rows.column_names:
        if column not in faults and (texts := unclear_dates(rows.column(column))):
            said = f"{column} has dates such as {texts[0]!r}, whose day and month cannot be told apart"
            warnings.warn(printable(f"{name}: {said}: they are read as text; write them as 2020-12-31"), stacklevel=4)
    if not faults:
        return rows, []
    called = {column: column or "a column without a name" for column in faults}
    listed = ", ".join(f"{called[column]} ({fault})" for column, fault in faults.items())
    rest = [column for column in rows.column_names if column not in faults]
    if asked or not rest:
        take = f"use {chosen_by(rest)}" if rest else "there is no other column"
        raise ValueError(printable(f"{name}: columns that cannot be learned: {listed}; {take}"))
    warnings.warn(printable(f"{name}: left out {listed}"), stacklevel=4)
    return rows.select(rest), [f"left out {', '.join(called.values())}"]


def unclear_dates(cells: pa.ChunkedArray) -> list[str]:
    """The distinct cells of a column of dates whose days may be months; empty for other columns."""
    if kind_of(cells.type) != "category":
        return []
    texts = [str(text) for text in filled(cells).unique().drop_null().to_pylist()]
    return texts if len(orders_of(texts)) > 1 else []


def filled_rows(rows: pa.Table) -> np.ndarray:
    """Which rows have any cell, (n,)."""
    return np.any([~is_missing(cells) for cells in rows.columns], axis=0)


def is_missing(cells: pa.ChunkedArray) -> np.ndarray:
    """Which cells are null, NaN or empty text."""
    return filled(cells).is_null(nan_is_null=True).to_numpy(zero_copy_only=False)


def fault_of(cells: pa.ChunkedArray) -> str | None:
    """Why nothing can be learned from a column; None if something can."""
    kind = kind_of(cells.type)
    if kind is None:
        return f"cells of type {cells.type}"
    seen = filled(cells)
    seen = seen.filter(pa.array(~is_missing(cells)))
    if not len(seen):
        return "it is empty"
    if kind == "category":
        return too_various(seen)
    values = numbers(pa.chunked_array([seen]), kind)
    with np.errstate(all="ignore"):
        coarse = np.spacing(np.abs(values).max()) > COARSE * values.std()
    alike = np.abs(values).min() >= EXACT and np.isfinite(values).all() and coarse
    return "whole numbers beyond 2**53, which float64 cannot tell apart: subtract an offset" if alike else None


def too_various(seen: pa.Array) -> str | None:
    """Why there are too many categories or texts; None if there are not."""
    different = seen.unique()
    if len(different) <= min(MOST, len(seen) / 2):
        return None
    texts = [str(text) for text in different.to_pylist()]
    marks = [text for text in texts if not is_number(text)]
    if not marks:
        return f"numbers that are stored as text, such as {texts[0]!r}: store them as numbers"
    odd = [text for text in marks if not DECIMAL_COMMA.fullmatch(text)]
    marks = odd or marks
    if (form := form_of(texts)) and form.positive != "#":
        return f"numbers that are stored as text, such as {texts[0]!r}: store them as numbers, or save them in a .csv"
    plain = [text for text in marks if DECORATED.fullmatch(text)]
    if 0 < len(marks) - len(plain) <= NAMED and form_of(plain):
        marks = [text for text in marks if text not in plain]
    if 2 * len(marks) < len(different):
        shown = ", ".join(map(repr, marks[:3])) + (f" and {len(marks) - 3} more" if len(marks) > 3 else "")
        return f"numbers, except for {shown}: correct these" + (
            f", or {marks_by(marks)}" if len(marks) <= NAMED else ""
        )
    if 2 * sum(bool(DATE.fullmatch(text)) for text in texts) > len(texts):
        bare = [text for text in texts if not ZONED.fullmatch(text)]
        if 0 < len(bare) < len(texts):
            hint = "write +00:00 after those in UTC"
            return f"times without a zone, such as {bare[0]!r}, mixed with times that have one: {hint}"
        if all(map(is_iso, texts)) or len(orders_of(texts)) == 1:
            return f"dates that are stored as text, such as {texts[0]!r}: store them as dates, or save them in a .csv"
        unclear = ", whose day and month cannot be told apart" if len(orders_of(texts)) > 1 else ""
        return f"dates such as {texts[0]!r}{unclear}: write them as 2020-12-31"
    if 2 * sum(bool(DECORATED.fullmatch(text)) for text in marks) > len(texts):
        what = "numbers with different signs or units, or of unclear digits"
        return f"{what}, such as {marks[0]!r}: write them plainly, as -1234.5"
    return f"{counted(len(different), 'different text')} in {counted(len(seen), 'row')}: too many for categories"


def is_iso(text: str) -> bool:
    """Whether a text is a date like 2020-12-31, with or without a time."""
    with suppress(ValueError):
        return bool(datetime.fromisoformat(text))
    return False

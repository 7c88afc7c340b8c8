"""Dates with the day or the month first: 17.04.2024, 17/04/2024, 04-17-2024.

A column is read as dates if every cell is one, all in the same order. With points the day comes first, as is usual.
With slashes and dashes either may: a number above 12 somewhere in the column tells which.
"""

import re
from collections.abc import Sequence
from datetime import date

import pyarrow as pa

WRITTEN = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})")
DAY, MONTH = "dm", "md"
"""Orders: day first, month first."""


def orders_of(texts: Sequence[str]) -> list[str]:
    """The orders in which all these texts are dates; none if they are not dates of one form.

    >>> orders_of(["17.04.2024"]), orders_of(["04/17/2024"]), orders_of(["04/05/2024"]), orders_of(["today"])
    (['dm'], ['md'], ['dm', 'md'], [])
    """
    marks, found = set[str](), [DAY, MONTH]
    for text in texts:
        parts = WRITTEN.fullmatch(text)
        if parts is None:
            return []
        marks.add(parts[2])
        found = [order for order in found if len(marks) == 1 and is_date(text, order)]
    return [order for order in found if order == DAY or marks != {"."}] if marks else []


def form_of(texts: Sequence[str]) -> str:
    """The form of these dates; "" if they are not dates, or day and month cannot be told apart.

    >>> form_of(["7.4.2024", "17.10.2024"]), form_of(["04/07/2024", "04/17/2024"]), form_of(["04/05/2024"])
    ('d.m.yyyy', 'mm/dd/yyyy', '')
    """
    orders = orders_of(texts)
    if len(orders) != 1:
        return ""
    short = any(len(text) < len("dd.mm.yyyy") for text in texts)
    first, second = orders[0] if short else (2 * letter for letter in orders[0])
    mark = texts[0][-5]
    return f"{first}{mark}{second}{mark}yyyy"


def is_date(text: str, order: str) -> bool:
    try:
        dated(text, order)
    except ValueError:
        return False
    return True


def dated(text: str, order: str) -> date:
    """The date that a text means in this order or form.

    Raises:
        ValueError: If it is not a date.
    """
    first, second, year = map(int, re.split("[./-]", text))
    day, month = (first, second) if order[0] == "d" else (second, first)
    return date(year, month, day)


def written(day: date | None, form: str) -> str | None:
    """A date in this form.

    >>> written(date(2024, 4, 7), "dd/mm/yyyy"), written(date(2024, 4, 7), "d.m.yyyy")
    ('07/04/2024', '7.4.2024')
    """
    if day is None:
        return None
    numbers = {"d": day.day, "dd": f"{day.day:02}", "m": day.month, "mm": f"{day.month:02}", "yyyy": f"{day.year:04}"}
    return re.sub(r"\w+", lambda part: str(numbers[part[0]]), form)


def with_dates(table: pa.Table, nulls: Sequence[str]) -> tuple[pa.Table, dict[str, str]]:
    """The table with such columns as dates, and their forms by name.

    Args:
        table: What was read.
        nulls: Texts that stand for a missing cell, besides an empty one.
    """
    forms = dict[str, str]()
    for place, (name, cells) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if not pa.types.is_string(cells.type):
            continue
        different = cells.combine_chunks().dictionary_encode()
        texts = different.dictionary.to_pylist()
        missing = {"", *nulls}
        if form := form_of([text for text in texts if text not in missing]):
            days = pa.array([None if text in missing else dated(text, form) for text in texts], pa.date32())
            table, forms[name] = table.set_column(place, name, days.take(different.indices)), form
    return table, forms

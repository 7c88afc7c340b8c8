"""The style of a table in a text file. It stays with the table, so that results are written in the same style.

It is kept in the metadata of the table's schema, which Arrow preserves when columns are set, appended or taken.
"""

import json
from collections.abc import Callable
from typing import IO, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from anila.data import dates, forms

KEY = b"anila"


class Style(NamedTuple):
    """How a table is written.

    Args:
        separator: Between cells.
        decimal: The decimal mark.
        encoding: The encoding if it is not UTF-8.
        dates: Column -> the form of its dates (`anila.data.dates`), where they are not like 2020-12-31.
        numbers: Column -> the form of its numbers (`anila.data.forms`), where they are not plain.
    """

    separator: str = ","
    decimal: str = "."
    encoding: str = ""
    dates: dict[str, str] = {}  # noqa: RUF012  # never changed
    numbers: dict[str, forms.Form] = {}  # noqa: RUF012


def styled(table: pa.Table, style: Style) -> pa.Table:
    """The table with its style stored."""
    return table.replace_schema_metadata({KEY: json.dumps(style._asdict())})


def style_of(table: pa.Table) -> Style:
    """The stored style of a table, or the usual one."""
    found = (table.schema.metadata or {}).get(KEY)
    if not found:
        return Style()
    read = json.loads(found)
    return Style(**read | {"numbers": {name: forms.Form(*form) for name, form in read["numbers"].items()}})


def like(table: pa.Table, other: pa.Table) -> pa.Table:
    """The table in its own style, or in that of another if it has none; columns without a form take the other's."""
    own, others = style_of(table), style_of(other)
    if KEY not in (table.schema.metadata or {}):
        return styled(table, others)
    if own.decimal != others.decimal:
        return table
    return styled(table, own._replace(dates=others.dates | own.dates, numbers=others.numbers | own.numbers))


def renamed(style: Style, by: Callable[[str], str]) -> Style:
    """The style of a table whose columns get other names."""
    dates, numbers = ({by(name): form for name, form in found.items()} for found in (style.dates, style.numbers))
    return style._replace(dates=dates, numbers=numbers)


def plain(table: pa.Table) -> pa.Table:
    """The table without its stored style."""
    kept = {key: value for key, value in (table.schema.metadata or {}).items() if key != KEY}
    return table.replace_schema_metadata(kept or None)


def write_csv(table: pa.Table, file: IO[bytes]) -> None:
    """Write a table in its style, in UTF-8."""
    style = style_of(table)
    columns = [texts(table.column(place), name, style) for place, name in enumerate(table.column_names)]
    for part in ([pa.chunked_array([[name]]) for name in table.column_names], columns):
        cells = [quoted(column, style.separator) for column in part]
        only = '""' if len(cells) == 1 else ""  # an empty line is no row
        filling = pc.JoinOptions(null_handling="replace", null_replacement=only)
        lines = pc.call_function("binary_join_element_wise", [*cells, pa.scalar(style.separator)], filling)
        file.writelines(f"{line}\n".encode() for line in lines.to_pylist())


def quoted(cells: pa.ChunkedArray, separator: str) -> pa.ChunkedArray:
    """Texts, in quotes where they hold a separator, a quote or a line break."""
    special = pc.call_function("match_substring_regex", [cells], pc.MatchSubstringOptions(f'[\r\n"{separator}]'))
    if not pc.call_function("any", [special]).as_py():
        return cells
    doubled = pc.call_function("replace_substring", [cells], pc.ReplaceSubstringOptions('"', '""'))
    return forms.either(special, forms.joined('"', doubled, '"'), cells)


def texts(column: pa.ChunkedArray, name: str, style: Style) -> pa.ChunkedArray:
    """Cells as texts, dates and numbers in the form of the column."""
    is_number = pa.types.is_floating(column.type) or pa.types.is_integer(column.type)
    if name in style.dates and pa.types.is_date(column.type):
        return pa.chunked_array([[dates.written(day, style.dates[name]) for day in column.to_pylist()]], pa.string())
    if is_number and (name in style.numbers or style.decimal != "."):
        return forms.texts_of(column, style.numbers.get(name, forms.Form(decimal=style.decimal)))
    return column.cast(pa.string())

"""The style of a table in a text file. It stays with the table, so that results are written in the same style.

It is kept in the metadata of the table's schema, which Arrow preserves when columns are set, appended or taken.
"""

import csv
import io
import json
from typing import IO, NamedTuple

import pyarrow as pa
import pyarrow.csv

from anila.data.dates import written

KEY = b"anila"


class Style(NamedTuple):
    """The separator of cells, the decimal mark, and the encoding if it is not UTF-8."""

    separator: str = ","
    decimal: str = "."
    encoding: str = ""
    dates: tuple[str, ...] = ()
    """The form of each column's dates (`anila.data.dates`), if some are not like 2020-12-31."""


def styled(table: pa.Table, style: Style) -> pa.Table:
    """The table with its style stored."""
    return table.replace_schema_metadata({KEY: json.dumps(style._asdict())})


def style_of(table: pa.Table) -> Style:
    """The stored style of a table, or the usual one."""
    found = (table.schema.metadata or {}).get(KEY)
    if not found:
        return Style()
    read = json.loads(found)
    return Style(**read | {"dates": tuple(read["dates"])})


def plain(table: pa.Table) -> pa.Table:
    """The table without its stored style."""
    kept = {key: value for key, value in (table.schema.metadata or {}).items() if key != KEY}
    return table.replace_schema_metadata(kept or None)


def write_csv(table: pa.Table, file: IO[bytes]) -> None:
    """Write a table in its style, in UTF-8."""
    style = style_of(table)
    if style._replace(encoding="") == Style():
        pyarrow.csv.write_csv(table, file)
        return
    forms = [*style.dates, *[""] * table.num_columns]
    columns = [texts(column, style.decimal, form) for column, form in zip(table.columns, forms, strict=False)]
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    lines = csv.writer(text, delimiter=style.separator, lineterminator="\n")
    lines.writerow(table.column_names)
    lines.writerows(zip(*columns, strict=True))
    text.detach()


def texts(column: pa.ChunkedArray, decimal: str, form: str) -> list[str | None]:
    """Cells as texts with this decimal mark, and dates in this form if there is one."""
    if form and pa.types.is_date(column.type):
        return [written(day, form) for day in column.to_pylist()]
    found = column.cast(pa.string()).to_pylist()
    if decimal == "." or not pa.types.is_floating(column.type):
        return found
    return [cell and cell.replace(".", decimal) for cell in found]

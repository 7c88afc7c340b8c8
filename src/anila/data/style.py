"""How a file of text writes a table. It goes with the table, so that what is joined to it is written as it came.

It is kept in the metadata of the table's schema, of which Arrow keeps hold when columns are set, appended or taken.
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
    """What separates cells, the mark of decimals, and the encoding where it is not UTF-8."""

    separator: str = ","
    decimal: str = "."
    encoding: str = ""
    dates: tuple[str, ...] = ()
    """The form of each column's dates (`anila.data.dates`), where some are not 2020-12-31."""


def styled(table: pa.Table, style: Style) -> pa.Table:
    """The table, which remembers how it was written."""
    return table.replace_schema_metadata({KEY: json.dumps(style._asdict())})


def style_of(table: pa.Table) -> Style:
    """How a table was written; as is usual where it does not remember."""
    found = (table.schema.metadata or {}).get(KEY)
    if not found:
        return Style()
    read = json.loads(found)
    return Style(**read | {"dates": tuple(read["dates"])})


def plain(table: pa.Table) -> pa.Table:
    """The table without that memory."""
    kept = {key: value for key, value in (table.schema.metadata or {}).items() if key != KEY}
    return table.replace_schema_metadata(kept or None)


def write_csv(table: pa.Table, file: IO[bytes]) -> None:
    """Write a table as it was written, in UTF-8."""
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
    """Cells with that mark of decimals, and dates in that form where there is one."""
    if form and pa.types.is_date(column.type):
        return [written(day, form) for day in column.to_pylist()]
    found = column.cast(pa.string()).to_pylist()
    if decimal == "." or not pa.types.is_floating(column.type):
        return found
    return [cell and cell.replace(".", decimal) for cell in found]

"""Excel's .xlsx: a sheet as text, so that its names, numbers and missing cells are read like those of a .csv."""

import csv
import io
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from anila.data.delimited import parsed
from anila.data.foreign import reading


def read_excel(path: Path, marks: tuple[str, ...] = ()) -> tuple[pa.Table, str]:
    """The first sheet with a row of names and rows below it, and which of several sheets it was, for people.

    Args:
        path: The file.
        marks: As in `anila.data.delimited.read_csv`.

    Raises:
        ValueError: If it is not an .xlsx, or holds no table.
        ModuleNotFoundError: If the extra `excel` is not installed.
    """
    try:
        from openpyxl import load_workbook
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{path.name}: Excel files need openpyxl: pip install 'anila[excel]'; or save the sheet as .csv",
            name="openpyxl",
        ) from error
    with reading(f"{path} cannot be read as .xlsx: ", "; save it again, or as .csv"), path.open("rb") as file:
        sheets = {sheet.title: cells for sheet in load_workbook(file, read_only=True, data_only=True).worksheets
                  if len(cells := table_of(sheet.iter_rows(values_only=True))) > 1}  # fmt: skip
    if not sheets:
        raise ValueError(f"{path.name}: expected a sheet with a row of names and rows below it, got none")
    title, cells = next(iter(sheets.items()))
    how = f" (sheet {title!r} of {', '.join(map(repr, sheets))})" if len(sheets) > 1 else ""
    return parsed(written(cells), path, marks, how)


def table_of(rows: Any) -> list[list[str]]:
    """The cells as texts, without the empty rows and columns around them."""
    texts = [[text_of(cell) for cell in row] for row in rows]
    full = [row for row in texts if any(row)]
    there = [any(column) for column in zip(*full, strict=True)]
    return [[cell for cell, keep in zip(row, there, strict=True) if keep] for row in full]


def text_of(cell: Any) -> str:
    """A cell as in a .csv: a moment at midnight is written as a date."""
    if isinstance(cell, datetime):
        return str(cell.date() if not (cell.hour or cell.minute or cell.second or cell.microsecond) else cell)
    return "" if cell is None else str(cell)


def written(cells: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(cells)
    return text.getvalue()

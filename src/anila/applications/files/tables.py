"""Tables that people bring to a run: any columns, of which some are the model's; results are joined to them."""

import math
import warnings
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anila.data import Encoding, Units
from anila.data.column import TIMED, filled, kind_of
from anila.data.dates import dated, form_of
from anila.data.dependent import warn_of_broken, warn_of_unseen
from anila.data.forms import read_as
from anila.data.style import style_of, texts
from anila.data.table_files import read_rows, require_table
from anila.data.usable import is_missing
from anila.messages import counted, printable


def read_table(path: str | Path) -> pa.Table:
    """All columns of a file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read as a table.
    """
    return read_rows(require_table(path))[0]


def only(files: Sequence[str]) -> pa.Table:
    """The one table that a run on rows is given.

    Raises:
        ValueError: If there are several, or as `read_table`.
    """
    if len(files) > 1:
        raise ValueError(f"this run is on rows of numbers: give one table; got {counted(len(files), 'file')}")
    return read_table(files[0])


def given(text: str) -> pa.Table:
    """One row of "height=180,city=Oslo".

    Raises:
        ValueError: If it is not written so.
    """
    pairs = [part.partition("=") for part in text.split(",")]
    values = {name.strip(): [as_cell(value.strip())] for name, _, value in pairs}
    if not all(value for _, _, value in pairs):
        raise ValueError(f"--given {text}: expected COLUMN=VALUE,COLUMN=VALUE, e.g. height=180,weight=70")
    if len(values) < len(pairs) or "" in values:
        raise ValueError(f"--given {text}: give each column once, by its name")
    if any(isinstance(cell, float) and math.isinf(cell) for (cell,) in values.values()):
        raise ValueError(f"--given {text}: a number is too large; expected finite ones")
    return pa.table(values)


def as_cell(text: str) -> int | float | bool | date | str:
    """As the cells of a CSV file are read."""
    for kind in (int64, float, date.fromisoformat, datetime.fromisoformat, date_of):
        with suppress(ValueError):
            return kind(text)
    return {"true": True, "false": False}.get(text.lower(), text)


def date_of(text: str) -> date:
    """A date that has the day or the month first, where it tells which.

    Raises:
        ValueError: If it does not.
    """
    if not (form := form_of([text])):
        raise ValueError(f"{text!r} is not a date, or could be two")
    return dated(text, form)


def int64(text: str) -> int:
    """A whole number that a table holds as such."""
    number = int(text)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{text} is larger")
    return number


def points(table: pa.Table, units: Units, missing: bool = False, absent: bool = False) -> Float[Tensor, "rows d"]:
    """The rows of a table as points; the columns of a plain array are taken in their order.

    Args:
        table: What was read.
        units: Of the model.
        missing: Whether cells may be missing; their coordinates are NaN then.
        absent: Whether whole columns may.

    Raises:
        ValueError: If they may not be and are, a column is of another kind, or nothing is there.

    Warns:
        UserWarning: Of rows that break what held in all rows of training, of categories that were never seen, and of
            other units.
    """
    encoding, table = units.rows, named(table, units.rows.names)
    x = encoding.encode(table, absent=absent)
    warn_of_broken(table, encoding)
    warn_of_unseen(table, encoding)
    warn_of_units(table, encoding)
    if not len(x):
        raise ValueError("the table has no rows")
    holes = {name: np.isnan(x[:, at]).any(1) for name, at in encoding.slices.items()}
    if not missing and np.isnan(x).any():
        where = ", ".join(f"{name} ({hole.sum()})" for name, hole in holes.items() if hole.any())
        raise ValueError(
            f"{counted(int(sum(hole.sum() for hole in holes.values())), 'missing value')} in {where}, the first in row "
            f"{int(np.isnan(x).any(1).argmax())}; remove these rows, or have missing cells drawn with anila inpaint"
        )
    return torch.from_numpy(x.astype(np.float32))


def warn_of_units(table: pa.Table, encoding: Encoding) -> None:
    """Warn of columns written with another currency or unit than in training; arguments as of `warn_of_unseen`."""
    own, learned = (
        {name: unit for name, form in style.numbers.items() if (unit := form.positive.replace("#", "").strip())}
        for style in (style_of(table), encoding.style)
    )
    other = [name for name in own if learned.get(name, own[name]) != own[name]]
    if other:
        listed = "; ".join(f"{name} in {own[name]}, learned in {learned[name]}" for name in other)
        said = f"units differ from those of training, and the numbers are taken as they are: {listed}"
        warnings.warn(printable(said), stacklevel=3)


def as_learned(table: pa.Table, units: Units) -> pa.Table:
    """The table with numbers and dates as texts where texts were learned, and texts as the numbers or dates learned.

    Args:
        table, units: As of `points`.
    """
    own, learned = style_of(table), units.rows.style.numbers
    for column in units.rows.columns:
        name = column.name
        if name not in table.column_names:
            continue
        place, cells = table.column_names.index(name), table.column(name)
        is_text = kind_of(cells.type) == "category"
        if column.kind == "category" and not is_text and name in own.numbers | own.dates:
            table = table.set_column(place, name, texts(cells, name, own))
        elif column.kind in ("number", "integer") and is_text and name in learned:
            table = table.set_column(place, name, read_as(pa.chunked_array([filled(cells)]), learned[name]))
        elif column.kind in TIMED and is_text:
            with suppress(pa.ArrowInvalid):
                times = filled(cells).cast(pa.date32() if column.kind == "date" else pa.timestamp("us"))
                table = table.set_column(place, name, times)
    return table


def missing_cells(values: Float[np.ndarray, "n d"], table: pa.Table, units: Units) -> Bool[np.ndarray, "n d"]:
    """Where cells are to be drawn, given the others of their row; a copy or a total may tell all that are missing.

    Args:
        values: The points of the table.
        table, units: As of `points`.

    Raises:
        ValueError: If nothing is missing, or nothing is given in a row.
    """
    missing, there = np.isnan(values), named(table, units.rows.names)
    whole = [name in there.column_names and not is_missing(there.column(name)).any() for name in units.rows.names]
    if all(whole):
        raise ValueError("no cell is missing: leave out the columns to draw, or leave their cells empty")
    if missing.all(1).any():
        raise ValueError(
            f"row {int(missing.all(1).argmax())} has none of the model's columns; to draw whole rows use anila sample"
        )
    return missing


def named(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The columns of an array are called 0, 1, ...; as many as the model has are the model's."""
    bare = table.column_names == [str(i) for i in range(len(columns))]
    return table.rename_columns(list(columns)).replace_schema_metadata(table.schema.metadata) if bare else table


def filled_in(own: pa.ChunkedArray, cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column with drawn cells where its own are missing, of its own type where it can be."""
    holes = is_missing(own)
    if not holes.any():
        return own
    textual = kind_of(cells.type) == "category" or pa.types.is_null(own.type)
    own, cells = (part.cast(cells.type if textual else own.type, safe=False) for part in (own, cells))
    return pc.call_function("if_else", [pa.array(holes), cells, own])


def with_columns(table: pa.Table, columns: dict[str, np.ndarray]) -> pa.Table:
    """The table with more columns, called `free` names."""
    for name, values in columns.items():
        table = table.append_column(free(name, table.column_names), pa.array(values))
    return table


def free(name: str, taken: Sequence[str]) -> str:
    """The name, with `anila_` before it where it is taken.

    >>> free("score", ["age", "score"])
    'anila_score'
    """
    return free(f"anila_{name}", taken) if name in taken else name


def warn_of_taken(columns: Sequence[str], names: Sequence[str]) -> None:
    """Say what results will be called where a table has columns of their names."""
    taken = [f"{name} is called {free(name, columns)}" for name in names if name in columns]
    if taken:
        warnings.warn(f"the table already has columns named like results, so {', '.join(taken)}", stacklevel=2)

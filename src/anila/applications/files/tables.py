"""Tables that people bring to a run: any columns, of which some are the model's; results are joined to them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float

from anila.data.table_files import read_rows, require_table
from anila.messages import did_you_mean


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
        raise ValueError(f"this run is on rows of numbers: give one table; got {len(files)} files")
    return read_table(files[0])


def given(text: str) -> pa.Table:
    """One row of "height=180,weight=70".

    Raises:
        ValueError: If it is not written so.
    """
    pairs = [part.partition("=") for part in text.split(",")]
    try:
        values = {name.strip(): [float(value)] for name, _, value in pairs}
    except ValueError:
        raise ValueError(f"--given {text}: expected COLUMN=NUMBER,COLUMN=NUMBER, e.g. height=180,weight=70") from None
    if len(values) < len(pairs) or "" in values:
        raise ValueError(f"--given {text}: each column once, by its name")
    return pa.table(values)


def numbers(table: pa.Table, columns: Sequence[str], missing: bool = False) -> np.ndarray:
    """The model's columns of a table, (rows, columns) float64; the columns of a plain array are taken in their order.

    Args:
        table: What was read.
        columns: Those of the model.
        missing: Whether columns and cells may be missing; they are NaN then, and none may be infinite.

    Raises:
        ValueError: If they may not be and are, or a column is not of numbers, or nothing is there.
    """
    table = named(table, columns)
    absent = [column for column in columns if column not in table.column_names]
    if (absent and not missing) or len(absent) == len(columns):
        near = did_you_mean(absent[0], table.column_names)
        raise ValueError(
            f"the table has no column {', '.join(map(repr, absent))}{near}; the model's are {', '.join(columns)}, the "
            f"table's {', '.join(table.column_names)}"
        )
    values = np.full((len(table), len(columns)), np.nan)
    for i, column in enumerate(columns):
        if column not in absent:
            values[:, i] = floats(table.column(column), column)
    if not len(values):
        raise ValueError("the table has no rows")
    bad = np.isinf(values) if missing else np.isnan(values)
    if bad.any():
        where = ", ".join(f"{columns[i]} ({n})" for i, n in enumerate(bad.sum(0)) if n)
        raise ValueError(
            f"{bad.sum()} {'infinite' if missing else 'missing'} values in {where}, the first in row "
            f"{int(bad.any(1).argmax())}; remove these rows, or have missing cells drawn with anila inpaint"
        )
    return values


def missing_cells(values: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, "n d"]:
    """Where cells are to be drawn, given the others of their row.

    Raises:
        ValueError: If nothing is missing, or nothing is given in a row.
    """
    missing = np.isnan(values)
    if not missing.any():
        raise ValueError("no cell is missing: leave out the columns that are to be drawn, or leave their cells empty")
    if missing.all(1).any():
        raise ValueError(
            f"row {int(missing.all(1).argmax())} has none of the model's columns; to draw whole rows use anila sample"
        )
    return missing


def named(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The columns of an array are called 0, 1, ...; as many as the model has are the model's."""
    bare = table.column_names == [str(i) for i in range(len(columns))]
    return table.rename_columns(list(columns)) if bare else table


def floats(column: pa.ChunkedArray, name: str) -> np.ndarray:
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
        raise ValueError(f"column {name!r} is not of numbers but of {kind}")
    return column.cast(pa.float64()).to_numpy().astype(np.float64)


def with_columns(table: pa.Table, columns: dict[str, np.ndarray]) -> pa.Table:
    """The table with more columns.

    Raises:
        ValueError: If it has one of that name.
    """
    require_free(table, tuple(columns))
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return table


def require_free(table: pa.Table, names: Sequence[str]) -> None:
    """Refuse a table that has a column of a name the results need.

    Raises:
        ValueError: If it has.
    """
    for name in names:
        if name in table.column_names:
            raise ValueError(f"the table already has a column {name!r}, which the results need; rename it")

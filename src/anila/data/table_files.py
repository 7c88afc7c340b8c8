"""Files that hold tables, read as they are: .csv, .tsv (also .gz), .xlsx, .parquet, .npy and .npz."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from anila.data.archives import is_archive
from anila.data.arrays import load_arrays
from anila.data.column import filled, is_number, kind_of, masked, numbers, without
from anila.data.delimited import read_csv
from anila.data.excel import read_excel
from anila.data.foreign import local, reading
from anila.data.forms import Form
from anila.data.selection import chosen_by, chosen_columns, index_of, without_index
from anila.data.style import style_of, texts

TEXT = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
ARRAYS = (".npy", ".npz")
SUFFIXES = (*ARRAYS, *TEXT, ".xlsx", ".parquet")

Columns = dict[str, np.ndarray]
Values = list[Any] | None
"""The label column, if there is one."""
Marks = tuple[str | int | float, ...]
"""What stands for a missing cell."""


def suffix_of(path: str | Path) -> str:
    """The one of `SUFFIXES` with which a path ends; else its last suffix.

    >>> suffix_of("a/people.2020.CSV.gz"), suffix_of("a.txt")
    ('.csv.gz', '.txt')
    """
    name = Path(path).name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), Path(name).suffix)


def require_table(path: str | Path) -> Path:
    """The absolute path of a file that may be a table.

    Raises:
        FileNotFoundError, ValueError: If it does not exist, or its suffix is not in `SUFFIXES`.
    """
    path = local(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give one table of it")
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    if suffix_of(path) not in SUFFIXES:
        unpack = "; unpack it and give the table that is in it" if is_archive(path.name) else ""
        raise ValueError(f"{path}: expected one of {', '.join(SUFFIXES)}, got {path.suffix or 'no suffix'}{unpack}")
    return path


def read_labelled(
    path: Path, columns: Sequence[str] | None, label: str | None, marks: Marks
) -> tuple[pa.Table | np.ndarray, Values, str]:
    """The wanted columns of a file, or its images; its label; and how it was read, for people.

    Raises:
        ValueError: As in `anila.data.table`.
    """
    if suffix_of(path) in ARRAYS:
        found, values = read_array(path, columns, label)
        return (found if isinstance(found, np.ndarray) else without_marks(arrow(found, path.name), marks)), values, ""
    rows, how = read_rows(path, marks)
    if not len(rows):
        raise ValueError(
            f"{path.name}: expected at least 2 rows, got none below the names {', '.join(rows.column_names)}"
        )
    index = [] if columns else index_of(rows)
    chosen = [c for c in chosen_columns(rows.column_names, columns, path.name, label) if c not in index]
    if not chosen:
        raise ValueError(
            f"{path.name}: no column is left beside the label and pandas' index; it has {', '.join(rows.column_names)}"
        )
    values = None if label is None else as_classes(rows, label)
    return rows.select(chosen), values, how + without_index([c for c in index if c != label], chosen, path.name)


def as_classes(rows: pa.Table, label: str) -> list[Any]:
    """The cells of a label; numbers with a sign or a unit as they are written."""
    style, cells = style_of(rows), rows.column(label)
    form = style.numbers.get(label, Form())
    return (cells if form.positive == "#" else texts(cells, label, style)).to_pylist()


def read_rows(path: Path, marks: Marks = ()) -> tuple[pa.Table, str]:
    """All columns of a file, and how it was read, for people; null where a cell is missing.

    Args:
        path: As returned by `require_table`.
        marks: Values and texts that stand for a missing cell, besides the usual ones.

    Raises:
        ValueError: If it cannot be read as a table.
    """
    suffix = suffix_of(path)
    if suffix in ARRAYS:
        found, _ = read_array(path, None, None)
        if isinstance(found, np.ndarray):
            raise ValueError(f"{path.name}: expected rows of numbers (rows, columns), got images {found.shape}")
        return without_marks(arrow(found, path.name), marks), ""
    texts = tuple(mark for mark in marks if isinstance(mark, str))
    if suffix == ".parquet":
        with reading(f"{path} cannot be read as {suffix}: "):
            rows, how = pyarrow.parquet.read_table(path, use_threads=False, pre_buffer=False), ""
    else:
        rows, how = read_excel(path, texts) if suffix == ".xlsx" else read_csv(path, texts)
    return without_marks(rows, marks), how


def without_marks(rows: pa.Table, marks: Marks) -> pa.Table:
    """The rows with null in the cells that hold one of these: texts among texts, numbers among numbers."""
    for place, name in enumerate(rows.column_names if marks else []):
        cells, kind = rows.column(place), kind_of(rows.column(place).type)
        if kind == "category":
            cells = without(filled(cells), [str(mark) for mark in marks])
        elif kind in ("number", "integer"):
            values = [float(mark) for mark in marks if is_number(mark)]
            cells = masked(cells.combine_chunks(), pa.array(np.isin(numbers(cells, kind), values)))
        rows = rows.set_column(place, name, cells)
    return rows


def arrow(columns: Columns, name: str) -> pa.Table:
    """Arrays as columns.

    Raises:
        ValueError: If one holds neither numbers, dates nor text.
    """
    wrong = [f"{key} ({values.dtype})" for key, values in columns.items() if values.dtype.kind not in "biufMU"]
    if wrong:
        good = [key for key, values in columns.items() if values.dtype.kind in "biufMU"]
        hint = f"use {chosen_by(good)}" if good else "expected integers or floating-point numbers"
        raise ValueError(f"{name}: columns that are not numbers: {', '.join(wrong)}; {hint}")
    with reading(f"{name} cannot be read: "):
        return pa.table({k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in columns.items()})


def read_array(path: Path, columns: Sequence[str] | None, label: str | None) -> tuple[Columns | np.ndarray, Values]:
    """The columns of an .npy or .npz, or its array of images."""
    arrays, values = load_arrays(path), None
    if len(arrays) > 1:
        chosen = chosen_columns(list(arrays), columns, path.name, label)
        values = None if label is None else arrays[label].tolist()
        arrays = {name: arrays[name] for name in chosen}
        columns, label = None if len(arrays) == 1 else columns, None
    if not arrays:
        raise ValueError(f"{path.name}: expected at least one array, got none")
    only = next(iter(arrays.values()))
    if len(arrays) == 1 and only.ndim == 4 and label is None:
        return only, values
    if len(arrays) == 1 and only.ndim == 2:
        names = chosen_columns([str(i) for i in range(only.shape[1])], columns, path.name, label)
        values = values if label is None else only[:, int(label)].tolist()
        return {name: only[:, int(name)] for name in names}, values
    if len(arrays) > 1 and only.ndim == 1 and len({array.shape for array in arrays.values()}) == 1:
        return arrays, values
    if label is not None:
        raise ValueError(f"{path.name}: no label {label!r} beside its one array {only.shape}; save both in one .npz")
    if only.dtype.names:
        raise ValueError(
            f"{path.name} holds a structured array of fields {', '.join(only.dtype.names)}; save them side by side: "
            "np.save(path, np.stack([x[name] for name in x.dtype.names], 1))"
        )
    got = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    usable = [name for name, array in arrays.items() if array.ndim in (2, 4)]
    one = f", or use {chosen_by(usable[:1])}" if len(arrays) > 1 and usable else ""
    raise ValueError(
        f"{path.name}: expected one array (rows, columns) or (n, channels, height, width), or columns of one "
        f"length, got {got}; reshape and save again{one}"
    )

"""What jobs write, by suffix: samples as .npz, .npy, .csv, .tsv, .parquet or .png; tables as .csv, .tsv, .parquet."""

import math
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from torch import Tensor

from anila.data import Elsewhere
from anila.data.column import kind_of
from anila.data.style import plain, renamed, style_of, styled, write_csv
from anila.evaluation import pictures
from anila.evaluation.likelihood.grid import in_plane, plane_frame
from anila.messages import counted
from anila.runs.folder.whole import whole_file
from anila.runs.model.model import Model

SHOWN = 400
LEAST = {".csv": 8, ".tsv": 8, ".npy": 4, ".npz": 3, ".parquet": 3, ".png": 0}
"""Suffix -> bytes that a number of a sample takes in a file, at the least."""


def write_samples(model: Model, x: Tensor, path: Path) -> None:
    """Write samples by suffix; tables in the original units, pictures as grids or panels.

    Raises:
        ValueError: If the samples cannot be written so.
    """
    require_form(model.data.event_shape, path)
    names, values = in_units(model, x)
    match path.suffix.lower():
        case ".png":
            pictures.save(picture(model, x), path)
        case ".npy":
            with whole_file(path) as file:
                np.save(file, values)
        case ".npz":
            with whole_file(path) as file:
                np.savez_compressed(file, x=values, columns=names)
        case ".csv" | ".tsv" | ".parquet":
            write_table(model.units.rows.decode(x), path)


def require_disk(shape: tuple[int, ...], count: int, path: Path) -> None:
    """Refuse more samples than the disk has room for, before any is drawn.

    Raises:
        ValueError: Saying what they take.
    """
    least = count * math.prod(shape) * LEAST[path.suffix.lower()]
    free = shutil.disk_usage(path.absolute().parent).free
    if least > free:
        raise ValueError(
            f"{counted(count, 'sample')} take {least / 2**30:,.1f} GiB and more in {path}, and its disk has "
            f"{free / 2**30:,.1f} GiB free: ask for fewer, or write to another disk"
        )


def require_form(shape: tuple[int, ...], path: Path) -> None:
    """Refuse a suffix that points of this shape cannot be written by; before any is drawn, too.

    Raises:
        ValueError: Saying which to use.
    """
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv", ".parquet") and len(shape) != 1:
        raise ValueError(f"images of shape {shape} cannot be written as {suffix}; use .npz or .png")
    if suffix == ".png" and len(shape) != 3 and not in_plane(shape):
        raise ValueError(
            f"points of {counted(shape[0], 'coordinate')} cannot be drawn as a picture; use .npz, .csv or .parquet"
        )


def in_units(model: Model, x: Tensor) -> tuple[list[str], np.ndarray]:
    """Names of the coordinates and the samples, a table's in its own units; images have no names."""
    units = model.units
    if units == units.plain(x.shape[1:]):
        return list(units.columns), x.numpy()
    return list(units.columns), units.outward(x)


def write_table(table: pa.Table, path: Path) -> None:
    """By suffix; a .csv in the style in which the table came (`anila.data.style`), a .tsv with tabs; both in UTF-8.

    Warns:
        UserWarning: If it came in another encoding.
    """
    suffix, style = path.suffix.lower(), style_of(table)
    is_text = suffix in (".csv", ".tsv")
    if suffix == ".tsv":
        table = styled(table, style._replace(separator="\t"))
    with whole_file(path) as file:
        if is_text:
            write_csv(without_formulas(table), file)
        else:
            pyarrow.parquet.write_table(plain(table), file)
    if is_text and style.encoding:
        warnings.warn(f"{path} is UTF-8, while the table was in {style.encoding}", stacklevel=2)


FORMULA = re.compile(r"[=@\t\r]|[+-].*[^\d.eE+-]", re.DOTALL)
"""What a spreadsheet runs: text that begins so. Signed numbers do not match."""


def without_formulas(table: pa.Table) -> pa.Table:
    """With an apostrophe before names and cells of text that a spreadsheet would run, as it shows text itself."""

    def cells(column: pa.ChunkedArray) -> Any:
        found = [cell if cell is None else quoted(cell) for cell in column.to_pylist()]
        return pa.array(found, column.type)

    bare = [column.cast(pa.string()) if kind_of(column.type) == "category" else column for column in table.columns]
    columns = [cells(column) if pa.types.is_string(column.type) else column for column in bare]
    found = pa.table(columns, names=[quoted(name) for name in table.column_names])
    return styled(found, renamed(style_of(table), quoted))


def quoted(text: str) -> str:
    """With an apostrophe before it, where it is a formula.

    >>> quoted("=1+1"), quoted("-1.5e3"), quoted("-2+3+cmd|' /C calc'!A0")
    ("'=1+1", '-1.5e3', "'-2+3+cmd|' /C calc'!A0")
    """
    return f"'{text}" if FORMULA.match(text) else text


def picture(model: Model, x: Tensor) -> Any:
    """A grid of images, or the panel of a plane density."""
    if x.ndim == 4:
        return pictures.image_grid(x[:SHOWN])
    x_data = model.reference_data(max(len(x), 2000))
    shown = None if isinstance(model.data, Elsewhere) else x_data
    return pictures.plane_panel(shown, x, model.f, plane_frame(x_data.to(model.device)))

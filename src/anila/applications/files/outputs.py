"""What jobs write, by suffix: samples as .npz, .npy, .csv, .parquet or .png; tables as .csv or .parquet."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from torch import Tensor

from anila.data import Elsewhere
from anila.evaluation import pictures
from anila.evaluation.likelihood.grid import in_plane, plane_frame
from anila.runs.model.model import Model

SAMPLES = {".npz": "", ".npy": "", ".csv": "", ".parquet": "", ".png": "for a picture"}
TABLES = {".csv": "", ".parquet": ""}
IMAGES = {".png": "for a picture", ".npz": "for the images and their energies"}
"""Suffix -> what it gives, where that needs saying."""
SHOWN = 400


def require_out(path: Path, suffixes: Mapping[str, str], option: str = "--out") -> None:
    """Refuse an output before work is spent on it.

    Raises:
        ValueError: If the suffix is not one of these or the folder is not there.
    """
    if path.suffix.lower() not in suffixes:
        named = [f"{suffix} {what}".strip() for suffix, what in suffixes.items()]
        expected = " or ".join(named) if len(named) < 3 else f"one of {', '.join(named)}"
        raise ValueError(f"{option} {path}: expected {expected}")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"{option} {path}: there is no folder {path.absolute().parent}")


def write_samples(model: Model, x: Tensor, path: Path) -> None:
    """Write samples by suffix; tables in the original units, pictures as grids or panels.

    Raises:
        ValueError: If the samples cannot be written so.
    """
    names, values = in_units(model, x)
    match path.suffix.lower():
        case ".png":
            pictures.save(picture(model, x), path)
        case ".npy":
            np.save(path, values)
        case ".npz":
            np.savez_compressed(path, x=values, columns=names)
        case ".csv" | ".parquet":
            if values.ndim != 2:
                raise ValueError(f"images of shape {values.shape[1:]} do not go into {path.suffix}; use .npz or .png")
            write_table(model.units.rows.decode(x), path)


def in_units(model: Model, x: Tensor) -> tuple[list[str], np.ndarray]:
    """Names of the coordinates and the samples, a table's in its own units; images have no names."""
    units = model.units
    if units == units.plain(x.shape[1:]):
        return list(units.columns), x.numpy()
    return list(units.columns), units.outward(x)


def write_table(table: pa.Table, path: Path) -> None:
    """By suffix."""
    if path.suffix.lower() == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pyarrow.parquet.write_table(table, path)


def picture(model: Model, x: Tensor) -> Any:
    """A grid of images, or the panel of a plane density."""
    if x.ndim == 4:
        return pictures.image_grid(x[:SHOWN])
    if not in_plane(tuple(x.shape[1:])):
        raise ValueError(f"points of {x.shape[1]} coordinates make no picture; use .npz, .csv or .parquet")
    x_data = model.reference_data(max(len(x), 2000))
    shown = None if isinstance(model.data, Elsewhere) else x_data
    return pictures.plane_panel(shown, x, model.f, plane_frame(x_data))

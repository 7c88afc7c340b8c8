"""Samples as files people have: .npz, .npy, .csv, .parquet, .png."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from anila import pictures, score
from anila.trained import Trained

SUFFIXES = (".npz", ".npy", ".csv", ".parquet", ".png")
SHOWN = 400


def require_writable(path: Path) -> None:
    """Refuse an output before work is spent on it.

    Raises:
        ValueError: If the suffix is not known or the folder is not there.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"--out {path}: the suffix says what to write; expected one of {', '.join(SUFFIXES)}")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"--out {path}: there is no folder {path.absolute().parent}")


def write_samples(trained: Trained, x: Tensor, path: Path) -> None:
    """Write samples by suffix; tables in the original units, pictures as grids or panels.

    Raises:
        ValueError: If the samples cannot be written so.
    """
    names, values = in_units(trained, x)
    match path.suffix.lower():
        case ".png":
            pictures.save(picture(trained, x), path)
        case ".npy":
            np.save(path, values)
        case ".npz":
            np.savez_compressed(path, x=values, columns=names)
        case ".csv" | ".parquet":
            write_table(names, values, path)


def in_units(trained: Trained, x: Tensor) -> tuple[list[str], np.ndarray]:
    """Names of the coordinates and the samples, a table's in its own units; images have no names."""
    data: Any = trained.data
    if hasattr(data, "inverse"):
        return list(data.columns), data.inverse(x).numpy()
    return [f"x{i}" for i in range(x.shape[1])] if x.ndim == 2 else [], x.numpy()


def write_table(names: list[str], values: np.ndarray, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    if values.ndim != 2:
        raise ValueError(f"images of shape {values.shape[1:]} do not go into {path.suffix}; use .npz, .npy or .png")
    table = pa.table(dict(zip(names, values.T, strict=True)))
    if path.suffix.lower() == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pyarrow.parquet.write_table(table, path)


def picture(trained: Trained, x: Tensor) -> Any:
    """A grid of images, or the panel of a plane density."""
    if x.ndim == 4:
        return pictures.image_grid(x[:SHOWN])
    if not score.in_plane(tuple(x.shape[1:])):
        raise ValueError(f"points of {x.shape[1]} coordinates make no picture; use .npz, .csv or .parquet")
    x_data = trained.reference_data(max(len(x), 2000))
    return pictures.plane_panel(x_data, x, trained.f, score.plane_frame(x_data))

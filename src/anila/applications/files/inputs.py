"""Rows that people bring to a run, in the model's own coordinates, each with a name."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from anila.applications.files.tables import as_learned, only, points, warn_of_taken, with_columns
from anila.data import KNOWN, Images, Rows, load
from anila.data.archives import Entry, is_image
from anila.data.cache import decoded, some
from anila.data.foreign import expanded
from anila.data.sources import open_entries, survey
from anila.data.table_files import SUFFIXES, suffix_of
from anila.density.log_density import ClosedForm, values
from anila.messages import counted
from anila.rng import derived, rng
from anila.runs.model.model import Calibration, Model


class Named(NamedTuple):
    """Rows with what they are called."""

    names: list[str]
    x: Tensor
    """(n, *event)."""
    file: pa.Table | None = None
    """All columns of the file, where it is a table."""

    def joined(self, columns: dict[str, np.ndarray]) -> pa.Table:
        """The columns beside the rows of the file, or beside the names of images."""
        return with_columns(pa.table({"file": self.names}) if self.file is None else self.file, columns)


def rows_from(sources: Sequence[str], model: Model, results: Sequence[str] = (), missing: bool = False) -> Named:
    """The rows of files: images brought to the model's size and channels, or the rows of one table.

    Args:
        sources: Image files, folders and archives of images, arrays, names of known image sets; or one table.
        model: The run.
        results: Names of columns that will be joined to a table.
        missing: Whether cells of a row may be missing: it is a point with NaN then. They may where f has a closed form.

    Raises:
        FileNotFoundError: If there is nothing at a path.
        ValueError: If something there cannot be read, or has another shape than the model's points, or there are
            several tables.
    """
    if len(model.data.event_shape) == 3:
        parts = [images_of(source, model) for source in sources]
        return Named([name for part in parts for name in part.names], torch.cat([part.x for part in parts]))
    table = as_learned(only(sources), model.units)
    warn_of_taken(table.column_names, results)
    x = points(table, model.units, missing=missing or isinstance(model.f, ClosedForm))
    return Named([f"{sources[0]}[{i}]" for i in range(len(x))], x, table)


def images_of(source: str, model: Model) -> Named:
    """The images of one source."""
    channels, height, width = model.data.event_shape
    size = height if height == width else None
    path = expanded(source)
    if source in KNOWN or suffix_of(path) in SUFFIXES:
        data = known_images(source, size, channels) if source in KNOWN else load(source)
        require_shape(source, data.event_shape, model)
        assert isinstance(data, Rows)
        return Named([f"{source}[{i}]" for i in range(len(data))], data.rows(range(len(data))))
    if path.is_file() and is_image(path.name):
        return decode([Entry(source, path.read_bytes)], size, channels, model)
    files = survey(path)
    with open_entries(files) as entries:
        return decode(entries, size, channels, model)


def known_images(name: str, size: int | None, channels: int) -> Images:
    """The test images of a known set; all where it has no such split."""
    try:
        data = load(name, size=size, channels=channels, split="test")
    except ValueError:
        data = load(name, size=size, channels=channels, split="all")
    assert isinstance(data, Images)
    return data


def decode(entries: list[Entry], size: int | None, channels: int, model: Model) -> Named:
    """Decoded to the last pixel, or refused by name."""
    assert channels in (1, 3)
    pixels = list(decoded(entries, size, channels))
    bad = [
        f"{e.name} ({p or type(p).__name__})" for e, p in zip(entries, pixels, strict=True) if isinstance(p, Exception)
    ]
    if bad:
        raise ValueError(
            f"{len(bad)} of {counted(len(entries), 'image')} cannot be decoded: {some(bad)}; repair or remove them"
        )
    good = [p for p in pixels if isinstance(p, np.ndarray)]
    for entry, image in zip(entries, good, strict=True):
        require_shape(entry.name, image.shape, model)
    x = torch.from_numpy(np.stack(good)).float().div_(127.5).sub_(1)
    return Named([entry.name for entry in entries], x)


def require_shape(name: str, shape: tuple[int, ...], model: Model) -> None:
    """Refuse points of another shape than the model's."""
    if tuple(shape) != model.data.event_shape:
        raise ValueError(f"{name}: expected images of shape {model.data.event_shape}, the model's; got {tuple(shape)}")


def calibration(model: Model, n: int, source: str | None = None) -> Calibration:
    """How usual up to n ordinary rows are, in random order; rows that the model was not trained on, if it has some.

    Args:
        model: The model.
        n: At most so many.
        source: Where they are; by default what the model itself has held out.

    Raises:
        FileNotFoundError, ValueError: As `rows_from`.
    """
    if source is None:
        return model.calibration(n)
    x = rows_from([source], model).x
    chosen = x[torch.randperm(len(x), generator=rng(derived(model.config.training.seed, "held out")))[:n]]
    return Calibration(values(model.usual, chosen.to(model.device)), f"rows of {source}", True)

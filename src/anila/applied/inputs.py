"""Rows that people bring to a run, in the model's own coordinates, each with a name; and rows held out of training."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from anila.applied.tables import numbers, read_table
from anila.applied.units import Units
from anila.core import rng
from anila.data import KNOWN, Images, Rows, load, tables
from anila.data.archives import Entry, is_image
from anila.data.cache import decoded, some
from anila.data.sources import open_entries, survey
from anila.experiment import build_data
from anila.trained import Trained


class Named(NamedTuple):
    """Rows with what they are called."""

    names: list[str]
    x: Tensor
    """(n, *event)."""


class HeldOut(NamedTuple):
    """Rows to calibrate on, and what must be said of them."""

    x: Tensor
    source: str
    unseen: bool
    """Whether the model was not trained on them."""


def rows_from(sources: Sequence[str], trained: Trained) -> Named:
    """The rows of files: images brought to the model's size and channels, or complete rows of tables.

    Args:
        sources: Image files, folders and archives of images, arrays, tables, or names of known image sets.
        trained: The run.

    Raises:
        FileNotFoundError: If there is nothing at a path.
        ValueError: If something there cannot be read, or has another shape than the model's points.
    """
    read = images_of if len(trained.data.event_shape) == 3 else table_rows
    parts = [read(source, trained) for source in sources]
    return Named([name for part in parts for name in part.names], torch.cat([part.x for part in parts]))


def table_rows(source: str, trained: Trained) -> Named:
    units = Units.of(trained)
    values = numbers(read_table(source), units.columns)
    return Named([f"{source}[{i}]" for i in range(len(values))], units.inward(values))


def images_of(source: str, trained: Trained) -> Named:
    """The images of one source."""
    channels, height, width = trained.data.event_shape
    size = height if height == width else None
    path = Path(source).expanduser()
    if source in KNOWN or path.suffix.lower() in tables.SUFFIXES:
        data = known_images(source, size, channels) if source in KNOWN else load(source)
        require_shape(source, data.event_shape, trained)
        assert isinstance(data, Rows)
        return Named([f"{source}[{i}]" for i in range(len(data))], data.rows(range(len(data))))
    if path.is_file() and is_image(path.name):
        return decode([Entry(source, path.read_bytes)], size, channels, trained)
    files = survey(path)
    with open_entries(files) as entries:
        return decode(entries, size, channels, trained)


def known_images(name: str, size: int | None, channels: int) -> Images:
    """The test images of a known set; all where it has no such split."""
    for split in ("test", "all"):
        try:
            data = load(name, size=size, channels=channels, split=split)
        except ValueError:
            if split == "all":
                raise
        else:
            assert isinstance(data, Images)
            return data
    raise AssertionError


def decode(entries: list[Entry], size: int | None, channels: int, trained: Trained) -> Named:
    """Decoded to the last pixel, or refused by name."""
    assert channels in (1, 3)
    pixels = list(decoded(entries, size, channels))
    bad = [
        f"{e.name} ({p or type(p).__name__})" for e, p in zip(entries, pixels, strict=True) if isinstance(p, Exception)
    ]
    if bad:
        raise ValueError(f"{len(bad)} of {len(entries)} images cannot be decoded: {some(bad)}; repair or remove them")
    good = [p for p in pixels if isinstance(p, np.ndarray)]
    for entry, image in zip(entries, good, strict=True):
        require_shape(entry.name, image.shape, trained)
    x = torch.from_numpy(np.stack(good)).float().div_(127.5).sub_(1)
    return Named([entry.name for entry in entries], x)


def require_shape(name: str, shape: tuple[int, ...], trained: Trained) -> None:
    """Refuse points of another shape than the model's."""
    if tuple(shape) != trained.data.event_shape:
        raise ValueError(
            f"{name}: expected images of shape {trained.data.event_shape}, the model's; got {tuple(shape)}"
        )


def held_out(trained: Trained, n: int, source: str | None = None) -> HeldOut:
    """Up to n rows in random order that the model was not trained on, where there are some.

    Args:
        trained: The run.
        n: At most so many.
        source: Where they are; by default fresh draws of a toy, the test images of a set that was trained on its
            train images, and else the rows of training.

    Raises:
        FileNotFoundError, ValueError: As `rows_from`.
    """
    seed = rng(trained.config.training.seed, "held out").initial_seed() % 2**31
    if source is not None:
        x = rows_from([source], trained).x
        return HeldOut(x[torch.randperm(len(x), generator=rng(seed))[:n]], source, True)
    data = test_split(trained) or trained.data
    unseen = data is not trained.data or not isinstance(data, Rows)
    rows = min(n, len(data)) if isinstance(data, Rows) else n
    return HeldOut(data.batch(rows, seed, 0), f"{data.name}{', test' if data is not trained.data else ''}", unseen)


def test_split(trained: Trained) -> Rows | None:
    """The test images of the set that was trained on, in the model's channels; None where there are none."""
    config = trained.config.data
    if not isinstance(trained.data, Images) or config.split != "train":
        return None
    try:
        data = build_data(replace(config, split="test", flip=False))
    except ValueError:
        return None
    return data if isinstance(data, Rows) and data.event_shape == trained.data.event_shape else None

"""Sets of images in [-1, 1]: x = u / 127.5 - 1, with u the 8-bit level.

Images are decoded once, into one memory-mapped file of the cache, and are never all in memory. The rules of decoding
(orientation, transparency, depth, size) are those of `anila.data.decode`, the rules on folders and archives those of
`anila.data.sources` and `anila.data.archives`.
"""

import copy
import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from anila.data.cache import About, OnError, Progress, cache_folder, judge, pack, read_packed, some
from anila.data.dataset import Rows
from anila.data.foreign import printable, printable_refusals
from anila.data.known import KNOWN, locate
from anila.data.sources import Files, open_entries, select, survey
from anila.messages import counted
from anila.rng import rng

PACKING = "anila images 1"
"""Part of every cache key; it is increased when the decoding rules change."""


class Images(Rows):
    """Images of one size, read from the cache.

    Attributes:
        labels: Index into `classes` of every row; -1 where unknown.
        classes: Names of the classes, sorted.
        flip: Whether `batch` flips images left to right, each by a fair coin of (seed, iteration).
        description: What was taken, of which split, and what was left out and why, in one line.
    """

    def __init__(
        self,
        values: UInt8[np.ndarray, "rows channels height width"],
        about: About,
        name: str,
        key: str,
        flip: bool,
    ) -> None:
        fingerprint = hashlib.sha256(f"{key} flip={flip}".encode()).hexdigest()
        super().__init__(values, name, fingerprint, 127.5, about.labels, about.classes)
        self.flip = flip
        self.chosen: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, indices: Int[np.ndarray, "n"]) -> "Images":
        """The subset of these images, which stay in the cache.

        Args:
            indices: Row numbers, 0 <= index < len(self).
        """
        found = copy.copy(self)
        found.labels, found.chosen = self.labels[indices], indices if self.chosen is None else self.chosen[indices]
        return found

    def rows(self, indices: Int[Tensor, "n"] | Int[np.ndarray, "n"] | Sequence[int]) -> Float[Tensor, "n *event"]:
        """The images at these indices, in this order.

        Args:
            indices: Row numbers, 0 <= index < len(self).
        """
        return super().rows(indices if self.chosen is None else self.chosen[np.asarray(indices, dtype=np.int64)])

    def batch(self, n: int, seed: int, iteration: int) -> Float[Tensor, "n channels height width"]:
        """The n images of training iteration `iteration` (from 0).

        Args:
            n: Number of images; more than len(self) spans several epochs.
            seed: The user's seed.
            iteration: Which iteration, from 0.
        """
        x = super().batch(n, seed, iteration)
        if not self.flip:
            return x
        coin = torch.rand(n, generator=rng(seed, "flip", iteration)) < 0.5
        return torch.where(coin[:, None, None, None], x.flip(-1), x)


@printable_refusals()
def images(
    source: str | Path,
    size: int | None = None,
    channels: Literal[1, 3] | None = None,
    split: str = "train",
    flip: bool = False,
    cache: str | Path | None = None,
    on_error: OnError = "error",
    progress: Progress | None = None,
) -> Images:
    """A set of images, by name or from a folder, archive or idx file; decoded only the first time.

    Args:
        source: cifar10, flowers102, mnist, fashion-mnist, or a path.
        size: Side of the square images; None keeps their size, which must then be the same for all.
        channels: 1 for greyscale, 3 for colour; None takes 1 if every image is greyscale, else 3.
        split: Which of `train/`, `test/`, `val/` ... to take if images are in such folders; "all" takes all of them.
            Without such folders "train" and "all" both mean everything.
        flip: Flip images left to right by a fair coin, in `batch` only.
        cache: Cache folder; by default $ANILA_CACHE, else ~/.cache/anila.
        on_error: "error" refuses a set with images that cannot be decoded; "skip" leaves them out with a
            warning, unless they are more than one and more than 10%.
        progress: Called as progress(done, total): in bytes while downloading, then in images while decoding.

    Raises:
        FileNotFoundError: If there is nothing at the path, or a known set cannot be obtained.
        ValueError: If a setting, an image or an archive is refused.

    Warns:
        UserWarning: About files that look like images and are left out.
    """
    require_settings(size, channels, on_error)
    if isinstance(source, str) and source in KNOWN:
        source = locate(source, cache_folder(cache), progress)
    files = survey(Path(source))
    key = hashlib.sha256(repr((PACKING, files.digest(), size, channels, split)).encode()).hexdigest()
    packed = cache_folder(cache) / f"{key}.npy"
    values, about = read_packed(packed) or decode_once(packed, files, size, channels, split, progress)
    judge(files.root, about.skipped, about.total, on_error)
    remarks = [*files.remarks, *about.remarks]
    if remarks:
        warnings.warn(printable(f"{files.root}: {'; '.join(remarks)}"), stacklevel=3)
    data = Images(values, about, printable(files.root.name), key, flip)
    data.description = printable(described(data, files.root, split, about, remarks))
    return data


def described(data: Images, root: Path, split: str, about: About, remarks: list[str]) -> str:
    """What was taken, from which split, and what was left out, in one line."""
    others = [f"{name!r} ({n:,})" for name, n in about.splits.items()]
    of_split = f", split {split!r} of {', '.join(others)}" if others else " (no split folders)"
    skipped = [f"left out {len(about.skipped)} that cannot be decoded ({some(about.skipped)})"] if about.skipped else []
    return "; ".join([f"{counted(len(data), 'image')} from {root}{of_split}", *skipped, *remarks])


def decode_once(
    packed: Path,
    files: Files,
    size: int | None,
    channels: Literal[1, 3] | None,
    split: str,
    progress: Progress | None,
) -> tuple[UInt8[np.ndarray, "rows channels height width"], About]:
    with open_entries(files) as entries:
        pack(packed, files.root, select(entries, split, files.root), size, channels, progress)
    found = read_packed(packed)
    if found is None:
        raise OSError(f"{packed} cannot be read back after decoding; is something else writing to the cache?")
    return found


def require_settings(size: int | None, channels: int | None, on_error: str) -> None:
    if size is not None and size < 1:
        raise ValueError(f"size: expected a side of at least 1 pixel or None, got {size}")
    if channels not in (None, 1, 3):
        raise ValueError(f"channels: expected 1, 3 or None, got {channels}")
    if on_error not in ("error", "skip"):
        raise ValueError(f"on_error: expected 'error' or 'skip', got {on_error!r}")

"""Images stored as plain arrays: MNIST's idx files and CIFAR-10's binary batches.

idx (LeCun): bytes 0, 0, type, ndim, then the ndim sides as big-endian 32-bit integers, then the values; images are of
type 8 (uint8) with 3 sides, labels have 1 side. CIFAR-10 binary, per image: one label byte, then 3 × 32 × 32 bytes.
"""

import gzip
import re
import struct
import tarfile
from contextlib import ExitStack
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from anila.data.archives import Entry
from anila.data.foreign import COPY_AGAIN, Refused, reading
from anila.messages import counted

IMAGES = re.compile(r"(?P<split>[\w-]*?)-?images[.-]idx3-ubyte(\.gz)?")
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR_BATCH = re.compile(r"(?P<split>data|test)_batch(_\d)?\.bin")
CIFAR_BYTES = 3 * 32 * 32
CIFAR_BATCH_BYTES = 10_000 * (CIFAR_BYTES + 1)
DEFLATE = 1032
"""Largest compression ratio of gzip."""


def is_idx(name: str) -> bool:
    """Whether a name is that of an idx file of images.

    >>> is_idx("train-images-idx3-ubyte.gz"), is_idx("train-labels-idx1-ubyte.gz")
    (True, False)
    """
    return IMAGES.fullmatch(name) is not None


def labels_of(images: Path) -> Path | None:
    """The label file next to a file of images, compressed or not; None if there is none."""
    name = images.name.replace("images", "labels").replace("idx3", "idx1").removesuffix(".gz")
    beside = [images.with_name(name), images.with_name(f"{name}.gz")]
    return next((path for path in beside if path.is_file()), None)


def idx_entries(path: Path, stack: ExitStack, with_split: bool) -> list[Entry]:
    """The images of an idx file, named `split/label/number` so that folders have their usual meaning.

    Args:
        path: File of images, `.gz` or plain.
        stack: Closes the file.
        with_split: Whether names begin with the split ("train" or "test").

    Raises:
        ValueError: If the header is not one of images, or the labels do not fit.
    """
    file = stack.enter_context(open_plain(path))
    n, height, width = header(path, file, 3)
    if n * height * width > DEFLATE * path.stat().st_size:
        raise Refused(
            f"{path}: its header promises {counted(n, 'image')} of {height} × {width}, more than the file can hold"
        )
    labels = read_labels(path, n)
    split = f"{split_of(path.name)}/" if with_split else ""
    size, opened = height * width, partial(Image.frombytes, "L", (width, height))
    return [
        Entry(f"{split}{label}{i:06d}", partial(read_at, file, 16 + i * size, size), opened, background=0)
        for i, label in enumerate(labels)
    ]


def read_labels(images: Path, n: int) -> list[str]:
    path = labels_of(images)
    if path is None:
        return [""] * n
    with open_plain(path) as file:
        (count,) = header(path, file, 1)
        with reading(f"{path} cannot be read: ", COPY_AGAIN):
            labels = file.read(min(count, n + 1))
    if len(labels) != n:
        raise ValueError(f"{path}: expected {counted(n, 'label')} as {images.name} has images, got {len(labels)}")
    return [f"{label}/" for label in labels]


def split_of(name: str) -> str:
    """The split to which a file of images belongs, by its name.

    >>> split_of("t10k-images-idx3-ubyte"), split_of("train-images-idx3-ubyte.gz")
    ('test', 'train')
    """
    match = IMAGES.fullmatch(name)
    split = match["split"] if match else ""
    return "test" if split in ("t10k", "test") else "train"


def open_plain(path: Path) -> BufferedIOBase:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def header(path: Path, file: BufferedIOBase, ndim: int) -> tuple[int, ...]:
    """The sides of an idx array of uint8."""
    with reading(f"{path} cannot be read: ", COPY_AGAIN):
        start = file.read(4 + 4 * ndim)
    if len(start) != 4 + 4 * ndim or start[:4] != bytes((0, 0, 8, ndim)):
        raise ValueError(
            f"{path}: expected an idx file of uint8 with {counted(ndim, 'side')}, got a header {start[:4]!r}"
        )
    return struct.unpack(f">{ndim}I", start[4:])


def read_at(file: BufferedIOBase, offset: int, size: int) -> bytes:
    file.seek(offset)
    raw = file.read(size)
    if len(raw) < size:
        raise EOFError(f"the file ends after {counted(offset + len(raw), 'byte')}")
    return raw


def cifar_entries(path: Path, stack: ExitStack) -> list[Entry]:
    """The images of `cifar-10-binary.tar.gz`, named `split/class/number`.

    Args:
        path: The archive as published; it is read in memory.
        stack: Closes it.

    Raises:
        ValueError: If it is damaged or holds something else.
    """
    with reading(f"{path} is not a complete tar file: ", COPY_AGAIN):
        archive = stack.enter_context(tarfile.open(path))  # noqa: SIM115
        batches = [(m, match) for m in archive if (match := CIFAR_BATCH.fullmatch(Path(m.name).name))]
        entries = [entry for member, match in batches for entry in batch_entries(archive, member, match["split"])]
    if not entries:
        raise ValueError(f"{path}: expected data_batch_1.bin ... test_batch.bin inside, found none")
    return entries


def batch_entries(archive: tarfile.TarFile, member: tarfile.TarInfo, split: str) -> list[Entry]:
    record = CIFAR_BYTES + 1
    plain = member.isreg() and member.size <= CIFAR_BATCH_BYTES
    file = cast("BufferedIOBase | None", archive.extractfile(member)) if plain else None
    if file is None or member.size % record:
        raise ValueError(f"{member.name}: expected at most {CIFAR_BATCH_BYTES} bytes in records of {record}")
    labels = np.frombuffer(file.read(), np.uint8)[::record]
    folder = "train" if split == "data" else "test"
    return [
        Entry(f"{folder}/{CIFAR10[label]}/{i:06d}", partial(read_at, file, i * record + 1, CIFAR_BYTES), planes)
        for i, label in enumerate(labels)
    ]


def planes(raw: bytes) -> Image.Image:
    """An image from its red, green and blue planes."""
    return Image.fromarray(np.frombuffer(raw, np.uint8).reshape(3, 32, 32).transpose(1, 2, 0).copy())

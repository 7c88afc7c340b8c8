"""Decoded images as one memory-mapped uint8 .npy, (rows, channels, height, width), named by a hash of its inputs.

`<key>.npy` holds the pixels and `<key>.json` the labels, the classes, what was skipped and the sha256 of the pixels,
which is checked at every load. Both are written under a temporary name and renamed, the .npy last, so it is there whole
or not at all, however decoding ended. Temporary files of dead processes are removed.
"""

import json
import os
import platform
import re
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal
from uuid import uuid4

import numpy as np
from jaxtyping import UInt8

from anila.data.archives import Entry, Selection
from anila.data.decode import fit, pixels
from anila.data.foreign import Refused, local, printable, reading, sha256_of_file
from anila.messages import counted

Progress = Callable[[int, int], None]
"""Called as progress(done, total)."""

OnError = Literal["error", "skip"]
WORKERS = 2
AHEAD = 64
TOO_MANY_BAD = 0.10
NAMED = 5
A_DAY = 86_400.0
TEMPORARY = re.compile(r"\..+\.(?:npy|json)\.[0-9a-f]{8}(?:\.(\d+)@(.*))?\.tmp")


@dataclass(frozen=True)
class About:
    """What is known about the packed rows besides their pixels.

    Attributes:
        labels: Index into classes, one per row; -1 where unknown.
        classes: Names of the classes, sorted.
        total: Number of images chosen, decodable or not.
        skipped: Those that could not be decoded, "name (reason)".
        splits: Number of images in each split; empty without splits.
        remarks: Oddities of the folders inside, in words.
        sha256: sha256 of the file of pixels.
    """

    labels: list[int]
    classes: list[str]
    total: int
    skipped: list[str]
    splits: dict[str, int]
    remarks: list[str]
    sha256: str


def cache_folder(folder: str | Path | None) -> Path:
    """The argument, else $ANILA_CACHE, else ~/.cache/anila; made if need be.

    Raises:
        ValueError: If it cannot be written to.
    """
    path = local(folder or os.environ.get("ANILA_CACHE") or home_cache())
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot make the cache folder {path} ({error.strerror}); set ANILA_CACHE") from error
    if not os.access(path, os.W_OK):
        raise ValueError(f"cannot write to the cache folder {path}; set ANILA_CACHE to a writable one")
    return path


def home_cache() -> Path:
    try:
        return Path.home() / ".cache" / "anila"
    except RuntimeError as error:
        raise ValueError("no cache folder, as this user has no home; set ANILA_CACHE to a folder") from error


def read_packed(path: Path) -> tuple[UInt8[np.ndarray, "rows channels height width"], About] | None:
    """The memory-mapped pixels and what is known about them; None unless they are complete."""
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        about = About(**json.loads(path.with_suffix(".json").read_text("utf-8")))
        unchanged = about.sha256 == sha256_of_file(path)
    except (OSError, ValueError, TypeError, EOFError):
        return None
    return (values, about) if unchanged else None


def pack(
    path: Path,
    source: Path,
    chosen: Selection,
    size: int | None,
    channels: Literal[1, 3] | None,
    progress: Progress | None,
) -> None:
    """Decode every image once into `path`.

    Args:
        path: The .npy to write.
        source: Origin of the images, for messages.
        chosen: The images, in order.
        size: Side of the square; None demands that all have the same size.
        channels: 1, 3, or None for 1 if every image is greyscale and 3 otherwise.
        progress: Called after every image.

    Raises:
        ValueError: If more than one and more than 10% of them cannot be decoded, or if they differ in size.
    """
    remove_orphans(path.parent)
    entries, kept, skipped = chosen.entries, [], []
    with RowFile(path) as rows:
        for i, result in enumerate(decoded(entries, size, channels)):
            if isinstance(result, Exception):
                skipped.append(f"{entries[i].name} ({result})")
                require_few(source, skipped, len(entries))
            else:
                rows.append(result, entries[i].name)
                kept.append(chosen.labels[i])
            if progress:
                progress(i + 1, len(entries))
        classes = sorted(set(kept) - {""})
        index = {name: i for i, name in enumerate(classes)}
        labels = [index.get(name, -1) for name in kept]
        about = About(labels, classes, len(entries), skipped, chosen.splits, chosen.remarks, rows.sha256())
        write_text(path.with_suffix(".json"), json.dumps(asdict(about)))


def decoded(
    entries: list[Entry], size: int | None, channels: Literal[1, 3] | None
) -> Iterator[UInt8[np.ndarray, "channels height width"] | Exception]:
    """The pixels of each image, or the error; only a few are decoded ahead, so memory stays small."""

    def decode(entry: Entry, raw: bytes) -> np.ndarray:
        with reading():
            return pixels(fit(entry.open(raw), size, entry.background), channels)

    with ThreadPoolExecutor(WORKERS, "decode") as pool:
        ahead: deque[Future[np.ndarray] | Exception] = deque()
        for entry in entries:
            try:
                with reading():
                    raw = entry.read()
                ahead.append(pool.submit(decode, entry, raw))
            except Refused as error:
                ahead.append(error)
            if len(ahead) == AHEAD:
                yield outcome(ahead.popleft())
        yield from map(outcome, ahead)


def outcome(job: "Future[np.ndarray] | Exception") -> np.ndarray | Exception:
    if isinstance(job, Exception):
        return job
    try:
        return job.result()
    except Refused as error:
        return error


def require_few(source: Path, skipped: list[str], total: int) -> None:
    """Stop as soon as more than one and more than 10%, or all, cannot be decoded, whatever the policy."""
    if len(skipped) > max(1, TOO_MANY_BAD * total) or len(skipped) == total:
        bad = f"more than {TOO_MANY_BAD:.0%} of {counted(total, 'image')}" if total > 1 else "its only image"
        raise ValueError(f"{source}: {bad} cannot be decoded: {some(skipped)}")


def judge(source: Path, skipped: list[str], total: int, on_error: OnError) -> None:
    """Refuse images that could not be decoded, or warn of them.

    Args:
        source: Where they are.
        skipped: Their names and faults.
        total: Number of images found.
        on_error: "error" refuses, "skip" warns.

    Raises:
        ValueError: If there are any and the policy is "error".
    """
    if not skipped:
        return
    what = f"{source}: {len(skipped)} of {counted(total, 'image')} cannot be decoded: {some(skipped)}"
    if on_error == "error":
        raise ValueError(f"{what}; repair or remove them, or leave them out with data.on_error=skip")
    warnings.warn(printable(f"{what}; left out"), stacklevel=3)


def some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def write_text(path: Path, text: str) -> None:
    temporary = temporary_name(path)
    try:
        temporary.write_text(text, "utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid4().hex[:8]}.{os.getpid()}@{platform.node()}.tmp")


def remove_orphans(folder: Path) -> None:
    """Delete temporary files of dead processes of this machine, and those not written to for a day.

    Only files with names by `temporary_name` are deleted: the folder may hold others.
    """
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            writer = TEMPORARY.fullmatch(path.name)
            if writer and (orphaned(*writer.groups()) or time.time() - path.stat().st_mtime > A_DAY):
                path.unlink()


def orphaned(pid: str | None, node: str | None) -> bool:
    if pid is None or node != platform.node() or os.name != "posix":
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        pass
    return False


class RowFile:
    """A .npy of uint8 images written row by row; it takes its name when the `with` block ends without error.

    The first image fixes height and width. Rows are greyscale until the first colour image makes all of
    them colour.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.temporary = path, temporary_name(path)
        self.first, self.shape, self.count = "", (0, 0, 0), 0

    def __enter__(self) -> "RowFile":
        self.file = self.temporary.open("w+b")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self.file.close()
            self.temporary.unlink(missing_ok=True)

    def sha256(self) -> str:
        """sha256 of the final file."""
        self.write_header()
        self.file.flush()
        return sha256_of_file(self.temporary)

    def finish(self) -> None:
        self.write_header()
        self.file.flush()
        os.fsync(self.file.fileno())
        self.temporary.replace(self.path)

    def append(self, image: UInt8[np.ndarray, "channels height width"], name: str) -> None:
        """Write one row.

        Args:
            image: The pixels.
            name: Its name, for the message if it does not fit.
        """
        if not self.count:
            self.first, self.shape = name, image.shape
            self.write_header()
        if image.shape[1:] != self.shape[1:]:
            raise ValueError(
                f"images differ in size: {self.first} is {sides(self.shape)}, {name} is {sides(image.shape)} "
                "(height × width); make them one size, e.g. data.size=32"
            )
        if len(image) > self.shape[0]:
            self.colour()
        self.file.write(np.broadcast_to(image, self.shape).tobytes())
        self.count += 1

    def write_header(self) -> None:
        """Write the header, which numpy pads so that its length does not depend on the number of rows."""
        self.file.seek(0)
        shape = {"shape": (self.count, *self.shape), "fortran_order": False, "descr": "|u1"}
        np.lib.format.write_array_header_1_0(self.file, shape)

    def colour(self) -> None:
        """Turn the rows so far into colour, last row first, so that none is overwritten before it is read."""
        grey, self.shape = self.shape[1] * self.shape[2], (3, *self.shape[1:])
        self.write_header()
        start = self.file.tell()
        for row in reversed(range(self.count)):
            self.file.seek(start + row * grey)
            level = self.file.read(grey)
            self.file.seek(start + 3 * row * grey)
            self.file.write(3 * level)
        self.file.seek(start + 3 * self.count * grey)


def sides(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} × {shape[2]}"

"""Faults to inject: a process that dies at its k-th change to the disk, and a disk that takes no more."""

import builtins
import errno
import io
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from anila.runs.folder import checkpoint

CHANGES = ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync")


class Dead(BaseException):
    """The process is gone: nothing it would still have done is done."""


class Disk:
    """Counts what a process changes on the disk below a folder, and dies at the k-th change, half of it made.

    Args:
        dies_at: The change that is not made whole, from 1; 0 for none.
    """

    def __init__(self, dies_at: int = 0):
        self.dies_at, self.count = dies_at, 0

    def change(self) -> bool:
        """Count one more; True where only half of it is to be made."""
        self.count += 1
        if self.dies_at and self.count > self.dies_at:
            raise Dead
        return self.count == self.dies_at

    def wrapped(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """An operation that is made or not."""

        def operation(*args: Any, **more: Any) -> Any:
            if self.change():
                raise Dead
            return real(*args, **more)

        return operation

    def save_file(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """A writer of a whole file, which may write half of it."""

        def write(tensors: Any, path: Path) -> None:
            half = self.change()
            real(tensors, path)
            if half:
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
                raise Dead

        return write

    def open(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """Files whose writes count."""

        def opened(file: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
            if not set(mode) & set("wax+"):
                return real(file, mode, *args, **more)
            if self.change():
                raise Dead
            handle = real(file, mode, *args, **more)
            write = handle.write

            def half_write(text: Any) -> int:
                half = self.change()
                written = write(text[: len(text) // 2] if half else text)
                if half:
                    handle.flush()
                    raise Dead
                return written

            return Written(handle, half_write)

        return opened


class Written:
    """A file with another `write`."""

    def __init__(self, handle: Any, write: Callable[[Any], int]):
        self.handle, self.write = handle, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self.handle, name)

    def __enter__(self) -> "Written":
        return self

    def __exit__(self, *_: object) -> None:
        self.handle.close()


@contextmanager
def watched(disk: Disk) -> Iterator[None]:
    """Every change that the code in the block makes goes through this disk."""
    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            patch.setattr(os, name, disk.wrapped(getattr(os, name)))
        patch.setattr(checkpoint, "save_file", disk.save_file(checkpoint.save_file))
        opened = disk.open(io.open)
        patch.setattr(io, "open", opened)
        patch.setattr(builtins, "open", opened)
        yield


def dying(act: Callable[[], Any], first: int = 1, every: int = 1) -> Iterator[int]:
    """Run `act` again and again, dying so many changes later each time, until it lives."""
    for k in itertools.count(first, every):
        disk = Disk(k)
        try:
            with watched(disk):
                act()
        except Dead:
            yield k
        else:
            return


def full(*_: Any, **__: Any) -> Any:
    """An operation on a full disk."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/the/file")

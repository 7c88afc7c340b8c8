"""Atomic writes: a file is written under a temporary name, flushed to disk, and renamed.

The temporary name is unique, so several processes may write the same file: the last one wins.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name once it is completely written: a full disk leaves the old file as it was.

    Raises:
        OSError: From the file system, naming the path.
    """
    path = path.resolve()
    aside = path.with_name(f".{uuid4().hex[:12]}.writing")
    try:
        with aside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        aside.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a small file atomically."""
    with whole_file(path) as file:
        file.write(text.encode())

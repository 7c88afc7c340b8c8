"""A file that is there whole or not at all: written under a name of its own, flushed to disk, and renamed.

The name is another one each time, so several processes may write the same file: the last one's is there in the end.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from uuid import uuid4


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes its name once all of it is written: a full disk leaves what was there as it was.

    Raises:
        OSError: As the file system has it, naming the path.
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
    """Write a small file whole or not at all."""
    with whole_file(path) as file:
        file.write(text.encode())

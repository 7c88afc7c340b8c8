"""Where a folder is: known by its number on its device, so that one that was moved or removed is noticed, and found."""

import os
from contextlib import suppress
from pathlib import Path


class Place:
    """A folder, held open while it is written to.

    Args:
        path: Where it is now.
    """

    def __init__(self, path: Path):
        self.path, self.number, self.open = path, number_of(path), None
        with suppress(OSError):  # Windows opens no folder, and moves none that is in use
            self.open = os.open(path, os.O_RDONLY)

    def holds(self) -> bool:
        """Whether the folder is where it was."""
        return number_of(self.path) == self.number

    def now(self) -> Path | None:
        """Where the folder is, None where it is gone or the system does not say it (Linux does)."""
        with suppress(OSError):
            found = Path(f"/proc/self/fd/{self.open}").readlink()
            return found if number_of(found) == self.number else None
        return None

    def close(self) -> None:
        """Let go of it."""
        if self.open is not None:
            os.close(self.open)


def number_of(path: Path) -> tuple[int, int] | None:
    """Device and number of a folder, None where there is none."""
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None

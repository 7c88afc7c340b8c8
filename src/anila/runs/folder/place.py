"""The place of a folder, known by its inode, so that a folder that was moved or removed is noticed, and found."""

import os
from contextlib import suppress
from pathlib import Path


class Place:
    """A folder that is held open while it is written to.

    Args:
        path: Its current path.
    """

    def __init__(self, path: Path):
        self.path, self.number, self.open = path, number_of(path), None
        with suppress(OSError):  # Windows cannot open folders, and moves none that is in use
            self.open = os.open(path, os.O_RDONLY)

    def holds(self) -> bool:
        """Whether the folder is still where it was."""
        return number_of(self.path) == self.number

    def now(self) -> Path | None:
        """The current path of the folder; None if it is gone or the system does not tell (Linux does)."""
        with suppress(OSError):
            found = Path(f"/proc/self/fd/{self.open}").readlink()
            return found if number_of(found) == self.number else None
        return None

    def close(self) -> None:
        """Release the folder."""
        if self.open is not None:
            os.close(self.open)


def number_of(path: Path) -> tuple[int, int] | None:
    """Device and inode of a folder; None if there is none."""
    with suppress(OSError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None

"""Arrays of .npy and .npz files, read without executing anything in them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from anila.data.foreign import Refused, reading

BEGINS = {".npy": b"\x93NUMPY", ".npz": b"PK"}


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The memory-mapped array of a .npy, or the arrays of an .npz; pickled ones are refused."""
    suffix = path.suffix.lower()
    require_kind(path, suffix)
    if suffix == ".npy":
        with unpickled(path, f"is not a complete {suffix} file"):
            return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False)}
    with unpickled(path, f"is not a complete {suffix} file"), path.open("rb") as file:
        archive, arrays = np.load(file, allow_pickle=False), {}
        for name in archive.files:
            with unpickled(path, f"is not a complete {suffix} file: its array {name!r} cannot be read"):
                arrays[name] = archive[name]
                if not isinstance(arrays[name], np.ndarray):  # NumPy returns the bytes of what it does not know
                    raise ValueError("it does not begin as an array does")
        return arrays


def require_kind(path: Path, suffix: str) -> None:
    """Refuse a file whose first bytes do not match its suffix."""
    with reading(f"{path} cannot be read: "), path.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"\x80"):
        raise pickled(path)
    if start and not start.startswith(BEGINS[suffix]):
        raise Refused(f"{path} is not a complete {suffix} file: it begins with {start!r}; save or copy it again")


@contextmanager
def unpickled(path: Path, fault: str) -> Iterator[None]:
    """Any error inside becomes a refusal of the path, because of its pickles if these are the reason."""
    try:
        with reading(f"{path} {fault}: ", "; save or copy it again"):
            yield
    except Refused as error:
        if any(words in str(error.__cause__) for words in ("allow_pickle", "Python objects")):
            raise pickled(path) from error
        raise


def pickled(path: Path) -> Refused:
    return Refused(
        f"{path} holds pickled Python objects, which could run code when read, so it is refused; "
        "save plain numbers: np.save(path, np.asarray(rows, dtype=np.float32))"
    )

"""The boundary: foreign bytes become a value, or a printable refusal that names the file.

Libraries raise all kinds of errors on damaged bytes (Pillow alone a dozen), so none are listed here: inside `reading`,
every error becomes a refusal. Names of files, members and columns are foreign too, and are escaped.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import UnidentifiedImageError

from anila.messages import printable

COPY_AGAIN = "; copy or download it again"


class Refused(ValueError):
    """A refusal that already says what is refused and why."""


@contextmanager
def reading(what: str = "", then: str = "") -> Iterator[None]:
    """Any error inside becomes a refusal.

    Args:
        what: The beginning of the message, e.g. "a.zip is not a complete zip file: "; the library's reason follows.
        then: Its end, e.g. "; download it again".

    Raises:
        Refused: Beginning with `what`; an error that is one already stays as it is.
    """
    try:
        yield
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"{what}{reason(error)}{then}") from error


def reason(error: Exception) -> str:
    """The first line of what a library says, without the addresses of its objects.

    >>> reason(ValueError("bad header\\nread the manual")), reason(EOFError())
    ('bad header', 'EOFError')
    """
    if isinstance(error, UnidentifiedImageError):
        return "cannot identify the kind of image"
    said = "; ".join(error.args) if error.args and all(isinstance(arg, str) for arg in error.args) else str(error)
    lines = said.strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def printable_refusals() -> Iterator[None]:
    """Escape unprintable characters in error messages; also usable as a decorator."""
    try:
        yield
    except (ValueError, OSError) as error:
        if str(error).isprintable():
            raise
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        raise kind(printable(str(error))) from None


def expanded(path: str | Path) -> Path:
    """The path with ~ expanded if it means a home directory: `~$people.csv` is a file."""
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def local(path: str | Path) -> Path:
    """The absolute path, with ~ expanded."""
    return expanded(path).absolute()


def sha256_of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}; repair or remove it") from error

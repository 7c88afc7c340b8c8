"""What is said to people: warnings as lines, and the word that was perhaps meant."""

import difflib
import json
import math
import operator
import os
import shlex
import subprocess
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

Say = Callable[[str], None]
"""Takes a line of text for the user."""


def printable(text: str) -> str:
    r"""With escapes for control characters, line ends and bytes that are no text.

    >>> printable("größe\x1b[31m\n")
    'größe\\x1b[31m\\n'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names in a row; of very many the first and the last, and how many there are.

    >>> listed(["a", "b"]), listed([str(i) for i in range(500)], most=5)
    ('a, b', '0, 1, 2, …, 499 (500 in all)')
    """
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[: most - 2])}, …, {names[-1]} ({len(names):,} in all)"


def in_a_sentence(names: Sequence[str], last: str) -> str:
    """Names with a word before the last one.

    >>> in_a_sentence(["a", "b", "c"], "or")
    'a, b or c'
    """
    return f" {last} ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def lines_printable(text: str) -> str:
    """`printable`, with line ends left: names in it that are foreign do nothing to a terminal."""
    return "\n".join(map(printable, text.split("\n")))


def as_typed(*words: object) -> str:
    """A command as it can be typed: in the quotes that the shells of this system know.

    >>> as_typed("anila", "sample", "my run")
    "anila sample 'my run'"
    """
    join = subprocess.list2cmdline if os.name == "nt" else shlex.join
    return join([str(word) for word in words])


def as_json(data: Any, indent: int | None = None) -> str:
    """JSON with null where a number is not finite: NaN is none, and many a reader refuses it.

    >>> as_json({"a": [1.5, float("nan")]})
    '{"a": [1.5, null]}'
    """
    return json.dumps(with_null(data), indent=indent, allow_nan=False)


def with_null(data: Any) -> Any:
    """Data with None in the place of numbers that are not finite."""
    if isinstance(data, Mapping):
        return {name: with_null(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [with_null(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def surviving(say: Say) -> Say:
    """Say a line should anybody still listen: a closed pipe, a full disk or an old encoding ends no work."""

    def said(text: str) -> None:
        with suppress(OSError, ValueError):
            try:
                say(text)
            except UnicodeEncodeError:
                say(text.encode("ascii", "backslashreplace").decode())

    return said


@contextmanager
def warnings_to(say: Say) -> Iterator[None]:
    """Warnings become lines for the user, each text once."""
    seen: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in seen:
            seen.add(str(message))
            say(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = show
        yield


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown word.

    >>> did_you_mean("moon", ["moons", "circles", "moons"])
    "; did you mean 'moons'?"
    """
    return meant(difflib.get_close_matches(word, list(dict.fromkeys(known)), n=3, cutoff=0.5))


def meant(near: Sequence[str]) -> str:
    """The same, of words that are known to be near."""
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def counted(n: int, noun: str, plural: str = "") -> str:
    """How many there are of something.

    >>> counted(1, "row"), counted(2000, "data point"), counted(0, "class", "classes")
    ('1 row', '2,000 data points', '0 classes')
    """
    return f"{n:,} {noun if n == 1 else plural or noun + 's'}"


def are(n: int) -> str:
    """The verb after `counted`."""
    return "is" if n == 1 else "are"


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(75.0), duration(3 * 3600.0 + 120), duration(40 * 3600.0)
    ('1 min 15 s', '3 h 2 min', '40 h 0 min')
    """
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours} h {m} min" if hours else f"{m} min {s} s" if m else f"{s} s"


def whole_number(name: str, value: Any, least: int | None = None) -> int:
    """A whole number as people give it, of NumPy or torch too.

    Raises:
        TypeError: If it is none.
        ValueError: If it is smaller than the least that is allowed.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number; got {value!r}")
    if least is not None and number < least:
        raise ValueError(f"{name} must be at least {least}; got {value!r}")
    return number


def lacks_memory(error: BaseException) -> bool:
    """Whether it is torch's word, in one of its several ways, for more memory than there is."""
    words = ("can't allocate memory", "Storage size calculation overflowed")
    return type(error).__name__ == "OutOfMemoryError" or any(text in str(error) for text in words)

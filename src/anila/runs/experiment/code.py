"""The user's own code, FILE.py:NAME. Loading it runs that file: it is trusted code, not data.

A file is run once for each of its contents, so that the same name gives the same object. Its sha256 identifies the
content.
"""

import sys
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from anila.data.foreign import local
from anila.messages import did_you_mean


class Code(NamedTuple):
    """An object that a Python file defines."""

    word: str
    """FILE.py:NAME, with the whole path."""
    thing: Any
    digest: str
    """sha256 of the file."""


def is_code(word: str) -> bool:
    """Whether a word has the form FILE.py:NAME.

    >>> is_code("mine.py:kick"), is_code("mala")
    (True, False)
    """
    return ".py:" in word


def load_code(word: str, what: str) -> Code:
    """The object of this name in a file.

    Args:
        word: "FILE.py:NAME".
        what: Its purpose, with which messages begin.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be run, or has no such name.
    """
    where, _, name = word.rpartition(":")
    if not where or not name.isidentifier():
        raise ValueError(f"{what} {word}: expected FILE.py:NAME, e.g. mine.py:{name if name.isidentifier() else 'f'}")
    path = local(where)
    if not path.is_file():
        raise FileNotFoundError(f"{what}: no file {path}")
    if path.suffix != ".py":
        raise ValueError(f"{what}: {path} is not a Python file; expected FILE.py:NAME")
    content = path.read_bytes()
    try:
        module = run(path, content)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{what}: {path} cannot be run: {type(error).__name__}: {error}") from error
    things = {key: value for key, value in vars(module).items() if is_usable(value) and not key.startswith("_")}
    if name not in things:
        there = ", ".join(things) or "none"
        raise ValueError(f"{what}: {path} has no function {name!r}{did_you_mean(name, things)}; it has {there}")
    return Code(f"{path}:{name}", things[name], digest(content))


def is_usable(value: Any) -> bool:
    """Whether the value can be called, or is a distribution."""
    return callable(value) or hasattr(value, "log_prob")


@cache
def run(path: Path, content: bytes) -> ModuleType:
    """The module made by running this content of the file."""
    module = ModuleType(f"{path.stem}-{digest(content)[:12]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    exec(compile(content, path, "exec"), vars(module))
    return module


def digest(content: bytes) -> str:
    """The sha256 of a content."""
    return sha256(content).hexdigest()

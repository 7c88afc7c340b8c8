"""Code of the user's own, FILE.py:NAME. Loading it runs that file: it is the user's code, not data.

A file is run once for each content it has had, so that the same words give the same things. Its sha256 says which
content that was.
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
    """Something that a file of Python defines."""

    word: str
    """FILE.py:NAME, with the whole path."""
    thing: Any
    digest: str
    """sha256 of the file."""


def is_code(word: str) -> bool:
    """Whether it is spelled as FILE.py:NAME.

    >>> is_code("mine.py:kick"), is_code("mala")
    (True, False)
    """
    return ".py:" in word


def load_code(word: str, what: str) -> Code:
    """What a file calls by a name.

    Args:
        word: "FILE.py:NAME".
        what: What it is for, with which messages begin.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be run, or has no such name.
    """
    where, _, name = word.rpartition(":")
    if not where or not name.isidentifier():
        raise ValueError(f"{what} {word}: expected FILE.py:NAME, e.g. mine.py:{name if name.isidentifier() else 'f'}")
    path = local(where)
    if not path.is_file():
        raise FileNotFoundError(f"{what}: no file {path}")
    if path.suffix != ".py":
        raise ValueError(f"{what}: {path} is no file of Python; expected FILE.py:NAME")
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
    """Whether it can be called, or is a distribution."""
    return callable(value) or hasattr(value, "log_prob")


@cache
def run(path: Path, content: bytes) -> ModuleType:
    """The module that this content of the file makes."""
    module = ModuleType(f"{path.stem}-{digest(content)[:12]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    exec(compile(content, path, "exec"), vars(module))
    return module


def digest(content: bytes) -> str:
    """sha256."""
    return sha256(content).hexdigest()

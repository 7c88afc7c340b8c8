"""Process-wide settings that are changed for a while: of several threads, the last to leave restores them.

If each thread restored what it found, a second one would restore the value that the first had set.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any


class ForAWhile:
    """A context manager inside which a setting has a given value.

    Args:
        read: Returns the setting.
        write: Changes the setting.
        value: Its value inside.
    """

    def __init__(self, read: Callable[[], Any], write: Callable[[Any], None], value: Any):
        self.read, self.write, self.value = read, write, value
        self.lock, self.inside, self.before = Lock(), 0, None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self.lock:
            if not self.inside:
                self.before = self.read()
                self.write(self.value)
            self.inside += 1
        try:
            yield
        finally:
            with self.lock:
                self.inside -= 1
                if not self.inside:
                    self.write(self.before)

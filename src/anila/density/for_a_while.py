"""Settings of the whole process that are another for a while: of several threads, the last to leave puts them back.

Each by itself would put back what it found, and one that came second found what the first had set.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any


class ForAWhile:
    """A setting that has one value inside.

    Args:
        read: Gives the setting.
        write: Takes it.
        value: What it is inside.
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

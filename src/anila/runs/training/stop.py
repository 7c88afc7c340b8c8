"""Stopping on request: the iteration is finished and saved first, on every process."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from anila.learning.distributed import Ranks


class Stop:
    """The signal that asked this process to stop, and the one on which all processes stop."""

    asked: int | None = None
    number: int | None = None
    lost: bool = False
    """Whether all processes stop because one of them has lost the run's folder."""

    def agreed(self, ranks: Ranks, lost: bool = False) -> bool:
        """Whether any process was asked to stop or lost the run's folder; then all stop after the same iteration."""
        asked, gone = ranks.gather([float(self.asked or 0), float(lost)]).max(0).values.tolist()
        self.lost = bool(gone)
        self.number = int(asked) or (int(signal.SIGTERM) if gone else None)
        return self.number is not None


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """SIGINT or SIGTERM requests a stop after the iteration. A second Ctrl-C acts at once; a second SIGTERM does not,
    as launchers and batch systems each send one. Outside the main thread, signals are left as they are.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous: dict[int, Any] = {}

    def ask(number: int, _: Any) -> None:
        stop.asked = number
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    try:
        for s in (signal.SIGINT, signal.SIGTERM):
            previous[s] = signal.getsignal(s)
            signal.signal(s, ask)
        yield stop
    finally:
        for s, handler in previous.items():
            signal.signal(s, handler)

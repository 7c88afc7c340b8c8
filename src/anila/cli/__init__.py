"""The command line: one file a command; `app` wires them, `console` is what they share."""

import ctypes
import os
import sys

TRIM, MMAP = -1, -3
"""GNU's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD (malloc.h)."""


def main() -> None:
    """Entry point of the command `anila`."""
    # GNU's OpenMP lets threads spin for milliseconds before they sleep, and they hold the core that the others need:
    # with one busy process beside, drawing took ten times as long. A shorter spin costs hardly anything without one.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    keep_memory()
    from anila.cli import app

    app.main()


def keep_memory() -> None:
    """Let GNU's malloc keep what tensors free, up to 1 GiB.

    It hands memory back to the system by default, which clears every page once more for the next tensor: a fifth of the
    time that images took to draw.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(TRIM, 2**30)
        libc.mallopt(MMAP, 2**25)

"""One process at a time trains in a folder, and the file `lock` there says which.

The kernel's lock, on `.lock`, decides between processes of one machine and ends with the process. What `lock` says
decides between machines, and on a file system that has no locks.
"""

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout


class RunError(ValueError):
    """A folder that cannot be this run: in use, another run's, or not writable."""


class Lost(OSError):
    """A run's folder that was moved, removed or closed to writing while it trained."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; that of a dead process is taken over.

    Raises:
        RunError: If a live process holds it.
    """
    lock = folder / "lock"
    with contextlib.ExitStack() as held:
        alone = True
        try:
            held.enter_context(FileLock(folder / ".lock", timeout=0, fallback_to_soft=False))
        except Timeout:
            raise RunError(
                f"{holder_of(lock) or 'another process'} is training in {folder.absolute()}; wait for it, or choose "
                "another --run"
            ) from None
        except OSError:
            alone = False  # a file system without locks
        if holder := holder_of(lock, alone):
            raise RunError(
                f"{holder} is training in {folder.absolute()}; wait for it, choose another --run, or delete the file "
                f"{lock.name} there if it is gone"
            )
        mine = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
        lock.write_text(mine)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # the folder may be another one by now
                if lock.read_text() == mine:
                    lock.unlink()


def holder_of(lock: Path, alone: bool = False) -> str | None:
    """Who holds a lock, None if that process is dead or the file says nothing.

    Args:
        lock: The file.
        alone: Whether the kernel knows of no other process of this machine: then another has this number by now.
    """
    try:
        holder = json.loads(lock.read_text())
        pid, host = int(holder["pid"]), str(holder["host"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    alive = host != socket.gethostname() or (not alone and is_alive(pid))
    return f"process {pid} on {host}" if alive else None


def is_alive(pid: int) -> bool:
    """Whether another process of this machine has this number."""
    if sys.platform == "win32":  # os.kill would send Ctrl-C; there, the kernel's lock has decided
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()

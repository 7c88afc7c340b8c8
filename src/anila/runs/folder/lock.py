"""Only one process at a time trains in a folder, and the file `lock` there says which.

The operating system's lock, on `.lock`, decides between processes of one machine and ends with the process. The content
of `lock` decides between machines, and on a file system without locks.
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
    """A folder that cannot hold this run: it is in use, holds another run, or is not writable."""


class Lost(OSError):
    """A run's folder was moved, removed or made read-only while it trained."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; the lock of a dead process is taken over.

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
            with contextlib.suppress(OSError):  # the folder may have been replaced
                if lock.read_text() == mine:
                    lock.unlink()


def holder_of(lock: Path, alone: bool = False) -> str | None:
    """The holder of a lock; None if that process is dead or the file does not tell.

    Args:
        lock: The file.
        alone: Whether no other process of this machine holds the system's lock: then its number has been reused.
    """
    try:
        holder = json.loads(lock.read_text())
        pid, host = int(holder["pid"]), str(holder["host"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    alive = host != socket.gethostname() or (not alone and is_alive(pid))
    return f"process {pid} on {host}" if alive else None


def is_alive(pid: int) -> bool:
    """Whether another process of this machine has this process id."""
    if sys.platform == "win32":  # os.kill would send Ctrl-C; the system's lock has decided
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()

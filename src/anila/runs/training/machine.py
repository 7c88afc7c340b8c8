"""The machine on which a run learns: its cores, and memory that is kept. torch is imported only on use."""

import ctypes
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anila.runs.experiment import Experiment

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of GNU's mallopt(3)."""


def keep_freed_memory() -> None:
    """Let GNU's malloc keep what tensors free, up to 1 GiB.

    By default it returns memory to the system, which clears every page again for the next tensor: a tenth of a step of
    images, and a fifth of the time that images take to be drawn.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_TRIM_THRESHOLD, 2**30)
        if not libc.mallopt(M_MMAP_THRESHOLD, 2**30):
            libc.mallopt(M_MMAP_THRESHOLD, 2**25)  # the most that older versions accept


def cores() -> int:
    """Number of cores of this process, or OMP_NUM_THREADS if smaller: more threads would wait for each other."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(bound, int(asked)) if asked.isdecimal() and int(asked) else bound


def set_threads(config: "Experiment", processes: int = 1) -> None:
    """Small networks run fastest on one thread, convolutions on all cores, shared by the processes of a machine."""
    import torch

    keep_freed_memory()
    small = config.network.is_of_vectors
    torch.set_num_threads(config.training.threads or (1 if small else max(1, cores() // processes)))

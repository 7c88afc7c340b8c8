"""Kill -9 a run at random moments: is it always resumable, and does it end as if nothing had been?

A process trains with a checkpoint every iteration, so that much of its time goes into writing, and is killed at a
moment drawn uniformly; the next one goes on. After each kill every numbered checkpoint must be sound. At the end the
newest is compared, bit for bit, with that of a run of as many iterations that nobody disturbed.

    python benchmarks/kills.py --kills 50
"""

import argparse
import os
import random
import signal
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from anila import checkpoint
from anila.experiment import PRESETS, Experiment, resolve
from anila.train import train

SETTINGS = ["network.hidden=[8]", "network.fourier=0", "training.batch=20", "training.chains=20", "sampler.steps=2",
            "optimizer.decay=constant", "training.ema=0.9", "training.log_every=1"]  # fmt: skip
LONGEST = 1.0
"""Seconds after which a process is killed at the latest."""


def settings(iterations: int, every: int) -> Experiment:
    more = [f"training.{name}={value}" for name, value in
            (("iterations", iterations), ("checkpoint_every", every), ("picture_every", 10**6))]  # fmt: skip
    return resolve(PRESETS["rings"].experiment, [*SETTINGS, *more])


def start(folder: Path) -> int:
    """A process that trains in the folder until it is killed."""
    pid = os.fork()
    if pid:
        return pid
    try:
        train(settings(10**6, 1), folder, lambda _: None)
    finally:
        os._exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None)
    a = parser.parse_args()
    torch.set_num_threads(1)
    moments, out = random.Random(a.seed), a.out or Path(tempfile.mkdtemp())
    at, half_written = 0, 0
    for _ in range(a.kills):
        pid = start(out / "killed")
        time.sleep(moments.uniform(0, LONGEST))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), f"the process ended by itself, status {status}"
        path, notices = checkpoint.newest(out / "killed/checkpoints")
        assert not notices, notices
        reached = int(path.name) if path else 0
        assert reached >= at, f"fell back from iteration {at} to {reached}"
        at = reached
        half_written += any((out / "killed/checkpoints").glob(".*"))
    at = train(settings(at + 3, 1), out / "killed", lambda _: None).iteration
    train(settings(at, 10**6), out / "whole", lambda _: None)
    killed, whole = (
        load_file(out / name / f"checkpoints/{at:09d}/learner.safetensors") for name in ("killed", "whole")
    )
    assert killed.keys() == whole.keys()
    assert all(torch.equal(killed[k], whole[k]) for k in whole)
    print(f"{a.kills} kills, {half_written} of them while a checkpoint was being written or deleted")
    print(f"resumed every time, no partial checkpoint found; iteration {at} equals an undisturbed run's bit for bit")


if __name__ == "__main__":
    main()

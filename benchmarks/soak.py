"""Hours of interruptions: does a run that is stopped, killed and paused every few minutes end as one that never was?

One process trains undisturbed. Another trains the same run, and every few minutes is sent SIGTERM, SIGINT, SIGKILL, or
SIGSTOP and a while later SIGCONT; a new one continues. After each, every checkpoint must be sound and none lost. At the
end both are compared bit for bit, and resident memory, noted every hundred iterations, must not have grown by more
than 2% since the first quarter of each process's life (it is read from /proc, so on Linux).

The same command continues with the minutes that are left; the undisturbed run then starts again.

    python benchmarks/soak.py --minutes 120 --out runs/soak
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from anila.runs.experiment import PRESETS, Experiment, resolve
from anila.runs.folder import checkpoint
from anila.runs.training.train import train

SETTINGS = ["network.hidden=[16]", "network.fourier=4", "training.batch=50", "training.chains=50", "start.size=100",
            "sampler.steps=5", "optimizer.decay=constant", "training.ema=0.99", "training.log_every=50",
            "training.checkpoint_every=200", "training.picture_every=200", "training.threads=1"]  # fmt: skip
NOTED = 100
"""Iterations from one note of memory to the next."""
FLAT = 1.02
SIGNALS = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT, "SIGKILL": signal.SIGKILL, "SIGSTOP": signal.SIGSTOP}


def settings(iterations: int) -> Experiment:
    return resolve(PRESETS["rings"].experiment, [*SETTINGS, f"training.iterations={iterations}"])


def start(folder: Path, rest: float) -> int:
    """A process that trains in the folder until it is stopped, and notes its memory beside it."""
    pid = os.fork()
    if pid:
        return pid
    try:
        stopped = train(settings(10**9), folder, lambda _: None, noting(folder.with_suffix(".memory"), rest)).stopped_by
        os._exit(128 + (stopped or 0))
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def noting(file: Path, rest: float) -> Callable[[int, dict[str, float]], None]:
    def watch(i: int, _: dict[str, float]) -> None:
        if i % NOTED == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            with file.open("a") as lines:
                lines.write(f"{os.getpid()} {i} {pages * os.sysconf('SC_PAGE_SIZE')}\n")
        time.sleep(rest)

    return watch


def reached(run: Path) -> int:
    """The iteration of the newest checkpoint, every one of which is sound."""
    paths = checkpoint.listed(run / "checkpoints")
    for path in paths:
        checkpoint.verify(path)
    return max((int(path.name) for path in paths), default=0)


def interrupt(pid: int, name: str, moments: random.Random) -> bool:
    """Send the signal, and see what becomes of it; whether the process is gone."""
    os.kill(pid, SIGNALS[name])
    if name == "SIGSTOP":
        time.sleep(moments.uniform(1, 30))
        os.kill(pid, signal.SIGCONT)
        time.sleep(1)
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "a pause ended the process"
        return False
    status, number = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), SIGNALS[name]
    assert status in (-number, 128 + number), f"status {status} after {name}"  # the former before it trains
    return True


def lives(file: Path) -> dict[str, list[int]]:
    """Bytes that each process noted."""
    found: dict[str, list[int]] = {}
    for line in file.read_text().splitlines():
        pid, _, size = line.split()
        found.setdefault(pid, []).append(int(size))
    return found


def growth(sizes: list[int]) -> float:
    """Median of the last quarter over that of the second: the first is the warm-up."""
    quarter = len(sizes) // 4
    return statistics.median(sizes[-quarter:]) / statistics.median(sizes[quarter : 2 * quarter])


def soak(out: Path, minutes: float, every: float, rest: float) -> Counter[str]:
    """Interrupt the run for what is left of so many minutes.

    Returns:
        How often each signal was sent, in all.
    """
    record, run = out / "soak.json", out / "disturbed"
    sofar = json.loads(record.read_text()) if record.exists() else {"seconds": 0.0, "signals": {}}
    signals, moments = Counter[str](sofar["signals"]), random.Random(len(sofar["signals"]) + int(sofar["seconds"]))
    pid, at = start(run, rest), reached(run)
    while sofar["seconds"] < 60 * minutes:
        began, name = time.monotonic(), moments.choice(sorted(SIGNALS))
        time.sleep(60 * moments.uniform(0, 2 * every))
        gone = interrupt(pid, name, moments)
        assert reached(run) >= at, f"fell back from iteration {at} to {reached(run)}"
        at, signals[name] = reached(run), signals[name] + 1
        pid = start(run, rest) if gone else pid
        sofar = {"seconds": sofar["seconds"] + time.monotonic() - began, "signals": signals}
        checkpoint.write_atomically(record, json.dumps(sofar))
        print(f"{sofar['seconds'] / 60:6.1f} min  {name}  iteration {at}", flush=True)
    interrupt(pid, "SIGTERM", moments)
    return signals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--every", type=float, default=3, help="minutes between interruptions, on average")
    parser.add_argument("--rest", type=float, default=0, help="seconds of sleep after an iteration")
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    torch.set_num_threads(1)
    a.out.mkdir(parents=True, exist_ok=True)
    whole, disturbed = a.out / "whole", a.out / "disturbed"
    shutil.rmtree(whole, ignore_errors=True)
    undisturbed = start(whole, a.rest)
    try:
        signals = soak(a.out, a.minutes, a.every, a.rest)
        while (at := reached(whole)) < reached(disturbed):
            time.sleep(1)
    finally:
        os.kill(undisturbed, signal.SIGKILL)
        os.waitpid(undisturbed, 0)
    train(settings(at), disturbed, lambda _: None)
    one, other = (load_file(path / f"checkpoints/{at:09d}/learner.safetensors") for path in (disturbed, whole))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[k], other[k]) for k in one), "the disturbed run ended elsewhere"
    print(f"{a.minutes:g} minutes, {signals.total()} interruptions: {dict(sorted(signals.items()))}")
    print(f"iteration {at:,} equals the undisturbed run's bit for bit")
    for path in (whole, disturbed):
        long = [sizes for sizes in lives(path.with_suffix(".memory")).values() if len(sizes) >= 16]
        most = max(map(growth, long), default=1.0)
        print(f"{path.name}: memory × {most:.4f} at most, of {len(long)} processes that noted it 16 times or more")
        assert most <= FLAT


if __name__ == "__main__":
    main()

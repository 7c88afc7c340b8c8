"""Kill -9 a run at random moments: can it always be resumed, and does it end as if nothing had happened?

A process trains with a checkpoint every iteration, so that much of its time goes into writing. One in ten is killed
while it starts, the others a uniformly drawn time after their first new checkpoint; the next one continues. After each
kill every numbered checkpoint must be sound. At the end the newest is compared, bit for bit, with that of a run of as
many iterations that nobody disturbed.

    python benchmarks/kills.py --kills 50
    python benchmarks/kills.py --kills 50 --images
"""

import argparse
import os
import random
import signal
import tempfile
import time
import traceback
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file

from anila.runs.experiment import PRESETS, Experiment, resolve
from anila.runs.folder import checkpoint
from anila.runs.training.train import train

SETTINGS = ["data=moons",
            "network.hidden=[8]", "network.fourier=0", "training.batch=20", "training.chains=20", "sampler.steps=2",
            "optimizer.decay=constant", "training.ema=0.9", "training.log_every=1"]  # fmt: skip
IMAGES = ["data.size=8", "data.flip=false", "network.width=2", "training.batch=4", "start.size=8", "sampler.steps=2",
          "optimizer.decay=constant", "training.ema=0.9", "training.log_every=1", "training.threads=1"]  # fmt: skip
LONGEST = 0.5
"""Seconds from the first new checkpoint to the kill at the latest."""


def settings(photos: Path | None, iterations: int, every: int) -> Experiment:
    """Those of a run in the plane, or of one on the images of a folder."""
    more = [f"training.{name}={value}" for name, value in
            (("iterations", iterations), ("checkpoint_every", every), ("picture_every", 10**6))]  # fmt: skip
    if photos:
        return resolve(PRESETS["flowers-chains"].experiment, [f"data.name={photos}", *IMAGES, *more])
    return resolve(PRESETS["rings"].experiment, [*SETTINGS, *more])


def write_photos(folder: Path) -> Path:
    """Sixteen images of random pixels."""
    folder.mkdir(parents=True)
    for i in range(16):
        Image.frombytes("RGB", (8, 8), random.Random(i).randbytes(192)).save(folder / f"{i}.png")
    return folder


def start(folder: Path, photos: Path | None) -> int:
    """A process that trains in the folder until it is killed."""
    pid = os.fork()
    if pid:
        return pid
    try:
        train(settings(photos, 10**6, 1), folder, lambda _: None)
    except BaseException:
        traceback.print_exc()
    os._exit(1)


def reached(checkpoints: Path) -> int:
    """The iteration of the newest checkpoint, every one of which is sound."""
    for path in checkpoint.listed(checkpoints):
        checkpoint.verify(path)
    return max((int(path.name) for path in checkpoint.listed(checkpoints)), default=0)


def wait_for_more(checkpoints: Path, at: int, pid: int) -> None:
    """Until there is a checkpoint later than that."""
    while not any(int(path.name) > at for path in checkpoint.listed(checkpoints)):
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), "the process ended by itself"
        time.sleep(0.005)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", action="store_true", help="kill a run on images")
    parser.add_argument("--out", type=Path, default=None)
    a = parser.parse_args()
    torch.set_num_threads(1)
    moments, out = random.Random(a.seed), a.out or Path(tempfile.mkdtemp())
    os.environ["ANILA_CACHE"] = str(out / "cache")
    photos = write_photos(out / "photos") if a.images else None
    folder, at, half_written = out / "killed/checkpoints", 0, 0
    for _ in range(a.kills):
        pid = start(out / "killed", photos)
        if moments.random() > 0.1:
            wait_for_more(folder, at, pid)
        time.sleep(moments.uniform(0, LONGEST))
        os.kill(pid, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(pid, 0)[1]), "the process ended by itself"
        half_written += any(folder.glob(".*"))
        assert reached(folder) >= at, f"fell back from iteration {at} to {reached(folder)}"
        at = reached(folder)
    at = train(settings(photos, at + 3, 1), out / "killed", lambda _: None).iteration
    train(settings(photos, at, 10**6), out / "whole", lambda _: None)
    assert at > a.kills / 2, f"only {at} iterations: killed before anything could happen"
    killed, whole = (
        load_file(out / name / f"checkpoints/{at:09d}/learner.safetensors") for name in ("killed", "whole")
    )
    assert killed.keys() == whole.keys()
    assert all(torch.equal(killed[k], whole[k]) for k in whole)
    print(f"{a.kills} kills, {half_written} of them while a checkpoint was being written or deleted")
    print(f"resumed every time, no partial checkpoint found; iteration {at} equals an undisturbed run's bit for bit")


if __name__ == "__main__":
    main()

"""Runs of seconds that applications and sharing are tested on, and the command line in this process."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
import torch
from PIL import Image

from anila.cli import app
from anila.runs.experiment import PRESETS, Experiment, resolve
from anila.runs.training.train import train

TABLE = ["network.hidden=[8]", "training.batch=20", "training.chains=10", "training.iterations=2",
         "sampler.global_every=1"]  # fmt: skip
IMAGES = ["data.size=8", "data.flip=false", "network.width=2", "sampler.steps=2", "training.batch=4", "start.size=8",
          "training.iterations=2", "training.threads=1"]  # fmt: skip
EIGHT = ["training.checkpoint_every=2", "training.iterations=8"]
ROOT = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [-0.4, 0.3, 0.8]])


def anila(*words: str | Path) -> int:
    """Run the command line in this process; the exit status."""
    argv, sys.argv = sys.argv, ["anila", *map(str, words)]
    try:
        app.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv = argv
    return 0


def table_run(folder: Path) -> Path:
    """A run on a table of three related columns."""
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0)) @ ROOT.T
    values = (x * torch.tensor([10.0, 0.5, 2.0]) + torch.tensor([170.0, -3.0, 0.0])).double().numpy()
    columns = {"height": values[:, 0], "mood": values[:, 1], "luck": values[:, 2]}
    pyarrow.csv.write_csv(pa.table(columns), folder / "people.csv")
    assert anila("train", folder / "people.csv", *TABLE, "--run", folder / "run") == 0
    return folder / "run"


def image_run(folder: Path) -> Path:
    """A run on sixteen 8 × 8 colour images."""
    for i in range(16):
        write_noise(folder / "photos" / ("test" if i % 2 else "train") / f"{i:02d}.png", i)
    assert anila("train", *chains_on(folder / "photos"), *IMAGES, "--run", folder / "run") == 0
    return folder / "run"


def class_run(folder: Path) -> Path:
    """A run on eight images of cats and dogs."""
    for i in range(8):
        write_noise(folder / "pets" / ("dogs" if i % 2 else "cats") / f"{i}.png", i)
    words = [*chains_on(folder / "pets"), *IMAGES, "network.classes=auto"]
    assert anila("train", *words, "--run", folder / "run") == 0
    return folder / "run"


def chains_on(folder: Path) -> list[str]:
    """What to train for chains alone on a folder of images."""
    return ["flowers-chains", f"data.name={folder}"]


def write_noise(path: Path, seed: int) -> None:
    """An image of random pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)


def small_rings(*more: str) -> Experiment:
    """Rings in a few iterations of a net of a few numbers."""
    quick = ["network.hidden=[8]", "network.fourier=4", "training.batch=20", "training.chains=10",
             "training.log_every=1"]  # fmt: skip
    return resolve(PRESETS["rings"].experiment, [*quick, *more])


def eight_rings(*more: str) -> Experiment:
    """Eight iterations of them, with a checkpoint at every second."""
    return small_rings(*EIGHT, *more)


def quiet(_: str) -> None:
    """Takes what a run says."""


def trained_rings(path: Path, *more: str) -> Path:
    """A run of them without the exact KL."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anila.runs.training.train.exact_kl", lambda *_: 1.0)
        train(small_rings(*more), path, quiet)
    return path

"""What the image benchmarks share: images to train on, held-out images, and a judge of digits."""

import math
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anila.data import images
from anila.evaluation.samples import (
    anila_features,
    coarse_distance,
    frechet_distance,
    judged,
    kernel_distance,
    support,
)
from anila.rng import rng

SIDE = 32
KNOWN = {"mnist": "mnist", "flowers": "flowers102", "cifar10": "cifar10"}
"""Name in the tables -> name of the image set."""
SCORED = {"mnist": 1000, "flowers": 640, "cifar10": 1000}
JUDGE_ITERATIONS = 900


class ImageSet(NamedTuple):
    """8-bit images of one kind, in training and held out."""

    name: str
    source: str
    """Where it was found."""
    train: Tensor
    held_out: Tensor
    """As many as are scored."""
    labels: Tensor
    """Of the training images; −1 where unknown."""
    test: tuple[Tensor, Tensor]
    """All images held out, and their labels."""

    def batch(self, n: int, seed: int, iteration: int) -> Tensor:
        """n training images of an iteration, in [−1, 1]; mirrored by a coin unless they are digits."""
        generator = rng(seed, "data", iteration)
        x = points(self.train[torch.randint(len(self.train), (n,), generator=generator)])
        if self.name != "mnist":
            x = torch.where((torch.rand(n, generator=generator) < 0.5)[:, None, None, None], x.flip(3), x)
        return x.contiguous(memory_format=torch.channels_last)


def points(levels: Tensor) -> Tensor:
    return levels.float() / 127.5 - 1


def image_set(name: str, source: str | Path | None = None) -> ImageSet:
    """A set by name, or from a path; flowers have no test images, so that 1,000 of them are kept apart."""
    source = source or KNOWN[name]
    train = images(source, size=SIDE)
    levels, labels = torch.from_numpy(train.values.copy()), torch.from_numpy(train.labels)
    if name == "flowers":
        order = torch.randperm(len(levels), generator=rng(0, "held out"))
        test, kept = order[:1000], order[1000:]
        apart = levels[test], labels[test]
        levels, labels = levels[kept], labels[kept]
    else:
        other = images(source, size=SIDE, split="test")
        apart = torch.from_numpy(other.values.copy()), torch.from_numpy(other.labels)
    chosen = torch.randperm(len(apart[0]), generator=rng(1, "held out"))[: SCORED[name]]
    return ImageSet(name, str(source), levels, apart[0][chosen], labels, apart)


def judge_of(data: ImageSet, path: Path) -> nn.Module | None:
    """A small convolutional classifier of digits, trained on the training images in seconds; kept at a path."""
    if data.name != "mnist":
        return None
    net = nn.Sequential(
        nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 48, 3, 2, 1),
        nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(48 * 16, 10),
    )  # fmt: skip
    if path.exists():
        net.load_state_dict(torch.load(path, weights_only=True))
    else:
        train_judge(net, data)
        torch.save(net.state_dict(), path)
    return net.eval().requires_grad_(False)


def train_judge(net: nn.Module, data: ImageSet) -> None:
    """Cross-entropy on digits with some noise, so that it does not judge by it."""
    torch.manual_seed(0)
    generator, optimizer = rng(0, "judge"), torch.optim.Adam(net.parameters())
    for i in range(JUDGE_ITERATIONS):
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - i / JUDGE_ITERATIONS)
        rows = torch.randint(len(data.train), (96,), generator=generator)
        x = points(data.train[rows])
        x = x + 0.1 * torch.rand((), generator=generator) * torch.randn(x.shape, generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(net(x), data.labels[rows]).backward()
        optimizer.step()


class Scorer:
    """All scores of images beside those held out."""

    def __init__(self, data: ImageSet, judge: nn.Module | None):
        self.data, self.judge, self.extractor = data, judge, anila_features()
        self.reference = points(data.held_out)
        self.features = self.extractor.features(self.reference)

    def __call__(self, x: Tensor) -> dict[str, float]:
        """fd, coarse, kid, precision and recall; of digits the share judged one, and the entropy of their classes."""
        kept = x[torch.isfinite(x).flatten(1).all(1)].clamp(-1, 1).contiguous()
        found = {"images": float(len(kept)), "lost": float(len(x) - len(kept))}
        if len(kept) < 20:
            return found
        features, n = self.extractor.features(kept), min(len(kept), len(self.features))
        cloud = support(self.features[:n], features[:n])
        found |= {
            "fd": frechet_distance(features, self.features),
            "coarse": coarse_distance(kept, self.reference),
            "kid": kernel_distance(features, self.features, rng(0, "subsets"), n // 4).value,
            "precision": cloud.precision,
            "recall": cloud.recall,
        }
        return found | (judged(kept, self.judge)._asdict() if self.judge else {})

    def accuracy(self) -> float:
        """Share of the images held out that the judge names right."""
        assert self.judge
        x, y = self.data.test
        return float((torch.cat([self.judge(points(part)) for part in x.split(1000)]).argmax(1) == y).double().mean())


class Clock:
    """How much of a budget of CPU seconds is used: those of this process, whatever else the machine does."""

    def __init__(self, seconds: float):
        self.seconds, self.start = seconds, time.process_time()

    def used(self) -> float:
        return time.process_time() - self.start

    def done(self) -> float:
        """0 at first, 1 at the end."""
        return self.used() / self.seconds if self.seconds > 0 else 1.0


def cosine(done: float, iteration: int, warmup: int = 100) -> float:
    """What a learning rate is multiplied by: up in the first iterations, down to 0 with the budget."""
    return min(1.0, (iteration + 1) / warmup) * (1 + math.cos(math.pi * min(1.0, done))) / 2


def protocol() -> dict[str, Any]:
    """Where and with what the numbers were made."""
    found = {"machine": processor(), "threads": torch.get_num_threads(), "date": datetime.now(UTC).date().isoformat()}
    return found | {f"{name} version": release(name) for name in ("anila", "torch", "torchebm")}


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def release(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"

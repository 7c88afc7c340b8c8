"""Detection of known outliers: images of other kinds, and a table with planted outliers.

    anila train cifar10-chains network.width=8 training.batch=16 training.precision=bf16 training.seed=0 \
        --run runs/cifar10-0                                                       # and of 1, 2
    python benchmarks/outliers.py images runs/cifar10-0 runs/cifar10-1 runs/cifar10-2 --out runs/outliers
    python benchmarks/outliers.py table --seeds 0 1 2 3 4 --out runs/outliers

images: AUROC of 1,000 images of each kind against 1,000 CIFAR-10 test images, by the energy −f, by the typical score
|f − median f| (the median over 500 other test images), and by no model: the size of the file that zlib makes of the
image, and its variance. Kinds: MNIST repeated over three channels; SVHN-like (synthesised here: one or two digits of
MNIST in one colour on another, blurred, with noise; not the SVHN data); one colour; the pixels of test images in random
order; uniform noise.

table: five columns, a ring in the first two, two that depend on it, one of noise; 2,000 rows to train on, 1,000 new
rows, and 200 outliers of each of three kinds: a column exchanged between rows (each within its range), far out, and
between the ring and its centre. The preset `table`, scikit-learn's IsolationForest and GaussianMixture (5 and 20
components) see the same rows; one fit a seed.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import anila
from anila.applications import auroc, blur, calibrated
from anila.data import images
from anila.density.log_density import values
from anila.rng import rng
from anila.runs.experiment import PRESETS, resolve
from anila.runs.training.train import train

N = 1000
KINDS = ("across", "far", "hole")


def image_kinds(mnist: Path, x: Tensor, seed: int) -> dict[str, Tensor]:
    """N images of each kind, (N, 3, 32, 32), made from test images x where they are made of some."""
    generator = rng(seed, "kinds")
    digits = images(mnist, size=32, split="test").batch(2 * N, seed, 0)
    order = torch.rand(N, 1024, generator=generator).argsort(1)[:, None].expand(-1, 3, -1)
    return {
        "MNIST as RGB": digits[:N].repeat(1, 3, 1, 1),
        "SVHN-like (synthesised)": house_numbers(digits, generator),
        "one colour": (torch.rand(N, 3, 1, 1, generator=generator) * 2 - 1).expand(-1, -1, 32, 32),
        "scrambled pixels": x.flatten(2).gather(2, order).view_as(x),
        "uniform noise": torch.rand(x.shape, generator=generator) * 2 - 1,
    }


def house_numbers(digits: Tensor, generator: torch.Generator) -> Tensor:
    """Two digits beside each other, one colour on another, blurred, with noise of sd 0.05."""
    left, right = (torch.nn.functional.interpolate(d, (32, 16), mode="area") for d in (digits[:N], digits[N:]))
    ink = blur(0.7)((torch.cat([left, right], 3) + 1) / 2)
    back, front = (torch.rand(N, 3, 1, 1, generator=generator) * 1.6 - 0.8 for _ in range(2))
    x = back + ink * (front - back) + 0.05 * torch.randn(N, 3, 32, 32, generator=generator)
    return x.clamp(-1, 1)


def complexity(x: Tensor) -> Tensor:
    """Bytes of each image after zlib."""
    levels = ((x + 1) * 127.5).round().to(torch.uint8).numpy()
    return torch.tensor([float(len(zlib.compress(image.tobytes(), 9))) for image in levels])


def image_scores(run: Path, x: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """Scores, the larger the odder; x finds the medians."""
    model = anila.load(run)
    value = values(model.f, x)
    return {
        "energy −f": calibrated(model.f, value).score,
        "distance from the median f": calibrated(model.f, value, typical=True).score,
        "variance, smaller": lambda x: -x.flatten(1).var(1),
        "zlib, smaller": lambda x: -complexity(x),
    }


def of_images(runs: list[Path], cifar: Path, mnist: Path) -> dict[str, dict[str, list[float]]]:
    """Kind -> score -> AUROC of each run."""
    test = images(cifar, size=32, split="test")
    found: dict[str, dict[str, list[float]]] = {}
    for seed, run in enumerate(runs):
        x = test.batch(3 * N, seed, 0)
        inliers, middle, stuff = x[:N], x[N : 2 * N], x[2 * N :]
        scores = image_scores(run, middle)
        known = {name: score(inliers) for name, score in scores.items()}
        for kind, odd in image_kinds(mnist, stuff, seed).items():
            for name, score in scores.items():
                found.setdefault(kind, {}).setdefault(name, []).append(auroc(known[name], score(odd)))
    return found


def table_rows(n: int, generator: torch.Generator) -> Tensor:
    """Rows that are no outliers: a ring of radius 2 and sd 0.2, then three columns that depend on it, (n, 5)."""
    angle = 2 * torch.pi * torch.rand(n, generator=generator)
    radius = 2 + 0.2 * torch.randn(n, generator=generator)
    ring = torch.stack([radius * angle.cos(), radius * angle.sin()], 1)
    noise = torch.randn(n, 3, generator=generator)
    third = ring[:, 0] + 0.3 * noise[:, 0]
    return torch.stack([*ring.T, third, third - ring[:, 1] + 0.3 * noise[:, 1], noise[:, 2]], 1)


def planted(kind: str, n: int, generator: torch.Generator) -> Tensor:
    """Outliers of a kind, (n, 5)."""
    x = table_rows(n, generator)
    if kind == "across":  # each column as it should be, the fourth that of another row
        x[:, 3] = x[torch.randperm(n, generator=generator), 3]
    elif kind == "far":
        x = x + 2.5 * torch.randn(x.shape, generator=generator)
    else:
        x = x - torch.nn.functional.pad(x[:, :2] * 0.85, (0, 3))
        x[:, 2] = x[:, 0] + 0.3 * torch.randn(n, generator=generator)
        x[:, 3] = x[:, 2] - x[:, 1] + 0.3 * torch.randn(n, generator=generator)
    return x


def table_scores(x: Tensor, seed: int, iterations: int) -> dict[str, tuple[Callable[[Tensor], Tensor], float]]:
    """Scores fitted to rows, the larger the odder, each with the seconds it took."""
    from sklearn.ensemble import IsolationForest  # pyright: ignore[reportMissingImports]
    from sklearn.mixture import GaussianMixture  # pyright: ignore[reportMissingImports]

    def anila_table() -> Callable[[Tensor], Tensor]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "rows.npy")
            np.save(path, x.double().numpy())
            words = [f"data={path}", f"training.seed={seed}", f"training.iterations={iterations}", "training.threads=1"]
            config = resolve(PRESETS["table"].experiment, words)
            model = anila.load(train(config, Path(folder, "run"), lambda _: None).run.path)
        return lambda rows: -values(model.f, model.units.inward(rows.double().numpy()))

    def forest() -> Callable[[Tensor], Tensor]:
        fitted = IsolationForest(n_estimators=200, random_state=seed).fit(x.numpy())
        return lambda rows: -torch.from_numpy(fitted.score_samples(rows.numpy()))

    def gaussians(n: int) -> Callable[[Tensor], Tensor]:
        fitted = GaussianMixture(n, random_state=seed, reg_covar=1e-4).fit(x.numpy())
        return lambda rows: -torch.from_numpy(fitted.score_samples(rows.numpy()))

    ways: dict[str, Callable[[], Callable[[Tensor], Tensor]]] = {
        "anila, preset table": anila_table,
        "IsolationForest": forest,
        "GaussianMixture, 5": lambda: gaussians(5),
        "GaussianMixture, 20": lambda: gaussians(20),
    }
    found = {}
    for name, fit in ways.items():
        began = time.perf_counter()
        found[name] = (fit(), time.perf_counter() - began)
    return found


def of_table(seeds: list[int], iterations: int) -> dict[str, dict[str, list[float]]]:
    """Kind of outlier -> score -> AUROC of each seed; and the seconds of fitting."""
    found: dict[str, dict[str, list[float]]] = {}
    for seed in seeds:
        generator = rng(seed, "rows")
        scores = table_scores(table_rows(2000, generator), seed, iterations)
        inliers, odd = table_rows(N, generator), {kind: planted(kind, 200, generator) for kind in KINDS}
        for name, (score, seconds) in scores.items():
            known = score(inliers)
            for kind, rows in odd.items():
                found.setdefault(kind, {}).setdefault(name, []).append(auroc(known, score(rows)))
            found.setdefault("seconds", {}).setdefault(name, []).append(seconds)
    return found


def show(found: dict[str, dict[str, list[float]]]) -> None:
    """A table of means with standard errors."""
    names = list(next(iter(found.values())))
    print(f"| | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for kind, row in found.items():
        digits = 1 if kind == "seconds" else 3
        cells = [f"{statistics.mean(v):.{digits}f}{error(v, digits)}" for v in row.values()]
        print(f"| {kind} | {' | '.join(cells)} |")


def error(values: list[float], digits: int) -> str:
    """Standard error of a mean over seeds."""
    return f" ± {statistics.stdev(values) / len(values) ** 0.5:.{digits}f}" if len(values) > 1 else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["images", "table"])
    parser.add_argument("runs", nargs="*", type=Path, help="images: runs trained on CIFAR-10")
    parser.add_argument("--out", type=Path, required=True, help="folder for the JSON file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="table")
    parser.add_argument("--iterations", type=int, default=1200, help="table: iterations of training")
    parser.add_argument("--data", type=Path, default=Path("data"), help="images: folder that holds cifar10/ and mnist/")
    arguments = parser.parse_args()
    if arguments.what == "images":
        found = of_images(arguments.runs, arguments.data / "cifar10", arguments.data / "mnist")
    else:
        found = of_table(arguments.seeds, arguments.iterations)
    show(found)
    arguments.out.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {
        "auroc": found,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": platform.machine(),
    }
    record |= {"torch": torch.__version__, "threads": torch.get_num_threads()}
    (arguments.out / f"outliers_{arguments.what}.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()

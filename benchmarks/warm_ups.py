"""What a short warm-up costs: effective samples per gradient after 300 steps of `tune` and after 1,000.

    python benchmarks/warm_ups.py --out runs/warm-ups               (docs/sampling.md; 5 seeds)

Targets in 5, 31 and 100 dimensions, scaled along no axis: a normal law of condition number 10⁴, and a logistic
regression of 500 labels whose features differ 40-fold in scale. 32 chains in float64 from N(0, 1), `anisotropic_mala`
with default settings, 1,000 steps that count. ESS is ArviZ's bulk ESS, the least over coordinates. A short warm-up
should be within 2 × of the long one, also with the seed for which it is worst.
"""

import argparse
import json
import platform
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from anila import anisotropic_mala, rng, sample, tune
from anila.evaluation.chains import ess

DIMS, SHORT, LONG, CHAINS, STEPS, LABELS = (5, 31, 100), 300, 1000, 32, 1000, 500


def rotation(dim: int) -> Tensor:
    return torch.linalg.qr(torch.randn(dim, dim, generator=rng(dim, "rotation"), dtype=torch.float64))[0]


def normal(dim: int) -> Callable[[Tensor], Tensor]:
    """Standard deviations from 1/10 to 10 along rotated axes."""
    Q, sd = rotation(dim), torch.logspace(-1, 1, dim, dtype=torch.float64)
    return lambda x: -(x @ Q / sd).square().sum(1) / 2


def logistic(dim: int) -> Callable[[Tensor], Tensor]:
    """Features of scales 0.16 to 6.3 along rotated axes, prior N(0, 4) on the weights."""
    draw, scale = rng(dim, "labels"), torch.logspace(-0.8, 0.8, dim, dtype=torch.float64)
    features = torch.randn(LABELS, dim, generator=draw, dtype=torch.float64) * scale @ rotation(dim).T
    weights = torch.randn(dim, generator=draw, dtype=torch.float64) / 2
    one = torch.rand(LABELS, generator=draw) < torch.sigmoid(features @ weights)
    signed = torch.where(one[:, None], features, -features).T
    return lambda w: torch.nn.functional.logsigmoid(w @ signed).sum(1) - w.square().sum(1) / 8


TARGETS = {"normal": normal, "logistic": logistic}


def per_gradient(f: Callable[[Tensor], Tensor], dim: int, steps: int, seed: int) -> float:
    """Effective samples of the slowest coordinate per gradient after a warm-up of so many steps."""
    x0 = torch.randn(CHAINS, dim, generator=rng(seed, "start"), dtype=torch.float64)
    tuned = tune(lambda **kw: anisotropic_mala(f, **kw), x0, steps, rng(seed, "tune", steps))
    _, trace = sample(tuned.sampler, tuned.x, STEPS, rng(seed, "chains", steps), keep_every=1)
    return ess(trace["x"]).min().item() / (CHAINS * STEPS)


def compared(f: Callable[[Tensor], Tensor], dim: int, seeds: int) -> dict[str, list[float]]:
    """Effective samples per gradient after either warm-up, a number a seed."""
    lengths = {"short": SHORT, "long": LONG}
    return {name: [per_gradient(f, dim, steps, seed) for seed in range(seeds)] for name, steps in lengths.items()}


def row(found: dict[str, Any]) -> str:
    """The means over seeds, their ratio, and the largest ratio of a seed."""
    short, long = found["short"], found["long"]
    ratios = [b / a for a, b in zip(short, long, strict=True)]
    means = f"{mean(short):.4f} | {mean(long):.4f} | {mean(long) / mean(short):.2f}"
    return f"| {found['target']} | {found['dim']} | {means} | {max(ratios):.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the numbers")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--dims", type=int, nargs="+", default=DIMS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found = []
    print(f"| target | d | after {SHORT} | after {LONG} | ratio | worst seed |", "|---" * 6 + "|", sep="\n")
    for name, make in TARGETS.items():
        for dim in arguments.dims:
            f = make(dim)
            found.append({"target": name, "dim": dim} | compared(f, dim, arguments.seeds))
            print(row(found[-1]), flush=True)
    protocol = {"date": datetime.now(UTC).date().isoformat(), "machine": platform.machine(), "torch": torch.__version__}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "warm_ups.json").write_text(json.dumps({"protocol": protocol, "found": found}, indent=1))


if __name__ == "__main__":
    main()

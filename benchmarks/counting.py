"""Kernels that count or choose, uncompiled and with compiled moves: microseconds per step of 100 chains.

    python benchmarks/counting.py                                                   (docs/speed.md; a minute)

The targets are a toy net (2 numbers, two layers of 128) and a normal law. Each figure is the median of seven runs of
200 steps, all kernels in turn, in CPU time; compiling in the first call is left out.
"""

import platform
import statistics
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime

import torch
from torch import Tensor

from anila import rng, sample
from anila.density.networks import mlp
from anila.samplers import Sampler, anisotropic_mala, kernel_density, mala, mixture, replica_exchange, with_global_moves

CHAINS, STEPS, RUNS, POINTS = 100, 200, 7, 200
F = Callable[[Tensor], Tensor]

KERNELS: dict[str, Callable[[F], Sampler]] = {
    "anisotropic_mala": lambda f: anisotropic_mala(f, 5.0, 0.05),
    "global moves after every step": lambda f: with_global_moves(
        anisotropic_mala(f, 5.0, 0.05), kernel_density(torch.randn(POINTS, 2, generator=rng(0, "points")))
    ),
    "mixture of two": lambda f: mixture([anisotropic_mala(f, 5.0, 0.05), mala(f, 0.01)], [1.0, 1.0]),
    "replica exchange, 4 rungs": lambda f: replica_exchange(lambda f: mala(f, 0.05), f, (1.0, 2.0, 4.0, 8.0)),
}


def net() -> F:
    torch.manual_seed(0)
    return mlp(2, (128, 128)).requires_grad_(False)


def normal(x: Tensor) -> Tensor:
    return -x.square().sum(1) / 2


def seconds(kernel: Sampler, compile: bool) -> float:
    """Of the processor, for a step."""
    x0, began = torch.randn(CHAINS, 2, generator=rng(0, "start")), time.process_time()
    sample(kernel, x0, STEPS, rng(0, "chains"), compile=compile)
    return (time.process_time() - began) / STEPS


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    trials = {
        (law, name): make(f)
        for law, f in {"net": net(), "normal law": normal}.items()
        for name, make in KERNELS.items()
    }
    for kernel in trials.values():
        seconds(kernel, compile=True)
    found: dict[tuple[str, str, bool], list[float]] = {}
    for _ in range(RUNS):
        for key, kernel in trials.items():
            for compile in (False, True):
                found.setdefault((*key, compile), []).append(seconds(kernel, compile))
    print("| f | kernel | uncompiled, µs | compiled, µs | ratio |\n|---|---|---|---|---|")
    for law, name in trials:
        plain, quick = (1e6 * statistics.median(found[law, name, compile]) for compile in (False, True))
        print(f"| {law} | {name} | {plain:,.0f} | {quick:,.0f} | {plain / quick:.1f} |")
    print(f"\n{platform.processor() or platform.machine()}, torch {torch.__version__}, {datetime.now(UTC):%Y-%m-%d}")


if __name__ == "__main__":
    main()

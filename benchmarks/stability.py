"""Provoked divergences: what happens to training, in Anila, in TorchEBM and in the plain loop of tutorials.

    python benchmarks/stability.py --data mnist-folder --out runs/stability              (docs; 5 seeds)
    python benchmarks/stability.py --data mnist-folder --out runs/bench --short          (1 seed, 60 iterations)

All have the same network (4 convolutions, width 8), digits, 16 chains that persist (100 kept, 5% restarts), K = 20
Langevin transitions with drift 5 ∂f and noise sd 0.01, and Adam(0, 0.999) at 3e-4. TorchEBM keeps its defaults
otherwise (regulariser 0.001); the plain loop has none. Anila runs its preset `mnist-chains` with the divergence guard,
at the same constant learning rate.

Provocations: none; learning rate × 30; step size × 100; NaN in the gradient of one parameter in iteration 50; and, for
Anila's anisotropic sampler alone, which has one, the threshold × 1000. Reported for each: seeds whose θ is finite at
the end; the mean gap / sd over the last 20 iterations; and the 1-Wasserstein distance between the pixel values of the
chains and of the data (grey levels −1 to 1; blank images have 0.26).
"""

import argparse
import json
import math
import platform
import tempfile
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import matplotlib.pyplot as plt
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor, nn
from torchebm.losses import ContrastiveDivergence  # pyright: ignore[reportMissingImports]
from torchebm.samplers import LangevinDynamics  # pyright: ignore[reportMissingImports]

from anila.data import images
from anila.density.networks import vanilla
from anila.learning.learner import Learner
from anila.runs.experiment import PRESETS, resolve
from anila.runs.folder.run import Run
from anila.runs.model.trained import Trained
from anila.runs.training.guard import Diverged
from anila.runs.training.train import train
from peers import Energy

RATE, STEP, NOISE_SD, K, CHAINS, BANK, FRESH, NAN_AT, SHOWN = 3e-4, 10.0, 0.01, 20, 16, 100, 0.05, 50, 8


class Provocation(NamedTuple):
    """What is made worse."""

    rate: float = 1
    step: float = 1
    nan_at: int = -1
    threshold: float = 1


PROVOCATIONS = {
    "none": Provocation(),
    "learning rate × 30": Provocation(rate=30),
    "step size × 100": Provocation(step=100),
    "one NaN": Provocation(nan_at=NAN_AT),
    "threshold × 1000": Provocation(threshold=1000),
}


class Ending(NamedTuple):
    """How a run ended."""

    finite: bool
    ratio: float
    """Mean gap / sd of the last 20 iterations."""
    chains: Tensor
    story: list[str]


def spoil(model: nn.Module) -> None:
    """The next gradient of one parameter is NaN."""
    parameter = next(model.parameters())
    handle = parameter.register_hook(lambda g: (handle.remove(), g * math.nan)[1])


def ratio(f_data: Tensor, f_model: Tensor) -> float:
    sd = ((f_data.var() + f_model.var()) / 2).sqrt()
    return ((f_data.mean() - f_model.mean()) / sd).item()


def ending(model: nn.Module, ratios: list[float], chains: Tensor) -> Ending:
    finite = all(bool(torch.isfinite(p).all()) for p in model.parameters())
    return Ending(finite, sum(ratios[-20:]) / 20, chains.detach(), [])


def plain_loop(data: Any, p: Provocation, seed: int, iterations: int) -> Ending:
    """Short-run or persistent training as tutorials write it."""
    torch.manual_seed(seed)
    model = vanilla(1, 32, 8)
    optimizer = torch.optim.Adam(model.parameters(), RATE * p.rate, betas=(0.0, 0.999))
    bank, ratios = torch.rand(BANK, 1, 32, 32) * 2 - 1, []
    z = bank
    for i in range(iterations):
        x_data = data.batch(CHAINS, seed, i)
        rows = torch.randint(BANK, (CHAINS,))
        z = bank[rows]
        fresh = torch.rand(CHAINS) < FRESH
        z[fresh] = torch.rand(int(fresh.sum()), 1, 32, 32) * 2 - 1
        for _ in range(K):
            z.requires_grad_(True)
            (gradient,) = torch.autograd.grad(model(z).sum(), z)
            z = (z + STEP * p.step / 2 * gradient + NOISE_SD * torch.randn_like(z)).detach()
        bank[rows] = z
        f_data, f_model = model(x_data), model(z)
        if i == p.nan_at:
            spoil(model)
        optimizer.zero_grad()
        (f_model.mean() - f_data.mean()).backward()
        optimizer.step()
        ratios.append(ratio(f_data, f_model))
    return ending(model, ratios, z)


def torchebm(data: Any, p: Provocation, seed: int, iterations: int) -> Ending:
    """Its persistent contrastive divergence with its Langevin sampler: x ← x − η ∇U + √(2η) · noise_scale · ξ."""
    torch.manual_seed(seed)
    model = Energy(vanilla(1, 32, 8))
    eta = STEP * p.step / 2
    sampler = LangevinDynamics(model, step_size=eta, noise_scale=NOISE_SD / math.sqrt(2 * eta))
    loss_of = ContrastiveDivergence(
        model, sampler, k_steps=K, persistent=True, buffer_size=BANK, init_steps=0, new_sample_ratio=FRESH
    )
    loss_of.initialize_buffer((1, 32, 32))
    optimizer = torch.optim.Adam(model.parameters(), RATE * p.rate, betas=(0.0, 0.999))
    ratios, z = [], torch.zeros(0)
    for i in range(iterations):
        x_data = data.batch(CHAINS, seed, i)
        loss, z = loss_of(x_data)
        if i == p.nan_at:
            spoil(model)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            ratios.append(ratio(model(x_data), model(z)))
    return ending(model, ratios, z)


def anila(path: Path, p: Provocation, seed: int, iterations: int, sampler: str = "langevin") -> Ending:
    """The preset `mnist-chains`, with its guard."""
    config = PRESETS["mnist-chains"].experiment
    overrides = [
        f"data={path}", "network.width=8", f"sampler={sampler}", f"sampler.steps={K}",
        f"sampler.step_size={STEP * p.step}", f"start.size={BANK}", f"start.fresh={FRESH}",
        f"sampler.temperature={NOISE_SD**2 / (STEP * p.step)}",
        f"training.seed={seed}", f"training.batch={CHAINS}", f"training.iterations={iterations}", "training.threads=1",
        f"optimizer.learning_rate={RATE * p.rate}", "training.log_every=1", "training.checkpoint_every=20",
        "training.picture_every=100000", "optimizer.decay=constant", "optimizer.warmup=0",
        "training.ema=0",
    ]  # fmt: skip
    if sampler == "anisotropic":
        overrides.append(f"sampler.threshold={(config.sampler.threshold or 1) * p.threshold}")
    config = resolve(config, overrides)
    real, hits = Learner.gradient, []

    def gradient(self: Learner, *arguments: Any) -> dict[str, float]:
        if self.iteration == p.nan_at and not hits:
            hits.append(self.iteration)
            spoil(self.model)
        return real(self, *arguments)

    said: list[str] = []
    with tempfile.TemporaryDirectory() as folder, patch.object(Learner, "gradient", gradient):
        run = Run(Path(folder) / "run")
        try:
            if train(config, run.path, said.append).stopped_by is not None:
                raise SystemExit("stopped: a run that is not complete has no figures")
        except Diverged as stop:
            said.append(str(stop))
        trained = Trained.load(run)
        ratios = [line["energy_gap"] / line["energy_sd"] for line in run.stats()]
        chains = trained.draw(CHAINS, seed)
        return ending(trained.f, ratios, chains)._replace(
            story=[line for line in said if line.startswith(("iteration", "training stopped"))]
        )


def wasserstein(chains: Tensor, x_data: Tensor) -> float:
    """Distance between the pixel values; infinite where chains are not finite."""
    if not bool(torch.isfinite(chains).all()):
        return math.inf
    return float(wasserstein_distance(chains.flatten().numpy(), x_data.flatten().numpy()))


def draw(grids: dict[tuple[str, str], Tensor], path: Path) -> None:
    """A row of chains for every contender and provocation, of the first seed."""
    figure, axes = plt.subplots(len(grids), 1, figsize=(6, 0.95 * len(grids)))
    for axis, ((contender, provocation), chains) in zip(axes, grids.items(), strict=True):
        axis.imshow(
            torch.cat(list(chains[:SHOWN, 0].nan_to_num(1.0).clamp(-1, 1)), dim=1), cmap="gray", vmin=-1, vmax=1
        )
        axis.set_title(f"{contender}: {provocation}", fontsize=8, loc="left", pad=2)
        axis.set_axis_off()
    figure.tight_layout(pad=0.4)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the MNIST files")
    parser.add_argument("--out", type=Path, required=True, help="folder for the table, the numbers and the figure")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=80)
    parser.add_argument("--short", action="store_true", help="1 seed, 60 iterations")
    arguments = parser.parse_args()
    seeds, iterations = (1, 60) if arguments.short else (arguments.seeds, arguments.iterations)
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    data = images(arguments.data, size=32)
    x_data = data.batch(1000, 0, 10**6)
    contenders: dict[str, Callable[[Provocation, int], Ending]] = {
        "plain loop": lambda p, seed: plain_loop(data, p, seed, iterations),
        "TorchEBM": lambda p, seed: torchebm(data, p, seed, iterations),
        "Anila": lambda p, seed: anila(arguments.data, p, seed, iterations),
        "Anila, anisotropic": lambda p, seed: anila(arguments.data, p, seed, iterations, "anisotropic"),
    }
    rows, grids = [], {}
    print("| provocation | | θ finite | gap / sd | pixel distance | returns |\n|---|---|---|---|---|---|")
    for provocation, p in PROVOCATIONS.items():
        for contender, run in contenders.items():
            if (contender == "Anila, anisotropic") != (p.threshold != 1) and p != Provocation():
                continue
            ends = [run(p, seed) for seed in range(seeds)]
            grids[contender, provocation] = ends[0].chains
            distances = [wasserstein(e.chains, x_data) for e in ends]
            row = {
                "provocation": provocation, "contender": contender, "finite": sum(e.finite for e in ends),
                "ratio": [e.ratio for e in ends], "distance": distances, "stories": [e.story for e in ends],
            }  # fmt: skip
            rows.append(row)
            spans = [f"{min(v):.2g} to {max(v):.2g}" for v in (row["ratio"], distances)]
            returns = sum(len(e.story) for e in ends) / seeds
            print(f"| {provocation} | {contender} | {row['finite']} of {seeds} | {' | '.join(spans)} | {returns:.1f} |",
                  flush=True)  # fmt: skip
    protocol = {"seeds": seeds, "iterations": iterations, "machine": platform.machine(), "threads": 1}
    protocol |= {"torch": torch.__version__, "date": datetime.now(UTC).date().isoformat()}
    (arguments.out / "stability.json").write_text(json.dumps({"protocol": protocol, "rows": rows}, indent=1))
    draw(grids, arguments.out / "stability.png")
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()

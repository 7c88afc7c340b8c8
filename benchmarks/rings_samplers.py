"""Samplers on rings at equal gradient evaluations: KL(data ‖ model) against the gradients spent on chains.

    python benchmarks/rings_samplers.py --out runs/rings_samplers          (README; 5 seeds)
    python benchmarks/rings_samplers.py --out runs/bench --short           (1 seed, a tenth of the budget)

Every run has the network, optimiser, data and seeds of the preset `rings`, 200 chains that persist from data, K = 20,
step_size 0.02, learning rate 1e-3 and, where there is one, threshold 5. Only the sampler differs. With the preset's
learning rate (--learning-rate 0.005) chains without global moves run away. A gradient evaluation is one ∇f of all
chains: K an iteration for unadjusted kernels, K + 1 for Metropolis kernels, one more for every round of global moves.
"""

import argparse
import json
import math
import platform
import warnings
from datetime import UTC, datetime
from pathlib import Path

import torch

from anila.evaluation import pictures
from anila.evaluation.likelihood.grid import plane_frame
from anila.runs.experiment import PRESETS, Experiment, build_data, build_learner, resolve
from anila.runs.model.trained import Trained, exact_kl

K = 20
SETTINGS = [
    f"sampler.steps={K}",
    "sampler.step_size=0.02",
    "training.batch=500",
    "training.chains=200",
]
THRESHOLD = "sampler.threshold=5"
SAMPLERS = {
    "langevin": ["sampler=langevin"],
    "anisotropic": ["sampler=anisotropic", THRESHOLD],
    "mala": ["sampler=mala", "sampler.global_every=0"],
    "anisotropic_mala": [THRESHOLD, "sampler.global_every=0"],
    "anisotropic_mala + global moves": [THRESHOLD, "sampler.global_every=5"],
}
POINTS = 10


def cost(config: Experiment) -> int:
    """Gradient evaluations of all chains in one iteration."""
    s = config.sampler
    return s.steps + (s.name in ("mala", "anisotropic_mala")) + (s.steps // s.global_every if s.global_every else 0)


def run(overrides: list[str], budget: int, seed: int, rate: float) -> tuple[list[float], list[float], torch.Tensor]:
    """(gradient evaluations, KL) along a run, and its chains at the end."""
    base = resolve(
        PRESETS["rings"].experiment, [*SETTINGS, *overrides, f"training.seed={seed}", f"optimizer.learning_rate={rate}"]
    )
    iterations = budget // cost(base)
    config = resolve(base, [f"training.iterations={iterations}"])
    data = build_data(config.data)
    trained = Trained(config, data, build_learner(config, data), [], config)
    spent, kl = [], []
    x_data = trained.reference_data(10_000)
    for i in range(1, iterations + 1):
        trained.learner.update(data.batch(config.training.batch, seed, i - 1))
        if i % max(1, iterations // POINTS) == 0:
            spent.append(float(i * cost(config)))
            kl.append(exact_kl(trained, x_data) or math.nan)
    return spent, kl, trained.start.x  # pyright: ignore[reportAttributeAccessIssue]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the table, the numbers and the figure")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--budget", type=int, default=20_000, help="gradient evaluations a run")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--short", action="store_true", help="1 seed, a tenth of the budget")
    arguments = parser.parse_args()
    seeds, budget = (1, arguments.budget // 10) if arguments.short else (arguments.seeds, arguments.budget)
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", RuntimeWarning)
    curves, chains, rows = {}, {}, {}
    for name, overrides in SAMPLERS.items():
        runs = [run(overrides, budget, seed, arguments.learning_rate) for seed in range(seeds)]
        kl = torch.tensor([r[1] for r in runs], dtype=torch.float64)
        error = kl.std(0) / math.sqrt(seeds) if seeds > 1 else torch.zeros(kl.shape[1], dtype=torch.float64)
        curves[name] = (torch.tensor(runs[0][0], dtype=torch.float64), kl.mean(0), error)
        chains[name] = runs[0][2]
        rows[name] = {"gradient_evaluations": runs[0][0], "kl": kl.tolist()}
        print(f"| {name} | {kl[:, -1].mean():.4f} ± {error[-1]:.4f} |", flush=True)
    protocol = {"learning_rate": arguments.learning_rate, "seeds": seeds, "budget": budget, "settings": SETTINGS}
    protocol |= {"samplers": SAMPLERS, "machine": platform.machine(), "threads": 1, "torch": torch.__version__}
    protocol |= {"date": datetime.now(UTC).date().isoformat()}
    (arguments.out / "rings_samplers.json").write_text(json.dumps({"protocol": protocol, "runs": rows}, indent=1))
    frame = plane_frame(build_data(PRESETS["rings"].experiment.data).batch(2000, 0, 0))
    figure = pictures.sampler_comparison(curves, chains, frame, "KL(data ‖ model), nats")
    pictures.save(figure, arguments.out / "rings_samplers.png")
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()

"""Which parts of a training recipe help? The image presets with one part added or removed, several seeds.

    python benchmarks/recipe.py mnist-chains=FOLDER flowers-chains=ZIP --out runs/recipe         (docs; 3 seeds)

Width 8, 16 chains, bank of 500, one thread, 400 iterations, ∇f in float32 or bf16, whichever is faster here. Scored,
after the last one, on 1,000 chains of K transitions from noise and 1,000 of the bank, against 1,000 data points:
squared Fréchet distance of the images averaged down to 8 × 8 pixels. Reported: mean ± standard error over the seeds,
the difference to the preset's paired by seed, the largest |d| after iteration 100, and the mean r of the last 100.

`KL term` is a part that Anila does not have, written here to be measured: the gradient of −E f(z_K) through the last
transition (Du et al. 2021, "Improved contrastive divergence training", eq. 8, without its entropy).
"""

import argparse
import json
import math
import platform
import statistics
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

import torch

from anila.density.networks import vanilla
from anila.density.precision import Precision
from anila.evaluation.samples import coarse_distance
from anila.learning.chains import frozen
from anila.learning.learner import Learner, Totals
from anila.learning.objectives import Contrast
from anila.learning.objectives.base import Term
from anila.learning.starts import Persistent
from anila.rng import rng
from anila.runs.experiment import PRESETS, build, resolve
from anila.samplers import sample
from anila.samplers.adaptation import AdaptiveSampler
from rounding import quickest

SMALL = ["network.width=8", "training.batch=16", "start.size=500"]
DRAWS = 1000


class WithKL(Learner):
    """The loss −E f(z_K) besides, with z_K a function of θ by its last transition, f itself held."""

    def differentiate(self, contrast: Contrast, totals: Totals, term: Term | None = None) -> dict[str, float]:
        found = super().differentiate(contrast, totals, term)
        assert self.chains
        assert isinstance(self.chains.sampler, AdaptiveSampler)
        b, step = self.chains.sampler.threshold or math.inf, self.chains.sampler.step_size
        x = contrast.down.clone().requires_grad_(True)
        (grad,) = torch.autograd.grad(self.model(x).sum(), x, create_graph=True)
        y = contrast.down + step / 2 * grad.clamp(-b, b)
        at = y.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(self.model(at).sum(), at)
        (-(slope * y).sum() / totals.downs).backward()
        return found


PARTS: dict[str, list[str]] = {
    "preset": [],
    "no limit of ‖∇θ‖": ["training.max_grad_norm=none"],
    "penalty 0.01": ["training.penalty=0.01"],
    "spectral normalisation": ["network.spectral=true"],
    "KL term": [],
    "moves of the bank": ["start.shift=2"],
}


def run(preset: str, data: str, part: str, seed: int, iterations: int, precision: Precision | None) -> dict[str, float]:
    """Train with one part changed, and score."""
    words = [f"data={data}", *SMALL, *PARTS[part], f"training.seed={seed}", f"training.iterations={iterations}"]
    words.append(f"training.precision={precision or 'none'}")
    config = resolve(PRESETS[preset].experiment, words)
    with ExitStack() as stack:
        if part == "KL term":
            stack.enter_context(patch.object(build, "Learner", WithKL))
        points = build.build_data(config.data)
        learner = build.build_learner(config, points)
    rows = [learner.update(points.batch(16, seed, i)) for i in range(iterations)]
    x_data = points.batch(DRAWS, 10**6, 0)
    with frozen(learner.best_model):
        kernel = build.build_sampler(config.sampler, learner.best_model, None)
        noise = 2 * torch.rand(x_data.shape, generator=rng(seed, "score")) - 1
        x, _ = sample(kernel, noise, config.sampler.steps, rng(seed, "score chains"), precision=precision)
    assert learner.chains
    assert isinstance(learner.chains.start, Persistent)
    return {
        "from noise": coarse_distance(x, x_data),
        "bank": coarse_distance(learner.chains.start.x, x_data),
        "largest d": max(abs(r["energy_gap"]) for r in rows[100:]),
        "r": statistics.mean(r["grad_norm"] for r in rows[-100:]),
    }


def told(values: list[float]) -> str:
    error = f" ± {statistics.stdev(values) / math.sqrt(len(values)):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{error}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="+", metavar="PRESET=DATA")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the numbers; what is there is not run again"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=400)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    precision = quickest(vanilla(3, 32, 8), torch.rand(16, 3, 32, 32))
    print(f"gradients of chains in {precision or 'float32'}, the quicker here")
    protocol = {"precision": precision or "float32"}
    protocol |= {"iterations": arguments.iterations, "machine": platform.machine(), "torch": torch.__version__}
    protocol |= {"date": datetime.now(UTC).date().isoformat()}
    for preset, _, data in (text.partition("=") for text in arguments.presets):
        print(f"| {preset} | from noise | to the preset | bank | to the preset | largest \\|d\\| | r |\n{'|---' * 7}|")
        base: list[dict[str, float]] = []
        for part in PARTS:
            found = []
            for seed in range(arguments.seeds):
                path = arguments.out / f"{preset}-{list(PARTS).index(part)}-{seed}.json"
                if not path.exists():
                    scores = run(preset, data, part, seed, arguments.iterations, precision)
                    path.write_text(json.dumps(protocol | {"part": part, "seed": seed, "scores": scores}, indent=1))
                found.append(json.loads(path.read_text())["scores"])
            base = base or found
            cells = [part]
            for name in ("from noise", "bank"):
                cells.append(told([f[name] for f in found]))
                cells.append(
                    "" if part == "preset" else told([f[name] - b[name] for f, b in zip(found, base, strict=True)])
                )
            cells += [f"{max(f['largest d'] for f in found):.2f}", told([f["r"] for f in found])]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

"""What a GPU is for: CIFAR-10 at width, and sampling at the speed of the bare gradient. Run by scripts/gpu_images.sh.

    python benchmarks/gpu_images.py speed --out OUT          milliseconds of a step, beside ∇f and matrix products
    python benchmarks/gpu_images.py train --work WORK        denoising, then Algorithm 1; the same command goes on
    python benchmarks/gpu_images.py draw --work WORK --out OUT           a grid, fd and coarse distance

Without a GPU all runs on the CPU; --toy makes nets small and everything a few seconds long. Budgets are seconds on the
wall. `speed` has rows for the bare gradient, `sample` step by step and compiled (CUDA graphs on a GPU), exact and
rounded, and for products of 4096 × 4096 matrices (512 × 512 with --toy) with as many operations as ∇f has.
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from anila.density.log_density import gradient
from anila.density.networks import BlurredGaussian, NoiseConditional
from anila.density.precision import gradients_in
from anila.evaluation.pictures import image_grid, save
from anila.learning.chains import frozen
from anila.learning.learner import Learner
from anila.learning.objectives import denoising
from anila.learning.starts import FromData, Replay
from anila.rng import rng
from anila.samplers import descent, langevin, sample
from anila.samplers.annealed import sample_annealed
from image_recipes import FINAL, FINE_RATE, HIGHEST, LOWEST, ladder
from image_sets import ImageSet, Scorer, cosine, image_set, points, protocol
from image_unets import channels_last, unet

EVENT, STEP, SAVE_EVERY = (3, 32, 32), 0.3 * FINAL**2, 30.0


class Plan(NamedTuple):
    """How large and how long."""

    widths: tuple[int, ...] = (96, 192, 256)
    batch: int = 256
    denoising: float = 300.0
    chains: float = 90.0
    """Seconds of Algorithm 1."""
    bank: int = 512
    draws: int = 2000
    speed_chains: int = 512
    steps: int = 50
    matrix: int = 4096
    rate: float = 1e-3


TOY = Plan((8, 16, 16), 8, 6.0, 4.0, 16, 32, 16, 3, 512)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def model(plan: Plan, base: BlurredGaussian) -> NoiseConditional:
    f = NoiseConditional(unet(EVENT, plan.widths, 0), base, FINAL)
    return channels_last(f.to(device()))


def on_device(x: Tensor) -> Tensor:
    return x.to(device()).contiguous(memory_format=torch.channels_last)


def milliseconds(action: Callable[[], object], times: int) -> float:
    """Of one call, the best of three rounds; the first call, which compiles, is not counted."""

    def wait() -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    action()
    found = []
    for _ in range(3):
        wait()
        begun = time.perf_counter()
        action()
        wait()
        found.append(time.perf_counter() - begun)
    return 1000 * min(found) / times


def speed(plan: Plan, so_far: Path) -> dict[str, Any]:
    """Milliseconds of a transition of all chains, of ∇f, and of its arithmetic; what is measured is kept on the way."""
    f = model(plan, BlurredGaussian(EVENT)).eval().requires_grad_(False)
    x = on_device(torch.randn(plan.speed_chains, *EVENT, generator=rng(0, "speed")))
    with FlopCounterMode(display=False) as counter:
        f(x[:1].clone().requires_grad_(True)).sum().backward()
    flops, rows = counter.get_total_flops() * len(x), {}
    for precision in (None, "bf16", "tf32") if x.is_cuda else (None, "bf16"):
        word, dtype = precision or "float32", torch.bfloat16 if precision == "bf16" else torch.float32
        a = torch.randn(plan.matrix, plan.matrix, device=x.device).to(dtype)
        with gradients_in(precision):
            torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
            one = milliseconds(lambda a=a: a @ a, 1)
            torch.backends.cuda.matmul.allow_tf32 = False
            rows[f"{word}: its arithmetic"] = one * flops / (2 * plan.matrix**3)
            rows[f"{word}: bare gradient"] = milliseconds(
                lambda: [gradient(f, x) for _ in range(plan.steps)], plan.steps
            )
        for compile in (False, True):
            how = {"precision": precision, "compile": compile}
            kernel, generator = langevin(f, STEP), rng(0, "speed", device=x.device)
            run = milliseconds(
                lambda kernel=kernel, generator=generator, how=how: sample(kernel, x, plan.steps, generator, **how),
                plan.steps,
            )
            rows[f"{word}: sample{', compiled' if compile else ''}"] = run
            print(f"{list(rows)[-1]}: {run:.3f} ms a step", flush=True)
            so_far.write_text(json.dumps(rows, indent=1) + "\n")
    return {"milliseconds": rows, "flops_of_a_step": flops, "chains": len(x), "widths": plan.widths}


def learner_of(f: NoiseConditional, data_sd: float, **more: Any) -> Learner:
    optimizer = torch.optim.Adam(f.parameters(), betas=(0.9, 0.99))
    objective = denoising((LOWEST, HIGHEST), data_sd=data_sd)
    return Learner(f, optimizer=optimizer, objective=objective, ema=0.999, **more)


def train(data: ImageSet, plan: Plan, work: Path) -> None:
    """Denoising for its seconds, then Algorithm 1 for its own; a checkpoint now and then, from which it goes on."""
    base = BlurredGaussian.of(points(data.train[:7000]))
    f = model(plan, base)
    anchor = learner_of(f, float(base.variance().sqrt()), max_grad_norm=1024.0)
    spend(work / "denoising.pt", [anchor], [plan.rate], data, plan, plan.denoising)
    f.load_state_dict(anchor.best_model.state_dict())
    pool = work / "pool.pt"
    if not pool.exists():
        torch.save(draws(f, plan.bank, plan, settle=0).cpu(), pool)
    bank = Replay(plan.bank, FromData(torch.load(pool, weights_only=True).to(device())), fresh=0.01)
    likely = Learner(
        f, langevin(f, STEP), bank, torch.optim.Adam(f.parameters(), betas=(0.5, 0.99)), 10, chains=plan.batch,
        data_noise=FINAL, max_grad_norm=1.0,
    )  # fmt: skip
    anchor = learner_of(f, float(base.variance().sqrt()), max_grad_norm=1.0)
    spend(work / "chains.pt", [likely, anchor], [FINE_RATE, FINE_RATE], data, plan, plan.chains)


def spend(path: Path, learners: list[Learner], rates: list[float], data: ImageSet, plan: Plan, seconds: float) -> None:
    """Iterations until the budget of this stage is used, over however many calls."""
    used, i, row = 0.0, 0, {}
    if path.exists():
        kept = torch.load(path, weights_only=True, map_location=device())
        used, i = kept["seconds"], kept["iteration"]
        for learner, state in zip(learners, kept["learners"], strict=True):
            learner.load_state_dict(state)
    begun, saved = time.perf_counter() - used, used
    while used < seconds:
        for learner, rate in zip(learners, rates, strict=True):
            learner.optimizer.param_groups[0]["lr"] = rate * cosine(used / seconds, i)
            row = learner.update(on_device(data.batch(plan.batch, 0, i)))
        i, used = i + 1, time.perf_counter() - begun
        if used - saved > SAVE_EVERY or used >= seconds:
            keep(path, {"seconds": used, "iteration": i, "learners": [x.state_dict() for x in learners]})
            saved = used
            print(
                f"{path.stem}: {i} iterations, {used:.0f} of {seconds:.0f} s, loss {row['matching_loss']:.4f}",
                flush=True,
            )


def keep(path: Path, state: dict[str, Any]) -> None:
    half = path.with_suffix(".half")
    torch.save(state, half)
    half.replace(path)


def draws(f: Any, n: int, plan: Plan, settle: int) -> Tensor:
    """Annealed to the lowest level; settled there and denoised if asked."""
    found, generator = [], rng(0, "draws", device=device())
    for first in range(0, n, plan.speed_chains):
        x = on_device(f.base.draw(min(plan.speed_chains, n - first), HIGHEST, generator))
        with frozen(f):
            x, _ = sample_annealed(
                f, x, ladder(FINAL), generator, lambda f, s: langevin(f, 0.2 * s**2), 2, denoise=False
            )
            if settle:
                x, _ = sample(langevin(f, STEP), x, settle, generator)
                x, _ = sample(descent(f, 2 * FINAL**2), x, 1, generator)
        found.append(x)
    return torch.cat(found)


def draw(data: ImageSet, plan: Plan, work: Path, out: Path) -> dict[str, Any]:
    """The grid and the scores of the averaged f."""
    f = model(plan, BlurredGaussian(EVENT))
    kept = torch.load(work / "chains.pt", weights_only=True, map_location=device())
    theta = {name.removeprefix("module."): value for name, value in kept["learners"][1]["ema"].items()}
    theta.pop("n_averaged")
    f.load_state_dict(theta)
    begun = time.perf_counter()
    x = draws(f.eval(), plan.draws, plan, settle=plan.steps).cpu()
    seconds = time.perf_counter() - begun
    save(image_grid(x[:64].nan_to_num()), out / "gpu_cifar10.png")
    first = torch.load(work / "denoising.pt", weights_only=True, map_location="cpu")
    iterations = [stage["iteration"] for stage in (first, kept)]
    return {"scores": Scorer(data, None)(x), "seconds": seconds, "iterations": iterations, "widths": plan.widths}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("speed", "train", "draw"))
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder for figures and pictures")
    parser.add_argument("--work", type=Path, default=Path("runs/gpu"), help="folder for checkpoints")
    parser.add_argument("--data", default="cifar10", help="CIFAR-10, by its name or as a path")
    parser.add_argument("--toy", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    plan, path = TOY if arguments.toy else Plan(), arguments.out / f"gpu_{arguments.part}.json"
    for folder in (arguments.out, arguments.work):
        folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        print(f"{path} is there: not made again")
        return
    if arguments.part == "speed":
        found = speed(plan, arguments.out / "gpu_speed_so_far.json")
    else:
        data = image_set("cifar10", arguments.data)
        if arguments.part == "train":
            train(data, plan, arguments.work)
            return
        found = draw(data, plan, arguments.work, arguments.out)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU: the processor"
    path.write_text(json.dumps({**found, "protocol": {"gpu": name, **protocol()}}, indent=1) + "\n")
    print(path.read_text())


if __name__ == "__main__":
    main()

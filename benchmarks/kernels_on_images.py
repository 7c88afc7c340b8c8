"""The papers' question: from one matched start, does Algorithm 1 gain by anisotropic chains? Why does acceptance die?

    python benchmarks/kernels_on_images.py learn --out runs/kernels                             (docs; hours)
    python benchmarks/kernels_on_images.py learn --out runs/kernels --data flowers
    python benchmarks/kernels_on_images.py accept --out runs/kernels                            (docs; minutes)
    python benchmarks/kernels_on_images.py learn --out runs/toy --short                         (a minute; so is accept)

Both begin with an f(x, s) that learned by denoising: --start RUN, or one that `anila train` makes here by the preset's
first stage, without classes, in --minutes; it is kept in --out.

learn: Algorithm 1 on f(·, 0.1) by each kernel, five seeds, equal gradient evaluations, bank of 64 from the same draws,
denoising beside it. Step size 0.03 s² for exact kernels and 0.3 s² for the others; thresholds at the 50, 80 and 95%
quantile of |∂f| over the first bank, the step size raised so that the mean step is that of `langevin`; `as printed` has
the papers' threshold 1e-4, step size 1 and temperature 1e-4. Then, the same for every kernel: draws by annealing,
langevin at the lowest level and one denoising step, scored as in `images.py`; and long chains of langevin from noisy
data: the share in range, |x| <= 1 + 6 s, after 3,000 steps. gap is the mean of the last 20 iterations over its sd.

accept: what `kernel_variants.py` derives, measured. On N(0, I) the acceptance of a step for each coordinate beside its
prediction. On N(0, I) and on f(·, 0.1) from settled draws, for each variant the step size with acceptance 0.5, its mean
step, and the largest mean squared jump a coordinate over step sizes, all in units of s².
"""

import argparse
import copy
import json
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from anila.density.log_density import LogDensity, gradient
from anila.density.noisy_data import denoised
from anila.learning.chains import frozen
from anila.learning.learner import Learner
from anila.learning.objectives import denoising
from anila.learning.starts import FromData, Replay
from anila.rng import rng
from anila.runs.folder.run import Run
from anila.runs.model.trained import Trained
from anila.samplers import Sampler, anisotropic, anisotropic_mala, descent, hmc, langevin, mala, sample
from anila.samplers.annealed import draw_annealed
from image_recipes import by_preset
from image_sets import KNOWN, SCORED, Clock, ImageSet, Scorer, cosine, image_set, judge_of, points, protocol
from image_unets import channels_last
from images import told
from kernel_variants import VARIANTS, Make, blocked, haar, predicted

FINAL, DENOISED, LEVELS, LAST_STEPS, CHUNK = 0.1, (0.04, 2.4), 24, 100, 128
BATCH, EMA, FINE_RATE = 32, 0.99, 1e-4
STEP, EXACT_STEP, LEAPFROG, PRINTED = 0.3 * FINAL**2, 0.03 * FINAL**2, 5, 1e-4
QUANTILES = (0.5, 0.8, 0.95)
MULTIPLES = (0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2)
"""Step sizes that are tried, in units of s²."""


class Length(NamedTuple):
    """How long each part is."""

    iterations: int = 150
    gradients: int = 10
    """Evaluations of ∇f by a chain in an iteration."""
    long: int = 3000
    long_chains: int = 16
    draws: int = 500
    steps: int = 30
    """Steps at which an acceptance is measured."""
    chains: int = 32


SHORT = Length(iterations=4, long=10, long_chains=4, draws=24, steps=3, chains=8)


def quantile(f: LogDensity, x: Tensor, q: float) -> float:
    """The q-quantile of |∂f|."""
    return float(gradient(f, x).abs().flatten().double().kthvalue(max(1, round(q * x.numel()))).values)


def raised(f: LogDensity, x: Tensor, b: float) -> float:
    """Step size at which the mean of γ is that of `langevin`."""
    return STEP / float((b / gradient(f, x).abs().clamp(min=b)).mean())


def kernels(f: LogDensity, x: Tensor) -> dict[str, Callable[[LogDensity], Sampler]]:
    """The kernels that are compared; thresholds are found at the points x."""
    thresholds = {q: quantile(f, x, q) for q in QUANTILES}
    rms = float(gradient(f, x).square().mean().sqrt())
    return {
        "langevin": lambda f: langevin(f, STEP),
        **{f"anisotropic, {q:.0%}": anisotropic_at(b, raised(f, x, b)) for q, b in thresholds.items()},
        "anisotropic, as printed": lambda f: anisotropic(f, PRINTED, 1.0, temperature=PRINTED),
        "mala": lambda f: mala(f, EXACT_STEP),
        **{f"anisotropic_mala, {q:.0%}": anisotropic_mala_at(b) for q, b in thresholds.items()},
        "mala, a step for each image": lambda f: blocked(32, f, rms, EXACT_STEP),
        "hmc": lambda f: hmc(f, EXACT_STEP, LEAPFROG),
        "descent": lambda f: descent(f, STEP),
    }


def anisotropic_at(b: float, step_size: float) -> Callable[[LogDensity], Sampler]:
    return lambda f: anisotropic(f, b, step_size)


def anisotropic_mala_at(b: float) -> Callable[[LogDensity], Sampler]:
    return lambda f: anisotropic_mala(f, b, EXACT_STEP)


class Start(NamedTuple):
    """What all begin with."""

    f: Any
    pool: Tensor
    """Draws of f(·, 0.1)."""
    run: str


def matched_start(data: ImageSet, arguments: argparse.Namespace) -> Start:
    """f(x, s) of a run, or of one that is trained here; and its draws."""
    path = arguments.start or arguments.out / f"start-{data.name}"
    if not arguments.start:
        words = [
            "stages=none",
            "network.classes=none",
            "network.adapter=none",
            f"network.widths={list(arguments.widths)}",
        ]
        by_preset(data.name, data, path, 0, [*words, f"training.minutes={arguments.minutes}"])
    f: Any = channels_last(Trained.load(Run(path)).f)
    pool = arguments.out / f"pool-{path.name}-{arguments.pool}.pt"
    if not pool.exists():
        torch.save(annealed(f, arguments.pool, rng(0, "pool")), pool)
    return Start(f, torch.load(pool, weights_only=True), path.name)


def annealed(f: Any, n: int, generator: torch.Generator) -> Tensor:
    """n draws of f(·, 0.1), from noise."""
    with frozen(f):
        return draw_annealed(f, n, generator, lambda f: langevin(f, STEP), LEVELS, steps=0)


def settled(f: Any, n: int, generator: torch.Generator) -> Tensor:
    """The same after transitions there, without their noise."""
    x = annealed(f, n, generator)
    with frozen(f):
        parts = [sample(langevin(f, STEP), part, LAST_STEPS, generator)[0] for part in x.split(CHUNK)]
        return torch.cat([denoised(f, part) for part in parts])


def algorithm_1(
    start: Start, data: ImageSet, make: Callable[[LogDensity], Sampler], seed: int, length: Length
) -> tuple[nn.Module, dict[str, float]]:
    """Algorithm 1 on f(·, 0.1) with denoising beside it; f, and how it went."""
    f: nn.Module = copy.deepcopy(start.f).requires_grad_(True)
    for buffer in f.buffers():
        buffer.requires_grad_(False)
    kernel = make(f)
    bank = Replay(64, FromData(start.pool), fresh=0.01, generator=rng(seed, "bank"))
    levels = denoising(DENOISED, data_sd=start.f.data_sd)
    learner = Learner(
        f, kernel, bank, torch.optim.Adam(f.parameters(), betas=(0.5, 0.99)),
        max(1, round((length.gradients - kernel.ahead) / kernel.gradients)), seed, chains=BATCH, anchor=levels,
        data_noise=FINAL, max_grad_norm=1.0, ema=EMA,
    )  # fmt: skip
    clock, rows = Clock(1), []
    for i in range(length.iterations):
        learner.optimizer.param_groups[0]["lr"] = FINE_RATE * cosine(i / length.iterations, i, warmup=20)
        rows.append(learner.update(data.batch(BATCH, seed, i)))
    last = rows[-20:]
    gap, sd = (sum(row[name] for row in last) / len(last) for name in ("energy_gap", "energy_sd"))
    return learner.best_model.eval(), {
        "gap": gap / sd,
        "acceptance": sum(row["accept_prob"] for row in rows) / len(rows),
        "clipped": sum(row["clipped"] for row in rows) / len(rows),
        "mean_step": sum(row["step_size"] for row in rows) / len(rows) / FINAL**2,
        "seconds": clock.used(),
    }


def staying(f: nn.Module, data: ImageSet, length: Length, seed: int) -> float:
    """Share of long chains from noisy data that are in range at the end."""
    generator = rng(seed, "long chains")
    x = points(data.held_out[: length.long_chains])
    x = x + FINAL * torch.randn(x.shape, generator=generator)
    with frozen(f):
        x, _ = sample(langevin(f, STEP), x, length.long, generator)
    return float((x.abs().amax((1, 2, 3)) <= 1 + 6 * FINAL).double().mean())


def learn(arguments: argparse.Namespace, length: Length) -> dict[str, Any]:
    """Every kernel and seed, as files; the table."""
    name = arguments.data
    data = image_set(name, arguments.source)
    score = Scorer(data, judge_of(data, arguments.out / f"judge-{name}.pt"))
    start, n = matched_start(data, arguments), min(length.draws, SCORED[name])
    with frozen(start.f):
        makes = kernels(start.f, start.pool[:32])
    found: dict[str, list[dict[str, float]]] = {}
    for seed in arguments.seeds:
        before = arguments.out / f"{name}-before-{seed}.json"
        if not before.exists():
            scores = score(settled(start.f, n, rng(seed, "draws"))) | {"in_range": staying(start.f, data, length, seed)}
            before.write_text(json.dumps(scores))
        found.setdefault("before", []).append(json.loads(before.read_text()))
        for k, (kernel, make) in enumerate(makes.items()):
            if arguments.kernels and kernel not in arguments.kernels:
                continue
            path = arguments.out / f"{name}-{k}-{seed}.json"
            if not path.exists():
                f, went = algorithm_1(start, data, make, seed, length)
                went |= score(settled(f, n, rng(seed, "draws"))) | {"in_range": staying(f, data, length, seed)}
                path.write_text(json.dumps({"kernel": kernel, **went}, indent=1))
                print(f"{kernel}, seed {seed}: {json.dumps(went)}", flush=True)
            found.setdefault(kernel, []).append(json.loads(path.read_text()))
    tell_learned(name, found)
    return {"start": start.run, "length": length._asdict(), "kernels": found}


def tell_learned(name: str, found: dict[str, list[dict[str, float]]]) -> None:
    columns = ("fd", "coarse", "share", "gap", "in_range", "acceptance", "mean_step", "seconds")
    print(f"\n| {name} | {' | '.join(columns)} |\n{'|---' * (len(columns) + 1)}|")
    for kernel, results in found.items():
        cells = [told([r[column] for r in results if column in r]) for column in columns]
        print(f"| {kernel} | {' | '.join(cells)} |")


class Measured(NamedTuple):
    """A kernel at one step size."""

    h: float
    accept: float
    mean_step: float
    jump: float
    """Mean squared jump of a coordinate in a step."""


def measure(make: Make, f: LogDensity, x: Tensor, b: float, h: float, steps: int, transform: bool) -> Measured:
    """Acceptance from these points."""
    z = haar(x) if transform else x
    _, trace = sample(make(f, b, h), z, steps, rng(0, "accept"), keep_every=1)
    path = torch.cat([z[None], trace["x"]])
    return Measured(
        h, trace["accept_prob"].mean().item(), trace["step_size"].mean().item(), path.diff(dim=0).square().mean().item()
    )


def at_half(rows: Sequence[Measured]) -> tuple[float, float]:
    """Step size and mean step with acceptance 0.5, between those measured; NaN where it is never met."""
    for a, b in pairwise(rows):
        if a.accept >= 0.5 > b.accept:
            part = (a.accept - 0.5) / (a.accept - b.accept)
            h, mean = (math.log(u) + part * (math.log(v) - math.log(u)) for u, v in ((a.h, b.h), (a[2], b[2])))
            return math.exp(h), math.exp(mean)
    return math.nan, math.nan


def survey(f: LogDensity, x: Tensor, unit: float, steps: int) -> list[dict[str, Any]]:
    """Every variant at every step size, thresholds at quantiles of what it compares with them: |∂f|, or its rms."""
    rms, rows = float(gradient(f, x).square().mean().sqrt()), []
    for variant, make in VARIANTS.items():
        coordinate = variant.startswith("a coordinate")
        thresholds = {f"{q:.0%}": quantile(f, x, q) for q in QUANTILES} if coordinate else {"": 0.5 * rms}
        for word, b in thresholds.items():
            found: list[Measured] = []
            for multiple in MULTIPLES:
                found.append(
                    measure(make, f, x, b, multiple * unit * raising(variant, b, rms), steps, "Haar" in variant)
                )
                if found[-1].accept < 0.02:
                    break
            h, mean = at_half(found)
            best = max(found, key=lambda m: m.jump)
            rows.append({
                "variant": f"{variant} {word}".strip(), "step_at_half": h / unit, "mean_step_at_half": mean / unit,
                "best_jump": best.jump / unit, "accept_at_best": best.accept,
                "smallest": found[0].accept, "measured": [m._asdict() for m in found],
            })  # fmt: skip
            print(tell_variant(rows[-1]), flush=True)
    return rows


def raising(variant: str, b: float, rms: float) -> float:
    """Pooled steps are all limited at half the rms: twice the step size makes their mean that of the others."""
    return 1.0 if variant == "mala" or variant.startswith("a coordinate") else rms / b


def tell_variant(row: dict[str, Any]) -> str:
    names = ("mean_step_at_half", "best_jump", "accept_at_best")
    return f"| {row['variant']} | {' | '.join(f'{row[name]:.3g}' for name in names)} | {row['smallest']:.2f} |"


def of_gaussians() -> list[dict[str, float]]:
    """Acceptance of a step for each coordinate, from equilibrium, beside its prediction."""
    rows = []
    print("| dimensions | threshold (quantile) | step size | acceptance | predicted |\n|---|---|---|---|---|")
    for side in (8, 16, 32, 64):
        x = torch.randn(128, 1, side, side, generator=rng(0, "normal"))
        for q in QUANTILES:
            c = math.sqrt(2) * torch.special.erfinv(torch.tensor(q, dtype=torch.float64)).item()
            for h in (0.01, 0.1):
                found = measure(lambda f, b, h: anisotropic_mala(f, b, h), normal, x, c, h, 3, False)
                rows.append(
                    {"dim": side**2, "q": q, "h": h, "accept": found.accept, "predicted": predicted(side**2, h, c)}
                )
                print(f"| {side**2} | {q:.0%} | {h} | {found.accept:.3f} | {rows[-1]['predicted']:.3f} |", flush=True)
    return rows


def normal(x: Tensor) -> Tensor:
    return -x.square().flatten(1).sum(1) / 2


def accept(arguments: argparse.Namespace, length: Length) -> dict[str, Any]:
    """The derivation measured, and the variants."""
    prediction = of_gaussians()
    head = "mean step at 0.5 | largest jump | acceptance there | at the smallest step |\n|---|---|---|---|---|"
    print(f"\n| N(0, I), 1,024 dimensions | {head}")
    x = torch.randn(length.chains, 1, 32, 32, generator=rng(1, "normal"))
    gaussian = survey(normal, x, 1.0, length.steps)
    data = image_set(arguments.data, arguments.source)
    start = matched_start(data, arguments)
    print(f"\n| {arguments.data}, f(·, {FINAL}) | {head}")
    with frozen(start.f):
        x, _ = sample(mala(start.f, EXACT_STEP), start.pool[: length.chains], 4 * length.steps, rng(0, "settle"))
        learned = survey(start.f, x, FINAL**2, length.steps)
    return {"prediction": prediction, "gaussian": gaussian, arguments.data: learned}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("learn", "accept"))
    parser.add_argument("--out", type=Path, required=True, help="folder for results; what is there is not run again")
    parser.add_argument("--data", default="mnist", choices=KNOWN)
    parser.add_argument("--source", help="where the images are; by default where `anila train` finds them")
    parser.add_argument("--start", type=Path, help="a run that learned f(x, s) without classes")
    parser.add_argument("--minutes", type=float, default=10.0, help="of denoising at the start")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--kernels", nargs="+", help="of learn: these alone, by the names of its table")
    parser.add_argument("--widths", type=lambda text: tuple(map(int, text.split(","))), default=(32, 64, 64))
    parser.add_argument("--pool", type=int, default=256, help="draws at the start")
    parser.add_argument("--json", type=Path, help="docs/numbers/kernels_on_images.json, or …_accept.json, by default")
    parser.add_argument("--short", action="store_true", help="small nets, seconds of everything, one seed; no JSON")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.minutes, arguments.seeds, arguments.widths, arguments.pool = 0.1, [0], (8, 16, 16), 32
    names = {"learn": f"kernels_on_images_{arguments.data}.json", "accept": "kernels_accept.json"}
    folder = arguments.out if arguments.short else Path("docs/numbers")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    arguments.out.mkdir(parents=True, exist_ok=True)
    part = {"learn": learn, "accept": accept}[arguments.part]
    found = part(arguments, SHORT if arguments.short else Length())
    about = {"command": " ".join(["python", *sys.argv]), **protocol()}
    path = arguments.json or folder / names[arguments.part]
    path.write_text(json.dumps({"protocol": about, **found}, indent=1) + "\n")
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    main()

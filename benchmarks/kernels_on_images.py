"""The papers' question: from one matched start, does Algorithm 1 gain by anisotropic chains? Why does acceptance die?

    python benchmarks/kernels_on_images.py learn --out runs/kernels                             (docs; hours)
    python benchmarks/kernels_on_images.py learn --out runs/kernels --data flowers
    python benchmarks/kernels_on_images.py accept --out runs/kernels                            (docs; minutes)
    python benchmarks/kernels_on_images.py learn --out runs/toy --short                         (a minute; so is accept)

Both begin with what a preset has learned at the end of its first stage, without chains: that of --runs, one a seed, or
of runs that are trained here in --minutes, and kept in --out.

learn: the second stage of the preset, Algorithm 1 by pairs on the adapter of f(x), with each kernel at equal gradient
evaluations. Step size 0.03 s² for exact kernels and the preset's 0.3 s² for the others; thresholds at the 50, 80 and
95% quantile of |∂f| over noisy data, the step size raised so that the mean step is that of `langevin`; `as printed` has
the papers' threshold 1e-4, step size 1 and temperature 1e-4. gap is the mean of the last 20 iterations over its sd.
Then, alike for every kernel: draws that come down the levels, which no kernel teaches, by transitions of `langevin` at
f(x) and one denoising step, scored as in `images.py`; and long chains of `langevin` from noisy data: the share in
range, |x| <= 1 + 6 s, and how much rougher than data they have become, as the ratio of total variations. `own` is that
ratio for long chains of another kernel itself.

accept: what `kernel_variants.py` derives, measured. On N(0, I) the acceptance of a step for each coordinate beside its
prediction. On N(0, I) and on f(x) from settled draws, for each variant the step size with acceptance 0.5, its mean
step, and the largest mean squared jump a coordinate over step sizes, all in units of s².
"""

import argparse
import json
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from anila.density.log_density import LogDensity, gradient
from anila.density.noisy_data import denoised
from anila.evaluation.training.long_chains import sharpness
from anila.learning.chains import frozen
from anila.rng import rng
from anila.runs.experiment import resolve
from anila.runs.experiment.build import build_learner
from anila.runs.experiment.build_sampler import build_sampler
from anila.runs.folder import checkpoint
from anila.runs.folder.run import Run
from anila.runs.model.trained import Trained
from anila.samplers import Sampler, anisotropic_mala, langevin, mala, sample
from image_recipes import by_preset
from image_sets import KNOWN, SCORED, Clock, ImageSet, Scorer, image_set, judge_of, protocol
from images import told
from kernel_variants import VARIANTS, Make, haar, predicted

FINAL = 0.1
STEP, EXACT_STEP, LEAPFROG, PRINTED = 0.3 * FINAL**2, 0.03 * FINAL**2, 5, 1e-4
QUANTILES = (0.5, 0.8, 0.95)
MULTIPLES = (0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2)
"""Step sizes that are tried, in units of s²."""


class Length(NamedTuple):
    """How long each part is."""

    iterations: int = 150
    gradients: int = 10
    """Evaluations of ∇f by a chain in an iteration."""
    long: int = 1000
    long_chains: int = 16
    draws: int = 500
    last: int = 50
    """Transitions of draws at f(x)."""
    steps: int = 30
    """Steps at which an acceptance is measured."""
    chains: int = 32


SHORT = Length(iterations=4, long=10, long_chains=4, draws=24, last=4, steps=3, chains=8)


class Start(NamedTuple):
    """What all kernels begin with."""

    name: str
    trained: Trained
    """At the beginning of the second stage."""
    learned: dict[str, Any]
    """The learner of the first stage at its end."""
    noisy: Tensor
    """Data with the noise of f(x), where long chains begin."""


def starts(data: ImageSet, arguments: argparse.Namespace) -> Iterator[Start]:
    """One for each seed: of the runs that are named, or of those made here."""
    for seed in arguments.seeds:
        run = Run(arguments.out / f"start-{data.name}-{seed}")
        long = [f"training.minutes={arguments.minutes}"]
        words = ["stages.1.iterations=30", "stages.2.iterations=2"] if arguments.short else long
        by_preset(data.name, data, run.path, seed, words)
        yield beginning(run)
    for path in arguments.runs:
        yield beginning(Run(path))


def beginning(run: Run) -> Start:
    """Where the second stage of a run began."""
    trained = Trained.load(run)
    first, second = trained.whole.lengths[0], trained.whole.stage(2)
    _, parts = checkpoint.load(run.checkpoints / f"{first:09d}", "learner")
    learner = build_learner(second, trained.data, begin=first, after=parts["learner"])
    trained = replace(trained, config=second, learner=learner, number=2)
    noisy = trained.noisy(trained.reference_data(128), rng(0, "long chains"))
    return Start(run.path.name, trained, parts["learner"], noisy)


def quantile(f: LogDensity, x: Tensor, q: float) -> float:
    """The q-quantile of |∂f|."""
    return float(gradient(f, x).abs().flatten().double().kthvalue(max(1, round(q * x.numel()))).values)


def raised(f: LogDensity, x: Tensor, b: float) -> float:
    """Step size at which the mean of γ is that of `langevin`."""
    return STEP / float((b / gradient(f, x).abs().clamp(min=b)).mean())


def kernels(f: LogDensity, x: Tensor) -> dict[str, dict[str, Any]]:
    """The settings of the kernels that are compared; thresholds are found at the points x."""
    thresholds = {q: quantile(f, x, q) for q in QUANTILES}
    return {
        "langevin": {"name": "langevin", "step_size": STEP},
        **{
            f"anisotropic, {q:.0%}": {"name": "anisotropic", "threshold": b, "step_size": raised(f, x, b)}
            for q, b in thresholds.items()
        },
        "anisotropic, as printed": {
            "name": "anisotropic", "threshold": PRINTED, "step_size": 1.0, "temperature": PRINTED
        },
        "mala": {"name": "mala", "step_size": EXACT_STEP},
        **{
            f"anisotropic_mala, {q:.0%}": {"name": "anisotropic_mala", "threshold": b, "step_size": EXACT_STEP}
            for q, b in thresholds.items()
        },
        "hmc": {"name": "hmc", "step_size": EXACT_STEP, "leapfrog_steps": LEAPFROG},
        "descent": {"name": "descent", "step_size": STEP},
    }  # fmt: skip


def algorithm_1(start: Start, options: dict[str, Any], length: Length) -> tuple[Trained, dict[str, float]]:
    """The second stage with a kernel, and how it went."""
    one = start.trained.config
    words = [f"sampler.{name}={value}" for name, value in options.items()]
    kernel = resolve(one, words).sampler.kernel
    steps = max(1, round((length.gradients - kernel.ahead) / kernel.gradients))
    config = resolve(one, [*words, f"sampler.steps={steps}", f"training.iterations={length.iterations}"])
    begin = start.trained.whole.lengths[0]
    learner = build_learner(config, start.trained.data, begin=begin, after=start.learned)
    trained, clock = replace(start.trained, config=config, learner=learner), Clock(1)
    rows = [trained.learner.update(*trained.batch()) for _ in range(length.iterations)]
    last = rows[-20:]
    gap, sd = (sum(row[name] for row in last) / len(last) for name in ("energy_gap", "energy_sd"))
    mean = {name: sum(row[name] for row in rows) / len(rows) for name in ("accept_prob", "clipped", "step_size")}
    return trained, mean | {"gap": gap / sd, "seconds": clock.used(), "steps": float(steps)}


def origins(start: Start, n: int, out: Path) -> Tensor:
    """Draws that have come down the levels, which are those of the first stage for every kernel."""
    path = out / f"origins-{start.name}-{n}.pt"
    if not path.exists():
        torch.save(start.trained.origins(n, rng(0, "draws")), path)
    return torch.load(path, weights_only=True)


def looked_at(
    trained: Trained, start: Start, options: dict[str, Any], length: Length, x: Tensor, score: Scorer
) -> dict[str, float]:
    """Draws at f(x), and long chains from data."""
    f: Any = trained.f
    with frozen(f):
        parts = [sample(langevin(f, STEP), part, length.last, rng(1, "draws"))[0] for part in x.split(250)]
        scores = score(torch.cat([denoised(f, part) for part in parts]))
        z = after(langevin(f, STEP), start, length)
        in_range = (z.abs().flatten(1).amax(1) <= 1 + 6 * FINAL).double().mean()
        before = roughness(denoised(f, start.noisy))
        found = {"in_range": float(in_range), "rougher": roughness(denoised(f, z)) / before}
        if options and options["name"] != "langevin":
            z = after(build_sampler(trained.config.sampler, f), start, length)
            found["own"] = roughness(denoised(f, z)) / before
    return scores | found


def after(kernel: Sampler, start: Start, length: Length) -> Tensor:
    """Long chains from noisy data."""
    return sample(kernel, start.noisy[: length.long_chains], length.long, rng(1, "long chains"))[0]


def roughness(x: Tensor) -> float:
    """Mean total variation of images."""
    return float(sharpness(x).mean())


def learn(arguments: argparse.Namespace, length: Length) -> dict[str, Any]:
    """Every kernel and start, as files; the table."""
    name = arguments.data
    data = image_set(name, arguments.source)
    score = Scorer(data, judge_of(data, arguments.out / f"judge-{name}.pt"))
    found: dict[str, list[dict[str, float]]] = {}
    for start in starts(data, arguments):
        x = origins(start, min(length.draws, SCORED[name]), arguments.out)
        with frozen(start.trained.f):
            compared = kernels(start.trained.f, start.noisy)
        for kernel, options in {"before": {}, **compared}.items():
            if arguments.kernels and kernel not in ("before", *arguments.kernels):
                continue
            path = arguments.out / f"{start.name}-{kernel.replace(', ', '-').replace(' ', '-')}.json"
            if not path.exists():
                trained, went = algorithm_1(start, options, length) if options else (start.trained, {})
                went |= looked_at(trained, start, options, length, x, score)
                path.write_text(json.dumps({"kernel": kernel, **went}, indent=1))
                print(f"{start.name}, {kernel}: {json.dumps(went)}", flush=True)
            found.setdefault(kernel, []).append(json.loads(path.read_text()))
    tell_learned(name, found)
    return {"length": length._asdict(), "kernels": found}


def tell_learned(name: str, found: dict[str, list[dict[str, float]]]) -> None:
    """The table; "ahead" is by how much the Fréchet distance is below that of `langevin` from the same start."""
    columns = ("fd", "coarse", "recall", "share", "gap", "in_range", "rougher", "own", "accept_prob", "seconds")
    print(f"\n| {name} | {' | '.join(columns)} | ahead |\n{'|---' * (len(columns) + 2)}|")
    beside = found.get("langevin", [])
    for kernel, results in found.items():
        cells = [told([r[column] for r in results if column in r]) for column in columns]
        both = zip(results, beside, strict=True) if len(results) == len(beside) else ()
        cells.append(told([other["fd"] - r["fd"] for r, other in both]))
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
    start = next(starts(data, arguments))
    f: Any = start.trained.f
    print(f"\n| {arguments.data}, f(x) | {head}")
    with frozen(f):
        x = origins(start, length.chains, arguments.out)
        x, _ = sample(mala(f, EXACT_STEP), x, 4 * length.steps, rng(0, "settle"))
        learned = survey(f, x, FINAL**2, length.steps)
    return {"prediction": prediction, "gaussian": gaussian, arguments.data: learned}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("learn", "accept"))
    parser.add_argument("--out", type=Path, required=True, help="folder for results; what is there is not run again")
    parser.add_argument("--data", default="mnist", choices=KNOWN)
    parser.add_argument("--source", help="where the images are; by default where `anila train` finds them")
    parser.add_argument("--runs", type=Path, nargs="+", default=[], help="runs of the preset, in place of --seeds")
    parser.add_argument("--minutes", type=float, default=20.0, help="of the presets that are trained here")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--kernels", nargs="+", help="of learn: these alone, by the names of its table")
    parser.add_argument("--json", type=Path, help="docs/numbers/kernels_on_images.json, or …_accept.json, by default")
    parser.add_argument("--short", action="store_true", help="small nets, seconds of everything, one seed; no JSON")
    arguments = parser.parse_args()
    if arguments.runs or arguments.short:
        arguments.seeds = [] if arguments.runs else [0]
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

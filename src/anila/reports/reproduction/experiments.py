"""What the papers trained, as printed and with our recipe, for langevin, anisotropic, hmc, mala and descent.

The papers start from noise; `matched` asks their question where f has learned without chains before, so that chains
have something to keep: Algorithm 1 by each kernel from the same θ (docs/reproduction.md).

Every part is a comparison at equal iterations, and gradients an iteration (see `comparison`), of which the figures are
made. "As printed" takes threshold, noise, K, learning rate and optimiser from STANLEY's text and the authors' scripts
(Karimi, Xie & Li 2023); "our recipe" is the preset that moves. Where the source is silent on a sampler:

* langevin and descent have γ = step_size, 0.14 on rings as stated there and 1 elsewhere, the largest γ that the
  anisotropic sampler comes to.
* On rings that is a seventh of the anisotropic sampler's largest γ, so `langevin-long` is langevin with γ = 1: how much
  of a difference is that of steps, and how much anisotropy.
* mala and hmc are exact at temperature 1, so f is divided by T = ε² instead: with γ T for γ, and η T for the η of SGD,
  drift, noise and ascent are those of langevin, and only the acceptance is new. hmc makes 10 leapfrog steps.

The papers have one seed. Celeba cannot be had here: inpainting is on CIFAR-10, whose test images no run has seen.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from anila.reports.comparison import Plan, plan_of
from anila.reports.comparison.plan import IN_PLANE, LOCAL, with_sampler

Scale = Literal["small", "paper"]
SAMPLERS = ("langevin", "anisotropic", "hmc", "mala", "descent")
CHAINED = ("langevin", "anisotropic", "mala", "anisotropic_mala", "hmc", "descent")
PAIR = ("anisotropic", "langevin")
LONG = "langevin-long"
THIN = ["network.width=8", "training.batch=16", "training.precision=bf16", "training.threads=1"]
"""What a small scale changes in the nets of images."""


class Size(NamedTuple):
    """How much of an experiment."""

    iterations: int
    points: int
    samples: int
    settings: tuple[str, ...] = ()
    samplers: tuple[str, ...] = SAMPLERS
    seeds: int = 1


class Part(NamedTuple):
    """One comparison of an experiment."""

    name: str
    title: str
    preset: str
    settings: Mapping[str, list[str]]
    """Sampler, or sampler-VARIANT, -> what is changed for it."""
    small: Size
    paper: Size


def as_printed(temperature: float, step_size: float, learning_rate: float, momentless: bool) -> dict[str, list[str]]:
    """Sampler -> settings beside those of a preset that is written down for the anisotropic one.

    Args:
        temperature: T = ε².
        step_size: γ where it is constant.
        learning_rate: η.
        momentless: Whether the optimiser is SGD, whose step grows with f.
    """
    eta = learning_rate * temperature if momentless else learning_rate
    plain = [f"sampler.step_size={step_size:g}"]
    exact = [
        f"network.temperature={temperature:g}",
        "sampler.temperature=1",
        f"sampler.step_size={step_size * temperature:g}",
        f"optimizer.learning_rate={eta:g}",
    ]
    long = ["sampler.step_size=1"]
    return {"langevin": plain, LONG: long, "anisotropic": [], "hmc": exact, "mala": exact, "descent": plain}


NOTHING: dict[str, list[str]] = {name: [] for name in SAMPLERS}
COMPILED = ("training.compile=true",)
RECIPE = Size(300, 3, 500, tuple(THIN))
GRIDS = Size(100_000, 20, 10_000)
GLIMPSE = Size(60, 3, 200, tuple(THIN), PAIR)
BY_ONE_STEP = ("network.classes=none", "sampler.level_steps=0")
"""A draw without transitions on the way down, of all classes together: quick to score."""
INPAINTED = ["sampler.steps=50", "sampler.threshold=0.0001", "optimizer=sgd", "optimizer.learning_rate=0.01"]

RINGS = (
    Part("rings-printed", "rings, as printed: K = 100, b = 0.01, SGD 1e-4, toy net", "rings-stanley",
         as_printed(0.125**2, 0.14, 1e-4, True), Size(10_000, 5, 1000, COMPILED, (*SAMPLERS, LONG), 3),
         Size(10_000, 5, 10_000, COMPILED, (*SAMPLERS, LONG), 3)),
    Part("rings-recipe", "rings, our net and learning rate", "rings",
         {name: [*IN_PLANE, *LOCAL] for name in SAMPLERS}, Size(500, 5, 1000, COMPILED),
         Size(10_000, 5, 10_000, COMPILED)),
)  # fmt: skip
FLOWERS = (
    Part("flowers-printed", "flowers, as printed: K = 50, b = 1e-4, SGD 1e-3, five convolutions", "flowers-stanley",
         as_printed(0.01**2, 1.0, 1e-3, True), GLIMPSE, GRIDS),
    Part("flowers-recipe", "flowers, our recipe", "flowers-chains", NOTHING, RECIPE, GRIDS),
)  # fmt: skip
CIFAR10 = (
    Part("cifar10-printed", "CIFAR-10, as printed: K = 100, b = 2e-4, Adam 1e-4, five convolutions", "cifar10-stanley",
         as_printed(0.01**2, 1.0, 1e-4, False), GLIMPSE, GRIDS),
    Part("cifar10-recipe", "CIFAR-10, our recipe", "cifar10-chains", NOTHING, RECIPE, GRIDS),
)  # fmt: skip
INPAINTING = (
    Part("inpainting-printed", "CIFAR-10 with celeba's settings: K = 50, b = 1e-4, SGD 0.01", "cifar10-stanley",
         {k: [*INPAINTED, *v] for k, v in as_printed(0.01**2, 1.0, 0.01, True).items()},
         GLIMPSE, Size(50_000, 10, 10_000, (), PAIR)),
    Part("cifar10-recipe", "CIFAR-10, our recipe", "cifar10-chains", NOTHING, RECIPE._replace(samplers=PAIR),
         GRIDS._replace(samplers=PAIR)),
)  # fmt: skip
ON_FINAL_LAW = ["sampler.step_size=0.0003"]
HALF = ["sampler.threshold=7", "sampler.clipped=0.5"]
"""The threshold follows the median of |∂f|, which is about 7 at first."""
MATCHED = (
    Part("mnist-matched", "digits: Algorithm 1 from an f that learned by denoising, at one start for all", "mnist",
         {"langevin": [], "anisotropic": [*HALF, "sampler.step_size=0.005"],
          "mala": ON_FINAL_LAW, "anisotropic_mala": [*HALF, *ON_FINAL_LAW],
          "hmc": [*ON_FINAL_LAW, "sampler.leapfrog_steps=5"], "descent": []},
         Size(660, 2, 200, ("stages.1.iterations=600", "stages.2.iterations=60", "network.widths=[16,32,32]",
                            *BY_ONE_STEP), CHAINED),
         Size(5650, 13, 1000, ("stages.1.iterations=5400", "stages.2.iterations=250", *BY_ONE_STEP), CHAINED, 5)),
)  # fmt: skip
EXPERIMENTS: dict[str, tuple[Part, ...]] = {
    "rings": RINGS,
    "flowers": FLOWERS,
    "cifar10": CIFAR10,
    "inpainting": INPAINTING,
    "matched": MATCHED,
}


def plan_part(part: Part, scale: Scale, folder: Path) -> Plan:
    """The comparison of a part at a scale.

    Args:
        part: Which.
        scale: "small" ends in less than two hours on two cores, all parts together; "paper" has the papers' iterations.
        folder: Where all parts go, each in a folder of its own.
    """
    size = part.small if scale == "small" else part.paper
    configs = {}
    for name in size.samplers:
        config = with_sampler(part.preset, [*part.settings[name], *size.settings], name.partition("-")[0])
        configs[name] = replace(config, training=replace(config.training, iterations=size.iterations))
    return plan_of(part.name, configs, size.seeds, folder / part.name, size.points, size.samples)

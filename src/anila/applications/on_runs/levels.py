"""Where chains of a posterior start if f has levels of noise: they come down these, from noise or from a noisy y."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from anila.applications import Posterior
from anila.applications.descend import AtLevel, descend
from anila.applications.on_runs.observed import Observed
from anila.density.log_density import Anneals, LogDensity
from anila.density.networks.classes_at_levels import ClassesAtLevels, GivenAtLevels
from anila.runs.experiment import settings
from anila.runs.experiment.build_sampler import build_sampler
from anila.samplers.precondition import stretched

RATIO, STEPS = 1.15, 28
"""A level on the way down is at most so many times the next; transitions at each. Larger ratios lose digits."""


def descended(
    f: Anneals,
    sampler: settings.Sampler,
    observed: Observed,
    law: Callable[[LogDensity, Observed, float], Posterior],
    count: int,
    generator: torch.Generator,
) -> Float[Tensor, "rows *event"]:
    """`count` points for each observation, of its posterior, by a run's sampler in units of each level.

    What is hidden comes down as draws do: guided, where f knows classes and the settings say so.

    Args:
        f: f(x, s).
        sampler: The settings of a kernel for f(x).
        observed: What is seen; noisy points have one sd all.
        law: The points' law given that.
        count: Points for each.
        generator: Source of all the noise.
    """
    each = observed.repeated(count)
    if observed.hidden is not None and isinstance(f, ClassesAtLevels | GivenAtLevels):
        f = f.guided(sampler.guidance)

    def at(s: float) -> AtLevel:
        seen = each.blurred(math.sqrt(s**2 - f.lowest**2), generator)
        posterior = law(f.at(s), seen, sampler.target_temperature)
        scale = width(s, seen.sd) / f.lowest
        return AtLevel(posterior, stretched(posterior, lambda u: scale * u, lambda g: build_sampler(sampler, g)))

    noisiest = math.hypot(f.lowest, one(observed.sd)) if observed.is_noisy else f.highest
    x0 = each.y if observed.is_noisy else f.draw_highest(len(each.y), generator).to(each.y)
    return descend(f, at, x0, ladder(noisiest, f.lowest), STEPS, generator)


def ladder(highest: float, lowest: float) -> list[float]:
    """Levels whose logarithms are evenly spread; the last is the lowest to the last bit."""
    n = max(1, math.ceil(math.log(highest / lowest) / math.log(RATIO)))
    ratio = (lowest / highest) ** (1 / n)
    return [*(highest * ratio**i for i in range(n)), lowest]


def width(s: float, sd: float | Tensor | None) -> float:
    """How far a point of level s may move where it is seen with noise sd: 1/√(1/s² + 1/sd²)."""
    return s if sd is None else 1 / math.hypot(1 / s, 1 / one(sd))


def one(sd: float | Tensor | None) -> float:
    """The noise of all rows."""
    assert sd is not None
    return torch.as_tensor(sd).max().item()

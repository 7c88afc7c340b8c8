"""Descend the noise levels of an f(x, s) to a posterior at the lowest.

    x ← x + (s² − s'²) ∇f(x, s) + √((s² − s'²) s'² / s²) ξ         from each level s to the next, using f alone
    x ← K transitions of a kernel on g(·, s') = f(·, s') + T log p(y | ·, s')

Chains on the lowest level alone stay in the mode in which they start. High levels have a single mode, and the
observation guides the chains down from there. The observation is blurred like the points: p(y | ·, s) is for points
with the noise of the lowest level and, in addition, ε² = s² − lowest²:

    seen exactly, in part        y + ε ξ is observed there, with new ξ for each transition
    points with noise sd         √(sd² − ε²) of it remains: y itself is a point of the level at which ε = sd
    a view, with noise sd        √(sd² + ε²), for any view

The first two are exact. With new ξ, chains forget the copies of y from which they came (Lugmayr et al. 2022 go up and
down again for this). The last is too wide, except at the lowest level, where it is exact.

References: Song & Ermon 2019 (annealing); Kawar, Vaksman & Elad 2021 (posteriors at each level); Lugmayr et al. 2022.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from anila.applications.posterior import Draws, Posterior
from anila.density.log_density import Anneals, HasLevels
from anila.density.noisy_data import finer
from anila.samplers import Sampler, descent
from anila.samplers.annealed import towards
from anila.samplers.sample import transitions


class AtLevel(NamedTuple):
    """The posterior at a level, and a kernel on it."""

    posterior: Posterior
    kernel: Sampler


def descend(
    f: HasLevels,
    at: Callable[[float], AtLevel],
    x0: Float[Tensor, "rows *event"],
    levels: Sequence[float],
    steps: int,
    generator: torch.Generator,
) -> Float[Tensor, "rows *event"]:
    """Points from the posterior at the last level.

    Args:
        f: f(x, s), with `f.at(s)` the log-density at a level.
        at: s -> the posterior at a level and a kernel on it; called before each transition.
        x0: Points from the first level, (n k, *event).
        levels: Descending levels s, in units of x.
        steps: Transitions K at each level below the first.
        generator: Source of all the noise.
    """
    x = x0
    for s, lower in pairwise(levels):
        x, _ = transitions(towards(f.at(s), s, lower), x, 1, generator)
        for _ in range(steps):
            posterior, kernel = at(lower)
            u, _ = transitions(kernel, posterior.inside(x), 1, generator)
            x = posterior.outside(u)
    return x


def without_noise(draws: Draws, posterior: Posterior, f: Anneals, generator: torch.Generator) -> Draws:
    """The same draws without the noise of the lowest level in their free coordinates (see `denoised`).

    Args:
        draws: Draws from the posterior.
        posterior: The posterior at the lowest level.
        f: f(x, s).
        generator: As for any kernel; nothing is drawn.
    """
    u = posterior.inside(draws.x.flatten(0, 1))
    for s, lower in pairwise(finer(f)):
        f_s = f.at(s)
        kernel = descent(lambda u, f_s=f_s: f_s(posterior.outside(u)), 2 * (s**2 - lower**2))
        u, _ = transitions(kernel, u, 1, generator)
    x = posterior.outside(u)
    with torch.no_grad():
        energy = -posterior.f(x)
    return draws._replace(x=posterior.by_observation(x), energy=posterior.by_observation(energy))

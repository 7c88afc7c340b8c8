"""The sampler of a run, bound to another log-density than the run's.

An unadjusted sampler is taken as training left it: its temperature is part of what the model is. A Metropolis sampler
is exact whatever its step, and a posterior is narrower than the model, so step_size, threshold and preconditioner are
found anew by a warm-up; global moves propose data points in the coordinates that are free.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from anila.applications import Posterior
from anila.density.log_density import LogDensity
from anila.runs.experiment import settings
from anila.runs.experiment.build_sampler import CENTRES, build_sampler
from anila.runs.model.model import Model
from anila.samplers import Sampler, kernel_density, with_global_moves
from anila.samplers.warm_up import tune

WARM_UP = 200
EXACT_STEPS = 300
"""Transitions of an exact sampler after the warm-up."""
ROUNDS = 10
"""Transitions of another, in those of a training iteration."""


class Bound(NamedTuple):
    """A kernel for a posterior, and the points where it starts."""

    make: Callable[[LogDensity], Sampler]
    x: Tensor


def default_steps(model: Model) -> int:
    """Number of transitions if none is given."""
    s = model.sampler
    return EXACT_STEPS if s.kernel.exact else ROUNDS * s.steps


def bound(
    model: Model, posterior: Posterior, x0: Tensor, generator: torch.Generator, global_moves: bool = False
) -> Bound:
    """The run's sampler for a posterior, warmed up from x0 where it is exact.

    Args:
        model: The run's model.
        posterior: What is to be sampled.
        x0: Where chains start, (rows, *event).
        generator: Source of all the noise.
        global_moves: Whether the posterior's free coordinates of a data point are a sensible candidate.
    """
    s = model.sampler
    if not s.kernel.exact:
        return Bound(lambda g: build_sampler(s, g), x0)
    options = {} if s.kernel.held else s.options
    tuned = tune(lambda **kw: s.make(posterior, **options | kw), posterior.inside(x0), WARM_UP, generator)
    kernel = tuned.sampler
    if global_moves and s.global_every:
        points = posterior.inside(model.reference_data(CENTRES).to(x0))
        kernel = with_global_moves(kernel, kernel_density(points, s.global_sd), s.global_every)
    return Bound(lambda _: kernel, posterior.outside(tuned.x))


def require_stable(sampler: settings.Sampler, sd: float, instead: str) -> None:
    """Refuse an observation so exact that an unadjusted step overshoots it: γ T / (2 sd²) above 1.

    Raises:
        ValueError: With the smallest sd that is none.
    """
    T = sampler.target_temperature
    least = math.sqrt(sampler.step_size * T / 2)
    if not sampler.kernel.exact and sd < least:
        raise ValueError(
            f"--sd {sd:g} is less than the steps of the run's sampler can follow (step_size {sampler.step_size:g} at "
            f"temperature {T:g}); give at least {math.ceil(least * 1000) / 1000:g}{instead}"
        )

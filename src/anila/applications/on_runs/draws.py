"""What a run's model is used for: a posterior of each observation, a few chains each, run in batches."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from anila.applications import Draws, Posterior
from anila.applications.on_runs.kernel import bound, transitions
from anila.learning.starts import Persistent
from anila.rng import rng
from anila.runs.model.model import BATCH, Model
from anila.samplers import Trace

POOL = 2000
"""New starts among which the nearest are looked for, where a run has kept no chains."""


def draws_of(
    model: Model,
    posterior_of: Callable[[slice], Posterior],
    starts_of: Callable[[slice, torch.Generator], Tensor],
    observations: int,
    count: int,
    steps: int | None = None,
    seed: int = 0,
    frames: int = 0,
    global_moves: bool = False,
) -> Draws:
    """`count` draws for each observation, with the run's sampler.

    Args:
        model: The run's model.
        posterior_of: The posterior of the observations in a slice.
        starts_of: (observations in a slice, generator) -> where their chains start, (in slice · count, *event).
        observations: n.
        count: Draws for each.
        steps: Transitions; `transitions(model)` by default.
        seed: Seed of everything drawn here.
        frames: Points kept on the way.
        global_moves: As `recipe.bound`.
    """
    steps = steps or transitions(model)
    keep_every = max(1, steps // frames) if frames else 0
    parts = []
    for first in range(0, observations, size := max(1, BATCH // count)):
        part = slice(first, min(first + size, observations))
        generator = rng(seed, "apply", first, device=model.device)
        posterior = posterior_of(part)
        make, x0 = bound(model, posterior, starts_of(part, generator).to(model.device), generator, global_moves)
        parts.append(posterior.draw(make, x0, steps, generator, keep_every))
    return Draws(
        torch.cat([part.x for part in parts]).cpu(),
        torch.cat([part.energy for part in parts]).cpu(),
        torch.cat([part.path for part in parts], 1).cpu(),
        joined(parts),
    )


def joined(parts: Sequence[Draws]) -> Trace:
    """One trace of the infos of all chains; positions are in `path`."""
    names = [name for name in parts[0].trace if name != "x"]
    return Trace({name: torch.cat([part.trace[name] for part in parts], 1).cpu() for name in names})


def nearest_starts(
    model: Model, view: Callable[[Tensor], Tensor], seen: Tensor, count: int, generator: torch.Generator
) -> Tensor:
    """For each observation the kept chains whose view is nearest to it: at low temperature a chain keeps its mode.

    Args:
        model: The run's model.
        view: What is seen of points, (rows, *event) -> (rows, *seen).
        seen: The observations, (n, *seen).
        count: Chains for each.
        generator: Source of new starts where none are kept.

    Returns:
        (n · count, *event), the nearest of an observation first; again from the nearest where fewer are kept.
    """
    start = model.start
    pool = start.x if isinstance(start, Persistent) else model.starts(POOL, generator)
    pool = pool.to(model.device)
    distance = torch.cdist(seen.to(pool).flatten(1), view(pool).flatten(1))
    order = distance.argsort(1)[:, torch.arange(count, device=pool.device) % len(pool)]
    return pool[order.flatten()]

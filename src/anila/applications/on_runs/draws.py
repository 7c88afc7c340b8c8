"""What a run's model is used for: from what is seen of points, and the law of the points given it, a few draws of each.

    Observed → posterior → draws

A use of a model is a law; starts, batches and the kernel are the same for all. Where f has levels of noise, chains of
an observation start from noise and go down the levels (see `anila.applications.descend`), and draws end without noise.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anila.applications import Draws, Posterior, denoise, inpaint, restore
from anila.applications.descend import without_noise
from anila.applications.line import along
from anila.applications.on_runs.kernel import bound, default_steps
from anila.applications.on_runs.levels import descended
from anila.applications.on_runs.observed import Observed, starts
from anila.data.frequent import at_frequent
from anila.density.log_density import Anneals, ClosedForm, LogDensity, values
from anila.learning.starts import Persistent
from anila.rng import rng
from anila.runs.model.model import BATCH, Model, batches, require_memory
from anila.samplers import Trace

SEEN = 2000
"""Rows of data that say where a hidden coordinate may lie, of a run without kept chains."""

Law = Callable[[LogDensity, Observed, float], Posterior]
"""(f, what is seen, temperature of the kernel that will sample) -> the law of the points."""


def completion(f: LogDensity, observed: Observed, temperature: float) -> Posterior:
    """The law of what is hidden given what is seen."""
    assert observed.hidden is not None
    return inpaint(f, observed.y, observed.hidden, observed.sd, temperature)


def cleaning(f: LogDensity, observed: Observed, temperature: float) -> Posterior:
    """The law of what was there before noise."""
    assert observed.sd is not None
    return denoise(f, observed.y, observed.sd, temperature)


def restoring(f: LogDensity, observed: Observed, temperature: float) -> Posterior:
    """The law of points of which a noisy view is seen."""
    assert observed.view is not None
    assert observed.sd is not None
    return restore(f, observed.y, observed.view, observed.sd, temperature)


def drawn(
    model: Model, observed: Observed, law: Law, count: int, steps: int | None = None, seed: int = 0, frames: int = 0
) -> Draws:
    """`count` draws for each observation, with the run's sampler, as many chains at a time as when samples are drawn.

    They are a function of the seed, and have no trace.

    Args:
        model: The run's model.
        observed: What is seen of n points.
        law: The points' law given that.
        count: Draws for each.
        steps: Transitions; `default_steps(model)` by default.
        seed: Seed of everything drawn here.
        frames: Points kept on the way.
    """
    require_memory(count * len(observed.y), model)
    observed, steps = observed.on(model.device), steps or default_steps(model)
    size, parts = together(model, observed, count), []
    for first in range(0, len(observed.y), size):
        part = observed.part(slice(first, first + size))
        portions = [portion(model, part, law, n, steps, (seed, first), k, frames) for k, n in batches(count)]
        parts.append(joined(portions, 1))
    return joined(parts, 0)


def portion(
    model: Model, observed: Observed, law: Law, count: int, steps: int, key: tuple[int, int], first: int, frames: int
) -> Draws:
    """`count` draws for each of some observations, those from `first` on, by chains that run together."""
    seed, place = key
    generator = rng(seed, "apply", place, *([first] if first else []), device=model.device)
    posterior = law(model.f, observed, model.sampler.target_temperature)
    x0 = begun(model, observed, law, count, generator, first)
    make, x0 = bound(model, posterior, x0, generator, global_moves=len(model.data.event_shape) == 1)
    draws = posterior.draw(make, x0, steps, generator, max(1, steps // frames) if frames else 0)
    draws = draws._replace(path=evenly(draws.path, frames))
    if isinstance(model.f, Anneals):
        draws = without_noise(draws, posterior, model.f, generator)
    return Draws(draws.x.cpu(), draws.energy.cpu(), draws.path.cpu(), Trace({}))


def joined(parts: Sequence[Draws], dim: int) -> Draws:
    """Draws for other observations (dimension 0), or others for the same ones (1), as one."""
    x, energy = torch.cat([part.x for part in parts], dim), torch.cat([part.energy for part in parts], dim)
    return Draws(x, energy, torch.cat([part.path for part in parts], 1 + dim), Trace({}))


def evenly(path: Tensor, most: int) -> Tensor:
    """At most so many of the points on the way, the last among them."""
    n = min(most, len(path))
    return path[[(k + 1) * len(path) // n - 1 for k in range(n)]]


def together(model: Model, observed: Observed, count: int) -> int:
    """Observations that are drawn at once: each by itself where its noise says from which level it comes down."""
    return 1 if isinstance(model.f, Anneals) and isinstance(observed.sd, Tensor) else max(1, BATCH // count)


def begun(model: Model, observed: Observed, law: Law, count: int, generator: torch.Generator, first: int = 0) -> Tensor:
    """Where chains start: at the end of a way down the levels, if f has some, and unless they walk from y."""
    if isinstance(model.f, Anneals) and not observed.is_start:
        return descended(model.f, model.sampler, observed, law, count, generator)
    return starts(model, observed, count, generator, first).to(model.device)


def filled(
    model: Model, y: Tensor, hidden: Bool[Tensor, "n d"], count: int, steps: int | None = None, seed: int = 0
) -> Draws:
    """`count` completions of each row of y, in which other coordinates are hidden; complete rows stay as they are.

    One hidden coordinate is drawn without chains, unless their steps are given (`anila.applications.line`). A row of
    which nothing is seen is a draw of the model. Values that are frequent in a column are drawn as often.

    Args:
        model: The run's model.
        y: In the model's units, (n, d).
        hidden: True where a row is not seen.
        count: Draws for each.
        steps: Transitions; `default_steps(model)` by default.
        seed: Seed of everything drawn here.
    """
    y = y.to(model.device)
    x = y[:, None].repeat(1, count, 1)
    if isinstance(model.f, ClosedForm):
        given = x.masked_fill(hidden.to(x.device)[:, None], torch.nan).flatten(0, 1)
        x = model.f.completed(given, rng(seed, "apply", device=model.device)).unflatten(0, x.shape[:2])
        hidden = torch.zeros_like(hidden)
    for i, pattern in enumerate(hidden.unique(dim=0)):
        here = (hidden == pattern).all(1)
        if pattern.all():
            x[here] = model.draw(int(here.sum()) * count, seed + i, steps).unflatten(0, (-1, count)).to(x)
        elif pattern.sum() == 1 and steps is None and not isinstance(model.f, Anneals):
            j = int(pattern.int().argmax())
            x[here, :, j] = cells(model, y[here], j, count, seed + i).to(x)
        elif pattern.any():
            x[here] = drawn(model, Observed(y[here], pattern), completion, count, steps, seed + i).x.to(x)
    if near := model.near_frequent():
        settled = at_frequent(x.flatten(0, 1).cpu(), near).to(x).unflatten(0, x.shape[:2])
        x = torch.where(hidden.to(x.device)[:, None], settled, x)
    energy = -values(model.f, x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return Draws(x.cpu(), energy.to(x.dtype), x.new_empty(0, *x.shape).cpu(), Trace({}))


def cells(model: Model, y: Float[Tensor, "n d"], j: int, count: int, seed: int) -> Float[Tensor, "n count"]:
    """`count` draws of coordinate j of each row given the others."""
    T, generator = model.sampler.target_temperature, rng(seed, "apply", device=model.device)
    start = model.start
    seen = start.x if isinstance(start, Persistent) else model.reference_data(SEEN)
    return along(lambda x: model.f(x) / T, y, j, seen[:, j], count, generator)

"""The models of several runs as one, drawn from with the first run's sampler."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from anila.applications import Posterior, compose
from anila.applications.on_runs.kernel import bound, default_steps
from anila.rng import rng
from anila.runs.model.model import Model, batches, require_memory


def combined(
    runs: Sequence[Model], weights: Sequence[float] | None, rule: Literal["product", "mixture"] = "product"
) -> Posterior:
    """The log-density that combines those of the runs.

    Raises:
        ValueError: If their points or temperatures are not the same, or `compose` refuses the weights.
    """
    first, *others = runs
    T = first.sampler.target_temperature
    for other in others:
        if other.data.event_shape != first.data.event_shape or other.units.rows.columns != first.units.rows.columns:
            raise ValueError(
                f"the runs must have the same points in the same units; {first.data.name} has "
                f"{described(first)}, {other.data.name} has {described(other)}"
            )
        if other.sampler.target_temperature != T:
            raise ValueError(f"the runs must have one temperature; got {T:g} and {other.sampler.target_temperature:g}")
    g = compose([run.f for run in runs], weights, rule, temperature=T)
    return Posterior(g, g, lambda x: x, lambda x: x, 1)


def described(run: Model) -> str:
    """Shape and columns of a run's points."""
    columns = run.units.columns
    return f"points of shape {run.data.event_shape}" + (f" ({', '.join(columns)})" if columns else "")


def draw_combined(
    runs: Sequence[Model], posterior: Posterior, count: int, steps: int | None = None, seed: int = 0
) -> Tensor:
    """Samples of what `combined` made, (count, *event), started from chains of all the runs.

    Args:
        runs: The runs.
        posterior: Their combination.
        count: How many.
        steps: Transitions; `default_steps` of the first run by default.
        seed: Seed of starts and noise.
    """
    require_memory(count, runs[0])
    return torch.cat([part_of(runs, posterior, n, steps, seed, first) for first, n in batches(count)])


def part_of(runs: Sequence[Model], posterior: Posterior, n: int, steps: int | None, seed: int, first: int) -> Tensor:
    """n of the samples, those from the first on."""
    model, generator = runs[0], rng(seed, "compose", *([first] if first else []), device=runs[0].device)
    starts = [run.starts(-(-n // len(runs)), generator).to(model.device) for run in runs]
    make, x0 = bound(model, posterior, torch.cat(starts)[:n], generator, global_moves=True)
    return posterior.draw(make, x0, steps or default_steps(model), generator).x[0].cpu()

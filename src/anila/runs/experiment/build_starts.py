"""From settings to starts of chains: banks, fresh chains, and draws of an f with noise levels."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from anila.data import DataSet
from anila.density.log_density import Anneals, ClosedForm
from anila.learning.chains import frozen
from anila.learning.paired import Paired
from anila.learning.starts import FromData, FromModel, FromNoise, Persistent, Replay, Start
from anila.rng import rng
from anila.runs.experiment import settings
from anila.runs.experiment.build_sampler import build_sampler
from anila.runs.experiment.experiment import Experiment
from anila.samplers.annealed import draw_annealed

POOLED, MOST_POOLED = 2, 256
"""Annealed draws from which chains restart: twice the bank, but at most so many, or as many as chains run."""


def build_start(config: Experiment, data: DataSet, model: nn.Module) -> Start:
    """Where chains start; the bank of a persistent or replayed start is filled from the seed.

    Args:
        config: Settings.
        data: Data points.
        model: f, from which annealed starts are drawn.

    Raises:
        ValueError: If points that are not images are to be stored as pixels, or as in `build_fresh`.
    """
    start, seed = config.start, config.training.seed
    if start.storage == "uint8" and len(data.event_shape) != 3:
        raise ValueError(f"start.storage=uint8 is for images; the data have shape {data.event_shape}: use bf16")
    storage = None if start.storage == "float32" else start.storage

    fresh = build_fresh(config, data, model)
    bank = start.size or config.training.chains or config.training.batch
    match start.name:
        case "noise":
            return fresh
        case "data":
            return from_rows(data)
        case "paired":
            return Paired(start.fresh)
        case "persistent" if isinstance(fresh, FromModel):
            return pool(fresh, data, bank, rng(seed, "start"), storage)
        case "persistent":
            return Persistent(fresh.draw(bank, rng(seed, "start")), storage)
        case "replay":
            moves: dict[str, Any] = {"shift": start.shift, "mirror": config.data.flip}
            if isinstance(fresh, FromModel):
                moves["fill"] = partial(fresh.draw, bank, rng(seed, "start"))
                most = max(config.training.chains or config.training.batch, min(POOLED * bank, MOST_POOLED))
                fresh = pool(fresh, data, most, rng(seed, "pool"))
            return Replay(bank, fresh, start.fresh, rng(seed, "start"), storage, **moves)


def pool(fresh: Start, data: DataSet, size: int, generator: torch.Generator, storage: Any = None) -> Persistent:
    """A bank of `size` new chains, made at the first draw."""
    return Persistent(torch.zeros(size, *data.event_shape), storage, partial(fresh.draw, size, generator))


def build_fresh(config: Experiment, data: DataSet, model: nn.Module) -> Start:
    """Where new chains start.

    Raises:
        ValueError: If they are annealed draws but f has no levels.
    """
    start = config.start
    if isinstance(model, ClosedForm):
        return FromModel(model.draw)
    if start.kind == "annealed":
        if not isinstance(model, Anneals):
            raise ValueError(
                f"start.kind=annealed samples an f with levels of noise, and network {config.network.name} has none: "
                "use network=unet, or another start.kind"
            )
        return FromModel(partial(annealed, config.sampler, model))
    return from_rows(data) if start.kind == "data" else FromNoise(data.event_shape, start.kind, start.scale)


def from_rows(data: DataSet) -> FromData:
    """Chains that start from data points."""

    def rows(n: int, generator: torch.Generator) -> Tensor:
        return data.batch(n, int(torch.randint(2**31, (), generator=generator, device=generator.device)), 0)

    return FromData(rows)


def annealed(
    config: settings.Sampler,
    f: Anneals,
    n: int,
    generator: torch.Generator,
    y: int | None = None,
    watch: Callable[[float, Tensor], None] = lambda *_: None,
) -> Tensor:
    """n draws from f(x), or from its class y, with the kernel of the settings at every level; `watch` sees each level.

    They keep the noise that is part of its law.
    """
    with frozen(f) if isinstance(f, nn.Module) else nullcontext():
        make = partial(build_sampler, config)
        return draw_annealed(f, n, generator, make, config.levels, config.level_steps, y, config.guidance, watch)

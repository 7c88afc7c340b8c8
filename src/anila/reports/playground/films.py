"""Films of an image run whose net the page cannot run: chains from noise, chains going on, half an image filled in."""

import base64
import math
from typing import Any

import torch
from torch import Tensor

from anila.applications.on_runs.draws import completion, drawn
from anila.applications.on_runs.observed import Observed
from anila.density.log_density import Anneals
from anila.density.precision import own_defaults
from anila.learning.starts import FromNoise
from anila.rng import rng
from anila.runs.experiment.build_sampler import build_sampler
from anila.runs.experiment.build_starts import annealed
from anila.runs.model.model import Model
from anila.samplers import sample
from anila.samplers.estimates import evenly

CHAINS, FRAMES = 6, 40
"""Chains of a film, and its frames at most."""
LEAST = 200
"""Transitions of a film at least: it is seen whether chains of a short run go on well."""
ROOM = 5_000_000
"""Bytes of all films of a page."""


@own_defaults()
def films_of(model: Model) -> list[dict[str, Any]]:
    """{title, chains, data}: the frames of a film one behind the other, as bytes of its images in base64."""
    made = {
        "chains from noise": from_noise(model),
        "chains continued": walked(model, model.starts(CHAINS, rng(0, "film", 1, device=model.device))),
        "the lower half, filled in": filled(model),
    }
    most = max(2, ROOM // (len(made) * CHAINS * math.prod(model.data.event_shape)))
    return [{"title": title, "chains": CHAINS, "data": spelled(path, most)} for title, path in made.items()]


def from_noise(model: Model) -> Tensor:
    """New chains: down the levels, where f has some, and on with the run's kernel; (frames, chains, *event)."""
    generator, way = rng(0, "film", device=model.device), []
    if isinstance(model.f, Anneals):
        x = annealed(model.sampler, model.f, CHAINS, generator, watch=lambda _, x: way.append(x.cpu()))
    else:
        start = model.config.start
        x = FromNoise(model.data.event_shape, "normal" if start.kind == "normal" else "uniform", start.scale).draw(
            CHAINS, generator
        )
    return torch.cat([*[x[None] for x in way], walked(model, x)])


def walked(model: Model, x: Tensor) -> Tensor:
    """Where chains go from x with the run's kernel, the beginning too."""
    steps = max(LEAST, model.sampler.draw_steps or model.sampler.steps)
    _, trace = sample(
        build_sampler(model.sampler, model.f), x, steps, rng(0, "film", 2, device=x.device), steps // FRAMES
    )
    return torch.cat([x[None].cpu(), trace["x"].cpu()])


def filled(model: Model) -> Tensor:
    """One of the run's own images, its lower half drawn by every chain."""
    _, side, _ = model.data.event_shape
    y = model.clean(model.starts(1, rng(0, "film", 3, device=model.device)))
    hidden = (torch.arange(side) >= side // 2)[:, None].expand(side, side)
    draws = drawn(model, Observed(y, hidden), completion, CHAINS, frames=FRAMES)
    return torch.cat([y.cpu().expand(1, CHAINS, *y.shape[1:]), draws.path[:, 0], draws.x[:1]])


def spelled(path: Tensor, most: int) -> str:
    """At most so many frames, evenly, each image channel by channel within a pixel, from [-1, 1] to bytes."""
    pixels = (127.5 * (path[evenly(len(path), most)].clamp(-1, 1) + 1)).round().byte().permute(0, 1, 3, 4, 2)
    return base64.b64encode(pixels.contiguous().numpy().tobytes()).decode()

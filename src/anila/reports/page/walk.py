"""Chains of a run from noise to samples, as the page shows them: where they are, what f is there, how they rank.

They make the transitions of the run's own sampler. Of an f with levels of noise they come down its levels first.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from anila.density.log_density import Anneals, values
from anila.evaluation.chains import convergence, verdict
from anila.reports.long_run import noise
from anila.rng import rng
from anila.runs.experiment.build_sampler import build_sampler
from anila.runs.experiment.build_starts import annealed
from anila.runs.model.trained import Trained
from anila.samplers import Trace, sample

POINTS, IMAGES = 64, 8
"""Chains: of points, and of images."""
TRANSITIONS, K_TIMES, MOST = 300, 10, 200
"""Transitions of points; of images so many K, and at most so many."""
OF_LEVELS = 40
"""Transitions after the way down the levels."""
FEWEST = 20
"""Kept positions below which nothing is said of convergence."""


class Frame(NamedTuple):
    """Chains at one moment."""

    label: str
    x: Tensor
    """(chains, *event)."""


@dataclass(frozen=True)
class Walk:
    """What happened to the chains."""

    way_down: list[Frame]
    """On the levels of noise; nothing where f has none."""
    x: Tensor
    """(transitions + 1, chains, *event): from their start on."""
    trace: Trace
    f: Tensor
    """(transitions + 1, chains)."""

    @property
    def transitions(self) -> int:
        return len(self.x) - 1

    @property
    def finite(self) -> bool:
        """Whether no chain is lost."""
        return bool(torch.isfinite(self.x).all() and torch.isfinite(self.f).all())

    def later(self) -> Trace:
        """The second half."""
        half = self.transitions // 2
        fields = {name: value[half:] for name, value in self.trace.items() if name != "x"}
        return Trace({"x": self.x[1 + half :], **fields})


def walk(trained: Trained, seed: int = 0) -> Walk:
    """Run the chains."""
    frames: list[Frame] = []
    generator = rng(seed, "report", device=trained.device)
    steps = length(trained)
    x0 = starts(trained, frames, generator).to(trained.device)
    sampler = build_sampler(trained.sampler, trained.f, trained.proposal())
    _, trace = sample(sampler, x0, steps, generator, keep_every=1)
    x = torch.cat([x0[None], trace["x"]])
    f = values(trained.f, torch.nan_to_num(x.flatten(0, 1))).view(x.shape[:2])
    return Walk(frames, x, trace, torch.where(torch.isfinite(x).flatten(2).all(2).cpu(), f, torch.nan))


def length(trained: Trained) -> int:
    """How far chains go: as far as shows their way, at a cost of seconds."""
    if isinstance(trained.f, Anneals):
        return OF_LEVELS
    if len(trained.data.event_shape) == 1:
        return TRANSITIONS
    return min(MOST, K_TIMES * trained.sampler.steps)


def starts(trained: Trained, frames: list[Frame], generator: torch.Generator) -> Tensor:
    """Noise; or draws of the lowest level, with what they were on their way."""
    n = POINTS if len(trained.data.event_shape) == 1 else IMAGES
    if not isinstance(trained.f, Anneals):
        return noise(trained, trained.reference_data(512)).draw(n, generator)

    def watch(level: float, x: Tensor) -> None:
        frames.append(Frame(f"s = {level:.2g}", x.cpu() / (1 + level**2) ** 0.5))

    return annealed(trained.sampler, trained.f, n, generator, watch=watch)


def said_of(trained: Trained, found: Walk) -> list[str]:
    """A verdict on the second half of the chains; nothing where it is too short, or a chain is lost."""
    if not found.finite or found.transitions < 2 * FEWEST:
        return []
    return list(verdict(convergence(trained.f, found.later())).named(trained.units.columns).lines)


def film(trained: Trained, found: Walk, frames: int) -> list[Frame]:
    """Chains on their way, evenly chosen on it, the last one as people look at it.

    Args:
        trained: The run's model.
        found: The chains.
        frames: How many moments.
    """
    ends = geometric(found.transitions, max(2, frames // 3) if found.way_down else frames)
    late = [Frame(f"{'+' * bool(found.way_down)}{k:,}", found.x[k].cpu()) for k in ends]
    early = [found.way_down[k] for k in evenly(len(found.way_down), frames - len(late))]
    last = late[-1]
    return [*early, *late[:-1], Frame(last.label, trained.clean(last.x.to(trained.device)).cpu())]


def geometric(last: int, count: int) -> list[int]:
    """0 and numbers up to the last one, each about the same factor above the one before.

    >>> geometric(100, 5)
    [0, 3, 10, 32, 100]
    """
    inner = [round(last ** ((k + 1) / (count - 1))) for k in range(count - 1)]
    return sorted({0, *inner, last})


def evenly(n: int, count: int) -> list[int]:
    """Up to so many of n places, the first and the last among them.

    >>> evenly(10, 4), evenly(2, 4), evenly(5, 1), evenly(0, 3)
    ([0, 3, 6, 9], [0, 1], [4], [])
    """
    if n <= count or count < 2:
        return list(range(n))[-count:] if count > 0 else []
    return [round(k * (n - 1) / (count - 1)) for k in range(count)]


def quantities(trained: Trained, found: Walk, most: int) -> dict[str, Tensor]:
    """What traces and ranks are drawn of, (transitions + 1, chains) each: f, and some coordinates by their names."""
    named, x = {"log-density f": found.f}, found.x.cpu()
    if len(trained.data.event_shape) > 1:
        return named | {"mean of the pixels": x.flatten(2).mean(2)}
    units = trained.units
    for k in range(min(most, len(units.columns))):
        named[units.columns[k]] = units.mean[k] + units.scale[k] * x[:, :, k].double()
    return named

"""Long chains: what chains look like after K, 10 K and 100 K transitions, compared with the data.

A look is one number per point, for points of any shape; [a, b] is the range of the data's coordinates:

    f            log-density
    mean, contrast         mean and standard deviation of the coordinates
    outside      share of coordinates further than (b − a)/20 outside [a, b]
    sharpness    images: mean |x_{i+1} − x_i| over neighbours down and across (total variation)

and for all points together

    distance     images: kernel distance from data in image features
    diversity    median distance between points, relative to that of data
    moved        median distance from the start, relative to the distance between data
    lost         number that are not finite, or more than 10 (b − a) outside [a, b]

Looks are compared by their medians, as a shift in units of the data's spread s = IQR / 1.349:

    shift = (median(chains) − median(reference)) / s,     it counts above 1 + 3 · 1.25 √(s_c²/n + s_r²/m) / s

Reference: Nijkamp et al. 2020 (arXiv 1903.12370), section 3.2: a model whose long-run chains keep the look of data
has learned an energy; one whose chains drift away has learned K steps of a sampler.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import LogDensity
from anila.density.rows import finite_rows
from anila.evaluation.samples.mmd import KernelDistance
from anila.evaluation.training.level import Level, level
from anila.samplers import Sampler
from anila.samplers.sample import transitions

MARGIN = 1 / 20
"""Fraction of the data's range beyond which a coordinate counts as outside."""
LOST = 10.0
"""Multiple of the data's range beyond which a chain counts as lost."""
SPREAD = 1.349
"""Interquartile range of a normal law in units of its standard deviation."""
ERRORS = 3 * 1.25
"""Three standard errors of a median, in standard errors of a mean."""


@dataclass(frozen=True)
class Snapshot:
    """Chains after a number of transitions."""

    steps: int
    x: Float[Tensor, "chains *event"]
    """Their positions as shown to people: without the noise that is part of the law of f."""
    looks: dict[str, Float[Tensor, "finite"]]
    """Looks of the chains that are finite."""
    lost: int
    """Number of chains that are not finite, or far beyond the data."""
    diversity: float
    moved: float
    distance: KernelDistance | None = None
    """Distance of the finite chains from data."""


@dataclass(frozen=True)
class Shift:
    """How far a look of chains is from that of a reference, in units of the data's spread."""

    look: str
    size: float
    limit: float
    """Shifts up to this size are small or due to chance."""
    value: float
    """Median over the chains."""
    reference: float

    @property
    def counts(self) -> bool:
        """Whether the shift is neither small nor due to chance."""
        return not abs(self.size) <= self.limit


@dataclass(frozen=True)
class LongChains:
    """Chains from several starts over many transitions, with the looks of data."""

    K: int
    groups: dict[str, list[Snapshot]]
    """Name of the start -> snapshots from 0 transitions on."""
    own: str
    """The group that starts where the run's chains do."""
    data: dict[str, Float[Tensor, "rows"]]
    x_data: Float[Tensor, "rows *event"]
    courses: dict[str, Float[Tensor, "times chains"]] = field(default_factory=dict)
    """Name of the start -> f after every K transitions; NaN where a chain is lost."""
    acceptance: float | None = None
    """Acceptance rate over all transitions, if the kernel rejects."""

    def level(self, group: str) -> Level | None:
        """The level of f along the last half of a group's chains; None if that is too short to judge."""
        return level(self.courses[group]) if group in self.courses else None

    def short(self) -> Snapshot:
        """What training sees: chains from their own start after K transitions."""
        return self.groups[self.own][1]

    def shifts(self, snapshot: Snapshot, reference: dict[str, Tensor] | None = None) -> list[Shift]:
        """The shift of every look of a snapshot from a reference's looks, by default the data's."""
        return [
            shift(look, snapshot.looks[look], (reference or self.data)[look], self.data[look]) for look in self.data
        ]


def shift(look: str, x: Tensor, reference: Tensor, data: Tensor) -> Shift:
    """The shift of the median of x from that of the reference; `outside`, mostly 0 for data, is in units of 5%."""
    unit = MARGIN if look == "outside" else max(spread(data), 1e-3 * abs(median(data)), 1e-12)
    error = math.sqrt(spread(x) ** 2 / max(1, len(x)) + spread(reference) ** 2 / len(reference))
    value, middle = median(x), median(reference)
    return Shift(look, (value - middle) / unit, 1 + ERRORS * error / unit, value, middle)


def run_long_chains(
    sampler: Sampler,
    f: LogDensity,
    groups: dict[str, Float[Tensor, "_ *event"]],
    own: str,
    x_data: Float[Tensor, "rows *event"],
    K: int,
    steps: int,
    generator: torch.Generator,
    watch: Callable[[int], None] = lambda _: None,
    clean: Callable[[Tensor], Tensor] = lambda x: x,
    distance: Callable[[Tensor], KernelDistance] | None = None,
) -> LongChains:
    """Run chains from several starts, and look at them after K, 10 K, .. transitions and at the end.

    The sampler is restarted every K transitions as in training, so that whatever it holds fixed is held as long as
    there.

    Args:
        sampler: The run's kernel, bound to f.
        f: Log-density, (chains, *event) -> (chains,).
        groups: Name -> starts, (chains, *event); all run together.
        own: The group that starts where the run's chains do.
        x_data: Rows of data to compare with, at least two, (rows, *event).
        K: Transitions of a training iteration.
        steps: Total number of transitions, at least K.
        generator: Source of the chains' noise.
        watch: Called with the number of transitions made, every K.
        clean: Removes from points the noise that is part of the law of f.
        distance: Clean points -> their distance from data.

    Raises:
        ValueError: If steps is less than K.
    """
    if steps < K:
        raise ValueError(f"expected at least K = {K} transitions; got {steps}")
    sizes, x0 = [len(x) for x in groups.values()], torch.cat(list(groups.values()))
    reference = Reference(f, x_data, clean, distance)
    found: dict[str, list[Snapshot]] = {name: [] for name in groups}

    def note(done: int, x: Tensor) -> None:
        for snapshots, here, start in zip(found.values(), x.split(sizes), x0.split(sizes), strict=True):
            snapshots.append(reference.snapshot(done, here, start))

    note(0, x0)
    x, done = x0, 0
    courses, accepted = [reference.f_of(x0)], []
    for stop in snapshot_steps(K, steps):
        while done < stop:
            stride = min(K, stop - done)
            x, prob = go(sampler, x, stride, generator)
            done += stride
            accepted.append(stride * prob)
            courses.append(reference.f_of(x))
            watch(done)
        note(done, x)
    course = torch.stack(courses).split(sizes, 1)
    acceptance = sum(accepted) / steps if sampler.target_accept is not None else None
    return LongChains(K, found, own, reference.looks, clean(x_data), dict(zip(groups, course, strict=True)), acceptance)


def snapshot_steps(K: int, steps: int) -> list[int]:
    """K, 10 K, 100 K, .. below steps, and steps.

    >>> snapshot_steps(40, 4000), snapshot_steps(40, 1000)
    ([40, 400, 4000], [40, 400, 1000])
    """
    found, stop = [], K
    while stop < steps:
        found.append(stop)
        stop *= 10
    return [*found, steps]


def go(sampler: Sampler, x: Tensor, steps: int, generator: torch.Generator) -> tuple[Tensor, float]:
    """Move the chains that are still finite, and return their mean acceptance too; the others stay lost."""
    finite = finite_rows(x)
    if not bool(finite.any()):
        return x, 0.0
    moved = x.clone()
    moved[finite], trace = transitions(sampler, x[finite], steps, generator)
    return moved, trace.means()["accept_prob"]


class Reference:
    """The data with which chains are compared."""

    def __init__(
        self,
        f: LogDensity,
        x_data: Tensor,
        clean: Callable[[Tensor], Tensor] = lambda x: x,
        distance: Callable[[Tensor], KernelDistance] | None = None,
    ):
        self.f, self.clean, self.distance = f, clean, distance
        self.low, self.high = x_data.min().item(), x_data.max().item()
        self.looks = self.look(x_data)
        self.apart = apart(x_data)

    def look(self, x: Tensor) -> dict[str, Tensor]:
        """All looks of finite points, (n,) each."""
        with torch.no_grad():
            found = {"f": self.f(x)}
        flat, margin = x.flatten(1), MARGIN * (self.high - self.low)
        found["mean"] = flat.mean(1)
        found["contrast"] = (flat - found["mean"][:, None]).square().mean(1).sqrt()
        found["outside"] = ((flat < self.low - margin) | (flat > self.high + margin)).to(x).mean(1)
        if x.ndim == 4:
            found["sharpness"] = sharpness(x)
        return {name: value.double().cpu() for name, value in found.items()}

    def f_of(self, x: Tensor) -> Tensor:
        """f of all points, (n,) float64; NaN where a point is lost."""
        found, finite = x.new_full((len(x),), torch.nan, dtype=torch.float64), finite_rows(x)
        with torch.no_grad():
            found[finite] = self.f(x[finite]).double()
        return found.cpu()

    def snapshot(self, steps: int, x: Tensor, start: Tensor) -> Snapshot:
        """A snapshot of the chains."""
        finite = finite_rows(x)
        here, begun = x[finite], start[finite]
        beyond = LOST * (self.high - self.low)
        near = ((here >= self.low - beyond) & (here <= self.high + beyond)).flatten(1).all(1)
        shown = x.clone()
        shown[finite] = self.clean(here)
        return Snapshot(
            steps,
            shown,
            self.look(here),
            lost=len(x) - int(near.sum()),
            diversity=apart(here) / self.apart,
            moved=median((here - begun).flatten(1).norm(dim=1)) / self.apart,
            distance=self.distance(shown[finite]) if self.distance and len(here) > 1 else None,
        )


def sharpness(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n"]:
    """Mean |x_{i+1} − x_i| over neighbours down and across.

    >>> sharpness(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])).item()
    0.5
    """
    down, across = (x.diff(dim=dim).abs().flatten(1) for dim in (2, 3))
    return torch.cat([down, across], 1).mean(1)


def apart(x: Float[Tensor, "n *event"]) -> float:
    """The median distance between two different points."""
    return median(torch.pdist(x.flatten(1).cpu()))


def median(x: Tensor) -> float:
    return x.quantile(0.5).item() if len(x) else math.nan


def spread(x: Tensor) -> float:
    """A robust standard deviation, IQR / 1.349; the ordinary one if half of the points are equal."""
    if not len(x):
        return 0.0
    low, high = x.quantile(x.new_tensor([0.25, 0.75])).tolist()
    return (high - low) / SPREAD or x.std(correction=0).item()

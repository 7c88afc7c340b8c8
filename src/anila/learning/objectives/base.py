"""An objective is a rule that says where f goes up and where down; the learner alone differentiates in θ.

    θ ascends   mean wᵤ f(up) − mean w_d f(down) − term

The two clouds of points are a pure function of (f, data, chains, noise). In Algorithm 1 they are the data and the
chains; in gradient matching they lie on either side of a noisy point. What is no difference of values of f, such as the
cross-entropy of classes, is the term.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from anila.density.log_density import LogDensity
from anila.evaluation.training.metric import Metric


class Contrast(NamedTuple):
    """Where f goes up and where down."""

    up: Float[Tensor, "ups *event"]
    down: Float[Tensor, "downs *event"]
    up_weight: Float[Tensor, "ups"] | float = 1.0
    down_weight: Float[Tensor, "downs"] | float = 1.0
    metrics: Mapping[str, Float[Tensor, "rows"]] = MappingProxyType({})
    """Name -> a number for each of these rows, of which the learner reports the mean over all rows."""
    classes: Int[Tensor, "ups"] | None = None
    """The class of each point up, where f is of classes."""
    levels: Float[Tensor, "ups"] | None = None
    """The level of noise of each point up, and of the point down in its row, where f is of levels."""
    given: bool = False
    """Whether f is that of the class of each point up, for the point down in its row too."""

    def density(self, f: Any) -> LogDensity:
        """f of the rows of either side."""
        f = f.given(self.classes) if self.given else f
        return f if self.levels is None else f.at(self.levels)


class Values(NamedTuple):
    """f of some rows of a contrast, as θ differentiates it."""

    up: Float[Tensor, "ups"]
    down: Float[Tensor, "downs"]
    logits: Float[Tensor, "points classes"] | None
    """f[y] of every class at the points up, then at those down, where f is of classes."""
    classes: Int[Tensor, "ups"] | None
    ups: int
    """Points up in all, over micro-batches and processes: sums are divided by their number."""
    downs: int


class Moments(NamedTuple):
    """Mean of f and of f² over all points up, and over all points down, without rounding."""

    up: float
    up_square: float
    down: float
    down_square: float


Term = Callable[[Values], tuple[Tensor, dict[str, Tensor]]]
"""Of some rows: a number that θ descends, and more metrics, each a sum over rows divided by all rows."""


def draws_nothing(x_data: Tensor, generator: torch.Generator) -> None:
    """Of an objective that is not random."""


class Objective(NamedTuple):
    """A rule that says where f goes up and where down, with its own facts.

    `contrast` maps (f, x_data, x_model, noise) to a `Contrast`, row by row; `draw_noise` maps (x_data, generator) to
    the noise of one iteration, whose rows are those of the data.
    """

    contrast: Callable[..., Contrast]
    watched: tuple[Metric, ...]
    """The metrics that it reports and that the guard and the plots follow."""
    needs_chains: bool = False
    """Whether a sampler runs first: x_model are its chains."""
    draw_noise: Callable[[Tensor, torch.Generator], Any] = draws_nothing
    report: Callable[[Moments], dict[str, float]] = lambda _: {}
    """What it reports of the mean of f on either side."""
    term: Term | None = None
    """What θ descends besides: a number of (values), with more metrics, each a sum over rows divided by all rows."""
    needs_classes: bool = False
    """Whether f is of classes (`HasClasses`), and data come with classes: `contrast` takes them as `classes=`."""
    needs_levels: bool = False
    """Whether f is an f(x, s), and the contrast says at which levels."""
    moves: bool = True
    """Whether θ moves at all; else f was found before."""
    may_round: bool = True
    """Whether f may be rounded where θ is differentiated."""
    sides: tuple[str, str] = ("data", "chains")
    """What the points up and down are called."""

    @property
    def series(self) -> tuple[str, ...]:
        """Those of which every iteration is kept."""
        return in_series(self.watched)


def in_series(watched: Iterable[Metric]) -> tuple[str, ...]:
    """The names of the metrics of which every iteration is kept."""
    return tuple(metric.name for metric in watched if metric.in_series)

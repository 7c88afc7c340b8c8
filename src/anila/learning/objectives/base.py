"""An objective is a rule that says where f goes up and where down; only the learner differentiates in θ.

    θ ascends   mean wᵤ f(up) − mean w_d f(down) − term

The two clouds of points are a pure function of (f, data, chains, noise). In Algorithm 1 they are the data and the
chains; in gradient matching they lie on either side of a noisy point. The term is everything that is not a difference
of values of f, such as the cross-entropy of classes.
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
    """Name -> a number for each of these rows; the learner reports its mean over all rows."""
    classes: Int[Tensor, "ups"] | None = None
    """The class of each point up, if f has classes."""
    levels: Float[Tensor, "ups"] | None = None
    """The noise level of each point up, and of the point down in its row, if f has levels."""
    given: bool = False
    """Whether f is taken at the class of each point up, and the same for the point down in its row."""

    def density(self, f: Any) -> LogDensity:
        """f for the rows of either side, at their classes and levels."""
        f = f.given(self.classes) if self.given else f
        return f if self.levels is None else f.at(self.levels)


class Values(NamedTuple):
    """f of some rows of a contrast, as it is differentiated in θ."""

    up: Float[Tensor, "ups"]
    down: Float[Tensor, "downs"]
    logits: Float[Tensor, "points classes"] | None
    """f[y] of every class at the points up, then at those down, if f has classes."""
    classes: Int[Tensor, "ups"] | None
    ups: int
    """Number of points up over all micro-batches and processes, by which sums are divided."""
    downs: int


class Moments(NamedTuple):
    """Means of f and f² over all points up, and over all points down, without rounding."""

    up: float
    up_square: float
    down: float
    down_square: float


Term = Callable[[Values], tuple[Tensor, dict[str, Tensor]]]
"""Values of some rows -> a number that θ descends, and more metrics; each is a sum over rows divided by all rows."""


def draws_nothing(x_data: Tensor, generator: torch.Generator) -> None:
    """The noise of an objective that is not random: none."""


class Objective(NamedTuple):
    """A rule that says where f goes up and where down, with facts about itself.

    `contrast` maps (f, x_data, x_model, noise) to a `Contrast`, row by row; `draw_noise` maps (x_data, generator) to
    the noise of one iteration, whose rows are those of the data.
    """

    contrast: Callable[..., Contrast]
    watched: tuple[Metric, ...]
    """The reported metrics that the guard and the plots follow."""
    needs_chains: bool = False
    """Whether a sampler runs first; x_model are its chains."""
    draw_noise: Callable[[Tensor, torch.Generator], Any] = draws_nothing
    report: Callable[[Moments], dict[str, float]] = lambda _: {}
    """Metrics that it computes from the means of f on either side."""
    term: Term | None = None
    """What θ descends besides the contrast, if anything."""
    needs_classes: bool = False
    """Whether f has classes (`HasClasses`) and data come with classes, which `contrast` takes as `classes=`."""
    needs_levels: bool = False
    """Whether f is an f(x, s), and the contrast says at which levels."""
    moves: bool = True
    """Whether θ moves at all; if not, f was found before."""
    may_round: bool = True
    """Whether f may be rounded when it is differentiated in θ."""
    sides: tuple[str, str] = ("data", "chains")
    """Names of the points up and of the points down."""

    def __repr__(self) -> str:
        up, down = self.sides
        return f"<Objective: f goes up ({up}) and down ({down}){'; needs chains' if self.needs_chains else ''}>"

    @property
    def series(self) -> tuple[str, ...]:
        """Names of the metrics that are kept for every iteration."""
        return in_series(self.watched)


def in_series(watched: Iterable[Metric]) -> tuple[str, ...]:
    """The names of the metrics that are kept for every iteration."""
    return tuple(metric.name for metric in watched if metric.in_series)

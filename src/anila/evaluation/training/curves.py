"""The course of a training run: d_t, the energy gap, and r_t, the mean norm of ∇f along chains.

    d_t = mean f(data) − mean f(chains)                       what θ ascends
    r_t = mean over transitions and chains of ‖∇f‖₂
    ρ_k = Σ (a_t − ā)(a_{t+k} − ā) / Σ (a_t − ā)²             autocorrelation at lag k
    χ_k = Σ (a_t − ā)(b_{t+k} − b̄) / (n sd(a) sd(b))          cross-correlation: k > 0 if b lags a

In a healthy run d_t oscillates weakly around 0 without autocorrelation, and r_t stays within one order of magnitude.
For white noise √n ρ_k is nearly standard normal, so with probability 99% none of 15 lags exceeds z/√n, with z the
(1 − 0.01/30) quantile. The error of the mean of d_t comes from the means of √n batches, which accounts for correlation.

Sizes of a quantity are compared between tenths of the run, as medians of its absolute value. The first tenth counts as
warm-up and is left out; the last fiftieth is the end.

References: Nijkamp et al. 2020 (arXiv 1903.12370), section 3 and figure 6; Bartlett 1946; Flegal & Jones 2010 (batch
means).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

import torch
from jaxtyping import Float
from torch import Tensor

from anila.evaluation.training.metric import OF_CHAINS, Metric

LAGS = 15
WINDOW = 2000
"""Number of last iterations whose correlations are looked at; at most the later half."""
LEVEL = 0.01
"""Probability that white noise exceeds the limit at any lag."""
PARTS, END = 10, 50
"""Number of equal parts that are compared, and number of parts of which the last one is the end."""
FEWEST = 40
"""Number of iterations below which a run is not judged."""


def autocorrelation(a: Float[Tensor, "n"], lags: int) -> Float[Tensor, "lags"]:
    """ρ_1 .. ρ_lags, around the series' own mean; NaN for a constant series.

    >>> autocorrelation(torch.tensor([1.0, -1.0, 1.0, -1.0]), 2).tolist()
    [-0.75, 0.5]
    """
    return cross_correlation(a, a, lags)[lags + 1 :]


def cross_correlation(a: Float[Tensor, "n"], b: Float[Tensor, "n"], lags: int) -> Float[Tensor, "lags_both_ways"]:
    """χ_−lags .. χ_lags: large at k > 0 if b follows a by k points, at k < 0 if it precedes a.

    >>> a = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    >>> cross_correlation(a, a.roll(2), 3).argmax().item() - 3
    2
    """
    a, b = (series.double() - series.double().mean() for series in (a, b))
    n, scale = len(a), a.norm() * b.norm()
    forward = [(a[: n - k] @ b[k:]) / scale for k in range(lags + 1)]
    backward = [(a[k:] @ b[: n - k]) / scale for k in range(lags, 0, -1)]
    return torch.stack([*backward, *forward])


def chance(n: int) -> float:
    """The correlation that white noise of n points exceeds at any of LAGS lags with probability at most LEVEL."""
    return NormalDist().inv_cdf(1 - LEVEL / (2 * LAGS)) / math.sqrt(n)


def mean_error(a: Float[Tensor, "n"]) -> float:
    """Standard error of the mean of a correlated series, from the means of about √n batches of √n points."""
    length = max(1, math.isqrt(len(a)))
    batches = a[len(a) % length :].double().view(-1, length).mean(1)
    return (batches.std() / math.sqrt(len(batches))).item()


@dataclass(frozen=True)
class Course:
    """What the series of a run show, for any objective."""

    iterations: int
    sizes: dict[str, tuple[float, ...]]
    """Metric -> its size in each tenth after the first, and at the end."""
    growing: dict[str, str]
    """Metric that must not grow -> its name in a sentence."""

    def before(self, metric: str) -> float:
        """The size of a metric in the middle of the run."""
        return median(self.sizes[metric][:-1])

    def end(self, metric: str) -> float:
        """The size of a metric at the end."""
        return self.sizes[metric][-1]

    def rise(self, metric: str) -> float:
        """Orders of magnitude by which a metric is larger at the end than in the middle of the run."""
        return orders(self.before(metric), self.end(metric))

    def fall(self, metric: str) -> float:
        """Orders of magnitude by which a metric at the end is below its largest size."""
        return orders(self.end(metric), max(self.sizes[metric]))


@dataclass(frozen=True)
class CourseOfChains(Course):
    """What the series of Algorithm 1 show in addition."""

    window: int
    """Number of last iterations over which means and correlations are taken."""
    gap_mean: float
    gap_error: float
    gap_sd: float
    gap_autocorrelation: tuple[float, ...]
    """Autocorrelation of d_t at lags 1 .. LAGS."""
    grad_autocorrelation: tuple[float, ...]
    cross_correlation: tuple[float, ...]
    """Cross-correlation of d_t and r_t at lags −LAGS .. LAGS; at positive lags r_t follows d_t."""
    chance: float
    """Correlations up to this size are compatible with white noise."""

    @property
    def grad_orders(self) -> float:
        """Orders of magnitude from the smallest r_t to the largest."""
        return orders(min(self.sizes["grad_norm"]), max(self.sizes["grad_norm"]))

    @property
    def strongest(self) -> tuple[int, float]:
        """The lag at which the autocorrelation of d_t is largest, and its value there."""
        lag = max(range(LAGS), key=lambda k: abs(self.gap_autocorrelation[k]))
        return lag + 1, self.gap_autocorrelation[lag]


def course(series: Mapping[str, Sequence[float]], metrics: Sequence[Metric] = OF_CHAINS) -> Course | None:
    """The course of a run from its series; None if there are fewer than FEWEST iterations.

    Args:
        series: Column "iteration" and those of the metrics, every iteration, as `Run.series` gives them.
        metrics: The metrics that the run's objective watches; by default those of Algorithm 1.

    Returns:
        A `CourseOfChains` if the metrics include those of Algorithm 1's chains.
    """
    n = len(series["iteration"])
    if n < FEWEST:
        return None
    followed = [metric for metric in metrics if metric.in_series]
    column = {metric.name: torch.tensor(series[metric.name], dtype=torch.float64) for metric in followed}
    sizes = {name: tuple(part.abs().median().item() for part in later_parts(a)) for name, a in column.items()}
    growing = {metric.name: metric.symbol or metric.words for metric in followed if not metric.may_grow}
    if not column.keys() >= {"energy_gap", "grad_norm", "clipped", "chain_range"}:
        return Course(n, sizes, growing)
    window = min(WINDOW, n // 2)
    d, r = column["energy_gap"][-window:], column["grad_norm"][-window:]
    return CourseOfChains(
        n,
        sizes,
        growing,
        window=window,
        gap_mean=d.mean().item(),
        gap_error=mean_error(d),
        gap_sd=d.std().item(),
        gap_autocorrelation=tuple(autocorrelation(d, LAGS).tolist()),
        grad_autocorrelation=tuple(autocorrelation(r, LAGS).tolist()),
        cross_correlation=tuple(cross_correlation(d, r, LAGS).tolist()),
        chance=chance(window),
    )


def later_parts(a: Float[Tensor, "n"]) -> list[Tensor]:
    """The equal parts of a run without the first, and its end."""
    return [*a.tensor_split(PARTS)[1:], a[-max(FEWEST // PARTS, len(a) // END) :]]


def orders(low: float, high: float) -> float:
    """log₁₀(high / low), 0 if they are equal.

    >>> orders(0.5, 50.0), orders(0.0, 0.0), orders(0.0, 1.0)
    (2.0, 0.0, inf)
    """
    if low == high:
        return 0.0
    return math.inf if low == 0 else -math.inf if high == 0 else math.log10(high / low)

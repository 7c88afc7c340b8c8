"""Outliers: rows that the model finds unlikely, or unlike, with a known rate of false alarms.

    score(x) = −f(x)                      the energy
    score(x) = |f(x) − centre|            with `typical`: as far from the typical set as from a mode

In many dimensions the likeliest points are not typical: a constant image may have a higher density than any photograph
and is no sample. The typical score sees both sides.

A score is judged among those of n held-out rows, exchangeable with rows that are no outliers. Whatever f is,

    p = (1 + #{held-out scores ≥ score}) / (n + 1)         P(p ≤ rate) ≤ rate
    threshold(rate) = the ⌈(1 − rate)(n + 1)⌉-th smallest held-out score       P(score > threshold) ≤ rate

exactly, over the draw of the held-out rows and the new one. With `typical` the first half of the held-out rows gives
the centre, the median of f, and the others are counted.

References: Vovk, Gammerman & Shafer 2005, section 2.2 and Bates et al. 2023, eq. 3 (calibration); Nalisnick et al. 2019
(typicality); Choi, Jang & Alemi 2018 (why a density misleads).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anila.density.log_density import LogDensity, values
from anila.messages import counted


@dataclass(frozen=True)
class Outliers:
    """A score with the held-out scores that judge it.

    Args:
        f: Log-density.
        held_out: Scores of held-out rows, sorted, (n,).
        centre: Where f is typical; None scores by the energy.
    """

    f: LogDensity
    held_out: Float[Tensor, "n"]
    centre: float | None

    def score(self, x: Float[Tensor, "rows *event"]) -> Float[Tensor, "rows"]:
        """The larger, the odder; nats, in float64."""
        value = values(self.f, x)
        return -value if self.centre is None else (value - self.centre).abs()

    def p_value(self, score: Float[Tensor, "rows"]) -> Float[Tensor, "rows"]:
        """Share of held-out scores at least as large, the row itself counted: P(p ≤ rate) ≤ rate."""
        n = len(self.held_out)
        larger = n - torch.searchsorted(self.held_out, score.to(self.held_out))
        return (1 + larger).double() / (n + 1)

    def percentile(self, score: Float[Tensor, "rows"]) -> Float[Tensor, "rows"]:
        """100 (1 − p): the percentage of held-out scores below."""
        return 100 * (1 - self.p_value(score))

    def threshold(self, rate: float) -> float:
        """The score above which a row is called an outlier, with this rate of false alarms.

        Raises:
            ValueError: If rate is not in (0, 1), or so small that n held-out rows cannot show it.
        """
        n = len(self.held_out)
        require_rate(rate)
        k = math.ceil((1 - rate) * (n + 1) - 1e-9)
        if k > n:
            raise ValueError(
                f"a false-alarm rate of {rate:g} needs at least {math.ceil(1 / rate - 1e-9) - 1} held-out rows; got {n}"
                + (" (half of those given; the others found the centre)" if self.centre is not None else "")
            )
        return self.held_out[k - 1].item()

    def promised(self, rate: float) -> float:
        """The rate, or the least that so many held-out rows can show: 1/(n + 1).

        Raises:
            ValueError: If rate is not in (0, 1).
        """
        require_rate(rate)
        return max(rate, 1 / (len(self.held_out) + 1))

    def flagged(self, score: Float[Tensor, "rows"], rate: float) -> Bool[Tensor, "rows"]:
        """Which rows are outliers at this rate of false alarms; one whose f is NaN is."""
        return ~(score <= self.threshold(rate))


def require_rate(rate: float) -> None:
    """Refuse what is no share of false alarms."""
    if not 0 < rate < 1:
        raise ValueError(f"rate must lie between 0 and 1: the share of false alarms; got {rate!r}")


def outliers(f: LogDensity, held_out: Float[Tensor, "n *event"], typical: bool = False) -> Outliers:
    """The outlier score of f, calibrated on rows that f was not trained on.

    Args:
        f: Log-density, (rows, *event) -> (rows,).
        held_out: Rows that are no outliers, in random order; rows f was trained on make too many false alarms.
        typical: Score the distance of f from its median instead of −f.

    Raises:
        ValueError: If there are fewer than 2 rows (4 with `typical`), or f is not finite on one.

    >>> from anila import rng
    >>> x = torch.randn(999, 5, generator=rng(0, "held out"))
    >>> judge = outliers(lambda x: -x.square().sum(1) / 2, x)
    >>> judge.flagged(judge.score(torch.tensor([[0.0] * 5, [9.0] * 5])), rate=0.01).tolist()
    [False, True]
    """
    if not len(held_out):
        raise ValueError("expected at least 2 held-out rows; got 0")
    return calibrated(f, values(f, held_out), typical)


def calibrated(f: LogDensity, value: Float[Tensor, "n"], typical: bool = False) -> Outliers:
    """`outliers`, of held-out rows of which only f is known.

    Args:
        f: Log-density.
        value: f of the held-out rows, in random order.
        typical: As of `outliers`.

    Raises:
        ValueError: As `outliers`.
    """
    least = 4 if typical else 2
    if len(value) < least:
        raise ValueError(f"expected at least {counted(least, 'held-out row')}; got {len(value)}")
    if not bool(torch.isfinite(value).all()):
        raise ValueError(
            f"f is not finite on {int((~torch.isfinite(value)).sum())} of {counted(len(value), 'held-out row')}"
        )
    if not typical:
        return Outliers(f, (-value).sort().values, None)
    first, rest = value[: len(value) // 2], value[len(value) // 2 :]
    centre = first.median().item()
    return Outliers(f, (rest - centre).abs().sort().values, centre)


def auroc(inliers: Float[Tensor, "n"], outliers: Float[Tensor, "m"]) -> float:
    """The probability that an outlier scores above an inlier, a tie counted half (Mann & Whitney 1947).

    >>> auroc(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]))
    0.875
    """
    low = torch.searchsorted(inliers.sort().values, outliers).double()
    high = torch.searchsorted(inliers.sort().values, outliers, right=True).double()
    return ((low + high) / 2 / len(inliers)).mean().item()

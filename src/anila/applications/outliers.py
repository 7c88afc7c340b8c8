"""Outliers: rows that the model finds unlikely or atypical, with a known rate of false alarms.

    score(x) = −f(x)                      the energy
    score(x) = |f(x) − centre|            with `typical`: distance from the typical set

In many dimensions the likeliest points are not typical: a constant image may have a higher density than any photograph,
and yet is never drawn. The typical score detects values of f that are too low or too high.

A score is compared with those of n held-out rows, which are exchangeable with inliers. For any f,

    p = (1 + #{held-out scores ≥ score}) / (n + 1)         P(p ≤ rate) ≤ rate
    threshold(rate) = the ⌈(1 − rate)(n + 1)⌉-th smallest held-out score       P(score > threshold) ≤ rate

exactly, over the draw of the held-out rows and the new one. With `typical`, the first half of the held-out rows gives
the centre, the median of f, and the other half is counted.

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


@dataclass(frozen=True, repr=False)
class Outliers:
    """An outlier score, with the held-out scores that calibrate it.

    Args:
        f: Log-density.
        held_out: Scores of held-out rows, sorted, (n,).
        centre: The typical value of f; None scores by the energy.
    """

    f: LogDensity
    held_out: Float[Tensor, "n"]
    centre: float | None

    def __repr__(self) -> str:
        by = "energy" if self.centre is None else "distance from the typical set"
        return f"<Outliers: scores by {by}, calibrated by {counted(len(self.held_out), 'row')}>"

    def score(self, x: Float[Tensor, "rows *event"]) -> Float[Tensor, "rows"]:
        """The score in nats, float64: the larger, the odder."""
        value = values(self.f, x)
        return -value if self.centre is None else (value - self.centre).abs()

    def p_value(self, score: Float[Tensor, "rows"]) -> Float[Tensor, "rows"]:
        """Share of held-out scores at least as large, counting the row itself: P(p ≤ rate) ≤ rate."""
        n = len(self.held_out)
        larger = n - torch.searchsorted(self.held_out, score.to(self.held_out))
        return (1 + larger).double() / (n + 1)

    def percentile(self, score: Float[Tensor, "rows"]) -> Float[Tensor, "rows"]:
        """100 (1 − p): the percentage of held-out scores below."""
        return 100 * (1 - self.p_value(score))

    def threshold(self, rate: float) -> float:
        """The score above which a row is called an outlier, with this rate of false alarms.

        Raises:
            ValueError: If rate is not in (0, 1), or too small for n held-out rows.
        """
        n = len(self.held_out)
        require_rate(rate)
        k = math.ceil((1 - rate) * (n + 1) - 1e-9)
        if k > n:
            raise ValueError(
                f"a false-alarm rate of {rate:g} needs at least {math.ceil(1 / rate - 1e-9) - 1} held-out rows; got {n}"
                + (" (half of those given; the other half set the centre)" if self.centre is not None else "")
            )
        return self.held_out[k - 1].item()

    def promised(self, rate: float) -> float:
        """The rate, but at least the smallest that n held-out rows allow: 1/(n + 1).

        Raises:
            ValueError: If rate is not in (0, 1).
        """
        require_rate(rate)
        return max(rate, 1 / (len(self.held_out) + 1))

    def flagged(self, score: Float[Tensor, "rows"], rate: float) -> Bool[Tensor, "rows"]:
        """Which rows are outliers at this rate of false alarms; rows whose f is NaN are."""
        return ~(score <= self.threshold(rate))


def require_rate(rate: float) -> None:
    """Refuse a rate outside (0, 1)."""
    if not 0 < rate < 1:
        raise ValueError(f"rate must lie between 0 and 1: the share of false alarms; got {rate!r}")


def outliers(f: LogDensity, held_out: Float[Tensor, "n *event"], typical: bool = False) -> Outliers:
    """The outlier score of f, calibrated on rows that f was not trained on.

    Args:
        f: Log-density, (rows, *event) -> (rows,).
        held_out: Inliers in random order; rows on which f was trained would give too many false alarms.
        typical: Score the distance of f from its median instead of −f.

    Raises:
        ValueError: If there are fewer than 2 rows (4 with `typical`), or f is not finite at one of them.

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
    """`outliers`, from the values of f at held-out rows.

    Args:
        f: Log-density.
        value: f of the held-out rows, in random order.
        typical: As in `outliers`.

    Raises:
        ValueError: As in `outliers`.
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
    """The probability that an outlier scores above an inlier, with ties counted half (Mann & Whitney 1947).

    >>> auroc(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]))
    0.875
    """
    low = torch.searchsorted(inliers.sort().values, outliers).double()
    high = torch.searchsorted(inliers.sort().values, outliers, right=True).double()
    return ((low + high) / 2 / len(inliers)).mean().item()

"""Heat: what ∇f at the draws says about their law, for kernels without an accept-reject step.

    T = E[−⟨w, C^−½ (x − m)⟩ ⟨w, C^½ ∇f⟩],  |w| = 1        1 for exp f, by Stein's identity, whatever m and C are

and it is T for exp(f / T). With C the covariance of draws of N(m, Σ), this is w·C^½ Σ⁻¹ C^½ w: how many times too wide
the draws are along a principal direction. T is estimated along single coordinates, over all of them, and along the
hottest and the coldest direction, which one half of the chains chooses and the other half estimates.

∇f itself is compared with differences of f (`slope`): with a wrong ∇f, T would be 1 for the wrong law.

Reference: Stein 1972.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import LogDensity, value_and_grad
from anila.samplers.estimates import MONITORED, constant, coordinates, evenly, mcse
from anila.samplers.slope import slope_off

POINTS = 4096
"""Approximate number of draws at which ∇f is evaluated."""
LEVEL = 1e-3
"""Probability that some T looks wrong by chance alone."""
WARM = 0.05
"""Deviation of T from 1 that is ignored, whatever its error: variances off by 5%."""
SEEN = 0.2
"""Deviation of T from 1 that must be detectable for draws to count as draws from exp f."""


class Heat(NamedTuple):
    """The temperature that is furthest from 1 in units of its standard error, and how accurate ∇f is."""

    temperature: float
    error: float
    where: str
    z: float
    """Standard errors by which T may be off by chance."""
    resolution: float
    """Deviation of T from 1 that would have been detected in any direction looked at."""
    slope_off: float
    """Median error of ∇f along random directions, relative to the median slope; 0 where rounding explains it."""

    @property
    def off(self) -> bool:
        """Whether the draws follow another law than exp f."""
        return not abs(self.temperature - 1) <= max(WARM, self.z * self.error)

    @property
    def vague(self) -> bool:
        """Whether another law may have gone undetected."""
        return not self.resolution <= SEEN

    @property
    def told(self) -> str:
        """T with its error, in words."""
        return f"temperature {self.temperature:.3g} ± {self.error:.1g} {self.where}"


def heat(f: LogDensity, x: Float[Tensor, "kept chains *event"]) -> Heat:
    """T of the draws, and how accurate ∇f is there.

    Args:
        f: Log-density, (n, *event) -> (n,).
        x: Draws, finite, at least 4 of at least 2 chains.
    """
    x = x[evenly(len(x), max(4, POINTS // x.shape[1]))]
    grad = torch.stack([value_and_grad(f, part)[1] for part in x])
    draws, moving = x.double().flatten(2), ~constant(x.flatten(2))
    named, _ = coordinates(x[:1], f)
    names, columns = virials(draws - draws.flatten(0, 1).median(0).values, grad.double().flatten(2), named, moving)
    mean = torch.cat([c.mean((0, 1)) for c in columns])
    error = torch.cat([mcse(c) for c in columns]).to(mean).nan_to_num(math.inf)
    z = NormalDist().inv_cdf(1 - LEVEL / len(names) / 2)
    worst = int(((mean - 1).abs() / error.clamp(min=WARM / z)).nan_to_num(math.inf).argmax())
    return Heat(
        mean[worst].item(), error[worst].item(), names[worst], z, z * error.max().item(),
        slope_off(f, x, grad),
    )  # fmt: skip


def virials(x: Tensor, grad: Tensor, named: list[str], moving: Tensor) -> tuple[list[str], list[Tensor]]:
    """Columns whose mean is T, and their names: first from all chains, then from one half of them."""
    shown = evenly(x.shape[2], MONITORED)
    kept = moving[shown].cpu()
    shown, named = shown[kept], [name for name, k in zip(named, kept.tolist(), strict=True) if k]
    each = -(x * grad)
    columns = [torch.cat([each[..., moving].mean(2, keepdim=True), each[..., shown]], 2)]
    names = ["over all coordinates", *(f"along {name}" for name in named)]
    x, grad, d = x[..., moving], grad[..., moving], int(moving.sum())
    if 1 < d <= MONITORED and x[:, ::2].flatten(0, 1).shape[0] >= 10 * d and x.shape[1] >= 4:
        names += ["along the coldest direction", "along the hottest direction"]
        columns.append(extremes(x[:, ::2], grad[:, ::2], x[:, 1::2], grad[:, 1::2]))
    return names, columns


def extremes(x: Tensor, grad: Tensor, others: Tensor, their_grad: Tensor) -> Tensor:
    """Numbers whose mean is T of `others` along the directions w in which x is coldest and hottest, (…, 2)."""
    flat, slopes = x.flatten(0, 1), grad.flatten(0, 1)
    variances, axes = torch.linalg.eigh(flat.T.cov())
    root = variances.clamp(min=1e-12 * variances.max().item()).sqrt()
    S = -((flat @ axes / root).T @ (slopes @ axes * root)) / len(flat)
    w = torch.linalg.eigh((S + S.T) / 2)[1][:, [0, -1]]
    return -(others @ (axes / root @ w)) * (their_grad @ (axes * root @ w))

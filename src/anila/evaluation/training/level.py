"""Whether f is level along chains, as in equilibrium: its trend, and a comparison of two groups.

A least-squares line through f(x_t) over the last half of chain i gives its mean mᵢ and its rise rᵢ over that half:

    rise = mean rᵢ ± sd(rᵢ)/√n            value = mean mᵢ ± sd(mᵢ)/√n

Chains are independent of each other, so these errors hold however slowly each one moves. Chains from two starts have
forgotten their origin only if their values are equal.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

LEAST = 8
"""Least number of values of f in the last half, and of chains, from which a trend is judged."""
SMALL = 0.25
"""Fraction of the spread of f over data up to which a rise or a difference is small."""
ERRORS = 3.0
"""Number of standard errors up to which it is attributed to chance."""


@dataclass(frozen=True)
class Level:
    """f along the last half of chains, in nats."""

    value: float
    error: float
    rise: float
    rise_error: float

    def steady(self, spread: float) -> bool:
        """Whether the rise is small or due to chance; spread is that of f over data."""
        return alike(self.rise, self.rise_error, spread)

    def equals(self, other: "Level", spread: float) -> bool:
        """Whether the values differ by little or by chance."""
        return alike(self.value - other.value, math.hypot(self.error, other.error), spread)


def alike(difference: float, error: float, spread: float) -> bool:
    return abs(difference) <= max(SMALL * spread, ERRORS * error)


def level(f: Float[Tensor, "times chains"]) -> Level | None:
    """The level of f along chains; None if there is too little to judge.

    Args:
        f: f of every chain at equally spaced times; chains that are not finite everywhere are left out.
    """
    half = f[len(f) // 2 :, torch.isfinite(f).all(0)].double()
    if min(half.shape) < LEAST:
        return None
    t = torch.linspace(-0.5, 0.5, len(half), dtype=half.dtype, device=half.device)
    rise = (t @ half) / t.square().sum()
    return Level(*mean_and_error(half.mean(0)), *mean_and_error(rise))


def mean_and_error(x: Float[Tensor, "n"]) -> tuple[float, float]:
    return x.mean().item(), x.std().item() / math.sqrt(len(x))

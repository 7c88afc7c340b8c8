"""Whether f is level along chains, as it is in equilibrium: a trend, and two groups beside each other.

Of the last half of chain i, f(x_t) on a line over t by least squares gives its mean mᵢ and its rise rᵢ over that half:

    rise = mean rᵢ ± sd(rᵢ)/√n            value = mean mᵢ ± sd(mᵢ)/√n

Chains are independent of one another, so these errors hold however slowly each of them moves. Chains of two starts have
forgotten where they are from only if their values are equal.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

LEAST = 8
"""Looks at f in the last half, and chains, from which a trend is judged."""
SMALL = 0.25
"""Of the data's spread of f, up to which a rise or a difference is small."""
ERRORS = 3.0
"""Standard errors up to which it is chance."""


@dataclass(frozen=True)
class Level:
    """f along the last half of chains, in nats."""

    value: float
    error: float
    rise: float
    rise_error: float

    def steady(self, spread: float) -> bool:
        """Whether its rise is small, or chance; spread is that of f over data."""
        return alike(self.rise, self.rise_error, spread)

    def equals(self, other: "Level", spread: float) -> bool:
        """Whether the values differ by little, or by chance."""
        return alike(self.value - other.value, math.hypot(self.error, other.error), spread)


def alike(difference: float, error: float, spread: float) -> bool:
    return abs(difference) <= max(SMALL * spread, ERRORS * error)


def level(f: Float[Tensor, "times chains"]) -> Level | None:
    """The level of f along chains; None where there is too little of it.

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

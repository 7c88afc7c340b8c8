"""Purification: chains that stay within ε of a point in every coordinate.

    x = y + ε tanh(u / ε),   g(u) = f(x) + T Σᵢ log dxᵢ/duᵢ

If an adversary may change every coordinate by ε, the true x lies in a box around the observation, with a uniform
likelihood; purifying draws exactly from f on this box.

Reference: Hill, Mitchell & Zhu 2021 (purification by chains of an energy).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from anila.applications.posterior import Posterior, beside, require_observations
from anila.density.log_density import LogDensity

EDGE = 1e-6
"""A start on the edge of the box is moved this far inside, relative to ε."""


def purify(f: LogDensity, y: Float[Tensor, "n *event"], within: float, temperature: float = 1.0) -> Posterior:
    """The law of points that differ from y by less than `within` in every coordinate.

    Args:
        f: Log-density, (rows, *event) -> (rows,).
        y: The observation, (n, *event).
        within: ε, in units of x.
        temperature: Temperature of the kernel that will sample.

    Raises:
        ValueError: If ε is not positive, or y is not finite.
    """
    require_observations(y)
    if not 0 < within < math.inf:
        raise ValueError(f"within must be positive: how far a coordinate may have been changed; got {within!r}")

    def inside(x: Tensor) -> Tensor:
        return within * ((x - beside(y, x)) / within).clamp(EDGE - 1, 1 - EDGE).atanh()

    def outside(u: Tensor) -> Tensor:
        return beside(y, u) + within * (u / within).tanh()

    def g(u: Tensor) -> Tensor:
        s = (u / within).flatten(1)
        log_slope = 2 * (math.log(2) - s - torch.nn.functional.softplus(-2 * s))  # log(1 − tanh² s), without underflow
        return f(outside(u)) + temperature * log_slope.sum(1)

    return Posterior(g, f, inside, outside, len(y))

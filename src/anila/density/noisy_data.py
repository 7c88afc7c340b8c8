"""Laws of noisy data: if f has levels, exp f is the law of x + s ξ, with x from the data and s the lowest level.

    a point of the law from data        x + s ξ,  ξ ~ N(0, I)
    the data given a point, on average  x + s² ∇f(x)
    the same from level to level        x ← x + (s² − s'²) ∇f(x, s),  s' = s/√2, …, 0

A mean is blurred. If f has learned levels finer than its lowest, the noise is removed in portions, each with the f of
the remaining noise, and edges become sharp.

Chains on such an f are compared with noisy data, and shown without their noise. For an f without levels, exp f is the
law of the data themselves.

Reference: Robbins 1956; Efron 2011, eq. 1.4 (Tweedie's formula).
"""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import Anneals, LogDensity, gradient
from anila.rng import normal


def noised(f: LogDensity, x: Float[Tensor, "n *event"], generator: torch.Generator) -> Float[Tensor, "n *event"]:
    """x + s ξ: data made into points of the law."""
    if not isinstance(f, Anneals):
        return x
    return x + f.lowest * normal(x.shape, x, generator)


def denoised(f: LogDensity, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n *event"]:
    """Points of the law without their noise: x + s² ∇f(x), the mean of the data, in steps through the finer levels."""
    if isinstance(f, Anneals):
        for s, lower in pairwise(finer(f)):
            x = x + (s**2 - lower**2) * gradient(f.at(s), x)
    return x


def finer(f: Anneals) -> list[float]:
    """Levels through which noise is removed, from the lowest through the finest to 0, with ratios of about √2."""
    ratio = f.finest / f.lowest
    steps = max(1, round(-2 * math.log2(ratio)))
    return [f.lowest, *(f.lowest * ratio ** (k / steps) for k in range(1, steps + 1) if ratio < 1), 0.0]

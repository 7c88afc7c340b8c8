"""Laws of noisy data: exp f is the law of x + s ξ with x from the data, where f says its lowest level s.

    a point of the law from data        x + s ξ,  ξ ~ N(0, I)
    the data given a point, on average  x + s² ∇f(x)
    the same from level to level        x ← x + (s² − s'²) ∇f(x, s),  s' = s/√2, …, 0

A mean is blurred. Where f has learned finer levels than its lowest, the noise goes in portions, each by the f of what
is left, and edges become sharp.

What chains of such an f meet is data with noise, and what people look at is chains without it. An f without
levels is the law of the data themselves.

Reference: Robbins 1956; Efron 2011, eq. 1.4 (Tweedie's formula).
"""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import Anneals, LogDensity, gradient


def noised(f: LogDensity, x: Float[Tensor, "n *event"], generator: torch.Generator) -> Float[Tensor, "n *event"]:
    """x + s ξ: data as a point of the law."""
    if not isinstance(f, Anneals):
        return x
    xi = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=generator.device)
    return x + f.lowest * xi.to(x.device)


def denoised(f: LogDensity, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n *event"]:
    """A point of the law without its noise: x + s² ∇f(x), the mean of the data, by way of the finer levels of f."""
    if isinstance(f, Anneals):
        for s, lower in pairwise(finer(f)):
            x = x + (s**2 - lower**2) * gradient(f.at(s), x)
    return x


def finer(f: Anneals) -> list[float]:
    """The levels through which noise goes, from the lowest by the finest to none, at about √2 from one to the next."""
    ratio = f.finest / f.lowest
    steps = max(1, round(-2 * math.log2(ratio)))
    return [f.lowest, *(f.lowest * ratio ** (k / steps) for k in range(1, steps + 1) if ratio < 1), 0.0]

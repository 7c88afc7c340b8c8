"""Laws of noisy data: exp f is the law of x + s ξ with x from the data, where f says its lowest level s.

    a point of the law from data        x + s ξ,  ξ ~ N(0, I)
    the data given a point, on average  x + s² ∇f(x)

What chains of such an f meet is data with noise, and what people look at is chains without it. An f without
levels is the law of the data themselves.

Reference: Robbins 1956; Efron 2011, eq. 1.4 (Tweedie's formula).
"""

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
    """x + s² ∇f(x): the mean of the data given a point of the law."""
    return x + f.lowest**2 * gradient(f, x) if isinstance(f, Anneals) else x

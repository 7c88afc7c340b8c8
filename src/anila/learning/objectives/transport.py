"""Transport: ∇f carries noise to data, and vanishes there.

    x_t = (1 − t) x₀ + t x₁             on the straight line from noise x₀ ~ N(0, I) to data x₁, t ~ U(0, 1)
    u = (x₁ − x₀) min(1, (1 − t) / τ)   τ = 0.2
    ½ E |u − ∇f(x_t)|²                  what θ descends

Noise and data are paired by optimal transport, which makes the mean of u a gradient and its spread small. Up to t = 0.8
this is flow matching with a velocity ∇f that does not depend on t (Balcerak et al. 2025, "Energy matching"); near the
data u falls to zero, so that they are stationary points (Wang & Du 2025, "Equilibrium matching"). exp f is not the
density of the data: chains go from noise to data and then degrade them. Training with Algorithm 1 makes them stay.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import LogDensity, gradient
from anila.density.rows import across
from anila.learning.objectives.base import Contrast, Objective
from anila.learning.objectives.matching import MATCHING, along, normal_noise
from anila.rng import uniform

TAU = 0.2
"""τ: the last part of the path, on which the target falls to zero."""
CHUNK = 256
"""Most rows that are paired with each other; the time grows faster than the square of their number."""


class Way(NamedTuple):
    """The x₀ and t of each point."""

    x0: Float[Tensor, "n *event"]
    t: Float[Tensor, "n"]


def transport() -> Objective:
    """θ descends ½ E |u − ∇f(x_t)|², u = (x₁ − x₀) min(1, (1 − t) / 0.2).

    Noise is paired with the data of one iteration: 256 of them give straighter paths than 32.

    Returns:
        The objective; its metric `matching_loss` is the loss per coordinate.
    """
    return Objective(contrast, draw_noise=draw_noise, **MATCHING)


def draw_noise(x_data: Tensor, generator: torch.Generator) -> Way:
    """x₀ and t, a row for each data point; paired here, where all rows are known."""
    noise = normal_noise(x_data, generator)
    x0 = torch.cat([paired(a, b) for a, b in zip(noise.split(CHUNK), x_data.split(CHUNK), strict=True)])
    return Way(x0, uniform(x_data.shape[:1], x_data, generator))


def paired(x0: Float[Tensor, "n *event"], x1: Float[Tensor, "n *event"]) -> Float[Tensor, "n *event"]:
    """x₀ in the order that minimises Σ |x₁ − x₀|², i.e. maximises Σ x₁ · x₀."""
    from scipy.optimize import linear_sum_assignment

    products = x1.flatten(1).double() @ x0.flatten(1).double().T
    _, order = linear_sum_assignment(products.numpy(force=True), maximize=True)
    return x0[torch.from_numpy(order).to(x0.device)]


def contrast(f: LogDensity, x_data: Tensor, x_model: Tensor | None, noise: Way) -> Contrast:  # noqa: ARG001
    """Up and down on either side of x_t along u − ∇f(x_t)."""
    t = across(noise.t, x_data)
    x_t = (1 - t) * noise.x0 + t * x_data
    grad = gradient(f, x_t)
    lack = (x_data - noise.x0) * ((1 - t) / TAU).clamp(max=1) - grad
    return along(lack, x_t, grad, loss=lack.flatten(1).square().mean(1) / 2)

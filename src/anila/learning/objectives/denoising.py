"""Denoising score matching as a contrast: no chains, no double backward.

    x_t = x + s ξ,   ξ ~ N(0, I)                        noisy data
    y = x_t + s² ∇f(x_t)                                what f takes x to be (Tweedie's formula)
    ½ s² E |∇f(x_t) + ξ/s|² = E |x − y|² / (2 s²)       what θ descends (Vincent 2011, eq. 8, weighted by s²)

With r = −ξ/s − ∇f(x_t), the slope that f lacks at x_t, minus the θ-gradient of ½ |∇f + ξ/s|² is that of r · ∇f(x_t),
r held fixed: the slope of f along r. Up to O(η²) it is the difference of f between x_t + η s² r and x_t − η s² r. As
s² r = x − y, that is

    up = x_t + η (x − y)      down = x_t − η (x − y)      weights 1 / (2η)

so f goes up towards the truth and down towards what it believed. For a quadratic f it is exact. At the optimum ∇f is
the score of the data blurred with noise of sd s.
"""

import math

import torch
from torch import Tensor

from anila.density.log_density import LogDensity, gradient
from anila.evaluation.training.metric import GRAD_NORM, THETA_GRAD_NORM, Metric
from anila.learning.objectives.base import Contrast, Objective

ETA = 0.03
"""η: half the distance between up and down, relative to x − y."""
LOSS = Metric(
    name="matching_loss",
    words="the matching loss",
    title="matching loss  |x − y|² / (2 d s²)",
    short="loss",
    may_grow=False,
    in_series=True,
)


def denoising(sd: float = 0.3) -> Objective:
    """θ descends E |x − y|² / (2 s²), y = x_t + s² ∇f(x_t).

    Args:
        sd: s, standard deviation of the noise, in units of x.

    Returns:
        The objective; of its metrics `matching_loss` is the loss a coordinate: ½ for an f that knows nothing.

    Raises:
        ValueError: If sd is not positive.

    >>> f = lambda x: -x.square().sum(1) / 2
    >>> noise = torch.full((1, 1), 2.0)
    >>> up, down, *_ = denoising(sd=0.5).contrast(f, torch.ones(1, 1), None, noise)
    >>> up.item() < down.item()
    True
    """
    if not 0 < sd < math.inf:
        raise ValueError(f"sd must be positive: the noise in units of x; got {sd!r}")

    def contrast(f: LogDensity, x_data: Tensor, x_model: Tensor | None, noise: Tensor) -> Contrast:  # noqa: ARG001
        x_t = x_data + sd * noise
        grad = gradient(f, x_t)
        lack = x_data - (x_t + sd**2 * grad)
        weight = 1 / (2 * ETA)
        metrics = {
            "matching_loss": lack.flatten(1).square().mean(1) / (2 * sd**2),
            "grad_norm": grad.flatten(1).norm(dim=1),
        }
        return Contrast(x_t + ETA * lack, x_t - ETA * lack, weight, weight, metrics)

    return Objective(
        contrast,
        (LOSS, GRAD_NORM, THETA_GRAD_NORM),
        draw_noise=normal_noise,
        may_round=False,
        sides=("towards data", "away"),
    )


def normal_noise(x_data: Tensor, generator: torch.Generator) -> Tensor:
    """ξ ~ N(0, I), a row for each of the data."""
    return torch.randn(x_data.shape, generator=generator, device=generator.device, dtype=x_data.dtype).to(x_data.device)

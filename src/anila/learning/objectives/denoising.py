"""Denoising score matching: ∇f learns the score of the data blurred with noise.

    x_t = x + s ξ,   ξ ~ N(0, I)                        noisy data
    y = x_t + s² ∇f(x_t)                                what f takes x to be (Tweedie's formula)
    ½ w s² E |∇f(x_t) + ξ/s|² = w E |x − y|² / (2 s²)   what θ descends (Vincent 2011, eq. 8, weighted by w s²)

As s² (−ξ/s − ∇f(x_t)) = x − y, f goes up from x_t towards the true x and down towards its own guess y
(`anila.learning.objectives.matching`). At the optimum ∇f is the score of the data blurred with noise of sd s.

For one level s, w = 1 and f is any f(x). For a range of levels, f is an f(x, s) that learns all of them: each point has
its own level, with ln s normal around the middle of the range, whose ends are two standard deviations away. The levels
of one iteration are stratified over that law. Then

    w = 1 + s² / σ²

with σ the sd of the data, so that an f that knows nothing but σ has the same loss at every level (Karras et al. 2022,
section 5).
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import HasLevels, LogDensity, gradient
from anila.density.rows import across
from anila.learning.objectives.base import Contrast, Objective
from anila.learning.objectives.matching import MATCHING, along, normal_noise

ENDS = 2.0
"""Distance from the middle to the ends of a range of levels, in standard deviations of ln s."""

DATA_SD = 0.5
"""σ if neither the user nor f gives it: that of images in [−1, 1]."""


class LevelNoise(NamedTuple):
    """ξ and s of each point."""

    xi: Float[Tensor, "n *event"]
    s: Float[Tensor, "n"]


def denoising(sd: float | tuple[float, float] = 0.3, data_sd: float | None = None) -> Objective:
    """θ descends w E |x − y|² / (2 s²), y = x_t + s² ∇f(x_t).

    Args:
        sd: s, standard deviation of the noise, in units of x; or the lowest and the highest s for an f(x, s).
        data_sd: σ, standard deviation of a coordinate of the data, for the weights of a range; None takes f's
            `data_sd`, or else 0.5.

    Returns:
        The objective; its metric `matching_loss` is the loss per coordinate: ½ for an f that knows nothing, or, with a
        range, nothing but σ.

    Raises:
        ValueError: If sd or data_sd is not positive, or the range is empty.

    >>> f = lambda x: -x.square().sum(1) / 2
    >>> noise = torch.full((1, 1), 2.0)
    >>> up, down, *_ = denoising(sd=0.5).contrast(f, torch.ones(1, 1), None, noise)
    >>> up.item() < down.item()
    True
    """
    if data_sd is not None and not data_sd > 0:
        raise ValueError(f"data_sd must be positive: the sd of a coordinate of the data; got {data_sd!r}")
    return at_one_level(sd) if isinstance(sd, float | int) else at_levels(*sd, data_sd)


def at_one_level(sd: float) -> Objective:
    """The objective of an f(x)."""
    if not 0 < sd < math.inf:
        raise ValueError(f"sd must be positive: the noise in units of x; got {sd!r}")

    def contrast(f: LogDensity, x_data: Tensor, x_model: Tensor | None, noise: Tensor) -> Contrast:  # noqa: ARG001
        x_t = x_data + sd * noise
        grad = gradient(f, x_t)
        lack = x_data - (x_t + sd**2 * grad)
        return along(lack, x_t, grad, loss=lack.flatten(1).square().mean(1) / (2 * sd**2))

    return Objective(contrast, draw_noise=normal_noise, **MATCHING)


def at_levels(lowest: float, highest: float, data_sd: float | None) -> Objective:
    """The objective of an f(x, s)."""
    if not 0 < lowest < highest < math.inf:
        raise ValueError(f"sd must be a range of positive levels, the lowest first; got {(lowest, highest)!r}")

    def draw_noise(x_data: Tensor, generator: torch.Generator) -> LevelNoise:
        s = spread_levels(len(x_data), lowest, highest, generator)
        return LevelNoise(normal_noise(x_data, generator), s.to(x_data))

    def contrast(f: HasLevels, x_data: Tensor, x_model: Tensor | None, noise: LevelNoise) -> Contrast:  # noqa: ARG001
        s = across(noise.s, x_data)
        x_t = x_data + s * noise.xi
        grad = gradient(f.at(noise.s), x_t)
        lack = x_data - (x_t + s**2 * grad)
        weight = 1 + (noise.s / (data_sd or getattr(f, "data_sd", DATA_SD))) ** 2
        loss = weight * lack.flatten(1).square().mean(1) / (2 * noise.s**2)
        return along(lack, x_t, grad, loss, weight, noise.s)

    return Objective(contrast, draw_noise=draw_noise, needs_levels=True, **MATCHING)


def spread_levels(n: int, lowest: float, highest: float, generator: torch.Generator) -> Float[Tensor, "n"]:
    """One level from each n-th part of their law, in random order."""
    device = generator.device
    part = torch.randperm(n, generator=generator, device=device)
    u = (part + torch.rand(n, generator=generator, device=device, dtype=torch.float64)) / n
    tail = torch.special.ndtr(torch.tensor(-ENDS, dtype=torch.float64, device=device))
    z = torch.special.ndtri(tail + (1 - 2 * tail) * u) / ENDS
    middle, half = (math.log(highest) + math.log(lowest)) / 2, (math.log(highest) - math.log(lowest)) / 2
    return (middle + half * z).exp()

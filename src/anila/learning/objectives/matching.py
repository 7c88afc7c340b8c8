"""Gradient matching as a contrast: no chains, no double backward.

    ½ w E |u − ∇f(x_t)|²         what θ descends; u is the slope that f should have at a noisy point x_t

Let r = u − ∇f(x_t), the slope that f lacks. Minus the θ-gradient of ½ |u − ∇f|² is that of r · ∇f(x_t) with r held
fixed, the slope of f along r. Up to O(η²) it is the difference of f between two points on either side of x_t,

    up = x_t + η r      down = x_t − η r      weights w / (2η)

so f goes up in the direction that it lacks and down in the opposite one. For a quadratic f this is exact. The
differences are small compared with f, so rounding would lose them.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from anila.evaluation.training.metric import GRAD_NORM, THETA_GRAD_NORM, Metric
from anila.learning.objectives.base import Contrast
from anila.rng import normal

ETA = 0.03
"""η: half the distance between up and down, relative to r."""
LOSS = Metric(
    name="matching_loss",
    words="the matching loss",
    title="matching loss per coordinate",
    short="loss",
    may_grow=False,
    in_series=True,
)
MATCHING = {"watched": (LOSS, GRAD_NORM, THETA_GRAD_NORM), "may_round": False, "sides": ("towards data", "away")}
"""Facts shared by all objectives that match gradients."""


def along(
    lack: Float[Tensor, "n *event"],
    x_t: Float[Tensor, "n *event"],
    grad: Float[Tensor, "n *event"],
    loss: Float[Tensor, "n"],
    weight: Float[Tensor, "n"] | float = 1.0,
    levels: Float[Tensor, "n"] | None = None,
) -> Contrast:
    """The contrast for slopes that f lacks.

    Args:
        lack: r, or any multiple of it.
        x_t: The noisy points.
        grad: ∇f(x_t).
        loss: What to report as the `matching_loss` of each row.
        weight: w, divided by the square of that multiple.
        levels: Noise levels of x_t, if f has levels.
    """
    weight = weight / (2 * ETA)
    metrics = {"matching_loss": loss, "grad_norm": grad.flatten(1).norm(dim=1)}
    return Contrast(x_t + ETA * lack, x_t - ETA * lack, weight, weight, metrics, levels=levels)


def normal_noise(x_data: Tensor, generator: torch.Generator) -> Tensor:
    """ξ ~ N(0, I), a row for each of the data."""
    return normal(x_data.shape, x_data, generator)

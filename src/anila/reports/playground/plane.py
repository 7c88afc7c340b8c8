"""The playground's known laws, in torch: what the page's own f are held to, and the names the command knows."""

import torch
from torch import Tensor

from anila.density.log_density import LogDensity
from anila.density.targets import banana, double_well, funnel, gaussian, mixture, rings


def two_wells(x: Tensor) -> Tensor:
    """The double well along x₀, a normal along x₁."""
    return double_well()(x[:, :1]) - x[:, 1].square() / 2


def upright_funnel(x: Tensor) -> Tensor:
    """The funnel with its neck down: x₁ ~ N(0, 2²), x₀ | x₁ ~ N(0, exp x₁)."""
    return funnel(2, 2.0)(x.flip(1))


def sine(x: Tensor) -> Tensor:
    """x₀ ~ N(0, 2²), x₁ | x₀ ~ N(1.5 sin 2x₀, 0.2²)."""
    return -x[:, 0].square() / 8 - ((x[:, 1] - 1.5 * torch.sin(2 * x[:, 0])) / 0.2).square() / 2


PLANE: dict[str, LogDensity] = {
    "gaussian": gaussian(dim=2),
    "double-well": two_wells,
    "rings": rings(),
    "funnel": upright_funnel,
    "banana": banana(1.0, 0.3),
    "mixture": mixture(),
    "sine": sine,
}
"""Name -> f. `web/targets.js` has the same names."""

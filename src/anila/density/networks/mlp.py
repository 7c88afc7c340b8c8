"""Multi-layer perceptrons as log-densities of vectors, with random Fourier features for fine detail.

f(x) = w · h_L(… h_1(φ(x))),   φ(x) = x, or [sin(2π B x), cos(2π B x)] with rows of B ~ N(0, scale² I).

Reference: Tancik et al. 2020, "Fourier features let networks learn high frequency functions".
"""

import math
from itertools import pairwise
from typing import Annotated

import torch
from annotated_types import MultipleOf
from jaxtyping import Float
from torch import Tensor, nn

from anila.density.networks.activations import Nonlinearity, activation
from anila.density.ranges import Count, CountOrZero, NonNegative, Positive
from anila.rng import rng

Even = Annotated[CountOrZero, MultipleOf(2)]


class Fourier(nn.Module):
    """Random Fourier features: x -> √2 [sin(2π B x), cos(2π B x)], (n, d) -> (n, features)."""

    frequencies: Tensor

    def __init__(self, dim: int, features: int, scale: float, seed: int = 0):
        super().__init__()
        shape, device = (dim, features // 2), torch.get_default_device()
        if device.type == "meta":  # the size of a network is asked, without the memory for it
            frequencies = torch.zeros(shape)
        else:
            frequencies = (scale * torch.randn(shape, generator=rng(seed, "fourier"), device="cpu")).to(device)
        self.register_buffer("frequencies", frequencies)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n features"]:
        phase = 2 * math.pi * x @ self.frequencies
        return math.sqrt(2) * torch.cat([phase.sin(), phase.cos()], -1)


def mlp(
    dim: int,
    hidden: tuple[Count, ...] = (128, 128),
    nonlinearity: Nonlinearity = "silu",
    slope: NonNegative = 0.05,
    fourier: Even = 0,
    fourier_scale: Positive = 1.0,
    out: int = 1,
) -> nn.Sequential:
    """A perceptron from (n, dim) to (n,), or to (n, out) for more than one output.

    Args:
        dim: Coordinates of a point.
        hidden: Width of each hidden layer.
        nonlinearity: "silu", "gelu", "leaky_relu" or "relu".
        slope: Negative slope of leaky ReLU.
        fourier: Number of random Fourier features in front (even), 0 for none.
        fourier_scale: Standard deviation of the frequencies, in periods per unit of x.
        out: Outputs per row: (n,) for one, (n, out) for more.
    """
    first: list[nn.Module] = [Fourier(dim, fourier, fourier_scale)] if fourier else []
    widths = (fourier or dim, *hidden)
    layers = [module for a, b in pairwise(widths) for module in (nn.Linear(a, b), activation(nonlinearity, slope))]
    return nn.Sequential(*first, *layers, nn.Linear(widths[-1], out), one_number(out))


def one_number(out: int) -> nn.Flatten:
    """The last layer of a network: (n, 1, ...) -> (n,) for one output, (n, out, ...) -> (n, out) for more."""
    return nn.Flatten(0 if out == 1 else 1)

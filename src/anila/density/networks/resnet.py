"""A residual network as a log-density of images, without batch norm, so that rows of a batch are independent.

    h ← h + conv(σ(conv(σ(h))))        residual block (pre-activation, He et al. 2016)
    f(x) = w · Σ_pixels σ(h)            a sum, so that f is extensive in the image

`ResNet` halves the image by average pooling and doubles the width at every stage, with one block per stage.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated

import torch.nn.functional as F
from annotated_types import Ge, Le
from jaxtyping import Float
from torch import Tensor, nn

from anila.density.networks.activations import Nonlinearity, activation
from anila.density.ranges import Count, NonNegative


class Block(nn.Module):
    """h + conv(σ(conv(σ(h)))), optionally halved by average pooling and widened."""

    def __init__(self, width_in: int, width_out: int, nonlinearity: Nonlinearity, down: bool, slope: float = 0.05):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width_out, 3, 1, 1)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, 1, 1)
        self.shortcut = nn.Conv2d(width_in, width_out, 1) if width_in != width_out else nn.Identity()
        self.sigma1, self.sigma2 = activation(nonlinearity, slope), activation(nonlinearity, slope)
        self.down = down

    def forward(self, h: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        h = self.shortcut(h) + self.conv2(self.sigma2(self.conv1(self.sigma1(h))))
        return F.avg_pool2d(h, 2) if self.down else h


class Residual(nn.Module):
    """A convolution, blocks, and a weighted sum over pixels: (n, channels, h, w) -> (n,), or (n, out).

    Args:
        channels: Channels of the images.
        stem: Channels after the first convolution.
        blocks: The width of each block and whether it halves the image.
        nonlinearity: "silu", "gelu", "leaky_relu" or "relu".
        slope: Negative slope of leaky ReLU.
        out: Outputs per row: (n,) for one, (n, out) for more.
    """

    def __init__(
        self,
        channels: int,
        stem: int,
        blocks: Iterable[tuple[int, bool]],
        nonlinearity: Nonlinearity,
        slope: float,
        out: int,
    ):
        super().__init__()
        plan = [(stem, False), *blocks]
        self.stem = nn.Conv2d(channels, stem, 3, 1, 1)
        self.blocks = nn.Sequential(*(Block(a, b, nonlinearity, down, slope) for (a, _), (b, down) in pairwise(plan)))
        self.sigma = activation(nonlinearity, slope)
        self.head = nn.Linear(plan[-1][0], out)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n *out"]:
        return self.head(self.sigma(self.blocks(self.stem(x))).sum((2, 3))).squeeze(1)


class ResNet(Residual):
    """Residual energy network, (n, channels, size, size) -> (n,), or (n, out) for more than one output.

    Args:
        channels: Channels of the images.
        size: Height and width, divisible by 2^stages.
        width: Channels of the first stage.
        stages: How many times the image is halved.
        nonlinearity: "silu", "gelu", "leaky_relu" or "relu".
        slope: Negative slope of leaky ReLU.
        out: Outputs per row.

    Raises:
        ValueError: If size is not divisible by 2^stages.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        width: Count = 32,
        stages: Annotated[int, Ge(0), Le(10)] = 3,
        nonlinearity: Nonlinearity = "silu",
        slope: NonNegative = 0.05,
        out: int = 1,
    ):
        if size % 2**stages:
            raise ValueError(f"{stages} stages halve the image {stages} times; {size} is not divisible by {2**stages}")
        halved = [(width << k, True) for k in range(1, stages + 1)]
        super().__init__(channels, width, [*halved, (width << stages, False)], nonlinearity, slope, out)

"""A residual network as a log-density of images, without batch norm: rows of a batch never see each other.

    h ← h + conv(σ(conv(σ(h))))        residual block (pre-activation, He et al. 2016)
    f(x) = w · Σ_pixels σ(h)            a sum, so that f is extensive in the image

Every stage halves the image by average pooling and doubles the width.
"""

from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anila.networks.activations import activation


class Block(nn.Module):
    """h + conv(σ(conv(σ(h)))), halved by average pooling and widened when asked."""

    def __init__(self, width_in: int, width_out: int, nonlinearity: str, down: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width_out, 3, 1, 1)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, 1, 1)
        self.shortcut = nn.Conv2d(width_in, width_out, 1) if width_in != width_out else nn.Identity()
        self.sigma1, self.sigma2 = activation(nonlinearity), activation(nonlinearity)
        self.down = down

    def forward(self, h: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        h = self.shortcut(h) + self.conv2(self.sigma2(self.conv1(self.sigma1(h))))
        return F.avg_pool2d(h, 2) if self.down else h


class ResNet(nn.Module):
    """Residual energy network, (n, channels, size, size) -> (n,).

    Args:
        channels: Channels of the images.
        size: Height and width, divisible by 2^stages.
        width: Channels of the first stage.
        stages: How many times the image is halved.
        nonlinearity: "silu", "gelu", "leaky_relu" or "relu".

    Raises:
        ValueError: If size is not divisible by 2^stages.
    """

    def __init__(self, channels: int, size: int, width: int = 32, stages: int = 3, nonlinearity: str = "silu"):
        if size % 2**stages:
            raise ValueError(f"{stages} stages halve the image {stages} times; {size} is not divisible by {2**stages}")
        super().__init__()
        widths = [width * 2**k for k in range(stages + 1)]
        self.stem = nn.Conv2d(channels, width, 3, 1, 1)
        self.blocks = nn.Sequential(
            *(Block(a, b, nonlinearity, down=True) for a, b in pairwise(widths)),
            Block(widths[-1], widths[-1], nonlinearity, down=False),
        )
        self.sigma = activation(nonlinearity)
        self.head = nn.Linear(widths[-1], 1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n"]:
        return self.head(self.sigma(self.blocks(self.stem(x))).sum((2, 3))).squeeze(1)

"""A small U-Net from images to images, conditioned on the noise level, without normalisation.

    e = MLP([sin(k ln s), cos(k ln s)])                    16 frequencies k from ½ to 8
    h ← skip(h) + conv(σ((1 + scale(e)) conv(σ(h)) + shift(e)))          residual block, modulated by the level

The image is unshuffled to half its size and four times the channels. One block per size leads down, each size halving
the image, and one leads up again, with skip connections (Ronneberger et al. 2015; Perez et al. 2018, FiLM).
"""

import math
from itertools import pairwise
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from annotated_types import MinLen
from jaxtyping import Float
from torch import Tensor, nn

from anila.density.networks.blurred_gaussian import BlurredGaussian
from anila.density.networks.classes_at_levels import ClassesAtLevels
from anila.density.networks.noise_conditional import NoiseConditional
from anila.density.ranges import Count, Positive

FEATURES = 64
"""Number of features that tell every block the noise level."""


def unet(
    channels: int,
    size: int,
    widths: Annotated[tuple[Count, ...], MinLen(1)] = (32, 64, 64),
    lowest: Positive = 0.1,
    highest: Positive = 2.4,
    finest: Positive | None = None,
    adapter: tuple[Count, ...] | None = None,
    classes: int = 0,
) -> NoiseConditional:
    """f(x, s) of noisy images from a U-Net; its Gaussian is N(0, I) until it sees data.

    Args:
        channels: Channels of the images.
        size: Height and width, divisible by 2^(number of widths).
        widths: Channels at half the size, a quarter, and so on.
        lowest: Noise level s of f(x), in units of x.
        highest: Noise level at which annealed draws begin.
        finest: The smallest noise level that is learned, used to remove the noise of draws; None is `lowest`.
        adapter: Widths of a smaller U-Net that is added in f(x) only, and that chains train alone; None for none.
        classes: Number of classes with a density each; 0 for none.

    Raises:
        ValueError: As in `UNet` and `NoiseConditional`.
    """
    net, base = UNet(channels, size, widths), BlurredGaussian((channels, size, size))
    added = None
    if adapter:
        added = UNet(channels, size, adapter)
        shrink(added.head, 0.0)
    if classes:
        return ClassesAtLevels(net, base, lowest, highest, finest, added, classes=classes)
    return NoiseConditional(net, base, lowest, highest, finest, added)


class UNet(nn.Module):
    """U(u, s): (n, channels, size, size), (n,) -> (n, channels, size, size).

    Args:
        channels: Channels of the images.
        size: Height and width, divisible by 2^(number of widths).
        widths: Channels at half the size, a quarter, and so on.

    Raises:
        ValueError: If size is not divisible by 2^(number of widths).
    """

    def __init__(self, channels: int, size: int, widths: tuple[int, ...] = (16, 32, 64)):
        if size % 2 ** len(widths):
            raise ValueError(
                f"{len(widths)} widths halve the image {len(widths)} times; {size} is not divisible by "
                f"{2 ** len(widths)}: change the size of the images, or give fewer widths"
            )
        super().__init__()
        self.pooled = sum(widths)
        self.level = Level()
        self.stem = nn.Conv2d(4 * channels, widths[0], 3, 1, 1)
        self.down = nn.ModuleList(Block(width) for width in widths)
        self.halve = nn.ModuleList(nn.Conv2d(a, b, 2, 2) for a, b in pairwise(widths))
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in pairwise(widths[::-1]))
        self.up = nn.ModuleList(Block(width) for width in widths[-2::-1])
        self.head = nn.Conv2d(widths[0], 4 * channels, 3, 1, 1)
        shrink(self.head, 0.1)

    def forward(self, u: Float[Tensor, "n c h w"], s: Float[Tensor, "n"], pooled: bool = False) -> Any:
        """U(u, s); if `pooled`, also the means over pixels of each block on the way down, (n, pooled)."""
        e = self.level(s)
        way = [self.down[0](self.stem(F.pixel_unshuffle(u, 2)), e)]
        for halve, block in zip(self.halve, self.down[1:], strict=True):
            way.append(block(halve(way[-1]), e))
        h = way[-1]
        for enlarge, block, beside in zip(self.enlarge, self.up, way[-2::-1], strict=True):
            h = block(enlarge(h) + beside, e)
        points = F.pixel_shuffle(self.head(F.silu(h)), 2)
        return (points, torch.cat([F.silu(h).mean((2, 3)) for h in way], 1)) if pooled else points


class Level(nn.Module):
    """Features of a noise level: a perceptron on sines and cosines of ln s."""

    frequencies: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("frequencies", torch.linspace(math.log(0.5), math.log(8), 16).exp())
        self.net = nn.Sequential(nn.Linear(32, FEATURES), nn.SiLU(), nn.Linear(FEATURES, FEATURES), nn.SiLU())

    def forward(self, s: Float[Tensor, "n"]) -> Float[Tensor, "n features"]:
        phase = s.log()[:, None] * self.frequencies
        return self.net(torch.cat([phase.sin(), phase.cos()], 1))


class Block(nn.Module):
    """h + conv(σ((1 + scale) conv(σ(h)) + shift)), initially unmodulated and nearly the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, 1, 1) for _ in range(2))
        self.modulate = nn.Linear(FEATURES, 2 * width)
        shrink(self.modulate, 0.0)
        shrink(self.conv2, 0.3)

    def forward(self, h: Float[Tensor, "n c h w"], e: Float[Tensor, "n features"]) -> Float[Tensor, "n c h w"]:
        scale, shift = self.modulate(e)[:, :, None, None].chunk(2, 1)
        return h + self.conv2(F.silu((1 + scale) * self.conv1(F.silu(h)) + shift))


def shrink(layer: nn.Conv2d | nn.Linear, factor: float) -> None:
    """Scale the initial weights of a layer by factor, and set its bias to 0."""
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    with torch.no_grad():
        layer.weight.mul_(factor)

"""Degradations of images, each a differentiable map of rows for `restore`."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from anila.density.ranges import MOST


def blur(sd: float) -> Callable[[Tensor], Tensor]:
    """Convolution with a Gaussian, with edges repeated.

    Args:
        sd: Standard deviation, in pixels.

    Raises:
        ValueError: If sd is not positive, or (when called) the image is smaller than three of them.

    >>> flat = torch.full((1, 1, 8, 8), 0.5)
    >>> torch.allclose(blur(1.0)(flat), flat)
    True
    """
    if not 0 < sd < math.inf:
        raise ValueError(f"blur: sd must be a positive number of pixels; got {sd!r}")
    radius = math.ceil(min(3 * sd, MOST))

    def degrade(x: Float[Tensor, "rows c h w"]) -> Float[Tensor, "rows c h w"]:
        if min(x.shape[2:]) <= radius:
            raise ValueError(f"blur: sd {sd:g} needs images above {radius} pixels a side; got {tuple(x.shape[2:])}")
        rows, channels, height, width = x.shape
        w = (-(torch.arange(-radius, radius + 1, dtype=torch.float64) / sd).square() / 2).softmax(0).to(x)
        padded = F.pad(x, (radius,) * 4, mode="replicate").reshape(rows * channels, 1, height + 2 * radius, -1)
        return F.conv2d(F.conv2d(padded, w.view(1, 1, 1, -1)), w.view(1, 1, -1, 1)).view(rows, channels, height, width)

    return degrade


def downsample(factor: int) -> Callable[[Tensor], Tensor]:
    """Means over blocks of factor × factor pixels.

    Args:
        factor: Side of a block, in pixels.

    Raises:
        ValueError: If factor is below 2, or (when called) does not divide the sides.

    >>> downsample(2)(torch.arange(4.0).view(1, 1, 2, 2)).item()
    1.5
    """
    if factor < 2:
        raise ValueError(f"downsample: factor must be at least 2; got {factor}")

    def degrade(x: Float[Tensor, "rows c h w"]) -> Float[Tensor, "rows c h2 w2"]:
        if x.shape[2] % factor or x.shape[3] % factor:
            raise ValueError(f"downsample: factor {factor} must divide both sides of {tuple(x.shape[2:])}")
        return F.avg_pool2d(x, factor)

    return degrade

"""Wide residual networks as log-densities of images: WRN-depth-widen without batch norm, as in JEM.

Three groups of n = (depth − 4)/6 residual blocks of widths 16 k, 32 k and 64 k with k = widen; the image is halved by
average pooling after the first two. WRN-28-10 has 36.5 million parameters; depth 10 and widen 1 suit a CPU.

References: Zagoruyko & Komodakis 2016, "Wide residual networks", table 1; Grathwohl et al. 2020, "Your classifier is
secretly an energy based model and you should treat it like one".
"""

from typing import Annotated

from annotated_types import Ge, Le

from anila.density.networks.activations import Nonlinearity
from anila.density.networks.resnet import Residual
from anila.density.ranges import Count, NonNegative

STEM = 16
"""Channels after the first convolution."""


class WideResNet(Residual):
    """Wide residual energy network, (n, channels, size, size) -> (n,), or (n, out) for more than one output.

    Args:
        channels: Channels of the images.
        size: Height and width, divisible by 4.
        depth: 6 n + 4 for n blocks per group, e.g. 10, 16, 28.
        widen: k, the factor of the widths of the narrowest such network.
        nonlinearity: "silu", "gelu", "leaky_relu" or "relu".
        slope: Negative slope of leaky ReLU; JEM has 0.2.
        out: Outputs per row.

    Raises:
        ValueError: If depth is not 6 n + 4, or size is not divisible by 4.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        depth: Annotated[int, Ge(10), Le(1000)] = 28,
        widen: Count = 10,
        nonlinearity: Nonlinearity = "leaky_relu",
        slope: NonNegative = 0.2,
        out: int = 1,
    ):
        n, rest = divmod(depth - 4, 6)
        if n < 1 or rest:
            raise ValueError(f"a wide residual network has depth 6 n + 4 (10, 16, 22, 28, …); got {depth}")
        if size % 4:
            raise ValueError(f"a wide residual network halves the image twice; {size} is not divisible by 4")
        widths = [STEM * widen << group for group in range(3)]
        blocks = [(width, i == n - 1 and width < widths[-1]) for width in widths for i in range(n)]
        super().__init__(channels, STEM, blocks, nonlinearity, slope, out)

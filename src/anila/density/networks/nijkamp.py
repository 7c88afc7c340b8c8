"""The three networks of Nijkamp et al. 2020, "On the anatomy of MCMC-based maximum likelihood learning".

`toy` for the plane (10,593 parameters), `vanilla` (693,569) and `nonlocal_` (628,529) for 3 × 32 × 32 images. All are
plain stacks of convolutions or linear layers with leaky ReLU and no normalisation. STANLEY's five-convolution network
is `vanilla` with width 64 and slope 0.2.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from anila.density.networks.activations import Nonlinearity, activation
from anila.density.networks.mlp import mlp, one_number
from anila.density.ranges import Count, NonNegative


def toy(dim: int = 2, slope: NonNegative = 0.05, out: int = 1) -> nn.Sequential:
    """dim-32-64-64-64-out with leaky ReLU, (n, dim) -> (n,), or (n, out) for more than one output."""
    return mlp(dim, (32, 64, 64, 64), "leaky_relu", slope, out=out)


def vanilla(
    channels: int = 3,
    size: int = 32,
    width: Count = 32,
    nonlinearity: Nonlinearity = "leaky_relu",
    slope: NonNegative = 0.05,
    out: int = 1,
) -> nn.Sequential:
    """conv 3×3 (width), then 4×4 stride 2 with doubled width down to 4 × 4 pixels, then 4×4 valid to one number.

    Args:
        channels: Channels of the images.
        size: Height and width of the images, 4 · 2^k.
        width: Channels after the first convolution.
        nonlinearity: "leaky_relu", "relu", "silu" or "gelu".
        slope: Negative slope of leaky ReLU.
        out: Outputs per row: (n,) for one, (n, out) for more.

    Raises:
        ValueError: If size is not 4 · 2^k.
    """
    halvings = require_halvings(size)
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, 1, 1), activation(nonlinearity, slope)]
    for k in range(halvings):
        layers += [nn.Conv2d(width << k, width << (k + 1), 4, 2, 1), activation(nonlinearity, slope)]
    return nn.Sequential(*layers, nn.Conv2d(width << halvings, out, 4), one_number(out))


def nonlocal_(channels: int = 3, size: int = 32, slope: NonNegative = 0.05, out: int = 1) -> nn.Sequential:
    """Three 3×3 convolutions with max pooling, non-local blocks after the first two, and two linear layers.

    Args:
        channels: Channels of the images.
        size: Height and width of the images, a multiple of 8.
        slope: Negative slope of leaky ReLU.
        out: Outputs per row: (n,) for one, (n, out) for more.

    Raises:
        ValueError: If size is not a multiple of 8.
    """
    if size % 8:
        raise ValueError(f"the nonlocal network needs an image size that is a multiple of 8; got {size}")

    def stage(a: int, b: int) -> list[nn.Module]:
        return [nn.Conv2d(a, b, 3, 1, 1), nn.LeakyReLU(slope), nn.MaxPool2d(2)]

    layers = [*stage(channels, 32), NonLocal(32), *stage(32, 64), NonLocal(64), *stage(64, 128), nn.Flatten()]
    head = [nn.Linear(128 * (size // 8) ** 2, 256), nn.LeakyReLU(slope), nn.Linear(256, out), one_number(out)]
    return nn.Sequential(*layers, *head)


class NonLocal(nn.Module):
    """x + W softmax(θ(x)ᵀ φ(x)) g(x): attention over pixels (Wang et al. 2018, embedded Gaussian).

    φ and g are max-pooled by 2; W starts at zero, so the block starts as the identity.
    """

    def __init__(self, channels: int):
        super().__init__()
        inner = channels // 2
        self.theta, self.phi, self.g = (nn.Conv2d(channels, inner, 1) for _ in range(3))
        self.out = nn.Conv2d(inner, channels, 1)
        nn.init.zeros_(self.out.weight)
        assert self.out.bias is not None
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        n, _, h, w = x.shape
        theta = self.theta(x).flatten(2)
        phi = F.max_pool2d(self.phi(x), 2).flatten(2)
        g = F.max_pool2d(self.g(x), 2).flatten(2)
        weights = (theta.transpose(1, 2) @ phi).softmax(-1)
        return x + self.out((g @ weights.transpose(1, 2)).view(n, -1, h, w))


def require_halvings(size: int) -> int:
    """k with size = 4 · 2^k."""
    k = (size // 4).bit_length() - 1
    if k < 0 or size != 4 << k:
        raise ValueError(f"this network needs images of 4 · 2^k pixels a side (8, 16, 32, 64, …); got {size}")
    return k

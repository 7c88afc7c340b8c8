"""Wrappers of a network: a confining term and a temperature.

f(x) = net(x) − |x − c|²/(2 s²) has a Gaussian base measure.

A network of piecewise-linear units has a bounded gradient, so exp f may not be integrable and no chain on it need be
ergodic. With the confining term, Z is finite and the gradient points inwards far away (assumption H1 of Karimi, Xie &
Li 2023, section 4), provided the network grows more slowly than |x|².
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anila.density.rows import across


class Confined(nn.Module):
    """net(x) − |x − centre|²/(2 scale²).

    Args:
        net: Module (n, *event) -> (n,), or (n, classes) for a class-conditional one.
        scale: Standard deviation s of the base measure, in the units of x.
        centre: Its mean c, broadcast against one event.

    Raises:
        ValueError: If scale is not positive.
    """

    centre: Tensor

    def __init__(self, net: nn.Module, scale: float, centre: float | Tensor = 0.0):
        if not scale > 0:
            raise ValueError(f"the confining scale must be positive; got {scale!r}")
        super().__init__()
        self.net, self.scale = net, scale
        self.register_buffer("centre", torch.as_tensor(centre, dtype=torch.get_default_dtype()))

    def forward(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n *out"]:
        values = self.net(x)
        base = ((x - self.centre) / self.scale).square().flatten(1).sum(1) / 2
        return values - across(base, values)


class Tempered(nn.Module):
    """net(x) / temperature.

    Args:
        net: Module (n, *event) -> (n,), or (n, classes) for a class-conditional one.
        temperature: Positive; ε²/2 gives the anatomy study's f = −2F/ε².

    Raises:
        ValueError: If temperature is not positive.
    """

    def __init__(self, net: nn.Module, temperature: float):
        if not temperature > 0:
            raise ValueError(f"temperature must be positive; got {temperature!r}")
        super().__init__()
        self.net, self.temperature = net, temperature

    def forward(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n *out"]:
        return self.net(x) / self.temperature

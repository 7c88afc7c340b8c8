"""Spectral normalisation (Miyato et al. 2018): every weight W is used as W / σ(W), σ its largest singular value.

    u ← W v / |W v|,   v ← Wᵀ u / |Wᵀ u|,   σ = uᵀ W v          power iteration

A layer then stretches no distance by more than 1, and f none by more than the product over its layers. For a
convolution, W is the kernel as a matrix (out, in · height · width), which bounds the stretch by the root of the number
of windows that contain a pixel (3 for 3×3 at stride 1).

u and v start as the singular vectors of W and follow it as θ moves, with one iteration per call of `power_iteration`.
Evaluating f never moves them, not even in training mode: otherwise f would change from one step of a chain to the next,
and Metropolis ratios would be wrong. While θ changes fast they lag, and W / σ(W) stretches by somewhat more than 1.
They are buffers: part of the state dict, of averages and of copies.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.parametrize import is_parametrized, register_parametrization


class Normalised(nn.Module):
    """W -> W / (uᵀ W v), with u and v from the last `iterate`.

    Args:
        weight: The initial weight, (out, ...).
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Float[Tensor, "out *in"]):
        super().__init__()
        w = weight.detach().flatten(1)
        u = torch.linalg.eigh(w @ w.T)[1][:, -1]
        self.register_buffer("u", u)
        self.register_buffer("v", normalize(w.T @ u, dim=0))

    def forward(self, weight: Float[Tensor, "out *in"]) -> Float[Tensor, "out *in"]:
        return weight / (self.u @ weight.flatten(1) @ self.v)

    @torch.no_grad()
    def iterate(self, weight: Float[Tensor, "out *in"]) -> None:
        """One power iteration."""
        w = weight.flatten(1)
        self.u.copy_(normalize(w @ self.v, dim=0))
        self.v.copy_(normalize(w.T @ self.u, dim=0))


def spectral(net: nn.Module) -> nn.Module:
    """The network with every convolution and linear layer normalised.

    Args:
        net: Changed in place.

    Raises:
        ValueError: If a weight is all zero, and so has no singular vectors to follow.
    """
    for name, module in list(net.named_modules()):
        if isinstance(module, nn.Conv2d | nn.Linear):
            if not bool(module.weight.any()):
                raise ValueError(f"layer {name} starts at zero: W / σ(W) is 0/0 there; use another network")
            register_parametrization(module, "weight", Normalised(module.weight))
    return net


def power_iteration(net: nn.Module) -> None:
    """One power iteration for every normalised weight; call it after θ has moved."""
    for norm, weight in normalised(net):
        norm.iterate(weight)


def is_normalised(net: nn.Module) -> bool:
    """Whether any weight of the network is normalised."""
    return any(True for _ in normalised(net))


def normalised(net: nn.Module) -> Iterator[tuple[Normalised, Tensor]]:
    """Every normalisation in the network, with the weight that it divides."""
    for layer in net.modules():
        if is_parametrized(layer, "weight"):
            parametrization: Any = layer.parametrizations.weight  # pyright: ignore[reportAttributeAccessIssue]
            yield parametrization[0], parametrization.original

"""Spectral normalisation (Miyato et al. 2018): every weight W is used as W / σ(W), σ its largest singular value.

    u ← W v / |W v|,   v ← Wᵀ u / |Wᵀ u|,   σ ≈ uᵀ W v          power iteration

A layer then stretches no distance by more than 1, and f by no more than the product over its layers. For a
convolution W is the kernel as a matrix (out, in · height · width), which bounds the stretch by the root of how many
windows a pixel lies in (3 for 3×3 at stride 1).

torch moves u and v in every forward pass in training mode. f would then change from one step of a chain to the next,
so `spectral` leaves the network in evaluation mode, in which they rest, and `power_iteration` moves them once when θ
has moved. u and v are buffers: they are part of the state dict, of averages and of copies.
"""

from typing import Any

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized


def spectral(net: nn.Module) -> nn.Module:
    """The network with every convolution and linear layer normalised, in evaluation mode.

    Args:
        net: Changed in place; u and v start from torch's global generator.

    Raises:
        ValueError: If a weight is all zero, which has no direction to keep.
    """
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if not bool(module.weight.any()):
                raise ValueError(f"layer {name} starts at zero: W / σ(W) is 0/0 there; take another network")
            spectral_norm(module)
    return net.eval()


def power_iteration(net: nn.Module) -> None:
    """Move u and v of every normalised layer once, towards the singular vectors of its weight."""
    for layer in net.modules():
        if is_parametrized(layer, "weight"):
            norms: Any = layer.parametrizations
            mode = norms.training
            norms.train()
            layer.weight  # noqa: B018 (looking it up is what iterates)
            norms.train(mode)

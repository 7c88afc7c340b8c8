"""The net of an image run as data that JavaScript reads: its tensors in half precision, laid out as the page's layers.

An image is channel by channel within a pixel there, so tensors over pixels and channels are turned. A convolution is
(out, row, column, in); where it takes or gives squares of 2 × 2 pixels, those are (row, column, channel).
"""

import base64
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from anila.density.networks import NoiseConditional, UNet

MOST = 2_000_000
"""Parameters and moments above which a page would be too large, and too slow."""


def fits(f: nn.Module) -> TypeGuard[NoiseConditional]:
    """Whether the page can run this f: a U-Net over levels, of channels in fours and even sides, not too large."""
    if not (isinstance(f, NoiseConditional) and isinstance(f.net, UNet) and isinstance(f.adapter, UNet | None)):
        return False
    tensors = f.state_dict()
    widths = [len(t) for name, t in tensors.items() if name.endswith("conv1.bias")]
    halved = 2 ** (max(len(net.down) for net in (f.net, f.adapter) if net) + 1)
    in_fours = all(width % 4 == 0 for width in widths) and f.base.mean.shape[-1] % halved == 0
    return in_fours and sum(t.numel() for t in tensors.values()) <= MOST


def net_of(f: NoiseConditional) -> dict[str, Any]:
    """The levels, the shape of images, and every tensor as {shape, data}."""
    channels, side, _ = f.base.mean.shape
    tensors = {name: spelled(turned(name, t.detach().cpu(), channels)) for name, t in f.state_dict().items()}
    levels = {"lowest": f.lowest, "highest": f.highest, "finest": f.finest}
    return levels | {"channels": channels, "side": side, "tensors": tensors}


def turned(name: str, t: Tensor, channels: int) -> Tensor:
    """A tensor of torch's layout in the page's."""
    match name.split("."):
        case ["base", "mean"]:
            return t.permute(1, 2, 0)
        case ["base", "directions"]:
            return t.view(channels, *[int((len(t) / channels) ** 0.5)] * 2, -1).permute(1, 2, 0, 3).flatten(0, 2)
        case ["net" | "adapter", "stem", "weight"]:
            return by_square(t, channels, 1).permute(0, 2, 3, 1)
        case ["net" | "adapter", "head", "weight"]:
            return by_square(t, channels, 0).permute(0, 2, 3, 1)
        case ["net" | "adapter", "head", "bias"]:
            return by_square(t, channels, 0)
        case ["net" | "adapter", "halve", _, "weight"]:
            return t.permute(0, 2, 3, 1).flatten(1)
        case ["net" | "adapter", "enlarge", _, "weight"]:
            return t.permute(2, 3, 1, 0).flatten(0, 2)
        case [*_, "conv1" | "conv2", "weight"]:
            return t.permute(0, 2, 3, 1)
        case _:
            return t


def by_square(t: Tensor, channels: int, dim: int) -> Tensor:
    """Channels that stand for (channel, square) put in the order (square, channel)."""
    order = torch.arange(4 * channels).view(channels, 4).T.flatten()
    return t.index_select(dim, order)


def spelled(t: Tensor) -> dict[str, Any]:
    return {"shape": list(t.shape), "data": base64.b64encode(t.half().contiguous().numpy().tobytes()).decode()}

"""A network for points of a given shape: its constructor's signature says what it needs to know about that shape.

dim               the coordinates of a point; points of another shape are flattened
channels, size    square images
event_shape       any shape
out               outputs per row, one for each class
classes           number of classes with a density each (`HasClasses`), 0 for none; such a constructor has no `out`
"""

import math
from collections.abc import Callable
from inspect import signature
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

SHAPE = ("dim", "channels", "size", "event_shape", "out", "classes")
"""Arguments that are set by the data and not by settings."""

SEEN = 2000
"""Data points that a network sees before it learns, unless it asks for another number."""


@runtime_checkable
class Sees(Protocol):
    """A module that takes something from the data before learning, such as their moments, and keeps it in buffers.

    Its attribute `sees` is the largest number of points that it asks for, if `SEEN` are not enough. A `see` with an
    argument `of` is told the number of training points, ∞ if new ones are always drawn.
    """

    def see(self, x_data: Tensor, /) -> None:
        """Take it from these points, (n, *event)."""
        ...


def fitted(make: Callable[..., nn.Module], event_shape: tuple[int, ...], out: int = 1, **options: Any) -> nn.Module:
    """The network for points of this shape, (n, *event) -> (n,), or (n, out) if it gives one number per class.

    Args:
        make: A constructor, whose argument names say what it needs; see the module's docstring.
        event_shape: Shape of a point.
        out: Outputs per row.
        options: Other arguments of the constructor.

    Raises:
        ValueError: If it does not take points of this shape, or cannot give several outputs.

    >>> from anila.density.networks import mlp
    >>> import torch
    >>> fitted(mlp, (3, 4, 4), hidden=(8,))(torch.zeros(5, 3, 4, 4)).shape
    torch.Size([5])
    """
    takes = signature(make).parameters
    if "classes" in takes:
        options["classes"] = out if out > 1 else 0
    elif "out" in takes:
        options["out"] = out
    elif out > 1:
        raise ValueError("classes need a network with an argument out, its numbers per row; this one has none")
    if "event_shape" in takes:
        return make(event_shape=event_shape, **options)
    if "dim" in takes:
        net = make(dim=math.prod(event_shape), **options)
        return net if len(event_shape) == 1 else nn.Sequential(nn.Flatten(), net)
    if len(event_shape) != 3 or event_shape[1] != event_shape[2]:
        raise ValueError(
            f"it takes square images (channels, size, size); the data are {event_shape}; use network=mlp or change data"
        )
    return make(channels=event_shape[0], size=event_shape[1], **options)


def is_of_vectors(make: Callable[..., nn.Module]) -> bool:
    """Whether it takes a point as a vector of coordinates: then it is small, and fastest on one thread."""
    return "dim" in signature(make).parameters


def see(f: nn.Module, rows: Callable[[int], Tensor], of: int | float) -> None:
    """Show data to all modules of f that want to see some.

    Args:
        f: A network, possibly wrapped.
        rows: Number -> at most that many points, (n, *event), in random order.
        of: Number of training points; ∞ if new ones are always drawn.
    """
    for module in [module for module in f.modules() if isinstance(module, Sees)]:
        told = {"of": of} if "of" in signature(module.see).parameters else {}
        module.see(rows(getattr(module, "sees", SEEN)), **told)

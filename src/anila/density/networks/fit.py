"""A network for points of a shape: what it takes of that shape stands in its constructor's signature.

dim               the coordinates of a point; points of another shape are flattened
channels, size    square images
event_shape       any shape
out               numbers a row, for as many classes
classes           how many classes it is a density of each of (`HasClasses`), 0 for none; then it has no `out`
"""

import math
from collections.abc import Callable
from inspect import signature
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

SHAPE = ("dim", "channels", "size", "event_shape", "out", "classes")
"""Arguments that the data decide, not the settings."""

SEEN = 2000
"""Data points that a network sees before it learns, where it says no other number."""


@runtime_checkable
class Sees(Protocol):
    """A module that takes something from the data before it learns, such as their moments, and keeps it in buffers.

    Its attribute `sees` says how many points it asks for at most, where it is not enough to see `SEEN`. A `see` that
    takes `of` is told how many there are to learn from, ∞ where more are always drawn.
    """

    def see(self, x_data: Tensor, /) -> None:
        """Take it from these points, (n, *event)."""
        ...


def fitted(make: Callable[..., nn.Module], event_shape: tuple[int, ...], out: int = 1, **options: Any) -> nn.Module:
    """The network for points of this shape, (n, *event) -> (n,), or (n, out) where it gives a number a class.

    Args:
        make: A constructor, which says by the names of its arguments what it takes; see the module's page.
        event_shape: Shape of a point.
        out: Numbers a row.
        options: The constructor's other arguments.

    Raises:
        ValueError: If it does not take points of this shape, or gives one number only.

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
        raise ValueError("classes need a network that takes out, the numbers it gives a row; this one does not")
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
    """Whether it sees a point as a list of coordinates: then it is small, and quickest on one thread."""
    return "dim" in signature(make).parameters


def see(f: nn.Module, rows: Callable[[int], Tensor], of: int | float) -> None:
    """Show data to all that wants to see some in f.

    Args:
        f: A network, or what is put around one.
        rows: Makes at most so many points, (n, *event), in random order.
        of: How many there are; ∞ where more are always drawn.
    """
    for module in [module for module in f.modules() if isinstance(module, Sees)]:
        told = {"of": of} if "of" in signature(module.see).parameters else {}
        module.see(rows(getattr(module, "sees", SEEN)), **told)

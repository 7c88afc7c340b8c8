"""Variables of the C++ code: a chain's part of a tensor, and how an element of it is written."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx


class Unsupported(ValueError):
    """The step does not act row by row, or is not small."""


class Stored(NamedTuple):
    """A chain's numbers in a variable of the C++ function."""

    name: str
    view: Tensor
    """A tensor without data or axis of chains, whose strides and offset map an index to that of the variable."""

    def at(self, shape: Sequence[int], index: Sequence[str | None] | None = None) -> str:
        """The element that loops over this shape have reached, broadcast, or the one at this index of the view."""
        view = self.view.expand(tuple(shape)) if index is None else self.view
        where = [f"i{k}" for k in range(len(shape))] if index is None else index
        axes = [(i, s) for i, s, d in zip(where, view.stride(), view.shape, strict=True) if i and s and d > 1]
        terms = [i if s == 1 else f"({i}) * {s}" if " " in i else f"{i} * {s}" for i, s in axes]
        offset = self.view.storage_offset()
        return f"{self.name}[{' + '.join([*terms, *[str(offset)] * (not terms or offset > 0)])}]"


class Formula(NamedTuple):
    """Arithmetic that is written where its result is read."""

    text: str
    shape: torch.Size

    def at(self, _: Sequence[int]) -> str:
        return f"({self.text})"


def on_meta(node: fx.Node, *args: Any) -> Tensor:
    """The result of a node's operation for these arguments, without data."""
    return node.target(*args, **node.kwargs)  # pyright: ignore[reportCallIssue, reportReturnType]


def value_of(node: Any) -> Any:
    """The value that a node had in the trace."""
    return node.meta["val"]


def kind(node: Any) -> str:
    """Whether a variable holds numbers or truth values."""
    return "M" if value_of(node).dtype is torch.bool else "V"


def rounds(before: Any, after: Any) -> bool:
    """Whether a conversion loses precision."""
    a, b = value_of(before).dtype, value_of(after).dtype
    return a.is_floating_point and not (b.is_floating_point and b.itemsize >= a.itemsize)


def constant(node: Any, text: str) -> str:
    """A value that depends on no chain, broadcast to a vector."""
    return f"(all<V>({text}) != 0)" if kind(node) == "M" else f"all<V>({text})"


def number(x: float | int) -> str:
    """A number as C++ writes it."""
    if math.isnan(x):
        return 'all<V>(__builtin_nan(""))'
    return f"all<V>({'-' * (x < 0)}__builtin_inf())" if math.isinf(x) else f"all<V>({x!r})"


def blank(shape: Sequence[int]) -> Tensor:
    """The view of a variable of this shape."""
    return torch.empty(tuple(shape), device="meta")


def over(shape: Sequence[int], line: str) -> list[str]:
    """The line for every element of this shape."""
    if 0 in shape:
        return []
    return [" ".join([*(f"for (int i{k} = 0; i{k} < {d}; i{k}++)" for k, d in enumerate(shape) if d > 1), line])]

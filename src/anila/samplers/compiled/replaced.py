"""Replaced: operations for which simpler ones are traced instead."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

aten = torch.ops.aten


def bias_apart(bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Add the bias together with the non-linearity, not in the matrix product."""
    product = a @ b if alpha == 1 else alpha * (a @ b)
    return product + (bias if beta == 1 else beta * bias)


def slices(x: Tensor, sizes: Sequence[int], dim: int = 0) -> list[Tensor]:
    """The parts of a split as single slices, since the C++ has no lists of tensors."""
    ends = accumulate(sizes)
    return [x.narrow(dim, end - size, size) for size, end in zip(sizes, ends, strict=True)]


REPLACED = {aten.addmm.default: bias_apart, aten.split_with_sizes.default: slices}

"""Replaced: operations in whose place simpler ones are traced."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

aten = torch.ops.aten


def bias_apart(bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Bias is added with the non-linearity, not by the matrix product."""
    product = a @ b if alpha == 1 else alpha * (a @ b)
    return product + (bias if beta == 1 else beta * bias)


def slices(x: Tensor, sizes: Sequence[int], dim: int = 0) -> list[Tensor]:
    """The parts of a tensor one by one, where a split gives them all at once: C++ has no such list."""
    ends = accumulate(sizes)
    return [x.narrow(dim, end - size, size) for size, end in zip(sizes, ends, strict=True)]


REPLACED = {aten.addmm.default: bias_apart, aten.split_with_sizes.default: slices}

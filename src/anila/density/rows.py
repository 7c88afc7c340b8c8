"""Rows of a batch, (rows, *event): a number for each, and which of them are finite."""

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor


def across(numbers: Shaped[Tensor, "rows"], like: Shaped[Tensor, "rows *event"]) -> Shaped[Tensor, "rows *ones"]:
    """A number per row, shaped to broadcast with `like`."""
    return numbers.view(-1, *[1] * (like.ndim - 1))


def finite_rows(x: Shaped[Tensor, "rows *event"]) -> Bool[Tensor, "rows"]:
    """Which rows are finite throughout."""
    return torch.isfinite(x).flatten(1).all(1)

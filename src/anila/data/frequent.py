"""Frequent values of a column, such as 40% zeros, in the draws of a net.

A net is a density, so its draws lie near such a value v but almost never at it. The draws nearest to v are set to v,
with the same frequency as in the column:

    x ← v  where |x − v| ≤ w           w such that P(|x − v| ≤ w) = p_v under the net, p_v the share of cells at v

w does not depend on the other cells. So a cell is set to v with the probability that the net gives to values near v,
given the other cells.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from anila.data.encoding import Encoding


class Near(NamedTuple):
    """The widths within which draws are set to the frequent values of a column."""

    coordinate: int
    values: Float[Tensor, "k"]
    widths: Float[Tensor, "k"]


def near_frequent(encoding: Encoding, x: Float[Tensor, "n d"]) -> list[Near]:
    """The widths with which draws have the frequent values of each column as often as its cells do.

    Args:
        encoding: Encoding of the columns.
        x: Draws.
    """
    found = []
    for column, at in zip(encoding.columns, encoding.slices.values(), strict=True):
        if column.shares and column.mean:
            values = x.new_tensor([(value - column.mean[0]) / column.scale for value in column.frequent])
            found.append(Near(at.start, values, widths(x[:, at.start], values, column.shares)))
    return found


def widths(cells: Float[Tensor, "n"], values: Float[Tensor, "k"], shares: tuple[float, ...]) -> Float[Tensor, "k"]:
    """w of each value, from the cells nearest to it; −1 if it gets none.

    >>> widths(torch.tensor([0.1, -0.2, 0.6, 5.0]), torch.tensor([0.0, 4.0]), (0.5, 0.0)).tolist()
    [0.20000000298023224, -1.0]
    """
    apart, which = nearest(cells, values)
    found = []
    for k, share in enumerate(shares):
        own = apart[which == k].sort().values
        wanted = min(len(own), round(share * len(cells)))
        found.append(own[wanted - 1] if wanted else own.new_tensor(-1.0))
    return torch.stack(found)


def nearest(cells: Float[Tensor, "n"], values: Float[Tensor, "k"]) -> tuple[Float[Tensor, "n"], Int[Tensor, "n"]]:
    """The distance of each cell from the nearest value, and the index of that value."""
    apart, which = (cells[:, None] - values).abs().min(1)
    return apart, which


def at_frequent(x: Float[Tensor, "n *event"], near: list[Near]) -> Float[Tensor, "n *event"]:
    """Draws set to frequent values if near enough; draws that are not table rows are left as they are."""
    x = x.clone() if near else x
    for coordinate, values, width in near:
        apart, which = nearest(x[:, coordinate], values)
        x[:, coordinate] = torch.where(apart <= width[which], values[which], x[:, coordinate])
    return x

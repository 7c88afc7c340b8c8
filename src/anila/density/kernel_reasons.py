"""Why a row is odd: the few cells that make it ordinary once likely values replace them.

    likely  = E[x_C | x_R]                    C: the replaced cells, R: the rest of the row
    share_j = (score before − score after)/score of the row, when cell j joins C

C grows by the cell that lowers the score most, until most of the score is gone. The cells that denoising moves would be
the wrong ones: given an odd cell, the kernel looks for rows with a similar cell, and moves the cells that are right.

Reference: Wachter, Mittelstadt & Russell 2018 (the nearest change that gives another verdict).
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anila.density.kernel_energy import KernelEnergy, Own

MOST, CARRIED, LEAST = 3, 0.8, 0.05
"""Most cells replaced; the share of the score that is enough, and the share that a cell must carry to be named."""
TRIED = 12
"""Columns tried: this many in which the row is far from the mean, and as many in which denoising moves it far."""


class Reasons(NamedTuple):
    """The cells that make each row odd, and likely values for them."""

    share: Float[Tensor, "rows d"]
    """Each cell's share of the score; 0 if it is not named."""
    likely: Float[Tensor, "rows d"]
    """Likely values of the cells that are named; NaN elsewhere."""


def reasons(
    energy: KernelEnergy, x: Float[Tensor, "rows d"], own: Own, cell: Int[Tensor, "d"] | None = None
) -> Reasons:
    """The cells that carry each row's score, and their means given the rest of the row.

    Args:
        energy: The kernel energy, in standard deviations of the columns.
        x: Rows, (rows, d), NaN where a cell is missing.
        own: The centres that are the rows themselves.
        cell: Number of the cell to which each coordinate belongs; by default each is its own.
    """
    cell = torch.arange(x.shape[1]).to(x.device) if cell is None else cell
    share, likely = torch.zeros_like(x), torch.full_like(x, torch.nan)
    score = energy.oddness(x, own)
    columns, before = candidates(energy, x, own), score.clone()
    for _ in range(MOST):
        tried, after = replacements(energy, x, own, columns, named(share, cell), cell)
        best = after.argmin(1, keepdim=True)
        column = columns.gather(1, best)
        gain = ((before - after.gather(1, best)[:, 0]) / score).nan_to_num(0.0)
        better = (gain > LEAST) & (share.sum(1) < CARRIED)
        share.scatter_add_(1, column, torch.where(better, gain, 0.0)[:, None])
        chosen = tried.gather(1, best[..., None].expand(-1, 1, x.shape[1]))[:, 0]
        likely = torch.where(better[:, None], chosen.masked_fill(~named(share, cell), torch.nan), likely)
        before = torch.where(better, after.amin(1), before)
    return Reasons(share, likely)


def candidates(energy: KernelEnergy, x: Float[Tensor, "rows d"], own: Own) -> Int[Tensor, "rows tried"]:
    """The columns that are tried for each row; all of them if they are few."""
    k = min(TRIED, x.shape[1])
    moved = (x - energy.denoised(x, own)).abs().nan_to_num(-1.0)
    return torch.cat([moved.topk(k).indices, x.abs().nan_to_num(-1.0).topk(k).indices], 1)


def named(share: Float[Tensor, "rows d"], cell: Int[Tensor, "d"]) -> Bool[Tensor, "rows d"]:
    """All coordinates of cells in which some coordinate has a share."""
    return ((share > 0).to(share) @ (cell[:, None] == cell).to(share)) > 0


def replacements(
    energy: KernelEnergy,
    x: Float[Tensor, "rows d"],
    own: Own,
    columns: Int[Tensor, "rows tried"],
    before: Bool[Tensor, "rows d"],
    cell: Int[Tensor, "d"],
) -> tuple[Float[Tensor, "rows tried d"], Float[Tensor, "rows tried"]]:
    """Each row with one more cell replaced than before, and its score then; missing cells stay missing."""
    n, tried = columns.shape
    hidden = (cell[columns][..., None] == cell) | before[:, None]
    rows, many = x.repeat_interleave(tried, 0), Own(*(part.repeat_interleave(tried, 0) for part in own))
    filled = energy.expected(rows.masked_fill(hidden.flatten(0, 1), torch.nan), many)
    filled = filled.masked_fill(rows.isnan(), torch.nan)
    return filled.unflatten(0, (n, tried)), energy.oddness(filled, many).unflatten(0, (n, tried))

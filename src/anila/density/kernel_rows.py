"""Rows of a table as centres of a kernel energy: equal rows are one centre, and a row that is a centre is recognised.

A training row is scored by the others: one copy of it is left out. A new row that equals a training row is scored in
the same way.

The scores of ordinary rows, with which others are compared, come from cross-validation: the rows are divided into
folds, and those of a fold are scored by the rows outside it, in standard deviations of these. Fewer rows give higher
scores, so guarantees about new rows hold and are slightly conservative.

All rows are centres as long as rows² ≤ 10⁹ (31,622 rows); of more rows, 10⁹/rows random ones are, at least 5,000.

Rows that may contain anomalies are trimmed: the sparsest are not used as centres. If at most a share t of n rows are
anomalies, the sparsity of a row is its mean squared distance to the t n nearest rows, at least 50: no cluster of
anomalies is that large, however dense it is. This is done three times, each time with the rows left before.

References: Stone 1974 (cross-validation); Vovk 2015, "Cross-conformal predictors"; Chazal, Cohen-Steiner & Mérigot 2011
(the mean of squares, as the distance to a measure); Hadi & Luceño 1997 (trimming).
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from anila.density.kernel_energy import PAIRS, KernelEnergy, Own
from anila.rng import rng

FOLDS = 10
NEIGHBOURS, ROUNDS = 50, 3
COMPARED = 2_000
"""Most rows that serve as neighbours for all."""
ROWS_BY_CENTRES, FEWEST = 10**9, 5_000
"""Rows times centres of a large table, and its smallest number of centres."""
CELLS = 2**24
"""Number of cells that are compared at once: 16 MiB."""


class Centres:
    """The distinct rows of a table, how often each occurs, and which of them a given row is.

    Args:
        rows: Rows, (n, d).
        counts: How often each row counts, (n,); once by default.

    Attributes:
        distinct: The distinct rows, in the order of their first occurrence, (m, d).
        counts: How often each occurs, (m,).
    """

    def __init__(self, rows: Float[Tensor, "n d"], counts: Float[Tensor, "n"] | None = None):
        self.place: dict[bytes, int] = {}
        index = torch.tensor([self.place.setdefault(key, len(self.place)) for key in keys(rows)])
        first = torch.full((len(self.place),), len(rows)).scatter_reduce(0, index, torch.arange(len(rows)), "amin")
        self.distinct = rows[first.to(rows.device)]
        self.counts = index.bincount(None if counts is None else counts.cpu()).to(rows)

    def own(self, x: Float[Tensor, "rows d"]) -> Own:
        """The centre that equals each row, one copy of which is left out; none if no centre does, or it is the only
        one.

        A row with missing cells, NaN, matches the first centre with the same other cells, whose own cells may be filled
        in.
        """
        found = torch.tensor([self.place.get(key, -1) for key in keys(x)], dtype=torch.int64).to(x.device)
        torn = (x.isnan().any(1) & (found < 0)).nonzero()[:, 0]
        for rows in torn.split(max(1, CELLS // self.distinct.numel())):
            same = ((x[rows, None] == self.distinct) | x[rows, None].isnan()).all(2)
            found[rows] = torch.where(same.any(1), same.int().argmax(1), -1)
        known = (found >= 0) & (self.counts.sum() > 1)
        return Own(found.clamp(min=0), known.to(self.counts))


def centres_of(n: int) -> int:
    """The number of centres among n rows."""
    return min(n, max(FEWEST, ROWS_BY_CENTRES // n))


def keys(rows: Float[Tensor, "rows d"]) -> list[bytes]:
    """The bytes of each row, with −0 as 0."""
    return [row.tobytes() for row in (rows + 0.0).cpu().numpy()]


def cross_validated(
    rows: Float[Tensor, "n d"],
    centres: Int[Tensor, "some"],
    bandwidth: float,
    most: int,
    generator: torch.Generator,
) -> Float[Tensor, "m"]:
    """Scores of up to `most` rows, each from rows of the other folds, sorted.

    Args:
        rows: Rows in random order.
        centres: Indices of those that are centres of the energy.
        bandwidth: h, in standard deviations of the columns.
        most: Largest number of rows that are scored: the last ones.
        generator: Source of the folds.
    """
    last = torch.arange(max(0, len(rows) - most), len(rows))
    fold = torch.randperm(len(last), generator=generator) % min(FOLDS, len(last))
    scores = [of_fold(rows, last[fold == k], centres, bandwidth) for k in range(int(fold.max()) + 1)]
    return torch.cat(scores).sort().values


def of_fold(
    rows: Float[Tensor, "n d"], judged: Int[Tensor, "m"], centres: Int[Tensor, "some"], bandwidth: float
) -> Float[Tensor, "m"]:
    """Scores of some rows, from the centres that are not among them."""
    others = torch.ones(len(rows), dtype=torch.bool)
    others[judged] = False
    sd = deviation(rows, others)
    known = Centres(rows[centres[others[centres]]] / sd)
    x = rows[judged] / sd
    return KernelEnergy(known.distinct, bandwidth, known.counts).oddness(x, known.own(x))


def deviation(rows: Float[Tensor, "n d"], others: Bool[Tensor, "n"]) -> Float[Tensor, "d"]:
    """Standard deviation of each column among the others, relative to that of all rows; 1 for a constant column.

    It is also 1 for columns of two values, as those of a category, whose coordinates share one scale.
    """
    share = rows[others].std(0, correction=0) / rows.std(0, correction=0)
    return torch.where((share > 0) & ~of_two_values(rows), share, 1.0)


def of_two_values(rows: Float[Tensor, "n d"]) -> Bool[Tensor, "d"]:
    """Which columns hold just two values, as those of categories do."""
    low, high = rows.amin(0), rows.amax(0)
    return ((rows == low) | (rows == high)).all(0) & (high > low)


def densest(rows: Float[Tensor, "n d"], trimmed: float) -> Int[Tensor, "m"]:
    """Indices of the rows that remain after the sparsest share `trimmed` is removed.

    Args:
        rows: Rows, (n, d), standardised; a missing cell, NaN, counts as the mean.
        trimmed: The share; 0 keeps all rows.
    """
    kept = torch.arange(len(rows))
    for turn in range(ROUNDS if trimmed else 0):
        if len(kept) < 3:
            break
        others = kept[torch.randperm(len(kept), generator=rng(turn, "neighbours"))[:COMPARED]]
        sparse = distance_from_crowd(rows.nan_to_num(0.0), others, max(NEIGHBOURS, round(trimmed * len(others))))
        kept = (sparse <= sparse.quantile(1 - trimmed)).nonzero()[:, 0].cpu()
    return kept


def distance_from_crowd(x: Float[Tensor, "n d"], others: Int[Tensor, "m"], k: int) -> Float[Tensor, "n"]:
    """Mean squared distance of each row from the k nearest of `others`, not counting itself."""
    others, k, found = others.to(x.device), min(k, len(others) - 1), []
    for rows in torch.arange(len(x), device=x.device).split(max(1, PAIRS // len(others))):
        apart = torch.cdist(x[rows], x[others]).masked_fill_(rows[:, None] == others, torch.inf)
        found.append(apart.topk(k, largest=False).values.square().mean(1))
    return torch.cat(found)

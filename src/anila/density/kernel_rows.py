"""Rows of a table as centres of a kernel energy: equal rows are one centre, and a row that is a centre is known again.

A row that was trained on is judged by the others: one copy of it does not count for it. A new row that is equal to one
of them is judged in the same way.

Scores of ordinary rows, which say how odd a score is, are made by cross-validation: the rows are divided into folds,
and those of a fold are judged by the rows that are not in it, in standard deviations of these. Fewer rows judge more
severely, so what is promised of the scores of new rows holds, a little on the safe side.

Centres are all rows as long as rows² ≤ 10⁹ (31,622 rows); of more rows 10⁹/rows are drawn at random, at least 5,000.

Rows that anomalies may be among are trimmed: those that lie sparsest are no centres. Where up to a share t of n rows
are anomalies, how sparse a row lies is its mean squared distance from the t n nearest, at least 50: no crowd of
anomalies is as many, however dense it is. This is done three times, each by what was left before.

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
"""Rows at most that stand for all as neighbours."""
ROWS_BY_CENTRES, FEWEST = 10**9, 5_000
"""Rows times centres of a large table; its centres at least."""
CELLS = 2**24
"""Cells of rows and centres that are compared at once: 16 MiB."""


class Centres:
    """The different ones of some rows, how often each is there, and which of them a row is.

    Args:
        rows: Rows, (n, d).
        counts: How often each counts, (n,); once by default.

    Attributes:
        distinct: The different rows, in the order of their first places, (m, d).
        counts: How often each is there, (m,).
    """

    def __init__(self, rows: Float[Tensor, "n d"], counts: Float[Tensor, "n"] | None = None):
        self.place: dict[bytes, int] = {}
        index = torch.tensor([self.place.setdefault(key, len(self.place)) for key in keys(rows)])
        first = torch.full((len(self.place),), len(rows)).scatter_reduce(0, index, torch.arange(len(rows)), "amin")
        self.distinct = rows[first.to(rows.device)]
        self.counts = index.bincount(None if counts is None else counts.cpu()).to(rows)

    def own(self, x: Float[Tensor, "rows d"]) -> Own:
        """The centre that each row is, one copy of which does not count; none where it is none, or the only one.

        A row with missing cells, NaN, is the first centre that has its other cells: the centre's own may be filled in.
        """
        found = torch.tensor([self.place.get(key, -1) for key in keys(x)], dtype=torch.int64).to(x.device)
        torn = (x.isnan().any(1) & (found < 0)).nonzero()[:, 0]
        for rows in torn.split(max(1, CELLS // self.distinct.numel())):
            same = ((x[rows, None] == self.distinct) | x[rows, None].isnan()).all(2)
            found[rows] = torch.where(same.any(1), same.int().argmax(1), -1)
        known = (found >= 0) & (self.counts.sum() > 1)
        return Own(found.clamp(min=0), known.to(self.counts))


def centres_of(n: int) -> int:
    """How many of n rows are centres."""
    return min(n, max(FEWEST, ROWS_BY_CENTRES // n))


def keys(rows: Float[Tensor, "rows d"]) -> list[bytes]:
    """The bytes of each row; −0 is 0."""
    return [row.tobytes() for row in (rows + 0.0).cpu().numpy()]


def cross_validated(
    rows: Float[Tensor, "n d"],
    centres: Int[Tensor, "some"],
    bandwidth: float,
    most: int,
    generator: torch.Generator,
) -> Float[Tensor, "m"]:
    """Scores of up to `most` rows by the others, sorted.

    Args:
        rows: Rows in random order.
        centres: Which of them are those of the energy.
        bandwidth: h, in standard deviations of the columns.
        most: Rows that are judged, the last ones.
        generator: Source of the folds.
    """
    last = torch.arange(max(0, len(rows) - most), len(rows))
    fold = torch.randperm(len(last), generator=generator) % min(FOLDS, len(last))
    scores = [of_fold(rows, last[fold == k], centres, bandwidth) for k in range(int(fold.max()) + 1)]
    return torch.cat(scores).sort().values


def of_fold(
    rows: Float[Tensor, "n d"], judged: Int[Tensor, "m"], centres: Int[Tensor, "some"], bandwidth: float
) -> Float[Tensor, "m"]:
    """Scores of some rows by the centres that are not among them."""
    others = torch.ones(len(rows), dtype=torch.bool)
    others[judged] = False
    sd = deviation(rows, others)
    known = Centres(rows[centres[others[centres]]] / sd)
    x = rows[judged] / sd
    return KernelEnergy(known.distinct, bandwidth, known.counts).oddness(x, known.own(x))


def deviation(rows: Float[Tensor, "n d"], others: Bool[Tensor, "n"]) -> Float[Tensor, "d"]:
    """Of each column among the others, as a share of that among all rows; 1 where nothing varies.

    It is 1 of two values, too: those of a category, whose coordinates have one scale together.
    """
    share = rows[others].std(0, correction=0) / rows.std(0, correction=0)
    return torch.where((share > 0) & ~of_two_values(rows), share, 1.0)


def of_two_values(rows: Float[Tensor, "n d"]) -> Bool[Tensor, "d"]:
    """Which columns hold two values, as those of categories."""
    low, high = rows.amin(0), rows.amax(0)
    return ((rows == low) | (rows == high)).all(0) & (high > low)


def densest(rows: Float[Tensor, "n d"], trimmed: float) -> Int[Tensor, "m"]:
    """Which rows are left without the share `trimmed` that lies sparsest.

    Args:
        rows: Rows, (n, d), standardised; a missing cell, NaN, counts as the mean.
        trimmed: A share; 0 leaves all.
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
    """Mean squared distance of each row from the k nearest of some others of them, itself apart."""
    others, k, found = others.to(x.device), min(k, len(others) - 1), []
    for rows in torch.arange(len(x), device=x.device).split(max(1, PAIRS // len(others))):
        apart = torch.cdist(x[rows], x[others]).masked_fill_(rows[:, None] == others, torch.inf)
        found.append(apart.topk(k, largest=False).values.square().mean(1))
    return torch.cat(found)

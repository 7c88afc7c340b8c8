"""Whether two sets of rows follow one law: tests on single columns, on pairs of columns, and on all columns at once.

    marginals      max over columns j of sup_t |F_x,j(t) − F_y,j(t)|
    correlations   max over pairs of columns of |r_x − r_y|, r: rank correlation
    told apart     share of rows for which most of the 5 nearest others are from their own set; ½ by chance

Cells are replaced by their ranks among both sets, so units and outliers do not matter. Each test has a permutation
p-value, exact with any ties: p = (1 + #{random divisions with a difference as large})/(1 + divisions).

References: Kolmogorov 1933 and Smirnov 1939 (marginals); Schilling 1986 and Lopez-Paz & Oquab 2017 (told apart).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NEIGHBOURS, DIVISIONS = 5, 199
PAIRED = 100
"""Largest number of columns of which all pairs are compared."""

Statistic = Callable[[Bool[Tensor, "n"]], Tensor]
"""Mask of the rows of the first set -> how much the sets differ, (parts,)."""


class Difference(NamedTuple):
    """How much two sets differ."""

    value: float
    p: float
    """Probability of a difference this large if both follow one law."""
    where: int
    """The part that differs most: a column, or a pair i d + j."""


class Differences(NamedTuple):
    """How much two sets of rows differ, by the three tests."""

    marginals: Difference
    correlations: Difference
    told_apart: Difference


def two_samples(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], generator: torch.Generator) -> Differences:
    """The three tests.

    Args:
        x: One set of rows, (n, d).
        y: Another set of equally many, (n, d).
        generator: Source of the divisions, and of the columns whose pairs are compared if there are over 100.

    Raises:
        ValueError: If the shapes differ, or there are fewer than 10 rows.

    >>> from anila.rng import rng
    >>> x, y = torch.randn(2, 50, 3, generator=rng(0, "rows")).unbind()
    >>> [d.p > 0.05 for d in two_samples(x, y, rng(0, "divisions"))]
    [True, True, True]
    >>> [d.p for d in two_samples(x, y + 2, rng(0, "divisions"))][::2]
    [0.005, 0.005]
    """
    if x.shape != y.shape or len(x) < 2 * NEIGHBOURS:
        raise ValueError(
            f"expected two sets of the same shape, of at least {2 * NEIGHBOURS} rows; got {tuple(x.shape)}, "
            f"{tuple(y.shape)}"
        )
    both = torch.cat([x, y]).double()
    first = torch.arange(len(both)) < len(x)
    divisions = [first[torch.randperm(len(both), generator=generator)] for _ in range(DIVISIONS)]
    columns = torch.randperm(x.shape[1], generator=generator)[:PAIRED].sort().values
    tests = (marginals(both), correlations(both, columns), told_apart(both))
    return Differences(*(tested(statistic, first, divisions) for statistic in tests))


def tested(statistic: Statistic, first: Bool[Tensor, "n"], divisions: list[Bool[Tensor, "n"]]) -> Difference:
    """The largest part, and its p-value from random divisions."""
    value, where = statistic(first).max(0)
    larger = sum(bool(statistic(division).max() >= value - 1e-12) for division in divisions)
    return Difference(value.item(), (1 + larger) / (1 + len(divisions)), int(where))


def marginals(rows: Float[Tensor, "n d"]) -> Statistic:
    """sup_t |F_x(t) − F_y(t)| of each column."""
    cells, order = rows.sort(0)
    last = torch.cat([cells[1:] > cells[:-1], torch.ones_like(cells[:1], dtype=torch.bool)])

    def statistic(first: Bool[Tensor, "n"]) -> Tensor:
        step = torch.where(first, 1 / first.sum(), -1 / (~first).sum())
        return (step[order].cumsum(0).abs() * last).amax(0)

    return statistic


def correlations(rows: Float[Tensor, "n d"], columns: Int[Tensor, "some"]) -> Statistic:
    """|r_x − r_y| of each pair of these columns, at i d + j; 0 for a constant column."""
    r, d = ranks(rows[:, columns]), rows.shape[1]
    i, j = torch.triu_indices(len(columns), len(columns), 1)

    def statistic(first: Bool[Tensor, "n"]) -> Tensor:
        found = torch.zeros(d * d)
        apart = correlation(r[first]) - correlation(r[~first])
        found[columns[i] * d + columns[j]] = apart[i, j].abs().float()
        return found

    return statistic


def correlation(r: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    z = r - r.mean(0)
    return (z.T @ z) / (z.norm(dim=0).clamp(min=1e-9)[:, None] * z.norm(dim=0).clamp(min=1e-9))


def told_apart(rows: Float[Tensor, "n d"]) -> Statistic:
    """The share of rows for which most of the nearest others are from their own set."""
    r = ranks(rows)
    distance = torch.cdist(r, r)
    near = distance.fill_diagonal_(torch.inf).topk(NEIGHBOURS, largest=False).indices

    def statistic(first: Bool[Tensor, "n"]) -> Tensor:
        most = 2 * first[near].sum(1) > NEIGHBOURS
        return (most == first).double().mean()[None]

    return statistic


def ranks(rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """For each cell, the mean of the shares of its column that are below it and not above it; equal for ties."""
    columns = rows.T.contiguous()
    ordered = columns.sort(1).values
    below = torch.searchsorted(ordered, columns) + torch.searchsorted(ordered, columns, right=True)
    return below.T / (2 * len(rows))

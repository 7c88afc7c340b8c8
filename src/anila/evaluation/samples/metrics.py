"""How far samples are from data: pure functions of arrays.

    W₂(x, y)² = min over permutations π of (1/n) Σᵢ |xᵢ − y_π(i)|²
    sliced W₂(x, y)² = mean over directions u, |u| = 1, of W₂(x·u, y·u)², which sorting solves
    mode mass mⱼ = share of the rows whose nearest centre is cⱼ
    total variation from equal = ½ Σⱼ |mⱼ − 1/k|

Rows that are not finite are refused: leave them out, and report how many they were.
"""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from anila.density.rows import finite_rows

LARGEST_ASSIGNMENT = 5000
"""Most rows of an assignment to solve: time grows as n³, memory as n² (about 15 s and 400 MB at 5,000)."""


def wasserstein2(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> float:
    """The exact 2-Wasserstein distance between two samples: √(min_π (1/n) Σᵢ |xᵢ − y_π(i)|²).

    Args:
        x: One sample, (n, d).
        y: Another of the same size, (n, d).

    Raises:
        ValueError: If the sizes differ, there are more than 5,000 rows, or a row is not finite.

    Reference: Peyré & Cuturi 2019, "Computational optimal transport", section 2.2.

    >>> x = torch.tensor([[0.0, 0.0], [5.0, 0.0]])
    >>> wasserstein2(x, x.flip(0) + 1.0) == 2**0.5
    True
    """
    from scipy.optimize import linear_sum_assignment

    if x.shape != y.shape:
        raise ValueError(f"expected two samples of the same shape (n, d); got {tuple(x.shape)} and {tuple(y.shape)}")
    if len(x) > LARGEST_ASSIGNMENT:
        raise ValueError(
            f"expected at most {LARGEST_ASSIGNMENT:,} rows, got {len(x):,}: the exact assignment takes time "
            "n³ and memory n²; compare subsamples of equal size"
        )
    cost = distances(x, y).square().numpy(force=True)
    return float(cost[linear_sum_assignment(cost)].mean() ** 0.5)


def sliced_wasserstein2(
    x: Float[Tensor, "n *event"], y: Float[Tensor, "m *event"], generator: torch.Generator, directions: int = 200
) -> float:
    """√(mean over random directions u of W₂(x·u, y·u)²): a substitute for `wasserstein2` if n or d is too large.

    It lies between 0 and W₂/√d (reached by a pure shift), and tells less the larger d: most directions see little.

    Args:
        x: One sample, (n, *event).
        y: Another of the same size, (n, *event).
        generator: Draws the directions, uniform on the sphere.
        directions: Number of directions; the relative error falls as 1/√directions.

    Raises:
        ValueError: If the shapes differ, directions is below 1, or a row is not finite.

    Reference: Bonneel et al. 2015, section 3.

    >>> from anila.rng import rng
    >>> x = torch.tensor([[0.0], [5.0]])
    >>> round(sliced_wasserstein2(x, x.flip(0) + 1.0, rng(0, "directions")), 12)
    1.0
    """
    if x.shape != y.shape or directions < 1:
        raise ValueError(
            f"expected two samples of the same shape and at least 1 direction; got {tuple(x.shape)}, {tuple(y.shape)} "
            f"and {directions}"
        )
    require_finite_rows(x)
    require_finite_rows(y)
    x, y = x.double().flatten(1), y.double().flatten(1)
    u = torch.randn(x.shape[1], directions, generator=generator, dtype=torch.float64, device=generator.device)
    u = (u / u.norm(dim=0)).to(x.device)
    squares = [((x @ part).sort(0).values - (y @ part).sort(0).values).square().mean(0) for part in u.split(16, 1)]
    return float(torch.cat(squares).mean().sqrt())


def mode_mass(x: Float[Tensor, "n d"], centres: Float[Tensor, "modes d"]) -> Float[Tensor, "modes"]:
    """Share of the rows nearest to each centre; sums to 1.

    Args:
        x: Points, (n, d).
        centres: Modes, (modes, d).

    Raises:
        ValueError: If a row is not finite.
    """
    return shares(distances(x, centres))


def ring_mass(x: Float[Tensor, "n d"], radii: Sequence[float]) -> Float[Tensor, "rings"]:
    """Share of the rows whose radius |x| is nearest to each of these; sums to 1.

    Args:
        x: Points, (n, d).
        radii: Radius of each ring.

    Raises:
        ValueError: If a row is not finite.
    """
    return shares(distances(x.double().norm(dim=1, keepdim=True), torch.tensor(radii)[:, None].to(x.device)))


def total_variation_from_equal(mass: Float[Tensor, "modes"]) -> float:
    """½ Σⱼ |mⱼ − 1/k|: 0 when all k modes hold the same mass, 1 − 1/k when one holds everything.

    Args:
        mass: Shares that sum to 1, (modes,).

    >>> total_variation_from_equal(torch.tensor([0.75, 0.25]))
    0.25
    """
    return float((mass.double() - 1 / len(mass)).abs().sum() / 2)


def nearest(
    x: Float[Tensor, "n *event"], chunks: Iterable[Float[Tensor, "_ *event"]]
) -> tuple[Int[Tensor, "n"], Float[Tensor, "n"]]:
    """The data row nearest to each row, argminⱼ |xᵢ − dⱼ|, and its distance; the first wins a tie.

    Args:
        x: Points or images, (n, *event).
        chunks: All rows of the data once, in chunks: `rows.chunks()` or `tensor.split(1024)`. Memory holds one chunk
            and n × chunk distances.

    Returns:
        Row numbers (n,), counted across chunks, and Euclidean distances (n,), float64.

    Raises:
        ValueError: If a row is not finite, or there are no data.
    """
    best = torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
    index, seen = torch.full((len(x),), -1, device=x.device), 0
    for chunk in chunks:
        distance, row = distances(x, chunk.to(x.device)).min(1)
        closer = distance < best
        best, index = torch.where(closer, distance, best), torch.where(closer, seen + row, index)
        seen += len(chunk)
    if not seen:
        raise ValueError("expected at least one row of data to look among, got none")
    return index, best


def distances(x: Float[Tensor, "n *event"], y: Float[Tensor, "m *event"]) -> Float[Tensor, "n m"]:
    """|xᵢ − yⱼ|, from differences, not from |x|² − 2 x·y + |y|²: a copy is at distance 0 exactly.

    Raises:
        ValueError: If a row is not finite.
    """
    require_finite_rows(x)
    require_finite_rows(y)
    x, y = x.double().flatten(1), y.double().flatten(1)
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def require_finite_rows(x: Float[Tensor, "n *event"]) -> None:
    """Refuse rows that are not finite."""
    bad = int((~finite_rows(x)).sum())
    if bad:
        raise ValueError(f"expected finite rows; {bad} of {len(x)} hold NaN or infinity: leave them out, and say so")


def shares(distance: Float[Tensor, "n k"]) -> Float[Tensor, "k"]:
    """Share of the rows whose smallest entry is in each column."""
    return torch.bincount(distance.argmin(1), minlength=distance.shape[1]).double() / len(distance)

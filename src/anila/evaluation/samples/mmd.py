"""Kernel distances: the squared maximum mean discrepancy between two samples, unbiased.

    MMD² = mean_{i≠j} k(xᵢ, xⱼ) + mean_{i≠j} k(yᵢ, yⱼ) − 2 mean_{ij} k(xᵢ, yⱼ)

Its expectation is 0 for equal laws, so an estimate may be negative: this means "no difference seen". The kernel decides
what is seen: `gaussian` sees all differences near its width, `cubic` the first three moments only. With `cubic` on
features, averaged over subsets, this is the kernel distance (KID for Inception's features).

Subsets are disjoint here, hence independent, so that sd/√subsets is the standard error. (Overlapping subsets, as in
most implementations, give an error that shrinks with their number for any sample.)

References: Gretton et al. 2012, Lemma 6; Bińkowski et al. 2018 (KID), section 4.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from anila.evaluation.samples.metrics import distances, require_finite_rows

CHUNK = 1024
"""Rows of a kernel matrix that are in memory at a time."""

Kernel = Callable[[Tensor, Tensor], Tensor]
"""k: (n, d), (m, d) -> (n, m)."""


class KernelDistance(NamedTuple):
    """An estimate with its standard error."""

    value: float
    error: float
    """Standard error of the value."""


def gaussian_kernel(width: float) -> Kernel:
    """k(x, y) = exp(−|x − y|²/(2 width²)), width in units of x."""
    if not 0 < width < math.inf:
        raise ValueError(f"width must be a positive number; got {width!r}")
    return lambda x, y: (distances(x, y).square() / (-2 * width**2)).exp()


def cubic_kernel(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    """k(x, y) = (x·y/d + 1)³, without rescaling: it depends on the units and on where 0 is."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def median_distance(x: Float[Tensor, "n *event"], y: Float[Tensor, "m *event"]) -> float:
    """The median of |xᵢ − yⱼ|: the usual width of a Gaussian kernel. Memory is n × m.

    Raises:
        ValueError: If a row is not finite.

    Reference: Gretton et al. 2012, section 8.
    """
    return float(distances(x, y).median())


def mmd_squared(x: Float[Tensor, "n *event"], y: Float[Tensor, "m *event"], kernel: Kernel) -> float:
    """MMD², unbiased: may be negative. Time grows as (n + m)², memory as n + m.

    Args:
        x: Points or features, (n, *event).
        y: Other points or features, (m, *event).
        kernel: k, e.g. `gaussian_kernel(median_distance(x, y))`; called in float64.

    Raises:
        ValueError: If a sample has fewer than two rows or a row is not finite.

    Reference: Gretton et al. 2012, eq. 3.

    >>> mmd_squared(torch.tensor([[0.0], [0.0]]), torch.tensor([[1.0], [1.0]]), cubic_kernel)
    7.0
    """
    require_finite_rows(x)
    require_finite_rows(y)
    if min(len(x), len(y)) < 2:
        raise ValueError(f"expected at least 2 rows of each sample; got {len(x)} and {len(y)}")
    x, y = x.flatten(1).double(), y.flatten(1).double()
    cross = sum(float(kernel(part, y).sum()) for part in x.split(CHUNK)) / (len(x) * len(y))
    return within(x, kernel) + within(y, kernel) - 2 * cross


def mmd_of_few(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"], kernel: Kernel = cubic_kernel) -> KernelDistance:
    """MMD² of few points x from many y, with the standard error due to the choice of x.

        hᵢ = mean_{j≠i} k(xᵢ, xⱼ) − mean_j k(xᵢ, yⱼ),     error = 2 sd(h)/√n

    Args:
        x: Points or features, (n, d), at least two.
        y: Other points, (m, d).
        kernel: k; called in float64.

    Raises:
        ValueError: As in `mmd_squared`.

    Reference: Gretton et al. 2012, Corollary 16 (the first term of the variance).
    """
    value = mmd_squared(x, y, kernel)
    x, y = x.double(), y.double()
    own = kernel(x, x)
    h = (own.sum(1) - own.diagonal()) / (len(x) - 1) - kernel(x, y).mean(1)
    return KernelDistance(value, 2 * float(h.std()) / math.sqrt(len(x)))


def within(x: Float[Tensor, "n d"], kernel: Kernel) -> float:
    """mean_{i≠j} k(xᵢ, xⱼ)."""
    rows = x.split(CHUNK)
    total = sum(float(kernel(part, x).sum()) for part in rows)
    own = sum(float(kernel(part, part).diagonal().sum()) for part in rows)
    return (total - own) / (len(x) * (len(x) - 1))


def kernel_distance(
    x: Float[Tensor, "n *event"],
    y: Float[Tensor, "m *event"],
    generator: torch.Generator,
    subset_size: int = 1000,
    kernel: Kernel = cubic_kernel,
) -> KernelDistance:
    """MMD² averaged over disjoint subsets, with its standard error.

    Args:
        x: Points or features, (n, *event).
        y: Other points or features, (m, *event).
        generator: Chooses the subsets.
        subset_size: Rows of each subset; there are min(n, m) // subset_size.
        kernel: (x·y/d + 1)³ by default.

    Raises:
        ValueError: If there are fewer than two subsets, or a row is not finite.

    Reference: Bińkowski et al. 2018, section 4 and appendix A.
    """
    subsets = min(len(x), len(y)) // subset_size if subset_size > 1 else 0
    if subsets < 2:
        raise ValueError(
            f"expected two or more subsets of {subset_size} rows, for an error; got {len(x)} and {len(y)} rows: lower "
            "subset_size to half of the fewer or less, at least 2"
        )
    parts = zip(disjoint(x, subset_size, generator), disjoint(y, subset_size, generator), strict=False)
    values = torch.tensor([mmd_squared(a, b, kernel) for a, b in parts], dtype=torch.float64)
    return KernelDistance(float(values.mean()), float(values.std() / math.sqrt(len(values))))


def disjoint(x: Tensor, size: int, generator: torch.Generator) -> list[Tensor]:
    """Disjoint random subsets of `size` rows; rows left over are dropped."""
    order = torch.randperm(len(x), generator=generator, device=generator.device).to(x.device)
    return [x[rows] for rows in order[: len(x) // size * size].split(size)]

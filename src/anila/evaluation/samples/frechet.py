"""Fréchet distance: the 2-Wasserstein distance between the normal laws with the moments of two samples, squared.

    d² = |μ_x − μ_y|² + tr(C_x) + tr(C_y) − 2 tr((C_x^½ C_y C_x^½)^½)

The last trace is the sum of the singular values of C_x^½ C_y^½. For Inception's features, and no others, this is the
FID: a distance is named after its features.

Moments are summed in float64 over blocks of 256 rows, whatever batches they come in, and blocks are joined by

    n ← n + k,   μ ← μ + k/n (m − μ),   S ← S + s + (n − k) k/n (m − μ)(m − μ)ᵀ

so the answer is bitwise the same for any batch size, and a large mean costs no digits.

**Where it misleads.** It sees two moments only. With n rows of d features it is too large by about d/n times the trace,
more for poorer samples: compare at equal n only. With n ≤ d the covariance is singular, and there is a warning.

References: Dowson & Landau 1982; Heusel et al. 2017 (FID); Chan, Golub & LeVeque 1983 (joining); Chong & Forsyth 2020
(bias).
"""

import warnings

import torch
from jaxtyping import Float
from torch import Tensor

from anila.evaluation.samples.metrics import require_finite_rows
from anila.messages import counted

BLOCK = 256
"""Number of rows summed at a time."""


class Moments:
    """Mean and covariance of rows that arrive in parts.

    >>> x = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    >>> one, many = Moments(), Moments()
    >>> one.add(x)
    >>> for part in x.split(7):
    ...     many.add(part)
    >>> bool((one.mean == many.mean).all() and (one.covariance == many.covariance).all()), many.count
    (True, 1000)
    """

    def __init__(self) -> None:
        self.joined: tuple[int, Tensor, Tensor] | None = None
        self.waiting: Tensor | None = None

    def __repr__(self) -> str:
        return f"<Moments: {counted(self.count, 'row')}>"

    @classmethod
    def of(cls, x: Float[Tensor, "n *event"]) -> "Moments":
        """The moments of one batch."""
        moments = cls()
        moments.add(x)
        return moments

    def add(self, x: Float[Tensor, "n *event"]) -> None:
        """Add more rows, (n, *event); events are flattened.

        Raises:
            ValueError: If a row is not finite, or differs in size from earlier rows.
        """
        require_finite_rows(x)
        rows = x.detach().flatten(1).double()
        if self.waiting is not None:
            if rows.shape[1] != self.waiting.shape[1]:
                raise ValueError(
                    f"expected rows of {counted(self.waiting.shape[1], 'number')} as before, got {rows.shape[1]}"
                )
            rows = torch.cat([self.waiting, rows])
        whole = len(rows) // BLOCK * BLOCK
        for start in range(0, whole, BLOCK):
            self.joined = join(self.joined, rows[start : start + BLOCK])
        self.waiting = rows[whole:].clone()

    @property
    def count(self) -> int:
        """Number of rows so far."""
        return (self.joined[0] if self.joined else 0) + (0 if self.waiting is None else len(self.waiting))

    @property
    def mean(self) -> Float[Tensor, "d"]:
        """μ, float64."""
        return self.total()[1]

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """S / (n − 1), float64."""
        n, _, scatter = self.total()
        return scatter / (n - 1)

    def total(self) -> tuple[int, Tensor, Tensor]:
        """n, μ and S of all rows.

        Raises:
            ValueError: If there are fewer than two.
        """
        if self.count < 2 or self.waiting is None:
            raise ValueError(f"expected at least 2 rows for a covariance, got {self.count}")
        return self.joined if self.joined and not len(self.waiting) else join(self.joined, self.waiting)


def join(total: tuple[int, Tensor, Tensor] | None, block: Tensor) -> tuple[int, Tensor, Tensor]:
    """n, μ and S after adding the rows of one block."""
    k, m = len(block), block.mean(0)
    s = (block - m).T @ (block - m)
    if total is None:
        return k, m, s
    before, mean, scatter = total
    n, apart = before + k, m - mean
    return n, mean + k / n * apart, scatter + s + before * k / n * torch.outer(apart, apart)


def frechet_distance(x: Float[Tensor, "n *event"] | Moments, y: Float[Tensor, "m *_event"] | Moments) -> float:
    """|μ_x − μ_y|² + tr(C_x + C_y) − 2 tr((C_x^½ C_y C_x^½)^½), in squared units of x.

    Args:
        x: Points or features, (n, *event), or their `Moments`.
        y: As x, with equally many numbers per row.

    Raises:
        ValueError: If a row is not finite, there are fewer than two, or the rows differ in size.

    Reference: Dowson & Landau 1982, eq. 16.

    >>> x = torch.tensor([[-1.0], [1.0]]).repeat(50, 1)
    >>> round(frechet_distance(x, 3 * x + 4) / (16 + 4 * 100 / 99), 12)
    1.0
    """
    a, b = (s if isinstance(s, Moments) else Moments.of(s) for s in (x, y))
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"expected rows of equal size; got {len(a.mean)} and {counted(len(b.mean), 'number')} per row")
    for moments in (a, b):
        warn_of_singular(moments)
    mean = (a.mean - b.mean).square().sum()
    overlap = torch.linalg.svdvals(root(a.covariance) @ root(b.covariance)).sum()
    return float(mean + a.covariance.trace() + b.covariance.trace() - 2 * overlap)


def root(C: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """C^½ of a covariance matrix."""
    values, vectors = torch.linalg.eigh(C)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def warn_of_singular(moments: Moments) -> None:
    """Warn if there are too few rows to see every direction."""
    if moments.count <= (d := len(moments.mean)):
        warnings.warn(
            f"{moments.count} rows of {d} numbers: their covariance is singular and the Fréchet distance much too "
            f"large; use more than {d} rows, many times more for a number that is comparable",
            RuntimeWarning,
            stacklevel=3,
        )

"""Metric: a preconditioner L from points and their gradients, with C = cov(x) and G = cov(∇f).

    dense     L Lᵀ = M with M G M = C        diagonal     Lᵢ = (var xᵢ / var ∂ᵢf)^¼

M makes L⁻¹x and Lᵀ∇f have the same covariance, and minimises the Fisher divergence. For a Gaussian it is exact from
points of *any* spread (∇f = −Σ⁻¹x, so M = Σ): chains need not have mixed, and the points of one path will do. With
fewer than 5 points per number of an event, C and G are both shrunk by 1e-5 towards the previous metric, so that a few
rounds find even scales too wide for so few points.

References: Seyboldt, Carlson & Carpenter 2025 (M, shrinkage); Titsias 2023 (metrics from gradients alone).
"""

import torch
from torch import Tensor

from anila.samplers.precondition import DENSE_LIMIT

ENOUGH = 5
"""Points per number of an event from which no shrinkage is needed."""
SHRINK = 1e-5
FEWEST = 10
"""Number of points below which a metric is diagonal."""


def improved(L: Tensor | None, x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """L times the metric found in the coordinates u = L⁻¹ x, shrunk towards L; and the gradients in the new units.

    Args:
        L: Preconditioner of the kernel that visited the points; None for the identity.
        x: Points, (points, *event).
        grad: Lᵀ ∇f there, as that kernel's state has it.
    """
    more = preconditioner(coordinates(L, x), grad, rough=True)
    if more.shape == x.shape[1:]:
        scaled = grad * more
        more = more if L is None or L.shape == more.shape else more.flatten().diag()
    else:
        scaled = (grad.flatten(1) @ more).view_as(grad)
    if L is None:
        return more, scaled
    if L.shape == x.shape[1:]:
        return L.flatten()[:, None] * more if more.shape != L.shape else L * more, scaled
    return (L.double() @ more.double()).to(L), scaled


def coordinates(L: Tensor | None, x: Tensor) -> Tensor:
    """u = L⁻¹ x, (points, *event)."""
    if L is None:
        return x
    if L.shape == x.shape[1:]:
        return x / L
    return torch.linalg.solve_triangular(L.double(), x.flatten(1).double().T, upper=False).T.view_as(x).to(x)


def preconditioner(x: Tensor, grad: Tensor, rough: bool = False) -> Tensor:
    """L from points and gradients: dense for at most 500 numbers and enough points, else diagonal.

    Args:
        x: Points, (points, *event).
        grad: ∇f there.
        rough: Whether to make a dense, shrunk one even from fewer than 5 points per number; try it before keeping it.
    """
    points, d = len(x), x[0].numel()
    x64, g64 = x.flatten(1).double(), grad.flatten(1).double()
    scale = (x64.var(0) / g64.var(0)) ** 0.25
    scale = torch.where(torch.isfinite(scale) & (scale > 0), scale, torch.ones_like(scale))
    finite = bool(torch.isfinite(x64).all() and torch.isfinite(g64).all())
    if d == 1 or d > DENSE_LIMIT or points < (FEWEST if rough else ENOUGH * d) or not finite:
        return scale.view(x.shape[1:]).to(x)
    C, G = (x64 / scale).T.cov(), (g64 * scale).T.cov()
    if points < ENOUGH * d:
        more = SHRINK * C.diagonal().mean() * torch.eye(d, dtype=C.dtype, device=C.device)
        C, G = C + more, G + more
    factor, failed = torch.linalg.cholesky_ex(between(C, G))
    good = not bool(failed) and bool(factor.isfinite().all())
    return (scale[:, None] * factor).to(x) if good else scale.view(x.shape[1:]).to(x)


def between(C: Tensor, G: Tensor) -> Tensor:
    """The symmetric positive M with M G M = C: G^(−½) (G^½ C G^½)^½ G^(−½), (d, d)."""
    root, inverse = power(G, 0.5), power(G, -0.5)
    return inverse @ power(root @ C @ root, 0.5) @ inverse


def power(A: Tensor, p: float) -> Tensor:
    """A^p of a symmetric matrix whose eigenvalues are lifted to 1e-12 of the largest."""
    values, vectors = torch.linalg.eigh((A + A.T) / 2)
    return (vectors * values.clamp(min=1e-12 * values.max()) ** p) @ vectors.T

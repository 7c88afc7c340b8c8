"""Funnel: one coordinate sets the scale of another, or how steep f is.

    r = corr(xᵢ, log sizeⱼ) within chains,     sizeⱼ = |xⱼ − median xⱼ|, or ‖∇f‖

and the size changes 10-fold between the 5% and the 95% of xᵢ.

Reference: Neal 2003, section 8.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

FUNNEL, BOTH, NECK = 0.5, 0.3, 10.0
"""|r| of a funnel; the |r| that suffices if f is also steeper where the scale is smaller, unlike by chance or in a
banana; and the factor by which the scale must change."""


def funnel(
    x: Float[Tensor, "kept chains coordinates"], names: list[str], grad_norm: Float[Tensor, "some chains"] | None
) -> tuple[str, str, float, float] | None:
    """The coordinate most correlated with a scale, which scale, the correlation within chains, and the scale's change.

    A law of a single number is never a funnel, however its slope changes.

    Args:
        x: Draws.
        names: Names of the coordinates.
        grad_norm: ‖∇f‖ at the first of the draws, if known.
    """
    x = x.double()
    if x.shape[2] < 2:
        return None
    r, times = regression(x, (x - x.median(0).values).abs())
    r, whose = r.fill_diagonal_(0.0), [f"the scale of {name}" for name in names]
    least = torch.full_like(r, FUNNEL)
    if grad_norm is not None and len(grad_norm):
        steep, more = regression(x[: len(grad_norm)], grad_norm.double()[..., None])
        least = torch.where((steep * r < 0) & (steep.abs() >= BOTH), BOTH, math.inf)
        r, times = torch.cat([r, steep], 1), torch.cat([times, more], 1)
        least, whose = torch.cat([least, torch.full_like(steep, FUNNEL)], 1), [*whose, "how steep f is"]
    share = torch.where(times >= NECK, r.abs() / least, 0.0)
    i, j = divmod(int(share.argmax()), r.shape[1])
    return (names[i], whose[j], r[i, j].item(), times[i, j].item()) if share[i, j] >= 1 else None


def regression(
    x: Float[Tensor, "kept chains a"], size: Float[Tensor, "kept chains b"]
) -> tuple[Float[Tensor, "a b"], Float[Tensor, "a b"]]:
    """r = corr(xᵢ, log sizeⱼ) within chains, 0 if one is constant, and sizeⱼ at the 95% of xᵢ over that at its 5%.

    The ratio is that of the regression line, exp(2 · 1.645 |r| sd(log sizeⱼ)).
    """
    size = size.clamp(min=1e-6 * size.mean((0, 1))).log()
    r = torch.einsum("kci,kcj->ij", standard(x), standard(size)).nan_to_num(0.0)
    return r, (3.29 * r.abs() * (size - size.mean(0)).square().mean((0, 1)).sqrt()).exp()


def standard(x: Tensor) -> Tensor:
    """Deviations from each chain's mean, scaled to a sum of squares of 1."""
    x = x - x.mean(0)
    return x / x.square().sum((0, 1)).sqrt()

"""Funnel: one coordinate sets the scale of another, or how steep f is.

    r = corr(xᵢ, log sizeⱼ) within chains,     sizeⱼ = |xⱼ − median xⱼ|, or ‖∇f‖

and the size changes 10-fold between the 5% and the 95% of xᵢ. It does so all along xᵢ. Modes of unequal width have
such an r as well, but their size only jumps from mode to mode: once the draws are cut where log size jumps most, it has
no slope left within the pieces.

Reference: Neal 2003, section 8.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

FUNNEL, BOTH, NECK = 0.5, 0.3, 10.0
"""|r| of a funnel; the |r| that suffices if f is also steeper where the scale is smaller, unlike by chance or in a
banana; and the factor by which the scale must change."""
CUTS, JUMP, LEFT = 3, 0.05, 0.25
"""Most cuts between modes, the least share of the variance of log size that a cut explains, and the share of the slope
that is left within the pieces of a funnel: at least 0.67 on exact draws and 0.46 on chains; of modes at most 0.16."""


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
    sizes = list(log((x - x.median(0).values).abs()).unbind(2))
    r, times = regression(x, torch.stack(sizes, 2))
    r, whose = r.fill_diagonal_(0.0), [f"the scale of {name}" for name in names]
    least = torch.full_like(r, FUNNEL)
    if grad_norm is not None and len(grad_norm):
        sizes.append(log(grad_norm.double()))
        steep, more = regression(x[: len(grad_norm)], sizes[-1][..., None])
        least = torch.where((steep * r < 0) & (steep.abs() >= BOTH), BOTH, torch.inf)
        r, times = torch.cat([r, steep], 1), torch.cat([times, more], 1)
        least, whose = torch.cat([least, torch.full_like(steep, FUNNEL)], 1), [*whose, "how steep f is"]
    share, which = torch.where(times >= NECK, r.abs() / least, 0.0).max(1)
    for i in share.argsort(descending=True).tolist():
        j = int(which[i])
        if share[i] >= 1 and gradual(x[: len(sizes[j]), :, i].flatten(), sizes[j].flatten()):
            return names[i], whose[j], r[i, j].item(), times[i, j].item()
    return None


def log(size: Float[Tensor, "kept chains *b"]) -> Float[Tensor, "kept chains *b"]:
    """log size, bounded below where a size is 0."""
    return size.clamp(min=1e-6 * size.mean((0, 1))).log()


def regression(
    x: Float[Tensor, "kept chains a"], log_size: Float[Tensor, "kept chains b"]
) -> tuple[Float[Tensor, "a b"], Float[Tensor, "a b"]]:
    """r = corr(xᵢ, log sizeⱼ) within chains, 0 if one is constant, and sizeⱼ at the 95% of xᵢ over that at its 5%.

    The ratio is that of the regression line, exp(2 · 1.645 |r| sd(log sizeⱼ)).
    """
    r = torch.einsum("kci,kcj->ij", standard(x), standard(log_size)).nan_to_num(0.0)
    return r, (3.29 * r.abs() * (log_size - log_size.mean(0)).square().mean((0, 1)).sqrt()).exp()


def standard(x: Tensor) -> Tensor:
    """Deviations from each chain's mean, scaled to a sum of squares of 1."""
    x = x - x.mean(0)
    return x / x.square().sum((0, 1)).sqrt()


def gradual(x: Float[Tensor, "n"], y: Float[Tensor, "n"]) -> bool:
    """Whether y changes all along x, as log size does in a funnel, and not only from one mode to the next."""
    order = x.argsort()
    x, y = x[order], y[order]
    ends, least = [0, len(x)], JUMP * scatter(y, y).item()
    for _ in range(CUTS):
        explained, at = max(jump(y, a, b) for a, b in pairwise(ends))
        if explained < least:
            break
        ends = sorted([*ends, at])
    pieces = [(x[a:b], y[a:b]) for a, b in pairwise(ends)]
    left = sum(scatter(u, v) for u, v in pieces) / sum(scatter(u, u) for u, _ in pieces)
    return bool(left * scatter(x, x) / scatter(x, y) >= LEFT)  # False where x is constant within the pieces


def jump(y: Float[Tensor, "n"], a: int, b: int) -> tuple[float, int]:
    """What a jump within y[a:b] can explain of its sum of squares, and where it is."""
    n = torch.arange(1, b - a, device=y.device)
    if not len(n):
        return 0.0, a
    below = (y[a:b] - y[a:b].mean()).cumsum(0)[:-1]
    explained, at = (below.square() * (b - a) / (n * (b - a - n))).max(0)
    return explained.item(), a + 1 + int(at)


def scatter(x: Float[Tensor, "n"], y: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """Σ (x − mean x)(y − mean y)."""
    return ((x - x.mean()) * (y - y.mean())).sum()

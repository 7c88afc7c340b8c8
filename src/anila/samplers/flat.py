"""Flat: chains walk ever further along a direction in which f hardly falls, as where a prior is missing.

    T = −E[w·C^−½ (x − m)  w·C^½ ∇f],  |w| = 1        1 for exp f, by Stein's identity, whatever m and C are

With C the covariance of the draws, T is 0 where f is flat along C^½ w, and small where exp f is far wider than the
draws. Half of the chains choose the w with the least T. The others show whether it is small, and whether w·C^−½ x
moves on.

Parameters of `transform` can go no further than floats do. An improper law such as 1/s on s > 0 fills their range, and
chains mix there.

Reference: Stein 1972.
"""

import torch
from jaxtyping import Float
from torch import Tensor

COLD, GROWN = 0.3, 1.2
"""T below which f hardly falls, and the growth of the squared distance from the first positions, from the first half of
the draws to the second, above which chains walk on."""
SHARE, NAMED = 0.5, 3
"""A coordinate is named if the direction has this share of its largest component, in sds; at most so many are."""
FULL, THERE = 0.75, 0.05
"""Power of the largest float beyond which, or under whose inverse, a number is at an end of the range of floats; share
of draws there above which they fill it."""
LEAST = 1e-12
"""Smallest variance along a principal direction, relative to the largest."""


def flat(x: Float[Tensor, "kept chains c"], grad: Float[Tensor, "kept chains c"], names: list[str]) -> str | None:
    """The names of coordinates along which chains walk on without end; None if there are none or under four chains.

    Args:
        x: Positions in the order in which they were visited, no coordinate constant.
        grad: ∇f there.
        names: Names of the coordinates.
    """
    if x.shape[1] < 4:
        return None
    sd = x.double().flatten(0, 1).std(0)
    z, slope = (x.double() - x.double().mean((0, 1))) / sd, grad.double() * sd
    variances, axes = torch.linalg.eigh(z.flatten(0, 1).T.cov().view(len(names), -1))
    root = variances.clamp(min=LEAST * variances[-1].item()).sqrt()
    u, v = z @ axes / root, slope @ axes * root
    half = u[:, ::2] - u[:, ::2].mean((0, 1))
    S = -torch.einsum("kci,kcj->ij", half, v[:, ::2]) / half[..., 0].numel()
    if not bool(torch.isfinite(S).all()):
        return None
    w = torch.linalg.eigh((S + S.T) / 2)[1][:, 0]
    along = u[:, 1::2] @ w
    T = -((along - along.mean()) * (v[:, 1::2] @ w)).mean()
    early, late = ((part - along[0].mean()).square().mean() for part in along.tensor_split(2))
    if not (T < COLD and late > GROWN * early):
        return None
    size = (axes * root @ w).abs()
    most = (size >= SHARE * size.max()).nonzero()[:, 0].tolist()
    return ", ".join(names[i] for i in most[:NAMED])


def filled(numbers: Float[Tensor, "kept chains c"], names: list[str]) -> str | None:
    """The numbers that fill the range of floats, and from where to where; None if none do."""
    size, most = numbers.abs().flatten(0, 1), torch.finfo(numbers.dtype).max ** FULL
    there = (size > most) | ((size > 0) & (size < 1 / most))
    which = (there.double().mean(0) > THERE).nonzero()[:, 0].tolist()
    return ", ".join(f"{names[i]} ({size[:, i].min():.1g} .. {size[:, i].max():.1g})" for i in which[:NAMED]) or None

"""Trajectories: how many leapfrog steps `tune` gives hmc, and how long momentum persists in ghmc.

    leapfrog_steps    the L of the largest  mean (|y − m|² − |x − m|²)² / √L,   y the point after a step from x
    persistence       2 sd of the widest direction

in the coordinates of the preconditioner, with m the mean of the points visited. The square is large if a step goes far
in the widest directions and does not come back. Divided by L, it would choose single leapfrog steps wherever a
preconditioner fits; on a logistic regression of 31 weights, two give 1.7 times the effective samples per gradient.

References: Hoffman, Radul & Sountsov 2021 (the square, ChEES); Wang, Mohamed & de Freitas 2013 (√L).
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anila.samplers.kernel import Sampler
from anila.samplers.metric import coordinates
from anila.samplers.precondition import DENSE_LIMIT

LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Numbers of leapfrog steps to try, up to the first that is half as good as the best so far."""
STEPS = 10
"""Steps made with each."""
WIDTHS = 2.0
"""Persistence of the momentum, in standard deviations."""


def best_length(
    make: Callable[..., Sampler], settings: dict[str, Any], x: Tensor, centre: Tensor, generator: torch.Generator
) -> int:
    """The number of leapfrog steps with which |x − m|² changes most relative to its cost.

    Args:
        make: Makes the kernel from its settings.
        settings: All but leapfrog_steps are kept.
        x: Where chains stand, (chains, *event).
        centre: m, (*event).
        generator: Source of the noise.
    """
    best, highest = 1, -math.inf
    for length in LENGTHS:
        kernel = make(**settings | {"leapfrog_steps": length})
        change = changed(kernel, settings.get("preconditioner"), x, centre, generator) / math.sqrt(length)
        if change > highest:
            best, highest = length, change
        if not change > highest / 2:
            break
    return best


def changed(kernel: Sampler, L: Tensor | None, x: Tensor, centre: Tensor, generator: torch.Generator) -> float:
    """Mean square change of |u − m|² per step, u = L⁻¹ x, over chains and a few steps."""
    state, squares = kernel.init(x), [square(L, x - centre)]
    for _ in range(STEPS):
        state, _ = kernel.step(state, kernel.draw_noise(state.x, generator))
        squares.append(square(L, state.x - centre))
    return torch.stack(squares).diff(dim=0).square().mean().item()


def square(L: Tensor | None, x: Tensor) -> Tensor:
    """|L⁻¹ x|², (chains,)."""
    return coordinates(L, x).flatten(1).double().square().sum(1)


def persistence(L: Tensor | None, points: Tensor) -> float:
    """Twice the standard deviation of the points along their widest direction; 0 or NaN if they have none."""
    u = coordinates(L, points).flatten(1).double()
    widest = torch.linalg.eigvalsh(u.T.cov())[-1] if 1 < u.shape[1] <= DENSE_LIMIT else u.var(0).max()
    return WIDTHS * widest.clamp(min=0).sqrt().item()

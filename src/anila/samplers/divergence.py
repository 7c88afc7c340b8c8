"""Divergences: proposals that fall so far that a step is too long for the curvature where it began.

A proposal diverges if its acceptance probability is below 1e-30: what is kept, f or the energy, fell by 69 nats, or is
not finite. Where they begin says which coordinate the steps do not fit: in a funnel, the one that sets the scale.

Reference: Betancourt 2017, "A conceptual introduction to Hamiltonian Monte Carlo", section 6.2.
"""

import torch
from torch import Tensor

from anila.messages import counted

DIVERGES = 1e-30


def began(x: Tensor, visited: Tensor, accept_prob: Tensor) -> Tensor:
    """Where the proposals began that diverged, (divergences, *event).

    Args:
        x: Where the chains start, (chains, *event).
        visited: Positions after each step, (steps, chains, *event).
        accept_prob: Of each step, (steps, chains).
    """
    return torch.cat([x[None], visited[:-1]])[accept_prob < DIVERGES]


def divergences_told(left: Tensor, proposals: int, points: Tensor) -> str:
    """How many proposals diverged, and the coordinate that is most unlike elsewhere where they began.

    Args:
        left: Where they began, (divergences, *event).
        proposals: Number of all.
        points: Positions visited, (points, *event).
    """
    if not len(left):
        return f"none of {counted(proposals, 'proposal')}"
    at, all_of_them = left.flatten(1).double().mean(0), points.flatten(1).double()
    mean, sd = all_of_them.mean(0), all_of_them.std(0)
    k = int(((at - mean) / sd).abs().nan_to_num().argmax())
    return (
        f"{len(left):,} of {counted(proposals, 'proposal')}, mostly where x{k} is about {at[k]:.3g} (all points: "
        f"{mean[k]:.3g} ± {sd[k]:.3g}): steps are too long there"
    )

"""Divergences: proposals that fall so far that a step is too long for the curvature where it began.

A proposal diverges if its acceptance probability is below 1e-30: what is kept, f or the energy, fell by 69 nats, or is
not finite. Where they begin says which coordinate the steps do not fit: in a funnel, the one that sets the scale.

Reference: Betancourt 2017, "A conceptual introduction to Hamiltonian Monte Carlo", section 6.2.
"""

import torch
from torch import Tensor

from anila.density.log_density import LogDensity
from anila.density.transform import Transformed
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


def next_accepted(accept_prob: Tensor) -> Tensor:
    """Acceptance probability of each step that follows a divergence of its chain, (divergences,).

    It starts from the same place by another momentum. If that was at fault, it is accepted as others are.

    Args:
        accept_prob: Of each step, (steps, chains).
    """
    return accept_prob[1:][accept_prob[:-1] < DIVERGES]


def divergences_told(left: Tensor, proposals: int, points: Tensor, f: LogDensity | None) -> str:
    """How many proposals diverged, and the parameter that is most unlike elsewhere where they began.

    Args:
        left: Where they began, (divergences, *event).
        proposals: Number of all.
        points: Positions visited, (points, *event).
        f: The log-density, which may have names for its parameters.
    """
    if not len(left):
        return f"none of {counted(proposals, 'proposal')}"
    at, all_of_them = numbers(left, f).mean(0), numbers(points, f)
    mean, sd = all_of_them.mean(0), all_of_them.std(0)
    k = int(((at - mean) / sd).abs().nan_to_num().argmax())
    name = f.names[k] if isinstance(f, Transformed) else f"x{k}"
    return (
        f"{len(left):,} of {counted(proposals, 'proposal')}, mostly where {name} is about {at[k]:.3g} "
        f"(all points: {mean[k]:.3g} ± {sd[k]:.3g}): steps are too long there"
    )


def numbers(x: Tensor, f: LogDensity | None) -> Tensor:
    """What has names: the parameters of points, or their coordinates, (points, numbers)."""
    return (f.numbers(x) if isinstance(f, Transformed) else x.flatten(1)).double()

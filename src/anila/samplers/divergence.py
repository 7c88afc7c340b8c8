"""Divergences: proposals that lose so much that the step was too long for the curvature where it began.

A proposal diverges if its acceptance probability is below 1e-30: its log-ratio is below −69 nats or not finite. The
points where divergences begin show which coordinate is at fault: in a funnel, the one that sets the scale.

Reference: Betancourt 2017, "A conceptual introduction to Hamiltonian Monte Carlo", section 6.2.
"""

import torch
from torch import Tensor

from anila.density.log_density import LogDensity
from anila.density.transform import Transformed
from anila.messages import counted

DIVERGES = 1e-30


def began(x: Tensor, visited: Tensor, accept_prob: Tensor) -> Tensor:
    """Starting points of the proposals that diverged, (divergences, *event).

    Args:
        x: Where the chains start, (chains, *event).
        visited: Positions after each step, (steps, chains, *event).
        accept_prob: Of each step, (steps, chains).
    """
    return torch.cat([x[None], visited[:-1]])[accept_prob < DIVERGES]


def next_accepted(accept_prob: Tensor) -> Tensor:
    """Acceptance probability of each step that follows a divergence of its chain, (divergences,).

    It starts from the same point with a new momentum. If the old one was at fault, it is accepted as often as others.

    Args:
        accept_prob: Of each step, (steps, chains).
    """
    return accept_prob[1:][accept_prob[:-1] < DIVERGES]


def divergences_told(left: Tensor, proposals: int, points: Tensor, f: LogDensity | None, outside: int = 0) -> str:
    """How many proposals diverged, and which parameter at their starting points differs most from its usual values.

    Args:
        left: Starting points of the diverging proposals, (divergences, *event).
        proposals: Number of all proposals.
        points: Positions visited, (points, *event).
        f: The log-density, which may have names for its parameters.
        outside: At how many of them f is not finite.
    """
    if not len(left):
        return f"none of {counted(proposals, 'proposal')}"
    at, all_of_them = numbers(left, f).mean(0), numbers(points, f)
    mean, sd = all_of_them.mean(0), all_of_them.std(0)
    k = int(((at - mean) / sd).abs().nan_to_num().argmax())
    name = f.names[k] if isinstance(f, Transformed) else f"x{k}"
    return (
        f"{len(left):,} of {counted(proposals, 'proposal')}, mostly where {name} is about {at[k]:.3g} "
        f"(all points: {mean[k]:.3g} ± {sd[k]:.3g}): {cause(len(left), outside, f)}"
    )


def cause(diverged: int, outside: int, f: LogDensity | None) -> str:
    """Why proposals diverged: most of them at the end of a support, or because steps are too long."""
    if 2 * outside <= diverged:
        return "steps are too long there"
    inside = "" if isinstance(f, Transformed) else ": anila.transform keeps chains inside"
    return f"f is not finite where {outside:,} of them lead, as beyond the end of a support{inside}"


def numbers(x: Tensor, f: LogDensity | None) -> Tensor:
    """The named parameters of points, or their coordinates if f names none, (points, numbers)."""
    return (f.numbers(x) if isinstance(f, Transformed) else x.flatten(1)).double()

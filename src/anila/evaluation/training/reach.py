"""Reach: how far a clipped drift can carry a chain, known before anything runs.

A clipped drift moves a coordinate by at most K · step_size · b / 2 in K transitions, since
γ ∂f = step_size · clip(∂f, −b, b). Chains that start farther from the data cannot get there in one iteration.
"""

import math

from jaxtyping import Float
from torch import Tensor

from anila.messages import counted


def reach(steps: int, step_size: float, threshold: float) -> float:
    """The farthest that drift moves one coordinate in K transitions: K · step_size · b / 2, in units of x.

    >>> reach(steps=100, step_size=1.0, threshold=2e-4)
    0.01
    """
    return steps * step_size * threshold / 2


def diffusion(steps: int, step_size: float, temperature: float) -> float:
    """How far noise alone moves one coordinate in K transitions: √(K · step_size · temperature), in units of x."""
    return math.sqrt(steps * step_size * temperature)


def distance(x: Float[Tensor, "n *event"], y: Float[Tensor, "n *event"]) -> float:
    """Mean absolute difference of a coordinate between paired rows of x and y."""
    return (x - y).abs().mean().item()


def reach_warning(
    steps: int, step_size: float, threshold: float, temperature: float, gap: float, persistent: bool
) -> str | None:
    """The warning if chains cannot travel from their start to the data by drift in one iteration; None if they can.

    Args:
        steps: K.
        step_size: γ where the landscape is flat.
        threshold: b; infinite for samplers without one.
        temperature: Variance of the noise relative to γ.
        gap: Mean absolute difference of a coordinate between starts and data.
        persistent: Whether chains continue from where they stood.
    """
    drift = reach(steps, step_size, threshold)
    if drift >= gap:
        return None
    needed = math.ceil(gap / max(drift, 1e-12))
    consequence = (
        f"a chain needs at least {counted(needed, 'iteration')} of drift in one direction to reach the data"
        if persistent
        else "no chain can reach the data by drift"
    )
    return (
        f"reach: in K = {counted(steps, 'transition')} drift moves a coordinate by at most K · step_size · threshold "
        f"/ 2 = {drift:.3g} and noise by about {diffusion(steps, step_size, temperature):.3g}, but starts and data "
        f"are {gap:.3g} apart: {consequence}. Raise sampler.threshold, sampler.step_size or sampler.steps "
        f"{needed}-fold together, or start nearer (start.kind=data, start=data)"
    )

"""Recovery likelihood: the likelihood of less noisy data given noisier data (Gao et al. 2021).

    x = x_data + t ξ,   y = x + Δ ξ',   Δ² = T² − t²           two neighbouring levels t < T
    log p(x | y) = f(x, t) − |x − y|² / (2 Δ²) − log Z(y)      what θ ascends, weighted by t
    z ← K transitions on f(·, t) − |· − y|² / (2 Δ²) from y    instead of exact draws

This is Algorithm 1 for another law: f goes up on x and down on z. That law is narrow and concentrated near y, so short
chains from y converge, while chains on f itself would not. They move in units of Δ t / T, the sd of x given y if x were
pure noise. Slopes of f(·, t) are of order 1 / t, which the weight t equalises.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from anila.density.log_density import HasLevels, LogDensity
from anila.density.rows import across
from anila.evaluation.training.metric import ACCEPT_PROB, ENERGY_GAP, GRAD_NORM, THETA_GRAD_NORM
from anila.learning.objectives.base import Contrast, Objective
from anila.learning.objectives.matching import normal_noise
from anila.rng import rng
from anila.samplers import Sampler, langevin
from anila.samplers.kernel import draw_block
from anila.samplers.precondition import stretched
from anila.samplers.sample import transitions

LEVELS = (0.05, 0.09, 0.17, 0.32, 0.58, 1.1, 2.0)


class RecoveryNoise(NamedTuple):
    """ξ, ξ', the index of the pair of levels, and the noise of the chains."""

    xi: Float[Tensor, "n *event"]
    more: Float[Tensor, "n *event"]
    pair: Int[Tensor, "n"]
    chains: Any
    """Every field (n, steps, …)."""


def recovery(
    levels: Sequence[float] = LEVELS,
    kernel: Callable[[LogDensity], Sampler] = lambda f: langevin(f, step_size=0.7),
    steps: int = 16,
) -> Objective:
    """θ ascends mean t log p(x | y), over all pairs of levels with equal weight.

    Args:
        levels: Ascending levels of noise, in units of x; each but the last serves as t.
        kernel: f -> kernel, in units of Δ t / T, in which its target has a scale of about 1.
        steps: Transitions K.

    Raises:
        ValueError: If there are fewer than two levels, they are not positive and ascending, or steps is not positive.
    """
    if len(levels) < 2 or levels[0] <= 0 or any(a >= b for a, b in pairwise(levels)):
        raise ValueError(f"levels must be at least two, positive and ascending; got {list(levels)}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1; got {steps}")

    def draw_noise(x_data: Tensor, generator: torch.Generator) -> RecoveryNoise:
        pair = torch.randperm(len(x_data), generator=generator, device=generator.device) % (len(levels) - 1)
        xi, more = (normal_noise(x_data, generator) for _ in range(2))
        block = draw_block(kernel(lambda x: x.flatten(1).sum(1)), x_data, steps, generator)
        chains = type(block)(*(field.transpose(0, 1) for field in block))
        return RecoveryNoise(xi, more, pair.to(x_data.device), chains)

    def contrast(f: HasLevels, x_data: Tensor, x_model: Tensor | None, noise: RecoveryNoise) -> Contrast:  # noqa: ARG001
        lower, upper = (x_data.new_tensor(levels)[noise.pair + k] for k in range(2))
        t, T = (across(level, x_data) for level in (lower, upper))
        delta = (T**2 - t**2).sqrt()
        x = x_data + t * noise.xi
        y = x + delta * noise.more
        given_y = stretched(recovered(f.at(lower), y, delta), lambda u: delta * t / T * u, kernel)
        z, trace = transitions(replaying(given_y, noise.chains), y, steps, rng(0))
        metrics = {name: trace[name].mean(0) for name in ("accept_prob", "grad_norm")}
        return Contrast(x, z, lower, lower, metrics, levels=lower)

    return Objective(
        contrast,
        (ENERGY_GAP, GRAD_NORM, THETA_GRAD_NORM, ACCEPT_PROB),
        draw_noise=draw_noise,
        report=lambda f: {"energy_gap": f.up - f.down},
        needs_levels=True,
    )


def recovered(f: LogDensity, y: Float[Tensor, "n *event"], delta: Tensor) -> LogDensity:
    """x -> log p(x | y) = f(x) − |x − y|² / (2 Δ²), without its constant."""
    return lambda x: f(x) - ((x - y) / delta).square().flatten(1).sum(1) / 2


def replaying(sampler: Sampler, chains: Any) -> Sampler:
    """The kernel with this noise for its steps, one after the other."""
    steps = iter(range(chains[0].shape[1]))

    def draw_noise(x: Tensor, generator: torch.Generator) -> Any:  # noqa: ARG001
        k = next(steps)
        return type(chains)(*(field[:, k] for field in chains))

    return sampler._replace(draw_noise=draw_noise)

"""Barker's proposal: noise whose sign leans uphill, accepted or rejected.

    yᵢ = xᵢ + sᵢ √γ |ξᵢ|,   sᵢ = +1 with probability sigmoid(√γ |ξᵢ| ∂ᵢf(x)), else −1,   ξ ~ N(0, I)

The density of a coordinate's move w is therefore 2 N(w; 0, γ) sigmoid(w ∂ᵢf(x)), and in

    min(1, exp(f(y) − f(x)) Πᵢ sigmoid(−wᵢ ∂ᵢf(y)) / sigmoid(wᵢ ∂ᵢf(x))),   w = y − x

the normal densities cancel. However steep f is, a move is never longer than √γ |ξ|: this is as robust as a clipped
drift, with no threshold to choose.

Reference: Livingstone & Zanella 2022, "The Barker proposal", J. R. Statist. Soc. B 84, Algorithm 2.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from anila.density.log_density import LogDensity, value_and_grad
from anila.samplers import scales
from anila.samplers.kernel import DrawNoise, Info, PointState, Sampler, accept
from anila.samplers.langevin import info
from anila.samplers.precondition import preconditioned
from anila.samplers.scales import Number


class BarkerNoise(NamedTuple):
    """How far each coordinate goes, which way it leans, and the accept uniform."""

    normal: Float[Tensor, "chains *event"]
    uniform: Float[Tensor, "chains"]
    sign: Float[Tensor, "chains *event"]


def barker(f: LogDensity, step_size: Number, preconditioner: Tensor | None = None) -> Sampler:
    """Metropolis-adjusted Barker proposal: y = x ± √γ |ξ|, with P(+) = sigmoid(√γ |ξ| ∂f). One gradient per step.

    Args:
        f: Log-density, (chains, *event) -> (chains,).
        step_size: γ, the mean square of a coordinate's move.
        preconditioner: Scale of each coordinate or Cholesky factor; see `samplers.precondition`.

    Raises:
        ValueError: If step_size is not positive.
    """
    scales.require_positive("step_size", step_size)
    return preconditioned(f, preconditioner, lambda f: barker_kernel(f, step_size))


def barker_kernel(f: LogDensity, step_size: Number) -> Sampler:
    def init(x: Tensor) -> PointState:
        return PointState(x, *value_and_grad(f, x))

    def step(state: PointState, noise: BarkerNoise) -> tuple[PointState, Info]:
        size = step_size**0.5 * noise.normal.abs()
        move = torch.where(noise.sign < torch.sigmoid(size * state.grad), size, -size)
        proposed = init(state.x + move)
        log_ratio = proposed.value - state.value + log_lean(-move, proposed.grad) - log_lean(move, state.grad)
        new, prob = accept(state, proposed, log_ratio, noise.uniform)
        return new, info(prob, torch.ones_like(move) * step_size, state.grad)

    return Sampler(init, step, draw_barker_noise, at=PointState, target_accept=0.57, ahead=1)


def log_lean(move: Tensor, grad: Tensor) -> Tensor:
    """Σᵢ log sigmoid(wᵢ ∂ᵢf): the part of log q that does not cancel, (chains,)."""
    return logsigmoid(move * grad).flatten(1).sum(1)


draw_barker_noise = DrawNoise(BarkerNoise, normal="coordinate", uniform="chain", sign="coordinate")

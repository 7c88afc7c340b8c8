"""Hamiltonian Monte Carlo: draw a momentum, make some leapfrog steps, accept or reject.

    p ~ N(0, I)
    leapfrog_steps times:   p ← p + ε/2 ∇f(x);   x ← x + ε p;   p ← p + ε/2 ∇f(x)
    accept with probability min(1, exp(f(y) − f(x) − |p_y|²/2 + |p_x|²/2))

`step_size` is γ = ε², as in every kernel here: with one leapfrog step, y = x + γ/2 ∇f(x) + √γ p is the proposal of
`mala(f, γ)`, and so is its acceptance. A trajectory whose length leapfrog_steps · ε is a period of the target would
return to where it started, so each chain draws its own ε at each step, from one u ~ U(0, 1) of the noise:

    ε = √γ · (0.8 + 0.4 u) · spread^(u − 1)

With a spread of 1 that is √γ · U(0.8, 1.2). A larger spread mixes steps of many lengths, as a funnel needs: long ones
for its mouth and short ones for its neck, where long ones are rejected. u does not depend on x, so this is a mixture of
exact kernels and therefore exact.

References: Duane, Kennedy, Pendleton & Roweth 1987; Neal 2011, "MCMC using Hamiltonian dynamics", sections 3.2, 5.4.
"""

import math
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import LogDensity, value_and_grad
from anila.density.ranges import Count, Positive
from anila.density.rows import across
from anila.messages import whole_number
from anila.samplers import scales
from anila.samplers.kernel import DrawNoise, Info, PointState, Sampler, accept
from anila.samplers.langevin import info
from anila.samplers.precondition import preconditioned
from anila.samplers.scales import Number

JITTER = 0.2
"""ε varies by this fraction either way, whatever the spread."""


class HmcNoise(NamedTuple):
    """The momentum, the accept uniform, and the uniform that varies ε."""

    normal: Float[Tensor, "chains *event"]
    uniform: Float[Tensor, "chains"]
    jitter: Float[Tensor, "chains"]


def hmc(
    f: LogDensity,
    step_size: Number,
    leapfrog_steps: Count = 10,
    preconditioner: Tensor | None = None,
    spread: Positive | Tensor = 1.0,
) -> Sampler:
    """HMC with ε = √step_size · U(0.8, 1.2). Exact for exp f; a step costs leapfrog_steps gradients.

    Args:
        f: Log-density, (chains, *event) -> (chains,).
        step_size: γ = ε², in squared units of x; with leapfrog_steps = 1 the kernel is `mala(f, γ)` up to jitter.
        leapfrog_steps: Gradients per trajectory, whose length is about leapfrog_steps · √step_size.
        preconditioner: Scale of each coordinate or Cholesky factor (the mass matrix is its inverse square); see
            `samplers.precondition`.
        spread: Approximate ratio of the longest to the shortest ε; 10 suits a funnel.

    Raises:
        ValueError: If step_size or spread is not positive or leapfrog_steps is below 1.
        TypeError: If leapfrog_steps is not a whole number.
    """
    scales.require_positive("step_size", step_size)
    scales.require_positive("spread", spread)
    whole_number("leapfrog_steps", leapfrog_steps, least=1)
    return preconditioned(f, preconditioner, lambda f: hmc_kernel(f, step_size, leapfrog_steps, spread))


def hmc_kernel(f: LogDensity, step_size: Number, leapfrog_steps: int, spread: Number) -> Sampler:
    def init(x: Tensor) -> PointState:
        return PointState(x, *value_and_grad(f, x))

    def step(state: PointState, noise: HmcNoise) -> tuple[PointState, Info]:
        eps = step_size**0.5 * across(varied(noise.jitter, spread), state.x)
        proposed, p = leapfrog(state, noise.normal, eps)
        log_ratio = proposed.value - state.value + kinetic(noise.normal) - kinetic(p)
        new, prob = accept(state, proposed, log_ratio, noise.uniform)
        return new, info(prob, eps.square().expand_as(state.x), state.grad)

    def leapfrog(point: PointState, p: Tensor, eps: Tensor) -> tuple[PointState, Tensor]:
        for _ in range(leapfrog_steps):
            p = p + eps / 2 * point.grad
            point = init(point.x + eps * p)
            p = p + eps / 2 * point.grad
        return point, p

    return Sampler(
        init, step, draw_hmc_noise, at=PointState, target_accept=0.7, careful_accept=0.9, gradients=leapfrog_steps,
        ahead=1,
    )  # fmt: skip


def varied(u: Tensor, spread: Number) -> Tensor:
    """The factor of √γ, (chains,)."""
    log_spread = spread.log() if isinstance(spread, Tensor) else math.log(spread)
    return (1 + JITTER * (2 * u - 1)) * ((u - 1) * log_spread).exp()


def kinetic(p: Tensor) -> Tensor:
    """|p|²/2, (chains,)."""
    return p.square().flatten(1).sum(1) / 2


draw_hmc_noise = DrawNoise(HmcNoise, normal="coordinate", uniform="chain", jitter="chain")

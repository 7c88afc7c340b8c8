"""Hamiltonian Monte Carlo: a fresh momentum, some leapfrog steps, accepted or rejected.

    p ~ N(0, I)
    leapfrog_steps times:   p ← p + ε/2 ∇f(x);   x ← x + ε p;   p ← p + ε/2 ∇f(x)
    accept with probability min(1, exp(f(y) − f(x) − |p_y|²/2 + |p_x|²/2))

`step_size` is γ = ε², as in every kernel here: with one leapfrog step, y = x + γ/2 ∇f(x) + √γ p is the proposal of
`mala(f, γ)`, and so is its acceptance. A trajectory of leapfrog_steps · ε that meets the period of the target would
come back to where it started, so each chain at each step multiplies ε by its own U(0.8, 1.2), drawn with the noise.

References: Duane, Kennedy, Pendleton & Roweth 1987; Neal 2011, "MCMC using Hamiltonian dynamics", sections 3.2, 5.4.
"""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import LogDensity, value_and_grad
from anila.density.ranges import Count
from anila.samplers import scales
from anila.samplers.kernel import DrawNoise, Info, PointState, Sampler, accept
from anila.samplers.langevin import info
from anila.samplers.precondition import preconditioned
from anila.samplers.scales import Number

JITTER = 0.2
"""ε varies by this fraction either way."""


class HmcNoise(NamedTuple):
    """The momentum, the accept uniform, and the uniform that varies ε."""

    normal: Float[Tensor, "chains *event"]
    uniform: Float[Tensor, "chains"]
    jitter: Float[Tensor, "chains"]


def hmc(f: LogDensity, step_size: Number, leapfrog_steps: Count = 10, preconditioner: Tensor | None = None) -> Sampler:
    """HMC with ε = √step_size · U(0.8, 1.2): exact for exp f; leapfrog_steps gradients a step.

    Args:
        f: Log-density, (chains, *event) -> (chains,).
        step_size: γ = ε², in squared units of x; with leapfrog_steps = 1 the kernel is `mala(f, γ)` but for the jitter.
        leapfrog_steps: Gradients a trajectory; it is about leapfrog_steps · √step_size long.
        preconditioner: Scale of each coordinate or Cholesky factor (the mass matrix is its inverse square); see
            `samplers.precondition`.

    Raises:
        ValueError: If step_size is not positive or leapfrog_steps is below 1.
    """
    scales.require_positive("step_size", step_size)
    if leapfrog_steps < 1:
        raise ValueError(f"leapfrog_steps must be at least 1; got {leapfrog_steps!r}")
    return preconditioned(f, preconditioner, lambda f: hmc_kernel(f, step_size, leapfrog_steps))


def hmc_kernel(f: LogDensity, step_size: Number, leapfrog_steps: int) -> Sampler:
    def init(x: Tensor) -> PointState:
        return PointState(x, *value_and_grad(f, x))

    def step(state: PointState, noise: HmcNoise) -> tuple[PointState, Info]:
        eps = step_size**0.5 * (1 + JITTER * (2 * noise.jitter - 1)).view(-1, *[1] * (state.x.ndim - 1))
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


def kinetic(p: Tensor) -> Tensor:
    """|p|²/2, (chains,)."""
    return p.square().flatten(1).sum(1) / 2


draw_hmc_noise = DrawNoise(HmcNoise, normal="coordinate", uniform="chain", jitter="chain")

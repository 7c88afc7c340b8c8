"""Generalised Hamiltonian Monte Carlo: momentum persists, and a step costs one gradient.

    p ← a p + √(1 − a²) ξ,   a = exp(−ε / persistence)               ξ ~ N(0, I)
    v ← v + (1 − a²) u, less 2 above 1                               u ~ U(0, 1)
    q = p + ε/2 g(x);   y = x + ε q;   q ← q + ε/2 g(y)              g = ∇f
    r = exp(f(y) − f(x) − |q|²/2 + |p|²/2)
    if |v| < r:   x, p, v ← y, q, v / r            else:   p ← −p

`step_size` is γ = ε². exp f(x) · N(p; 0, I) · U(v; −1, 1) is invariant: (x, p, v) ↦ (y, −q, v / r) is its own inverse,
and it stretches volume by 1 / r, which cancels the change of density. A rejection reverses the chain. v moves slowly,
so rejections cluster, and between clusters momentum persists for long: fresh uniforms at every step would break these
runs up.

The anisotropic kernel has g = clip(∇f, −b, b). For any function g of x alone the map is its own inverse and preserves
the volume of (x, p), and r uses the true f, so this kernel is exact too. Far out, where f is steep, its kicks are
bounded.

The first step draws the initial momentum and v; v = 2 marks a state in which they are still to be drawn.

References: Horowitz 1991; Neal 2020 (v); Hoffman & Sountsov 2022 (how v moves with a).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import LogDensity, value_and_grad
from anila.density.ranges import Positive
from anila.samplers import scales
from anila.samplers.hmc import kinetic
from anila.samplers.kernel import DrawNoise, Info, Sampler, accept, where_chain
from anila.samplers.langevin import info
from anila.samplers.precondition import preconditioned
from anila.samplers.scales import Number

TO_DRAW = 2.0
"""v of a state whose momentum and v are still to be drawn."""


class GhmcState(NamedTuple):
    """Positions with f and ∇f there, momentum p, and v."""

    x: Float[Tensor, "chains *event"]
    value: Float[Tensor, "chains"]
    grad: Float[Tensor, "chains *event"]
    momentum: Float[Tensor, "chains *event"]
    slice: Float[Tensor, "chains"]


class GhmcNoise(NamedTuple):
    """The new part of the momentum, and how far v moves."""

    normal: Float[Tensor, "chains *event"]
    turn: Float[Tensor, "chains"]


def ghmc(
    f: LogDensity, step_size: Number, persistence: Positive | Tensor = 1.0, preconditioner: Tensor | None = None
) -> Sampler:
    """Generalised HMC: p ← exp(−ε/persistence) p + noise, then one leapfrog step of ε = √step_size (one gradient).

    Args:
        f: Log-density, (chains, *event) -> (chains,).
        step_size: γ = ε², in squared units of x.
        persistence: How far a chain goes while its momentum falls to 1/e, in units of x; about twice the standard
            deviation of the widest direction is good.
        preconditioner: Scale of each coordinate or Cholesky factor; see `samplers.precondition`.

    Raises:
        ValueError: If step_size or persistence is not positive.
    """
    require_settings(step_size, persistence)
    return preconditioned(f, preconditioner, lambda f: ghmc_kernel(f, step_size, persistence, lambda grad: grad))


def anisotropic_ghmc(
    f: LogDensity,
    threshold: Positive | Tensor,
    step_size: Number = 1.0,
    persistence: Positive | Tensor = 1.0,
    preconditioner: Tensor | None = None,
) -> Sampler:
    """Generalised HMC with clipped kicks, p ← p + ε/2 clip(∇f, −b, b): exact, and able to return from far out.

    Args:
        f: Log-density, (chains, *event) -> (chains,).
        threshold: b, in units of ∂f; one that clips 1% of the coordinates costs nothing in the typical set.
        step_size: γ = ε², in squared units of x.
        persistence: How far a chain goes while its momentum falls to 1/e, in units of x.
        preconditioner: Scale of each coordinate or Cholesky factor; see `samplers.precondition`.

    Raises:
        ValueError: If threshold, step_size or persistence is not positive.
    """
    require_settings(step_size, persistence)
    scale = scales.threshold(threshold)

    def clipped(grad: Tensor) -> Tensor:
        return scale(grad) * grad

    return preconditioned(f, preconditioner, lambda f: ghmc_kernel(f, step_size, persistence, clipped, threshold))


def require_settings(step_size: Number, persistence: Number) -> None:
    scales.require_positive("step_size", step_size)
    scales.require_positive("persistence", persistence)


def ghmc_kernel(
    f: LogDensity,
    step_size: Number,
    persistence: Number,
    kick: Callable[[Tensor], Tensor],
    threshold: Number = math.inf,
) -> Sampler:
    def init(x: Tensor) -> GhmcState:
        value, grad = value_and_grad(f, x)
        return GhmcState(x, value, grad, torch.zeros_like(x), torch.full_like(value, TO_DRAW))

    def step(state: GhmcState, noise: GhmcNoise) -> tuple[GhmcState, Info]:
        eps = step_size**0.5
        start = refreshed(state, noise, exponential(-eps / persistence))
        q = start.momentum + eps / 2 * kick(start.grad)
        y = start.x + eps * q
        value, grad = value_and_grad(f, y)
        q = q + eps / 2 * kick(grad)
        log_ratio = value - start.value + kinetic(start.momentum) - kinetic(q)
        proposed = GhmcState(y, value, grad, q, start.slice * (-log_ratio).exp())
        turned = start._replace(momentum=-start.momentum)
        new, prob = accept(turned, proposed, log_ratio, start.slice.abs())
        return new, info(prob, torch.ones_like(q) * step_size, state.grad, threshold)

    return Sampler(
        init, step, draw_ghmc_noise, target_accept=0.8, careful_accept=0.9, threshold=threshold, quantile=0.99, ahead=1
    )


def refreshed(state: GhmcState, noise: GhmcNoise, a: Number) -> GhmcState:
    """Refresh part of the momentum and move v; draw both from equilibrium where they are still to be drawn."""
    new = 1 - a**2
    v = state.slice + new * noise.turn
    later = state._replace(momentum=a * state.momentum + new**0.5 * noise.normal, slice=torch.where(v >= 1, v - 2, v))
    first = state._replace(momentum=noise.normal, slice=2 * noise.turn - 1)
    return where_chain(state.slice >= TO_DRAW, first, later)


def exponential(power: Number) -> Number:
    return power.exp() if isinstance(power, Tensor) else math.exp(power)


draw_ghmc_noise = DrawNoise(GhmcNoise, normal="coordinate", turn="chain")

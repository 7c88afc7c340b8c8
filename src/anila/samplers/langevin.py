"""The Langevin family: drift along ∇f, add noise, perhaps accept. Two orthogonal choices: scale × kernel.

    γ(z) = step_size                                             plain
    γ(z) = step_size · b / max(b, |∇f(z)|)                       anisotropic (AniLA / STANLEY, Algorithm 1)

    z' = z + γ/2 · ∇f(z) + √(temperature · γ) ξ,   ξ ~ N(0, I)    unadjusted
    the same at temperature 1, accepted with probability
    min(1, exp(f(y) − f(x)) q(x|y) / q(y|x)),  q(y|x) = N(y; x + γ(x)/2 ∇f(x), diag γ(x))    Metropolis

The unadjusted anisotropic chain does not sample exp f: for a separable target its stationary law for small steps is
exp f · Πᵢ max(1, |∂ᵢf| / b), whatever the step size. The Metropolis kernels are exact.

`refresh` says when γ is looked up. "step": at every transition (what the authors' experiments did). "iteration": once,
where the chain starts, and then held (as Algorithm 1 prints it); `init` computes it. Within one run of `sample` this is
a fixed preconditioned kernel, so no bias from a state-dependent γ builds up, and Metropolis makes its stationary law
exact. But γ still depends on where the chain started, so a chain that starts in equilibrium leaves it for a while
before it returns.

References: Karimi, Xie & Li 2023 (arXiv 2310.12667), Algorithm 1; Roberts & Tweedie 1996 (MALA); Atchadé 2006
(truncated drift); Allassonnière & Kuhn 2015 (AMALA).
"""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import LogDensity, gradient, value_and_grad
from anila.density.ranges import NonNegative, Positive
from anila.samplers import scales
from anila.samplers.kernel import Info, Noise, Sampler, accept
from anila.samplers.precondition import preconditioned
from anila.samplers.scales import Number, Scale, is_number

Refresh = Literal["step", "iteration"]


class LangevinState(NamedTuple):
    """Positions with f, ∇f and γ there; with refresh="iteration", γ is that of the starting point."""

    x: Float[Tensor, "chains *event"]
    value: Float[Tensor, "chains"]
    grad: Float[Tensor, "chains *event"]
    gamma: Float[Tensor, "chains *event"]


class StartState(NamedTuple):
    """Positions, and with refresh="iteration" the γ that is held."""

    x: Float[Tensor, "chains *event"]
    gamma: Float[Tensor, "chains *event"] | None


def langevin(
    f: LogDensity,
    step_size: Number,
    temperature: NonNegative | Tensor = 1.0,
    preconditioner: Tensor | None = None,
) -> Sampler:
    """Unadjusted Langevin: z' = z + step_size/2 ∇f(z) + √(temperature · step_size) ξ.

    Args:
        f: Log-density, (chains, *event) -> (chains,).
        step_size: γ, the square of a coordinate's scale.
        temperature: Variance of the noise relative to γ; the small-step law is exp(f / temperature).
        preconditioner: Scale of each coordinate or Cholesky factor; see `samplers.precondition`.

    Raises:
        ValueError: If step_size is not positive or temperature is negative.
    """
    scale = scales.constant(step_size)
    return preconditioned(f, preconditioner, lambda f: unadjusted(f, scale, temperature))


def descent(f: LogDensity, step_size: Number, preconditioner: Tensor | None = None) -> Sampler:
    """Gradient ascent on f without noise: z' = z + step_size/2 ∇f(z). A baseline, not a sampler of exp f."""
    scale = scales.constant(step_size)
    return preconditioned(f, preconditioner, lambda f: unadjusted(f, scale, temperature=0.0))


def anisotropic(
    f: LogDensity,
    threshold: Positive | Tensor,
    step_size: Number = 1.0,
    temperature: NonNegative | Tensor = 1.0,
    refresh: Refresh = "step",
    preconditioner: Tensor | None = None,
) -> Sampler:
    """AniLA / STANLEY: z' = z + γ/2 ∇f(z) + √(temperature · γ) ξ, γ = step_size · b / max(b, |∇f|).

    Biased on purpose-built tests and in practice: see the module's docstring. Use `anisotropic_mala` to sample exp f.

    Args:
        f: Log-density, (chains, *event) -> (chains,).
        threshold: b, in units of ∂f; coordinates with a slope above b take proportionally shorter steps.
        step_size: γ where the landscape is flat. The papers' algorithm has 1.
        temperature: Variance of the noise relative to γ. The papers' noise scale ε is temperature ε².
        refresh: "step" looks γ up at every transition, "iteration" only where the chain starts.
        preconditioner: Scale of each coordinate or Cholesky factor; see `samplers.precondition`.

    Raises:
        ValueError: If threshold or step_size is not positive, temperature is negative or refresh is another word.
    """
    scale = scales.threshold(threshold, step_size)
    return preconditioned(f, preconditioner, lambda f: unadjusted(f, scale, temperature, threshold, refresh))


def mala(f: LogDensity, step_size: Number, preconditioner: Tensor | None = None) -> Sampler:
    """Metropolis-adjusted Langevin (Roberts & Tweedie 1996): exact for exp f.

    Args:
        f: Log-density, (chains, *event) -> (chains,).
        step_size: γ of the proposal y = x + γ/2 ∇f(x) + √γ ξ.
        preconditioner: Scale of each coordinate or Cholesky factor; see `samplers.precondition`.

    Raises:
        ValueError: If step_size is not positive.
    """
    scale = scales.constant(step_size)
    return preconditioned(f, preconditioner, lambda f: metropolis(f, scale))


def anisotropic_mala(
    f: LogDensity,
    threshold: Positive | Tensor,
    step_size: Number = 1.0,
    refresh: Refresh = "step",
    preconditioner: Tensor | None = None,
) -> Sampler:
    """Metropolis-adjusted anisotropic Langevin: exact for exp f, and robust where ∇f is large.

    Args:
        f: Log-density, (chains, *event) -> (chains,).
        threshold: b, in units of ∂f; good values are 1-3 divided by the scale of a typical coordinate.
        step_size: γ where the landscape is flat.
        refresh: "step" looks γ up at every transition, "iteration" only where the chain starts.
        preconditioner: Scale of each coordinate or Cholesky factor; see `samplers.precondition`.

    Raises:
        ValueError: If threshold or step_size is not positive or refresh is another word.
    """
    scale = scales.threshold(threshold, step_size)
    return preconditioned(f, preconditioner, lambda f: metropolis(f, scale, threshold, refresh))


def unadjusted(
    f: LogDensity, scale: Scale, temperature: Number = 1.0, threshold: Number = math.inf, refresh: Refresh = "step"
) -> Sampler:
    """The kernel that always moves: z' = z + γ/2 ∇f(z) + √(temperature · γ) ξ. One gradient per step."""
    if not is_number(temperature) or not 0 <= temperature < math.inf:
        raise ValueError(f"temperature must be a number of at least 0; got {temperature!r}")
    held = holds_gamma(refresh)

    def init(x: Tensor) -> StartState:
        return StartState(x, scale(gradient(f, x)) if held else None)

    def step(state: StartState, noise: Noise) -> tuple[StartState, Info]:
        grad = gradient(f, state.x)
        gamma = scale(grad) if state.gamma is None else state.gamma
        x = state.x.addcmul(gamma, grad, value=0.5).addcmul_((temperature * gamma).sqrt(), noise.normal)
        return StartState(x, state.gamma), info(torch.ones_like(noise.uniform), gamma, grad, threshold)

    return Sampler(init, step, temperature=temperature, threshold=threshold, ahead=int(held))


def metropolis(f: LogDensity, scale: Scale, threshold: Number = math.inf, refresh: Refresh = "step") -> Sampler:
    """The kernel that accepts or rejects, at temperature 1. One gradient per step: that of the proposal is kept."""
    held = holds_gamma(refresh)

    def at(x: Tensor, value: Tensor, grad: Tensor) -> LangevinState:
        return LangevinState(x, value, grad, scale(grad))

    def init(x: Tensor) -> LangevinState:
        return at(x, *value_and_grad(f, x))

    def step(state: LangevinState, noise: Noise) -> tuple[LangevinState, Info]:
        y = state.x.addcmul(state.gamma, state.grad, value=0.5).addcmul_(state.gamma.sqrt(), noise.normal)
        value, grad = value_and_grad(f, y)
        proposed = LangevinState(y, value, grad, state.gamma if held else scale(grad))
        log_ratio = value - state.value + log_q(state.x, proposed) - log_q(y, state)
        new, prob = accept(state, proposed, log_ratio, noise.uniform)
        return new, info(prob, state.gamma, state.grad, threshold)

    kernel = Sampler(init, step, target_accept=0.57, threshold=threshold, ahead=1)
    return kernel._replace(held=("gamma",)) if held else kernel._replace(at=at)


def log_q(y: Tensor, state: LangevinState) -> Tensor:
    """log q(y | x) = log N(y; x + γ(x)/2 ∇f(x), diag γ(x)), without the constant d/2 log 2π; (chains,)."""
    residual = y - state.x - state.gamma / 2 * state.grad
    return -0.5 * (residual.square() / state.gamma + state.gamma.log()).flatten(1).sum(1)


def info(prob: Tensor, gamma: Tensor, grad: Tensor, threshold: Number = math.inf) -> Info:
    """What a diagnostic wants to know about the step taken with this γ from the point with this gradient."""
    grad = grad.flatten(1)
    clipped = (grad.abs() > threshold).to(prob.dtype).mean(1)
    return Info(prob, gamma.flatten(1).mean(1), torch.linalg.vector_norm(grad, dim=1), clipped)


def holds_gamma(refresh: Refresh) -> bool:
    if refresh not in ("step", "iteration"):
        raise ValueError(f'refresh must be "step" or "iteration"; got {refresh!r}')
    return refresh == "iteration"

"""The anisotropic kernel with the drift correction for its position-dependent noise: for research, not a default.

    z' = z + ½ (γ ∂f + ∂ᵢγᵢ) + √γ ξ,    γ(z) = step_size · b / max(b, |∂f(z)|)

As step_size → 0 this becomes a diffusion with stationary law exp f; `anisotropic` does not, as it lacks ∂ᵢγᵢ. The
divergence is estimated with one Rademacher probe v, E[v ⊙ ∇(γ · v)] = (∂ᵢγᵢ)ᵢ (Hutchinson 1990), exact in one dimension
and for separable f. It costs about 3 gradients per step and needs an f that can be differentiated twice.

**Where it fails.** ∂ᵢγᵢ jumps from 0 to ∓step_size ∂ᵢᵢf / b where |∂ᵢf| = b, so with a small b the chain is thrown far
there. Stationary variance for N(0, 1), whose variance is 1:

    b                 1       0.3     0.1     0.03    0.01
    step_size 1       1.44    2.0     4.8     30      200
    step_size 0.1     1.03    1.07    1.2     1.7     3.9
    step_size 0.01    1.00    1.02    1.05    1.07    1.09

`anisotropic_mala` is exact at any step size for a third of the cost.

References: Roberts & Stramer 2002 (Langevin diffusions with a state-dependent metric); Hutchinson 1990.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import LogDensity, apart, differentiate
from anila.density.ranges import Positive
from anila.rng import normal
from anila.samplers import scales
from anila.samplers.kernel import Info, Sampler
from anila.samplers.langevin import info
from anila.samplers.precondition import preconditioned

GRADIENTS = 3
"""Approximate cost of a step, in evaluations of ∇f: the estimate of ∂ᵢγᵢ goes through f three times."""


class CorrectedState(NamedTuple):
    """Positions."""

    x: Float[Tensor, "chains *event"]


class CorrectedNoise(NamedTuple):
    """The step's normals and the probe of ±1."""

    normal: Float[Tensor, "chains *event"]
    probe: Float[Tensor, "chains *event"]


def anisotropic_corrected(
    f: LogDensity,
    threshold: Positive | Tensor,
    step_size: scales.Number = 1.0,
    preconditioner: Tensor | None = None,
) -> Sampler:
    """z' = z + ½ (γ ∂f + ∂ᵢγᵢ) + √γ ξ, γ = step_size · b / max(b, |∂f|): samples exp f only as steps become small.

    Args:
        f: Log-density, (chains, *event) -> (chains,), twice differentiable.
        threshold: b, in units of ∂f; below about 1 / scale it needs very small steps (see the module's docstring).
        step_size: γ where the landscape is flat.
        preconditioner: Scale of each coordinate or Cholesky factor; see `samplers.precondition`.

    Raises:
        ValueError: If threshold or step_size is not positive.
    """
    scale = scales.threshold(threshold, step_size)
    return preconditioned(f, preconditioner, lambda f: corrected_kernel(f, scale, threshold))


def corrected_kernel(f: LogDensity, scale: scales.Scale, threshold: scales.Number) -> Sampler:
    def step(state: CorrectedState, noise: CorrectedNoise) -> tuple[CorrectedState, Info]:
        grad, gamma, slope = with_slope(f, scale, state.x, noise.probe)
        x = state.x + (gamma * grad + slope) / 2 + gamma.sqrt() * noise.normal
        return CorrectedState(x), info(x.new_ones(len(x)), gamma, grad, threshold)

    return Sampler(CorrectedState, step, draw_corrected_noise, threshold=threshold, gradients=GRADIENTS)


def with_slope(f: LogDensity, scale: scales.Scale, x: Tensor, probe: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """∇f, γ, and v ⊙ ∇(γ · v), whose mean over probes v of ±1 is (∂ᵢγᵢ)ᵢ."""
    x = apart(x).requires_grad_(True)
    with torch.enable_grad():
        _, grad = differentiate(f, x, twice=True)
        gamma = scale(grad)
        slope = torch.zeros_like(x)
        if gamma.requires_grad:
            (slope,) = torch.autograd.grad((gamma * probe).sum(), x, materialize_grads=True)
    return grad.detach(), gamma.detach(), probe * slope


def draw_corrected_noise(x: Tensor, generator: torch.Generator) -> CorrectedNoise:
    """Normals and signs."""
    xi = normal(x.shape, x, generator)
    sign = torch.randint(2, x.shape, generator=generator, device=generator.device)
    return CorrectedNoise(xi, (2 * sign - 1).to(x))

"""L-lag couplings: pairs of chains that move together, meet, and so bound the distance from exp f.

Chain X starts L steps before chain Y, both from the start law. They use common randomness such that each by itself is a
chain of the kernel, they can meet, and they stay together afterwards: τ is the first t with X_t = Y_{t−L}. Then for
every k

    ‖π_k − π‖_TV ≤ E[max(0, ⌈(τ − L − k) / L⌉)]                                      (Biswas et al., theorem 2.5)

where π_k is the law after k steps. The proposals N(m, diag s²) of a pair are coupled by one of two rules, chosen by
their distance r = |(m_X − m_Y) / √(s_X s_Y)|, which is a function of the chains' positions:

    r ≤ 2   maximal: equal with the highest possible probability, Σ min(q_X, q_Y) (Jacob et al., algorithm 2)
    r > 2   mirrored: ξ_Y = ξ_X − 2 e ⟨e, ξ_X⟩ with e the direction of that difference

Both chains use the same accept uniforms. The kernel's own `step` is called for both: only the noise is coupled, so the
chains that meet are those that users run.

References: Biswas, Jacob & Vanetti 2019, "Estimating convergence of Markov chains with L-lag couplings"; Jacob,
O'Leary & Atchadé 2020, "Unbiased Markov chain Monte Carlo with couplings"; Heng & Jacob 2019 for the switch.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anila.density.rows import across
from anila.evaluation.chains.exact_grid import ALWAYS
from anila.rng import normal, rng, uniform
from anila.samplers import Noise, Sampler
from anila.samplers.global_moves import GlobalNoise, GlobalState
from anila.samplers.kernel import where_chain
from anila.samplers.langevin import LangevinState

NEAR = 2.0
"""Distance of two proposals, in standard deviations, up to which they are coupled maximally."""
ROUNDING = 64.0
"""Chains within this many units of rounding have met."""


@dataclass(frozen=True)
class Meetings:
    """Meeting times of pairs of chains, and what follows from them.

    Args:
        times: τ of each pair, in steps of the leading chain, (pairs,); infinite for pairs that have not met.
        lag: L.
        steps: Steps of the leading chain after which a pair was given up.
    """

    times: Float[Tensor, "pairs"]
    lag: int
    steps: int

    @property
    def unmet(self) -> int:
        """Number of pairs that have not met; unless it is 0, there is no bound."""
        return int(self.times.isinf().sum())

    def bound(self, steps: int) -> tuple[Float[Tensor, "steps1"], Float[Tensor, "steps1"]]:
        """E[max(0, ⌈(τ − L − k) / L⌉)] for k = 0 .. steps and its standard error, each (steps + 1,)."""
        k = torch.arange(steps + 1, dtype=torch.float64, device=self.times.device)
        late = ((self.times - self.lag - k[:, None]) / self.lag).ceil().clamp(min=0)
        return late.mean(1), late.std(1) / math.sqrt(len(self.times))

    def mixing_steps(self, distance: float = 0.01) -> int | None:
        """The first k whose bound is at most `distance`; None if a pair has not met."""
        if self.unmet:
            return None
        small = self.bound(self.steps)[0] <= distance
        return int(small.int().argmax())

    def rate(self) -> tuple[float, float]:
        """ρ, the factor per step by which the tail of the bound falls, and its standard error.

        Beyond their median m, meeting times are nearly geometric: ρ = 1 − 1/E[τ − m | τ > m]. NaN if a pair has
        not met.
        """
        if self.unmet:
            return math.nan, math.nan
        median = self.times.median()
        beyond = (self.times - median)[self.times > median]
        leave = 1 / beyond.mean().item() if len(beyond) else 1.0
        return 1 - leave, leave * math.sqrt((1 - leave) / max(1, len(beyond)))


def meeting_times(
    sampler: Sampler,
    x0: Float[Tensor, "pairs *event"],
    y0: Float[Tensor, "pairs *event"],
    lag: int,
    steps: int,
    generator: torch.Generator,
) -> Meetings:
    """Run pairs of chains, X ahead of Y by the lag, until all have met or X has made `steps` steps.

    Args:
        sampler: mala or anisotropic_mala, with or without global moves.
        x0: Starts of the leading chains, (pairs, *event).
        y0: Starts of the others, drawn independently from the same law.
        lag: L, at least 1; a longer lag gives a tighter bound near 1.
        steps: Largest number of steps of X, more than the lag.
        generator: Source of all the noise.

    Raises:
        ValueError: If lag or steps is out of range, or the kernel cannot be coupled.
    """
    if not 1 <= lag < steps:
        raise ValueError(f"expected 1 <= lag < steps; got lag {lag} and steps {steps}")
    if sampler.held:
        raise ValueError('refresh="iteration" remembers the start, so chains that meet part again; use refresh="step"')
    x, y = sampler.init(x0), sampler.init(y0)
    require_langevin(sampler, x, sampler.draw_noise(x0, generator))
    for _ in range(lag):
        x, _ = sampler.step(x, sampler.draw_noise(x.x, generator))
    times = x0.new_full((len(x0),), math.inf)
    for t in range(lag + 1, steps + 1):
        x, y, met = coupled_step(sampler, x, y, generator)
        times = torch.where(met & times.isinf(), float(t), times)
        if bool(met.all()):
            break
    return Meetings(times.double().cpu(), lag, steps)


def can_be_coupled(sampler: Sampler, x0: Float[Tensor, "chains *event"]) -> bool:
    """Whether pairs of chains of this kernel can be made to meet, and then stay together."""
    try:
        require_langevin(sampler, sampler.init(x0), sampler.draw_noise(x0, rng(0, "coupled")))
    except ValueError:
        return False
    return not sampler.held


def require_langevin(sampler: Sampler, x: Any, noise: Any) -> None:
    """Refuse a kernel whose step is not y = x + γ/2 ∇f + √γ ξ in the state's own numbers.

    Raises:
        ValueError: As for `meeting_times`.
    """
    if isinstance(x, GlobalState) and sampler.local is not None:
        return require_langevin(sampler.local, x.local, noise.local)
    if isinstance(x, LangevinState) and isinstance(noise, Noise):
        mean, sd = proposal(x)
        moved, _ = sampler.step(x, noise._replace(uniform=torch.full_like(noise.uniform, ALWAYS)))
        if torch.allclose(moved.x, mean + sd * noise.normal):
            return None
    raise ValueError("couplings are for mala and anisotropic_mala, with or without global moves, not preconditioned")


def coupled_step(
    sampler: Sampler, x: Any, y: Any, generator: torch.Generator
) -> tuple[Any, Any, Bool[Tensor, "pairs"]]:
    """One step of both chains with coupled noise: the new states, and which pairs are together."""
    noise_x = sampler.draw_noise(x.x, generator)
    noise_y = coupled_noise(x, y, noise_x, generator)
    (x, _), (y, _) = sampler.step(x, noise_x), sampler.step(y, noise_y)
    apart = (x.x - y.x).abs() > ROUNDING * torch.finfo(x.x.dtype).eps * (1 + x.x.abs())
    met = ~apart.flatten(1).any(1)
    return x, together(met, x, y), met


def together(met: Tensor, x: Any, y: Any) -> Any:
    """The state y, made bitwise equal to x for the pairs that have met."""
    if isinstance(y, GlobalState):
        local = together(met, x.local, y.local)
        return y._replace(x=local.x, local=local)
    return where_chain(met, x, y)


def coupled_noise(x: Any, y: Any, noise: Any, generator: torch.Generator) -> Any:
    """The noise of the second chain, given that of the first. A global move offers both the same candidate."""
    if isinstance(noise, GlobalNoise):
        return noise._replace(local=coupled_noise(x.local, y.local, noise.local, generator))
    (mean_x, sd_x), (mean_y, sd_y) = proposal(x), proposal(y)
    between = (mean_x - mean_y) / (sd_x * sd_y).sqrt()
    distance = torch.linalg.vector_norm(between.flatten(1), dim=1)
    near = across(distance <= NEAR, between)
    equal_or_not = maximal(noise.normal, mean_x, sd_x, mean_y, sd_y, near, generator)
    return noise._replace(normal=torch.where(near, equal_or_not, mirrored(noise.normal, between)))


def proposal(state: LangevinState) -> tuple[Tensor, Tensor]:
    """Mean x + γ/2 ∇f(x) and standard deviation √γ of each coordinate."""
    return state.x + state.gamma / 2 * state.grad, state.gamma.sqrt()


def mirrored(xi: Tensor, between: Tensor) -> Tensor:
    """ξ − 2 e ⟨e, ξ⟩, e = between / |between|: a reflection of ξ fixed by the states, so N(0, I) again."""
    square = across(between.flatten(1).square().sum(1), between).clamp(min=torch.finfo(xi.dtype).tiny)
    inner = across((between * xi).flatten(1).sum(1), between)
    return xi - 2 * between * inner / square


def maximal(
    xi: Tensor, mean_x: Tensor, sd_x: Tensor, mean_y: Tensor, sd_y: Tensor, wanted: Tensor, generator: torch.Generator
) -> Tensor:
    """ξ_Y ~ N(0, I) such that both proposals are equal with probability Σ min(q_X, q_Y), in the wanted pairs.

    The proposal z of X is Y's too with probability min(1, q_Y(z) / q_X(z)). Else Y's is drawn from what q_Y
    has over q_X, by rejection. Jacob, O'Leary & Atchadé 2020, algorithm 2.
    """
    z = mean_x + sd_x * xi
    refused = log_uniform(xi, generator) > log_normal(z, mean_y, sd_y) - log_normal(z, mean_x, sd_x)
    xi_y = (z - mean_y) / sd_y
    pending = across(refused, xi) & wanted
    while bool(pending.any()):
        fresh = normal(xi.shape, xi, generator)
        z = mean_y + sd_y * fresh
        taken = log_uniform(xi, generator) > log_normal(z, mean_x, sd_x) - log_normal(z, mean_y, sd_y)
        xi_y = torch.where(pending & across(taken, xi), fresh, xi_y)
        pending = pending & ~across(taken, xi)
    return xi_y


def log_normal(z: Tensor, mean: Tensor, sd: Tensor) -> Tensor:
    """log N(z; mean, diag sd²) without its constant, (pairs,)."""
    return -(((z - mean) / sd).square() / 2 + sd.log()).flatten(1).sum(1)


def log_uniform(xi: Tensor, generator: torch.Generator) -> Tensor:
    return uniform(xi.shape[:1], xi, generator).log()

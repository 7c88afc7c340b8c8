"""Ergodicity: the theorem's assumption along rays, and its drift inequality, for the f at hand.

    H1   for |z| → ∞:  ⟨z/|z|, ∇f(z)⟩ → −∞  and  limsup ⟨z/|z|, ∇f(z)/|∇f(z)|⟩ < 0
    V    = c π^(−β) = exp(β (max f − f)),  β in (0, 1)
    ΠV  ≤ μ V + δ 1_O,  μ < 1,  O = {|z| ≤ R}

With a small set this gives sup over compact sets of ‖Πᵏu − πu‖_V ≤ e ρᵏ ‖u‖_V (Meyn & Tweedie 1993, chapter 15).
Karimi, Xie & Li 2023 (STANLEY), section 4 prove it under H1 for the Metropolis-adjusted anisotropic kernel, uniformly
in θ. Here H1 is checked along random rays, and the ratio ΠV/V is estimated with the kernel's own steps: this is
evidence up to the radius reached, with confidence intervals, and not a proof.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import LogDensity, value_and_grad
from anila.density.rows import across, finite_rows
from anila.messages import counted
from anila.rng import normal
from anila.samplers import Sampler

GROWING = 0.05
"""Least exponent q at which a radial derivative that falls like −r^q counts as falling without bound."""
CHUNK = 1 << 13
"""Number of chains that take a step together."""
INWARD = -1e-3
"""Largest cosine between ∇f and the outward direction that counts as below 0."""
CONFINE = "Add the term −|x|²/(2 s²): network.confine=s in a run, anila.density.networks.Confined(f, s) elsewhere"


@dataclass(frozen=True)
class Rays:
    """∇f along rays from a centre: does it point inwards, ever more strongly?"""

    radii: Float[Tensor, "radii"]
    radial: Float[Tensor, "radii rays"]
    """⟨u, ∇f(centre + r u)⟩."""
    cosine: Float[Tensor, "radii rays"]
    """⟨u, ∇f/|∇f|⟩ there."""

    @property
    def growth(self) -> Float[Tensor, "rays"]:
        """q of −⟨u, ∇f⟩ ~ r^q over the outer half of each ray; NaN where ∇f points outwards."""
        half = len(self.radii) // 2
        rise = (-self.radial[-1]).log() - (-self.radial[half]).log()
        return rise / (self.radii[-1] / self.radii[half]).log()

    @property
    def ok(self) -> bool:
        """Whether H1 holds as far as the rays reach."""
        outer = self.cosine[len(self.radii) // 2 :]
        return bool((self.growth > GROWING).all() and (outer < INWARD).all())

    @property
    def line(self) -> str:
        """The findings and what to do, in one line."""
        farthest, rays = self.radii[-1].item(), self.radial.shape[1]
        slope = self.radial[-1].max().item()
        if self.ok:
            return (
                f"H1 holds along {counted(rays, 'ray')} up to |z| = {farthest:.3g}: the radial derivative of f falls "
                f"like −r^{self.growth.min().item():.2g} or faster"
            )
        if slope >= 0:
            what = f"∇f points outwards along {int((self.radial[-1] >= 0).sum())} of {counted(rays, 'ray')}. {CONFINE}"
        elif bool((self.growth <= GROWING).any()):
            what = f"the radial derivative of f stays bounded, as in a piecewise-linear network. {CONFINE}"
        else:
            what = "∇f becomes perpendicular to the ray"
        return f"H1 fails at |z| = {farthest:.3g}, so the ergodicity theorem does not apply: {what}"


def rays(
    f: LogDensity,
    centre: Float[Tensor, "*event"],
    scale: float,
    generator: torch.Generator,
    directions: int = 64,
    farthest: float = 1e3,
) -> Rays:
    """The radial derivative and the angle of ∇f along random rays, at 1 to `farthest` times the scale.

    Args:
        f: Log-density, (n, *event) -> (n,).
        centre: Where the rays start, (*event); f is evaluated in its dtype.
        scale: Distance of typical draws from the centre, in units of x.
        generator: Source of the directions.
        directions: Number of rays.
        farthest: The outermost radius, in units of scale; less if ∇f overflows before.

    Raises:
        ValueError: If ∇f is not finite near the centre.
    """
    u = units(centre, directions, generator)
    radii = scale * torch.logspace(0, math.log10(farthest), 13, dtype=centre.dtype, device="cpu")
    grads = torch.stack([value_and_grad(f, centre + r * u)[1] for r in radii]).flatten(2).cpu()
    reached = int(finite_rows(grads).int().cumprod(0).sum())
    if reached < 3:
        raise ValueError(f"∇f is not finite at |z − centre| = {radii[reached].item():.3g}: take a smaller scale")
    radii, grads = radii[:reached], grads[:reached]
    radial = (grads * u.flatten(1).cpu()).sum(2)
    return Rays(radii, radial, radial / grads.norm(dim=2).clamp(min=torch.finfo(grads.dtype).tiny))


@dataclass(frozen=True)
class DriftInequality:
    """ΠV/V on spheres, the worst over directions, and what follows for μ, δ and the small set."""

    radii: Float[Tensor, "radii"]
    ratio: Float[Tensor, "thetas radii"]
    """Largest estimate of ΠV/V over directions, for each f."""
    upper: Float[Tensor, "thetas radii"]
    """Its upper confidence limit, simultaneous over everything estimated."""
    log_v: Float[Tensor, "thetas radii"]
    """Largest log V over directions."""
    beta: float
    level: float
    mu: float
    """Largest upper limit outside the small set, over all f; NaN if there is no such set."""
    radius: float
    """R of the small set {|z − centre| ≤ R}; infinite if none was found."""
    log_delta: float
    """log of the largest upper limit of ΠV − μV inside; −∞ if that is never positive."""

    @property
    def ok(self) -> bool:
        """Whether μ < 1 beyond some radius, for every f."""
        return self.mu < 1

    @property
    def delta(self) -> str:
        """δ in words; V is 1 at the mode and vast far from it."""
        return f"{math.exp(self.log_delta):.3g}" if self.log_delta < 14 else f"e^{self.log_delta:.0f}"

    @property
    def line(self) -> str:
        """The findings, in one line."""
        many = f", uniformly over {len(self.ratio)} parameters θ" if len(self.ratio) > 1 else ""
        if not self.ok:
            return (
                f"no drift inequality was found: ΠV/V is not below 1 with confidence {1 - self.level:.0%} at "
                f"|z| = {self.radii[-1].item():.3g}{many} (V = π^−{self.beta:g})"
            )
        return (
            f"drift inequality: ΠV ≤ {self.mu:.3f} V + {self.delta} inside |z| ≤ {self.radius:.3g}"
            f"{many} (V = π^−{self.beta:g}, confidence {1 - self.level:.0%}, up to |z| = {self.radii[-1].item():.3g})"
        )


def drift_inequality(
    make: Callable[[LogDensity], Sampler],
    fs: Sequence[LogDensity],
    centre: Float[Tensor, "*event"],
    radii: Float[Tensor, "radii"],
    generator: torch.Generator,
    beta: float = 0.5,
    directions: int = 16,
    draws: int = 400,
    level: float = 0.01,
) -> DriftInequality:
    """Estimate ΠV/V on spheres around the centre, for each f, and read off μ, δ and R.

    Args:
        make: f -> kernel.
        fs: One log-density for each θ, e.g. the checkpoints of a run.
        centre: Centre of the spheres, (*event); f is evaluated in its dtype.
        radii: Increasing, positive, in units of x.
        generator: Source of directions and noise.
        beta: Power of V = π^(−β), in (0, 1).
        directions: Points on each sphere.
        draws: Least number of steps from each point.
        level: Probability that any of the confidence limits is too low (normal approximation).

    Raises:
        ValueError: If beta is not in (0, 1) or radii do not increase.

    Reference: Karimi, Xie & Li 2023, section 4; Meyn & Tweedie 1993, theorem 15.0.1.
    """
    if not 0 < beta < 1:
        raise ValueError(f"expected beta in (0, 1); got {beta}")
    if not bool((radii.diff(prepend=radii.new_zeros(1)) > 0).all()):
        raise ValueError(f"expected increasing positive radii; got {radii.tolist()}")
    u = units(centre, directions, generator)
    z = (centre + radii.view(-1, 1, *[1] * centre.ndim).to(centre) * u).flatten(0, 1)
    shape, tests = (len(radii), directions), len(fs) * len(z)
    found = [ratios(make(f), f, z, beta, draws, generator) for f in fs]
    mean, error = (
        torch.stack([part.view(shape) for part in parts]) for parts in zip(*(x[:2] for x in found), strict=True)
    )
    log_v = torch.stack([value.view(shape) for *_, value in found])
    upper = mean + NormalDist().inv_cdf(1 - level / tests) * error
    return drift_constants(radii.double().cpu(), mean, upper, log_v, beta, level)


def ratios(sampler: Sampler, f: LogDensity, z: Tensor, beta: float, draws: int, generator: torch.Generator) -> Any:
    """ΠV/V at the points z with its standard error, and log V there up to its lowest value; each (n,), float64.

    ΠV/V (z) = E exp(β (f(z) − f(z'))), z' one step of the kernel from z.
    """
    copies = min(draws, max(1, CHUNK // len(z)))
    many = z.repeat(copies, *[1] * (z.ndim - 1))
    start, value = sampler.init(many), value_and_grad(f, z)[0].double()
    total, square, rounds = torch.zeros_like(value), torch.zeros_like(value), math.ceil(draws / copies)
    for _ in range(rounds):
        state, _ = sampler.step(start, sampler.draw_noise(many, generator))
        with torch.no_grad():
            gain = value - f(state.x).double().view(copies, -1)
        ratio = (beta * gain).exp().nan_to_num(math.inf, math.inf)
        total, square = total + ratio.sum(0), square + ratio.square().sum(0)
    mean = total / (rounds * copies)
    error = ((square / (rounds * copies) - mean.square()).clamp(min=0) / (rounds * copies)).sqrt()
    return mean.cpu(), error.cpu(), (beta * (value.max() - value)).cpu()


def drift_constants(
    radii: Tensor, mean: Tensor, upper: Tensor, log_v: Tensor, beta: float, level: float
) -> DriftInequality:
    """μ, R and δ: every upper limit beyond R is below 1, and δ covers the excess inside."""
    high = upper.amax((0, 2))
    rising = (~(high < 1)).nonzero().flatten()
    first = int(rising[-1]) + 1 if len(rising) else 0
    mu = high[first:].max().item() if first < len(radii) else math.nan
    inside = (upper[:, :first] - mu).log() + log_v[:, :first]
    log_delta = torch.nan_to_num(inside, nan=-math.inf).max().item() if inside.numel() else -math.inf
    return DriftInequality(
        radii, mean.amax(2), upper.amax(2), log_v.amax(2), beta, level, mu,
        radius=radii[first - 1].item() if 0 < first < len(radii) else 0.0 if not first else math.inf,
        log_delta=log_delta,
    )  # fmt: skip


def units(centre: Tensor, n: int, generator: torch.Generator) -> Float[Tensor, "n *event"]:
    """Uniform random directions: unit vectors of shape (n, *event)."""
    u = normal((n, *centre.shape), centre, generator)
    return u / across(u.flatten(1).norm(dim=1), u)

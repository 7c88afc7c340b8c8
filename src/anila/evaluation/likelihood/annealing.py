"""An annealing path from a normal law to exp f that chooses its own rungs.

    log π_β(x) = (1 − β) log q₀(x) + β f(x),     q₀ = N(m, diag s²),   0 = β₀ < β₁ < … < β_K = 1

With u = f − log q₀, a step dβ changes log weights by u dβ, with a standard deviation over chains of √Var_β(u) dβ = dℓ:
dℓ is length along the path, however β is parametrised. Among K rungs, those of equal length ℓ/K minimise the variance
of the sum, which is ℓ²/K if chains mix at every rung and τ ℓ²/K if they take τ rungs to forget.

1. A pilot of resampled chains climbs from q₀. Each rung is where the effective sample size of its weights falls to
   a fraction C of the chains, of length √(log 1/C). There the preconditioner and the threshold are chosen from the
   chains' positions as in `tune`, and step_size follows acceptance.
2. There are K = ℓ²/spread rungs of equal length, with β and log step_size interpolated.
3. Other chains climb it without resampling. While log n/ESS of their weights, which is the variance if these are
   lognormal, is well above `spread`, K grows in proportion.

Then the path is frozen: estimates on it with new noise are not biased by the way it was found.

References: Neal 2001 (path and weights); Gelman & Meng 1998, section 4.1 (length); Jasra et al. 2011, Zhou, Johansen &
Aston 2016 (rungs from effective sample sizes); Grosse, Maddison & Salakhutdinov 2013 (variance ℓ²/K).
"""

import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from anila.density.log_density import LogDensity
from anila.density.wrong_f import require_one_number_a_row
from anila.messages import counted
from anila.rng import normal
from anila.samplers import Sampler, anisotropic_mala
from anila.samplers.adaptation import adapted
from anila.samplers.kernel import require_metropolis
from anila.samplers.metric import preconditioner
from anila.samplers.phase import Settings, quantile
from anila.samplers.sample import transitions
from anila.samplers.tunable import keywords
from anila.samplers.warm_up import BOLD_QUANTILE

ESS_FRACTION = 0.8
"""C: effective sample size after a rung of the pilot, as a fraction of the chains."""
PILOT_STEPS = 10
"""Transitions at each rung of the pilot, each with its own step_size."""
LEAST_RUNGS = 10
ENOUGH = 1.5
"""Multiple of the target spread above which more rungs are tried."""

MakeAt = Callable[..., Sampler]
"""(f, step_size=, threshold=, preconditioner=) -> kernel, the last two only if it takes them, e.g. `mala`."""


class Base(NamedTuple):
    """q₀ = N(mean, diag scale²), the beginning of the path."""

    mean: Float[Tensor, "*event"]
    scale: Float[Tensor, "*event"]

    @classmethod
    def around(cls, x: Float[Tensor, "n *event"], wider: float = 1.5) -> "Base":
        """The normal law with the mean of x and `wider` times its standard deviations.

        Each deviation is at least 1/10 of the typical one. A base wider than exp f is safe: if exp f has heavier tails
        than the base, weights may have infinite variance.
        """
        sd = x.std(0)
        return cls(x.mean(0), wider * sd.clamp(min=0.1 * sd.square().mean().sqrt()))

    def draw(self, n: int, generator: torch.Generator) -> Float[Tensor, "n *event"]:
        """n exact draws."""
        return self.mean + self.scale * normal((n, *self.mean.shape), self.mean, generator)

    def log_prob(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n"]:
        """log q₀, normalised."""
        z = (x - self.mean) / self.scale
        return -(z.square() / 2 + self.scale.log() + math.log(2 * math.pi) / 2).flatten(1).sum(1)


class Rung(NamedTuple):
    """A law on the path, and the settings of its kernel."""

    beta: float
    settings: Settings


class AnnealingPath(NamedTuple):
    """Rungs with a kernel each; fixed once found."""

    f: LogDensity
    base: Base
    rungs: list[Rung]
    """From β₀ = 0 to β_K = 1."""
    make: MakeAt
    steps: int
    """Transitions at each rung."""
    length: float
    """ℓ, as measured by the pilot."""
    spread: float
    """log n/ESS of the weights of the trial chains."""

    def __repr__(self) -> str:
        return f"<AnnealingPath: {counted(len(self.rungs), 'rung')} of {counted(self.steps, 'step')} each>"

    def kernel(self, k: int) -> Sampler:
        """The kernel that leaves π_β of rung k invariant."""
        return kernel_at(self.f, self.base, self.rungs[k], self.make)


def find_path(
    f: LogDensity,
    base: Base,
    generator: torch.Generator,
    make: MakeAt = anisotropic_mala,
    chains: int = 200,
    steps: int = 2,
    spread: float = 0.5,
    most_rungs: int = 5000,
) -> AnnealingPath:
    """A path on which the log weights of chains vary by about `spread`.

    Args:
        f: Log-density, (chains, *event) -> (chains,), finite wherever the base draws.
        base: q₀; dtype and device of the chains are those of its mean.
        generator: Source of the pilot's noise.
        make: Metropolis kernel of every rung: `anisotropic_mala`, `mala`, `partial(hmc, leapfrog_steps=5)`; called with
            the f of the rung and with those of step_size, threshold and preconditioner that it takes.
        chains: Number of chains that climb in the pilot and in the trial.
        steps: Transitions at each rung.
        spread: Target variance of log weights, measured by log n/ESS.
        most_rungs: Longer paths are cut to this many rungs, with a warning; a pilot that needs more is refused.

    Raises:
        ValueError: If the kernel is not a Metropolis kernel, f is not finite at a draw of the base, chains or steps are
            too few, or the pilot needs more than most_rungs.
    """
    if chains < 10 or steps < 1 or not spread > 0:
        raise ValueError(f"expected chains >= 10, steps >= 1, spread > 0; got {chains}, {steps}, {spread}")
    first = Rung(0.0, base_settings(base, make))
    require_metropolis(kernel_at(f, base, first, make), "annealed importance sampling")
    lengths, found = pilot(f, base, first, generator, make, chains, most_rungs)

    def tried(K: int) -> AnnealingPath:
        path = AnnealingPath(f, base, spaced(lengths, found, K), make, steps, lengths[-1], math.nan)
        log_weight = climb(path, base.draw(chains, generator), generator)
        return path._replace(spread=-math.log(ess_fraction(log_weight)))

    rungs = min(max(LEAST_RUNGS, math.ceil(lengths[-1] ** 2 / spread)), most_rungs)
    path = tried(rungs)
    while path.spread > ENOUGH * spread and rungs < most_rungs:
        rungs = min(math.ceil(rungs * path.spread / spread), most_rungs)
        path = tried(rungs)
    if rungs == most_rungs and path.spread > 2 * spread:
        warnings.warn(
            f"the path is cut at {rungs} rungs, where log weights vary by {path.spread:.3g}, not {spread:g}: the "
            "interval of log Z will be wide; allow more rungs or steps, or bring a base nearer to exp f",
            RuntimeWarning,
            stacklevel=2,
        )
    return path


def spaced(lengths: list[float], rungs: list[Rung], K: int) -> list[Rung]:
    """K + 1 rungs at equal lengths along the pilot's path."""
    at = np.linspace(0, lengths[-1], K + 1)
    betas = np.interp(at, lengths, [rung.beta for rung in rungs])
    gammas = np.exp(np.interp(at, lengths, [math.log(rung.settings["step_size"]) for rung in rungs]))
    places = np.searchsorted(lengths, at, side="right").clip(max=len(rungs)) - 1
    return [
        Rung(float(beta), rungs[i].settings | {"step_size": float(gamma)})
        for beta, gamma, i in zip(betas, gammas, places, strict=True)
    ]


def climb(
    path: AnnealingPath, x: Float[Tensor, "chains *event"], generator: torch.Generator
) -> Float[Tensor, "chains"]:
    """Log weights of chains that start from exact draws of q₀: E[w] = Z, exactly.

    log w = Σ_k (β_{k+1} − β_k) u(x_k), where x_k has been moved by the kernel of rung k ≥ 1.

    Reference: Neal 2001, eq. 4-11.
    """
    return annealed(path, x, generator, range(len(path.rungs) - 1))


def descend(
    path: AnnealingPath, x: Float[Tensor, "chains *event"], generator: torch.Generator
) -> Float[Tensor, "chains"]:
    """The same sum for chains that start from exact draws of exp f and go down: E[1/w] = 1/Z, exactly.

    Reference: Grosse, Ghahramani & Adams 2015, section 3.
    """
    return annealed(path, x, generator, range(len(path.rungs) - 2, -1, -1))


def annealed(path: AnnealingPath, x: Tensor, generator: torch.Generator, intervals: range) -> Tensor:
    """Σ (β_{k+1} − β_k) u(x) over these intervals in turn, with a move at the rung between two intervals; float64."""
    log_weight = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for k in intervals:
        if k != intervals[0]:
            x, _ = transitions(path.kernel(max(k, k - intervals.step)), x, path.steps, generator)
        log_weight += (path.rungs[k + 1].beta - path.rungs[k].beta) * advantage(path.f, path.base, x)
    return log_weight


def pilot(
    f: LogDensity, base: Base, first: Rung, generator: torch.Generator, make: MakeAt, chains: int, most_rungs: int
) -> tuple[list[float], list[Rung]]:
    """The rungs that resampled chains climb, and the length up to each."""
    x, rung = settled(f, base, first, make, base.draw(chains, generator), generator)
    lengths, rungs = [0.0], [rung]
    while rung.beta < 1:
        u = advantage(f, base, x)
        require_finite(u, rung.beta)
        step = next_step(u, 1 - rung.beta)
        beta = 1.0 if step >= 1 - rung.beta else rung.beta + step
        if len(rungs) > most_rungs or beta == rung.beta:
            raise ValueError(
                f"the pilot got no further than β = {beta:.3g} of 1 in {len(rungs)} rungs: exp f is too far from the "
                "base; bring a base nearer to it, e.g. Base.around(samples), or allow more rungs"
            )
        x = x[resampled((step * u).softmax(0), generator)]
        rung = reshaped(f, base, rung._replace(beta=beta), make, x)
        x, rung = settled(f, base, rung, make, x, generator)
        lengths.append(lengths[-1] + math.sqrt(max(0.0, -math.log(ess_fraction(step * u)))))
        rungs.append(rung)
    return lengths, rungs


def base_settings(base: Base, make: MakeAt) -> Settings:
    """Settings for the base, whose coordinates are independent; trajectories have the length that `make` sets."""
    found = {"step_size": base.mean.numel() ** (-1 / 3), "threshold": 2.0, "preconditioner": base.scale}
    takes = keywords(lambda **settings: make(base.log_prob, **settings))
    return {name: setting for name, setting in found.items() if name in takes}


def reshaped(f: LogDensity, base: Base, rung: Rung, make: MakeAt, x: Tensor) -> Rung:
    """The rung with a preconditioner and threshold for the chains' positions, if its kernel takes them."""

    def grad(settings: Settings) -> Tensor:
        return kernel_at(f, base, rung._replace(settings=settings), make).init(x).grad

    settings = dict(rung.settings)
    if "preconditioner" in settings:
        settings["preconditioner"] = preconditioner(x, grad(settings | {"preconditioner": None}))
    if "threshold" in settings:
        settings["threshold"] = quantile(grad(settings), BOLD_QUANTILE)
    return rung._replace(settings=settings)


def settled(
    f: LogDensity, base: Base, rung: Rung, make: MakeAt, x: Tensor, generator: torch.Generator
) -> tuple[Tensor, Rung]:
    """Chains after the pilot's steps on a rung, and the rung with the step_size that followed their acceptance."""
    for _ in range(PILOT_STEPS):
        kernel = kernel_at(f, base, rung, make)
        x, trace = transitions(kernel, x, 1, generator)
        off = trace.means()["accept_prob"] - (kernel.target_accept or 0.57)
        step_size = adapted(rung.settings["step_size"], 1.0, off)
        rung = rung._replace(settings=rung.settings | {"step_size": step_size})
    return x, rung


def kernel_at(f: LogDensity, base: Base, rung: Rung, make: MakeAt) -> Sampler:
    """The kernel bound to (1 − β) log q₀ + β f."""
    beta = rung.beta

    def tempered(x: Tensor) -> Tensor:
        return (1 - beta) * base.log_prob(x) + (beta * f(x) if beta else 0.0)

    return make(tempered, **rung.settings)


@torch.no_grad()
def advantage(f: LogDensity, base: Base, x: Float[Tensor, "chains *event"]) -> Float[Tensor, "chains"]:
    """u = f − log q₀, float64."""
    value = f(x)
    require_one_number_a_row(value, x)
    return value.double() - base.log_prob(x).double()


def next_step(u: Float[Tensor, "chains"], most: float) -> float:
    """The dβ ≤ most at which the effective share of weights exp(dβ u) is C, by bisection in log dβ."""
    if ess_fraction(most * u) >= ESS_FRACTION:
        return most
    low, high = math.log(most) - 60, math.log(most)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if ess_fraction(math.exp(middle) * u) > ESS_FRACTION else (low, middle)
    return math.exp(low)


def ess_fraction(log_weight: Float[Tensor, "chains"]) -> float:
    """(Σ w)² / (n Σ w²): 1 for equal weights, 1/n where one has all."""
    return math.exp(2 * log_weight.logsumexp(0) - (2 * log_weight).logsumexp(0)) / len(log_weight)


def resampled(weight: Float[Tensor, "n"], generator: torch.Generator) -> Int[Tensor, "n"]:
    """Indices of the resampled rows, in proportion to their weights: systematic resampling (Kitagawa 1996)."""
    n = len(weight)
    shift = torch.rand(1, generator=generator, dtype=torch.float64, device=generator.device).to(weight.device)
    points = (torch.arange(n, dtype=torch.float64, device=weight.device) + shift) / n
    return torch.searchsorted(weight.cumsum(0), points).clamp(max=n - 1)


def require_finite(u: Float[Tensor, "chains"], beta: float) -> None:
    """Refuse an f that gives some chains no finite weight."""
    bad = int((~torch.isfinite(u)).sum())
    if bad:
        raise ValueError(
            f"f is not finite at {bad} of {len(u)} points of the path at β = {beta:.3g}: expected a finite f where "
            "the base draws; bring a base inside the support of exp f"
        )

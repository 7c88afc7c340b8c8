"""Replica exchange: a ladder of tempered copies of each chain, whose hot rungs cross between modes.

Rung j samples exp(f / Tⱼ), 1 = T₀ < T₁ < … After every `every` local steps, neighbours swap positions with probability

    min(1, exp((f(xⱼ₊₁) − f(xⱼ)) (1/Tⱼ − 1/Tⱼ₊₁)))

The pairs (0,1), (2,3), … and (1,2), (3,4), … take turns. Local steps and swaps leave Πⱼ exp(f(xⱼ)/Tⱼ) invariant, and
its first factor is exp f; `.x` shows rung 0. Rung j runs in the coordinates u of x = √Tⱼ u, in which a tempered
Gaussian equals the cold one, so one step_size suits all rungs.

All rungs of a ladder start at the same position, so the hot rungs must spread before the cold ones are exact.

References: Geyer 1991; Hukushima & Nemoto 1996; Okabe et al. 2001 and Syed et al. 2022 (pairs in turn).
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import LogDensity
from anila.density.precision import current
from anila.density.rows import across
from anila.density.wrong_f import require_function, require_one_number_a_row
from anila.messages import whole_number
from anila.rng import uniform
from anila.samplers.kernel import Move, MoveInfo, Sampler, Scheduled, require_metropolis
from anila.samplers.precondition import stretched


class ReplicaNoise(NamedTuple):
    """The local kernel's noise for every rung, (chains, rungs, ...), and a uniform for each pair of neighbours."""

    local: Any
    swap: Float[Tensor, "chains pairs"]


class Swap(NamedTuple):
    """A uniform for each pair of neighbours."""

    uniform: Float[Tensor, "chains pairs"]


class ReplicaState(NamedTuple):
    """Positions of the cold rung; the local kernel's state, each field (chains, rungs, ...); steps made."""

    x: Float[Tensor, "chains *event"]
    local: Any
    steps: int

    @property
    def grad(self) -> Tensor:
        """∇f where the cold chains stand."""
        return self.local.grad[:, 0]

    @property
    def value(self) -> Tensor:
        """f where the cold chains stand."""
        return self.local.value[:, 0]


class ReplicaInfo(NamedTuple):
    """The cold rung's info, and the acceptance of swaps averaged over the pairs tried (NaN where none was)."""

    accept_prob: Float[Tensor, "chains"]
    step_size: Float[Tensor, "chains"]
    grad_norm: Float[Tensor, "chains"]
    clipped: Float[Tensor, "chains"]
    swap_accept: Float[Tensor, "chains"]


def replica_exchange(
    make: Callable[[LogDensity], Sampler], f: LogDensity, temperatures: Sequence[float], every: int = 1
) -> Sampler:
    """A kernel that runs a ladder of temperatures for each chain and shows the cold rung. Exact for exp f.

    A step costs one gradient per rung. A swap costs none, or one per rung with momentum or rounded gradients. A good
    ladder has a `swap_accept` of 0.2 to 0.6, and a hottest rung that crosses between modes on its own.

    Args:
        make: f -> Metropolis kernel, e.g. `lambda f: mala(f, 0.5)`.
        f: Log-density, (chains, *event) -> (chains,).
        temperatures: 1 = T₀ < T₁ < …, at least two.
        every: Local steps between swaps.

    Raises:
        ValueError: If temperatures do not rise from 1, every is below 1, or `make` gives no local Metropolis kernel.
        TypeError: If every is not a whole number, or `make` is a kernel.
    """
    if isinstance(make, Sampler):
        raise TypeError("make must be a function of f, as in lambda f: mala(f, 0.5); got a kernel")
    whole_number("every", every, least=1)
    require_ladder(temperatures)
    kernel, rungs = ladder(make, f, temperatures), len(temperatures)
    require_metropolis(kernel, "replica exchange")

    def init(x: Tensor) -> ReplicaState:
        local = kernel.init(x.repeat_interleave(rungs, 0))
        return ReplicaState(x, fold(local, rungs), 0)

    def draw_noise(x: Tensor, generator: torch.Generator) -> ReplicaNoise:
        local = kernel.draw_noise(x.repeat_interleave(rungs, 0), generator)
        return ReplicaNoise(fold(local, rungs), uniform((len(x), rungs - 1), x, generator))

    def step(
        state: ReplicaState, noise: ReplicaNoise, local_step: Move, even: Move, odd: Move
    ) -> tuple[ReplicaState, ReplicaInfo]:
        local, info = local_step(unfold(state.local), unfold(noise.local))
        local, cold = fold(local, rungs), [field[:, 0] for field in fold(info, rungs)]
        steps, prob = state.steps + 1, torch.full_like(noise.swap[:, 0], math.nan)
        if steps % every == 0:
            exchange = odd if rungs > 2 and steps // every % 2 == 0 else even
            local, (prob,) = exchange(local, Swap(noise.swap))
        return ReplicaState(local.x[:, 0], local, steps), ReplicaInfo(*cold[:4], swap_accept=prob)

    def exchange(first: int) -> Move:
        def swap(local: Any, noise: Swap) -> tuple[Any, MoveInfo]:
            t = torch.tensor(temperatures, dtype=local.value.dtype, device=local.value.device)
            tried = torch.arange(rungs - 1, device=t.device) % 2 == first
            prob = swap_prob(local.value, t) * tried
            taken = noise.uniform < prob
            x, ratio = swapped(local.x, taken, torch.ones_like(t[1:])), t[1:] / t[:-1]
            if kernel.at is None or current():  # rounding differs between the units of two rungs
                new = kernel.init(x.flatten(0, 1))
            else:  # f/T and its gradient in u, √T ∇f/T, are known from the other rung
                value, grad = swapped(local.value, taken, ratio), swapped(local.grad, taken, ratio.sqrt())
                new = kernel.at(x.flatten(0, 1), value.flatten(), grad.flatten(0, 1))
            return fold(new, rungs), MoveInfo(prob.sum(1) / tried.sum())

        return swap

    after_swaps = 0 if kernel.at else kernel.ahead / every
    return Sampler(
        init, Scheduled(step, kernel.step, exchange(0), exchange(1)), draw_noise, target_accept=kernel.target_accept,
        gradients=rungs * (kernel.gradients + after_swaps), ahead=rungs * kernel.ahead, f=f,
    )  # fmt: skip


def ladder(make: Callable[[LogDensity], Sampler], f: LogDensity, temperatures: Sequence[float]) -> Sampler:
    """The local kernel on (chains · rungs) rows; row r has the temperature of rung r mod rungs."""
    require_function(f)

    def t(x: Tensor) -> Tensor:
        return torch.tensor(temperatures, dtype=x.dtype, device=x.device).repeat(len(x) // len(temperatures))

    def tempered(x: Tensor) -> Tensor:
        value = f(x)
        require_one_number_a_row(value, x)
        return value / t(x)

    return stretched(tempered, lambda u: u * across(t(u).sqrt(), u), make)


def swap_prob(value: Tensor, t: Tensor) -> Tensor:
    """min(1, exp((f(xⱼ₊₁) − f(xⱼ)) (1/Tⱼ − 1/Tⱼ₊₁))) from values f/T, (chains, pairs); 0 where it is not finite."""
    f = value * t
    log_ratio = (f[:, 1:] - f[:, :-1]) * (1 / t[:-1] - 1 / t[1:])
    return torch.where(torch.isfinite(log_ratio), log_ratio.clamp(max=0).exp(), torch.zeros_like(log_ratio))


def swapped(held: Tensor, taken: Tensor, ratio: Tensor) -> Tensor:
    """What rungs hold, (chains, rungs, ...), after some pairs, (chains, pairs), have exchanged it.

    Args:
        held: What they hold before.
        taken: Whether the rungs of each pair (j, j + 1) exchange it.
        ratio: Factor that converts from the units of rung j + 1 to those of rung j, (pairs,).
    """
    never, more = torch.zeros_like(taken[:, :1]), [1] * (held.ndim - 2)
    ratio = ratio.view(-1, *more)
    from_above = torch.cat([held[:, 1:] * ratio, held[:, :1]], 1)
    from_below = torch.cat([held[:, :1], held[:, :-1] / ratio], 1)
    up, down = (torch.cat(both, 1).view(*held.shape[:2], *more) for both in ([taken, never], [never, taken]))
    return torch.where(up, from_above, torch.where(down, from_below, held))


def fold(tree: Any, rungs: int) -> Any:
    """Each tensor from (chains · rungs, ...) to (chains, rungs, ...)."""
    return type(tree)(*(field.unflatten(0, (-1, rungs)) for field in tree))


def unfold(tree: Any) -> Any:
    """Each tensor from (chains, rungs, ...) to (chains · rungs, ...)."""
    return type(tree)(*(field.flatten(0, 1) for field in tree))


def require_ladder(temperatures: Sequence[float]) -> None:
    """Refuse ladders whose cold rung is not exp f, or whose swaps have no ratio."""
    rises = all(a < b < math.inf for a, b in pairwise(temperatures))
    if len(temperatures) < 2 or temperatures[0] != 1 or not rises:
        raise ValueError(f"temperatures must rise from 1, e.g. (1.0, 2.0, 4.0); got {tuple(temperatures)}")

"""Convergence: what the chains themselves tell about their mixing.

    nested R̂² = 1 + B/W                        R̂ of groups of chains that share a start: many short chains
    T = E[−(x − m) · ∇f] / d                   temperature: 1 for exp f, by Stein's identity, for any m

R̂, ESS and the standard error of a mean are in `samplers.estimates`. Draws come as `sample` keeps them in `trace["x"]`,
(kept, chains, *event), and each function returns one number per coordinate, (*event).

References: Margossian et al. 2024 (nested R̂); Stein 1972.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from anila.density.log_density import LogDensity, value_and_grad
from anila.samplers import Trace
from anila.samplers.estimates import by_arviz, ess, mcse, quantities, rhat, symptoms
from anila.samplers.heat import heat
from anila.samplers.remedy import Symptoms


def nested_rhat(x: Float[Tensor, "kept chains *event"], groups: Int[Tensor, "chains"]) -> Float[Tensor, "*event"]:
    """Nested R̂ of each coordinate, which compares groups of chains as R̂ compares chains.

    A group holds chains that started at one point, so many short chains can pass, while R̂ would require each of them
    to be long.

    Args:
        x: Draws, (kept, chains, *event).
        groups: The group of each chain, (chains,), at least two groups of equal size.

    Raises:
        ValueError: If the groups are fewer than two or differ in size.

    Reference: Margossian et al. 2024, eq. 6.
    """
    sizes = groups.bincount()
    if len(sizes) < 2 or bool((sizes != sizes[0]).any()):
        raise ValueError(f"expected at least two groups of chains of equal size; got sizes {sizes.tolist()}")
    return by_arviz("rhat_nested", x, superchain_ids=groups.numpy(force=True))


def configurational_temperature(
    x: Float[Tensor, "kept chains *event"], grad: Float[Tensor, "kept chains *event"]
) -> tuple[float, float]:
    """T = mean of −(x − m) · ∇f / d with m the mean draw, and its standard error over chains.

    Draws of exp(f/T) give T (Stein's identity, exact for every f whose density vanishes at the border of space), so 1
    means that drift and noise are balanced as exp f requires. It does not see a mode that no chain has visited.

    Args:
        x: Draws, (kept, chains, *event).
        grad: ∇f there.
    """
    x, grad = x.double().flatten(2), grad.double().flatten(2)
    virial = -((x - x.mean((0, 1))) * grad).mean(2).mean(0)
    return virial.mean().item(), (virial.std() / math.sqrt(len(virial))).item()


class Effective(NamedTuple):
    """How well chains have mixed, the worst over `quantities`."""

    rhat: float
    bulk: float
    tail: float
    worst: str
    """The quantity with the fewest effective samples."""


def effective(names: list[str], x: Float[Tensor, "kept chains quantities"]) -> Effective:
    """R̂ and ESS of at least four draws of at least two chains."""
    bulk, tail = (torch.nan_to_num(ess(x, kind), nan=0.0) for kind in ("bulk", "tail"))
    fewest = names[int(torch.minimum(bulk, tail).argmin())]
    return Effective(worst(rhat(x)), bulk.min().item(), tail.min().item(), fewest)


@dataclass(frozen=True)
class Convergence:
    """Diagnostics of chains: the worst over f and coordinates, constant ones left out, and averages over all draws."""

    chains: int
    draws: int
    """Kept positions of each chain."""
    rhat: float
    nested_rhat: float | None
    """None if chains do not start in groups."""
    ess_bulk: float
    ess_tail: float
    worst: str
    """The quantity with the fewest effective samples."""
    mcse: float
    """Largest standard error of a coordinate's mean, in its standard deviations."""
    accept_prob: float
    clipped: float
    temperature: float
    temperature_error: float
    grad_quantiles: tuple[float, float, float]
    """|∂ᵢf| at 50%, 80% and 95% of coordinates and draws."""
    threshold_quantile: float | None
    """Share of |∂ᵢf| below the threshold; None for kernels without one."""
    exact: bool | None
    """Whether the kernel leaves exp f invariant; None if the trace does not know."""
    symptoms: Symptoms
    """What the remedy is based on."""


def convergence(
    f: LogDensity, trace: Trace, groups: Int[Tensor, "chains"] | None = None, threshold: float | None = None
) -> Convergence:
    """All diagnostics for one run of `sample(..., keep_every=...)` after its warm-up.

    Args:
        f: Log-density, (chains, *event) -> (chains,).
        trace: A trace with at least four kept positions of at least two chains.
        groups: Which chains share a start, (chains,); None if each has its own.
        threshold: b of the kernel, in units of ∂f; None for kernels without one.

    Raises:
        ValueError: If too little was kept.
    """
    x = trace["x"]
    if len(x) < 4 or x.shape[1] < 2:
        raise ValueError(
            f"expected at least 4 kept positions of at least 2 chains; got {len(x)} of {x.shape[1]}: keep more"
        )
    value, grad = at(f, x)
    own, (names, columns) = quantities(x, trace.f)[1], quantities(x, trace.f, value)
    found = effective(names, columns)
    T, T_error = configurational_temperature(x, grad)
    slope = grad.abs().flatten().double()
    means = trace.means()
    return Convergence(
        chains=x.shape[1],
        draws=len(x),
        rhat=found.rhat,
        nested_rhat=None if groups is None else worst(nested_rhat(columns, groups)),
        ess_bulk=found.bulk,
        ess_tail=found.tail,
        worst=found.worst,
        mcse=worst(mcse(own) / own.double().flatten(0, 1).std(0).cpu()),
        accept_prob=means["accept_prob"],
        clipped=means["clipped"],
        temperature=T,
        temperature_error=T_error,
        grad_quantiles=tuple(np.quantile(slope.numpy(force=True), (0.5, 0.8, 0.95)).tolist()),
        threshold_quantile=None if threshold is None else (slope < threshold).double().mean().item(),
        exact=trace.exact,
        symptoms=symptoms(trace, value, heat(f, x)),
    )


def at(f: LogDensity, x: Tensor) -> tuple[Tensor, Tensor]:
    """f and ∇f at kept positions, (kept, chains) and (kept, chains, *event): f may hold something for each chain."""
    values, grads = zip(*(value_and_grad(f, chains) for chains in x), strict=True)
    return torch.stack(values), torch.stack(grads)


def worst(value: Tensor) -> float:
    """The largest value; infinite if one is NaN."""
    return torch.nan_to_num(value, nan=math.inf).max().item()

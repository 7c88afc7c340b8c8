"""Remedy: what to do about chains that have not mixed, from what they look like.

    stuck     some never moved                                            shorter steps
    funnel    one coordinate sets the scale of another, or how steep f     other coordinates, or two step sizes
              is: |r| ≥ 0.5 within chains, r that of xᵢ with
              log |xⱼ − median xⱼ| or with log ‖∇f‖
    modes     each chain has 20 effective samples of its own, yet R̂ is    moves between modes
              above 1.1
    slow      there would be enough of them after 20 times as long        run longer
              or not even then                                            another kernel or preconditioner

The summary of a trace, `evaluation.chains.verdict` and the warning of stuck chains say the same of the same chains.

Reference: Neal 2003, section 8 (the funnel); Betancourt & Girolami 2015 (other coordinates).
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

LOW, HIGH = 0.1, 0.95
"""Acceptance below which steps are too long, and above which they are too short."""
FUNNEL = 0.5
APART, ALONE = 1.1, 20
"""R̂ above which chains are apart, and effective samples of a chain above which it has mixed where it is."""
PATIENCE = 20
"""Times as long as which it is no advice to run."""
SHORTER = "lower step_size, use anisotropic_mala or barker, or let tune choose"


class Symptoms(NamedTuple):
    """What the remedy goes by."""

    rhat: float
    ess: float
    """Effective samples of the worst coordinate, in bulk or tail."""
    wanted: float
    """Those that are enough."""
    alone: float
    """Effective samples of the median chain by itself, of the coordinate of the largest R̂."""
    stuck: int
    """Chains that never moved."""
    chains: int
    funnel: tuple[str, str, float]
    """The coordinate that sets a scale, what scale, and r."""
    accept_prob: float | None
    """None for kernels that take every proposal."""


def remedy(s: Symptoms) -> str:
    """What to do, in words."""
    still = f"{s.stuck} of {s.chains} chains never moved: {SHORTER}"
    if 2 * s.stuck > s.chains:
        return still
    if s.accept_prob is not None and s.accept_prob < LOW:
        return f"{SHORTER}: acceptance is {s.accept_prob:.2g}, and 0.57 is best"
    if abs(s.funnel[2]) >= FUNNEL:
        return f"{funnel_said(s.funnel)}: sample the others in units of their scale, or mix step sizes (mixture)"
    if s.stuck:
        return still
    if s.accept_prob is not None and HIGH < s.accept_prob < 1:
        return f"raise step_size, or let tune choose: acceptance is {s.accept_prob:.2f}, and 0.57 is best"
    if s.rhat > APART and s.alone >= ALONE:
        return (
            "each chain has mixed where it is, but not with the others: move between modes (with_global_moves or "
            "replica_exchange; sampler.global_every=1 in a run)"
        )
    times = s.wanted / max(1.0, s.ess)
    if s.rhat > APART or times > PATIENCE:
        return "chains are slow, not short: let tune find a preconditioner, or take hmc"
    return f"run {max(2, math.ceil(times))} times as long"


def funnel_said(funnel: tuple[str, str, float]) -> str:
    return f"a funnel: {funnel[0]} sets {funnel[1]} (r = {funnel[2]:.2f})"


def stuck(x: Float[Tensor, "kept chains *event"]) -> int:
    """Chains whose kept positions are all the same."""
    return int((x == x[:1]).flatten(2).all(2).all(0).sum())


def funnel(
    x: Float[Tensor, "kept chains coordinates"], names: list[str], grad_norm: Float[Tensor, "some chains"] | None
) -> tuple[str, str, float]:
    """The coordinate that goes most with a scale, what scale, and their correlation within chains.

    Args:
        x: Draws.
        names: Of the coordinates.
        grad_norm: ‖∇f‖ at the first of them, where it is known.
    """
    x = x.double()
    r = correlation(x, (x - x.median(0).values).abs()).fill_diagonal_(0.0)
    whose = [f"the scale of {name}" for name in names]
    if grad_norm is not None and len(grad_norm):
        steep = correlation(x[: len(grad_norm)], grad_norm.double()[..., None])
        r, whose = torch.cat([r, steep], 1), [*whose, "how steep f is"]
    i, j = divmod(int(r.abs().argmax()), r.shape[1])
    return names[i], whose[j], r[i, j].item()


def correlation(x: Float[Tensor, "kept chains a"], size: Float[Tensor, "kept chains b"]) -> Float[Tensor, "a b"]:
    """corr(xᵢ, log sizeⱼ) within chains, 0 where one does not vary."""
    size = size.clamp(min=1e-6 * size.mean((0, 1))).log()
    return torch.einsum("kci,kcj->ij", standard(x), standard(size)).nan_to_num(0.0)


def standard(x: Tensor) -> Tensor:
    """Deviations from each chain's mean, of square sum 1."""
    x = x - x.mean(0)
    return x / x.square().sum((0, 1)).sqrt()

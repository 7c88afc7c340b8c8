"""Remedy: whether draws are good enough and of exp f, and what to do where they are not, from what chains look like.

    stuck     some never moved, or accept nothing at the end               shorter steps
    funnel    one coordinate sets the scale of another, or how steep f     other coordinates, or two step sizes
              is: r of xᵢ with log |xⱼ − median xⱼ|, or with log ‖∇f‖,
              within chains, and a scale that changes 10-fold between
              the 5% and 95% of xᵢ
    modes     each chain has 20 effective samples of its own, yet R̂ is    moves between modes
              above 1.1
    uneven    the widest direction has a tenth of the effective samples    a preconditioner
              of the narrowest
    slow      a run 20 times as long would be enough                       run longer
              or not even then                                             another kernel or preconditioner

Limits of R̂ and ESS are those of Stan and ArviZ. The summary of a trace, `evaluation.chains.verdict` and the warning of
stuck chains go by this page, and so say the same of the same chains.

Reference: Vehtari et al. 2021, section 4 (limits); Neal 2003, section 8 (the funnel); Betancourt & Girolami 2015
(other coordinates); Gelman & Rubin 1992 (starts wider than the law).
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from anila.messages import are, counted

if TYPE_CHECKING:
    from anila.samplers.heat import Heat
    from anila.samplers.trace import Trace

RHAT, ESS = 1.01, 400
LOW, HIGH = 0.1, 0.95
"""Acceptance below which steps are too long, and above which they are too short."""
FUNNEL, BOTH, NECK = 0.5, 0.3, 10.0
"""|r| of a funnel; less will do where f is steeper the smaller the scale is, as chance and a banana's bend are not."""
APART, ALONE = 1.1, 20
"""R̂ above which chains are apart, and effective samples of a chain above which it has mixed where it is."""
PATIENCE = 20
"""Times as long as which it is no advice to run."""
UNEVEN = 10
CLIPPED = 0.7
"""Share of slopes above the threshold with which it slows nearly everything."""
NARROW, CHANCE = 0.5, 1e-3
"""Spread of the starts, in that of the draws, below which they are not dispersed, and how often chance may say so."""
FEWEST, LASTING, SHARE, WIDER = 8, 4, 0.5, 1.25
"""Of at least so many chains one decides a sd if it has this share of the squares that last for so many draws, and the
sd without it is so many times smaller."""
STILL_STEPS, STILL = 50, 0.05
"""A chain is stuck whose acceptance probabilities over so many last steps add up to less."""
EXACT = "use mala or anisotropic_mala, or see by anila diagnose how far off it is"
INEXACT = f"the kernel takes every proposal, so its law depends on step_size; {EXACT}"


class Symptoms(NamedTuple):
    """What the verdict goes by."""

    rhat: float
    ess: float
    """Effective samples of the worst coordinate, in bulk or tail."""
    alone: float
    """Effective samples of the median chain by itself, of the coordinate of the largest R̂."""
    stuck: int
    """Chains that never moved, or accept nothing at the end."""
    chains: int
    funnel: tuple[str, str, float, float] | None
    """The coordinate that sets a scale, what scale, r, and how many times the scale changes; None where none does."""
    uneven: float
    """How many times as many effective samples the narrowest direction has as the widest."""
    exact: bool | None
    """Whether the kernel leaves exp f invariant; None where that is not known."""
    tuned: bool
    """Whether `tune` made the kernel."""
    accept_prob: float | None
    """None for kernels that take every proposal."""
    border: bool
    """Whether some proposals were rejected because f is not finite there."""
    clipped: float
    """Share of slopes above the threshold."""
    steep: float
    """Root mean square of a slope."""
    heat: "Heat | None"
    """What ∇f says of the law; None where it was not asked."""
    narrow: float | None
    """Spread of the starts in that of the draws; None where they are dispersed, or not known."""
    decided: tuple[str, float, float] | None
    """The coordinate whose sd one chain decides, its sd, and that without the chain; None where none does."""


def judged(s: Symptoms) -> str:
    """Whether such draws are good enough, and for what law; else what to do."""
    foreign = "; ".join(another_law(s) or unproven(s))
    if unmixed(s):
        seen = f"{s.stuck} of {counted(s.chains, 'chain')} {are(s.stuck)} stuck: " if s.stuck else ""
        return f"NOT CONVERGED: {seen}{remedy(s)}" + (f"; and NOT exp f: {foreign}" if foreign else "")
    if foreign:
        return f"mixed, but NOT exp f: {foreign}"
    if found := doubts(s):
        return f"good enough where chains went, but {'; and '.join(found + nearly(s))}"
    return ": ".join(["good enough", *nearly(s)])


def unmixed(s: Symptoms) -> bool:
    """Whether there is too little to go by."""
    return bool(s.stuck) or not (s.rhat <= RHAT and s.ess >= ESS)


def another_law(s: Symptoms) -> list[str]:
    """Why the law of the draws is not exp f; none if nothing says so."""
    if s.exact is not False or s.heat is None:
        return []
    if s.heat.wrong_slope:
        return [f"{slope_said(s.heat)}: correct it, or {EXACT}"]
    return [f"{s.heat.told}, and 1 is that of exp f: {INEXACT}"] if s.heat.off else []


def unproven(s: Symptoms) -> list[str]:
    """Why the law of the draws may not be exp f, for all that is known."""
    if s.exact is not False:
        return []
    if s.heat is None:
        return [INEXACT]
    return [f"{approximate(s.heat)}, which is too coarse: {INEXACT}"] if s.heat.vague else []


def slope_said(heat: "Heat") -> str:
    return f"its gradient is not that of f (off by {heat.slope_off:.0%} in the median)"


def approximate(heat: "Heat") -> str:
    """How near exp f the law of a kernel that takes every proposal is known to be."""
    return f"an approximate kernel, whose temperature is 1 as that of exp f to within {heat.resolution:.2g}"


def nearly(s: Symptoms) -> list[str]:
    """How near exp f the law is where nothing speaks against it; nothing to say of an exact kernel."""
    return [approximate(s.heat)] if s.heat and not s.exact else []


def doubts(s: Symptoms) -> list[str]:
    """What chains that agree may have missed all the same."""
    found = []
    if s.funnel:
        found.append(f"{funnel_said(*s.funnel)}, whose neck they may have missed")
    if s.narrow is not None:
        found.append(
            f"they started close together ({s.narrow:.2g} times the draws' spread), so R̂ does not see modes that none "
            "of them has reached: start them twice as wide as the draws"
        )
    if s.decided:
        who, sd, without = s.decided
        found.append(
            f"one chain of {s.chains} decides the sd of {who}, {sd:.3g} with it and {without:.3g} without: it was far "
            "away for a while, where few chains come: run more chains for longer"
        )
    if s.exact and not s.border and s.heat and s.heat.off and not s.heat.wrong_slope:
        found.append(f"they missed part of the mass, for {s.heat.told} is not the 1 of exp f")
    return found


def notes(s: Symptoms) -> list[str]:
    """What is amiss, but does no harm."""
    wrong = s.exact and s.heat and s.heat.wrong_slope
    return [f"{slope_said(s.heat)}: the kernel is exact all the same, only slower"] if wrong and s.heat else []


def remedy(s: Symptoms) -> str:
    """What to do, in words."""
    if 2 * s.stuck > s.chains:
        return shorter(s.tuned)
    if s.accept_prob is not None and s.accept_prob < LOW:
        return f"{shorter(s.tuned)}: acceptance is {s.accept_prob:.2g}, and 0.57 is best"
    if s.funnel:
        return (
            f"{funnel_said(*s.funnel)}: sample the others in units of their scale, or mix step sizes (hmc, spread=10)"
        )
    if s.stuck:
        return shorter(s.tuned)
    if s.clipped > CLIPPED:
        return (
            f"raise the threshold to {1.3 * s.steep:.2g} .. {2 * s.steep:.2g}, about the 80-95% quantiles of |∂f|: "
            f"{s.clipped:.0%} of slopes are above it, so nearly every coordinate is slowed"
        )
    if s.accept_prob is not None and HIGH < s.accept_prob < 1:
        return f"raise step_size, or {tune_again(s.tuned)}: acceptance is {s.accept_prob:.2f}, and 0.57 is best"
    if s.rhat > APART and s.alone >= ALONE:
        return (
            "each chain has mixed where it is, but not with the others: move between modes (with_global_moves or "
            "replica_exchange; sampler.global_every=1 in a run), or further where that is done (sampler.global_sd)"
        )
    times = longer(s)
    if s.uneven > UNEVEN and not s.tuned:
        return (
            f"let tune find a preconditioner: the narrowest direction has {s.uneven:.0f} times the effective "
            "samples of the widest"
        )
    if s.rhat > APART or times > PATIENCE:
        first = "take other coordinates" if s.tuned else "let tune find a preconditioner"
        return f"chains are slow, not short: {first}, or longer trajectories (hmc, more leapfrog_steps)"
    return f"run {max(2, math.ceil(times))} times as long"


def longer(s: Symptoms) -> float:
    """How many times as long a run is enough: ESS grows as its length, and R̂² − 1 falls as one over it."""
    return max(ESS / max(1.0, s.ess), (s.rhat**2 - 1) / (RHAT**2 - 1))


def shorter(tuned: bool) -> str:
    """What to do about chains that stand still, none of which is done already."""
    return f"lower step_size, or {tune_again(tuned)}"


def tune_again(tuned: bool) -> str:
    return "give tune more steps" if tuned else "let tune choose"


def funnel_said(who: str, what: str, r: float, times: float) -> str:
    return f"a funnel: {who} sets {what} (r = {r:.2f}), which changes {times:.0f}-fold"


def still(accept_prob: Float[Tensor, "steps chains"]) -> Tensor:
    """Chains that accept nothing at the end, (chains,)."""
    few = len(accept_prob) < STILL_STEPS
    return accept_prob[-STILL_STEPS:].sum(0) < (-1.0 if few else STILL)


def stuck(trace: "Trace") -> int:
    """Chains whose kept positions are all the same, or that accept nothing at the end."""
    x = trace["x"]
    same = (x == x[:1]).flatten(2).all(2).all(0)
    return int((same | still(trace["accept_prob"]).to(same.device) if "accept_prob" in trace else same).sum())


def narrow(starts: Tensor | None, x: Float[Tensor, "kept chains *event"]) -> float | None:
    """Spread of the starts in that of the draws, of the median coordinate; None where they are not narrow.

    As many points of the draws' own law look so with probability 1e-3 at most (Wilson & Hilferty 1931, for χ²).
    """
    n = 0 if starts is None else len(starts)
    if starts is None or n < 2:
        return None
    ratio = (starts.double().flatten(1).std(0) / x.double().flatten(0, 1).flatten(1).std(0)).nanmedian().item()
    z = math.sqrt(2) * torch.erfinv(torch.tensor(2 * CHANCE - 1, dtype=torch.float64)).item()
    least = max(0.0, 1 - 2 / (9 * (n - 1)) + z * math.sqrt(2 / (9 * (n - 1)))) ** 1.5
    return ratio if ratio < min(NARROW, least) else None


def decided(x: Float[Tensor, "kept chains coordinates"], names: list[str]) -> tuple[str, float, float] | None:
    """The coordinate whose sd one chain decides, its sd, and that without the chain; None where none does.

    R̂ and ESS go by ranks, and do not see one chain that is far away for a tenth of the time. Squares count as far as
    they last over some draws: a single draw far out is a heavy tail.
    """
    chains = x.shape[1]
    if chains < FEWEST or len(x) < LASTING:
        return None
    z = x.double() - x.double().mean((0, 1))
    lasting = z.square().unfold(0, LASTING, 1).amin(-1).sum(0)
    share, c = (lasting / lasting.sum(0)).nan_to_num(0.0).max(0)
    others = torch.arange(chains, device=x.device)[:, None] != c
    rest, n = z * others, len(x) * (chains - 1)
    sd = z.flatten(0, 1).std(0)
    without = ((rest.square().sum((0, 1)) - rest.sum((0, 1)).square() / n) / (n - 1)).sqrt()
    wider = torch.where(share > SHARE, sd / without, 0.0)
    j = int(wider.argmax())
    return (names[j], sd[j].item(), without[j].item()) if wider[j] > WIDER else None


def uneven(x: Float[Tensor, "kept chains coordinates"], ess: Callable[[Tensor], Tensor]) -> float:
    """How many times as many effective samples the draws have along their narrowest direction as along the widest."""
    flat = x.double().flatten(0, 1)
    if x.shape[2] < 2 or len(flat) < 10 * x.shape[2]:
        return 1.0
    axes = torch.linalg.eigh(flat.T.cov())[1]
    narrowest, widest = ess(x.double() @ axes[:, [0, -1]]).nan_to_num(1.0).tolist()
    return narrowest / max(1.0, widest)


def funnel(
    x: Float[Tensor, "kept chains coordinates"], names: list[str], grad_norm: Float[Tensor, "some chains"] | None
) -> tuple[str, str, float, float] | None:
    """The coordinate that goes most with a scale, what scale, their correlation within chains, and the scale's change.

    One number alone is no funnel, however its slope changes along it.

    Args:
        x: Draws.
        names: Of the coordinates.
        grad_norm: ‖∇f‖ at the first of them, where it is known.
    """
    x = x.double()
    if x.shape[2] < 2:
        return None
    r, times = regression(x, (x - x.median(0).values).abs())
    r, whose = r.fill_diagonal_(0.0), [f"the scale of {name}" for name in names]
    least = torch.full_like(r, FUNNEL)
    if grad_norm is not None and len(grad_norm):
        steep, more = regression(x[: len(grad_norm)], grad_norm.double()[..., None])
        least = torch.where((steep * r < 0) & (steep.abs() >= BOTH), BOTH, math.inf)
        r, times = torch.cat([r, steep], 1), torch.cat([times, more], 1)
        least, whose = torch.cat([least, torch.full_like(steep, FUNNEL)], 1), [*whose, "how steep f is"]
    share = torch.where(times >= NECK, r.abs() / least, 0.0)
    i, j = divmod(int(share.argmax()), r.shape[1])
    return (names[i], whose[j], r[i, j].item(), times[i, j].item()) if share[i, j] >= 1 else None


def regression(
    x: Float[Tensor, "kept chains a"], size: Float[Tensor, "kept chains b"]
) -> tuple[Float[Tensor, "a b"], Float[Tensor, "a b"]]:
    """r = corr(xᵢ, log sizeⱼ) within chains, 0 where one does not vary, and sizeⱼ at the 95% of xᵢ over that at its 5%.

    The change is that of the regression line, exp(2 · 1.645 |r| sd(log sizeⱼ)).
    """
    size = size.clamp(min=1e-6 * size.mean((0, 1))).log()
    r = torch.einsum("kci,kcj->ij", standard(x), standard(size)).nan_to_num(0.0)
    return r, (3.29 * r.abs() * (size - size.mean(0)).square().mean((0, 1)).sqrt()).exp()


def standard(x: Tensor) -> Tensor:
    """Deviations from each chain's mean, of square sum 1."""
    x = x - x.mean(0)
    return x / x.square().sum((0, 1)).sqrt()

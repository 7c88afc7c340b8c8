"""Remedy: judge from the look of chains whether draws are good enough and follow exp f, and say what to do if not.

    slope     ∇f is not the gradient of f (`slope`)                        a right one
    stuck     some never moved, or accept nothing at the end               shorter steps
    ends      a support ends where many proposals lead                     a transform
    funnel    one coordinate sets the scale of another, or how steep f     other coordinates, or two step sizes
              is (`funnel`)
    modes     chains stay in regions of their own (`estimates.apart`)      moves between modes, or a better ladder
    uneven    the widest direction has a tenth of the effective samples    a preconditioner
              of the narrowest
    filled    parameters fill the range of floats (`filled`)               a prior
    flat      chains walk ever further where f hardly falls (`flat`)       a prior
    slow      a run 20 times as long would be enough                       run longer
              or not even then                                             another kernel or preconditioner

The limits of R̂ and ESS are those of Stan and ArviZ. The summary of a trace, `evaluation.chains.verdict` and the
warning about stuck chains all use these rules, and so agree about the same chains.

Reference: Vehtari et al. 2021, section 4 (limits); Betancourt & Girolami 2015 (other coordinates of a funnel);
Gelman & Rubin 1992 (starts wider than the law).
"""

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from anila.messages import are, counted
from anila.samplers.slope import OFF

if TYPE_CHECKING:
    from anila.samplers.heat import Heat
    from anila.samplers.trace import Trace

RHAT, ESS = 1.01, 400
LOW, HIGH = 0.1, 0.95
"""Acceptance below which steps are too long, and above which they are too short."""
OUTRIGHT = 0.05
"""Share of proposals to where f is not finite above which they are what slows chains."""
RARE = 0.2
"""Acceptance of swaps below which the rungs of a ladder are too far apart."""
APART = 1.1
"""R̂ above which chains are apart."""
PATIENCE = 20
"""A longer run is advised up to this many times the length."""
UNEVEN = 10
CLIPPED = 0.7
"""Share of slopes above the threshold at which nearly every step is shortened."""
NARROW, CHANCE = 0.5, 1e-3
"""Spread of the starts relative to the draws below which they are not dispersed, and the rate of false alarms."""
FEWEST, LASTING, SHARE, WIDER = 8, 4, 0.5, 1.25
"""Of at least FEWEST chains, one decides an sd if it has this SHARE of the squares that last for LASTING draws, and the
sd is WIDER times smaller without it."""
STILL_STEPS, STILL = 50, 0.05
"""A chain is stuck if its acceptance probabilities over this many last steps add up to less than STILL."""
EXACT = "use mala or anisotropic_mala, or run anila diagnose to see how far off it is"
INEXACT = f"the kernel accepts every proposal, so what it samples depends on step_size; {EXACT}"


class Symptoms(NamedTuple):
    """What the verdict is based on."""

    rhat: float
    ess: float
    """Effective samples of the worst coordinate, in bulk or tail."""
    apart: bool
    """Whether chains stay in regions of their own."""
    stuck: int
    """Chains that never moved, or accept nothing at the end."""
    chains: int
    funnel: tuple[str, str, float, float] | None
    """The coordinate that sets a scale, which scale, r, and the factor by which that changes; None if none does."""
    uneven: float
    """Effective samples of the narrowest direction relative to those of the widest."""
    exact: bool | None
    """Whether the kernel leaves exp f invariant; None if unknown."""
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
    """What ∇f says about the law; None if not measured."""
    narrow: float | None
    """Spread of the starts relative to that of the draws; None if the starts are dispersed or unknown."""
    decided: tuple[str, float, float] | None
    """The coordinate whose sd one chain decides, its sd with that chain, and its sd without; None if none does."""
    flat: str | None = None
    """Coordinates along which chains walk ever further and f hardly falls; None if there are none, or chains mixed."""
    filled: str | None = None
    """Parameters that fill the range of floats; None if none do."""
    slope_off: float = 0.0
    """Relative error of ∇f (`slope`); 0 if not measured."""
    swaps: float | None = None
    """Acceptance of swaps between the rungs of a ladder; None without one."""
    ends: float = 0.0
    """Share of proposals rejected outright, if f is not finite at many points around the draws; 0 otherwise."""
    moves: float | None = None
    """Acceptance of global moves; None without them."""

    @property
    def wrong_slope(self) -> bool:
        """Whether ∇f is not the gradient of f."""
        return not self.slope_off <= OFF


def judged(s: Symptoms) -> str:
    """The verdict: whether the draws are good enough, and for which law; otherwise what to do."""
    foreign = "; ".join(another_law(s) or unproven(s))
    if unmixed(s) and s.wrong_slope:
        return f"NOT CONVERGED: {remedy(s)}"
    if unmixed(s):
        seen = f"{s.stuck} of {counted(s.chains, 'chain')} {are(s.stuck)} stuck: " if s.stuck else ""
        return f"NOT CONVERGED: {seen}{remedy(s)}" + (f"; and NOT exp f: {foreign}" if foreign else "")
    if foreign:
        return f"mixed, but NOT exp f: {foreign}"
    if found := doubts(s):
        return f"good enough where chains went, but {'; and '.join(found + nearly(s))}"
    return ": ".join(["good enough", *nearly(s)])


def unmixed(s: Symptoms) -> bool:
    """Whether the chains have not mixed well enough to estimate anything."""
    return bool(s.stuck) or not (s.rhat <= RHAT and s.ess >= ESS)


def another_law(s: Symptoms) -> list[str]:
    """Reasons why the law of the draws is not exp f; empty if there are none."""
    if s.exact is not False or s.heat is None:
        return []
    if s.wrong_slope:
        return [f"{slope_said(s)}: correct it, or {EXACT}"]
    return [f"{s.heat.told}, but exp f has temperature 1: {INEXACT}"] if s.heat.off else []


def unproven(s: Symptoms) -> list[str]:
    """Reasons why it is not known that the law of the draws is exp f."""
    if s.exact is not False:
        return []
    if s.heat is None:
        return [INEXACT]
    return [f"{approximate(s.heat)}, which is too coarse: {INEXACT}"] if s.heat.vague else []


def slope_said(s: Symptoms) -> str:
    return f"the gradient is not that of f (median error {s.slope_off:.0%})"


def approximate(heat: "Heat") -> str:
    """How close to exp f the law of a kernel that accepts every proposal is known to be."""
    return f"an approximate kernel, whose temperature is that of exp f, 1, to within {heat.resolution:.2g}"


def nearly(s: Symptoms) -> list[str]:
    """How close to exp f the law is if nothing speaks against it; empty for an exact kernel."""
    return [approximate(s.heat)] if s.heat and not s.exact else []


def doubts(s: Symptoms) -> list[str]:
    """What the chains may have missed although they agree."""
    if s.filled:
        return [filled_said(s.filled)]
    found = []
    if s.funnel:
        found.append(f"they may have missed the neck of {funnel_said(*s.funnel)}")
    if s.narrow is not None:
        found.append(
            f"they started close together ({s.narrow:.2g} times the draws' spread), so R̂ cannot see modes that none "
            "of them has reached: start them twice as wide as the draws"
        )
    if s.decided:
        who, sd, without = s.decided
        found.append(
            f"one chain of {s.chains} decides the sd of {who} ({sd:.3g} with it, {without:.3g} without): it spent a "
            "while far away, where few chains go: run more chains for longer"
        )
    if s.exact and not s.border and s.heat and s.heat.off and not s.wrong_slope:
        found.append(f"they missed part of the mass: {s.heat.told}, but exp f has temperature 1")
    return found


def notes(s: Symptoms) -> list[str]:
    """What is not ideal, but harmless."""
    return [f"{slope_said(s)}: the kernel is still exact, only slower"] if s.exact and s.wrong_slope else []


def remedy(s: Symptoms) -> str:
    """What to do, in words."""
    if s.wrong_slope:
        return f"{slope_said(s)}: correct it first"
    if s.filled:
        return filled_said(s.filled)
    if 2 * s.stuck > s.chains:
        return shorter(s.tuned)
    if s.accept_prob is not None and s.accept_prob < LOW:
        return f"{shorter(s.tuned)}: acceptance is {s.accept_prob:.2g}, and 0.57 is best"
    if s.flat:
        return (
            f"chains walk ever further along {s.flat}, where f hardly falls: exp f may have no finite mass there; "
            "add a prior, even a wide one, or if it has one, start chains as wide"
        )
    if s.funnel:
        return (
            f"{funnel_said(*s.funnel)}: sample the others in units of their scale, or mix step sizes (hmc, spread=10)"
        )
    if s.ends:
        return (
            f"{s.ends:.0%} of proposals lead to where f is not finite, as beyond the end of a support: anila.transform "
            "keeps chains inside"
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
    if s.apart:
        return f"chains stay in regions of their own: {between_modes(s)}"
    times = longer(s)
    slow = s.rhat > APART or times > PATIENCE
    if slow and s.swaps is not None:
        return f"chains are slow, not short: {between_modes(s)}"
    if s.uneven > UNEVEN and not s.tuned and s.swaps is None:
        return (
            f"let tune find a preconditioner: the narrowest direction has {s.uneven:.0f} times the effective "
            "samples of the widest"
        )
    if slow:
        first = "reparameterise" if s.tuned else "let tune find a preconditioner"
        return f"chains are slow, not short: {first}, or longer trajectories (hmc, more leapfrog_steps)"
    return f"run {max(2, math.ceil(times))} times as long"


def between_modes(s: Symptoms) -> str:
    """How to cross between modes, or how to cross more often."""
    if math.isnan(s.swaps or s.moves or 0.0):
        return f"lower `every`: no {'swap' if s.moves is None else 'global move'} was tried"
    if s.swaps is not None and s.swaps < RARE:
        return f"put the temperatures closer together: swaps are accepted at {s.swaps:.2g}, and 0.2 to 0.6 is good"
    if s.swaps is not None:
        return (
            "raise the highest temperature until its rung crosses between modes, with rungs in between that keep "
            f"swap_accept at 0.2 to 0.6 (it is {s.swaps:.2g})"
        )
    if s.moves is not None:
        return (
            f"global moves are accepted at {s.moves:.2g}: draw their candidates from a law nearer to exp f "
            "(sampler.global_sd in a run)"
        )
    return "move between modes (with_global_moves or replica_exchange; sampler.global_every=1 in a run)"


def longer(s: Symptoms) -> float:
    """By what factor the run must be longer: ESS grows with its length, and R̂² − 1 falls as the inverse."""
    return max(ESS / max(1.0, s.ess), (s.rhat**2 - 1) / (RHAT**2 - 1))


def shorter(tuned: bool) -> str:
    """What to do about stuck chains, leaving out what is already done."""
    return f"lower step_size, or {tune_again(tuned)}"


def tune_again(tuned: bool) -> str:
    return "give tune more steps" if tuned else "let tune choose"


def filled_said(which: str) -> str:
    return (
        f"draws fill the range of floats along {which}: exp f may have no finite mass there, and draws end only where "
        "numbers do; add a prior, or a tighter one"
    )


def funnel_said(who: str, what: str, r: float, times: float) -> str:
    return f"a funnel: {who} sets {what} (r = {r:.2f}), which changes {times:.0f}-fold"


def still(accept_prob: Float[Tensor, "steps chains"]) -> Tensor:
    """Chains that accept nothing at the end, (chains,)."""
    few = len(accept_prob) < STILL_STEPS
    return accept_prob[-STILL_STEPS:].sum(0) < (-1.0 if few else STILL)


def stuck(trace: "Trace") -> int:
    """Number of chains whose kept positions are all the same, or that accept nothing at the end."""
    x = trace["x"]
    same = (x == x[:1]).flatten(2).all(2).all(0)
    return int((same | still(trace["accept_prob"]).to(same.device) if "accept_prob" in trace else same).sum())


def narrow(starts: Tensor | None, x: Float[Tensor, "kept chains *event"]) -> float | None:
    """Spread of the starts relative to that of the draws, for the median coordinate; None if the starts are not narrow.

    As many points from the law of the draws would look narrow with probability at most 1e-3 (Wilson & Hilferty 1931,
    for χ²).
    """
    n = 0 if starts is None else len(starts)
    if starts is None or n < 2:
        return None
    ratio = (starts.double().flatten(1).std(0) / x.double().flatten(0, 1).flatten(1).std(0)).nanmedian().item()
    z = NormalDist().inv_cdf(CHANCE)
    least = max(0.0, 1 - 2 / (9 * (n - 1)) + z * math.sqrt(2 / (9 * (n - 1)))) ** 1.5
    return ratio if ratio < min(NARROW, least) else None


def decided(x: Float[Tensor, "kept chains coordinates"], names: list[str]) -> tuple[str, float, float] | None:
    """The coordinate whose sd one chain decides, its sd, and that without the chain; None where none does.

    R̂ and ESS use ranks, and do not see one chain that is far away for a tenth of the time. Squares count only as far
    as they last over some draws: a single draw far out is a sign of a heavy tail.
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
    """Effective samples along the narrowest direction of the draws, relative to those along the widest."""
    flat = x.double().flatten(0, 1)
    if x.shape[2] < 2 or len(flat) < 10 * x.shape[2]:
        return 1.0
    variances, axes = torch.linalg.eigh(flat.T.cov())
    rounding = len(variances) * torch.finfo(flat.dtype).eps * variances[-1]
    axes = axes[:, variances >= rounding]
    narrowest, widest = ess(x.double() @ axes[:, [0, -1]]).nan_to_num(1.0).tolist()
    return narrowest / max(1.0, widest)

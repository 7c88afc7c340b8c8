"""How precise estimates from draws are: effective sample size, R̂, standard error, and advice if they are too few.

    R̂² = (B/W + n − 1) / n        variance between chains B/n over that within, W; 1 when mixed
    ESS                            independent draws that would estimate as well as these
    MCSE = sd / √ESS               standard error of a mean over the draws

All are computed by ArviZ (rank-normalised, split chains). Draws come as `sample` keeps them in `trace["x"]`,
(kept, chains, *event), and each function returns one number per coordinate, (*event). Limits are those of Stan and
ArviZ: R̂ at most 1.01, and 400 effective samples in bulk and tail.

A quantity that is the same in all draws, such as a zero of a Cholesky factor, has none of the three. It is shown as
constant, and no verdict depends on it.

Reference: Vehtari et al. 2021, sections 4, 4.1 and 4.3.
"""

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anila.density.log_density import LogDensity, exact_value, value_and_grad
from anila.density.transform import Transformed
from anila.messages import counted, listed
from anila.rng import rng
from anila.samplers.flat import filled, flat
from anila.samplers.funnel import funnel
from anila.samplers.remedy import APART, ESS, OUTRIGHT, RHAT, Symptoms, decided, judged, narrow, stuck, uneven
from anila.samplers.slope import slope_off

if TYPE_CHECKING:
    from anila.samplers.heat import Heat
    from anila.samplers.trace import Trace

SHOWN = 6
"""Coordinates in the table: those with the fewest effective samples. Named parameters are all shown."""
MONITORED = 64
"""Largest number of coordinates that are looked at, evenly spaced."""
ALONE, SETTLED, AROUND = 20, 25, 4
"""Effective samples with which a chain has mixed in its region; variance of the chains' means over the median square
difference of a chain's halves: above 100 for modes, below 20 for slow chains in a tail; and variance between chains
over that within, of distances, relative to that of any quantity, where regions lie around each other: at least 6 for
rings, and at most 2 for funnels and slow chains."""
HEAVY, ENOUGH = 0.7, 100
"""Pareto k̂ above which a mean is too slow to estimate, and the effective samples from which k̂ says something."""
POSITIONS = 16
"""Positions of each chain, or a few more of a few chains, at which ∇f is evaluated if chains have not mixed."""
ROUNDED = 2
"""Roundings of its largest value within which a quantity is constant."""


def ess(x: Float[Tensor, "kept chains *event"], kind: Literal["bulk", "tail"] = "bulk") -> Float[Tensor, "*event"]:
    """Effective sample size of each coordinate: of its ranks (bulk), or of its 5% and 95% quantiles (tail).

    Args:
        x: Draws, (kept, chains, *event).
        kind: "bulk" or "tail" of the distribution.

    Reference: Vehtari et al. 2021, sections 4.1 and 4.3.
    """
    return by_arviz("ess", x, method=kind, prob=None if kind == "bulk" else (0.05, 0.95))


def rhat(x: Float[Tensor, "kept chains *event"]) -> Float[Tensor, "*event"]:
    """Rank-normalised split R̂ of each coordinate; NaN or infinite for chains that never move.

    Args:
        x: Draws, (kept, chains, *event), at least two chains.

    Reference: Vehtari et al. 2021, eq. 4 and 14.
    """
    return by_arviz("rhat", x)


def mcse(x: Float[Tensor, "kept chains *event"]) -> Float[Tensor, "*event"]:
    """Standard error of each coordinate's mean over all draws, sd / √ESS, in its units.

    Args:
        x: Draws, (kept, chains, *event).
    """
    return by_arviz("mcse", x)


def by_arviz(name: str, x: Tensor, **options: Any) -> Tensor:
    """One of ArviZ's array statistics, coordinate by coordinate."""
    from arviz_stats.base.array import array_stats

    draws = x.double().movedim((1, 0), (-2, -1)).numpy(force=True)
    with np.errstate(all="ignore"):  # chains that never move divide by 0: the answer NaN says so
        return torch.from_numpy(np.asarray(getattr(array_stats, name)(draws, **options), dtype=np.float64))


def evenly(n: int, most: int) -> Tensor:
    """Evenly spaced indices below n, at most `most` of them.

    >>> evenly(5, 3).tolist(), evenly(2, 3).tolist()
    ([0, 2, 4], [0, 1])
    """
    return torch.linspace(0, n - 1, min(most, n), device="cpu").round().long()


def can_be_judged(x: Tensor) -> bool:
    """Whether enough was kept for a verdict: at least 4 finite positions of at least 2 chains."""
    return len(x) >= 4 and x.shape[1] >= 2 and bool(torch.isfinite(x).all())


def unjudged(trace: "Trace") -> str:
    """Why nothing is known of draws that cannot be judged, and what to do."""
    x = trace["x"]
    if not len(x):
        why = f"no positions were kept: {trace.none_kept}"
    elif not bool(torch.isfinite(x).all()):
        why = "chains ran away to positions that are not finite"
    elif x.shape[1] < 2:
        why = "one chain can only agree with itself; start several, far apart"
    else:
        why = f"{counted(len(x), 'position')} of each chain were kept, and it takes 4; make more steps"
    return f"not judged: {why}"


def coordinates(x: Tensor, f: LogDensity | None = None) -> tuple[list[str], Float[Tensor, "kept chains coordinates"]]:
    """The coordinates that are looked at, and their names in f."""
    flat = x.flatten(2)
    index = evenly(flat.shape[2], MONITORED)
    return [f.free_names[i] if isinstance(f, Transformed) else f"x{i}" for i in index.tolist()], flat[..., index]


def constant(x: Float[Tensor, "kept chains quantities"]) -> Bool[Tensor, "quantities"]:
    """Which quantities are the same in all draws, up to rounding; none if all are, as then the chains never moved."""
    low, high = x.flatten(0, 1).aminmax(dim=0)
    same = high - low <= ROUNDED * torch.finfo(x.dtype).eps * torch.maximum(high, -low)
    return same & ~same.all()


def varying(
    names: list[str], x: Float[Tensor, "kept chains quantities"]
) -> tuple[list[str], Float[Tensor, "kept chains varying"]]:
    """The quantities that are not constant, and their names."""
    index = (~constant(x)).nonzero()[:, 0]
    return [names[i] for i in index.tolist()], x[..., index]


def quantities(
    x: Float[Tensor, "kept chains *event"], f: LogDensity | None = None, value: Tensor | None = None
) -> tuple[list[str], Float[Tensor, "kept chains varying"]]:
    """Coordinates that are not constant, and their names in f; with f, if its values (kept, chains) are given."""
    names, own = varying(*coordinates(x, f))
    return (names, own) if value is None else varying(["f", *names], torch.cat([value[..., None], own], 2))


def symptoms(trace: "Trace", value: Tensor | None = None, heat: "Heat | None" = None) -> Symptoms:
    """The symptoms that the verdict goes by.

    Args:
        trace: With finite positions, at least 4 of at least 2 chains.
        value: f at the kept positions, (kept, chains), if known; it is treated like a coordinate.
        heat: Heat of the draws, if the trace does not hold it.
    """
    (names, own), (_, columns) = quantities(trace["x"], trace.f), quantities(trace["x"], trace.f, value)
    r = torch.nan_to_num(rhat(columns), nan=torch.inf)
    bulk, tail = (torch.nan_to_num(ess(columns, kind), nan=0.0) for kind in ("bulk", "tail"))
    means, d, heat = trace.means(), trace["x"][0, 0].numel(), heat or trace.heat
    least, walking, off = min(bulk.min().item(), tail.min().item()), None, heat.slope_off if heat else 0.0
    whole, ends = d <= MONITORED, 0.0
    if trace.f is not None and not (r.max() <= RHAT and least >= ESS) and (whole or not heat):
        x, slope = slopes(trace.f, trace["x"])
        off = heat.slope_off if heat else slope_off(trace.f, x, slope)
        ends = rejected_outright(trace) if whole else 0.0
        walking = walked(trace.f, x, slope) if whole and r.max() > RHAT and not ends else None
    return Symptoms(
        rhat=r.max().item(), ess=least, apart=apart(columns, r),
        stuck=stuck(trace), chains=columns.shape[1], funnel=funnel(own, names, trace.steepness()),
        uneven=uneven(own, ess), exact=trace.exact, tuned=trace.tuned,
        accept_prob=None if trace.exact is False else means.get("accept_prob"),
        border=trace.non_finite() > 0, clipped=means.get("clipped", 0.0),
        steep=means.get("grad_norm", 0.0) / math.sqrt(d), heat=heat, slope_off=off, filled=overflowing(trace),
        narrow=narrow(trace.starts, trace["x"]), decided=decided(own, names), flat=walking,
        swaps=means.get("swap_accept"), moves=means.get("global_accept"), ends=ends,
    )  # fmt: skip


def slopes(f: LogDensity, x: Tensor) -> tuple[Tensor, Tensor]:
    """A few of the kept positions, in their order, and ∇f there."""
    x = x[evenly(len(x), max(POSITIONS, 10 * MONITORED // x.shape[1]))]
    return x, torch.stack([value_and_grad(f, part)[1] for part in x])


def rejected_outright(trace: "Trace") -> float:
    """Share of proposals rejected outright, if f is not finite at many points an sd from draws; else 0."""
    x, share = trace["x"], trace.non_finite() / max(1, trace["accept_prob"].numel()) if "accept_prob" in trace else 0.0
    if trace.f is None or share <= OUTRIGHT:
        return 0.0
    noise = torch.randn(x.shape[1:], generator=rng(0, "around"), dtype=x.dtype).to(x.device) * x.flatten(0, 1).std(0)
    around = torch.stack([exact_value(trace.f, part + noise) for part in x[evenly(len(x), POSITIONS)]])
    return share if (~torch.isfinite(around)).double().mean() > OUTRIGHT else 0.0


def walked(f: LogDensity, x: Tensor, grad: Tensor) -> str | None:
    """The coordinates along which chains walk on without end (`flat`); None if there are none.

    All coordinates must be looked at: an image has too many.
    """
    (names, own), (_, slope) = coordinates(x, f), coordinates(grad)
    moving = ~constant(own)
    return flat(own[..., moving], slope[..., moving], [names[i] for i in moving.nonzero()[:, 0].tolist()])


def overflowing(trace: "Trace") -> str | None:
    """Parameters that fill the range of floats (`filled`), past which proposals were rejected; None if none do."""
    if not (isinstance(trace.f, Transformed) and trace.non_finite()):
        return None
    return filled(trace.f.numbers(trace["x"]), trace.f.names)


def apart(x: Float[Tensor, "kept chains quantities"], rhats: Float[Tensor, "quantities"]) -> bool:
    """Whether chains stay in regions of their own: modes beside each other, or around each other like rings.

    Either most chains have mixed by themselves in the quantity with the largest R̂, and their halves agree far better
    than chains do; or what tells chains apart is not so much any quantity as their distance from the middle, in sds.
    """
    worst = x[:, :, [int(rhats.argmax())]].double()
    alone = torch.cat([ess(chain[:, None]) for chain in worst.unbind(1)]).nan_to_num(0.0)
    early, late = (half.mean(0) for half in worst.tensor_split(2))
    settled = worst.mean(0).var() > SETTLED * (late - early).square().median()
    z = x.double() - x.double().mean((0, 1))
    distance = (z / z.square().mean((0, 1)).sqrt()).square().sum(2, keepdim=True)
    beside, around = ((q.mean(0).var(0) / q.var(0).mean(0)).max().item() for q in (z, distance))
    by_themselves = bool(rhats.max() > APART and alone.median() >= ALONE and settled)
    return by_themselves or around > max(1.0, AROUND * beside)


def estimates(trace: "Trace") -> list[str]:
    """A table of means over kept draws, and a line on whether to trust them; if they cannot be judged, only why not.

    If f has named parameters, the table shows all that are not constant, in the order of declaration.

    Args:
        trace: From any kernel. It is judged if it has at least 4 finite positions of at least 2 chains.
    """
    x = trace["x"]
    if not can_be_judged(x):
        return [unjudged(trace)]
    f = trace.f
    if isinstance(f, Transformed):
        lines = table(f.names, f.numbers(x), len(f.names))
    else:
        lines = table(*coordinates(x), SHOWN)
    found = symptoms(trace)
    head = f"largest R̂ {found.rhat:.3f} (at most {RHAT}), smallest ESS {found.ess:.0f} (at least {ESS}): "
    return [*lines, head + judged(found)]


def table(names: list[str], columns: Float[Tensor, "kept chains quantities"], shown: int) -> list[str]:
    """A line for each of the `shown` quantities with the fewest effective samples, and one for all constant ones."""
    fixed = constant(columns)
    told = [f"{names[k]} = {columns[0, 0, k]:.4g}" for k in fixed.nonzero()[:, 0].tolist()]
    names, columns = varying(names, columns)
    draws, error, r = columns.double().flatten(0, 1), mcse(columns), rhat(columns)
    bulk, tail = (torch.nan_to_num(ess(columns, kind), nan=0.0) for kind in ("bulk", "tail"))
    width = max(12, 1 + max(map(len, names)))
    most = torch.minimum(bulk, tail).argsort()[:shown].sort().values.tolist()
    lines = [f"{'':{width}}{'mean':>12}{'± error':>12}{'sd':>12}{'R̂':>9}{'ESS bulk':>10}{'tail':>8}"]
    for k in most:
        numbers = f"{draws[:, k].mean():12.4g}{error[k]:12.2g}{draws[:, k].std():12.4g}{r[k]:9.3f}"
        lines.append(f"{names[k]:{width}}{numbers}{bulk[k]:10.0f}{tail[k]:8.0f}")
    heavy = [heavy_tails(names[k], columns[..., k]) for k in most if bulk[k] >= ENOUGH]
    lines += [line for line in heavy if line][:SHOWN]
    return lines + ([f"constant: {listed(told)}"] if told else [])


def heavy_tails(name: str, x: Float[Tensor, "kept chains"]) -> str:
    """That the tails of a quantity are too heavy for its mean and sd, with quantiles; empty if they are not.

    A tail falls like |x|^(−1/k̂): without a finite variance if k̂ ≥ ½, without a mean if k̂ ≥ 1.

    Reference: Vehtari et al. 2024, "Pareto smoothed importance sampling", section 3 (the limit of k̂).
    """
    try:
        k = by_arviz("pareto_khat", x[..., None]).item()
    except ValueError:  # a tail of equal values, as of a discrete quantity, or of too few draws
        return ""
    if not k > HEAVY:
        return ""
    draws = x.double().numpy(force=True)
    low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95])  # torch's takes 2^24 numbers at most
    return (
        f"{name}: tails so heavy (Pareto k̂ = {k:.2f}, above {HEAVY}) that its mean and sd may not exist; use "
        f"quantiles: 5% {low:.4g}, 50% {middle:.4g}, 95% {high:.4g}"
    )

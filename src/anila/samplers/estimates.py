"""How well draws estimate: effective sample size, R̂, standard error, and a word where they are not good enough.

    R̂² = (B/W + n − 1) / n        variance between chains B/n over that within, W; 1 when mixed
    ESS                            independent draws that would estimate as well as these
    MCSE = sd / √ESS               standard error of a mean over the draws

All are those of ArviZ (rank-normalised, split chains). Draws are as `sample` keeps them in `trace["x"]`,
(kept, chains, *event), and answers are one number a coordinate, (*event). Limits are those of Stan and ArviZ: R̂ at
most 1.01, and 400 effective samples in bulk and tail.

Reference: Vehtari et al. 2021, sections 4, 4.1 and 4.3.
"""

from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import LogDensity
from anila.density.transform import Transformed
from anila.samplers.remedy import FUNNEL, Symptoms, funnel, funnel_said, remedy, stuck

RHAT = 1.01
ESS = 400
SHOWN = 6
"""Coordinates in the table, those with the fewest effective samples; parameters that have names are all there."""
MONITORED = 64
"""Coordinates looked at, evenly spread where there are more."""


def ess(x: Float[Tensor, "kept chains *event"], kind: Literal["bulk", "tail"] = "bulk") -> Float[Tensor, "*event"]:
    """Effective sample size of each coordinate: of its ranks (bulk), or of its 5% and 95% quantiles (tail).

    Args:
        x: Draws, (kept, chains, *event).
        kind: Where in the law.

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
        return torch.as_tensor(np.asarray(getattr(array_stats, name)(draws, **options), dtype=np.float64))


def monitored(x: Tensor, value: Tensor) -> tuple[list[str], Float[Tensor, "kept chains quantities"]]:
    """f and the coordinates that are looked at, with their names."""
    flat = x.flatten(2)
    index = torch.linspace(0, flat.shape[2] - 1, min(MONITORED, flat.shape[2])).round().long()
    return ["f", *(f"x{i}" for i in index.tolist())], torch.cat([value[..., None], flat[..., index]], 2)


def symptoms(
    columns: Tensor, names: list[str], x: Tensor, accept_prob: float | None = None, grad_norm: Tensor | None = None
) -> Symptoms:
    """What chains look like, for the remedy.

    Args:
        columns: Draws of what is looked at, (kept, chains, quantities).
        names: Of the quantities.
        x: Draws, (kept, chains, *event).
        accept_prob: Mean acceptance; None for kernels that take every proposal.
        grad_norm: ‖∇f‖ at the first draws, (some, chains), where it is known.
    """
    r = torch.nan_to_num(rhat(columns), nan=torch.inf)
    fewest = torch.minimum(*(torch.nan_to_num(ess(columns, kind), nan=0.0) for kind in ("bulk", "tail")))
    worst = columns[:, :, [int(r.argmax())]]
    alone = torch.cat([ess(worst[:, [k]]) for k in range(columns.shape[1])]).nan_to_num(0.0)
    own = [k for k, name in enumerate(names) if name != "f"]
    pair = funnel(columns[..., own], [names[k] for k in own], grad_norm)
    return Symptoms(
        rhat=r.max().item(), ess=fewest.min().item(), wanted=ESS, alone=alone.median().item(), stuck=stuck(x),
        chains=x.shape[1], funnel=pair, accept_prob=accept_prob,
    )  # fmt: skip


def estimates(
    x: Float[Tensor, "kept chains *event"],
    accept_prob: float | None = None,
    grad_norm: Tensor | None = None,
    exact: bool | None = None,
    f: LogDensity | None = None,
) -> list[str]:
    """A table of means over kept draws, and a line on whether to trust them; empty where too little was kept to know.

    Of an f with named parameters the table is of these, as they are declared, and all of them.

    Args:
        x: Draws as `sample` keeps them, (kept, chains, *event); at least 4 of 2 chains, finite.
        accept_prob: Mean acceptance of the kernel.
        grad_norm: ‖∇f‖ at the first draws, (some, chains), where it is known.
        exact: Whether the kernel leaves exp f invariant; None if that is not known.
        f: Log-density, which may name its parameters.
    """
    if len(x) < 4 or x.shape[1] < 2 or not bool(torch.isfinite(x).all()):
        return []
    names, columns = monitored(x, x.new_zeros(x.shape[:2]))
    names, columns = names[1:], columns[..., 1:]
    if isinstance(f, Transformed):
        names, lines = [f.free_names[int(name[1:])] for name in names], table(f.names, f.numbers(x), len(f.names))
    else:
        lines = table(names, columns, SHOWN)
    found = symptoms(columns, names, x, accept_prob if exact is not False else None, grad_norm)
    head = f"R̂ up to {found.rhat:.3f} (at most {RHAT}), ESS from {found.ess:.0f} (at least {ESS}): "
    return [*lines, head + judged(found, exact)]


def table(names: list[str], columns: Float[Tensor, "kept chains quantities"], shown: int) -> list[str]:
    """A line for each of so many quantities, those with the fewest effective samples."""
    draws, error, r = columns.double().flatten(0, 1), mcse(columns), rhat(columns)
    bulk, tail = (torch.nan_to_num(ess(columns, kind), nan=0.0) for kind in ("bulk", "tail"))
    width = max(12, 1 + max(map(len, names)))
    lines = [f"{'':{width}}{'mean':>12}{'± error':>12}{'sd':>12}{'R̂':>9}{'ESS bulk':>10}{'tail':>8}"]
    for k in torch.minimum(bulk, tail).argsort()[:shown].sort().values.tolist():
        numbers = f"{draws[:, k].mean():12.4g}{error[k]:12.2g}{draws[:, k].std():12.4g}{r[k]:9.3f}"
        lines.append(f"{names[k]:{width}}{numbers}{bulk[k]:10.0f}{tail[k]:8.0f}")
    return lines


def judged(found: Symptoms, exact: bool | None) -> str:
    """Whether such draws are good enough, and for what law; else what to do."""
    if found.stuck or not (found.rhat <= RHAT and found.ess >= ESS):
        return f"NOT CONVERGED: {remedy(found)}" + (f"; and NOT exp f: {INEXACT}" if exact is False else "")
    if exact is False:
        return f"mixed, but NOT exp f: {INEXACT}"
    if abs(found.funnel[2]) >= FUNNEL:
        return f"good enough where chains went, but {funnel_said(found.funnel)}, whose neck they may have missed"
    return "good enough"


INEXACT = (
    "the kernel takes every proposal, so its law depends on step_size; use mala or anisotropic_mala, or see by "
    "anila diagnose how far off it is"
)

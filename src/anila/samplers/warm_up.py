"""A warm-up finds a kernel's settings; then they are frozen and the kernel is a fixed Markov kernel.

Chains that start far out are first moved to the mass (`pathfinder`). The initial step_size is d^(−1/3) over the
curvature of f where they then stand, changed by powers of ten if its steps are rejected. In phases of equal length
(`phase`), step_size aims at an acceptance of 0.57, at 0.7 for hmc and at 0.8 for ghmc, and the threshold follows the
85% quantile of |∂f|, or the 99% quantile if it only clips kicks. The points visited and their gradients give a
preconditioner (`metric`). The phases are:

    plain             without a preconditioner
    preconditioned    twice: from the points of the plain phase, then from its own
    bolder            threshold at the 99% quantile and acceptance 0.04 below its aim, which is best in many dimensions;
                      if the warm-up is long and the threshold shortens steps, which keeps chains from getting stuck
    careful           steps so short that 0.9 are accepted, as momentum lasts between rejections, and of many lengths if
                      chains diverged; if chains with momentum got stuck now and then or diverged again and again
    last              what moved the slowest coordinate farthest per step, with the best trajectories (`trajectory`)

A preconditioner that loses is dropped, and the report says so; if acceptance or that distance collapses with it, there
is a warning. In all phases but the last, stranded chains are moved onto others, unless the rows of f are different
functions.

References: Roberts & Rosenthal 1998 (0.57); Beskos et al. 2013 (0.65 for HMC).
"""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
import torch
from torch import Tensor

from anila import notebook
from anila.density.rows import across
from anila.messages import counted, whole_number
from anila.rng import as_generator, rng
from anila.samplers import Sampler
from anila.samplers.adaptation import KernelsByCount
from anila.samplers.compiled.worth import pays
from anila.samplers.divergence import divergences_told
from anila.samplers.dry_run import require_rows_apart
from anila.samplers.metric import ENOUGH, improved
from anila.samplers.pathfinder import Point, starts
from anila.samplers.phase import WINDOW, Make, Phase, Settings, compiled, counted_by, quantile, run_phase, uncompiled
from anila.samplers.precondition import DENSE_LIMIT
from anila.samplers.progress import progress_bar
from anila.samplers.sample import as_points, dense, require_points
from anila.samplers.trajectory import WIDTHS, best_length, persistence
from anila.samplers.tunable import PROBES, chosen, tensors

LONG = 300
"""Length of a warm-up from which it has a bolder phase."""
BOLD_QUANTILE, LOWER, PAYS = 0.99, 0.04, 1.08
"""Quantile of its threshold, how far acceptance is below its aim, and the gain in distance from which it is kept."""
STOOD = 1e-3
"""Share of windows with a stuck chain above which there is a careful phase."""
DIVERGED, AGAIN, SPREAD = 1e-2, 1 / 2, 10.0
"""Share of diverging proposals above which there is a careful phase, if acceptance of the next steps is below this
fraction of its aim; and the ratio of its longest to its shortest steps."""
SHORTER, LONGER = 6, 15
"""Powers of ten by which the initial step_size may be made shorter or longer."""


class Tuned(NamedTuple):
    """What a warm-up found."""

    sampler: Sampler
    """The kernel with these settings, fixed from now on."""
    x: Tensor
    """Where the chains stand after the warm-up, (chains, *event)."""
    settings: Settings
    """The settings that `make` was called with: step_size, and the others of `PROBES` that it takes."""
    report: str
    """A few lines: the acceptance reached, and each setting with what it was chosen from."""
    history: dict[str, Tensor]
    """`acceptance_rate` and `step_size` of every ten steps, (windows, chains)."""

    def __repr__(self) -> str:
        """How long the warm-up was, and the report."""
        windows, chains = self.history["step_size"].shape
        head = f"Tuned in {counted(windows * WINDOW, 'step')} of {counted(chains, 'chain')}"
        return "\n  ".join([head, *self.report.splitlines()])

    def _repr_html_(self) -> str:
        """The report as a table."""
        parts = (line.partition("  ") for line in self.report.splitlines())
        return notebook.table({name if text else "note": text.strip() or name for name, _, text in parts})


@torch.inference_mode(False)
def tune(
    make: Callable[..., Any],
    x0: Any,
    steps: int,
    generator: torch.Generator | SupportsIndex | np.random.Generator,
    accept: float | None = None,
    compile: bool | None = None,
    progress: bool = False,
) -> Tuned:
    """Find the settings of a Metropolis kernel by a warm-up.

    Chains that start far from the mass are first moved there, and stranded chains are moved onto others. Both happen
    only during the warm-up, and the report says so.

    Args:
        make: The log-density f, to be sampled by `hmc`; or, for a kernel of your choice, a function of step_size and of
            those of threshold, preconditioner, leapfrog_steps, spread and persistence that the kernel has:
            `lambda **kw: anisotropic_mala(f, **kw)`. Settings that it fixes itself are left alone.
        x0: Where the chains start, (chains, *event), as `sample` takes it.
        steps: Length of the warm-up. The search for starts costs up to as many gradients per chain again, but only a
            few if the starts are good; the choice of leapfrog_steps at least 60 per chain; and a careful phase, if
            chains with momentum got stuck or diverged, one phase more.
        generator: Source of all the noise; the result is a function of it. A seed stands for `rng(seed, "tune")`.
        accept: Acceptance to aim at; by default the kernel's own, 0.57, 0.7 for hmc and 0.8 for ghmc.
        compile: Compile the steps to C++, as `sample` does, if f is small enough; None also requires that they are many
            enough. The kernel found is the compiled one, and `sample` reuses its code.
        progress: Show a progress bar that names the phase.

    Raises:
        ValueError: If the kernel always moves (nothing to aim at), steps is below 40, accept is not between 0 and 1, or
            f is random, couples the rows of a batch or is finite at no start.
        TypeError: If `make` is neither, or the kernel's state does not keep f and ∇f.

    >>> from anila import rng
    >>> x0 = torch.randn(64, 2, generator=rng(0, "start"))
    >>> tuned = tune(lambda x: -x.square().sum(-1), x0, 400, rng(0, "tune"))
    >>> sorted(tuned.settings), tuned.x.shape
    (['leapfrog_steps', 'preconditioner', 'spread', 'step_size'], torch.Size([64, 2]))
    """
    generator, steps = as_generator(generator, "tune"), whole_number("steps", steps)
    make, names = chosen(make, x0)
    probe = make(**{name: PROBES[name] for name in names})
    require_points(x0 := as_points(x0, probe.f))
    if not (accept is None or 0 < accept < 1):
        raise ValueError(f"accept must lie between 0 and 1, the acceptance to aim at; got {accept!r}")
    target = accept or probe.target_accept
    if target is None:
        raise ValueError("tune needs a Metropolis kernel: one that always moves has no acceptance to aim at")
    if steps < 4 * WINDOW:
        raise ValueError(f"steps must be at least {4 * WINDOW}; got {steps}")
    several = "preconditioner" in names and x0[0].numel() > 1
    long = "threshold" in names and accept is None and steps >= LONG and probe.quantile < BOLD_QUANTILE
    again = several or long or not {"leapfrog_steps", "persistence"}.isdisjoint(names)
    phases = 1 + 2 * several + long + again
    windows = steps // WINDOW // phases
    moved, history = [], []

    def run(
        name: str,
        x: Tensor,
        settings: Settings,
        q: float = probe.quantile,
        aim: float = target,
        last: bool = False,
        more: int = 0,
    ) -> Phase:
        bar.begin(f"tuning: {name}", more * windows * WINDOW)
        phase = run_phase(counted_by(bar, walk), x, settings, windows, q, aim, alike and not last, generator)
        moved.append(phase.moved)
        history.append(phase.history)
        return phase

    x0 = dense(x0.detach().clone())
    require_point_state(state := probe.init(x0))
    require_rows_apart(probe, x0, state)
    alike = len(x0) > 1 and rows_are_alike(probe, x0)
    worth = pays(probe.step, state, lambda: probe.draw_noise(x0, rng(0)), steps) if compile is None else compile
    kernels = KernelsByCount(make, tensors(names, x0)) if worth else None
    walk = compiled(kernels, unasked=compile is None) if kernels else uncompiled(make)
    with progress_bar("tuning: starts", 0, progress) as bar:
        x, began = begun(probe, x0, alike, steps, generator)
        settings = first_settings(make, names, x)
        settings["step_size"] = first_step(make, settings, x, target, generator)
        phase, verdict = run("plain", x, settings, more=phases), "none: the kernel takes none, or x is one number"
        if several:
            phase, verdict = preconditioned(phase, run)
        if long:
            phase = bolder(phase, run)
        phase, trouble = careful(phase, run, probe.careful_accept if accept is None else None)
        if again:
            bar.begin("tuning: lengths")
            settings = with_lengths(make, phase, generator)
            phase = run("last", phase.x, settings, phase.quantile, phase.target, last=True)
    kernel = kernels.now if kernels else lambda settings: make(**settings)
    rate, step_size = torch.cat(history).unbind(1)
    found = frozen(
        kernel, phase, verdict, began, trouble, sum(moved), {"acceptance_rate": rate, "step_size": step_size}
    )
    return found._replace(sampler=found.sampler._replace(began=x0.clone()))


def require_point_state(state: Any) -> None:
    """Refuse a state that lacks f or ∇f, from which the warm-up learns.

    Raises:
        TypeError: Naming what is missing.
    """
    lacking = [name for name in ("value", "grad") if not isinstance(getattr(state, name, None), Tensor)]
    if lacking:
        raise TypeError(
            "tune learns from f and ∇f, which a Metropolis kernel keeps in its state as value and grad (see "
            f"anila.samplers.kernel.PointState); this state has no {' and no '.join(lacking)}"
        )


def rows_are_alike(kernel: Sampler, x: Tensor) -> bool:
    """Whether f of a point is the same in every row; it is not if each row has an observation of its own."""
    here, there = kernel.init(x).value, kernel.init(x.roll(1, 0)).value.roll(-1, 0)
    return torch.allclose(here, there, rtol=1e-3, atol=1e-3, equal_nan=True)


def begun(kernel: Sampler, x0: Tensor, alike: bool, steps: int, generator: torch.Generator) -> tuple[Tensor, str]:
    """Where the chains begin, and a note on how these points were found."""
    d = x0[0].numel()
    if d > DENSE_LIMIT:
        return x0, f"as given: far ones are moved only in up to {DENSE_LIMIT} dimensions; x has {d:,}"
    if len(x0) > 1 and not alike:
        return x0, "as given: f differs from row to row, so no chain can take another's place"

    def at(x: Tensor) -> Point:
        state = kernel.init(x.view(-1, *x0.shape[1:]).to(x0))
        return Point(x, state.value.double().cpu(), state.grad.flatten(1).double().cpu())

    found = starts(at, x0.flatten(1).double().cpu(), steps, generator)
    if not found.far:
        return x0, "as given: none is far out"
    told = f"{found.far} of {len(x0)} were far out and moved along the best {found.kept} of {found.paths} uphill paths"
    return found.x.view_as(x0).to(x0), told


def first_settings(make: Make, names: tuple[str, ...], x: Tensor) -> Settings:
    """γ = d^(−1/3) / c, with c the curvature of f along its gradient at the median chain's start; and the others."""
    settings = {name: PROBES[name] for name in names}
    kernel = make(**settings)
    grad = kernel.init(x).grad
    norm = grad.flatten(1).norm(dim=1).clamp(min=torch.finfo(x.dtype).tiny)
    longest = 1e-3 * (x.double().square().mean().sqrt().item() or 1.0)
    length = (0.1 / norm).clamp(1e-2 * longest, longest)
    uphill = across(length / norm, x) * grad
    change = (kernel.init(x + uphill).grad - grad).flatten(1).norm(dim=1)
    curvature = (change / length).double().nan_to_num(math.inf).median().item()
    settings["step_size"] = x[0].numel() ** (-1 / 3) / curvature if 0 < curvature < math.inf else 1.0
    if "threshold" in names:
        settings["threshold"] = quantile(grad, kernel.quantile)
    if "persistence" in names:
        settings["persistence"] = lasting(settings, x)
    return settings


def first_step(make: Make, settings: Settings, x: Tensor, target: float, generator: torch.Generator) -> float:
    """The first of γ, γ/10, γ/100, …, 10 γ, 100 γ, … with which the median chain accepts a step as aimed; else γ.

    If |f| is large, its rounding rejects short steps that exact arithmetic would accept; longer steps are the remedy.
    """
    first = settings["step_size"]
    noise = make(**settings).draw_noise(x, generator)

    def accepted(step_size: float) -> bool:
        kernel = make(**settings | {"step_size": step_size})
        return kernel.step(kernel.init(x), noise)[1].accept_prob.median().item() >= target

    others = (first * 10.0**tens for tens in (0, *range(-1, -SHORTER - 1, -1), *range(1, LONGER + 1)))
    return next(filter(accepted, others), first)


def preconditioned(plain: Phase, run: Callable[..., Phase]) -> tuple[Phase, str]:
    """The plain phase or a preconditioned one, whichever moves the slowest coordinate farther; and why."""
    found = run("preconditioned", plain.x, shaped(plain, plain))
    phase = run("preconditioned again", found.x, shaped(plain, found))
    gain, target = farther(phase, plain), plain.target
    kind = described(phase.settings["preconditioner"], found.points)
    times = f"{gain:.3g}-fold" if gain < 1000 else "over 1000-fold"
    if gain > 1 and phase.accept_prob > target / 2:
        return phase, f"{kind}, kept: the slowest coordinate's mean square step grew {times}"
    verdict = (
        f"{kind}, dropped: with it acceptance was {phase.accept_prob:.2g} and the slowest coordinate's mean square "
        f"step {gain:.3g} times that without"
    )
    if gain < 0.5 or phase.accept_prob <= target / 2:
        warnings.warn(f"preconditioner {verdict}", UserWarning, stacklevel=3)
    return plain._replace(x=phase.x), verdict


def described(L: Tensor, points: Tensor) -> str:
    """A preconditioner in words: its kind, what it was made from, and what was missing for a better one."""
    d, n = points[0].numel(), len(points)
    if L.shape == points.shape[1:]:
        why = f"a dense one has at most {DENSE_LIMIT}" if d > DENSE_LIMIT else "too few that differ for a dense one"
        return f"diagonal, from {counted(n, 'point')} of {counted(d, 'number')} ({why})"
    lacking = f" (rough: {ENOUGH * d:,} would be enough)" if n < ENOUGH * d else ""
    return f"dense, from {counted(n, 'point')} of {counted(d, 'number')}{lacking}"


def bolder(phase: Phase, run: Callable[..., Phase]) -> Phase:
    """The phase, or one with longer steps that are clipped and accepted less, if they go farther."""
    settings = phase.settings | {"threshold": quantile(phase.grads, BOLD_QUANTILE)}
    bold = run("bolder", phase.x, settings, BOLD_QUANTILE, phase.target - LOWER)
    return bold if farther(bold, phase) > PAYS else phase._replace(x=bold.x)


def careful(phase: Phase, run: Callable[..., Phase], aim: float | None) -> tuple[Phase, str]:
    """The phase, or one with shorter steps, accepted as often as `aim`, if chains got stuck or diverged; and why.

    A divergence may come from a fast momentum or a step over a border. If the next step is rejected too, the place is
    at fault: no single length suits everywhere, so a kernel that can mix lengths does. Persistent momentum is reversed
    by a rejection, so its next step tells nothing. If most rejections are at the end of a support, shorter steps would
    only walk more slowly.
    """
    stood, share = phase.stood > STOOD, len(phase.diverged) / phase.proposals
    lasts = "persistence" in phase.settings
    diverged = share > DIVERGED and (lasts or phase.next_accepted < AGAIN * phase.target)
    at_an_end = 2 * phase.outside > (1 - phase.accept_prob) * phase.proposals
    if aim is None or at_an_end or not (stood or diverged):
        return phase, ""
    still = f"chains stood still for {WINDOW} steps in {phase.stood:.1%} of cases" if stood else ""
    after = "" if lasts else f" (acceptance of the next step: {phase.next_accepted:.2f})"
    fell = f"{share:.1%} of proposals diverged{after}" if diverged else ""
    told = f"{' and '.join(filter(None, (still, fell)))} at target acceptance {phase.target:.2f}"
    mixed = {"spread": SPREAD} if diverged and "spread" in phase.settings else {}
    return run("careful", phase.x, phase.settings | mixed, phase.quantile, aim, more=1), told


def farther(phase: Phase, other: Phase) -> float:
    """Mean square step of the slowest coordinate, relative to that of the other phase."""
    spread = phase.points.var(0)
    return ((phase.jump / spread).min() / (other.jump / spread).min()).item()


def shaped(plain: Phase, phase: Phase) -> Settings:
    """Initial settings in the coordinates of a preconditioner made from this phase."""
    old, d = phase.settings["preconditioner"], phase.points[0].numel()
    L, grads = improved(old, phase.points, phase.grads)
    settings = plain.settings | {"preconditioner": L, "step_size": d ** (-1 / 3)}
    if "threshold" in settings:
        settings["threshold"] = quantile(grads, plain.quantile)
    return settings | ({"persistence": WIDTHS} if "persistence" in settings else {})


def with_lengths(make: Make, phase: Phase, generator: torch.Generator) -> Settings:
    """The settings of a phase, with the trajectory length that suits the points it visited."""
    settings = phase.settings
    if "persistence" in settings:
        settings = settings | {"persistence": lasting(settings, phase.points)}
    if "leapfrog_steps" in settings:
        length = best_length(make, settings, phase.x, phase.points.mean(0), generator)
        settings = settings | {"leapfrog_steps": length}
    return settings


def lasting(settings: Settings, points: Tensor) -> float:
    """Persistence from points; if they are all the same, momentum lasts for ten steps."""
    found = persistence(settings.get("preconditioner"), points)
    return found if 0 < found < math.inf else 10 * settings["step_size"] ** 0.5


def frozen(
    kernel: Callable[[Settings], Sampler],
    phase: Phase,
    verdict: str,
    began: str,
    trouble: str,
    moved: int,
    history: dict[str, Tensor],
) -> Tuned:
    """The kernel with the settings of the last phase, and the report on them."""
    settings, sampler = phase.settings, kernel(phase.settings)
    quantiles = ", ".join(f"{q:.0%} {quantile(phase.grads, q):.3g}" for q in (0.5, 0.85, 0.95))
    diverged = divergences_told(phase.diverged, phase.proposals, phase.points, sampler.f, phase.outside)
    lines = [
        f"acceptance      {phase.accept_prob:.3f} (target {phase.target:.2f})",
        f"step_size       {settings['step_size']:.4g}",
        f"threshold       {settings['threshold']:.4g}" if "threshold" in settings else "",
        f"|∂f| quantiles  {quantiles}" + (" (of Lᵀ∇f)" if settings.get("preconditioner") is not None else ""),
        f"leapfrog_steps  {settings['leapfrog_steps']}" if "leapfrog_steps" in settings else "",
        f"spread          {spread:g}: step lengths vary about {spread:g}-fold"
        if (spread := settings.get("spread", 1)) > 1
        else "",
        f"persistence     {settings['persistence']:.3g}" if "persistence" in settings else "",
        f"preconditioner  {verdict}",
        f"starts          {began}",
        f"divergences     {diverged}",
        f"careful         {trouble}" if trouble else "",
        f"stranded        moved onto other chains {counted(moved, 'time')}, all during the warm-up" if moved else "",
    ]
    if off := amiss(phase):
        lines.append(off)
        warnings.warn(off, UserWarning, stacklevel=3)
    return Tuned(sampler, phase.x, settings, "\n".join(line for line in lines if line), history)


def amiss(phase: Phase) -> str:
    """What is wrong with the acceptance reached, and what to do; "" if nothing is."""
    if phase.accept_prob < phase.target / 2:
        return "acceptance is far below its target: run more steps, or start where f is less steep"
    if phase.accept_prob > (1 + phase.target) / 2:
        return "acceptance is far above its target: step_size was still growing; run more steps, or start nearer"
    return ""

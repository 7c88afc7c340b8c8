"""A warm-up finds a kernel's settings; then they are frozen and the kernel is a fixed Markov kernel.

The first step_size is d^(−1/3) over the curvature of f where the chains start, or ten, a hundred, … times that where
|f| is so large that its rounding rejects it. In windows of 10 steps, each with a fixed kernel:

    step_size follows acceptance at the rate 3/√k                     target 0.57, for hmc 0.7
    threshold follows the 85% quantile of |∂f| where the chains stand        (`adaptation` has the rules)

and from the points visited, with C = cov(x), G = cov(∇f), a preconditioner L:

    dense     L Lᵀ = M with M G M = C        diagonal     Lᵢ = (var xᵢ / var ∂ᵢf)^¼

For a Gaussian both are exact from points of *any* spread (∇f = −Σ⁻¹x, so M = Σ): chains need not have mixed. Phases of
equal length: plain; preconditioned; preconditioned again from its own points; in a long warm-up of a kernel with a
threshold, which keeps long steps from getting stuck, a bolder one: threshold at the 99% quantile, acceptance 0.04 below
its aim, which is best in many dimensions; and the last with what won, judged by how far the slowest coordinate moves a
step. A preconditioner that loses is dropped, and the report says so; one with which acceptance or that step collapses
is dropped with a warning.

References: Roberts & Rosenthal 1998 (0.57); Beskos et al. 2013 (0.65 for HMC); Seyboldt, Carlson & Carpenter 2025
(preconditioning from gradients).
"""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from anila.samplers import Sampler, sample
from anila.samplers.adaptation import RATE, adapted, averaged
from anila.samplers.precondition import DENSE_LIMIT

WINDOW = 10
"""Steps between changes of the settings."""
QUANTILE = 0.85
"""The threshold is this quantile of |∂f|."""
LONG = 500
"""Steps from which a warm-up has a bolder phase."""
BOLD_QUANTILE, LOWER, PAYS = 0.99, 0.04, 1.08
"""Its threshold, how far below its aim acceptance is, and how many times as far the slowest coordinate must move."""
TENS = 16
"""Powers of ten of the first step_size that are tried."""
POINTS = 5000
"""At most so many points make a preconditioner."""

Settings = dict[str, Any]
Make = Callable[..., Sampler]


class Tuned(NamedTuple):
    """What a warm-up found."""

    sampler: Sampler
    """The kernel with these settings, fixed from now on."""
    x: Tensor
    """Where the chains stand after the warm-up, (chains, *event)."""
    settings: Settings
    """What `make` was called with: step_size, and threshold and preconditioner where it takes them."""
    report: str
    """A few lines: the acceptance reached, and each setting beside what it was chosen from."""


class Phase(NamedTuple):
    """What some windows led to, measured over the second half of them."""

    x: Tensor
    settings: Settings
    quantile: float
    """Of |∂f|, the one that the threshold followed."""
    target: float
    """Acceptance aimed at."""
    accept_prob: float
    jump: Tensor
    """Mean square of a step, (*event)."""
    points: Tensor
    """Positions visited, (points, *event)."""


def tune(make: Make, x0: Tensor, steps: int, generator: torch.Generator, accept: float | None = None) -> Tuned:
    """Find step_size, threshold and preconditioner of a Metropolis kernel by a warm-up of so many steps.

    Args:
        make: Takes step_size, and threshold and preconditioner where the kernel has them, and returns the kernel:
            `lambda **kw: anisotropic_mala(f, **kw)`. What it sets itself is left alone.
        x0: Where the chains start, (chains, *event).
        steps: Length of the warm-up.
        generator: Source of all the noise; the result is a function of it.
        accept: Acceptance to aim at; by default the kernel's own, 0.57, and 0.7 for hmc.

    Raises:
        ValueError: If the kernel always moves (nothing to aim at), or steps is below 40.
        TypeError: If `make` does not take step_size.

    >>> from anila import mala, rng
    >>> x0 = torch.randn(64, 2, generator=rng(0, "start"))
    >>> tuned = tune(lambda **kw: mala(lambda x: -x.square().sum(-1), **kw), x0, 400, rng(0, "tune"))
    >>> sorted(tuned.settings), tuned.x.shape
    (['preconditioner', 'step_size'], torch.Size([64, 2]))
    """
    names = keywords(make)
    target = accept or make(**{name: PROBES[name] for name in names}).target_accept
    if target is None:
        raise ValueError("tune needs a Metropolis kernel: one that always moves has no acceptance to aim at")
    if steps < 4 * WINDOW:
        raise ValueError(f"steps must be at least {4 * WINDOW}; got {steps}")
    several = "preconditioner" in names and x0[0].numel() > 1
    long = "threshold" in names and accept is None and steps >= LONG
    searches = 2 * several + long
    windows = steps // WINDOW // (1 + searches + (searches > 0))

    def run(x: Tensor, settings: Settings, q: float = QUANTILE, aim: float = target) -> Phase:
        return warm_up(make, x, settings, windows, q, aim, generator)

    settings = first_settings(make, names, x0)
    settings["step_size"] = first_step(make, settings, x0, target, generator)
    phase, verdict = run(x0, settings), "none: the kernel takes none, or x is one number"
    if several:
        phase, verdict = preconditioned(make, phase, run)
    if long:
        phase = bolder(make, phase, run)
    if searches:
        phase = run(phase.x, phase.settings, phase.quantile, phase.target)
    return frozen(make, phase, verdict)


PROBES: Settings = {"step_size": 1.0, "threshold": 1.0, "preconditioner": None}
ORDERS = (
    ("step_size", "threshold", "preconditioner"),
    ("step_size", "threshold"),
    ("step_size", "preconditioner"),
    ("step_size",),
)


def keywords(make: Make) -> tuple[str, ...]:
    """The settings that `make` takes, found by calling it: the first of `ORDERS` that is not a TypeError."""
    refusal = None
    for names in ORDERS:
        try:
            make(**{name: PROBES[name] for name in names})
        except TypeError as error:
            refusal = error
        else:
            return names
    raise TypeError(f"make must take step_size and return a Sampler; it said: {refusal}") from refusal


def first_settings(make: Make, names: tuple[str, ...], x: Tensor) -> Settings:
    """γ = d^(−1/3) / c, with c the curvature of f along its gradient where the chains start; the threshold there."""
    settings = {name: PROBES[name] for name in names}
    kernel = make(**settings)
    grad = kernel.init(x).grad
    length = 1e-3 * (x.double().square().mean().sqrt().item() or 1.0)
    uphill = grad / grad.flatten(1).norm(dim=1).clamp(min=torch.finfo(x.dtype).tiny).view(-1, *[1] * (x.ndim - 1))
    change = (kernel.init(x + length * uphill).grad - grad).double().flatten(1).norm(dim=1)
    curvature = change.square().mean().sqrt().item() / length
    settings["step_size"] = x[0].numel() ** (-1 / 3) / curvature if 0 < curvature < math.inf else 1.0
    return settings | ({"threshold": quantile(grad, QUANTILE)} if "threshold" in names else {})


def first_step(make: Make, settings: Settings, x: Tensor, target: float, generator: torch.Generator) -> float:
    """γ if a step from x is accepted as aimed, else the longest of 10 γ, 100 γ, … that is; γ itself if none is.

    Where |f| is large, its rounding rejects short steps that exact numbers would accept: longer ones are the remedy.
    """
    first = settings["step_size"]
    noise = make(**settings).draw_noise(x, generator)

    def accepted(step_size: float) -> bool:
        kernel = make(**settings | {"step_size": step_size})
        return kernel.step(kernel.init(x), noise)[1].accept_prob.mean().item() >= target

    longer = (first * 10**tens for tens in reversed(range(1, TENS)))
    return first if accepted(first) else next(filter(accepted, longer), first)


def warm_up(
    make: Make, x: Tensor, settings: Settings, windows: int, q: float, target: float, generator: torch.Generator
) -> Phase:
    """Windows of a fixed kernel, and after each a change of step_size and threshold that shrinks with time."""
    log_steps, accepts, jumps, points = [], [], [], []
    for k in range(1, windows + 1):
        kernel = make(**settings)
        start = x
        x, trace = sample(kernel, start, WINDOW, generator, keep_every=1)
        accepts.append(trace["accept_prob"].double().mean().item())
        path = torch.cat([start[None], trace["x"]])
        jumps.append(path.diff(dim=0).square().mean((0, 1)))
        points.append(x)
        settings = after_window(k, settings, accepts[-1] - target, quantile(kernel.init(x).grad, q))
        log_steps.append(math.log(settings["step_size"]))
    half = windows // 2
    settings = settings | {"step_size": math.exp(mean(log_steps[half:]))}
    visited = torch.cat(points[half:])[-POINTS:]
    return Phase(x, settings, q, target, mean(accepts[half:]), torch.stack(jumps[half:]).mean(0), visited)


def after_window(k: int, settings: Settings, excess: float, steep: float) -> Settings:
    """The settings after window k, in which acceptance was off by `excess` and |∂f| had the quantile `steep`."""
    settings = settings | {"step_size": adapted(settings["step_size"], 3 / math.sqrt(k), excess)}
    if "threshold" in settings:
        settings["threshold"] = averaged(settings["threshold"], RATE, steep)
    return settings


def preconditioned(make: Make, plain: Phase, run: Callable[..., Phase]) -> tuple[Phase, str]:
    """The plain phase or a preconditioned one, whichever moves the slowest coordinate farther; and why."""
    phase = plain
    for _ in range(2):
        phase = run(phase.x, shaped(make, plain.settings, phase.points))
    gain, target = farther(phase, plain), plain.target
    kind = "diagonal" if phase.settings["preconditioner"].shape == plain.x.shape[1:] else "dense"
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


def bolder(make: Make, phase: Phase, run: Callable[..., Phase]) -> Phase:
    """The phase, or one of longer steps that clip less and are accepted less, where these go farther."""
    grad = make(**phase.settings).init(phase.points).grad
    settings = phase.settings | {"threshold": quantile(grad, BOLD_QUANTILE)}
    bold = run(phase.x, settings, BOLD_QUANTILE, phase.target - LOWER)
    return bold if farther(bold, phase) > PAYS else phase._replace(x=bold.x)


def farther(phase: Phase, other: Phase) -> float:
    """How many times as far, in the mean square, the slowest coordinate moves a step."""
    spread = phase.points.var(0)
    return ((phase.jump / spread).min() / (other.jump / spread).min()).item()


def shaped(make: Make, plain: Settings, points: Tensor) -> Settings:
    """The plain settings with a preconditioner from these points, and step_size and threshold to begin with in it."""
    L = preconditioner(points, make(**plain).init(points).grad)
    settings = plain | {"preconditioner": L, "step_size": points[0].numel() ** (-1 / 3)}
    if "threshold" in plain:
        settings["threshold"] = quantile(make(**settings).init(points).grad, QUANTILE)
    return settings


def preconditioner(x: Tensor, grad: Tensor) -> Tensor:
    """L from points and gradients, (points, *event) each: dense where there are 5 points a number, else diagonal."""
    points, d = len(x), x[0].numel()
    x64, g64 = x.flatten(1).double(), grad.flatten(1).double()
    scale = (x64.var(0) / g64.var(0)) ** 0.25
    scale = torch.where(torch.isfinite(scale) & (scale > 0), scale, torch.ones_like(scale))
    if d == 1 or d > DENSE_LIMIT or points < 5 * d:
        return scale.view(x.shape[1:]).to(x)
    M = between((x64 / scale).T.cov(), (g64 * scale).T.cov())
    factor, failed = torch.linalg.cholesky_ex(M)
    return scale.view(x.shape[1:]).to(x) if bool(failed) else (scale[:, None] * factor).to(x)


def between(C: Tensor, G: Tensor) -> Tensor:
    """The symmetric positive M with M G M = C: G^(−½) (G^½ C G^½)^½ G^(−½), (d, d)."""
    root, inverse = power(G, 0.5), power(G, -0.5)
    return inverse @ power(root @ C @ root, 0.5) @ inverse


def power(A: Tensor, p: float) -> Tensor:
    """A^p of a symmetric matrix whose eigenvalues are lifted to 1e-12 of the largest."""
    values, vectors = torch.linalg.eigh((A + A.T) / 2)
    return (vectors * values.clamp(min=1e-12 * values.max()) ** p) @ vectors.T


def frozen(make: Make, phase: Phase, verdict: str) -> Tuned:
    """The kernel with the settings of the last phase, and the report on them."""
    sampler, settings = make(**phase.settings), phase.settings
    grad = sampler.init(phase.points).grad
    quantiles = ", ".join(f"{q:.0%} {quantile(grad, q):.3g}" for q in (0.5, 0.85, 0.95))
    lines = [
        f"acceptance      {phase.accept_prob:.3f} (aimed at {phase.target:.2f})",
        f"step_size       {settings['step_size']:.4g}",
        f"threshold       {settings['threshold']:.4g}" if "threshold" in settings else "",
        f"|∂f| quantiles  {quantiles}" + (" (of Lᵀ∇f)" if settings.get("preconditioner") is not None else ""),
        f"preconditioner  {verdict}",
    ]
    if phase.accept_prob < phase.target / 2:
        lines.append("acceptance is far below its aim: more steps, or a start where f is less steep")
        warnings.warn(lines[-1], UserWarning, stacklevel=3)
    return Tuned(sampler, phase.x, settings, "\n".join(line for line in lines if line))


def quantile(grad: Tensor, q: float) -> float:
    """The q-quantile of |∂f|, at least the smallest positive number; of every k-th where there are many."""
    size = grad.detach().abs().flatten().double()
    size = size[:: max(1, len(size) // 100_000)]
    return max(size.quantile(q).item(), torch.finfo(torch.float32).tiny)


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)

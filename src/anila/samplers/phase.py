"""A phase of a warm-up: windows in which the kernel is fixed, each followed by an update of its settings.

    step_size follows acceptance at the rate 3/√k in window k
    threshold follows a quantile of |∂f| where the chains stand            (`adaptation` has the rules)

All chains share the settings. A chain whose f is 10 d + 20 nats below the median chain's is therefore left out of the
updates and moved onto another chain. A chain that accepted nothing in 30 steps while others did is moved too, but its
acceptance counts: a step_size with which chains get stuck is too long.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from anila.rng import rng
from anila.samplers.adaptation import RATE, KernelsByCount, adapted, averaged
from anila.samplers.compiled import graphs_of
from anila.samplers.divergence import began, next_accepted
from anila.samplers.kernel import Sampler, draw_block
from anila.samplers.pathfinder import far_below
from anila.samplers.progress import Bar

WINDOW = 10
"""Steps between changes of the settings."""
POINTS = 5000
"""Approximate number of points from which a preconditioner is made."""
STILL = 3
"""Windows without an acceptance after which a chain counts as stranded."""

Settings = dict[str, Any]
Make = Callable[..., Sampler]


class Point(NamedTuple):
    """Positions of the chains, with f and ∇f as the kernel's state holds them, if known."""

    x: Tensor
    value: Tensor | None = None
    grad: Tensor | None = None

    def state(self, kernel: Sampler) -> Any:
        if kernel.at is None or self.value is None or self.grad is None:
            return kernel.init(self.x)
        return kernel.at(self.x, self.value, self.grad)


class Window(NamedTuple):
    """What a fixed kernel did in one window, every field (steps, chains, ...)."""

    x: Tensor
    value: Tensor
    grad: Tensor
    accept_prob: Tensor


class Look(NamedTuple):
    """What one window tells about chains."""

    accept_prob: float
    jump: Tensor
    """Mean square of a step, (*event)."""
    points: Tensor
    """Some of the positions visited, (points, *event)."""
    grads: Tensor
    """∇f there, as the kernel's state holds it."""
    diverged: Tensor
    """Starting points of the proposals that diverged, (divergences, *event)."""
    outside: int
    """How many of these led to where f is not finite."""
    next_accepted: Tensor
    """Acceptance of the steps that follow a divergence, (steps,)."""


class Phase(NamedTuple):
    """The result of some windows, measured over the second half of them."""

    x: Tensor
    settings: Settings
    quantile: float
    """The quantile of |∂f| that the threshold followed."""
    target: float
    """Acceptance aimed at."""
    accept_prob: float
    jump: Tensor
    """Mean square of a step, (*event)."""
    points: Tensor
    """Positions visited, (points, *event)."""
    grads: Tensor
    """∇f there, as the kernel's state holds it."""
    stood: float
    """Share of the windows in which a chain stood still while others moved."""
    moved: int
    """Times that a stranded chain was moved onto another."""
    history: Tensor
    """Acceptance and step_size of every window, (windows, 2, chains)."""
    diverged: Tensor
    """Starting points of the proposals that diverged, (divergences, *event)."""
    outside: int
    """How many of these led to where f is not finite."""
    proposals: int
    next_accepted: float
    """Mean acceptance of the steps that follow a divergence; 1 where there was none."""


Walk = Callable[[Settings, Point, torch.Generator], Window]
"""A window of the kernel with these settings."""


def run_phase(
    walk: Walk,
    x: Tensor,
    settings: Settings,
    windows: int,
    q: float,
    target: float,
    moving: bool,
    generator: torch.Generator,
) -> Phase:
    """Run windows of a fixed kernel, and update step_size and threshold after each."""
    half, moved, still = windows // 2, 0, x.new_zeros(len(x))
    here, looks, log_steps, stood, history = Point(x), list[Look](), [], [], []
    every = min(WINDOW, max(1, WINDOW * len(x) * (windows - half) // POINTS))
    for k in range(1, windows + 1):
        seen = walk(settings, here, generator)
        rate = seen.accept_prob.mean(0)
        history.append(torch.stack([rate, torch.full_like(rate, settings["step_size"])]))
        still = torch.where(rate < 1e-3, still + 1, 0)
        low = far_down(seen) if moving else torch.zeros_like(still, dtype=torch.bool)
        looks.append(look(here.x, seen, ~low, every))
        settings = after_window(k, settings, looks[-1].accept_prob - target, quantile(seen.grad[-1, ~low], q))
        log_steps.append(math.log(settings["step_size"]))
        stuck = (still > 0) & (rate.median() > target / 2)
        stood.append(stuck.double().mean().item())
        out = stranded(low, stuck & (still >= STILL)) if moving else low
        rows, still, moved = after_moves(out, generator), still.masked_fill(out, 0), moved + int(out.sum())
        here = Point(seen.x[-1][rows], seen.value[-1][rows], seen.grad[-1][rows])
    accept_prob, jump, points, grads, diverged, outside, after = zip(*looks[half:], strict=True)
    return Phase(
        here.x, settings | {"step_size": math.exp(mean(log_steps[half:]))}, q, target, mean(accept_prob),
        torch.stack(jump).mean(0), torch.cat(points), torch.cat(grads), mean(stood[half:]), moved, torch.stack(history),
        torch.cat(diverged), sum(outside), WINDOW * len(x) * (windows - half),
        torch.cat(after).mean().nan_to_num(1.0).item(),
    )  # fmt: skip


def look(x: Tensor, seen: Window, good: Tensor, every: int) -> Look:
    """A window of chains that started at x, (chains, *event).

    Args:
        x: Where the chains start.
        seen: What they did.
        good: Which chains count in means and points, (chains,).
        every: Steps between points.
    """
    return Look(
        seen.accept_prob[:, good].double().mean().item(),
        torch.cat([x[None], seen.x])[:, good].diff(dim=0).square().mean((0, 1)),
        seen.x[every - 1 :: every, good].flatten(0, 1),
        seen.grad[every - 1 :: every, good].flatten(0, 1),
        began(x, seen.x, seen.accept_prob),
        int((seen.accept_prob == 0).sum()),
        next_accepted(seen.accept_prob),
    )


def uncompiled(make: Make) -> Walk:
    """Windows of kernels made anew."""

    def walk(settings: Settings, here: Point, generator: torch.Generator) -> Window:
        kernel = make(**settings)
        return window(kernel, kernel.init(here.x), generator)

    return walk


def compiled(kernels: KernelsByCount, unasked: bool) -> Walk:
    """Windows of kernels compiled to C++. One that cannot be compiled runs as it is: beside its f, calls cost little.

    Args:
        unasked: Whether nobody asked to compile; then there is no warning.
    """

    def walk(settings: Settings, here: Point, generator: torch.Generator) -> Window:
        kernel = kernels.now(settings)
        state = here.state(kernel)
        graphs = graphs_of(kernel.step, state, lambda: kernel.draw_noise(here.x, rng(0)), unasked)
        if not graphs or not graphs.lanes:
            return window(kernel, state, generator)
        _, info, states = graphs(state, draw_block(kernel, here.x, WINDOW, generator), every=1)
        return Window(states.x, states.value, states.grad, info.accept_prob)

    return walk


def counted_by(bar: Bar, walk: Walk) -> Walk:
    """The same windows, with a progress bar that counts their steps."""

    def counted(settings: Settings, here: Point, generator: torch.Generator) -> Window:
        seen = walk(settings, here, generator)
        bar.advance(WINDOW)
        return seen

    return counted


def window(kernel: Sampler, state: Any, generator: torch.Generator) -> Window:
    """The steps of one window, with every state on the way."""
    seen = []
    for _ in range(WINDOW):
        state, info = kernel.step(state, kernel.draw_noise(state.x, generator))
        seen.append((state.x, state.value, state.grad, info.accept_prob))
    return Window(*(torch.stack(column) for column in zip(*seen, strict=True)))


def far_down(seen: Window) -> Tensor:
    """Chains whose f is far below the median chain's, (chains,)."""
    value = seen.value[-1].double().nan_to_num(-math.inf)
    return value < value.median() - far_below(seen.x[0, 0].numel())


def stranded(low: Tensor, stuck: Tensor) -> Tensor:
    """Chains that are far down, or stuck while the median chain is not; none if that is all of them, (chains,)."""
    return (low | stuck) & ~(low | stuck).all()


def after_moves(out: Tensor, generator: torch.Generator) -> Tensor | slice:
    """The chain whose place each chain takes: its own, or if it is out, a random one that is not."""
    if not bool(out.any()):
        return slice(None)
    good, rows = (~out).nonzero().flatten(), torch.arange(len(out), device=out.device)
    drawn = torch.randint(len(good), (int(out.sum()),), generator=generator, device=generator.device)
    rows[out] = good[drawn.to(out.device)]
    return rows


def after_window(k: int, settings: Settings, excess: float, steep: float) -> Settings:
    """The settings after window k, in which acceptance was off by `excess` and |∂f| had the quantile `steep`."""
    settings = settings | {"step_size": adapted(settings["step_size"], 3 / math.sqrt(k), excess)}
    if "threshold" in settings:
        settings["threshold"] = averaged(settings["threshold"], RATE, steep)
    return settings


def quantile(grad: Tensor, q: float) -> float:
    """The q-quantile of |∂f|, at least the smallest positive number; taken over every k-th if there are many."""
    size = grad.detach().abs().flatten().double()
    size = size[:: max(1, len(size) // 100_000)]
    return max(size.quantile(q).item(), torch.finfo(torch.float32).tiny)


def mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)

"""The only loop, x ← step(x, noise), with its checks and warnings."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import torch
from torch import Tensor

from anila.density.log_density import LogDensity, adding_values
from anila.density.precision import Precision, gradients_in, unrounded
from anila.density.rows import finite_rows
from anila.density.transform import Transformed
from anila.density.wrong_f import ROUNDED
from anila.messages import are, counted, lacks_memory, whole_number
from anila.rng import as_generator, rng
from anila.samplers.compiled import graphs_of, is_compiled
from anila.samplers.compiled.moves import how_made, with_compiled_moves
from anila.samplers.compiled.worth import pays
from anila.samplers.dry_run import require_rows_apart, value_of
from anila.samplers.estimates import can_be_judged
from anila.samplers.heat import heat
from anila.samplers.kernel import Sampler, Scheduled, draw_block
from anila.samplers.progress import progress_bar
from anila.samplers.remedy import STILL_STEPS, still
from anila.samplers.trace import Trace

if TYPE_CHECKING:
    from anila.samplers.compiled.graphs import Graphs


def sample(
    sampler: Sampler,
    x0: Any,
    steps: int,
    generator: torch.Generator | SupportsIndex | np.random.Generator,
    keep_every: int = 0,
    progress: bool = False,
    callback: Callable[[int, Tensor], None] | None = None,
    precision: Precision | None = None,
    compile: bool | None = None,
) -> tuple[Tensor, Trace]:
    """Run the chains: x ← step(x, noise), `steps` times.

    Autocast around a call does not reach f: only `precision` decides what is rounded.

    Args:
        sampler: Kernel bound to f.
        x0: Where the chains start, (chains, *event): a tensor, an array or lists; for an f with named parameters also a
            dictionary of them, each (chains, *shape).
        steps: Number of transitions K.
        generator: Source of all the noise; `rng(seed, "chains")` makes one, and a seed by itself stands for
            `rng(seed, "sample")`.
        keep_every: Steps between the positions that are kept in `trace["x"]`; 0 keeps none.
        progress: Show a progress bar.
        callback: Called with (steps made, a copy of the positions) instead of keeping positions in the trace, e.g. to
            write a long run to disk.
        precision: "bf16", "fp16" or "tf32" rounds matrix products and convolutions inside ∇f; f stays exact wherever
            an acceptance needs it, at the cost of one more evaluation. None rounds nothing.
        compile: True compiles the steps, which takes seconds once per kernel and shape and then saves the overhead of
            Python. What cannot be compiled runs as it is, with a warning. During a call, compiled steps follow in-place
            changes of the tensors that f reads, but not changes of numbers or of `train` and `eval` mode. None compiles
            where that pays: steps of an exact kernel on a CPU that become C++, from about 3,000 steps if f is long and
            10,000 if it is short. `trace.how` says what was done.

    Returns:
        The final positions (chains, *event) and the trace.

    Raises:
        ValueError: If x0 is not a floating-point batch of finite points, f does not return one number per row, couples
            the rows of a batch or (for a Metropolis kernel) is random, a setting of the kernel requires a gradient, a
            callback has no keep_every that says when to call it, or precision is an unknown word or given for an x0
            that is not float32.
        TypeError: If sampler is not a kernel, or steps or keep_every is not a whole number.

    Warns:
        RuntimeWarning: About chains that start or arrive where f is NaN or infinite, run away or get stuck.
    """
    if not hasattr(sampler, "step"):
        hint = ": give its .sampler" if hasattr(sampler, "sampler") else ""
        raise TypeError(f"sampler must be a kernel, e.g. mala(f, step_size=0.1); got {type(sampler).__name__}{hint}")
    steps, keep_every = whole_number("steps", steps), whole_number("keep_every", keep_every)
    x0, generator = as_points(x0, sampler.f), as_generator(generator, "sample")
    return transitions(sampler, x0, steps, generator, keep_every, progress, callback, precision, compile, look=True)


def transitions(
    sampler: Sampler,
    x0: Tensor,
    steps: int,
    generator: torch.Generator,
    keep_every: int = 0,
    progress: bool = False,
    callback: Callable[[int, Tensor], None] | None = None,
    precision: Precision | None = None,
    compile: bool | None = False,
    look: bool = False,
) -> tuple[Tensor, Trace]:
    """`sample`, with its check of the kernel only if `look` is set: for callers with many short runs of one f."""
    require_points(x0)
    if precision and x0.dtype != torch.float32:
        raise ValueError(
            f"precision={precision!r} rounds float32 arithmetic; x0 is {x0.dtype}: convert with x0.float()"
        )
    if callback and keep_every < 1:
        raise ValueError(f"callback needs keep_every, the steps between calls; got {keep_every}")
    if steps < 0 or keep_every < 0:
        raise ValueError(f"steps and keep_every must be at least 0; got {steps} and {keep_every}")
    with torch.inference_mode(False), unrounded(x0.device):
        x0, visited = dense(x0.detach().clone()), None if sampler.exact or compile else x0.new_zeros(len(x0))
        with gradients_in(precision):
            state = sampler.init(x0)
            if look:
                require_rows_apart(sampler, x0, state)
            sampler, graphs = compiled(sampler, state, steps, compile, look)
        warn_of_starts(value_of(state))
        x, trace = loop(sampler, state, steps, generator, keep_every, progress, callback, precision, graphs, visited)
        trace.starts, trace.tuned = (x0, False) if sampler.began is None else (sampler.began, True)
        if sampler.f is not None and not sampler.exact and can_be_judged(trace["x"]):
            trace.heat = heat(sampler.f, trace["x"])
    warn_of_lost_chains(x, visited)
    warn_of_stuck_chains(trace)
    warn_of_none_tried(trace)
    return x, trace


def compiled(
    sampler: Sampler, state: Any, steps: int, compile: bool | None, look: bool
) -> "tuple[Sampler, Graphs | None]":
    """The kernel and its compiled steps, or the kernel with compiled moves, if asked for or, by default, if it pays."""

    def draw_noise() -> Any:
        return sampler.draw_noise(state.x, rng(0))

    unasked, step = compile is None, sampler.step
    if compile is False or (unasked and not sampler.exact):
        return sampler, None  # steps that do not reject are checked for a non-finite f, which C++ does not do
    if isinstance(step, Scheduled):
        return sampler._replace(step=with_compiled_moves(step, steps, unasked, look)), None
    if unasked and not (is_compiled(step, state) or pays(step, state, draw_noise, steps)):
        return sampler, None
    return sampler, graphs_of(step, state, draw_noise, unasked, look)


def loop(
    sampler: Sampler,
    state: Any,
    steps: int,
    generator: torch.Generator,
    keep_every: int,
    progress: bool,
    callback: Callable[[int, Tensor], None] | None,
    precision: Precision | None,
    graphs: "Graphs | None",
    visited: Tensor | None,
) -> tuple[Tensor, Trace]:
    """x ← step(x, noise). If only a step computes f, a non-finite f at the starts is reported after the first one."""
    x0, infos = state.x, dict[str, Tensor]()
    kept = x0.new_empty(steps // keep_every if keep_every and not callback else 0, *x0.shape)
    done = 0
    for n in with_progress(blocks(steps, keep_every, graphs.longest if graphs else 1), steps, progress):
        watched = done % WATCHED == 0 or done + n == steps
        with gradients_in(precision), adding_values(visited if watched else None):
            if graphs:
                noise = draw_block(sampler, state.x, n, generator)
                state, info, kept_states = graphs(state, noise, keep_every if keep_every < n else 0)
                xs = kept_states.x
            else:
                state, info = sampler.step(state, sampler.draw_noise(state.x, generator))
                xs = state.x[:0]
        if done == 0:
            require_no_graph(state.x)
        for name, value in info._asdict().items():
            if name not in infos:
                infos[name] = room_for(steps, len(x0), value)
            infos[name][done : done + n] = value
        if keep_every:
            xs = xs if keep_every < n else state.x[None][: (done + n) % keep_every == 0]
            first = done // keep_every
            if callback:
                for k, x in enumerate(xs):
                    callback((first + k + 1) * keep_every, x.clone())
            else:
                kept[first : first + len(xs)] = xs
        if done == 0:
            warn_of_starts(visited)
        done += n
    how = graphs.how() if graphs else how_made(sampler.step)
    return state.x, Trace({"x": kept, **infos}, sampler.exact, sampler.f, keep_every, how)


def require_no_graph(x: Tensor) -> None:
    """Refuse a kernel whose settings require a gradient: it would be wrong, as ∇f is not differentiated, and each step
    would keep the graphs of all earlier ones.

    Raises:
        ValueError: Saying what to do.
    """
    if x.grad_fn is not None:
        raise ValueError(
            "a setting of the kernel (step_size, threshold, temperature or preconditioner) requires a gradient, which "
            "chains do not carry; pass it without one: step_size.detach()"
        )


def room_for(steps: int, chains: int, like: Tensor) -> Tensor:
    """Memory for one number per step and chain.

    Raises:
        MemoryError: If there is not enough.
    """
    try:
        return like.new_empty(steps, chains)
    except RuntimeError as error:
        if not lacks_memory(error):
            raise
        what = f"{counted(steps, 'step')} of {counted(chains, 'chain')}"
        raise MemoryError(f"not enough memory for the records of {what}: run fewer steps at a time") from None


def dense(x: Tensor) -> Tensor:
    """The same numbers without gaps in memory, like everything that is computed from them."""
    return x if torch.empty_like(x).stride() == x.stride() else x.contiguous()


POINTS = "x0 must be numbers, (chains, *event): a tensor, an array or lists of equal length"


def as_points(x0: Any, f: LogDensity | None) -> Tensor:
    """Starts in any form that users give them, as a tensor.

    Arrays keep their precision, unless f is a network of another one; whole numbers and lists get torch's default.
    """
    if isinstance(x0, Mapping) and isinstance(f, Transformed):
        return f.unconstrain(x0)
    if isinstance(x0, Tensor):
        return x0
    try:
        array = np.array(x0)
    except ValueError:
        raise ValueError(f"{POINTS}; got rows of different lengths") from None
    try:
        x = torch.from_numpy(array)
    except TypeError:
        kind = f"{type(x0).__name__} of {array.dtype}" if isinstance(x0, np.ndarray) else type(x0).__name__
        hint = "; names need an f = anila.transform(log_density, name=prior)" if isinstance(x0, Mapping) else ""
        raise ValueError(f"{POINTS}; got {kind}{hint}") from None
    if not (x.is_complex() or (isinstance(x0, np.ndarray) and x.is_floating_point())):
        x = x.to(torch.get_default_dtype())
    weights = next(iter(f.parameters()), None) if isinstance(f, torch.nn.Module) else None
    return x if weights is None else x.to(weights)


def require_points(x: Tensor) -> None:
    """Refuse starts from which no chain can run."""
    if x.dtype in ROUNDED:
        raise ValueError(
            f"x0 must be float32 or float64; got {x.dtype}, which makes acceptances wrong: use x0.float(); "
            'precision="bf16" or "fp16" rounds only the gradients'
        )
    if not x.is_floating_point() or x.ndim < 2 or x.numel() == 0:
        n = len(x) if x.ndim == 1 else 0
        hint = "; [[0.5]] is one chain of one number" if x.ndim == 0 else ""
        if x.ndim > 1 and x.numel() and not x.is_complex():
            hint = "; use x0.float()"
        if n:
            hint = f"; x0[None] is one chain of {counted(n, 'number')}, x0[:, None] {counted(n, 'chain')} of one"
        raise ValueError(
            "x0 must be a floating-point batch of points (chains, *event); got "
            f"{x.dtype} of shape {tuple(x.shape)}{hint}"
        )
    if not bool(torch.isfinite(x).all()):
        bad = int((~finite_rows(x)).sum())
        raise ValueError(f"x0 must be finite; {bad} of {counted(len(x), 'chain')} start at a NaN or infinite point")


def warn_of_starts(value: Tensor | None) -> None:
    """Warn of chains that start where f is not finite, before they run: a Metropolis kernel never leaves there."""
    if value is None or bool(torch.isfinite(value).all()):
        return
    wrong = ~torch.isfinite(value)
    kinds = " or ".join(sorted({str(v) for v in value[wrong].tolist()}))
    warnings.warn(
        f"f is {kinds} at {int(wrong.flatten(1).any(1).sum() if wrong.ndim > 1 else wrong.sum())} of {len(value)} "
        "starts: these chains do not sample exp f; start them where f is finite",
        RuntimeWarning,
        stacklevel=5,
    )


def warn_of_lost_chains(x: Tensor, visited: Tensor | None) -> None:
    """Warn of non-finite positions, which are kept as they are, and of chains that arrived where f is not finite."""
    lost = ~finite_rows(x)
    if bool(lost.any()):
        warnings.warn(
            f"{int(lost.sum())} of {counted(len(x), 'chain')} ran away to non-finite positions; lower step_size, or "
            "use a threshold or a Metropolis kernel",
            RuntimeWarning,
            stacklevel=4,
        )
    if visited is not None and bool((outside := ~torch.isfinite(visited) & ~lost).any()):
        warnings.warn(
            f"{int(outside.sum())} of {counted(len(x), 'chain')} passed through points where f is NaN or infinite: "
            "they do not sample exp f; use a Metropolis kernel, which rejects such steps",
            RuntimeWarning,
            stacklevel=4,
        )


WATCHED = 8
"""For a kernel that does not reject, f is checked to be finite at one in this many steps, and at the last."""


NOW_AND_THEN = {"global_accept": ("global move", ", or sampler.global_every of a run,"), "swap_accept": ("swap", "")}
"""Infos that are NaN at steps that do not try, with what these steps leave out, and its other name."""


FEW = 1000
"""Among more chains than this, a single stuck one is not reported: it holds hardly any of the draws."""


def warn_of_stuck_chains(infos: Trace) -> None:
    """Warn of chains whose acceptance probabilities over the last 50 steps add up to less than 1/20, if they are at
    least one in a thousand.
    """
    prob = infos.get("accept_prob")
    if prob is None:
        return
    stuck = still(prob)
    if FEW * int(stuck.sum()) >= len(stuck):
        norm = infos["grad_norm"][-1, stuck].double()
        low, middle, high = norm.quantile(norm.new_tensor([0.1, 0.5, 0.9])).tolist()
        warnings.warn(
            f"{int(stuck.sum())} of {counted(len(stuck), 'chain')} {are(int(stuck.sum()))} stuck: no proposal accepted "
            f"in {STILL_STEPS} steps (acceptance of all chains {prob.double().mean():.2g}, step_size "
            f"{infos['step_size'][-1, stuck].double().mean():.2g}; ‖∇f‖ where they stand: 10% {low:.2g}, median "
            f"{middle:.2g}, 90% {high:.2g}); {infos.remedy()}",
            RuntimeWarning,
            stacklevel=4,
        )


def warn_of_none_tried(infos: Trace) -> None:
    """Warn of a kernel with global moves or swaps that made none: `every` counts from the first step of each call."""
    for name, (what, setting) in NOW_AND_THEN.items():
        tried = infos.get(name)
        if tried is not None and len(tried) and bool(tried.isnan().all()):
            warnings.warn(
                f"no {what} was made in {counted(len(tried), 'step')}: `every`{setting} is larger than that; lower it, "
                "or run more steps",
                UserWarning,
                stacklevel=4,
            )


def blocks(steps: int, keep_every: int, most: int) -> Iterator[int]:
    """Sizes of the blocks in which steps are made, at most `most`; a block begins where positions were last kept."""
    if keep_every < most:
        most -= most % keep_every if keep_every else 0
        span = steps
    else:
        span = keep_every
    done = 0
    while done < steps:
        n = min(most, span - done % span, steps - done)
        yield n
        done += n


def with_progress(parts: Iterator[int], steps: int, shown: bool) -> Iterator[int]:
    """The same block sizes, with a progress bar over all `steps` if `shown`."""
    with progress_bar("sampling", steps, shown) as bar:
        for n in parts:
            yield n
            bar.advance(n)

"""A sampler is a Markov kernel bound to one f: `init` makes a state, `step` moves it, `sample` is the only loop.

A step is a pure function of (state, noise). Everything random about it is drawn outside, by the sampler's own
`draw_noise`, so that equal noise gives equal chains: that makes resume bitwise, couplings possible and compiled
graphs simple. Row i of a step depends on row i of the state and of the noise only.

Words: *chains* are the rows of x; *State* is what the next step needs (always with `.x`); *Info* is what a
diagnostic wants to know about the step just made.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anila.density.log_density import rng
from anila.density.precision import Precision, gradients_in
from anila.samplers.compiled import graphs_of


class State(Protocol):
    """What the next step needs; a NamedTuple of per-chain tensors, always with the positions `x`."""

    @property
    def x(self) -> Tensor: ...

    def _asdict(self) -> dict[str, Any]: ...

    def _replace(self, **changes: Any) -> Any: ...


class Noise(NamedTuple):
    """Everything random about one step."""

    normal: Float[Tensor, "chains *event"]
    uniform: Float[Tensor, "chains"]


class Info(NamedTuple):
    """What a diagnostic wants to know about one step; every field is (chains,)."""

    accept_prob: Float[Tensor, "chains"]
    """Metropolis acceptance probability; 1 for kernels that always move, 0 for a non-finite proposal and no other."""
    step_size: Float[Tensor, "chains"]
    """γ of the step, averaged over coordinates."""
    grad_norm: Float[Tensor, "chains"]
    """‖∇f‖₂ at the point the step left."""
    clipped: Float[Tensor, "chains"]
    """Fraction of coordinates with |∂ᵢf| above the threshold there."""


class PointState(NamedTuple):
    """Positions with f and ∇f there: all that a Metropolis kernel of one gradient remembers."""

    x: Float[Tensor, "chains *event"]
    value: Float[Tensor, "chains"]
    grad: Float[Tensor, "chains *event"]


def draw_noise(x: Tensor, generator: torch.Generator) -> Noise:
    """Standard normal and uniform noise for one step of chains at x, drawn on the generator's device."""
    normal = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=generator.device)
    uniform = torch.rand(len(x), generator=generator, dtype=x.dtype, device=generator.device)
    return Noise(normal.to(x.device), uniform.to(x.device))


def draw_block(sampler: "Sampler", x: Tensor, steps: int, generator: torch.Generator) -> Any:
    """The numbers that `draw_noise` gives in so many steps: its fields stacked, or a list if they are not tensors."""
    if sampler.draw_noise is draw_noise and generator.device == x.device:
        block = Noise(x.new_empty(steps, *x.shape), x.new_empty(steps, len(x)))
        for normal, uniform in zip(*block, strict=True):
            normal.normal_(generator=generator)
            uniform.uniform_(generator=generator)
        return block
    drawn = [sampler.draw_noise(x, generator) for _ in range(steps)]
    if any(not isinstance(field, Tensor) for field in drawn[0]):
        return drawn
    return type(drawn[0])(*(torch.stack(column) for column in zip(*drawn, strict=True)))


class Sampler(NamedTuple):
    """A Markov kernel bound to one f.

    `init` maps positions (chains, *event) to a state, `step` maps (state, noise) to (state, info), and
    `draw_noise` maps (positions, generator) to the noise of one step.
    """

    init: Callable[[Tensor], Any]
    step: Callable[[Any, Any], tuple[Any, Any]]
    draw_noise: Callable[[Tensor, torch.Generator], Any] = draw_noise
    local: "Sampler | None" = None
    """The kernel without its global moves, where it has some."""
    held: tuple[str, ...] = ()
    """Fields of the state that belong to the run and not to the point: a global move keeps them."""
    target_accept: float | None = None
    """The acceptance that `tune` aims at; None for kernels that always move."""


def among(sampler: Sampler, rows: slice, chains: int) -> Sampler:
    """The kernel for some rows of so many chains, each with the noise it has when all run together."""
    if rows == slice(0, chains):
        return sampler

    def draw_noise(x: Tensor, generator: torch.Generator) -> Any:
        return rows_of(sampler.draw_noise(x[:1].expand(chains, *x.shape[1:]), generator), rows)

    return sampler._replace(draw_noise=draw_noise)


def rows_of(noise: Any, rows: slice) -> Any:
    """These rows of every tensor of the noise; what all chains share stays."""
    if isinstance(noise, Tensor):
        return noise[rows]
    return type(noise)(*(rows_of(part, rows) for part in noise)) if isinstance(noise, tuple) else noise


class Trace(Mapping[str, Tensor]):
    """What happened along a run of `sample`.

    `trace["x"]` holds the kept positions, (kept, chains, *event); every field of the kernel's info is
    (steps, chains), e.g. `trace["accept_prob"]`.
    """

    def __init__(self, fields: dict[str, Tensor]):
        self._fields = fields

    def __getitem__(self, name: str) -> Tensor:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def means(self) -> dict[str, float]:
        """Every info averaged over steps and chains, in float64; steps on which it was not measured (NaN) left out."""
        return {name: self[name].double().nanmean().item() for name in self if name != "x"}

    def non_finite(self) -> int:
        """Proposals at which f or ∇f was not finite: they were rejected. `trace["accept_prob"] == 0` says which."""
        return int((self["accept_prob"] == 0).sum()) if "accept_prob" in self else 0

    def summary(self) -> str:
        """A line for each info: mean, and the range over chains of the mean along each chain.

        Then, where positions were kept, the coordinates with the fewest effective samples: mean over all draws, its
        standard error, standard deviation, R̂ and ESS, and whether they are good enough.
        """
        from anila.samplers.estimates import estimates

        lines = [f"{'':12}{'mean':>12}{'lowest chain':>14}{'highest chain':>14}"]
        for name in (n for n in self if n != "x" and len(self[n])):
            chains = self[name].double().nanmean(0)
            lines.append(f"{name:12}{chains.mean():12.4g}{chains.min():14.4g}{chains.max():14.4g}")
        if count := self.non_finite():
            lines.append(f"{count} of {self['accept_prob'].numel()} proposals were not finite, hence rejected")
        return "\n".join([*lines, *estimates(self["x"])])

    @classmethod
    def beside(cls, traces: Sequence["Trace"]) -> "Trace":
        """The traces of different chains over the same steps as one."""
        return cls({name: torch.cat([trace[name] for trace in traces], 1) for name in traces[0]})

    def to_arviz(self) -> Any:
        """The kept positions and infos as an ArviZ data tree (extra `arviz`), chains first, draws second."""
        from arviz_base import from_dict

        infos = {n: self[n].T.numpy(force=True) for n in self if n != "x"}
        return from_dict({"posterior": {"x": self["x"].transpose(0, 1).numpy(force=True)}, "sample_stats": infos})


def sample(
    sampler: Sampler,
    x0: Float[Tensor, "chains *event"],
    steps: int,
    generator: torch.Generator,
    keep_every: int = 0,
    progress: bool = False,
    callback: Callable[[int, Tensor], None] | None = None,
    precision: Precision | None = None,
    compile: bool = False,
) -> tuple[Tensor, Trace]:
    """Run the chains: x ← step(x, noise), `steps` times.

    Args:
        sampler: Kernel bound to f.
        x0: Where the chains start, (chains, *event), floating point.
        steps: Number of transitions K.
        generator: Source of all the noise; `rng(seed, "chains")` makes one.
        keep_every: Keep the positions after every so many steps in `trace["x"]`; 0 keeps none.
        progress: Show a progress bar.
        callback: Called with (steps made, positions) in place of keeping positions in the trace, e.g. to write a long
            run to disk.
        precision: "bf16", "fp16" or "tf32" rounds matrix products and convolutions inside ∇f; f stays exact wherever
            an acceptance needs it, at the cost of one more evaluation. None rounds nothing.
        compile: Compile steps into one graph, which takes seconds once for a kernel and a shape and then saves what
            Python costs: for small nets and many steps. What cannot be compiled runs as it is, with a warning. Of what
            f reads besides x only tensors that change in place are followed, not numbers, nor `train` or `eval`.

    Returns:
        The final positions (chains, *event) and the trace.

    Raises:
        ValueError: If x0 is not a floating-point batch of finite points, f does not give one number a row, there is a
            callback and keep_every does not say when to call it, or precision is another word or x0 not float32 then.
    """
    require_points(x0)
    if precision and x0.dtype != torch.float32:
        raise ValueError(
            f"precision={precision!r} rounds float32 arithmetic; x0 is {x0.dtype}: convert with x0.float()"
        )
    if callback and keep_every < 1:
        raise ValueError(f"callback needs keep_every, the steps between calls; got {keep_every}")
    if steps < 0 or keep_every < 0:
        raise ValueError(f"steps and keep_every must be at least 0; got {steps} and {keep_every}")
    infos: dict[str, Tensor] = {}
    kept = x0.new_empty(steps // keep_every if keep_every and not callback else 0, *x0.shape)
    x0 = dense(x0.detach())
    with gradients_in(precision):
        state = sampler.init(x0)
        graphs = graphs_of(sampler.step, state, lambda: sampler.draw_noise(x0, rng(0))) if compile else None
    done = 0
    for n in with_progress(blocks(steps, keep_every, graphs.longest if graphs else 1), progress):
        with gradients_in(precision):
            if graphs:
                noise = draw_block(sampler, state.x, n, generator)
                state, info, xs = graphs(state, noise, keep_every if keep_every < n else 0)
            else:
                state, info = sampler.step(state, sampler.draw_noise(state.x, generator))
                xs = state.x[:0]
        for name, value in info._asdict().items():
            if name not in infos:
                infos[name] = value.new_empty(steps, len(x0))
            infos[name][done : done + n] = value
        if keep_every:
            xs = xs if keep_every < n else state.x[None][: (done + n) % keep_every == 0]
            first = done // keep_every
            if callback:
                for k, x in enumerate(xs):
                    callback((first + k + 1) * keep_every, x)
            else:
                kept[first : first + len(xs)] = xs
        done += n
    warn_of_lost_chains(state.x)
    warn_of_stuck_chains(infos)
    warn_of_no_global_move(infos)
    return state.x, Trace({"x": kept, **infos})


def dense(x: Tensor) -> Tensor:
    """The same numbers without gaps in memory, which what is computed of them has not either."""
    return x if torch.empty_like(x).stride() == x.stride() else x.contiguous()


def require_points(x: Tensor) -> None:
    """Refuse starts on which no chain can run."""
    if not x.is_floating_point() or x.ndim < 2 or x.numel() == 0:
        raise ValueError(
            f"x0 must be a floating-point batch of points (chains, *event); got {x.dtype} of shape {tuple(x.shape)}"
        )
    if not bool(torch.isfinite(x).all()):
        bad = int((~torch.isfinite(x).flatten(1).all(1)).sum())
        raise ValueError(f"x0 must be finite; {bad} of {len(x)} chains start at a NaN or infinite point")


def warn_of_lost_chains(x: Tensor) -> None:
    """Non-finite positions are kept as they are, and said."""
    lost = int((~torch.isfinite(x).flatten(1).all(1)).sum())
    if lost:
        warnings.warn(
            f"{lost} of {len(x)} chains ran away to non-finite positions; lower step_size, or use a threshold or a "
            "Metropolis kernel",
            RuntimeWarning,
            stacklevel=3,
        )


STUCK_STEPS = 50
"""Steps after which a chain that was never near an acceptance is called stuck."""


def warn_of_stuck_chains(infos: dict[str, Tensor]) -> None:
    """Chains whose acceptance probabilities over the last 50 steps add up to less than 1/20 are said."""
    prob = infos.get("accept_prob")
    if prob is None or len(prob) < STUCK_STEPS:
        return
    stuck = prob[-STUCK_STEPS:].sum(0) < 0.05
    if bool(stuck.any()):
        norm = infos["grad_norm"][-1, stuck].double()
        low, middle, high = norm.quantile(norm.new_tensor([0.1, 0.5, 0.9])).tolist()
        warnings.warn(
            f"{int(stuck.sum())} of {len(stuck)} chains are stuck: no proposal accepted in {STUCK_STEPS} steps "
            f"(acceptance of all chains {prob.double().mean():.2g}, step_size "
            f"{infos['step_size'][-1, stuck].double().mean():.2g}; ‖∇f‖ where they stand: 10% {low:.2g}, median "
            f"{middle:.2g}, 90% {high:.2g}); lower step_size, use anisotropic_mala or barker, or let tune choose",
            RuntimeWarning,
            stacklevel=3,
        )


def warn_of_no_global_move(infos: dict[str, Tensor]) -> None:
    """A kernel with global moves that came to none is said: they are counted from the first step of each call."""
    tried = infos.get("global_accept")
    if tried is not None and len(tried) and bool(tried.isnan().all()):
        warnings.warn(
            f"no global move was made in {len(tried)} steps: `every` is larger; lower it, or make more steps a call",
            UserWarning,
            stacklevel=3,
        )


def require_metropolis(kernel: Sampler, what: str) -> None:
    """Refuse kernels that do not leave exp f invariant, or whose law depends on where they were started."""
    if kernel.target_accept is None:
        raise ValueError(
            f"{what} needs Metropolis kernels: an unadjusted one does not leave exp f invariant; use mala, "
            "anisotropic_mala, barker or hmc"
        )
    if kernel.held:
        raise ValueError(f'{what} starts kernels anew on the way, which refresh="iteration" must not be: use "step"')


def blocks(steps: int, keep_every: int, most: int) -> list[int]:
    """Steps made at a time, up to so many; a block starts where positions were kept last."""
    if keep_every < most:
        most -= most % keep_every if keep_every else 0
        spans = [steps]
    else:
        spans = [keep_every] * (steps // keep_every) + [steps % keep_every]
    return [n for span in spans for n in [most] * (span // most) + [span % most] if n]


def with_progress(steps: list[int], shown: bool) -> Iterator[int]:
    """These numbers of steps, with a bar where it is to be shown."""
    if not shown:
        yield from steps
        return
    from rich.progress import Progress

    with Progress() as bar:
        task = bar.add_task("sampling", total=sum(steps))
        for n in steps:
            yield n
            bar.advance(task, n)


def where_chain(chosen: Bool[Tensor, "chains"], yes: Any, no: Any) -> Any:
    """The state that is `yes` in the chosen chains and `no` in the others, field by field."""

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(chosen.view(-1, *[1] * (a.ndim - 1)), a, b)

    return type(no)(*(pick(a, b) for a, b in zip(yes, no, strict=True)))


def accept(state: Any, proposed: Any, log_ratio: Float[Tensor, "chains"], uniform: Float[Tensor, "chains"]) -> Any:
    """Metropolis: take the proposed state with probability min(1, exp log_ratio); non-finite is a rejection.

    Args:
        state: The state left.
        proposed: The state proposed.
        log_ratio: log π(y) q(x|y) − log π(x) q(y|x), (chains,).
        uniform: U(0, 1), (chains,).

    Returns:
        The new state and the acceptance probability (chains,), 0 only for a non-finite proposal.
    """
    finite = torch.isfinite(log_ratio) & torch.isfinite(proposed.grad).flatten(1).all(1)
    prob = torch.where(finite, log_ratio.clamp(max=0).exp(), torch.zeros_like(log_ratio))
    told = torch.where(finite, prob.clamp(min=torch.finfo(prob.dtype).tiny), prob)
    return where_chain(uniform < prob, proposed, state), told

"""Compiled transitions: the arithmetic of several steps in one call, with no Python between them.

`sampler.step` is traced once, together with f and its gradient, down to tensor operations. Tensors that it closes over,
θ above all, become inputs of the graph: it sees every later in-place change of θ, and is made only once per training.
Small nets on a CPU become one C++ function (`lanes`). All others become graphs of a few steps for TorchInductor, which
fuses everything but matrix products and convolutions. Both are cached on disk for the next process. Noise is drawn
outside as always, so results are those of single steps up to rounding.

The first steps of everything compiled are also made uncompiled. If the two differ (`agreement`), or if a tensor is no
longer of the kind that was traced, steps run uncompiled, with a warning.

A step can be traced if it remembers and depends on tensors only; for kernels that count, each move can be (`moves`).
All others, and gradients in fp16 or tf32, run uncompiled, with a warning.
"""

import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, fx

from anila.density.precision import current
from anila.samplers.compiled.agreement import Rows, require_agreement
from anila.samplers.compiled.lanes import Lanes
from anila.samplers.compiled.replaced import REPLACED
from anila.samplers.compiled.rewrites import keep_transposes, lift_constants, literals, mutates
from anila.samplers.compiled.torch_internals import (
    Checks,
    graph_compiled,
    simple_operations,
    trace,
)
from anila.samplers.compiled.variables import Unsupported
from anila.samplers.compiled.watch import Watch

LONGEST, UNROLLED, MOST = 1000, 10, 2**18
"""Most steps per call, per graph, and most numbers of noise in either: beyond, calls cost little beside gradients."""
OPERATIONS, MOST_OPERATIONS = 3000, 6000
"""Most operations in a graph of several steps, and of a single step: TorchInductor takes minutes for more."""


Kind = tuple[torch.Size, torch.dtype, torch.device]
Steps = tuple[Any, Any, Any]
"""The final state, the infos of all steps, and the states kept."""


class Graphs:
    """The compiled steps of a kernel, for chains of the shape and type with which it was traced.

    Raises:
        ValueError: If state or noise hold something other than tensors, gradients are rounded to fp16 or tf32, or f
            changes a tensor that it keeps or reads a number from it.
        Exception: Whatever tracing raises.
    """

    def __init__(self, step: Callable[..., Any], state: Any, noise: Any):
        given = tensors_of(state, noise)
        if current() not in (None, "bf16"):
            raise ValueError(f"gradients in {current()} cannot be compiled; use bf16 or none")
        self.fields = [name for name, field in state._asdict().items() if field is not None]
        self.absent = {name: None for name in state._fields if name not in self.fields}
        self.state = type(state)
        self.info: Any = None
        self.uncompiled = ref(step)
        """A weak reference: graphs are kept as long as the step exists."""
        self.eps = resolution(state.x)

        self.checked = False
        """Whether there is a further output that tells if all values passed the checks of `torch.distributions`."""

        def one(*inputs: Tensor) -> tuple[Tensor, ...]:
            left = iter(inputs)
            first = self.state(**{name: next(left) for name in self.fields}, **self.absent)
            last, info = step(first, type(noise)(*left))
            self.info = type(info)
            return (*(getattr(last, name) for name in self.fields), *info)

        def checked(*inputs: Tensor) -> tuple[Tensor, ...]:
            with Checks(inputs) as checks:
                found = one(*inputs)
            answer = checks.answer(len(inputs[0]))
            self.checked = answer is not None
            return found if answer is None else (*found, answer.to(found[0].dtype))

        with torch.random.fork_rng(devices=[]), Watch(given):
            first = one(*given)  # whatever f computes only once is computed from real numbers
        self.names = [f"state.{name}" for name in self.fields] + [f"noise.{name}" for name in noise._fields]
        self.kinds = kinds_of(given)
        self.unrolled: dict[Any, Callable[..., Any] | None] = {}
        """Graphs of several steps; None for those made uncompiled."""
        self.why_not: Exception | None = None
        """Why the steps are not C++."""
        self.refused = ""
        """Why the first graph that failed was rejected."""
        self.constants: list[Tensor] = []
        """The tensors that the trace reads besides state and noise."""
        self.step: fx.GraphModule | None = None
        """The trace, if there are no lanes."""
        self.lanes = self.lanes_or_none(checked, state, noise, first)
        steps = LONGEST
        if not self.lanes:
            self.step = trace(checked, given, keeps=True)
            self.constants = lift_constants(self.step)
            steps = min(UNROLLED, OPERATIONS // len(self.step.graph.nodes))
        self.traced_with = kinds_of(self.constants)
        self.longest = max(1, min(steps, MOST // state.x.numel()))
        """Largest number of steps per call."""

    def lanes_or_none(
        self, one: Callable[..., tuple[Tensor, ...]], state: Any, noise: Any, first: tuple[Tensor, ...]
    ) -> Lanes | None:
        """The steps as one C++ function, if all operations are known, they are few, and there is a C++ compiler.

        A trace of all chains tells their rows apart. If it mixes axes, as matrices do, a trace of one chain is used for
        each of them.

        Args:
            one: The step as a function of tensors.
            state: Where a step starts.
            noise: Noise of that step.
            first: Its result uncompiled.
        """
        for of_one in (False, True):
            try:
                return self.lanes_of(one, state, noise, first, of_one)
            except Unsupported as error:
                self.why_not = error
            except Exception as error:  # TorchInductor is left
                self.why_not = self.why_not or error
                return None
        return None

    def lanes_of(
        self,
        one: Callable[..., tuple[Tensor, ...]],
        state: Any,
        noise: Any,
        first: tuple[Tensor, ...],
        of_one: bool,
    ) -> Lanes:
        """A step as a C++ function, compared with an uncompiled step."""
        given, fields = tensors_of(state, noise), len(self.fields)
        rows = [t[:1] for t in given] if of_one else given
        simpler = {**simple_operations(), **REPLACED}
        graph = trace(one, rows, simpler, keeps=True)
        self.constants = lift_constants(graph)
        constants, same = [c.detach() for c in self.constants], literals(graph, self.constants)
        block = type(noise)(*(field[None] for field in noise))
        with torch.no_grad():
            if mutates(graph):
                graph = trace(torch.func.functionalize(graph, remove="mutations"), [*rows, *constants], simpler)
            lanes = Lanes(graph, fields, len(given) - fields, len(state.x), same)
            found = lanes(tensors_of(state, block), constants, 0)
        infos = [info[None] for info in first[fields:]]
        self.compare(found, (self.as_state(first[:fields]), self.info(*infos), state), block)
        return lanes

    def how(self) -> str:
        """How steps are made, and why not in C++."""
        if self.lanes:
            return "in C++"
        if self.refused:
            return f"uncompiled, because {self.refused}"
        return f"in TorchInductor's graphs, not in C++, because {reason(self.why_not)}"

    def is_right(self, state: Any, noise: Any) -> bool:
        """Whether a C++ step still agrees with an uncompiled one: a number that f reads may have changed."""
        if not self.lanes:
            return True
        block = type(noise)(*(field[None] for field in noise))
        try:
            expected = self.one_by_one(state, block, 0)
        except Exception:  # f raises at this step, which tells nothing about what it reads
            return True
        with torch.no_grad():
            found = self.lanes(tensors_of(state, block), [c.detach() for c in self.constants], 0)
        try:
            self.compare(found, expected, block)
        except ValueError:
            return False
        return True

    def are_outdated(self) -> bool:
        """Whether a tensor that f reads has another shape, type or device than in the trace."""
        return self.traced_with != kinds_of(self.constants)

    def __call__(self, state: Any, noise: Any, every: int = 0) -> Steps:
        """Make one step for each row of the noise.

        Args:
            state: Where they start.
            noise: Noise of all steps, every field (steps, chains, ...).
            every: Steps between states that are kept; 0 keeps none.

        Returns:
            The final state, the infos, (steps, chains), and the states kept, (kept, chains, ...).
        """
        given, constants = tensors_of(state, noise), [c.detach() for c in self.constants]
        if why := self.misfit(given):
            say(f"run uncompiled, because {why}", stacklevel=4)
        elif self.lanes:
            with torch.no_grad():
                found = self.lanes(given, constants, every)
            if self.in_order(found):
                return self.named(found)
        elif (graph := self.graph(state, noise, constants, every)) and self.in_order(
            found := run(graph, [*given, *constants])
        ):
            return self.named(found)
        return self.one_by_one(state, noise, every)

    def in_order(self, found: Sequence[Tensor]) -> bool:
        """Whether f refused no value; if it did, uncompiled steps raise its error."""
        return not self.checked or bool(found[-len(self.fields) - 1].all())

    def misfit(self, given: list[Tensor]) -> str:
        """In which way tensors no longer fit the trace, in words; "" if they fit."""
        if self.are_outdated():
            return "a tensor that f reads was replaced between two calls"
        steps, fields = given[-1].shape[:1], len(self.fields)
        for k, (name, x, (shape, dtype, device)) in enumerate(zip(self.names, given, self.kinds, strict=True)):
            expected = steps + shape if k >= fields else shape
            if x.shape != expected or x.dtype != dtype or x.device != device:
                return (
                    f"{name} is {x.dtype} of shape {tuple(x.shape)} on {x.device}; it was compiled for {dtype} of "
                    f"shape {tuple(expected)} on {device}"
                )
        return ""

    def one_by_one(self, state: Any, noise: Any, every: int) -> Steps:
        """The same steps uncompiled."""
        step, infos, kept = self.uncompiled(), [], []
        assert step, "a kernel that is still there has its step"
        for one in zip(*(field.unbind() for field in noise), strict=True):
            state, info = step(state, type(noise)(*one))
            infos.append(info)
            if every and len(infos) % every == 0:
                kept.append([getattr(state, name) for name in self.fields])
        told = self.info(*(torch.stack(column) for column in zip(*infos, strict=True)))
        own = [getattr(state, name) for name in self.fields]
        return state, told, self.as_state(stacked(kept, own))

    def named(self, found: Sequence[Tensor]) -> Steps:
        """The results of compiled steps, under their names."""
        n = len(self.fields)
        return self.as_state(found[:n]), self.info(*found[n : -n - self.checked]), self.as_state(found[-n:])

    def as_state(self, fields: Sequence[Tensor]) -> Any:
        return self.state(**dict(zip(self.fields, fields, strict=True)), **self.absent)

    def graph(self, state: Any, noise: Any, constants: list[Tensor], every: int) -> Callable[..., Any] | None:
        """A graph of these steps, made once and compared with uncompiled steps; None, with a warning, if that fails."""
        given = [*tensors_of(state, noise), *constants]
        key = (every, *((t.shape, t.stride()) for t in given))
        with LOCK:
            if key not in self.unrolled:
                try:
                    made = self.unroll(given, len(constants), every)
                    with torch.random.fork_rng(devices=[]):
                        self.compare(run(made, given), self.one_by_one(state, noise, every), noise)
                except Exception as error:
                    made = None
                    if not self.refused:
                        self.refused = reason(error)
                        say(f"run uncompiled, because {self.refused}", stacklevel=5)
                if made and not self.unrolled and not isinstance(self.why_not, Unsupported):
                    say(f"run in graphs, not in C++, because {reason(self.why_not)}", stacklevel=5)
                self.unrolled[key] = made
            return self.unrolled[key]

    def compare(self, found: Sequence[Tensor], expected: Steps, noise: Any) -> None:
        """Refuse compiled steps that differ from uncompiled ones by more than rounding."""
        uniform, rows = getattr(noise, "uniform", None), self.named(found)
        decides = uniform.T if uniform is not None and uniform.ndim == 2 else None
        require_agreement(rows_of(*rows[:2]), rows_of(*expected[:2]), decides, self.eps)

    def unroll(self, given: list[Tensor], constants: int, every: int) -> Callable[..., Any]:
        """A compiled graph of these steps, whose last `constants` inputs are the constants."""
        fields, end = len(self.fields), len(given) - constants
        assert self.step, "there are no lanes"
        step = self.step
        if (operations := len(step.graph.nodes)) > MOST_OPERATIONS:
            raise Unsupported(f"a step is {operations:,} operations, which would take minutes to compile")

        def steps(*inputs: Tensor) -> tuple[Tensor, ...]:
            state, noise, infos, kept = inputs[:fields], inputs[fields:end], [], []
            for one in zip(*(field.unbind() for field in noise), strict=True):
                found = step(*state, *one, *inputs[end:])
                state = found[:fields]
                infos.append(found[fields:])
                if every and len(infos) % every == 0:
                    kept.append(state)
            told = (torch.stack(column) for column in zip(*infos, strict=True))
            return (*state, *told, *stacked(kept, state))

        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's, about its own parts
            graph = trace(steps, given, REPLACED)
            keep_transposes(graph)
            graph.recompile()
            return graph_compiled(graph, given)


def run(graph: Callable[..., Any], given: list[Tensor]) -> list[Tensor]:
    """The outputs of a graph."""
    on_gpu = given[0].is_cuda
    if on_gpu:
        torch.compiler.cudagraph_mark_step_begin()
    with torch.no_grad():
        found = graph(*given)
    return [x.clone() for x in found] if on_gpu else [*found]  # a CUDA graph reuses its output memory


def stacked(kept: Sequence[Sequence[Tensor]], like: Sequence[Tensor]) -> list[Tensor]:
    """The fields of states that were kept, each (kept, chains, ...)."""
    return [torch.stack(column) for column in zip(*kept, strict=True)] if kept else [x[None][:0] for x in like]


def rows_of(state: Any, info: Any) -> Rows:
    """All numbers of each chain, under the names of their fields."""
    fields = {f"state.{name}": x for name, x in state._asdict().items() if x is not None}
    fields |= {name: x.transpose(0, 1) for name, x in info._asdict().items()}
    return {name: x.flatten(1) if x.ndim > 1 else x[:, None] for name, x in fields.items()}


def kinds_of(tensors: Sequence[Tensor]) -> list[Kind]:
    """How memory is read: shape, dtype and device."""
    return [(x.shape, x.dtype, x.device) for x in tensors]


def resolution(x: Tensor) -> float:
    """ε of the precision in which gradients at x are computed; a GPU may use tf32 for float32."""
    if current() or torch.is_autocast_enabled(x.device.type):
        return torch.finfo(torch.bfloat16).eps
    return max(torch.finfo(x.dtype).eps, 2.0**-10 if x.is_cuda else 0.0)


GRAPHS: WeakKeyDictionary[Callable[..., Any], dict[Any, Graphs | None]] = WeakKeyDictionary()
"""The graphs of each kernel's step, by `key_of` the state; None if compiling failed."""
UNSAID: WeakKeyDictionary[Callable[..., Any], str] = WeakKeyDictionary()
"""Why a kernel's step could not be compiled, until somebody asks for it to be."""
LOCK = threading.RLock()
"""Only one thread at a time makes graphs."""


def graphs_of(
    step: Callable[..., Any], state: Any, draw_noise: Callable[[], Any], unasked: bool, look: bool
) -> Graphs | None:
    """See the package's `graphs_of`."""
    key = key_of(state)
    with LOCK:
        made = GRAPHS.setdefault(step, {})
        found = made.get(key)
        if key not in made or (found and (found.are_outdated() or (look and not found.is_right(state, draw_noise())))):
            try:
                made[key] = Graphs(step, state, draw_noise())
            except Exception as error:  # whatever tracing f raises: steps run uncompiled and raise errors of their own
                made[key] = None
                UNSAID[step] = reason(error)
        if not unasked and (why := UNSAID.pop(step, "")):
            say(f"run uncompiled, because {why}", stacklevel=5)
        found = made[key]
        return None if unasked and found and not found.lanes else found


def key_of(state: Any) -> Any:
    """What graphs depend on: precision, and the layout of the state."""
    given = [field for field in state if isinstance(field, Tensor)]
    device = given[0].device.type
    autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
    return (current(), autocast, *((t.shape, t.stride(), t.dtype, t.device) for t in given))


def say(how: str, stacklevel: int) -> None:
    """Warn that steps are not made in the fastest way."""
    warnings.warn(f"compile: steps {how}", RuntimeWarning, stacklevel=stacklevel)


def reason(error: BaseException | None) -> str:
    """The first line of an error."""
    if type(error).__name__ == "GuardOnDataDependentSymNode":  # importing it takes half a second
        return "f branches on values (as torch.distributions objects made in it do, unless validate_args=False)"
    return (str(error).strip() or f"tracing raised {type(error).__name__}").splitlines()[0]


def tensors_of(state: Any, noise: Any) -> list[Tensor]:
    """The inputs of a graph.

    Raises:
        ValueError: If state or noise hold something other than tensors.
    """
    fields = [field for field in state if field is not None]
    if not isinstance(noise, tuple) or any(not isinstance(field, Tensor) for field in (*fields, *noise)):
        raise ValueError("this kernel remembers more than tensors, e.g. a count of its steps")
    return [field.detach() for field in (*fields, *noise)]

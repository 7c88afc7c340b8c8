"""Transitions compiled: the arithmetic of several steps in one call, with nothing between them.

`sampler.step` is traced once, together with f and its gradient, down to tensor operations. What it closes over, θ above
all, becomes an input of the graph: that sees every later change of θ made in place, and is made once for a whole
training. Small nets on a CPU become one C++ function (`lanes`), all else graphs of some steps for TorchInductor, which
fuses what is not a matrix product or convolution; both keep their work on disk for the next process. Noise is drawn
outside, as ever, so results are those of single steps up to rounding.

The first steps of everything compiled are made uncompiled too: where they differ (`agreement`), or where a tensor is no
longer of the kind that was traced, steps run uncompiled, and that is said.

A step can be traced if tensors are all that it remembers and decides by; of kernels that count, each move can
(`moves`). All others, and gradients in fp16 or tf32, run uncompiled, and that is said.
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
"""Steps in a call, steps in a graph, and numbers of noise in either: beyond, calls cost little beside the gradient."""
OPERATIONS, MOST_OPERATIONS = 3000, 6000
"""Operations in a graph of several steps, and in one of a single step: TorchInductor takes minutes for more."""


Kind = tuple[torch.Size, torch.dtype, torch.device]
Steps = tuple[Any, Any, Any]
"""The state that steps lead to, their infos, and the states kept."""


class Graphs:
    """The steps of a kernel for chains like those that it was traced with.

    Raises:
        ValueError: If state or noise hold something that is not a tensor, gradients are rounded as no graph can, or f
            changes a tensor that it keeps or takes a number out of it.
        Exception: Whatever tracing raises.
    """

    def __init__(self, step: Callable[..., Any], state: Any, noise: Any):
        given = tensors_of(state, noise)
        if current() not in (None, "bf16"):
            raise ValueError(f"gradients in {current()} cannot be compiled; take bf16 or none")
        self.fields = [name for name, field in state._asdict().items() if field is not None]
        self.absent = {name: None for name in state._fields if name not in self.fields}
        self.state = type(state)
        self.info: Any = None
        self.uncompiled = ref(step)
        """Weak: graphs are kept for as long as there is the step."""
        self.eps = resolution(state.x)

        self.checked = False
        """Whether a further info says if `torch.distributions` found all values to be as they must."""

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
            first = one(*given)  # what f computes only once, it computes of real numbers
        self.names = [f"state.{name}" for name in self.fields] + [f"noise.{name}" for name in noise._fields]
        self.kinds = kinds_of(given)
        self.unrolled: dict[Any, Callable[..., Any] | None] = {}
        """Graphs of several steps; None where they are made uncompiled."""
        self.why_not: Exception | None = None
        """Why there are no lanes."""
        self.refused = ""
        """Why the first graph that was not right was none."""
        self.constants: list[Tensor] = []
        """What the trace reads that is neither state nor noise."""
        self.step: fx.GraphModule | None = None
        """The trace, where there are no lanes."""
        self.lanes = self.lanes_or_none(checked, state, noise, first)
        steps = LONGEST
        if not self.lanes:
            self.step = trace(checked, given, keeps=True)
            self.constants = lift_constants(self.step)
            steps = min(UNROLLED, OPERATIONS // len(self.step.graph.nodes))
        self.traced_with = kinds_of(self.constants)
        self.longest = max(1, min(steps, MOST // state.x.numel()))
        """Steps to make in a call."""

    def lanes_or_none(
        self, one: Callable[..., tuple[Tensor, ...]], state: Any, noise: Any, first: tuple[Tensor, ...]
    ) -> Lanes | None:
        """The steps as one C++ function, where they are few operations that it knows and its compiler is there.

        A step of all chains tells rows from one another. Where it mixes axes, as matrices do, a step of one chain is
        taken for that of each.

        Args:
            one: The step as a function of tensors.
            state: Where a step starts.
            noise: Of that step.
            first: What it leads to uncompiled.
        """
        for of_one in (False, True):
            try:
                return self.lanes_of(one, state, noise, first, of_one)
            except Unsupported as error:
                self.why_not = error
            except Exception as error:  # there is the other way
                self.why_not = error
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
        """A step as a C++ function that was seen to be right."""
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
        """How steps are made, and why not faster."""
        if self.lanes:
            return "in C++"
        if self.refused:
            return f"uncompiled, because {self.refused}"
        return f"in TorchInductor's graphs and not in C++, because {reason(self.why_not)}"

    def is_right(self, state: Any, noise: Any) -> bool:
        """Whether a step in C++ is what it is uncompiled: f may read a number that is no longer what it was."""
        if not self.lanes:
            return True
        block = type(noise)(*(field[None] for field in noise))
        try:
            expected = self.one_by_one(state, block, 0)
        except Exception:  # f refuses this step, which says nothing of what it reads
            return True
        with torch.no_grad():
            found = self.lanes(tensors_of(state, block), [c.detach() for c in self.constants], 0)
        try:
            self.compare(found, expected, block)
        except ValueError:
            return False
        return True

    def are_outdated(self) -> bool:
        """Whether a tensor that f reads has become another one than it was traced with."""
        return self.traced_with != kinds_of(self.constants)

    def __call__(self, state: Any, noise: Any, every: int = 0) -> Steps:
        """Make the steps that there is noise for.

        Args:
            state: Where they start.
            noise: Of all steps, every field (steps, chains, ...).
            every: After how many steps states are kept; 0 keeps none.

        Returns:
            The state they lead to, their infos, (steps, chains), and the states kept, (kept, chains, ...).
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
        """Whether f refused no value; uncompiled steps raise what it raises."""
        return not self.checked or bool(found[-len(self.fields) - 1].all())

    def misfit(self, given: list[Tensor]) -> str:
        """How tensors are no longer those of the trace, in words; "" where they are."""
        if self.are_outdated():
            return "a tensor that f reads became another one between two calls"
        steps, fields = given[-1].shape[:1], len(self.fields)
        for k, (name, x, (shape, dtype, device)) in enumerate(zip(self.names, given, self.kinds, strict=True)):
            expected = steps + shape if k >= fields else shape
            if x.shape != expected or x.dtype != dtype or x.device != device:
                return (
                    f"{name} is {x.dtype} of shape {tuple(x.shape)} on {x.device}; it was traced as {dtype} of shape "
                    f"{tuple(expected)} on {device}"
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
        """What compiled steps give, by its names."""
        n = len(self.fields)
        return self.as_state(found[:n]), self.info(*found[n : -n - self.checked]), self.as_state(found[-n:])

    def as_state(self, fields: Sequence[Tensor]) -> Any:
        return self.state(**dict(zip(self.fields, fields, strict=True)), **self.absent)

    def graph(self, state: Any, noise: Any, constants: list[Tensor], every: int) -> Callable[..., Any] | None:
        """A graph of these steps that was seen to be right, made once; None, said in a warning, where there is none."""
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
                    say(f"run in graphs and not in C++, because {reason(self.why_not)}", stacklevel=5)
                self.unrolled[key] = made
            return self.unrolled[key]

    def compare(self, found: Sequence[Tensor], expected: Steps, noise: Any) -> None:
        """Refuse compiled steps that differ from uncompiled ones by more than rounding."""
        uniform, rows = getattr(noise, "uniform", None), self.named(found)
        decides = uniform.T if uniform is not None and uniform.ndim == 2 else None
        require_agreement(rows_of(*rows[:2]), rows_of(*expected[:2]), decides, self.eps)

    def unroll(self, given: list[Tensor], constants: int, every: int) -> Callable[..., Any]:
        """A compiled graph of these steps, whose last inputs are so many constants."""
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
            warnings.simplefilter("ignore")  # the compiler's, of its own parts
            graph = trace(steps, given, REPLACED)
            keep_transposes(graph)
            graph.recompile()
            return graph_compiled(graph, given)


def run(graph: Callable[..., Any], given: list[Tensor]) -> list[Tensor]:
    """What a graph gives."""
    on_gpu = given[0].is_cuda
    if on_gpu:
        torch.compiler.cudagraph_mark_step_begin()
    with torch.no_grad():
        found = graph(*given)
    return [x.clone() for x in found] if on_gpu else [*found]  # a CUDA graph writes to the same memory again


def stacked(kept: Sequence[Sequence[Tensor]], like: Sequence[Tensor]) -> list[Tensor]:
    """The fields of states that were kept, each (kept, chains, ...)."""
    return [torch.stack(column) for column in zip(*kept, strict=True)] if kept else [x[None][:0] for x in like]


def rows_of(state: Any, info: Any) -> Rows:
    """Every number of each chain, under the name of its field."""
    fields = {f"state.{name}": x for name, x in state._asdict().items() if x is not None}
    fields |= {name: x.transpose(0, 1) for name, x in info._asdict().items()}
    return {name: x.flatten(1) if x.ndim > 1 else x[:, None] for name, x in fields.items()}


def kinds_of(tensors: Sequence[Tensor]) -> list[Kind]:
    """What memory is read as."""
    return [(x.shape, x.dtype, x.device) for x in tensors]


def resolution(x: Tensor) -> float:
    """ε of the numbers that gradients at x are computed in; a GPU may take tf32 for float32."""
    if current() or torch.is_autocast_enabled(x.device.type):
        return torch.finfo(torch.bfloat16).eps
    return max(torch.finfo(x.dtype).eps, 2.0**-10 if x.is_cuda else 0.0)


GRAPHS: WeakKeyDictionary[Callable[..., Any], dict[Any, Graphs | None]] = WeakKeyDictionary()
"""Graphs of a kernel's step, by what they were made for; None where that failed."""
UNSAID: WeakKeyDictionary[Callable[..., Any], str] = WeakKeyDictionary()
"""Why there are none of a kernel's step, until somebody asks for them."""
LOCK = threading.RLock()
"""One at a time makes graphs."""


def graphs_of(
    step: Callable[..., Any], state: Any, draw_noise: Callable[[], Any], unasked: bool, look: bool
) -> Graphs | None:
    """As the package's."""
    key = key_of(state)
    with LOCK:
        made = GRAPHS.setdefault(step, {})
        found = made.get(key)
        if key not in made or (found and (found.are_outdated() or (look and not found.is_right(state, draw_noise())))):
            try:
                made[key] = Graphs(step, state, draw_noise())
            except Exception as error:  # whatever tracing f raises: steps run as they are, and raise their own
                made[key] = None
                UNSAID[step] = reason(error)
        if not unasked and (why := UNSAID.pop(step, "")):
            say(f"run uncompiled, because {why}", stacklevel=5)
        found = made[key]
        return None if unasked and found and not found.lanes else found


def key_of(state: Any) -> Any:
    """What graphs are made for."""
    given = [field for field in state if isinstance(field, Tensor)]
    device = given[0].device.type
    autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
    return (current(), autocast, *((t.shape, t.stride(), t.dtype, t.device) for t in given))


def say(how: str, stacklevel: int) -> None:
    """Say that steps are not made as they could be."""
    warnings.warn(f"compile: steps {how}", RuntimeWarning, stacklevel=stacklevel)


def reason(error: BaseException | None) -> str:
    """Its first line."""
    if type(error).__name__ == "GuardOnDataDependentSymNode":  # to import it takes half a second
        return "f decides by values (a torch.distributions object made in it does, but for validate_args=False)"
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def tensors_of(state: Any, noise: Any) -> list[Tensor]:
    """What a graph takes.

    Raises:
        ValueError: If state or noise hold something that is no tensor.
    """
    fields = [field for field in state if field is not None]
    if not isinstance(noise, tuple) or any(not isinstance(field, Tensor) for field in (*fields, *noise)):
        raise ValueError("this kernel remembers more than tensors, e.g. how many steps it made")
    return [field.detach() for field in (*fields, *noise)]

"""Transitions compiled: the arithmetic of several steps in one call, with nothing between them.

`sampler.step` is traced once, together with f and its gradient, down to tensor operations. What it closes over, θ above
all, becomes an input of the graph: that sees every later change of θ made in place, and is made once for a whole
training. Small nets on a CPU become one C++ function (`lanes`), all else graphs of some steps for TorchInductor, which
fuses what is not a matrix product or convolution; both keep their work on disk for the next process. Noise is drawn
outside, as ever, so results are those of single steps up to rounding.

A step can be traced if tensors are all that it remembers and decides by. Kernels that count (global moves, replica
exchange, mixtures) and gradients in fp16 or tf32 run uncompiled, and that is said.
"""

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx
from torch._decomp import core_aten_decompositions, get_decompositions
from torch.distributions import Distribution, constraints
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from anila.density.precision import current
from anila.samplers.compiled.lanes import Lanes

aten = torch.ops.aten
LONGEST, UNROLLED, MOST = 1000, 10, 2**18
"""Steps in a call, steps in a graph, and numbers of noise in either: beyond, calls cost little beside the gradient."""


@contextmanager
def real_numbers_unchecked() -> Iterator[None]:
    """Let `torch.distributions` on all real numbers be traced: they look at every value whether it is a number."""
    validate = Distribution._validate_sample

    def validate_others(self: Distribution, value: Tensor) -> None:
        support: Any = self.support
        while hasattr(support, "base_constraint"):
            support = support.base_constraint
        if support is not constraints.real:
            validate(self, value)

    Distribution._validate_sample = validate_others
    try:
        yield
    finally:
        Distribution._validate_sample = validate


def bias_apart(bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Bias is added with the non-linearity, not by the matrix product."""
    product = a @ b if alpha == 1 else alpha * (a @ b)
    return product + (bias if beta == 1 else beta * bias)


def simple_operations() -> dict[Any, Callable[..., Any]]:
    """What composed operations are made of."""
    composed = [aten.gelu, aten.elu, aten.elu_backward, aten._softmax, aten._softmax_backward_data, aten.leaky_relu]
    more = get_decompositions(composed)
    return {**core_aten_decompositions(), **more, aten.addmm.default: bias_apart}


class Watch(TorchDispatchMode):
    """Refuse what a graph would do once instead of at every step: f changes, or decides by, a tensor that it keeps.

    Args:
        given: The tensors that f may read numbers of; a trace refuses that in its own words.
    """

    def __init__(self, given: Sequence[Tensor]):
        super().__init__()
        self.storages = storages(given)
        """Those given or made since: what is kept was there before, so none of it comes to be where these were."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kept = storages((args, kwargs)) - self.storages
        if func is aten._local_scalar_dense.default and kept:
            raise ValueError("f takes a number out of a tensor that it keeps")
        written = [
            args[k] if k < len(args) else kwargs.get(argument.name)
            for k, argument in enumerate(func._schema.arguments)
            if argument.alias_info and argument.alias_info.is_write
        ]
        if kept & storages(written):
            raise ValueError("f changes a tensor that it keeps")
        found = func(*args, **kwargs)
        self.storages |= storages(found) - kept
        return found


def storages(values: Any) -> set[int]:
    """What tells the memory of these tensors, and their views, from any other's."""
    return {x.untyped_storage()._cdata for x in tree_leaves(values) if isinstance(x, Tensor)}


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
        self.state, self.x = type(state), self.fields.index("x")
        self.info: Any = None

        def one(*inputs: Tensor) -> tuple[Tensor, ...]:
            left = iter(inputs)
            first = self.state(**{name: next(left) for name in self.fields}, **self.absent)
            last, info = step(first, type(noise)(*left))
            self.info = type(info)
            return (*(getattr(last, name) for name in self.fields), *info)

        with torch.random.fork_rng(devices=[]), Watch(given):
            one(*given)  # what f computes only once, it computes of real numbers
        with real_numbers_unchecked():
            self.step = make_fx(one, tracing_mode="fake", _allow_non_fake_inputs=True)(*given)
        self.constants = lift_constants(self.step)
        self.traced_with = [(c.shape, c.dtype) for c in self.constants]
        self.unrolled: dict[Any, Callable[..., Any]] = {}
        self.why_not: Exception | None = None
        """Why there are no lanes."""
        self.lanes = self.lanes_or_none(given)
        steps = LONGEST if self.lanes else UNROLLED
        self.longest = max(1, min(steps, MOST // state.x.numel()))
        """Steps to make in a call."""

    def lanes_or_none(self, given: list[Tensor]) -> Lanes | None:
        """The steps as one C++ function, where they are few operations that it knows and its compiler is there."""
        pure = torch.func.functionalize(self.step, remove="mutations")
        try:
            inputs = [*given, *(c.detach() for c in self.constants)]
            with torch.no_grad():
                graph = make_fx(pure, simple_operations(), tracing_mode="fake")(*inputs)
            return Lanes(graph, len(self.fields), len(given) - len(self.fields), self.x)
        except Exception as error:  # Unsupported, or a compiler that does not take this C++: there is the other way
            self.why_not = error
            return None

    def are_outdated(self) -> bool:
        """Whether a tensor that f reads has become another one than it was traced with."""
        return self.traced_with != [(c.shape, c.dtype) for c in self.constants]

    def __call__(self, state: Any, noise: Any, every: int = 0) -> tuple[Any, Any, Tensor]:
        """Make the steps that there is noise for.

        Args:
            state: Where they start.
            noise: Of all steps, every field (steps, chains, ...).
            every: After how many steps positions are kept; 0 keeps none.

        Returns:
            The state they lead to, their infos, (steps, chains), and the positions kept, (kept, chains, *event).
        """
        given = tensors_of(state, noise)
        constants = [c.detach() for c in self.constants]
        with torch.no_grad():
            if self.lanes:
                found = self.lanes(given, constants, every)
            else:
                found = self.in_graphs(given, constants, every)
        *found, kept = found
        last = dict(zip(self.fields, found, strict=False))
        return self.state(**last, **self.absent), self.info(*found[len(last) :]), kept

    def in_graphs(self, given: list[Tensor], constants: list[Tensor], every: int) -> list[Tensor]:
        """The steps by a graph made for their number."""
        key = (every, *((t.shape, t.stride()) for t in (*given, *constants)))
        with LOCK:
            if key not in self.unrolled:
                self.unrolled[key] = self.unroll(given, constants, every)
        on_gpu = given[0].is_cuda
        if on_gpu:
            torch.compiler.cudagraph_mark_step_begin()
        found = self.unrolled[key](*given, *constants)
        return [x.clone() for x in found] if on_gpu else [*found]  # a CUDA graph writes to the same memory again

    def unroll(self, given: list[Tensor], constants: list[Tensor], every: int) -> Callable[..., Any]:
        """A compiled graph of these steps; or, said in a warning, the steps one by one."""
        fields = len(self.fields)

        def steps(*inputs: Tensor) -> tuple[Tensor, ...]:
            state, noise, infos, kept = inputs[:fields], inputs[fields : len(given)], [], []
            for one in zip(*(field.unbind() for field in noise), strict=True):
                found = self.step(*state, *one, *inputs[len(given) :])
                state = found[:fields]
                infos.append(found[fields:])
                if every and len(infos) % every == 0:
                    kept.append(state[self.x])
            told = (torch.stack(column) for column in zip(*infos, strict=True))
            return (*state, *told, torch.stack(kept) if kept else state[self.x][None][:0])

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the compiler's, of its own parts
                graph = make_fx(steps, {aten.addmm.default: bias_apart}, tracing_mode="fake")(*given, *constants)
                keep_transposes(graph)
                graph.recompile()
                on_cpu = given[0].device.type == "cpu"
                options = {"cpp_wrapper": on_cpu, "triton.cudagraphs": given[0].is_cuda}
                return torch._inductor.compile(graph, [*given, *constants], options=options)  # pyright: ignore[reportReturnType]
        except Exception as error:
            if not self.unrolled:
                warn_of_none(error, stacklevel=6)
            return steps


GRAPHS: WeakKeyDictionary[Callable[..., Any], dict[Any, Graphs | None]] = WeakKeyDictionary()
"""Graphs of a kernel's step, by what they were made for; None where that failed."""
LOCK = threading.RLock()
"""One at a time makes graphs."""


def graphs_of(step: Callable[..., Any], state: Any, draw_noise: Callable[[], Any]) -> Graphs | None:
    """The compiled steps of a kernel from states like this, made once; None, said in a warning, where there are none.

    Args:
        step: Of the kernel.
        state: Its state.
        draw_noise: Noise of one step, to trace it with.
    """
    given = [field for field in state if isinstance(field, Tensor)]
    device = given[0].device.type
    autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
    key = (current(), autocast, *((t.shape, t.stride(), t.dtype, t.device) for t in given))
    with LOCK:
        made = GRAPHS.setdefault(step, {})
        found = made.get(key)
        if key not in made or (found and found.are_outdated()):
            try:
                made[key] = Graphs(step, state, draw_noise())
            except Exception as error:  # whatever tracing f raises: steps run as they are, and raise their own
                made[key] = None
                warn_of_none(error, stacklevel=4)
        return made[key]


def warn_of_none(error: Exception, stacklevel: int) -> None:
    """Say why steps are not compiled."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if type(error).__name__ == "GuardOnDataDependentSymNode":  # to import it takes half a second
        reason = "f decides by values (a torch.distributions object made in it does, but for validate_args=False)"
    warnings.warn(f"compile: steps run uncompiled, because {reason}", RuntimeWarning, stacklevel=stacklevel)


def tensors_of(state: Any, noise: Any) -> list[Tensor]:
    """What a graph takes.

    Raises:
        ValueError: If state or noise hold something that is no tensor.
    """
    fields = [field for field in state if field is not None]
    if not isinstance(noise, tuple) or any(not isinstance(field, Tensor) for field in (*fields, *noise)):
        raise ValueError("this kernel remembers more than tensors, e.g. how many steps it made")
    return [field.detach() for field in (*fields, *noise)]


def lift_constants(graph: fx.GraphModule) -> list[Tensor]:
    """Turn the tensors that a graph holds into further inputs of it; returns them in order."""
    held: dict[int, tuple[Tensor, fx.Node]] = {}
    *_, last = graph.graph.find_nodes(op="placeholder")
    for node in graph.graph.find_nodes(op="get_attr"):
        constant = getattr(graph, str(node.target))
        if id(constant) not in held:
            with graph.graph.inserting_after(last):
                last = graph.graph.placeholder(f"constant_{len(held)}")
            last.meta = dict(node.meta)
            held[id(constant)] = constant, last
        node.replace_all_uses_with(held[id(constant)][1])
        graph.graph.erase_node(node)
    graph.recompile()
    return [constant for constant, _ in held.values()]


def keep_transposes(graph: fx.GraphModule) -> None:
    """Write down the transpose of a weight once a graph, where matrix products would transpose it at every step."""
    written: dict[fx.Node, fx.Node] = {}
    for node in graph.graph.find_nodes(op="call_function", target=aten.t.default):
        of = node.args[0]
        if getattr(of, "target", None) is aten.t.default:
            node.replace_all_uses_with(of.args[0])
        elif of.op == "placeholder":
            with graph.graph.inserting_after(node):
                copy = graph.graph.call_function(
                    aten.clone.default, (node,), {"memory_format": torch.contiguous_format}
                )
            node.replace_all_uses_with(written.setdefault(of, copy), lambda user, copy=copy: user is not copy)
    graph.graph.eliminate_dead_code()

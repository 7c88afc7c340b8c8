"""Transitions as one compiled graph: the arithmetic of several steps in one call, with nothing between them.

`sampler.step` is traced once for a number of steps, together with f and its gradient, down to tensor operations. What
it closes over, θ above all, becomes an input of the graph: a graph sees every later change of θ made in place, and is
made once for a whole training. The compiler (TorchInductor) fuses what is not a matrix product or convolution, and
keeps its work on disk for the next process. Noise is drawn outside, as ever, so results are those of single steps up to
rounding.

A step can be traced if tensors are all that it remembers and decides by. Kernels that count (global moves, replica
exchange, mixtures) and gradients in fp16 or tf32 run uncompiled, and that is said.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx
from torch._decomp import get_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from anila.precision import current

aten = torch.ops.aten
LONGEST, MOST = 10, 2**18
"""Steps in a graph, and numbers of noise in one: beyond, calls cost little beside the gradient."""
BIAS_APART: Any = get_decompositions([aten.addmm])
"""Bias is added with the non-linearity, not by the matrix product."""


def length(x: Tensor) -> int:
    """Steps to put into a graph for chains at x."""
    return max(1, min(LONGEST, MOST // x.numel()))


class Graph(NamedTuple):
    """Compiled steps, the tensors they read besides state and noise, and the types of what they return."""

    run: Callable[..., Any]
    constants: list[Tensor]
    state: Callable[..., Any]
    info: type


GRAPHS: WeakKeyDictionary[Callable[..., Any], dict[Any, Graph | None]] = WeakKeyDictionary()
"""Graphs of a kernel's step, by what they were made for; None where that failed."""


def compiled_steps(step: Callable[..., Any], state: Any, noise: Any, every: int = 0) -> tuple[Any, Any, Tensor]:
    """Steps with this noise, in one graph where that is possible.

    Args:
        step: Of a kernel.
        state: Where they start.
        noise: Of all steps, every field (steps, chains, ...); a list of what is not made of tensors.
        every: After how many steps positions are kept; 0 keeps none.

    Returns:
        The state they lead to, their infos, (steps, chains), and the positions kept, (kept, chains, *event).
    """
    given = tensors_of(state, noise)
    graphs = GRAPHS.setdefault(step, {})
    key = given and (every, current(), *((t.shape, t.stride(), t.dtype, t.device) for t in given))
    if key not in graphs:
        graphs[key] = graph_or_none(step, state, noise, every)
    graph = graphs[key]
    if graph is None or given is None:
        return plain_steps(step, state, noise, every)
    on_gpu = given[0].is_cuda
    if on_gpu:
        torch.compiler.cudagraph_mark_step_begin()
    with torch.no_grad():
        *found, kept = graph.run(*given, *(c.detach() for c in graph.constants))
    if on_gpu:  # a CUDA graph writes to the same memory again
        *found, kept = (x.clone() for x in (*found, kept))
    infos = len(graph.info._fields)
    return graph.state(*found[:-infos]), graph.info(*found[-infos:]), kept


def tensors_of(state: Any, noise: Any) -> list[Tensor] | None:
    """What a graph takes; None where state or noise hold something that is no tensor."""
    fields = [*state, *noise] if isinstance(noise, tuple) else [noise]
    if any(not isinstance(field, Tensor | None) for field in fields):
        return None
    return [field.detach() for field in fields if field is not None]


def plain_steps(step: Callable[..., Any], state: Any, noise: Any, every: int = 0) -> tuple[Any, Any, Tensor]:
    """The same, one by one."""
    infos, kept = [], []
    for one in noise if isinstance(noise, list) else map(type(noise), *(part.unbind() for part in noise)):
        state, info = step(state, one)
        infos.append(info)
        if every and len(infos) % every == 0:
            kept.append(state.x)
    stacked = type(infos[0])(*(torch.stack(column) for column in zip(*infos, strict=True)))
    return state, stacked, torch.stack(kept) if kept else state.x[:0]


def graph_or_none(step: Callable[..., Any], state: Any, noise: Any, every: int) -> Graph | None:
    """A graph, or a warning that says why there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's, of its own parts
            return make_graph(step, state, noise, every)
    except Exception as error:  # whatever tracing f or the compiler raises: steps run as they are, and raise their own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        warnings.warn(f"compile: steps run uncompiled, because {reason}", RuntimeWarning, stacklevel=4)
        return None


def make_graph(step: Callable[..., Any], state: Any, noise: Any, every: int) -> Graph:
    """Trace the steps and compile them.

    Raises:
        ValueError: If the kernel remembers something that is not a tensor, or gradients are rounded as no graph can.
        Exception: Whatever tracing and compiling raise.
    """
    given = tensors_of(state, noise)
    if given is None:
        raise ValueError("this kernel remembers more than tensors, e.g. how many steps it made")
    if current() not in (None, "bf16"):
        raise ValueError(f"gradients in {current()} cannot be compiled; take bf16 or none")
    returned: list[Any] = []

    def steps(*inputs: Tensor) -> tuple[Tensor, ...]:
        left = iter(inputs)
        first = type(state)(*(None if field is None else next(left) for field in state))
        last, info, kept = plain_steps(step, first, type(noise)(*left), every)
        returned[:] = last, info
        return (*(field for field in last if field is not None), *info, kept)

    graph = make_fx(steps, BIAS_APART, tracing_mode="fake", _allow_non_fake_inputs=True)(*given)
    constants = lift_constants(graph)
    keep_transposes(graph)
    graph.recompile()
    options = {"cpp_wrapper": given[0].device.type == "cpu", "triton.cudagraphs": given[0].is_cuda}
    with torch.no_grad():
        run: Any = torch._inductor.compile(graph, [*given, *(c.detach() for c in constants)], options=options)
    last, info = returned
    there = [name for name, field in last._asdict().items() if field is not None]
    absent = {name: None for name in last._fields if name not in there}
    state_of = type(last) if not absent else lambda *f: type(last)(**dict(zip(there, f, strict=True)), **absent)
    return Graph(run, constants, state_of, type(info))


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

"""Rewrites of traced graphs."""

import operator

import torch
from torch import Tensor, fx

from anila.samplers.compiled.torch_internals import schema_of
from anila.samplers.compiled.variables import value_of

aten = torch.ops.aten


def mutates(graph: fx.GraphModule) -> bool:
    """Whether an operation changes a tensor."""
    called = {node.target for node in graph.graph.nodes if node.op == "call_function"} - {operator.getitem}
    return any(schema_of(operation).is_mutable for operation in called)


def lift_constants(graph: fx.GraphModule) -> list[Tensor]:
    """Turn the tensors that a graph holds into further inputs, and return them in order."""
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


def literals(graph: fx.GraphModule, constants: list[Tensor]) -> dict[int, Tensor]:
    """The lifted constants that nobody can change, such as `torch.tensor([1.0, 2.0])` in the code, by position."""
    nodes = graph.graph.find_nodes(op="placeholder")[-len(constants) :] if constants else []
    fresh = [node.users and all(user.target is aten.lift_fresh_copy.default for user in node.users) for node in nodes]
    return {k: constant for k, constant in enumerate(constants) if fresh[k]}


def keep_transposes(graph: fx.GraphModule) -> None:
    """Store the transpose of a weight once per graph, since matrix products would transpose it at every step."""
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


def fill_by_shape(graph: fx.GraphModule) -> None:
    """Remove the dependence of operations that take only a shape from a tensor."""
    for node in graph.graph.find_nodes(op="call_function", target=aten.full_like.default):
        value = value_of(node)
        with graph.graph.inserting_before(node):
            full = graph.graph.call_function(aten.full.default, ([*value.shape], node.args[1]), {"dtype": value.dtype})
        full.meta["val"] = value
        node.replace_all_uses_with(full)
    graph.graph.eliminate_dead_code()

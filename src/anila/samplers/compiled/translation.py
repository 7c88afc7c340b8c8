"""A step that was traced to tensor operations, as lines of C++ for one vector of chains.

A tensor with a row a chain becomes a variable `V name[numbers of a row]`: every V holds that number of some chains.
Arithmetic that is read once is written where it is read; a view within rows is another way to index a variable; the
words are those of lanes.h. What depends on no chain is left to torch, and read through pointers.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from anila.samplers.compiled.torch_internals import CONVERT, schema_of, tree_leaves

aten = torch.ops.aten

ARITHMETIC: dict[Any, str] = {
    aten.abs.default: "absolute({0})",
    aten.add.Scalar: "{0} + {1}",
    aten.add.Tensor: "{0} + {1}",
    aten.bitwise_and.Tensor: "{0} & {1}",
    aten.bitwise_not.default: "~{0}",
    aten.bitwise_or.Tensor: "{0} | {1}",
    aten.clone.default: "{0}",
    aten.cos.default: "cosine({0})",
    aten.div.Scalar: "{0} / {1}",
    aten.div.Tensor: "{0} / {1}",
    aten.eq.Scalar: "{0} == {1}",
    aten.eq.Tensor: "{0} == {1}",
    aten.erf.default: "error_function({0})",
    aten.exp.default: "exponential({0})",
    aten.expm1.default: "exponential_minus_one({0})",
    aten.ge.Scalar: "{0} >= {1}",
    aten.ge.Tensor: "{0} >= {1}",
    aten.gt.Scalar: "{0} > {1}",
    aten.gt.Tensor: "{0} > {1}",
    aten.le.Scalar: "{0} <= {1}",
    aten.le.Tensor: "{0} <= {1}",
    aten.log.default: "logarithm({0})",
    aten.log1p.default: "log_one_plus({0})",
    aten.logical_and.default: "{0} & {1}",
    aten.logical_not.default: "~{0}",
    aten.lt.Scalar: "{0} < {1}",
    aten.lt.Tensor: "{0} < {1}",
    aten.maximum.default: "larger({0}, {1})",
    aten.minimum.default: "smaller({0}, {1})",
    aten.mul.Scalar: "{0} * {1}",
    aten.mul.Tensor: "{0} * {1}",
    aten.ne.Scalar: "{0} != {1}",
    aten.ne.Tensor: "{0} != {1}",
    aten.neg.default: "-{0}",
    aten.reciprocal.default: "1 / {0}",
    aten.relu.default: "larger({0}, V{{}})",
    aten.rsqrt.default: "1 / root({0})",
    aten.sigmoid.default: "sigmoid({0})",
    aten.sign.default: "sign({0})",
    aten.sin.default: "sine({0})",
    aten.sqrt.default: "root({0})",
    aten.sub.Scalar: "{0} - {1}",
    aten.sub.Tensor: "{0} - {1}",
    aten.tanh.default: "hyperbolic_tangent({0})",
    aten.where.self: "pick({0}, {1}, {2})",
}
"""Operations element by element, in the words of lanes.h."""
LOGICAL = {
    aten.bitwise_and.Tensor, aten.bitwise_not.default, aten.bitwise_or.Tensor, aten.clone.default, aten.copy.default,
    aten.eq.Tensor, aten.logical_and.default, aten.logical_not.default, aten.mul.Tensor, aten.ne.Tensor,
    aten.where.self, CONVERT,
}  # fmt: skip
"""Those of them that truth values may have."""
POWERS = {
    2: "square({0})",
    3: "cube({0})",
    4: "square(square({0}))",
    0.5: "root({0})",
    -0.5: "1 / root({0})",
    -1: "1 / {0}",
    1: "{0}",
}
REDUCTIONS: dict[Any, tuple[str, str, str]] = {
    aten.all.dim: ("~M{}", "{0} & {1}", ""),
    aten.amax.default: ("all<V>(-__builtin_inf())", "larger({0}, {1})", ""),
    aten.amin.default: ("all<V>(__builtin_inf())", "smaller({0}, {1})", ""),
    aten.any.dim: ("M{}", "{0} | {1}", ""),
    aten.linalg_vector_norm.default: ("V{}", "{0} + square({1})", "root({0})"),
    aten.mean.dim: ("V{}", "{0} + {1}", "{0} / {1}"),
    aten.sum.dim_IntList: ("V{}", "{0} + {1}", ""),
}
"""Where a reduction of axes begins, how the next number joins, and what is made of the whole of so many."""
VIEWS = {
    aten.alias.default, aten.detach.default, aten.expand.default, aten.permute.default, aten.select.int,
    aten.slice.Tensor, aten.squeeze.dim, aten.squeeze.dims, aten.unsqueeze.default, aten.view.default,
}  # fmt: skip
PIECES = {
    aten.cat.default: None,
    aten.select_scatter.default: aten.select.int,
    aten.slice_scatter.default: aten.slice.Tensor,
}
"""Operations that put a tensor together, and the view that a written part is of the whole."""


class Unsupported(ValueError):
    """A step that is not row by row, or not small."""


class Stored(NamedTuple):
    """Numbers of chains in a variable of the function."""

    name: str
    view: Tensor
    """A tensor without data, whose strides and offset lead from an event's index to the variable's."""

    def at(self, shape: Sequence[int]) -> str:
        """The element that the loops over an event of this shape have come to, broadcast."""
        strides = self.view.expand(tuple(shape)).stride()
        axes = [(k, s) for k, (s, d) in enumerate(zip(strides, shape, strict=True)) if k and s and d > 1]
        terms = [f"i{k}" if s == 1 else f"i{k} * {s}" for k, s in axes]
        offset = self.view.storage_offset()
        return f"{self.name}[{' + '.join([*terms, *[str(offset)] * (not terms or offset > 0)])}]"


class Formula(NamedTuple):
    """Arithmetic that is done where it is read."""

    text: str
    shape: torch.Size

    def at(self, _: Sequence[int]) -> str:
        return f"({self.text})"


class Translation:
    """The lines for a step.

    Args:
        graph: Of pure operations on tensors.
        moving: Its inputs with a row a chain.

    Raises:
        Unsupported: If an operation is not row by row, or not known here.
    """

    def __init__(self, graph: fx.Graph, moving: Sequence[fx.Node]):
        self.chains, self.dtype = len(value_of(moving[0])), value_of(moving[0]).dtype
        if self.dtype not in (torch.float32, torch.float64):
            raise Unsupported(f"numbers are {self.dtype}")
        self.lines: list[str] = []
        self.variables: dict[str, tuple[str, int]] = {}
        """Kind and size of each."""
        self.fixed: dict[fx.Node, str] = {}
        """What depends on no chain and is read by what does, with the name of the pointer to it."""
        self.given: dict[fx.Node, Stored] = {}
        """Those of them that have a row a chain, with the variable for it."""
        self.found: dict[fx.Node, Stored | Formula] = {}
        """Everything that depends on chains."""
        for node in moving:
            if kind(node) == "M":
                raise Unsupported("truth values in state or noise")
            self.found[node] = self.store(node)
        for node in graph.nodes:
            if node.op == "call_function":
                require_plain(node)
                if self.found.keys() & {*node.all_input_nodes}:
                    self.found[node] = self.translate(node)

    def translate(self, node: fx.Node) -> Stored | Formula:
        """What a node computes."""
        if node.target in VIEWS:
            return self.view(node)
        if node.target in PIECES:
            return self.pieces(node)
        if node.target in REDUCTIONS:
            return self.reduction(node)
        return self.product(node) if node.target is aten.mm.default else self.arithmetic(node)

    # Places

    def store(self, node: fx.Node, lines: Callable[[Stored], list[str]] = lambda _: []) -> Stored:
        """A new variable for what a node computes, and the lines that compute it."""
        value = self.checked(node)
        name = f"v{len(self.variables)}"
        self.variables[name] = kind(node), value[0].numel()
        stored = Stored(name, blank(value.shape))
        self.lines += lines(stored)
        return stored

    def checked(self, node: fx.Node) -> Tensor:
        """What a node was traced to compute, if it has a row a chain."""
        value = value_of(node)
        if value.shape[:1] != (self.chains,) or value.dtype not in (self.dtype, torch.bool):
            raise Unsupported(f"{node.target} gives {value.dtype} of shape {tuple(value.shape)}")
        return value

    def stored(self, node: Any) -> Stored:
        """The variable, or view of one, with what a node computes."""
        if node not in self.found:
            return self.row_of(node)
        found = self.found[node]
        if isinstance(found, Formula):
            text, shape = found.text, found.shape
            found = self.found[node] = self.store(node, lambda to: over(shape, f"{to.at(shape)} = {text};"))
        return found

    def packed(self, node: Any) -> Stored:
        """A variable with what a node computes and nothing else, one number after the other."""
        found = self.stored(node)
        own = blank(found.view.shape)
        shape, same = own.shape, found.view.stride()[1:] == own.stride()[1:]
        if same and found.view.storage_offset() == 0 and self.variables[found.name][1] == own[0].numel():
            return found
        return self.store(node, lambda to: over(shape, f"{to.at(shape)} = {found.at(shape)};"))

    def row_of(self, node: Any) -> Stored:
        """The variable for the row of what depends on no chain but has one for each."""
        if not isinstance(node, fx.Node) or not self.has_rows(node) or kind(node) == "M":
            raise Unsupported("the same for all chains where there should be a row a chain")
        if node not in self.given:
            self.given[node] = self.store(node)
            self.pointer(node)
        return self.given[node]

    def has_rows(self, node: fx.Node) -> bool:
        return value_of(node).ndim > 0 and len(value_of(node)) == self.chains > 1

    def pointer(self, node: fx.Node) -> str:
        """The name of the pointer to what depends on no chain."""
        return self.fixed.setdefault(node, f"c{len(self.fixed)}")

    def operand(self, node: fx.Node, arg: Any, shape: Sequence[int]) -> str:
        """An argument of a node that is computed for every element of an event of this shape."""
        if not isinstance(arg, fx.Node):
            return number(arg)
        value = value_of(arg)
        if arg in self.found or (value.ndim == len(shape) and self.has_rows(arg)):
            if value.ndim != len(shape):
                raise Unsupported("chains beside the elements of events")
            once = len(arg.users) == 1 and sum(each is arg for each in tree_leaves(node.args)) == 1
            inline = arg in self.found and once and value.shape == tuple(shape)
            return (self.found[arg] if inline else self.stored(arg)).at(shape)
        text = Stored(self.pointer(arg), torch.empty(value.shape, device="meta")).at(shape)
        return f"(all<V>({text}) != 0)" if kind(arg) == "M" else f"all<V>({text})"

    # Operations

    def view(self, node: fx.Node) -> Stored:
        source = self.stored(node.args[0])
        try:
            view = on_meta(node, source.view, *node.args[1:])
        except RuntimeError as error:
            raise Unsupported(f"{node.target} is not a view within rows") from error
        across = self.chains > 1 and view.ndim and view.stride(0) != source.view.stride(0)
        if view.shape[:1] != (self.chains,) or across:
            raise Unsupported(f"{node.target} is not a view within rows")
        return Stored(source.name, view)

    def pieces(self, node: fx.Node) -> Stored:
        """What is put together from other tensors, each in a slice of it."""
        base = blank(value_of(node).shape)
        parts: list[tuple[Any, Tensor]] = []
        if node.target is aten.cat.default:
            tensors, dim = node.args[0], node.args[1] if len(node.args) > 1 else 0
            sizes = [value_of(part).shape[dim] for part in tensors]  # pyright: ignore[reportGeneralTypeIssues, reportOptionalIterable, reportArgumentType, reportCallIssue]
            parts = [*zip(tensors, base.split(sizes, dim), strict=True)]  # pyright: ignore[reportArgumentType]
        else:
            whole, part, *where = node.args
            parts = [(whole, base), (part, PIECES[node.target](base, *where))]  # pyright: ignore[reportArgumentType]
        if any(view.shape[:1] != base.shape[:1] for _, view in parts):
            raise Unsupported(f"{node.target} of chains")

        def lines(to: Stored) -> list[str]:
            return [
                line
                for part, view in parts
                for line in over(
                    view.shape, f"{Stored(to.name, view).at(view.shape)} = {self.operand(node, part, view.shape)};"
                )
            ]

        return self.store(node, lines)

    def product(self, node: fx.Node) -> Stored:
        left, right = node.args
        if not isinstance(right, fx.Node) or right in self.found:
            raise Unsupported("a product of two matrices that both depend on chains")
        (k, n), row, matrix = value_of(right).shape, self.packed(left).name, self.pointer(right)
        return self.store(node, lambda to: [f"matrix_product<{k}, {n}>({matrix}, {row}, {to.name});"])

    def reduction(self, node: fx.Node) -> Stored:
        source, *more = node.args
        if node.target is aten.linalg_vector_norm.default and (order := more.pop(0)) != 2:
            raise Unsupported(f"a norm of order {order}")
        shape, own = value_of(source).shape, value_of(node).shape
        given: Any = more[0] if more else []
        dims = {d % len(shape) for d in ([given] if isinstance(given, int) else given or range(len(shape)))}
        if 0 in dims:
            raise Unsupported(f"{node.target} of chains")
        begin, join, end = REDUCTIONS[node.target]
        read, count = self.operand(node, source, shape), math.prod(shape[d] for d in dims)

        def lines(to: Stored) -> list[str]:
            here = to.at(own)
            joined = Stored(to.name, blank([1 if d in dims else n for d, n in enumerate(shape)])).at(shape)
            return [
                *over(own, f"{here} = {begin};"),
                *over(shape, f"{joined} = {join.format(joined, read)};"),
                *(over(own, f"{here} = {end.format(here, count)};") if end else []),
            ]

        return self.store(node, lines)

    def arithmetic(self, node: fx.Node) -> Formula:
        target, args, shape = node.target, list(node.args), self.checked(node).shape
        if target is aten.pow.Tensor_Scalar:
            form = POWERS.get(args.pop())  # pyright: ignore[reportArgumentType]
        elif target is aten.clamp.default:
            least, most = (*args[1:], None, None)[:2]
            args = [args[0], -math.inf if least is None else least, math.inf if most is None else most]
            form = "smaller(larger({0}, {1}), {2})"
        elif target is aten.copy.default:
            form, args = "{0}", [args[1]]
        elif target is CONVERT:
            form = "pick({0}, all<V>(1), V{{}})" if kind(args[0]) == "M" else "{0}"
        elif target is aten.mul.Tensor and kind(node) == "M":
            form = "{0} & {1}"
        else:
            form = ARITHMETIC.get(target)
        ignored = form is None or f"{{{len(args) - 1}}}" not in form or node.kwargs.get("alpha", 1) != 1
        if form is None or ignored:
            raise Unsupported(f"{target} is not known here")
        if target not in LOGICAL and any(kind(arg) == "M" for arg in node.all_input_nodes):
            raise Unsupported(f"{target} of truth values")
        return Formula(form.format(*(self.operand(node, arg, shape) for arg in args)), shape)


def require_plain(node: fx.Node) -> None:
    """Refuse what gives several tensors, changes one, or draws random numbers: that must happen at every step."""
    several = not isinstance(value_of(node), Tensor)
    if several or torch.Tag.nondeterministic_seeded in node.target.tags or schema_of(node.target).is_mutable:  # pyright: ignore[reportAttributeAccessIssue, reportFunctionMemberAccess]
        raise Unsupported(f"{node.target} is not a function to one tensor")


def on_meta(node: fx.Node, *args: Any) -> Tensor:
    """What the operation of a node makes of these arguments."""
    return node.target(*args, **node.kwargs)  # pyright: ignore[reportCallIssue, reportReturnType]


def value_of(node: Any) -> Any:
    """What a node was traced to compute."""
    return node.meta["val"]


def kind(node: Any) -> str:
    """Whether a variable holds numbers or truth values."""
    return "M" if value_of(node).dtype is torch.bool else "V"


def number(x: float | int) -> str:
    """As C++ writes it."""
    if math.isnan(x):
        return 'all<V>(__builtin_nan(""))'
    return f"all<V>({'-' * (x < 0)}__builtin_inf())" if math.isinf(x) else f"all<V>({x!r})"


def blank(shape: Sequence[int]) -> Tensor:
    """Events one after the other, with a gap that no view within rows can cross."""
    event = torch.empty(tuple(shape[1:]), device="meta")
    return torch.empty_strided(tuple(shape), (event.numel() + 1, *event.stride()), device="meta")


def over(shape: Sequence[int], line: str) -> list[str]:
    """The line for every element of an event."""
    return [" ".join([*(f"for (int i{k} = 0; i{k} < {d}; i{k}++)" for k, d in enumerate(shape) if k and d > 1), line])]

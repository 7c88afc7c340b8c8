"""The translation of a traced step to lines of C++ for one vector of chains.

A tensor with a row per chain becomes a variable `V name[numbers of a chain]`, in which each V holds one number for a
vector of chains. Arithmetic that is read once is written in place; a view is another way to index a variable; the
functions are those of lanes.h. What depends on no chain is left to torch, and read through pointers.

A step traced with several chains has them along the first axis of every tensor, and a view that mixes them is refused.
A step traced with one chain has no such axis: whatever it does with the numbers of that chain is translated.
"""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from anila.samplers.compiled.elements import ELEMENTS
from anila.samplers.compiled.matrices import MATRICES
from anila.samplers.compiled.torch_internals import CONVERT, schema_of, tree_leaves
from anila.samplers.compiled.variables import (
    Formula,
    Stored,
    Unsupported,
    blank,
    constant,
    kind,
    number,
    on_meta,
    over,
    rounds,
    value_of,
)
from anila.samplers.compiled.vocabulary import ARITHMETIC, LOGICAL, NUMBER, PIECES, POWERS, REDUCTIONS, VIEWS, WHOLE

OTHERS = {**ELEMENTS, **MATRICES}
aten = torch.ops.aten
GAP = 2**40
"""The stride between chains, too large for any view within one chain to reach."""


class Translation:
    """The C++ lines for a step.

    Args:
        graph: A graph of pure tensor operations.
        moving: Its inputs with one row per chain.

    Raises:
        Unsupported: If an operation is unknown or does not act row by row.
    """

    def __init__(self, graph: fx.Graph, moving: Sequence[fx.Node]):
        self.chains, self.dtype = len(value_of(moving[0])), value_of(moving[0]).dtype
        self.alone = self.chains == 1
        if self.dtype not in (torch.float32, torch.float64):
            raise Unsupported(f"a step's numbers are {self.dtype}")
        self.lines: list[str] = []
        self.variables: dict[str, tuple[str, int]] = {}
        """Name -> kind and size."""
        self.fixed: dict[fx.Node, str] = {}
        """Nodes that depend on no chain but are read by nodes that do, with the names of their pointers."""
        self.given: dict[fx.Node, Stored] = {}
        """Those of them that have one row per chain, with the variable for it."""
        self.found: dict[fx.Node, Stored | Formula] = {}
        """Translations of the nodes that depend on chains."""
        for node in moving:
            if kind(node) == "M":
                raise Unsupported("a step's state or noise holds booleans")
            self.found[node] = self.store(node)
        for node in graph.nodes:
            if node.op == "call_function" and self.found.keys() & {*node.all_input_nodes}:
                self.found[node] = self.translate(node)
            elif node.op == "call_function":
                require_same_each_time(node)

    def translate(self, node: fx.Node) -> Stored | Formula:
        """The translation of a node."""
        if node.target in OTHERS:
            return OTHERS[node.target](self, node)
        require_same_each_time(node)
        if node.target in VIEWS:
            return self.view(node)
        if node.target in PIECES:
            return self.pieces(node)
        return self.reduction(node) if node.target in REDUCTIONS else self.arithmetic(node)

    # Chains

    def event(self, node: Any) -> torch.Size:
        """The shape of each chain's part of a node's value."""
        shape = value_of(node).shape
        if self.alone:
            return shape
        if shape[:1] != (self.chains,):
            raise Unsupported(f"{node.target} gives shape {tuple(shape)}, which has no row for each chain")
        return shape[1:]

    def beside(self, view: Tensor) -> Tensor:
        """The view with an axis of chains, as the operations of the trace expect it."""
        if self.alone:
            return view
        return view.as_strided((self.chains, *view.shape), (GAP, *view.stride()), view.storage_offset())

    def within(self, node: fx.Node, view: Tensor) -> Tensor:
        """The view without the axis of chains.

        Raises:
            Unsupported: If it mixes chains.
        """
        if self.alone:
            return view
        shape = view.shape[1:]
        strides = [1 if n == 1 else stride for n, stride in zip(shape, view.stride()[1:], strict=True)]
        if view.shape[:1] != (self.chains,) or view.stride(0) != GAP or GAP in strides:
            raise Unsupported(f"{node.target} is not a view within rows")
        return view.as_strided(shape, strides, view.storage_offset())

    def axis(self, node: fx.Node, dim: int, of: Any) -> int:
        """The axis of a chain's part that corresponds to this axis of the tensor."""
        k = dim % max(1, value_of(of).ndim) - (not self.alone)
        if k < 0:
            raise Unsupported(f"{node.target} acts along the axis of chains")
        return k

    # Places

    def store(self, node: fx.Node, lines: Callable[[Stored], list[str]] = lambda _: []) -> Stored:
        """A new variable for the value of a node; adds the lines that compute it."""
        shape = self.checked(node)
        name = f"v{len(self.variables)}"
        self.variables[name] = kind(node), shape.numel()
        stored = Stored(name, blank(shape))
        self.lines += lines(stored)
        return stored

    def checked(self, node: fx.Node) -> torch.Size:
        """The shape of each chain's part of a node's value, if a variable can hold it."""
        if not isinstance(value_of(node), Tensor):
            raise Unsupported(f"{node.target} gives several tensors")
        dtype, shape = value_of(node).dtype, self.event(node)
        whole = node.target in WHOLE and not dtype.is_floating_point and not dtype.is_complex
        narrower = (dtype, self.dtype) == (torch.float32, torch.float64)
        if dtype not in (self.dtype, torch.bool) and not whole and not narrower:
            raise Unsupported(f"{node.target} gives {dtype} of shape {tuple(value_of(node).shape)}")
        return shape

    def stored(self, node: Any) -> Stored:
        """The variable, or view of one, that holds the value of a node."""
        if node not in self.found:
            return self.row_of(node)
        found = self.found[node]
        if isinstance(found, Formula):
            text, shape = found.text, found.shape
            found = self.found[node] = self.store(node, lambda to: over(shape, f"{to.at(shape)} = {text};"))
        return found

    def packed(self, node: Any) -> Stored:
        """A contiguous variable that holds only the value of a node."""
        found = self.stored(node)
        shape = found.view.shape
        packed = found.view.is_contiguous() and found.view.storage_offset() == 0
        return found if packed and self.variables[found.name][1] == shape.numel() else self.copied(node, found)

    def copied(self, node: Any, found: Stored) -> Stored:
        """The same numbers in a variable of their own."""
        shape = found.view.shape
        return self.store(node, lambda to: over(shape, f"{to.at(shape)} = {found.at(shape)};"))

    def row_of(self, node: Any) -> Stored:
        """The variable for a row of something that depends on no chain but has a row for each, or one for all."""
        if self.alone and isinstance(node, fx.Node) and kind(node) == "V":
            same = self.same_for_all(node).at(self.event(node))
            return self.store(node, lambda to: over(self.event(node), f"{to.at(self.event(node))} = all<V>({same});"))
        if not isinstance(node, fx.Node) or not self.has_rows(node) or kind(node) == "M":
            raise Unsupported("a result is the same for all chains")
        if node not in self.given:
            self.given[node] = self.store(node)
            self.pointer(node)
        return self.given[node]

    def has_rows(self, node: fx.Node) -> bool:
        return not self.alone and value_of(node).shape[:1] == (self.chains,)

    def pointer(self, node: fx.Node) -> str:
        """The name of the pointer to what depends on no chain."""
        return self.fixed.setdefault(node, f"c{len(self.fixed)}")

    def same_for_all(self, node: fx.Node) -> Stored:
        """Something that depends on no chain, without the axis of chains on which it has one row for all."""
        value = value_of(node)
        shape = value.shape[1:] if not self.alone and value.shape[:1] == (1,) else value.shape
        return Stored(self.pointer(node), torch.empty(shape, device="meta"))

    def operand(self, node: fx.Node, arg: Any, shape: Sequence[int]) -> str:
        """An argument of a node that is evaluated for every element of this shape."""
        if not isinstance(arg, fx.Node):
            return number(arg)
        axes = len(shape) + (not self.alone)
        if arg in self.found or (value_of(arg).ndim == axes and self.has_rows(arg)):
            if value_of(arg).ndim != axes and not self.alone:
                raise Unsupported("a step broadcasts the axis of chains along an axis of points")
            once = len(arg.users) == 1 and sum(each is arg for each in tree_leaves(node.args)) == 1
            inline = arg in self.found and once and self.event(arg) == tuple(shape)
            return (self.found[arg] if inline else self.stored(arg)).at(shape)
        if not self.alone and value_of(arg).ndim == axes and len(value_of(arg)) > 1:
            raise Unsupported("a tensor has rows that are not those of chains")
        return constant(arg, self.same_for_all(arg).at(shape))

    def element(self, arg: Any, index: Sequence[str]) -> str:
        """The element of a chain's part of an argument at this index."""
        index = index[max(0, len(index) - value_of(arg).ndim) :]
        if arg in self.found or (len(index) < value_of(arg).ndim and self.has_rows(arg)):
            return self.stored(arg).at((), index)
        value = value_of(arg)
        shape = value.shape[value.ndim - len(index) :]
        if value.ndim > len(index) and len(value) > 1:
            raise Unsupported("a tensor has rows that are not those of chains")
        return constant(arg, Stored(self.pointer(arg), blank(shape)).at((), index))

    # Operations

    def view(self, node: fx.Node) -> Stored:
        source = self.stored(node.args[0])
        try:
            view = on_meta(node, self.beside(source.view), *node.args[1:])
        except RuntimeError:  # torch cannot express that view by strides
            source = self.copied(node.args[0], source)
            try:
                view = on_meta(node, self.beside(source.view), *node.args[1:])
            except RuntimeError as error:
                raise Unsupported(f"{node.target} is not a view within rows") from error
        return Stored(source.name, self.within(node, view))

    def pieces(self, node: fx.Node) -> Stored:
        """A tensor put together from others, each in a slice of it."""
        whole = self.beside(blank(self.event(node)))
        if node.target is aten.cat.default:
            tensors, dim = node.args[0], node.args[1] if len(node.args) > 1 else 0
            sizes = [value_of(part).shape[dim] for part in tensors]  # pyright: ignore[reportGeneralTypeIssues, reportOptionalIterable, reportArgumentType, reportCallIssue]
            parts = [*zip(tensors, whole.split(sizes, dim), strict=True)]  # pyright: ignore[reportArgumentType]
        else:
            first, part, *where = node.args
            parts = [(first, whole), (part, PIECES[node.target](whole, *where, **node.kwargs))]  # pyright: ignore[reportArgumentType]
        placed = [(part, self.within(node, view)) for part, view in parts]

        def lines(to: Stored) -> list[str]:
            return [
                line
                for part, view in placed
                for line in over(
                    view.shape, f"{Stored(to.name, view).at(view.shape)} = {self.operand(node, part, view.shape)};"
                )
            ]

        return self.store(node, lines)

    def reduction(self, node: fx.Node) -> Stored:
        source, *more = node.args
        if node.target is aten.linalg_vector_norm.default and (order := more.pop(0)) != 2:
            raise Unsupported(f"a step takes a norm of order {order}, and only order 2 is known here")
        shape, own = self.event(source), self.event(node)
        given: Any = more[0] if more else []
        every = range(value_of(source).ndim)
        dims = {self.axis(node, d, source) for d in ([given] if isinstance(given, int) else given or every)}
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
        target, args, shape = node.target, list(node.args), self.checked(node)
        if target is aten.pow.Tensor_Scalar:
            form = POWERS.get(args[1], "power({0}, {1})")  # pyright: ignore[reportArgumentType]
            args = args[: 1 + ("{1}" in form)]
        elif target in (aten.clamp.default, aten.clamp.Tensor):
            least, most = (*args[1:], None, None)[:2]
            args = [args[0], -math.inf if least is None else least, math.inf if most is None else most]
            form = "smaller(larger({0}, {1}), {2})"
        elif target is aten.copy.default:
            form, args = "{0}", [args[1]]
        elif target is CONVERT:
            form = NUMBER if kind(args[0]) == "M" else "{0}"
            if kind(args[0]) == "V" and (kind(node) == "M" or rounds(args[0], node)):
                raise Unsupported(f"{target} rounds")
        elif target is aten.mul.Tensor and kind(node) == "M":
            form = "{0} & {1}"
        else:
            form = ARITHMETIC.get(target)
        ignored = form is None or f"{{{len(args) - 1}}}" not in form or node.kwargs.get("alpha", 1) != 1
        if form is None or ignored:
            raise Unsupported(f"{target} is not known here")
        if kind(node) == "M" and target not in LOGICAL and any(kind(arg) == "M" for arg in node.all_input_nodes):
            raise Unsupported(f"{target} takes booleans")
        numeric = kind(node) == "V" and (target not in LOGICAL or target is aten.mul.Tensor)

        def operand(arg: Any) -> str:
            read = self.operand(node, arg, shape)
            return NUMBER.format(read) if numeric and isinstance(arg, fx.Node) and kind(arg) == "M" else read

        return Formula(form.format(*map(operand, args)), shape)


def require_same_each_time(node: fx.Node) -> None:
    """Refuse operations that change a tensor or draw random numbers, as these must happen at every step."""
    if node.target is operator.getitem:
        return
    if torch.Tag.nondeterministic_seeded in node.target.tags or schema_of(node.target).is_mutable:  # pyright: ignore[reportAttributeAccessIssue, reportFunctionMemberAccess]
        raise Unsupported(f"{node.target} draws numbers or changes a tensor in place")

"""Operations that move elements: flips, padding, cumulative sums, and indexing by a tensor.

A tensor of indices is the same for all chains. It is read as real numbers, and clamped to the axis.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from anila.samplers.compiled.variables import Stored, Unsupported, over, value_of

if TYPE_CHECKING:
    from anila.samplers.compiled.translation import Translation

aten = torch.ops.aten


def loops(shape: Sequence[int]) -> list[str]:
    """The loop variables of a shape; "0" for axes without a loop."""
    return [f"i{k}" if d > 1 else "0" for k, d in enumerate(shape)]


def flip(step: "Translation", node: fx.Node) -> Stored:
    source, dims = node.args
    shape = step.event(node)
    turned = {step.axis(node, d, source) for d in dims}  # pyright: ignore
    index = [f"{d - 1} - {i}" if k in turned else i for k, (i, d) in enumerate(zip(loops(shape), shape, strict=True))]
    read = step.element(source, index)
    return step.store(node, lambda to: over(shape, f"{to.at(shape)} = {read};"))


def pad(step: "Translation", node: fx.Node) -> Stored:
    source, given, value = (*node.args, 0.0)[:3]
    shape, own = step.event(node), step.event(source)
    widths: Any = [*given, *[0] * (2 * len(shape) - len(given))]  # pyright: ignore
    before, after = widths[-2::-2], widths[::-2]
    if len(widths) > 2 * len(shape):
        raise Unsupported(f"{node.target} acts along the axis of chains")
    inner = [n + min(a, 0) + min(b, 0) for n, a, b in zip(own, before, after, strict=True)]
    read = step.element(source, [f"{i} + {max(-a, 0)}" for i, a in zip(loops(inner), before, strict=True)])

    def lines(to: Stored) -> list[str]:
        view = to.view
        for k, (a, n) in enumerate(zip(before, inner, strict=True)):
            view = view.narrow(k, max(a, 0), n)
        filled = over(shape, f"{to.at(shape)} = {step.operand(node, value, shape)};")
        return filled + over(inner, f"{Stored(to.name, view).at(inner)} = {read};")

    return step.store(node, lines)


def cumsum(step: "Translation", node: fx.Node) -> Stored:
    source, dim = node.args[:2]
    shape, axis = step.event(node), step.axis(node, dim, source)  # pyright: ignore
    index = loops(shape)
    read = step.element(source, index)
    if shape[axis] == 1:
        return step.store(node, lambda to: over(shape, f"{to.at(shape)} = {read};"))
    before = [f"{i} - 1" if k == axis else i for k, i in enumerate(index)]
    return step.store(
        node, lambda to: over(shape, f"{to.at(shape)} = {read} + (i{axis} ? {to.at((), before)} : V{{}});")
    )


def listed(step: "Translation", node: fx.Node, source: Any, indices: Sequence[Any], shape: Sequence[int]) -> list[str]:
    """The element of an indexed tensor that belongs to the current element of the result.

    Raises:
        Unsupported: If chains are indexed, or index tensors depend on chains or lie on both sides of an axis.
    """
    own = step.event(source)
    if not step.alone:
        if indices and indices[0] is not None:
            raise Unsupported(f"{node.target} acts along the axis of chains")
        indices = indices[1:]
    indices = [*indices, *[None] * (len(own) - len(indices))]
    at = [k for k, each in enumerate(indices) if each is not None]
    if any(indices[k] in step.found for k in at) or at != [*range(at[0], at[-1] + 1)]:
        raise Unsupported(f"{node.target} picks by numbers that differ between chains, or along axes that are apart")
    common = torch.broadcast_shapes(*(value_of(indices[k]).shape for k in at))
    i = loops(shape)
    before, inside, after = i[: at[0]], i[at[0] : at[0] + len(common)], i[at[0] + len(common) :]
    return [*before, *(picked(step, indices[k], inside, own[k]) for k in at), *after]


def picked(step: "Translation", index: fx.Node, loop: Sequence[str], size: int) -> str:
    """The index that an index tensor gives along an axis of this size."""
    value = value_of(index)
    if value.dtype not in (torch.int64, torch.int32):
        raise Unsupported(f"a list of elements has type {value.dtype}")
    place = Stored(step.pointer(index), torch.empty(value.shape, device="meta"))
    return f"within({place.at((), loop[len(loop) - value.ndim :])}, {size})"


def index(step: "Translation", node: fx.Node) -> Stored:
    source, indices = node.args
    shape = step.event(node)
    read = step.element(source, listed(step, node, source, indices, shape))  # pyright: ignore
    return step.store(node, lambda to: over(shape, f"{to.at(shape)} = {read};"))


def index_put(step: "Translation", node: fx.Node) -> Stored:
    base, indices, values, *more = node.args
    whole = step.event(node)
    shape = listed_shape(step, indices, whole)  # pyright: ignore
    where = listed(step, node, node, indices, shape)  # pyright: ignore
    return put(step, node, base, shape, where, step.operand(node, values, shape), bool(more and more[0]))


def listed_shape(step: "Translation", indices: Sequence[Any], whole: Sequence[int]) -> list[int]:
    """The shape of the result of indexing a tensor of shape `whole`."""
    shapes = [None if each is None else value_of(each).shape for each in indices]
    places = [None if shape is None else torch.empty(shape, dtype=torch.int64, device="meta") for shape in shapes]
    places = places if step.alone else places[1:]
    return [*torch.empty(tuple(whole), device="meta")[tuple(slice(None) if p is None else p for p in places)].shape]


def put(
    step: "Translation", node: fx.Node, base: Any, shape: Sequence[int], where: list[str], read: str, add: bool
) -> Stored:
    """A copy of the base in which the values read, one for each element of this shape, replace others or are added."""
    whole = step.event(node)

    def lines(to: Stored) -> list[str]:
        copied = over(whole, f"{to.at(whole)} = {step.operand(node, base, whole)};")
        return copied + over(shape, f"{to.at((), where)} {'+=' if add else '='} {read};")

    return step.store(node, lines)


def along(step: "Translation", node: fx.Node, source: Any, dim: int, index: Any) -> tuple[list[int], list[str]]:
    """The shape of an index tensor for one axis, and the elements that it picks."""
    if index in step.found:
        raise Unsupported(f"{node.target} picks by numbers that differ between chains")
    own, axis, value = step.event(source), step.axis(node, dim, source), value_of(index)
    if not step.alone:
        raise Unsupported(f"{node.target} takes several chains at once")
    i = loops(value.shape)
    return [*value.shape], [picked(step, index, i, own[axis]) if k == axis else each for k, each in enumerate(i)]


def gather(step: "Translation", node: fx.Node) -> Stored:
    source, dim, index = node.args[:3]
    shape, where = along(step, node, source, dim, index)  # pyright: ignore
    read = step.element(source, where)
    return step.store(node, lambda to: over(shape, f"{to.at(shape)} = {read};"))


def scatter(step: "Translation", node: fx.Node) -> Stored:
    base, dim, index, source = node.args[:4]
    shape, where = along(step, node, node, dim, index)  # pyright: ignore
    if isinstance(source, fx.Node) and [*step.event(source)] != shape:
        raise Unsupported(f"{node.target} takes a source of another shape than its index")
    read = step.operand(node, source, shape)
    return put(step, node, base, shape, where, read, node.target is aten.scatter_add.default)


ELEMENTS: dict[Any, Callable[["Translation", fx.Node], Stored]] = {
    aten.constant_pad_nd.default: pad,
    aten.cumsum.default: cumsum,
    aten.flip.default: flip,
    aten.gather.default: gather,
    aten.index.Tensor: index,
    aten.index_put.default: index_put,
    aten.scatter.src: scatter,
    aten.scatter.value: scatter,
    aten.scatter_add.default: scatter,
}
"""Operation -> its translation."""

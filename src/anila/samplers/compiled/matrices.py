"""Matrix products, triangular systems and Cholesky factors, for matrices of each chain or shared by all."""

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from anila.samplers.compiled.elements import loops
from anila.samplers.compiled.variables import Stored, Unsupported, over, value_of

if TYPE_CHECKING:
    from anila.samplers.compiled.translation import Translation

aten = torch.ops.aten


def product(step: "Translation", node: fx.Node) -> Stored:
    """A product with a matrix that all chains share is one call; other products are loops."""
    left, right = node.args
    one_row = step.event(node).numel() == value_of(node).shape[-1]
    if isinstance(right, fx.Node) and right not in step.found and value_of(right).ndim == 2 and one_row:
        (k, n), row, matrix = value_of(right).shape, step.packed(left).name, step.pointer(right)
        return step.store(node, lambda to: [f"matrix_product<{k}, {n}>({matrix}, {row}, {to.name});"])
    if not step.alone:
        raise Unsupported("both factors of a matrix product depend on chains")
    shape, inner = step.event(node), value_of(left).shape[-1]
    *batch, row, column = loops(shape)
    k = f"i{len(shape)}" if inner > 1 else "0"
    terms = f"{step.element(left, [*batch, row, k])} * {step.element(right, [*batch, k, column])}"

    def lines(to: Stored) -> list[str]:
        sums = over([*shape, inner], f"{to.at((), [*batch, row, column])} += {terms};")
        return [*over(shape, f"{to.at(shape)} = V{{}};"), *sums]

    return step.store(node, lines)


def solve_triangular(step: "Translation", node: fx.Node) -> Stored:
    """X of A X = B, or of X A = B, row by row (column by column) of X."""
    A, B = node.args
    upper, left = node.kwargs["upper"], node.kwargs.get("left", True)
    if not step.alone:
        raise Unsupported(f"{node.target} takes several chains at once")
    shape = step.event(node)
    *batch, _, _ = loops(shape)
    n, others = (shape[-2], shape[-1]) if left else (shape[-1], shape[-2])

    def at(a: str, b: str) -> list[str]:
        return [*batch, a, b] if left else [*batch, b, a]

    from_above = upper != left  # whether row 0 is solved first
    first, last = ("0", "r") if from_above else ("r + 1", str(n))
    row = "int r = 0; r < N; r++" if from_above else "int r = N - 1; r >= 0; r--"
    divided = "sum" if node.kwargs.get("unitriangular", False) else f"sum / {step.element(A, at('r', 'r'))}"

    def lines(to: Stored) -> list[str]:
        known = f"{step.element(A, at('r', 'k'))} * {to.at((), at('k', 'c'))}"
        body = (
            f"for (int c = 0; c < {others}; c++) for ({row.replace('N', str(n))}) {{ "
            f"V sum = {step.element(B, at('r', 'c'))}; for (int k = {first}; k < {last}; k++) sum -= {known}; "
            f"{to.at((), at('r', 'c'))} = {divided}; }}"
        )
        return over([*shape[:-2]], body)

    return step.store(node, lines)


def cholesky(step: "Translation", node: fx.Node) -> Stored:
    """The lower factor; NaN, and so is all that follows, if a matrix is not positive definite."""
    (A,), (shape, n) = node.args, factor_shape(step, node)
    if (len(node.args) > 1 and node.args[1]) or node.kwargs.get("upper", False):
        raise Unsupported("a step takes an upper Cholesky factor, and only the lower one is known here")
    *batch, _, _ = loops(shape)
    (factor,) = [user for user in node.users if user.args[1] == 0] or [None]
    if factor is None:
        raise Unsupported("a step makes a Cholesky factor that nothing reads")

    def lines(to: Stored) -> list[str]:
        def entry(a: str, b: str) -> str:
            return to.at((), [*batch, a, b])

        body = (
            f"for (int r = 0; r < {n}; r++) for (int c = 0; c < {n}; c++) {{ V sum = c > r ? V{{}} : "
            f"{step.element(A, [*batch, 'r', 'c'])}; if (c <= r) {{ for (int k = 0; k < c; k++) "
            f"sum -= {entry('r', 'k')} * {entry('c', 'k')}; sum = r == c ? root(sum) : sum / {entry('c', 'c')}; }} "
            f"{entry('r', 'c')} = sum; }}"
        )
        return over([*shape[:-2]], body)

    return step.store(factor, lines)


def factor_shape(step: "Translation", node: fx.Node) -> tuple[list[int], int]:
    shape = [*value_of(node)[0].shape]
    if not step.alone:
        raise Unsupported(f"{node.target} takes several chains at once")
    return shape, shape[-1]


def part(step: "Translation", node: fx.Node) -> Stored:
    """The factor, or the flag that is not 0 if there is none."""
    source, which = node.args
    if getattr(source, "target", None) is not aten.linalg_cholesky_ex.default:
        raise Unsupported(f"{getattr(source, 'target', source)} gives several tensors")
    factor = step.found[source]  # pyright: ignore
    if which == 0:
        return factor  # pyright: ignore
    (shape, n), own = factor_shape(step, source), step.event(node)  # pyright: ignore
    *batch, _, _ = loops(shape)
    pivot = factor.at((), [*batch, "r", "r"])  # pyright: ignore

    def lines(to: Stored) -> list[str]:
        here = to.at((), batch)
        test = f"for (int r = 0; r < {n}; r++) {here} = pick({pivot} > 0, {here}, all<V>(1));"
        return [*over(own, f"{to.at(own)} = V{{}};"), *over(own, test)]

    return step.store(node, lines)


MATRICES: dict[Any, Callable[["Translation", fx.Node], Stored]] = {
    aten.bmm.default: product,
    aten.linalg_cholesky_ex.default: cholesky,
    aten.linalg_solve_triangular.default: solve_triangular,
    aten.mm.default: product,
    operator.getitem: part,
}
"""Operation -> its translation."""

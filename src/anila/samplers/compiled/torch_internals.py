"""Names that torch may change or drop without notice. No other file of this package imports such a name.

Tested on torch 2.13 (`TRIED` in the package). This file is imported only when steps are to be compiled. If one of these
names is gone, steps run uncompiled, with a warning.
"""

from collections.abc import Callable, Sequence
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch import (
    Tensor,
    _is_all_true,  # pyright: ignore[reportPrivateImportUsage]
    fx,
)
from torch._decomp import core_aten_decompositions, get_decompositions
from torch._inductor import compile as inductor
from torch._inductor.codecache import CppCodeCache
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["TorchDispatchMode", "tree_leaves"]

aten = torch.ops.aten
READ_A_NUMBER, CONVERT = aten._local_scalar_dense.default, aten._to_copy.default
"""Operations: read a number from a tensor; convert a tensor to another dtype."""
COMPOSED = [aten.gelu, aten.elu, aten.elu_backward, aten.leaky_relu, aten._softmax, aten._softmax_backward_data,
            aten._log_softmax]  # fmt: skip
"""Composed operations that are not decomposed for TorchInductor, which has its own treatment of them."""
UNCHECKED = {"needs_vec_isa": False} if "needs_vec_isa" in signature(CppCodeCache.load_async).parameters else {}
"""Without this, torch first tests its own vector types with the compiler: ten seconds, of no use to our sources."""


def trace(
    function: Callable[..., Any], given: Sequence[Tensor], replaced: Any = None, keeps: bool = False
) -> fx.GraphModule:
    """The operations that a function applies to tensors like these, some of them replaced.

    Args:
        function: Maps tensors to tensors.
        given: What it is traced with.
        replaced: Operation -> function that is traced in its place.
        keeps: Whether it may read other tensors, which become attributes of the graph.
    """
    return make_fx(function, replaced, tracing_mode="fake", _allow_non_fake_inputs=keeps)(*given)


@cache
def simple_operations() -> dict[Any, Callable[..., Any]]:
    """Composed operation -> its decomposition."""
    return {**core_aten_decompositions(), **get_decompositions(COMPOSED)}


def graph_compiled(graph: fx.GraphModule, given: Sequence[Tensor]) -> Callable[..., Any]:
    """The graph compiled by TorchInductor, with as little Python as possible: C++ on a CPU, a CUDA graph on a GPU."""
    device = given[0].device.type
    options = {"cpp_wrapper": device == "cpu", "triton.cudagraphs": device == "cuda"}
    return inductor(graph, [*given], options=options)  # pyright: ignore[reportReturnType]


def cpp_compiled(source: str, flags: Sequence[str]) -> Any:
    """A library of this C++ source, compiled now or taken from the cache."""
    return CppCodeCache.load(source, extra_flags=flags, **UNCHECKED)


def schema_of(operation: Any) -> Any:
    """The schema of an operation, which says what arguments it changes."""
    return operation._schema


class Checks(TorchFunctionMode):
    """Make `torch.distributions` traceable: they check whether all values and parameters are valid.

    Inside, in this thread, all checks pass. Those that depend on chains are kept in `asked`, so that real numbers are
    checked at every step. The check for NaN, `x == x`, is left out, as kernels reject NaN.

    Args:
        given: The inputs of the chains.
    """

    def __init__(self, given: Sequence[Tensor]):
        super().__init__()
        self.moving: set[Tensor] = {*given}
        """Tensors that depend on chains."""
        self.about_numbers: set[Tensor] = set()
        """Results of `x == x`, and their reductions over rows or everything."""
        self.asked: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func is _is_all_true:
            if args[0] in self.moving - self.about_numbers:
                self.asked.append(args[0])
            return True
        found = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if (name == "__eq__" and args[0] is args[1]) or (name in ("reshape", "all") and args[0] in self.about_numbers):
            self.about_numbers.add(found)
        if any(isinstance(leaf, Tensor) and leaf in self.moving for leaf in tree_leaves((args, kwargs))):
            self.moving |= {leaf for leaf in tree_leaves(found) if isinstance(leaf, Tensor)}
        return found

    def answer(self, chains: int) -> Tensor | None:
        """Whether all checks passed, 1 or 0 for each chain; None if there were none.

        Raises:
            ValueError: If a check is not row by row.
        """
        rows = [valid.flatten(1).all(1) if valid.ndim > 1 else valid for valid in self.asked]
        if any(len(valid) != chains for valid in rows):
            raise ValueError("f branches on values of several chains")
        return torch.stack(rows, 1).all(1) if rows else None

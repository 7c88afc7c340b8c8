"""Compiled steps: C++ for small nets on a CPU (`lanes`), TorchInductor's graphs for the rest (`graphs`).

All of it is imported when first asked for: it stands on parts of torch that may change (`torch_internals`).
"""

import warnings
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from anila.samplers.compiled.graphs import Graphs

TRIED = "2.13"
"""The versions of torch that steps were compiled with."""


def graphs_of(step: Callable[..., Any], state: Any, draw_noise: Callable[[], Any]) -> "Graphs | None":
    """The compiled steps of a kernel from states like this, made once; None, said in a warning, where there are none.

    Args:
        step: Of the kernel.
        state: Its state.
        draw_noise: Noise of one step, to trace it with.
    """
    found = compiler()
    return found.graphs_of(step, state, draw_noise) if found else None


@cache
def compiler() -> ModuleType | None:
    """What compiles; None, said once a process, where torch lacks a part of it."""
    try:
        from anila.samplers.compiled import graphs
    except (ImportError, AttributeError) as error:
        warnings.warn(
            f"compile: steps run uncompiled, because torch {torch.__version__} lacks a part that torch {TRIED} has "
            f"({error}); install torch {TRIED}, or leave compile off",
            RuntimeWarning,
            stacklevel=4,
        )
        return None
    return graphs

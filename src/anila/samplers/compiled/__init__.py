"""Compiled steps: C++ for small nets on a CPU (`lanes`), TorchInductor's graphs for the rest (`graphs`).

All of it is imported when first asked for: it stands on parts of torch that may change (`torch_internals`).
"""

import sys
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


def graphs_of(
    step: Callable[..., Any], state: Any, draw_noise: Callable[[], Any], unasked: bool = False, look: bool = False
) -> "Graphs | None":
    """The compiled steps of a kernel from states like this, made once; None, said in a warning, where there are none.

    Args:
        step: Of the kernel.
        state: Its state.
        draw_noise: Noise of one step, to trace it with.
        unasked: Take C++ or nothing, and say nothing.
        look: Whether steps made before are compared with f as it is now, which may read other numbers.
    """
    found = compiler()
    return found.graphs_of(step, state, draw_noise, unasked, look) if found else None


def is_compiled(step: Callable[..., Any], state: Any) -> bool:
    """Whether a kernel's steps from states like this were compiled in this process."""
    graphs = sys.modules.get(f"{__name__}.graphs")
    return graphs is not None and graphs.GRAPHS.get(step, {}).get(graphs.key_of(state)) is not None


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

"""Compiled steps: C++ for small nets on a CPU (`lanes`), TorchInductor's graphs for the rest (`graphs`).

All of it is imported only when first needed, as it depends on parts of torch that may change (`torch_internals`).
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
"""The versions of torch on which compiling steps was tested."""


def graphs_of(
    step: Callable[..., Any], state: Any, draw_noise: Callable[[], Any], unasked: bool = False, look: bool = False
) -> "Graphs | None":
    """The compiled steps of a kernel from states like this, made once; None, with a warning, if there are none.

    Args:
        step: The kernel's step.
        state: A state of it.
        draw_noise: Draws the noise of one step, to trace it with.
        unasked: Whether nobody asked to compile; then only C++ is returned, and there is no warning.
        look: Whether to compare steps compiled earlier with f as it is now, as numbers that it reads may have changed.
    """
    found = compiler()
    return found.graphs_of(step, state, draw_noise, unasked, look) if found else None


def is_compiled(step: Callable[..., Any], state: Any) -> bool:
    """Whether a kernel's steps from states like this were compiled in this process."""
    graphs = sys.modules.get(f"{__name__}.graphs")
    return graphs is not None and graphs.GRAPHS.get(step, {}).get(graphs.key_of(state)) is not None


@cache
def compiler() -> ModuleType | None:
    """The module that compiles; None, with one warning per process, if torch lacks a part that it needs."""
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

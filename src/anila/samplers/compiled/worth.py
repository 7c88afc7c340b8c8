"""Worth: whether compiling steps pays within a run. Calls are counted, not timed, so the same run is always made the
same way.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

A_CALL, COMPILED = 7e-6, 1e-2
"""Seconds per torch function that a step calls, with its part in ∇f: to run it uncompiled, and to compile it."""
LOADED = 2.0
"""Seconds to load the tracer and start the C++ compiler (docs/speed.md)."""
TIMES = 2.0
"""Compiling pays if the uncompiled run would take this many times as long as compiling."""


def pays(step: Callable[..., Any], state: Any, draw_noise: Callable[[], Any], steps: int) -> bool:
    """Whether `steps` steps of chains on a CPU would take more than twice as long uncompiled as compiling takes."""
    if steps * A_CALL <= TIMES * COMPILED or state.x.device.type != "cpu":
        return False
    noise = draw_noise()
    if any(not isinstance(field, Tensor) for field in noise):
        return False
    with torch.random.fork_rng(devices=[]), Calls() as calls:
        step(state, noise)
    return steps * calls.made * A_CALL > TIMES * (LOADED + calls.made * COMPILED)


class Calls(TorchFunctionMode):
    """Counts the calls of torch functions inside."""

    def __init__(self):
        super().__init__()
        self.made = 0

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        self.made += 1
        return func(*args, **(kwargs or {}))

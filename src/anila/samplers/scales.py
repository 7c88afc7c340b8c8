"""The step γ of each coordinate as a function of the gradient there: constant, or smaller where f is steep.

A scale has no memory: γ(z) depends on ∇f(z) only. A Metropolis kernel needs this, since γ of the reverse proposal must
be known at the proposed point, whatever path led there.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Number = float | Tensor
"""A setting; a 0-dimensional tensor if it changes between calls of a compiled kernel."""
Scale = Callable[[Tensor], Tensor]
"""γ: gradient (chains, *event) -> step of each coordinate (chains, *event), positive."""


def constant(step_size: Number) -> Scale:
    """γ = step_size."""
    require_positive("step_size", step_size)
    return lambda grad: torch.ones_like(grad) * step_size


def threshold(b: Number, step_size: Number = 1.0) -> Scale:
    """γ = step_size · b / max(b, |∂f|): per chain and per coordinate, in (0, step_size].

    Karimi, Xie & Li 2023 (STANLEY), Algorithm 1 with step_size = 1. Then γ ∂f = step_size · clip(∂f, −b, b).
    """
    require_positive("threshold", b)
    if math.isinf(b):
        return constant(step_size)
    require_positive("step_size", step_size)
    return lambda grad: step_size * b / grad.abs().clamp(min=b)


def require_positive(name: str, value: Number) -> None:
    """Refuse step sizes and thresholds that are not positive numbers."""
    if not is_number(value) or not value > 0 or (name == "step_size" and math.isinf(value)):
        raise ValueError(f"{name} must be a positive number; got {value!r}")


def is_number(value: object) -> bool:
    """Whether this is a single number, of Python, NumPy or torch."""
    return value.ndim == 0 if isinstance(value, Tensor) else isinstance(value, float | int | np.floating | np.integer)

"""float32 or bf16: bf16 is faster on processors that have instructions for it, and several times slower on others."""

import time

from torch import Tensor, nn

from anila.density.precision import Precision
from anila.learning.chains import frozen
from anila.rng import rng
from anila.samplers import langevin, sample

STEPS = 5


def quickest(f: nn.Module, x: Tensor) -> Precision | None:
    """What rounds ∇f so that chains from x take the least CPU time here; None is float32."""
    kinds: tuple[Precision | None, ...] = (None, "bf16")
    with frozen(f):
        return min(kinds, key=lambda precision: seconds(f, x, precision))


def seconds(f: nn.Module, x: Tensor, precision: Precision | None) -> float:
    """Of some transitions, after a first one."""
    kernel = langevin(f, 1e-3)
    sample(kernel, x, 1, rng(0), precision=precision)
    begun = time.process_time()
    sample(kernel, x, STEPS, rng(0), precision=precision)
    return time.process_time() - begun

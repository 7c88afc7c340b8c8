"""Samplers: Markov kernels bound to one f. Each constructor is one line of maths."""

from collections.abc import Callable

from anila.samplers.base import Info, Noise, Sampler, Trace, sample
from anila.samplers.global_moves import Proposal, kernel_density, with_global_moves
from anila.samplers.langevin import anisotropic, anisotropic_mala, descent, langevin, mala

SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "langevin": langevin,
    "anisotropic": anisotropic,
    "mala": mala,
    "anisotropic_mala": anisotropic_mala,
    "descent": descent,
}
"""Name -> constructor. The contract tests, the command line and the benchmarks run over this table."""

__all__ = [
    "SAMPLERS", "Info", "Noise", "Proposal", "Sampler", "Trace", "anisotropic", "anisotropic_mala", "descent",
    "kernel_density", "langevin", "mala", "sample", "with_global_moves",
]  # fmt: skip

"""Samplers: Markov kernels bound to one f. Each constructor is one line of maths."""

from collections.abc import Callable

from anila.samplers.annealed import sample_annealed
from anila.samplers.barker import barker
from anila.samplers.corrected import anisotropic_corrected
from anila.samplers.ghmc import anisotropic_ghmc, ghmc
from anila.samplers.global_moves import Proposal, kernel_density, with_global_moves
from anila.samplers.hmc import hmc
from anila.samplers.kernel import Info, Noise, Sampler
from anila.samplers.langevin import anisotropic, anisotropic_mala, descent, langevin, mala
from anila.samplers.mixture import mixture
from anila.samplers.replica import replica_exchange
from anila.samplers.sample import sample
from anila.samplers.trace import Trace

SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "langevin": langevin,
    "anisotropic": anisotropic,
    "anisotropic_corrected": anisotropic_corrected,
    "mala": mala,
    "anisotropic_mala": anisotropic_mala,
    "barker": barker,
    "hmc": hmc,
    "ghmc": ghmc,
    "anisotropic_ghmc": anisotropic_ghmc,
    "descent": descent,
}
"""Name -> constructor. The contract tests, the command line and the benchmarks run over this table."""

__all__ = [
    "SAMPLERS", "Info", "Noise", "Proposal", "Sampler", "Trace", "anisotropic", "anisotropic_corrected",
    "anisotropic_ghmc", "anisotropic_mala", "barker", "descent", "ghmc", "hmc", "kernel_density", "langevin", "mala",
    "mixture", "replica_exchange", "sample", "sample_annealed", "with_global_moves",
]  # fmt: skip

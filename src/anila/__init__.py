"""Anila: train, sample and judge energy-based models.

An energy-based model is a function f from points to numbers, p(x) = exp f(x) / Z. A sampler moves points along f; a
learner moves f along points. Names are imported on first use, so `import anila` is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from anila.rng import rng  # a module of this name is there too: whoever imports it last must not win

if TYPE_CHECKING:
    from anila.density.check import check_log_density
    from anila.density.log_density import (
        LogDensity,
        from_energy,
        from_jax,
        from_numpy,
        gradient,
        value_and_grad,
    )
    from anila.density.transform import Transformed, transform
    from anila.learning.learner import Learner
    from anila.learning.objectives import (
        OBJECTIVES,
        Contrast,
        Objective,
        classes,
        denoising,
        likelihood,
        recovery,
        transport,
    )
    from anila.learning.starts import FromData, FromNoise, Persistent, Replay
    from anila.runs.model.export import load
    from anila.runs.model.model import Model
    from anila.samplers import (
        SAMPLERS,
        Info,
        Noise,
        Sampler,
        anisotropic,
        anisotropic_corrected,
        anisotropic_ghmc,
        anisotropic_mala,
        barker,
        descent,
        ghmc,
        hmc,
        kernel_density,
        langevin,
        mala,
        mixture,
        replica_exchange,
        sample,
        sample_annealed,
        with_global_moves,
    )
    from anila.samplers.warm_up import Tuned, tune

WHERE = {
    "anila.density.check": ("check_log_density",),
    "anila.density.log_density": ("LogDensity", "from_energy", "from_jax", "from_numpy", "gradient", "value_and_grad"),
    "anila.density.transform": ("Transformed", "transform"),
    "anila.samplers": (
        "SAMPLERS", "Info", "Noise", "Sampler", "anisotropic", "anisotropic_corrected", "anisotropic_ghmc",
        "anisotropic_mala", "barker", "descent", "ghmc", "hmc", "kernel_density", "langevin", "mala", "mixture",
        "replica_exchange", "sample", "sample_annealed", "with_global_moves",
    ),
    "anila.samplers.warm_up": ("Tuned", "tune"),
    "anila.learning.starts": ("FromData", "FromNoise", "Persistent", "Replay"),
    "anila.learning.learner": ("Learner",),
    "anila.learning.objectives": (
        "OBJECTIVES", "Contrast", "Objective", "classes", "denoising", "likelihood", "recovery", "transport",
    ),
    "anila.runs.model.model": ("Model",),
    "anila.runs.model.export": ("load",),
}  # fmt: skip
MODULE_OF = {name: module for module, names in WHERE.items() for name in names}

__all__ = [
    "OBJECTIVES", "SAMPLERS", "Contrast", "FromData", "FromNoise", "Info", "Learner", "LogDensity", "Model", "Noise",
    "Objective", "Persistent", "Replay", "Sampler", "Transformed", "Tuned", "anisotropic", "anisotropic_corrected",
    "anisotropic_ghmc", "anisotropic_mala", "barker", "check_log_density", "classes", "denoising", "descent",
    "from_energy", "from_jax", "from_numpy", "ghmc", "gradient", "hmc", "kernel_density", "langevin", "likelihood",
    "load", "mala", "mixture", "recovery", "replica_exchange", "rng", "sample", "sample_annealed", "transform",
    "transport", "tune", "value_and_grad", "with_global_moves",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in MODULE_OF:
        raise AttributeError(f"module 'anila' has no attribute {name!r}")
    return getattr(import_module(MODULE_OF[name]), name)

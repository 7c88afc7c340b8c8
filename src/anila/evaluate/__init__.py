"""How good a model and its samples are: exact by grid in the plane, pure functions of arrays everywhere."""

from anila.evaluate.coverage import Support, support
from anila.evaluate.features import Extractor, anila_features
from anila.evaluate.frechet import Moments, frechet_distance
from anila.evaluate.inception import inception
from anila.evaluate.kernels import (
    KernelDistance,
    cubic_kernel,
    gaussian_kernel,
    kernel_distance,
    median_distance,
    mmd_squared,
)
from anila.evaluate.ladder import Base, Ladder, find_ladder
from anila.evaluate.likelihood import Likelihood, LogZ, bits_per_dim, dequantised, estimate_log_z, log_likelihood
from anila.evaluate.metrics import (
    mode_mass,
    nearest,
    ring_mass,
    sliced_wasserstein2,
    total_variation_from_equal,
    wasserstein2,
)
from anila.evaluate.plane import Grid, density, kl, log_z

__all__ = [
    "Base", "Extractor", "Grid", "KernelDistance", "Ladder", "Likelihood", "LogZ", "Moments", "Support",
    "anila_features", "bits_per_dim", "cubic_kernel", "density", "dequantised", "estimate_log_z", "find_ladder",
    "frechet_distance", "gaussian_kernel", "inception", "kernel_distance", "kl", "log_likelihood", "log_z",
    "median_distance", "mmd_squared", "mode_mass", "nearest", "ring_mass", "sliced_wasserstein2", "support",
    "total_variation_from_equal", "wasserstein2",
]  # fmt: skip

"""How good samples are: distances, coverage and mode masses, as pure functions of arrays."""

from anila.evaluation.samples.coarse import coarse_distance
from anila.evaluation.samples.coverage import Support, support
from anila.evaluation.samples.features import Extractor, anila_features
from anila.evaluation.samples.frechet import Moments, frechet_distance
from anila.evaluation.samples.inception import inception
from anila.evaluation.samples.judged import Judged, judged
from anila.evaluation.samples.metrics import (
    mode_mass,
    nearest,
    ring_mass,
    sliced_wasserstein2,
    total_variation_from_equal,
    wasserstein2,
)
from anila.evaluation.samples.mmd import (
    KernelDistance,
    cubic_kernel,
    gaussian_kernel,
    kernel_distance,
    median_distance,
    mmd_of_few,
    mmd_squared,
)
from anila.evaluation.samples.two_samples import Difference, Differences, two_samples

__all__ = [
    "Difference",
    "Differences",
    "Extractor",
    "Judged",
    "KernelDistance",
    "Moments",
    "Support",
    "anila_features",
    "coarse_distance",
    "cubic_kernel",
    "frechet_distance",
    "gaussian_kernel",
    "inception",
    "judged",
    "kernel_distance",
    "median_distance",
    "mmd_of_few",
    "mmd_squared",
    "mode_mass",
    "nearest",
    "ring_mass",
    "sliced_wasserstein2",
    "support",
    "total_variation_from_equal",
    "two_samples",
    "wasserstein2",
]

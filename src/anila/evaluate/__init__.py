"""How good a model and its samples are: exact by grid in the plane, pure functions of arrays everywhere."""

from anila.evaluate.metrics import mode_mass, nearest, ring_mass, total_variation_from_equal, wasserstein2
from anila.evaluate.plane import Grid, density, kl, log_z

__all__ = [
    "Grid",
    "density",
    "kl",
    "log_z",
    "mode_mass",
    "nearest",
    "ring_mass",
    "total_variation_from_equal",
    "wasserstein2",
]

"""Likelihood: log Z on a grid of the plane, and along an annealing path everywhere else."""

from anila.evaluation.likelihood.annealing import AnnealingPath, Base, find_path
from anila.evaluation.likelihood.estimate import (
    Likelihood,
    LogZ,
    bits_per_dim,
    dequantised,
    estimate_log_z,
    log_likelihood,
)
from anila.evaluation.likelihood.grid import Grid, density, kl, log_z

__all__ = [
    "AnnealingPath",
    "Base",
    "Grid",
    "Likelihood",
    "LogZ",
    "bits_per_dim",
    "density",
    "dequantised",
    "estimate_log_z",
    "find_path",
    "kl",
    "log_likelihood",
    "log_z",
]

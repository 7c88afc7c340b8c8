"""What laws are measured against: distances from a CDF, stationary laws of kernels, planted faults."""

import inspect
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import jaxtyping
import numpy as np
import torch
from torch import Tensor


def dkw_limit(n: int, level: float = 1e-6) -> float:
    """sup |F_n − F| of n draws from F is above this with probability `level` at most (Massart 1990)."""
    return math.sqrt(math.log(2 / level) / (2 * n))


def distance(u: Any) -> float:
    """sup |F_n − F| of draws x over the DKW limit, given u = F(x): above 1 the draws are not from F."""
    u = np.sort(np.asarray(u, dtype=np.float64))
    n = len(u)
    ranks = np.arange(n + 1) / n
    return float(max(np.abs(u - ranks[:-1]).max(), np.abs(ranks[1:] - u).max()) / dkw_limit(n))


def distance_at(edges: np.ndarray, cdf: np.ndarray, x: Tensor) -> float:
    """The same for an F known at some points only."""
    below = np.searchsorted(np.sort(x.double().numpy()), edges, side="right") / len(x)
    return float(np.abs(below - cdf).max() / dkw_limit(len(x)))


def stationary(mean: np.ndarray, sd: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Stationary weights, on a uniform grid, of the kernel x' ~ N(mean(x), sd(x)²): π solves π = π P."""
    kernel = np.exp(-0.5 * ((grid[None, :] - mean[:, None]) / sd[:, None]) ** 2)
    kernel /= kernel.sum(1, keepdims=True)
    equations = kernel.T - np.eye(len(grid))
    equations[-1] = 1
    return np.linalg.solve(equations, np.eye(len(grid))[-1])


def moments(weights: np.ndarray, grid: np.ndarray) -> tuple[float, float]:
    """Variance and kurtosis of weights on a grid."""
    centred = grid - weights @ grid
    variance = weights @ centred**2
    return float(variance), float(weights @ centred**4 / variance**2)


def mutant(module: str, old: str, new: str) -> Any:
    """The module with one piece of its source replaced: a planted fault."""
    source = inspect.getsource(sys.modules[module])
    assert source.count(old) == 1, f"{old!r} is in {module} {source.count(old)} times: bring the fault up to date"
    broken = ModuleType(f"{module} with a fault")
    exec(source.replace(old, new), broken.__dict__)
    return broken


def cell_cdf(f: Callable[[Tensor], Tensor], edges: list[np.ndarray]) -> tuple[float, list[np.ndarray]]:
    """log ∫ exp f, and the marginal CDFs at all edges but the first: midpoint rule on a box of cells."""
    middles = [torch.from_numpy((e[1:] + e[:-1]) / 2) for e in edges]
    widths = [float(e[1] - e[0]) for e in edges]
    value = f(torch.cartesian_prod(*middles).view(-1, len(edges))).view([len(m) for m in middles]).numpy()
    weights = np.exp(value - value.max())
    log_z = math.log(weights.sum()) + value.max() + sum(math.log(w) for w in widths)
    weights /= weights.sum()
    axes = range(len(edges))
    return float(log_z), [weights.sum(tuple(a for a in axes if a != i)).cumsum() for i in axes]


@contextmanager
def as_users_run_it() -> Iterator[None]:
    """The type checks of the test suite switched off, so that anila's own refusals are reached, at a user's speed."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)

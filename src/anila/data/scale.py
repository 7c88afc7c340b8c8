"""The scale of a column: its mean and standard deviation, robust against single cells."""

import numpy as np
from jaxtyping import Float64

FAR = 1e4
"""Cells this many times farther from the median than 90% of those that differ from it are left out of the scale."""

LARGEST = float(np.finfo(np.float64).max / 4)
"""Cells are clipped at this size, so that a difference of two is finite."""


def bounded(x: Float64[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
    return np.clip(x, -LARGEST, LARGEST)


def mean_and_sd(cells: Float64[np.ndarray, "n"]) -> tuple[float, float]:
    """Mean and standard deviation of a column without the cells that are `FAR` out; sd 0 if it is constant.

    >>> mean_and_sd(np.array([1.0, 3.0, 1.0, 3.0, -1e300]))
    (2.0, 1.0)
    """
    if not len(cells):
        return 0.0, 0.0
    median = float(np.quantile(cells, 0.5, method="lower"))
    away = cells - median
    distance = np.abs(away)
    if not distance.any():
        return median, 0.0
    usual = float(np.quantile(distance[distance > 0], 0.9, method="lower"))
    near = away[distance <= FAR * usual] / usual
    return median + usual * float(near.mean()), usual * float(near.std())

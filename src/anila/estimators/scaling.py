"""The scale of a column: its mean and standard deviation, whatever single cells hold."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

FAR = 1e4
"""Cells so many times as far from the median as 90% of those that differ from it do not make the scale."""

LARGEST = np.finfo(np.float64).max / 4
"""Cells count as at most that large: then a difference of two is finite."""


class Scaling(NamedTuple):
    """z = (x − mean)/sd, a column each."""

    mean: Float64[np.ndarray, "d"]
    sd: Float64[np.ndarray, "d"]

    @classmethod
    def of(cls, x: Float64[np.ndarray, "n d"]) -> "Scaling":
        """The scaling of a table with missing (NaN), infinite and constant (sd 1) columns and cells."""
        found = np.array([mean_and_sd(column[~np.isnan(column)]) for column in bounded(x).T])
        return cls(found[:, 0], found[:, 1])

    def inward(self, x: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "n d"]:
        """The rows in standard deviations; NaN stays."""
        with np.errstate(over="ignore"):
            return bounded((bounded(x) - self.mean) / self.sd) + 0.0  # −0 becomes 0: equal rows are equal in bytes

    def outward(self, z: Float64[np.ndarray, "*n d"]) -> Float64[np.ndarray, "*n d"]:
        """The rows in their own units."""
        return self.mean + self.sd * z


def bounded(x: Float64[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
    return np.clip(x, -LARGEST, LARGEST)


def mean_and_sd(cells: Float64[np.ndarray, "n"]) -> tuple[float, float]:
    """Mean and standard deviation of a column without the cells that are `FAR` out; 1 where nothing varies.

    >>> mean_and_sd(np.array([1.0, 3.0, 1.0, 3.0, -1e300]))
    (2.0, 1.0)
    """
    if not len(cells):
        return 0.0, 1.0
    median = float(np.quantile(cells, 0.5, method="lower"))
    away = cells - median
    distance = np.abs(away)
    if not distance.any():
        return median, 1.0
    usual = float(np.quantile(distance[distance > 0], 0.9, method="lower"))
    near = away[distance <= FAR * usual] / usual
    return median + usual * float(near.mean()), usual * float(near.std()) or 1.0

"""Precision, recall, density and coverage: do samples lie where data lie, and do they reach all of it?

Each row has a ball that reaches to its k-th nearest other row of the same set. With these balls,

    precision = share of samples in some ball of the data           recall = share of data in some ball of the samples
    density   = mean over samples of (balls of the data it is in)/k  coverage = share of data whose ball holds a sample

Precision and density fall when samples are wrong, recall and coverage when modes are missing. Density may exceed 1.
For equal laws and sizes density is 1 and coverage 1 − 2^(−k) in expectation, whatever the law; precision and recall
depend on it.

**Where they mislead.** One outlier among the rows gets a ball that holds everything between it and the others: it
raises precision (if it is data) or recall (if it is a sample). Density and coverage are built on the data's balls
only, and hold better. In many dimensions distances are alike, so measure features, at equal sample sizes.

References: Kynkäänniemi et al. 2019, eq. 1-2 (precision, recall); Naeem et al. 2020, eq. 3-5 (density, coverage).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from anila.evaluation.samples.metrics import distances

CHUNK = 1024
"""Rows of a distance matrix that are in memory at a time."""


class Support(NamedTuple):
    """Four shares; only density may exceed 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def support(x_data: Float[Tensor, "n *event"], x_model: Float[Tensor, "m *event"], neighbours: int = 5) -> Support:
    """To what extent samples lie where data lie (precision, density) and reach all of it (recall, coverage).

    Args:
        x_data: Points or features of data, (n, *event).
        x_model: Points or features of samples, (m, *event).
        neighbours: k. Kynkäänniemi et al. take 3 for precision and recall, Naeem et al. 5 for density and coverage.

    Raises:
        ValueError: If neighbours is not between 1 and the rows of the smaller set minus one, or a row is not finite.

    >>> x = torch.arange(8.0)[:, None]
    >>> support(x, x[:4] + 0.1, neighbours=1)
    Support(precision=1.0, recall=0.625, density=2.0, coverage=0.625)
    """
    if not 1 <= neighbours < min(len(x_data), len(x_model)):
        raise ValueError(
            f"neighbours must be at least 1 and below the rows of either set; got {neighbours} for {len(x_data)} rows "
            f"of data and {len(x_model)} samples"
        )
    data_radius, model_radius = radii(x_data, neighbours), radii(x_model, neighbours)
    recalled, covered, holds = [], [], torch.zeros(len(x_model), dtype=torch.float64, device=x_model.device)
    for x, radius in zip(x_data.split(CHUNK), data_radius.split(CHUNK), strict=True):
        distance = distances(x, x_model)
        inside = distance <= radius[:, None]
        holds += inside.sum(0)
        covered.append(inside.any(1))
        recalled.append((distance <= model_radius).any(1))
    return Support(
        precision=share(holds > 0),
        recall=share(torch.cat(recalled)),
        density=float(holds.mean()) / neighbours,
        coverage=share(torch.cat(covered)),
    )


def radii(x: Float[Tensor, "n *event"], neighbours: int) -> Float[Tensor, "n"]:
    """Distance of each row from its k-th nearest other row."""
    return torch.cat([distances(part, x).kthvalue(neighbours + 1, dim=1).values for part in x.split(CHUNK)])


def share(true: Tensor) -> float:
    return float(true.double().mean())

"""Stationarity bias: the law that a kernel samples, compared with exp f.

In one dimension the law is computed without randomness, π = πP on a grid, and compared in total variation. For any
target, exact draws take steps of the kernel: if it leaves exp f invariant, they remain exact draws. The distance of two
empirical CDFs of n and m draws, along each of p projections, obeys (Dvoretzky, Kiefer & Wolfowitz; Massart 1990)

    P(sup |F_n − G_m| > ε_n + ε_m) ≤ level under one law,     ε_n = √(log(4p / level) / (2n))

and a law whose CDF is off by more than 2 (ε_n + ε_m) along a projection is found with probability 1 − level at least.
Both errors are stated with the answer.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import LogDensity, value_and_grad
from anila.evaluation.chains.exact_grid import lattice, stationary, total_variation, transition, weights
from anila.rng import normal
from anila.samplers import Sampler, sample
from anila.samplers.estimates import evenly

DIRECTIONS = 8
"""Number of random directions that are compared, besides f and the coordinates."""
COORDINATES = 16
"""Largest number of coordinates that are compared, evenly spaced."""


@dataclass(frozen=True)
class StationarityBias:
    """The stationary law of a kernel in one dimension, and exp f."""

    x: Float[Tensor, "n"]
    law: Float[Tensor, "n"]
    """Weights of the kernel's law on the cells around x, summing to 1."""
    target: Float[Tensor, "n"]
    """The weights of exp f on them."""

    @property
    def total_variation(self) -> float:
        """½ Σ |law − target|, in [0, 1]."""
        return total_variation(self.law, self.target)

    def variance(self) -> tuple[float, float]:
        """Variance under the kernel's law, and under exp f, in units of x²."""
        return variance_of(self.law, self.x), variance_of(self.target, self.x)


def stationarity_bias(sampler: Sampler, f: LogDensity, low: float, high: float, side: int = 801) -> StationarityBias:
    """The law that a one-dimensional kernel samples, exact up to the grid.

    Args:
        sampler: A kernel of the Langevin family bound to f.
        f: Log-density, (n, 1) -> (n,).
        low: Where the grid begins; the mass outside should be negligible under both laws.
        high: Where it ends.
        side: Number of cells.

    Raises:
        ValueError: If the kernel's steps are shorter than a cell, or it has no normal proposal.
    """
    points, volume = lattice(low, high, side)
    law = stationary(transition(sampler, f, points, volume))
    return StationarityBias(points[:, 0], law, weights(value_and_grad(f, points)[0]))


@dataclass(frozen=True)
class Drift:
    """How far a kernel moved exact draws away from exp f."""

    distance: dict[str, float]
    """Projection -> sup |F_n − G_m| between the moved draws and the reference."""
    limit: float
    """A kernel that leaves exp f invariant exceeds this with probability at most `level`."""
    detectable: float
    """A law whose CDF is off by more along a projection is found with probability at least 1 − level."""
    level: float
    steps: int

    @property
    def found(self) -> bool:
        """Whether the kernel was found not to leave exp f invariant."""
        return max(self.distance.values()) > self.limit

    @property
    def largest(self) -> tuple[str, float]:
        """The projection that moved most, and how far."""
        name = max(self.distance, key=lambda key: self.distance[key])
        return name, self.distance[name]


def drift(
    sampler: Sampler,
    f: LogDensity,
    x0: Float[Tensor, "n *event"],
    reference: Float[Tensor, "m *event"],
    steps: int,
    generator: torch.Generator,
    level: float = 1e-3,
) -> Drift:
    """Start from draws of exp f, take steps, and compare with other draws of exp f.

    Args:
        sampler: The kernel.
        f: Log-density, (n, *event) -> (n,).
        x0: Independent draws of exp f, exact ones or ends of long Metropolis chains, (n, *event).
        reference: More draws of exp f, independent of x0, (m, *event).
        steps: Transitions; a bias grows to its full size as the chains mix.
        generator: Source of the chains' noise and of the projections.
        level: Probability of either error, in (0, 1).

    Raises:
        ValueError: If level is not in (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"expected a level in (0, 1); got {level}")
    directions = random_directions(x0, generator)
    moved = projections(f, sample(sampler, x0, steps, generator)[0], directions)
    still = projections(f, reference, directions)
    limit = sum(math.sqrt(math.log(4 * len(moved) / level) / (2 * len(x))) for x in (x0, reference))
    distance = {name: cdf_distance(moved[name], still[name]) for name in moved}
    return Drift(distance, limit, 2 * limit, level, steps)


def random_directions(x: Tensor, generator: torch.Generator) -> Float[Tensor, "d directions"]:
    d = x[0].numel()
    directions = normal((d, DIRECTIONS if d > 1 else 0), x, generator)
    return directions / directions.norm(dim=0)


def projections(f: LogDensity, x: Tensor, directions: Tensor) -> dict[str, Float[Tensor, "n"]]:
    """f, coordinates and random directions: the projections on which draws are compared."""
    flat = x.flatten(1)
    along = flat @ directions
    with torch.no_grad():
        found = {"f": f(x)} | {f"x{i}": flat[:, i] for i in evenly(flat.shape[1], COORDINATES).tolist()}
    return found | {f"direction {k}": along[:, k] for k in range(along.shape[1])}


def cdf_distance(x: Float[Tensor, "n"], y: Float[Tensor, "m"]) -> float:
    """sup |F_n − G_m| of two samples.

    >>> cdf_distance(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 3.0]))
    0.5
    """
    x, y = x.sort()[0], y.sort()[0]
    at = torch.cat([x, y])
    below_x, below_y = (torch.searchsorted(s, at, right=True).double() / len(s) for s in (x, y))
    return (below_x - below_y).abs().max().item()


def variance_of(law: Tensor, x: Tensor) -> float:
    return (law @ (x - law @ x).square()).item()

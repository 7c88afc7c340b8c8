"""A kernel on a grid: its transition matrix, its stationary law, and its rate of convergence, without randomness.

On n equal cells of volume h around points xᵢ, a kernel that proposes y = m(x) + s(x) ξ, ξ ~ N(0, I), and accepts with
probability a(x, y) is the matrix

    P_ij = h N(x_j; m(x_i), diag s(x_i)²) a(x_i, x_j),  j ≠ i,     P_ii = 1 − Σ_{j≠i} P_ij

m, s and a are read off the kernel's own step, with noise that puts the proposal on a chosen point. A Metropolis matrix
satisfies detailed balance with exp f at the points exactly. If s is no smaller than the side of a cell, the sum over
cells equals the integral to within exp(−2π²) = 3e-9 (Trefethen & Weideman 2014).
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import LogDensity, value_and_grad
from anila.rng import rng
from anila.samplers import Noise, Sampler

PAIRS = 1 << 17
"""Number of pairs of points whose acceptance is computed at a time."""
EMPTY = 1e-6
"""Cells with less than this share of the largest cell's mass count as empty."""
ALWAYS = -1.0
"""A uniform that is below every acceptance probability."""
NORMAL = "a matrix on a grid needs a normal proposal y = m + s ξ with a noise of one kind: use a Langevin kernel"


def lattice(low: float, high: float, side: int, dim: int = 1) -> tuple[Float[Tensor, "n d"], float]:
    """Centres of side^dim equal cells on [low, high]^dim, float64, and the volume of a cell.

    >>> points, volume = lattice(-1.0, 1.0, 2)
    >>> points.tolist(), volume
    ([[-0.5], [0.5]], 1.0)
    """
    width = (high - low) / side
    axis = low + width * (torch.arange(side, dtype=torch.float64, device="cpu") + 0.5)
    return torch.cartesian_prod(*[axis] * dim).view(-1, dim), width**dim


def transition(sampler: Sampler, f: LogDensity, points: Float[Tensor, "n d"], volume: float) -> Float[Tensor, "n n"]:
    """The kernel's matrix on the points of a `lattice`; rows sum to 1.

    Args:
        sampler: A kernel whose proposal is normal with independent coordinates: the Langevin family.
        f: The log-density to which it is bound, (n, d) -> (n,).
        points: Centres of the cells, (n, d), float64.
        volume: Volume of a cell, in units of x^d.

    Raises:
        ValueError: If the kernel has no such proposal, or its steps are shorter than a cell where there is mass.
    """
    state = sampler.init(points)
    mean, sd = proposal_of(sampler, state, points)
    require_fine(sd, weights(value_and_grad(f, points)[0]), volume ** (1 / points.shape[1]))
    rows = max(1, PAIRS // len(points))
    parts = [part(sampler, state, i, points, mean, sd, volume) for i in torch.arange(len(points)).split(rows)]
    matrix = torch.cat(parts)
    matrix.fill_diagonal_(0.0)
    matrix /= matrix.sum(1, keepdim=True).clamp(min=1)  # only where there is no mass may steps be shorter than a cell
    return matrix + torch.diag(1 - matrix.sum(1))


def proposal_of(sampler: Sampler, state: Any, points: Tensor) -> tuple[Tensor, Tensor]:
    """m and s of y = m + s ξ, read off steps with ξ = −1, 0 and 1 that are always accepted."""
    if not isinstance(sampler.draw_noise(points[:1], rng(0, "grid")), Noise):
        raise ValueError(NORMAL)
    uniform = points.new_full((len(points),), ALWAYS)
    below, mean, above = (
        sampler.step(state, Noise(torch.full_like(points, xi), uniform))[0].x for xi in (-1.0, 0.0, 1.0)
    )
    sd = above - mean
    if not torch.allclose(mean - below, sd) or not bool((sd > 0).all()):
        raise ValueError(NORMAL)
    return mean, sd


def require_fine(sd: Tensor, mass: Tensor, cell: float) -> None:
    """Refuse cells that are wider than the shortest proposal in a region with mass."""
    shortest = sd[mass > EMPTY * mass.max()].min().item()
    if shortest < 0.9 * cell:
        raise ValueError(
            f"the shortest proposal has standard deviation {shortest:.3g}, less than a cell of {cell:.3g}: "
            "take more points or a smaller box"
        )


def part(
    sampler: Sampler, state: Any, index: Tensor, points: Tensor, mean: Tensor, sd: Tensor, volume: float
) -> Tensor:
    """Rows of the matrix: density of the proposal times acceptance, (len(index), n)."""
    n, d = points.shape
    xi = (points[None] - mean[index, None]) / sd[index, None]
    leaving = type(state)(*(None if t is None else t[index.repeat_interleave(n)] for t in state))
    noise = Noise(xi.reshape(-1, d), points.new_full((len(index) * n,), ALWAYS))
    accept = sampler.step(leaving, noise)[1].accept_prob.view(-1, n)
    log_q = -(xi.square() / 2 + sd[index, None].log()).sum(2) - d / 2 * math.log(2 * math.pi)
    return volume * log_q.exp() * accept


def stationary(matrix: Float[Tensor, "n n"]) -> Float[Tensor, "n"]:
    """The law π = π P: one linear solve with Σ π = 1 in place of the last equation."""
    equations = matrix.T - torch.eye(len(matrix)).to(matrix)
    equations[-1] = 1
    right = matrix.new_zeros(len(matrix))
    right[-1] = 1
    return torch.linalg.solve(equations, right)


def weights(value: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """exp f at the points, summing to 1."""
    return value.double().softmax(0)


def total_variation(p: Float[Tensor, "n"], q: Float[Tensor, "n"]) -> float:
    """½ Σ |p − q|: the largest difference of probability over all events.

    >>> total_variation(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]))
    0.5
    """
    return (p - q).abs().sum().item() / 2


def decay(
    matrix: Float[Tensor, "n n"], start: Float[Tensor, "n"], target: Float[Tensor, "n"], steps: int
) -> Float[Tensor, "steps1"]:
    """Total variation between start · Pᵏ and the target for k = 0 .. steps, (steps + 1,)."""
    law, distances = start, [total_variation(start, target)]
    for _ in range(steps):
        law = law @ matrix
        distances.append(total_variation(law, target))
    return torch.tensor(distances, dtype=torch.float64)

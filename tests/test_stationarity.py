"""The law a kernel samples, found on a grid and by draws, is the one it has."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from anila.density.targets import Density, banana, double_well, gaussian
from anila.evaluation.chains import (
    Drift,
    decay,
    drift,
    lattice,
    stationarity_bias,
    stationary,
    total_variation,
    transition,
)
from anila.rng import rng
from anila.samplers import Sampler, anisotropic, anisotropic_mala, barker, langevin, mala, sample
from exact import dkw_limit

WELL = double_well()


def tilted(x: Tensor) -> Tensor:
    """f = −x⁴/4 − 0.3 x² + 0.4 x."""
    return (-x.pow(4) / 4 - 0.3 * x.square() + 0.4 * x).sum(1)


@pytest.mark.parametrize(
    ("b", "step_size", "published", "within"),
    [(0.5, 0.2, 0.33, 0.01), (0.5, 0.05, 0.33, 0.01), (math.inf, 0.2, 0.025, 5e-4), (math.inf, 0.05, 0.006, 5e-4)],
)
def test_total_variation_is_as_published(b: float, step_size: float, published: float, within: float):
    """Sees another drift, noise or normalisation on the grid."""
    found = stationarity_bias(anisotropic(tilted, b, step_size), tilted, -4.0, 4.0)
    assert found.total_variation == pytest.approx(published, abs=within)


@pytest.mark.parametrize("kernel", [anisotropic_mala(tilted, 0.5, 1.0), mala(tilted, 0.3)], ids=["b", "plain"])
def test_metropolis_has_no_bias(kernel: Sampler):
    """Sees acceptance that is not in the matrix, or a diagonal without the rejections."""
    assert stationarity_bias(kernel, tilted, -4.0, 4.0).total_variation < 1e-10


def test_the_matrix_is_the_kernel():
    """Row by row: 50,000 steps of the kernel from one point have the matrix's CDF."""
    kernel = anisotropic_mala(tilted, 0.5, 1.0)
    points, volume = lattice(-4.0, 4.0, 800)
    matrix = transition(kernel, tilted, points, volume)
    assert torch.allclose(matrix.sum(1), torch.ones(800, dtype=torch.float64))
    for row in (250, 430, 600):
        x, _ = sample(kernel, points[row].repeat(50_000, 1), 1, rng(row, "noise"))
        below = torch.searchsorted(x[:, 0].sort()[0], points[:, 0] + volume / 2) / len(x)
        assert (below - matrix[row].cumsum(0)).abs().max().item() < dkw_limit(50_000) + 0.002


def test_langevin_on_a_normal_has_its_variance():
    """1/(1 − γ/4): the grid agrees with the closed form."""
    found = stationarity_bias(langevin(gaussian(), 0.4), gaussian(), -8.0, 8.0)
    assert found.variance() == pytest.approx((1 / 0.9, 1.0), rel=1e-6)


def test_decay_of_a_known_chain():
    """Langevin on N(0, 1) halves the distance of a mean at 1 − γ/2 a step: sees a start or power that is off by one."""
    points, volume = lattice(-8.0, 8.0, 400)
    matrix = transition(langevin(gaussian(), 0.4), gaussian(), points, volume)
    law = stationary(matrix)
    start = (-(points[:, 0] - 1).square() / 2).softmax(0)
    distances = decay(matrix, start, law, 30)
    assert distances[0].item() == pytest.approx(total_variation(start, law))
    assert (distances[30] / distances[20]).item() ** 0.1 == pytest.approx(0.8, abs=0.001)


def test_two_dimensions():
    """A curved target: the Metropolis matrix leaves exp f in place exactly, step by step."""
    f = banana(0.5)
    points, volume = lattice(-5.0, 6.0, 44, 2)
    matrix = transition(anisotropic_mala(f, 1.5, 0.8), f, points, volume)
    target = f(points).softmax(0)
    assert total_variation(target @ matrix, target) < 1e-6


def test_what_a_grid_cannot_hold_is_refused():
    points, volume = lattice(-4.0, 4.0, 50)
    with pytest.raises(ValueError, match="take more points"):
        transition(mala(tilted, 1e-3), tilted, points, volume)
    with pytest.raises(ValueError, match="normal proposal"):
        transition(barker(tilted, 0.5), tilted, points, volume)


def drifted(kernel: Callable[[Density], Sampler], f: Density = WELL, n: int = 20_000) -> Drift:
    draws = f.draw(2 * n, rng(0, "draws"), torch.float64)
    return drift(kernel(f), f, draws[:n], draws[n:], 20, rng(0, "noise"))


def test_exact_kernels_keep_exact_draws():
    """No false alarm, in one and more dimensions."""
    assert not drifted(lambda f: mala(f, 0.1)).found
    assert not drifted(lambda f: anisotropic_mala(f, 1.0, 1.0), banana()).found
    assert not drifted(lambda f: anisotropic_mala(f, 1.0, 1.0), gaussian(dim=30), n=2000).found


def test_a_biased_kernel_is_found():
    """Sees a statistic that misses: the printed rule moves exact draws, in every projection it should."""
    found = drifted(lambda f: anisotropic(f, 0.5, 1.0), banana())
    assert found.found
    assert found.largest[1] > 3 * found.limit
    assert drifted(lambda f: langevin(f, 0.4), gaussian(0.5)).found


def test_both_errors_are_as_stated():
    """Over 100 repetitions at level 0.05: an exact kernel is blamed less often, and a law `detectable` off is found."""
    f, n = gaussian(), 500
    alarms, misses = 0, 0
    for seed in range(100):
        x, y = (f.draw(n, rng(seed, name), torch.float64) for name in ("one", "other"))
        still = drift(langevin(f, 1e-12), f, x, y, 0, rng(seed, "noise"), level=0.05)
        alarms += still.found
        shift = 2 * torch.special.ndtri(torch.tensor(0.5 + still.detectable / 2, dtype=torch.float64))
        misses += not drift(langevin(f, 1e-12), f, x + shift, y, 0, rng(seed, "noise"), level=0.05).found
    assert alarms <= 5
    assert misses <= 5
    with pytest.raises(ValueError, match="level"):
        drift(langevin(f, 1.0), f, torch.zeros(4, 1), torch.zeros(4, 1), 1, rng(0), level=1.0)

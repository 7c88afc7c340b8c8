"""The bias of the unadjusted kernels is the predicted one: it is expected here, not tolerated.

The stationary law of a 1-D kernel is found without chance: the kernel on a grid, π = πP. Once from the
printed formulas in numpy, once from the product's own step, and a simulation of many chains says the same.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import gammainc
from torch import Tensor

from anila.rng import rng
from anila.samplers import Noise, Sampler, anisotropic, anisotropic_mala, langevin, mala, sample
from exact import distance, distance_at, moments, stationary


class Law(NamedTuple):
    """f in one dimension with its derivative written out, and a grid wide and fine enough for its chains."""

    f: Callable[[Tensor], Tensor]
    slope: Callable[[np.ndarray], np.ndarray]
    grid: np.ndarray


LAWS = {
    "normal": Law(lambda x: -x.square().sum(1) / 2, lambda x: -x, np.linspace(-7, 7, 1401)),
    "quartic": Law(lambda x: -x.pow(4).sum(1) / 4, lambda x: -(x**3), np.linspace(-5, 5, 1001)),
    "tilted": Law(
        lambda x: (-x.pow(4) / 4 - 0.3 * x.square() + 0.4 * x).sum(1),
        lambda x: -(x**3) - 0.6 * x + 0.4,
        np.linspace(-4, 4, 801),
    ),
}


@cache
def printed(law: str, b: float, step_size: float) -> np.ndarray:
    """Stationary weights of z' = z + γ/2 f'(z) + √γ ξ, γ = step_size · b / max(b, |f'(z)|), as printed."""
    grid, slope = LAWS[law].grid, LAWS[law].slope(LAWS[law].grid)
    gamma = np.full_like(grid, step_size) if math.isinf(b) else step_size * b / np.maximum(b, np.abs(slope))
    return stationary(grid + gamma / 2 * slope, np.sqrt(gamma), grid)


def of_the_product(sampler: Sampler, grid: np.ndarray) -> np.ndarray:
    """Stationary weights of the sampler's own step, whose mean and sd are read off with noise 0 and 1."""
    x = torch.from_numpy(grid)[:, None]
    uniform = torch.zeros(len(grid), dtype=torch.float64)
    mean, above = (
        sampler.step(sampler.init(x), Noise(torch.full_like(x, xi), uniform))[0].x[:, 0].numpy() for xi in (0.0, 1.0)
    )
    return stationary(mean, above - mean, grid)


def draw(weights: np.ndarray, grid: np.ndarray, n: int) -> Tensor:
    """n draws from the weights, spread over the cells of the grid."""
    generator = rng(0, "draws")
    cdf = torch.from_numpy(weights.cumsum())
    cell = torch.searchsorted(cdf, torch.rand(n, generator=generator, dtype=torch.float64)).clamp(max=len(grid) - 1)
    inside = (torch.rand(n, generator=generator, dtype=torch.float64) - 0.5) * float(grid[1] - grid[0])
    return (torch.from_numpy(grid)[cell] + inside)[:, None]


def exp_f(law: str) -> np.ndarray:
    grid = LAWS[law].grid
    weights = np.exp(LAWS[law].f(torch.from_numpy(grid)[:, None]).numpy())
    return weights / weights.sum()


def variance_ratio(weights: np.ndarray, law: str) -> float:
    """Variance of the weights over that of exp f."""
    grid = LAWS[law].grid
    return moments(weights, grid)[0] / moments(exp_f(law), grid)[0]


TABLE = [
    ("normal", 0.1, 2.322), ("normal", 1.0, 1.763), ("normal", 3.0, 1.342),
    ("quartic", 0.1, 3.108), ("quartic", 1.0, 2.123), ("quartic", 3.0, 1.631),
]  # fmt: skip
"""Law, b, and the variance under the printed rule at step_size 1, in units of the variance of exp f."""


@pytest.mark.parametrize(("law", "b", "ratio"), TABLE)
def test_the_printed_rule_has_its_stationary_variance(law: str, b: float, ratio: float):
    """Sees another γ, drift or noise: the product's kernel on the grid has the published variance."""
    weights = of_the_product(anisotropic(LAWS[law].f, b), LAWS[law].grid)
    assert variance_ratio(weights, law) == pytest.approx(ratio, abs=1e-3)
    assert np.abs(weights - printed(law, b, 1.0)).sum() < 1e-9


@pytest.mark.parametrize(("law", "b"), [row[:2] for row in TABLE])
def test_simulated_chains_stay_in_the_biased_law(law: str, b: float):
    """Sees a chain that is not the kernel on the grid: a hidden correction, a stale γ, other noise."""
    weights, grid = printed(law, b, 1.0), LAWS[law].grid
    x, _ = sample(anisotropic(LAWS[law].f, b), draw(weights, grid, 100_000), 30, rng(0, "noise"))
    assert x.var().item() == pytest.approx(moments(weights, grid)[0], rel=0.01)
    assert distance_at(grid + (grid[1] - grid[0]) / 2, weights.cumsum(), x[:, 0]) < 0.55


@pytest.mark.slow
@pytest.mark.parametrize(("law", "b"), [row[:2] for row in TABLE])
def test_chains_from_afar_arrive_at_the_biased_law(law: str, b: float):
    """Sees a second stationary law: chains from ±3 have the published variance after a while."""
    x0 = torch.tensor([-3.0, 3.0], dtype=torch.float64).repeat(50_000)[:, None]
    x, _ = sample(anisotropic(LAWS[law].f, b), x0, 600, rng(0, "noise"))
    assert x.var().item() == pytest.approx(moments(printed(law, b, 1.0), LAWS[law].grid)[0], rel=0.01)


@pytest.mark.parametrize("law", ["normal", "quartic"])
@pytest.mark.parametrize("b", [0.1, 1.0, 3.0])
def test_metropolis_removes_the_bias(law: str, b: float):
    """Sees an adjusted kernel with the unadjusted one's law, at settings where the two are far apart."""
    f, grid = LAWS[law].f, LAWS[law].grid

    def far(x: Tensor) -> float:
        z = x[:, 0].numpy()
        quartic = 0.5 + 0.5 * np.sign(z) * gammainc(0.25, z**4 / 4)
        return distance(stats.norm.cdf(z) if law == "normal" else quartic)

    start = draw(exp_f(law), grid, 50_000)
    assert far(sample(anisotropic_mala(f, b), start, 10, rng(0, "noise"))[0]) < 0.55
    assert far(sample(anisotropic(f, b), start, 10, rng(0, "noise"))[0]) > 1


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("b", [0.1, 0.5])
def test_the_small_step_law_is_exp_f_times_the_clipping(law: str, b: float):
    """exp f · max(1, |f'|/b): sees a bias that vanishes with the step, as it would for plain Langevin."""
    grid = LAWS[law].grid
    predicted = exp_f(law) * np.maximum(1, np.abs(LAWS[law].slope(grid)) / b)
    predicted /= predicted.sum()
    coarse, fine = (
        np.abs(of_the_product(anisotropic(LAWS[law].f, b, s), grid) - predicted).sum() / 2 for s in (0.1, 0.05)
    )
    assert fine < 0.02
    assert coarse > 1.4 * fine
    assert np.abs(predicted - exp_f(law)).sum() / 2 > 10 * fine


def test_small_steps_double_the_variance_of_a_normal():
    """N(0, 1), b = 0.1: variance → 2 and kurtosis → 2, where exp f has 1 and 3."""
    law = LAWS["normal"]
    variance, kurtosis = moments(of_the_product(anisotropic(law.f, 0.1, 0.05), law.grid), law.grid)
    assert variance == pytest.approx(2.0, rel=0.02)
    assert kurtosis == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize(
    ("b", "step_size", "total_variation", "within"),
    [
        (0.5, 0.2, 0.33, 0.01),
        (0.5, 0.05, 0.33, 0.01),
        (math.inf, 0.2, 0.025, 5e-4),
        (math.inf, 0.05, 0.006, 5e-4),
    ],
)
def test_total_variation_is_as_published(b: float, step_size: float, total_variation: float, within: float):
    """Sees a threshold that does not bias, and a plain kernel whose bias does not vanish with the step."""
    law = LAWS["tilted"]
    weights = of_the_product(anisotropic(law.f, b, step_size), law.grid)
    assert np.abs(weights - exp_f("tilted")).sum() / 2 == pytest.approx(total_variation, abs=within)


@pytest.mark.parametrize(("step_size", "temperature"), [(1.0, 1.0), (2.0, 0.5), (0.1, 1.0)])
def test_plain_langevin_has_its_own_bias(step_size: float, temperature: float):
    """N(0, 1) becomes N(0, temperature / (1 − step_size/4)): sees 0.55 for 0.5, and wrong noise."""
    sd = math.sqrt(temperature / (1 - step_size / 4))
    x0 = sd * torch.randn(100_000, 1, generator=rng(0, "draws"), dtype=torch.float64)
    x, _ = sample(langevin(LAWS["normal"].f, step_size, temperature), x0, 20, rng(1, "noise"))
    assert distance(stats.norm.cdf(x[:, 0].numpy() / sd)) < 0.55
    variance, _ = moments(printed("normal", math.inf, step_size), LAWS["normal"].grid)
    assert variance == pytest.approx(1 / (1 - step_size / 4), rel=1e-4)


def test_mala_has_no_bias_at_the_same_step():
    """Sees a mala that always moves: N(0, 1) stays at step_size 1, where Langevin has variance 4/3."""
    x0 = torch.randn(100_000, 1, generator=rng(0, "draws"), dtype=torch.float64)
    x, trace = sample(mala(LAWS["normal"].f, 1.0), x0, 20, rng(0, "noise"))
    assert distance(stats.norm.cdf(x[:, 0].numpy())) < 0.55
    assert trace["accept_prob"].mean() < 0.99


def test_held_gamma_has_no_bias_of_its_own():
    """Sees a γ that moves: held, N(0, 1) becomes N(0, 1/(1 − γ/4)) with the γ of the start."""
    b, start = 0.5, 4.0
    gamma = b / start
    x0 = torch.full((50_000, 1), start, dtype=torch.float64)
    x, _ = sample(anisotropic(LAWS["normal"].f, b, refresh="iteration"), x0, 250, rng(0, "noise"))
    assert distance(stats.norm.cdf(x[:, 0].numpy() * math.sqrt(1 - gamma / 4))) < 0.55

"""Laws of exact targets: the draws are from exp f / Z, in every coordinate, and Z is what it says."""

import math

import numpy as np
import pytest
import torch

from anila.density.check import check_log_density
from anila.density.log_density import value_and_grad
from anila.density.targets import DENSITIES, Density, banana, double_well, funnel, gaussian, mixture, rings
from anila.rng import rng
from exact import cell_cdf, distance, distance_at

DRAWS = 100_000

PLANE: dict[str, tuple[Density, list[tuple[float, float]]]] = {
    "gaussian": (gaussian(torch.tensor([0.5, 2.0])), [(-4, 4), (-14, 14)]),
    "gaussian line": (gaussian(3.0), [(-21, 21)]),
    "mixture": (mixture(), [(-2.2, 2.2)] * 2),
    "mixture of 3": (mixture(3, 2.0, 0.5), [(-5.5, 5.5)] * 2),
    "rings": (rings(), [(-5.2, 5.2)] * 2),
    "two rings": (rings((1.0, 1.5), 0.1), [(-2.3, 2.3)] * 2),
    "banana": (banana(), [(-6, 6), (-8, 40)]),
    "bent banana": (banana(0.5, 0.7), [(-6, 6), (-6, 22)]),
    "funnel": (funnel(2, 0.5), [(-3.2, 3.2), (-28, 28)]),
    "double-well": (double_well(), [(-4, 4)]),
    "flat double-well": (double_well(0.5, -0.2), [(-4, 4)]),
}
"""A density of one or two dimensions, and a box that holds all but 1e-8 of its mass."""


def test_every_density_is_enrolled():
    """Sees a row of `DENSITIES` whose draws nobody compares with its f."""
    assert set(DENSITIES) <= set(PLANE)


@pytest.mark.parametrize("name", PLANE)
def test_draws_and_log_z_belong_to_f(name: str):
    """Sees a missing Jacobian, a wrong sd, unequal masses: marginals and log Z by quadrature."""
    density, box = PLANE[name]
    edges = [np.linspace(low, high, 1201) for low, high in box]
    log_z, cdfs = cell_cdf(density, edges)
    assert density.dim == len(box)
    assert density.log_z == pytest.approx(log_z, abs=1e-4)
    x = density.draw(DRAWS, rng(0, "draws"), torch.float64)
    assert max(distance_at(edges[i][1:], cdfs[i], x[:, i]) for i in range(len(box))) < 0.55


@pytest.mark.parametrize(("radii", "sd"), [((1.0, 2.0, 3.0, 4.0), 0.15), ((0.3,), 0.2)])
def test_rings_are_uniform_in_angle_and_known_in_radius(radii: tuple[float, ...], sd: float):
    """Sees the 1/r of polar coordinates missing, and a radius drawn below 0 that f does not know of."""
    density = rings(radii, sd)
    x = density.draw(DRAWS, rng(0, "draws"), torch.float64)
    edges = np.linspace(0, max(radii) + 8 * sd, 20_001)
    r = torch.from_numpy((edges[1:] + edges[:-1]) / 2)
    on_axis = torch.stack([r, torch.zeros_like(r)], 1)
    mass = (density.log_prob(on_axis).exp() * 2 * math.pi * r).numpy() * (edges[1] - edges[0])
    assert mass.sum() == pytest.approx(1, abs=1e-4)
    assert distance_at(edges[1:], mass.cumsum(), x.norm(dim=1)) < 0.55
    assert distance(torch.atan2(x[:, 1], x[:, 0]) / (2 * math.pi) + 0.5) < 0.55


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_rings_have_a_gradient_at_the_origin(dtype: torch.dtype):
    """Sees 0/0: a chain that starts at zero must be able to leave it."""
    value, grad = value_and_grad(rings(), torch.zeros(2, 2, dtype=dtype))
    assert torch.isfinite(value).all()
    assert torch.isfinite(grad).all()


def test_funnel_is_its_conditionals():
    """Sees a neck of the wrong width, in all ten dimensions: v/sd and xᵢ exp(−v/2) are standard normal."""
    x = funnel(10, 3.0).draw(DRAWS, rng(0, "draws"), torch.float64)
    v, rest = x[:, :1], x[:, 1:]
    for z in (v / 3, *(rest * (-v / 2).exp()).split(1, 1)):
        assert distance(torch.special.ndtr(z[:, 0])) < 0.55


@pytest.mark.parametrize("name", DENSITIES)
def test_f_integrates_the_score_by_parts(name: str):
    """E ∂ᵢf = 0 under exp f, within 5 standard errors: sees draws of another law than f."""
    density = DENSITIES[name]()
    _, grad = value_and_grad(density, density.draw(DRAWS, rng(0, "draws"), torch.float64))
    z = grad.mean(0) / grad.std(0) * math.sqrt(DRAWS)
    assert z.abs().max() < 5


@pytest.mark.parametrize("name", DENSITIES)
def test_a_density_is_an_f(name: str):
    """Sees float32 that is another f than float64, rows that talk, and log_prob that is not f − log Z."""
    density = DENSITIES[name]()
    x = density.draw(50, rng(0, "draws"))
    assert x.dtype == torch.float32
    check_log_density(density, x)
    torch.testing.assert_close(density(x).double(), density(x.double()), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(density.log_prob(x), density(x) - density.log_z)


@pytest.mark.parametrize("name", ["gaussian", "mixture", "double-well"])
def test_modes_are_where_f_is_high(name: str):
    """Sees centres in other places than f has them: f is lower a little way off on every side."""
    density = DENSITIES[name]()
    assert density.modes is not None
    modes = density.modes.double()
    step = 0.12
    for i in range(density.dim):
        for sign in (-1, 1):
            off = modes.clone()
            off[:, i] += sign * step
            assert bool((density(off) < density(modes)).all())


@pytest.mark.parametrize("name", DENSITIES)
def test_a_draw_is_its_generator(name: str):
    """Sees the global generator, or one that is ignored."""
    density = DENSITIES[name]()
    assert torch.equal(density.draw(5, rng(0, "a")), density.draw(5, rng(0, "a")))
    assert not torch.equal(density.draw(5, rng(0, "a")), density.draw(5, rng(0, "b")))

"""H1 and the drift inequality: what they say is true where the truth is known."""

import math

import pytest
import torch

from anila.density.networks import Confined, mlp
from anila.density.targets import banana, gaussian
from anila.evaluation.chains import drift_inequality, lattice, rays, transition
from anila.rng import rng
from anila.samplers import anisotropic_mala, langevin, mala

CENTRE = torch.zeros(2, dtype=torch.float64)
RADII = torch.tensor([0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 9.0], dtype=torch.float64)


def power(p: float):
    """f = −|x|^p / p, whose radial derivative is −r^(p−1)."""
    return lambda x: -x.norm(dim=1).pow(p) / p


@pytest.mark.parametrize("p", [1.5, 2.0, 4.0])
def test_powers_above_one_satisfy_h1_with_their_exponent(p: float):
    found = rays(power(p), CENTRE, 1.0, rng(0, "rays"))
    assert found.ok
    assert found.growth.min().item() == pytest.approx(p - 1, abs=0.01)
    assert found.cosine.max().item() == pytest.approx(-1)
    assert "H1 holds" in found.line


@pytest.mark.parametrize(
    ("f", "why"),
    [
        (power(1.0), "bounded"),
        (lambda x: -2 * (1 + x.square().sum(1)).log(), "bounded"),
        (lambda x: x[:, 0].square() - x[:, 1].square(), "outwards"),
        (lambda x: -x[:, 0].square() * x[:, 1].square() - x.square().sum(1) / 1e8, "holds"),
    ],
    ids=["laplace", "student", "open", "barely confined"],
)
def test_what_fails_is_named(f, why: str):
    """Sees a check of the sign only: a Laplace law and a Student law fall outwards, and fail H1 all the same."""
    found = rays(f, CENTRE, 1.0, rng(0, "rays"), farthest=1e6 if why == "holds" else 1e3)
    assert (why == "holds") == found.ok
    assert why in found.line
    assert ("Confined" in found.line) != found.ok


def test_a_piecewise_linear_network_fails_and_the_offered_term_repairs_it():
    """Sees a check that any network passes, and advice that does not help."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = mlp(2, hidden=(32, 32), nonlinearity="leaky_relu").double()
    bare = rays(net, CENTRE, 1.0, rng(0, "rays"))
    assert not bare.ok
    assert "network.confine" in bare.line
    assert rays(Confined(net, 2.0).double(), CENTRE, 1.0, rng(0, "rays")).ok


def test_level_lines_along_the_ray_are_seen():
    """The banana falls ever faster along every ray, at right angles to some: sees a missing angle condition."""
    found = rays(banana(), CENTRE, 2.0, rng(2, "rays"))
    assert bool((found.radial[-1] < 0).all() and (found.growth > 0.5).all())
    assert not found.ok
    assert "perpendicular to the ray" in found.line


def test_a_gradient_that_overflows_ends_the_ray_before():
    found = rays(lambda x: -x.square().sum(1).exp(), CENTRE, 0.01, rng(0, "rays"), farthest=1e6)
    assert found.radii[-1].item() < 27
    assert found.ok
    with pytest.raises(ValueError, match="not finite"):
        rays(lambda x: -x.square().sum(1).exp(), CENTRE, 100.0, rng(0, "rays"))


@pytest.mark.parametrize("beta", [0.2, 0.5])
def test_langevin_on_a_normal_has_its_closed_form(beta: float):
    """ΠV/V = Π_i (1 − βγ)^(−1/2) exp(−β |z|²/2 (1 − (1 − γ/2)²/(1 − βγ))): sees another V, β or kernel."""
    gamma, d = 0.3, 2
    shrink = 1 - (1 - gamma / 2) ** 2 / (1 - beta * gamma)
    radii = RADII[:5]
    exact = (1 - beta * gamma) ** (-d / 2) * (-beta / 2 * shrink * radii.square()).exp()
    found = drift_inequality(
        lambda f: langevin(f, gamma),
        [gaussian(dim=2)],
        CENTRE,
        radii,
        rng(0, "drift"),
        beta,
        directions=1,
        draws=40_000,
    )
    assert torch.allclose(found.ratio[0], exact, rtol=0.02)
    assert bool((found.upper[0] > exact).all())
    assert bool((found.upper[0] < exact * 1.1 + 0.02).all())
    assert found.ok == bool((found.upper[0, -1] < 1).all())


def test_the_metropolis_ratio_is_that_of_the_matrix():
    """ΠV/V of anisotropic_mala on −x⁴/4 by draws and by grid: sees a step that is not the kernel's."""
    f, beta = power(4.0), 0.5
    kernel = anisotropic_mala(f, 1.5, 0.5)
    points, volume = lattice(-3.2, 3.2, 640)
    v = (-beta * f(points)).exp()
    exact = (transition(kernel, f, points, volume) @ v / v)[[375, 450, 520]]
    radii = points[[375, 450, 520], 0]
    found = drift_inequality(
        lambda f: anisotropic_mala(f, 1.5, 0.5), [f], torch.zeros(1, dtype=torch.float64), radii, rng(0, "d"), beta,
        directions=8, draws=4000,
    )  # fmt: skip
    assert torch.allclose(found.ratio[0], exact, atol=0.05)
    assert bool((exact < found.upper[0]).all())


def test_mu_delta_and_radius_make_the_inequality_hold():
    """ΠV ≤ μ V + δ 1_O on every sphere that was looked at; sees δ or R that do not cover what μ leaves."""
    found = drift_inequality(lambda f: mala(f, 0.5), [gaussian(dim=2)], CENTRE, RADII, rng(0, "drift"), draws=2000)
    assert found.ok
    assert 0 < found.radius < 6
    v = found.log_v[0].exp()
    inside = (found.radii <= found.radius).double()
    assert bool((found.ratio[0] * v <= found.mu * v + math.exp(found.log_delta) * inside + 1e-9).all())
    assert ((found.upper[0] - found.mu) * v * inside).max().item() == pytest.approx(math.exp(found.log_delta))
    assert bool((found.ratio[0][found.radii > found.radius] < found.mu).all())
    assert "drift inequality: ΠV ≤" in found.line


def test_uniformity_in_theta_is_the_worst_theta():
    """Three normals; with a flat fourth no common μ exists: sees an average over θ, or the first only."""
    fs = [gaussian(sd, dim=2) for sd in (0.7, 1.0, 1.3)]
    found = drift_inequality(lambda f: mala(f, 0.5), fs, CENTRE, RADII, rng(0, "drift"))
    assert found.ok
    assert found.ratio.shape == (3, 7)
    assert found.mu >= found.upper[:, -1].max().item()
    assert "uniformly over 3 parameters" in found.line
    worse = drift_inequality(lambda f: mala(f, 0.5), [*fs, lambda x: -1e-3 * x.norm(dim=1)], CENTRE, RADII, rng(0, "d"))
    assert not worse.ok
    assert "no drift inequality" in worse.line


def test_a_transient_chain_has_no_drift_inequality():
    """Plain Langevin on x⁴ is thrown outwards: V of where it lands overflows, and that is said, not lost."""
    found = drift_inequality(lambda f: langevin(f, 0.5), [power(4.0)], CENTRE, 10 * RADII, rng(0, "drift"), draws=50)
    assert not found.ok


def test_arguments_out_of_range_are_refused():
    for options in ({"beta": 1.0}, {"radii": RADII.flip(0)}):
        with pytest.raises(ValueError, match="expected"):
            drift_inequality(
                lambda f: mala(f, 0.5), [gaussian(dim=2)], CENTRE, **{"radii": RADII, "generator": rng(0), **options}
            )

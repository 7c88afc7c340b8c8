"""Laws of annealed importance sampling: weights unbiased on any path, and intervals that hold a known log Z."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from anila import anisotropic_mala, barker, hmc, langevin, mala, rng
from anila.density.targets import Density, double_well, gaussian, mixture, rings
from anila.evaluation.likelihood import (
    AnnealingPath,
    Base,
    LogZ,
    bits_per_dim,
    dequantised,
    estimate_log_z,
    find_path,
    log_likelihood,
)
from anila.evaluation.likelihood.annealing import Rung, climb, descend, ess_fraction, next_step, resampled
from anila.evaluation.likelihood.estimate import bennett, log_mean_error, log_mean_exp

LINE = Base(torch.zeros(1, dtype=torch.float64), torch.full((1,), 0.8, dtype=torch.float64))
KERNELS = {
    "mala": (mala, {"step_size": 0.3}),
    "anisotropic_mala": (anisotropic_mala, {"step_size": 0.3, "threshold": 1.0, "preconditioner": LINE.scale}),
    "barker": (barker, {"step_size": 0.3}),
    "hmc": (partial(hmc, leapfrog_steps=3), {"step_size": 0.1}),
}


def coarse(f: Density, make, settings: dict, base: Base = LINE) -> AnnealingPath:
    """Three rungs, far too few, with a transition each."""
    rungs = [Rung(beta, settings) for beta in (0.0, 0.1, 0.5, 1.0)]
    return AnnealingPath(f, base, rungs, make, steps=1, length=math.nan, spread=math.nan)


class TestWeights:
    @pytest.mark.parametrize("name", KERNELS)
    def test_unbiased_both_ways_on_a_path_far_too_coarse(self, name: str):
        """Sees a weight left out or of the wrong rung, a base that is not normalised, a kernel at another rung."""
        f = double_well()
        path = coarse(f, *KERNELS[name])
        up = climb(path, LINE.draw(40_000, rng(0, "base")), rng(0, "up")) - f.log_z
        down = descend(path, f.draw(40_000, rng(0, "draws"), torch.float64), rng(0, "down")) - f.log_z
        for ratio in (up.exp(), (-down).exp()):
            error = ratio.std().item() / 200
            assert error < 0.025
            assert abs(ratio.mean().item() - 1) < 4.5 * error

    def test_the_ends_are_on_their_sides(self):
        """On average log w is below log Z going up, above it going down."""
        f = double_well()
        path = coarse(f, *KERNELS["mala"])
        assert climb(path, LINE.draw(2000, rng(1, "base")), rng(1, "up")).mean() < f.log_z - 0.01
        assert descend(path, f.draw(2000, rng(1, "x"), torch.float64), rng(1, "down")).mean() > f.log_z + 0.01

    def test_a_function_of_the_generator(self):
        path = coarse(double_well(), *KERNELS["mala"])
        x = LINE.draw(50, rng(0, "base"))
        assert torch.equal(climb(path, x, rng(2, "up")), climb(path, x, rng(2, "up")))


class TestPath:
    def test_rungs_are_at_equal_lengths(self):
        """For N(0, s²) the speed √Var_β(u) is known: equal lengths are equal log precision."""
        f, base = gaussian(0.4, 10), Base(torch.zeros(10), torch.ones(10))
        path = find_path(f, base, rng(0, "ladder"), chains=100, spread=1.0)
        precision = torch.tensor([1 - r.beta + r.beta / 0.4**2 for r in path.rungs]).log()
        assert path.length == pytest.approx(math.sqrt(5) * math.log(6.25), rel=0.15)
        place = precision / math.log(6.25)
        assert torch.allclose(place, torch.linspace(0, 1, len(place)), atol=0.1)
        assert path.rungs[0].beta == 0
        assert path.rungs[-1].beta == 1
        assert path.spread < 1.5

    @pytest.mark.parametrize("make", [mala, partial(hmc, leapfrog_steps=3)])
    def test_any_metropolis_kernel_serves(self, make):
        f = mixture()
        path = find_path(f, Base(torch.zeros(2), torch.ones(2)), rng(0, "ladder"), make, chains=50)
        assert "threshold" not in path.rungs[0].settings
        found = estimate_log_z(path, f.draw(100, rng(0, "draws")), rng(0, "chains"))
        assert found.low < f.log_z < found.high

    def test_weights_of_a_step(self):
        u = torch.tensor([0.0, 0.0, 0.0, 5.0], dtype=torch.float64)
        assert ess_fraction(torch.zeros(4)) == pytest.approx(1)
        assert ess_fraction(1000 * u) == pytest.approx(0.25)
        assert ess_fraction(next_step(u, 1.0) * u) == pytest.approx(0.8)
        assert next_step(u, 1e-3) == 1e-3
        counts = torch.bincount(resampled(torch.tensor([0.5, 0.25, 0.0, 0.25]), rng(0, "r")), minlength=4)
        assert counts.tolist() == [2, 1, 0, 1]

    @pytest.mark.parametrize(
        ("f", "make", "message"),
        [
            (gaussian(dim=2), langevin, "needs Metropolis kernels"),
            (gaussian(dim=2), partial(anisotropic_mala, refresh="iteration"), 'use "step"'),
            (lambda x: torch.where(x[:, 0] > 0, gaussian(dim=2)(x), -math.inf), mala, "inside the support"),
            (lambda x: gaussian(dim=2)(x)[:, None], mala, "one number per row"),
        ],
    )
    def test_what_has_no_weights_is_refused(self, f, make, message: str):
        with pytest.raises(ValueError, match=message):
            find_path(f, Base(torch.zeros(2), torch.ones(2)), rng(0, "ladder"), make, chains=20)

    def test_a_base_too_far_is_refused_or_said(self):
        """The pilot stops, or where it got there the cut path says how wide the interval will be."""
        f, base = gaussian(0.2, 10), Base(torch.zeros(10), torch.ones(10))
        with pytest.raises(ValueError, match="too far from the base"):
            find_path(f, base, rng(0, "ladder"), chains=20, most_rungs=5)
        with pytest.warns(RuntimeWarning, match="cut at 20 rungs"):
            find_path(f, base, rng(0, "ladder"), chains=20, most_rungs=20, spread=0.1)

    def test_a_base_around_points(self):
        x = torch.randn(5000, 3, generator=rng(0, "x")) * torch.tensor([1.0, 2.0, 0.0]) + 5
        base = Base.around(x)
        assert base.mean.tolist() == pytest.approx([5, 5, 5], abs=0.1)
        assert base.scale.tolist() == pytest.approx([1.5, 3.0, 0.15 * math.sqrt(5 / 3)], rel=0.05)
        normal = torch.distributions.Normal(base.mean, base.scale)
        assert torch.allclose(base.log_prob(x[:9]), normal.log_prob(x[:9]).sum(1), rtol=1e-4)


class TestEstimates:
    def test_bennett_on_weights_whose_law_is_known(self):
        """log w ~ N(log Z ∓ v/2, v) up and down satisfy the fluctuation theorem: value and error against repeats."""
        generator, v, found = rng(0, "weights"), 2.0, []
        for _ in range(400):
            noise = torch.randn(2, 100, generator=generator, dtype=torch.float64) * v**0.5
            found.append(bennett(7 - v / 2 + noise[0], 7 + v / 2 + noise[1]))
        values, errors = torch.tensor(found).unbind(1)
        assert abs(values.mean() - 7) < 4 * values.std() / 20
        assert errors.mean().item() == pytest.approx(values.std().item(), rel=0.15)

    def test_the_error_of_a_log_mean_is_that_of_repeats(self):
        log_weight = torch.randn(400, 500, generator=rng(0, "w"), dtype=torch.float64) * 0.5
        logs = torch.tensor([log_mean_exp(row) for row in log_weight])
        assert logs.mean().item() == pytest.approx(0.125, abs=0.01)
        assert log_mean_error(log_weight[0]) == pytest.approx(logs.std().item(), rel=0.2)

    @pytest.mark.parametrize("f", [rings(), gaussian(torch.logspace(-0.3, 0.3, 6))], ids=["rings", "gaussian-6"])
    def test_the_interval_holds_log_z(self, f: Density):
        assert covers(f, seed=0, chains=100)

    def test_draws_of_another_law_are_said(self):
        f = gaussian(dim=3)
        path = find_path(f, Base(torch.zeros(3), torch.full((3,), 3.0)), rng(0, "ladder"), chains=50)
        with pytest.warns(RuntimeWarning, match="contradict each other"):
            estimate_log_z(path, 2 * f.draw(200, rng(0, "draws")), rng(0, "chains"))

    def test_too_few_chains_are_refused(self):
        path = coarse(double_well(), *KERNELS["mala"])
        with pytest.raises(ValueError, match="at least 10 draws"):
            estimate_log_z(path, torch.zeros(9, 1), rng(0, "chains"))

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "f", [rings(), mixture(), gaussian(torch.logspace(-0.3, 0.3, 100))], ids=["rings", "mixture", "gaussian-100"]
    )
    def test_intervals_hold_log_z_in_18_of_20_runs(self, f: Density):
        assert sum(covers(f, seed, chains=100) for seed in range(1, 21)) >= 18


def covers(f: Density, seed: int, chains: int) -> bool:
    """Whether an interval of useful width, from a base fitted to other draws, holds log Z."""
    base = Base.around(f.draw(1000, rng(seed, "base")))
    path = find_path(f, base, rng(seed, "ladder"), chains=chains)
    found = estimate_log_z(path, f.draw(chains, rng(seed, "draws")), rng(seed, "chains"))
    assert found.high - found.low < 1.5
    assert abs(found.value - f.log_z) < 5 * found.error
    return found.low <= f.log_z <= found.high


class TestLikelihood:
    def test_of_a_normal_law(self):
        f = gaussian(2.0, dim=5)
        known = LogZ(f.log_z, 0.0, f.log_z - 0.1, f.log_z + 0.2, (1.0, 1.0))
        x = f.draw(4000, rng(0, "data"))
        found = log_likelihood(f, known, x)
        exact = torch.distributions.Normal(0.0, 2.0).log_prob(x).sum(1)
        error = 2 * exact.std().item() / math.sqrt(4000)
        assert found.value == pytest.approx(exact.mean().item(), rel=1e-5)
        assert found.low == pytest.approx(found.value - 0.2 - error, abs=1e-4)
        assert found.high == pytest.approx(found.value + 0.1 + error, abs=1e-4)

    def test_bits_of_dequantised_levels_bound_those_of_the_discrete_law(self):
        """Sees levels of the wrong width, nats for bits, and noise that is not uniform over a level."""
        width, sd = 1 / 127.5, 2 / 127.5
        edges = torch.arange(257, dtype=torch.float64) * width - 1 - width / 2
        normal = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), sd)
        mass = normal.cdf(edges).diff()
        exact = -(mass * mass.log2())[mass > 0].sum().item()
        level = torch.multinomial(mass, 200_000, replacement=True, generator=rng(0, "levels"))
        x = dequantised(level.double()[:, None] / 127.5 - 1, rng(0, "noise"))
        bits = bits_per_dim(normal.log_prob(x).mean().item(), 1)
        assert exact < bits + 0.01
        assert bits == pytest.approx(exact, abs=0.05)

    def test_of_images(self):
        x: Tensor = torch.zeros(3, 1, 4, 4)
        noisy = dequantised(x, rng(0, "noise"))
        assert noisy.shape == x.shape
        assert noisy.abs().max() <= 0.5 / 127.5

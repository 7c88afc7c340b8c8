"""Coupled chains are chains of the kernel, they stay together, and their bound is above the truth, not far above."""

import math

import pytest
import torch
from torch import Tensor

from anila.density.targets import Density, banana, double_well, gaussian
from anila.evaluation.chains import Meetings, decay, lattice, meeting_times, transition
from anila.evaluation.chains.bias import cdf_distance
from anila.evaluation.chains.coupling import coupled_noise, coupled_step, log_normal, maximal
from anila.rng import rng
from anila.samplers import (
    Sampler,
    anisotropic,
    anisotropic_mala,
    barker,
    ghmc,
    kernel_density,
    mala,
    sample,
    with_global_moves,
)
from exact import dkw_limit

PAIRS = 20_000


def pairs(n: int, d: int, apart: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Starts of both chains, the second ones shifted."""
    x, y = (torch.randn(n, d, generator=rng(seed, name), dtype=torch.float64) for name in ("x", "y"))
    return x, apart + y


KERNELS = {
    "mala": mala(banana(), 0.4),
    "anisotropic_mala": anisotropic_mala(banana(), 1.0, 0.8),
    "global": with_global_moves(mala(banana(), 0.4), kernel_density(banana().draw(50, rng(1, "p"), torch.float64)), 2),
}


@pytest.mark.parametrize("apart", [0.5, 3.0])
@pytest.mark.parametrize("name", KERNELS)
def test_each_of_a_pair_is_a_chain_of_the_kernel(name: str, apart: float):
    """Sees noise of the second chain that is not N(0, I) given where it is: 5 coupled steps against 5 alone."""
    kernel = KERNELS[name]
    x0, y0 = pairs(PAIRS, 2, apart)
    x, y, generator = kernel.init(x0), kernel.init(y0), rng(0, "coupled")
    for _ in range(5):
        x, y, _ = coupled_step(kernel, x, y, generator)
    for start, state in ((x0, x), (y0, y)):
        alone, _ = sample(kernel, start, 5, rng(0, "alone"))
        for u in (lambda z: z[:, 0], lambda z: z[:, 1], lambda z: z.sum(1), banana()):
            assert cdf_distance(u(state.x), u(alone)) < 2 * 0.7 * dkw_limit(PAIRS)


def test_maximal_coupling_meets_with_the_overlap_and_keeps_both_laws():
    """N(0, 1) and N(1, 2²): P(equal) = ∫ min; sees a rejection from the wrong side, or a ratio reversed."""
    n = 200_000
    shape = torch.zeros(n, 1, dtype=torch.float64)
    xi = torch.randn(n, 1, generator=rng(0, "xi"), dtype=torch.float64)
    mean_y, sd_y = shape + 1, shape + 2
    xi_y = maximal(xi, shape, shape + 1, mean_y, sd_y, shape == 0, rng(0, "coupled"))
    z = torch.linspace(-20, 20, 400_001, dtype=torch.float64)[:, None]
    density = torch.stack([log_normal(z, 0 * z, 0 * z + 1), log_normal(z, 0 * z + 1, 0 * z + 2)]).exp()
    overlap = (density.amin(0) / math.sqrt(2 * math.pi)).sum().item() * 1e-4
    met = ((xi - (mean_y + sd_y * xi_y)).abs() < 1e-9).double().mean().item()
    assert met == pytest.approx(overlap, abs=5 * math.sqrt(overlap / n))
    assert overlap < 0.7
    u = torch.special.ndtr(xi_y[:, 0]).sort()[0]
    assert (u - torch.arange(n) / n).abs().max().item() < dkw_limit(n)


@pytest.mark.parametrize("name", KERNELS)
def test_chains_stay_together(name: str):
    """Equal to the last digit from the meeting on, though each is computed by itself: sees noise that parts them."""
    kernel = KERNELS[name]
    x, y, generator = *map(kernel.init, pairs(500, 2, 1.0)), rng(0, "coupled")
    together = torch.zeros(500, dtype=torch.bool)
    for _ in range(100):
        x, y, met = coupled_step(kernel, x, y, generator)
        assert bool(met[together].all())
        assert torch.equal(x.x[met], y.x[met])
        together |= met
    assert together.double().mean().item() > 0.8


def test_the_coupling_is_a_function_of_the_generator():
    x0, y0 = pairs(50, 2, 1.0)
    one, two, other = (meeting_times(KERNELS["mala"], x0, y0, 5, 40, rng(seed, "c")).times for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    state = KERNELS["mala"].init(x0)
    noise = KERNELS["mala"].draw_noise(x0, rng(0))
    assert torch.allclose(coupled_noise(state, state, noise, rng(1)).normal, noise.normal)


def test_the_bound_is_the_papers_formula():
    """E[max(0, ⌈(τ − L − k)/L⌉)] written out: sees a lag counted twice, a floor, or k off by one."""
    meetings = Meetings(torch.tensor([11.0, 14.0, 31.0, 10.0], dtype=torch.float64), lag=10, steps=100)
    mean, _ = meetings.bound(21)
    for k in (0, 1, 4, 5, 11, 21):
        late = [max(0, math.ceil((t - 10 - k) / 10)) for t in (11, 14, 31, 10)]
        assert mean[k].item() == pytest.approx(sum(late) / 4)
    assert meetings.mixing_steps(0.3) == 11
    assert mean[21].item() == 0


def test_the_rate_is_that_of_geometric_meetings():
    times = torch.distributions.Geometric(torch.tensor(0.03, dtype=torch.float64))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        meetings = Meetings(times.sample(torch.Size((5000,))) + 21, lag=20, steps=10_000)
    rate, error = meetings.rate()
    assert abs(rate - 0.97) < 4 * error
    assert error < 0.001


WELL, FLAT, BENT = double_well(), gaussian(torch.tensor([1.0, 0.5])), banana(0.5)
TARGETS: dict[str, tuple[Density, float, Sampler, tuple[float, float, int], float, int]] = {
    "double well, anisotropic_mala": (WELL, -1.0, anisotropic_mala(WELL, 2.0, 0.3), (-3.0, 3.0, 300), 0.5, 50),
    "normal, mala": (gaussian(), 2.0, mala(gaussian(), 0.3), (-6.0, 7.0, 300), 1.0, 20),
    "banana, anisotropic_mala": (BENT, 2.0, anisotropic_mala(BENT, 1.5, 0.8), (-5.0, 6.0, 44), 1.0, 20),
    "flat normal, mala": (FLAT, 2.0, mala(FLAT, 0.3), (-5.0, 6.0, 36), 1.0, 20),
}
"""Density, mean of the start, kernel, grid (low, high, side), sd of the start, lag."""


@pytest.mark.parametrize("name", TARGETS)
def test_the_bound_is_above_the_exact_decay_and_near_its_rate(name: str):
    """Criterion 4: sees a bound that is no bound, and a coupling too weak to say anything."""
    f, mean, kernel, (low, high, side), sd, lag = TARGETS[name]
    points, volume = lattice(low, high, side, f.dim)
    start = (-((points - mean) / sd).square().sum(1) / 2).softmax(0)
    exact = decay(transition(kernel, f, points, volume), start, f(points).softmax(0), 300)

    x0, y0 = (mean + sd * torch.randn(2000, f.dim, generator=rng(0, n), dtype=torch.float64) for n in ("x", "y"))
    meetings = meeting_times(kernel, x0, y0, lag, 3000, rng(0, "coupled"))
    assert meetings.unmet == 0
    bound, error = meetings.bound(300)
    assert bool((exact <= bound + 4 * error + 5 / len(x0)).all())
    assert bool((exact[:5] < bound[:5]).all())

    first, last = (int((exact < level).int().argmax()) for level in (0.05, 0.005))
    exact_rate = (exact[last] / exact[first]).item() ** (1 / (last - first))
    assert 1 / 3 < math.log(meetings.rate()[0]) / math.log(exact_rate) < 1.3


def test_pairs_that_do_not_meet_give_no_bound():
    """Sees unmet pairs left out, which would make any sampler look good."""
    x0, y0 = pairs(50, 2, 30.0)
    meetings = meeting_times(mala(gaussian(dim=2), 1e-3), x0, y0, 5, 20, rng(0, "c"))
    assert meetings.unmet > 0
    assert meetings.bound(20)[0].isinf().all()
    assert meetings.mixing_steps() is None
    assert all(map(math.isnan, meetings.rate()))


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (anisotropic(gaussian(dim=2), 1.0), "couplings are for mala"),
        (barker(gaussian(dim=2), 1.0), "couplings are for mala"),
        (ghmc(gaussian(dim=2), 1.0), "couplings are for mala"),
        (mala(gaussian(dim=2), 1.0, preconditioner=torch.tensor([1.0, 2.0])), "not preconditioned"),
        (anisotropic_mala(gaussian(dim=2), 1.0, refresh="iteration"), "refresh"),
    ],
)
def test_kernels_that_cannot_be_coupled_are_refused(kernel: Sampler, message: str):
    """Sees a preconditioned kernel coupled as if it were plain: its marginal would be wrong without a word."""
    with pytest.raises(ValueError, match=message):
        meeting_times(kernel, *pairs(10, 2, 1.0), 5, 20, rng(0))
    with pytest.raises(ValueError, match="lag"):
        meeting_times(mala(gaussian(dim=2), 1.0), *pairs(10, 2, 1.0), 20, 20, rng(0))

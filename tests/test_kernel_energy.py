"""Laws of the kernel energy: a density, with the gradient, marginals, conditionals and draws of that density."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from anila import check_log_density, langevin, sample, value_and_grad
from anila.density import kernel_energy
from anila.density.kernel_energy import BANDWIDTHS, KernelEnergy, Own, leave_one_out_bandwidth
from anila.rng import rng
from exact import distance

SIDE = torch.linspace(-9, 9, 721, dtype=torch.float64)
STEP = (SIDE[1] - SIDE[0]).item()


def rows(n: int, d: int, name: str, missing: float = 0.0) -> Tensor:
    """Normal rows with such a share of missing cells, none of them empty."""
    x = torch.randn(n, d, generator=rng(0, name), dtype=torch.float64)
    gone = torch.rand(n, d, generator=rng(0, name, "missing")) < missing
    gone[gone.all(1), 0] = False
    return x.masked_fill(gone, torch.nan)


def energy(d: int, missing: float = 0.0) -> KernelEnergy:
    counts = torch.tensor([1.0, 3.0, 1.0, 2.0, 1.0, 0.5, 1.0])
    return KernelEnergy(rows(7, d, "centres", missing), 0.6, counts)


def plane() -> Tensor:
    return torch.cartesian_prod(SIDE, SIDE)


def cdf(density: KernelEnergy, x: Tensor) -> np.ndarray:
    """The distribution function of a density of one column, by adding up cells."""
    mass = density.log_prob(SIDE[:, None]).exp().cumsum(0) * STEP
    return np.interp(x.numpy(), (SIDE + STEP / 2).numpy(), mass.numpy())


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_it_integrates_to_one(missing: float):
    """Sees a log Z without a column, without h, or that forgets what a missing cell does to a bump."""
    f = energy(2, missing)
    assert f.log_prob(plane()).exp().sum().item() * STEP**2 == pytest.approx(1, abs=1e-6)
    assert f(plane()).logsumexp(0).item() + 2 * math.log(STEP) == pytest.approx(f.log_z, abs=1e-6)


def test_f_is_the_formula():
    f, x = energy(3), rows(50, 3, "x")
    away = (x[:, None] - f.centres).square().sum(2)
    expected = ((f.counts / f.counts.sum()).log() - away / (2 * 0.6**2)).logsumexp(1)
    torch.testing.assert_close(f(x), expected)


@pytest.mark.parametrize(("missing", "at_once"), [(0.0, 2**19), (0.3, 2**19), (0.3, 64)])
def test_the_gradient_is_that_of_autograd(missing: float, at_once: int, monkeypatch: pytest.MonkeyPatch):
    """In one part and in several; of rows and centres with missing cells too, where it is 0."""
    monkeypatch.setattr(kernel_energy, "PAIRS", at_once)
    f, x = energy(3, missing), rows(60, 3, "x", missing)
    value, grad = value_and_grad(f, x)
    torch.testing.assert_close(f.gradient(x), grad)
    torch.testing.assert_close(value, f(x))


def test_a_step_of_denoising_goes_to_the_mean_of_the_clean_row():
    """A clean row is a centre, by its share. Sees D without the shares, and an error that is no length of the step."""
    f, x = energy(3), rows(20, 3, "x")
    likely = f.counts * (-(x[:, None] - f.centres).square().sum(2) / (2 * 0.6**2)).exp()
    torch.testing.assert_close(f.denoised(x), (likely / likely.sum(1, keepdim=True)) @ f.centres)
    torch.testing.assert_close(f.error(x), (x - f.denoised(x)).norm(dim=1))


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("centre", range(7))
def test_leaving_one_out_is_fitting_without_it(centre: int, missing: float):
    """Sees a row that judges itself, and shares that no longer add up to 1."""
    f = energy(3, missing)
    copies = f.counts.clamp(max=1)[centre : centre + 1]
    fewer = f.counts.index_add(0, torch.tensor([centre]), -copies)
    without, x = KernelEnergy(f.centres, 0.6, fewer), f.centres[centre : centre + 1]
    own = Own(torch.tensor([centre]), copies)
    torch.testing.assert_close(f.log_prob(x, own), without.log_prob(x))
    torch.testing.assert_close(f.error(x, own), without.error(x))


def test_the_bandwidth_is_the_likeliest_by_brute_force():
    x = rows(60, 2, "x")

    def likelihood(h: float) -> float:
        left = [KernelEnergy(torch.cat([x[:i], x[i + 1 :]]), h).log_prob(x[i : i + 1]).item() for i in range(60)]
        return sum(sorted(left)[60 // 20 :])

    assert leave_one_out_bandwidth(x, rng(0, "h")) == max(BANDWIDTHS, key=likelihood)


def test_one_far_row_does_not_choose_the_bandwidth():
    x = rows(60, 2, "x")
    alone = leave_one_out_bandwidth(x, rng(0, "h"))
    assert leave_one_out_bandwidth(torch.cat([x, torch.full((1, 2), 1e200, dtype=torch.float64)]), rng(0, "h")) == alone


def test_a_missing_cell_is_integrated_over():
    """The marginal and a NaN say the same, and both are ∫ p over the column."""
    f = energy(2)
    x = SIDE[::60, None]
    joint = torch.cat([torch.cat([x[:, None].expand(-1, 721, 1), SIDE[None, :, None].expand(len(x), -1, 1)], 2)])
    integral = f.log_prob(joint.flatten(0, 1)).exp().view(len(x), -1).sum(1) * STEP
    unseen = torch.cat([x, torch.full_like(x, torch.nan)], 1)
    torch.testing.assert_close(f.marginal([0]).log_prob(x).exp(), integral, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(f.log_prob(unseen), f.marginal([0]).log_prob(x))
    assert f(torch.full((1, 2), torch.nan).double()).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_a_conditional_is_the_joint_over_the_marginal(missing: float):
    f = energy(2, missing)
    given = f.conditional(torch.tensor([0.4, torch.nan], dtype=torch.float64))
    joint = f.log_prob(torch.stack([torch.full_like(SIDE, 0.4), SIDE], 1)).exp()
    torch.testing.assert_close(given.log_prob(SIDE[:, None]).exp(), joint / (joint.sum() * STEP), rtol=1e-6, atol=1e-12)
    with pytest.raises(ValueError, match="NaN in the columns"):
        f.conditional(torch.zeros(2).double())


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_draws_are_from_the_density(missing: float):
    """Draws and conditional draws by their distribution functions; the cells that are there stay."""
    f = energy(2, missing)
    x = f.draw(20_000, rng(0, "draws"))
    assert max(distance(cdf(f.marginal([j]), x[:, j])) for j in range(2)) < 1
    given = torch.tensor([[0.4, torch.nan]], dtype=torch.float64).expand(20_000, -1)
    drawn = f.completed(given, rng(0, "given"))
    assert bool((drawn[:, 0] == 0.4).all())
    assert distance(cdf(f.conditional(given[0]), drawn[:, 1])) < 1


def test_a_frequent_value_is_drawn_as_often_as_it_was_seen():
    """Noise on all cells smears it; none on cells of few values draws copies."""
    g = rng(0, "spikes")
    x = torch.randn(500, 3, generator=g, dtype=torch.float64)
    x[:200, 0], x[:, 1] = 0.0, (x[:, 1] > 0).double()
    f = KernelEnergy(x, 0.3)
    given = torch.tensor([[torch.nan, torch.nan, 0.1]], dtype=torch.float64).expand(4000, -1)
    for drawn in (f.draw(4000, g), f.completed(given, g)):
        assert 0.35 < (drawn[:, 0] == 0).double().mean() < 0.45
        assert not bool(torch.isin(drawn[:, 1], x[:, 1]).any())
    assert distance(cdf(f.marginal([2]), f.draw(20_000, g)[:, 2])) < 1
    once = KernelEnergy(torch.cat([x[:1, :1], x[200:, :1]]), 0.3, torch.tensor([200.0] + [1.0] * 300))
    assert 0.35 < (once.draw(4000, g) == 0).double().mean() < 0.45  # rows that are equal make one centre


def test_draws_do_not_depend_on_the_parts(monkeypatch: pytest.MonkeyPatch):
    f, x = energy(3), rows(40, 3, "x", 0.4)
    whole = f.completed(x, rng(0, "draws"))
    monkeypatch.setattr(kernel_energy, "PAIRS", 20)
    torch.testing.assert_close(f.completed(x, rng(0, "draws")), whole, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_cells_are_extreme(dtype: torch.dtype):
    """1e300, ±DBL_MAX and ±inf are the lowest in f and the largest in error; sees NaN, and a cell that becomes 0."""
    f = energy(3).to(dtype)
    cells = torch.tensor([1.0, 10.0, 1e4, 1e9, 1e300, 1.8e308, math.inf], dtype=torch.float64)
    for sign, column in itertools.product((1, -1), range(3)):
        x = torch.zeros(len(cells), 3, dtype=dtype)
        x[:, column] = (sign * cells).to(dtype)
        for score in (-f(x), f.error(x)):
            assert bool((score.diff() >= 0).all())
            assert bool((score[:4].diff() > 0).all())
            assert bool((score[4:] > 1e4 * score[3]).all())
        assert not bool(f.gradient(x).isnan().any())


def test_an_extreme_centre_harms_no_other():
    """Sees inf − inf of a training row that holds 1e300."""
    x = rows(30, 2, "x")
    with_it = KernelEnergy(torch.cat([x, torch.tensor([[math.inf, 0.0]])]), 0.5)
    torch.testing.assert_close(with_it(x), KernelEnergy(x, 0.5)(x) + math.log(30 / 31))
    assert with_it.left_out(torch.tensor([30])).item() < -1e200


def test_samplers_take_it():
    f = energy(2).float()
    x = f.draw(200, rng(0, "start"))
    check_log_density(f, x)
    moved, _ = sample(langevin(f, step_size=0.05), x, steps=5, generator=rng(0, "chains"))
    assert bool(torch.isfinite(f(moved)).all())


@pytest.mark.parametrize(
    ("centres", "bandwidth", "counts", "message"),
    [
        (torch.zeros(0, 2), 1.0, None, "at least one row"),
        (torch.zeros(3), 1.0, None, "shape"),
        (torch.zeros(3, 2), 0.0, None, "bandwidth must be positive"),
        (torch.zeros(3, 2), math.nan, None, "bandwidth must be positive"),
        (torch.zeros(3, 2), 1.0, torch.zeros(3), "counts"),
        (torch.zeros(3, 2), 1.0, torch.ones(2), "counts"),
    ],
)
def test_what_is_no_density_is_refused(centres: Tensor, bandwidth: float, counts: Tensor | None, message: str):
    with pytest.raises(ValueError, match=message):
        kernel_energy.refuse_unusable(centres, bandwidth, torch.ones(len(centres)) if counts is None else counts)

"""Closed forms and laws: the grid against known integrals, metrics against brute force."""

import math
from itertools import permutations

import pytest
import torch
from torch import Tensor

from anila.density.targets import Density, banana, funnel, gaussian, mixture, rings
from anila.evaluation.likelihood import Grid, density, kl, log_z
from anila.evaluation.likelihood.grid import values_on_grid
from anila.evaluation.samples import mode_mass, nearest, ring_mass, total_variation_from_equal, wasserstein2
from anila.rng import rng

FRAME = Grid((-6.0, -6.0), (6.0, 6.0))
PLANE = {
    "gaussian": gaussian(dim=2),
    "long gaussian": gaussian(torch.tensor([0.1, 30.0])),
    "mixture": mixture(),
    "rings": rings(),
    "banana": banana(),
    "funnel": funnel(dim=2, sd=0.5),
}


def normal(mean: tuple[float, float], sd: float) -> Density:
    """N(mean, sd² I), unnormalised."""
    centre = torch.tensor(mean)
    return Density(
        lambda x: -((x - centre.to(x)) / sd).square().sum(1) / 2,
        gaussian(sd, 2).draw64,
        2,
        gaussian(sd, 2).log_z,
    )


class TestGrid:
    def test_cells_cover_the_box_once(self):
        grid = Grid((-1.0, 2.0), (3.0, 4.0), side=5)
        assert grid.points().mean(0).tolist() == pytest.approx([1.0, 3.0])
        assert grid.cell * 25 == pytest.approx(8.0)
        assert grid.points().amin(0).tolist() == pytest.approx([-1 + 0.4, 2 + 0.2])

    def test_entry_i_j_is_f_at_x0_i_x1_j(self):
        grid = Grid((0.0, 10.0), (3.0, 13.0), side=3)
        assert values_on_grid(lambda x: 100 * x[:, 0] + x[:, 1], grid)[2, 0].item() == pytest.approx(250 + 10.5)

    def test_around_holds_the_data_with_its_dtype(self):
        x = torch.tensor([[0.0, -10.0], [1.0, 10.0]], dtype=torch.float64)
        grid = Grid.around(x, margin=0.5, points=7)
        assert (grid.low, grid.high, grid.side) == ((-0.5, -20.0), (1.5, 20.0), 7)
        assert grid.points().dtype == torch.float64

    @pytest.mark.parametrize(("high", "side"), [((0.0, 1.0), 4), ((math.inf, 1.0), 4), ((1.0, 1.0), 1)])
    def test_an_empty_box_is_refused(self, high: tuple[float, float], side: int):
        with pytest.raises(ValueError, match="low < high"):
            Grid((0.0, 0.0), high, side)


class TestLogZ:
    @pytest.mark.parametrize("name", PLANE)
    def test_known_integrals(self, name: str):
        target = PLANE[name]
        grid = Grid.around(target.draw(20_000, rng(0, "box")), margin=0.4)
        assert log_z(target, grid) == pytest.approx(target.log_z, abs=1e-3)

    def test_the_default_grid_is_converged_for_rings(self):
        coarse = Grid(FRAME.low, FRAME.high, 200, torch.float64)
        fine = Grid(FRAME.low, FRAME.high, dtype=torch.float64)
        assert log_z(rings(), coarse) == pytest.approx(log_z(rings(), fine), abs=1e-10)

    def test_huge_values_do_not_overflow(self):
        target = gaussian(dim=2)
        assert log_z(lambda x: target(x) + 1e6, FRAME) == pytest.approx(target.log_z + 1e6, abs=0.1)

    def test_a_box_that_cuts_the_mass_is_said(self):
        target = gaussian(dim=2)
        with pytest.warns(RuntimeWarning, match="lower bound"):
            found = log_z(target, Grid((-2.0, -6.0), (2.0, 6.0)))
        assert found == pytest.approx(target.log_z + math.log(math.erf(math.sqrt(2))), abs=1e-4)

    def test_cells_too_large_are_said(self):
        with pytest.warns(RuntimeWarning, match="varies within a cell"):
            log_z(normal((0.51, -1.3), 0.01), FRAME)

    def test_nan_stays_nan(self):
        assert math.isnan(log_z(lambda x: x[:, 0] * math.nan, FRAME))

    def test_no_autograd_and_bounded_batches(self):
        def f(x: Tensor) -> Tensor:
            assert not torch.is_grad_enabled()
            assert len(x) < 20_000
            return gaussian(dim=2)(x)

        log_z(f, FRAME)

    def test_a_column_is_refused(self):
        with pytest.raises(ValueError, match="one number per row"):
            log_z(lambda x: x[:, :1], FRAME)

    def test_density_integrates_to_one_and_peaks_where_f_does(self):
        p = density(normal((2.0, -1.0), 0.5), FRAME)
        i, j = divmod(int(p.argmax()), FRAME.side)
        assert float(p.sum()) * FRAME.cell == pytest.approx(1.0)
        assert (FRAME.axis(0)[i].item(), FRAME.axis(1)[j].item()) == pytest.approx((2.0, -1.0), abs=0.03)


class TestKL:
    def test_rings_with_itself(self):
        assert abs(kl(rings(), rings().log_prob, FRAME)) < 1e-6

    def test_two_gaussians(self):
        data, model = normal((0.3, 0.0), 0.6), normal((-0.4, 0.5), 0.9)
        expected = 2 * math.log(0.9 / 0.6) + (2 * 0.6**2 + 0.7**2 + 0.5**2) / (2 * 0.9**2) - 1
        assert kl(model, data.log_prob, FRAME) == pytest.approx(expected, abs=1e-4)

    def test_a_constant_in_f_changes_nothing(self):
        model = normal((0.5, 0.0), 0.8)
        assert kl(lambda x: model(x) - 7.0, rings().log_prob, FRAME) == pytest.approx(
            kl(model, rings().log_prob, FRAME), abs=1e-4
        )

    def test_data_of_bounded_support(self):
        def uniform(x: Tensor) -> Tensor:
            return torch.where((x.abs() < 1).all(1), -math.log(4.0), -math.inf)

        expected = -math.log(4) + math.log(2 * math.pi) + 1 / 3
        grid = Grid(FRAME.low, FRAME.high, side=480)
        assert kl(gaussian(dim=2), uniform, grid) == pytest.approx(expected, abs=1e-3)

    def test_data_where_the_model_cannot_be_is_infinitely_far(self):
        half = lambda x: torch.where(x[:, 0] > 0, gaussian(dim=2)(x), -math.inf)  # noqa: E731
        assert kl(half, gaussian(dim=2).log_prob, FRAME) == math.inf

    def test_unnormalised_data_are_refused(self):
        with pytest.raises(ValueError, match="integral of 1"):
            kl(gaussian(dim=2), rings(), FRAME)


class TestWasserstein2:
    def test_a_shift_is_its_length(self):
        x = torch.randn(300, 2, generator=rng(0, "x"))
        assert wasserstein2(x, x.flip(0) + torch.tensor([3.0, 4.0])) == pytest.approx(5.0, rel=1e-6)

    def test_against_all_permutations(self):
        x, y = torch.randn(2, 6, 3, generator=rng(1, "x"), dtype=torch.float64)
        best = min((x - y[list(p)]).square().sum(1).mean().item() for p in permutations(range(6)))
        assert wasserstein2(x, y) == pytest.approx(math.sqrt(best), rel=1e-12)

    def test_too_many_rows_unequal_sizes_and_lost_chains_are_refused(self):
        x = torch.zeros(5001, 2)
        with pytest.raises(ValueError, match="5,000 rows"):
            wasserstein2(x, x)
        with pytest.raises(ValueError, match="the same shape"):
            wasserstein2(x[:3], x[:4])
        with pytest.raises(ValueError, match="1 of 3 hold NaN"):
            wasserstein2(torch.tensor([[0.0], [math.nan], [1.0]]), torch.zeros(3, 1))
        with pytest.raises(ValueError, match="2 of 3 hold NaN"):
            wasserstein2(torch.zeros(3, 1), torch.tensor([[0.0], [math.nan], [math.inf]]))


class TestMasses:
    def test_every_row_counts_once_at_its_nearest_centre(self):
        target = mixture()
        assert target.modes is not None
        x = target.modes.float()[[0, 0, 0, 5]] + 0.1
        mass = mode_mass(x, target.modes.float())
        assert mass.tolist() == [0.75, 0, 0, 0, 0, 0.25, 0, 0]

    def test_masses_sum_to_one_and_exact_draws_are_equal(self):
        x = rings().draw(40_000, rng(0, "rings"))
        mass = ring_mass(x, (1.0, 2.0, 3.0, 4.0))
        assert mass.sum().item() == pytest.approx(1.0, abs=1e-12)
        assert total_variation_from_equal(mass) < 0.015

    def test_total_variation_of_one_mode_out_of_four(self):
        assert total_variation_from_equal(torch.tensor([0.0, 1.0, 0.0, 0.0])) == 0.75

    def test_lost_chains_are_refused(self):
        lost = torch.tensor([[0.0, 0.0], [math.inf, 0.0]])
        with pytest.raises(ValueError, match="1 of 2"):
            mode_mass(lost, torch.zeros(1, 2))
        with pytest.raises(ValueError, match="1 of 2"):
            ring_mass(lost, (1.0,))


class TestNearest:
    def test_chunks_give_what_the_whole_gives(self):
        x, data = (
            torch.rand(9, 3, 4, 4, generator=rng(0, "x")),
            torch.rand(50, 3, 4, 4, generator=rng(1, "x")),
        )
        index, distance = nearest(x, data.split(7))
        brute = (x[:, None] - data).double().square().flatten(2).sum(2).sqrt()
        assert index.tolist() == brute.argmin(1).tolist()
        assert torch.allclose(distance, brute.amin(1), rtol=1e-6)

    def test_a_copy_is_at_distance_zero_and_the_first_wins(self):
        data = torch.rand(40, 1, 28, 28, generator=rng(2, "x")) + 100
        index, distance = nearest(data[30:33], torch.cat([data, data]).split(16))
        assert index.tolist() == [30, 31, 32]
        assert distance.tolist() == [0.0, 0.0, 0.0]

    def test_no_data_are_refused(self):
        with pytest.raises(ValueError, match="at least one row"):
            nearest(torch.zeros(1, 2), [])

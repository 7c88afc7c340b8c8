"""Laws of taking noise away: exact for Gaussian data in however many portions, and sharp where data have edges."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from anila.density.log_density import LogDensity
from anila.density.networks import BlurredGaussian, NoiseConditional, UNet
from anila.density.noisy_data import denoised, finer, noised
from anila.rng import rng


class Known:
    """f(x, s) of data with noise in one dimension, exactly: a law for each level."""

    lowest, highest = 0.4, 3.0

    def __init__(self, law: Callable[[Tensor, float | Tensor], Tensor], finest: float):
        self.law, self.finest = law, finest

    def draw_highest(self, n: int, generator: torch.Generator) -> Tensor:
        return self.highest * torch.randn(n, 1, generator=generator)

    def __call__(self, x: Tensor, s: Tensor | None = None) -> Tensor:
        return self.law(x, self.lowest if s is None else s)

    def at(self, s: float | Tensor) -> LogDensity:
        return lambda x: self.law(x, s)


def gaussian(finest: float) -> Known:
    """Data N(1, 0.5²)."""
    return Known(lambda x, s: -(x - 1).square().sum(1) / (2 * (0.25 + s**2)), finest)


def points(finest: float) -> Known:
    """Data at −1 and 1."""
    return Known(
        lambda x, s: torch.logsumexp(torch.cat([-(x - m).square() / (2 * s**2) for m in (-1, 1)], 1), 1), finest
    )


X = torch.linspace(-2, 2, 9)[:, None].double()


@pytest.mark.parametrize("finest", [0.4, 0.3, 0.1, 0.01])
def test_gaussian_data_come_back_as_their_mean_in_however_many_portions(finest: float):
    """Sees a portion that is taken twice, left out, or measured at another level."""
    torch.testing.assert_close(denoised(gaussian(finest), X), 1 + (X - 1) * 0.25 / (0.25 + 0.16))


def test_finer_levels_bring_points_nearer_to_data_that_have_edges():
    """Sees levels below the lowest unused: x + s² ∇f is tanh(x / s²), blurred where it is in doubt."""
    torch.testing.assert_close(denoised(points(0.4), X), torch.tanh(X / 0.16))
    x = noised(points(0.4), torch.ones(500, 1).double(), rng(0, "noise"))
    blurred, sharp = ((denoised(points(finest), x).abs() - 1).abs().mean() for finest in (0.4, 0.05))
    assert sharp < blurred / 2


def test_the_levels_fall_by_about_the_square_root_of_two():
    assert finer(points(0.4)) == [0.4, 0.0]
    assert finer(points(0.1)) == pytest.approx([0.4, 0.4 / 2**0.5, 0.2, 0.1 * 2**0.5, 0.1, 0.0])
    assert finer(points(0.35)) == pytest.approx([0.4, 0.35, 0.0])


@pytest.mark.parametrize("finest", [0.0, 0.2])
def test_a_finest_level_that_is_none_is_refused(finest: float):
    with pytest.raises(ValueError, match=r"finest must be positive and at most lowest=0\.1"):
        NoiseConditional(UNet(1, 8, (4,)), BlurredGaussian((1, 8, 8)), 0.1, finest=finest)

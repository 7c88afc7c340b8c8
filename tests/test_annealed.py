"""Laws of annealed sampling: each step to a lower level, and the law of what arrives."""

import math

import pytest
import torch
from torch import Tensor

from anila import anisotropic_mala, langevin, mala, rng, sample_annealed
from anila.density.networks import BlurredGaussian, NoiseConditional
from anila.samplers.annealed import evenly_spaced
from anila.samplers.widening import measure_widening
from exact import distance
from levels import BlurredMixture, Levelled

LEVELS = [2.0, 1.2, 0.7, 0.4, 0.2]


class Normal(Levelled):
    """Data N(1, 0.5²) on a line, blurred."""

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        return -(x[:, 0] - 1).square() / (2 * (0.25 + s.square()))


def start(n: int = 20_000) -> Tensor:
    """Exact draws of `Normal` at the first level."""
    return 1 + math.sqrt(0.25 + LEVELS[0] ** 2) * torch.randn(n, 1, generator=rng(0, "start"), dtype=torch.float64)


def normal_distance(x: Tensor, variance: float) -> float:
    return distance(torch.special.ndtr((x[:, 0] - 1) / math.sqrt(variance)))


@pytest.mark.parametrize("denoise", [False, True])
def test_without_a_kernel_its_law_is_known(denoise: bool):
    """Sees a wrong step or noise: each step is linear, v ← (1 − (s² − s'²) / (σ² + s²))² v + its noise."""
    x, traces = sample_annealed(Normal(), start(), LEVELS, rng(0, "draw"), denoise=denoise)
    variance = 0.25 + LEVELS[0] ** 2
    for s, lower in zip(LEVELS, [*LEVELS[1:], 0.0], strict=True):
        if lower or denoise:
            gap = s**2 - lower**2
            variance = (1 - gap / (0.25 + s**2)) ** 2 * variance + gap * lower**2 / s**2
    assert traces == []
    assert normal_distance(x, variance) < 1


@pytest.mark.parametrize("make", [mala, lambda f, step_size: anisotropic_mala(f, 2.0, step_size)])
def test_an_exact_kernel_makes_it_exact(make):
    """Sees a kernel of another level: after MALA at each level draws have its law, here where the first was wrong."""
    x, traces = sample_annealed(
        Normal(), start() + 3, LEVELS, rng(0, "draw"), lambda f, s: make(f, step_size=1.5 * s**2), 25, denoise=False
    )
    assert len(traces) == len(LEVELS)
    assert all(trace["accept_prob"].shape == (25, 20_000) for trace in traces)
    assert normal_distance(x, 0.25 + LEVELS[-1] ** 2) < 1


def test_it_finds_the_modes_of_a_mixture_in_their_masses():
    """Sees draws that stay where they were: many levels make each step exact, and a last step takes the noise away."""
    f = BlurredMixture()
    levels = (4.0 * (0.1 / 4.0) ** torch.linspace(0, 1, 60)).tolist()
    x0 = f.draw(20_000, rng(0, "data")) + levels[0] * torch.randn(20_000, 1, generator=rng(0, "noise")).double()
    x, _ = sample_annealed(f, x0, levels, rng(0, "draw"), lambda f, s: langevin(f, 0.2 * s**2), 2)
    assert (x > 0).double().mean().item() == pytest.approx(0.75, abs=0.01)
    for centre in (-1.0, 1.0):
        near = x[(x - centre).abs() < 0.8]
        assert near.mean().item() == pytest.approx(centre, abs=0.01)
        assert near.std().item() == pytest.approx(0.2**2 / math.sqrt(0.2**2 + 0.1**2), rel=0.03)


def test_draws_start_at_the_gaussian_of_a_network():
    """Sees events flattened or levels of another type: the Gaussian of images, annealed, is the Gaussian again."""
    data = torch.rand(200, 1, 2, 2, generator=rng(0, "images")) * torch.tensor([0.2, 1.0])

    class Nothing(torch.nn.Module):
        def forward(self, u: Tensor, s: Tensor) -> Tensor:  # noqa: ARG002
            return torch.zeros_like(u)

    f = NoiseConditional(Nothing(), BlurredGaussian.of(data), 0.1)
    x0 = f.base.draw(20_000, 1.0, rng(0, "start"))
    levels = [1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.13, 0.1]
    x, _ = sample_annealed(f, x0, levels, rng(0), lambda f, s: mala(f, s**2), 10, denoise=False)
    assert x.shape == (20_000, 1, 2, 2)
    torch.testing.assert_close(x.mean(0), data.mean(0), atol=0.02, rtol=0)
    exact = data.flatten(1).T.cov(correction=0) + 0.1**2 * torch.eye(4)
    torch.testing.assert_close(x.flatten(1).T.cov(), exact, atol=0.005, rtol=0.05)


class Timid(torch.nn.Module):
    """D = m + (1 − timidity) (D₀ − m): nearer to the mean of the data than the Gaussian's."""

    def __init__(self, base: BlurredGaussian, timidity: float):
        super().__init__()
        self.base, self.timidity = base, timidity

    def forward(self, u: Tensor, s: Tensor) -> Tensor:
        level = s[:, None]
        x = self.base.mean + u * (self.base.variance() + level**2).sqrt()
        away = x - level**2 * self.base.pull(x, s) - self.base.mean
        return -self.timidity * away / self.base.unknown(s).sqrt()[:, None]


def test_widened_draws_vary_as_the_data():
    """Sees a w of the wrong sign or size, or one of which the levels below know nothing."""
    data = torch.randn(2000, 30, generator=rng(0, "data")) * torch.linspace(0.1, 0.4, 30)
    base = BlurredGaussian.of(data)
    exact, timid = (NoiseConditional(Timid(base, timidity), base, 0.02, 2.0) for timidity in (0.0, 0.05))

    def variance(f: NoiseConditional) -> float:
        x, _ = sample_annealed(f, f.draw_highest(4000, rng(0, "start")), evenly_spaced(f, 60), rng(0, "draw"))
        return (x @ base.directions).var(0).sum().item()

    wanted = variance(exact)
    assert variance(timid) < 0.9 * wanted
    for f in (exact, timid):
        measure_widening(f, rng(0, "widening"), n=2000)
    assert exact.widening.abs().max() < 1e-3
    assert timid.widening[-1] == 0
    assert variance(timid) == pytest.approx(wanted, rel=0.02)


def test_weights_stored_without_widening_have_none():
    """Sees models of earlier versions refused, and a state that keeps no widening."""
    f, g = (NoiseConditional(torch.nn.Identity(), BlurredGaussian((4,)), 0.1) for _ in range(2))
    f.widening[3] = 0.02
    state = f.state_dict()
    g.load_state_dict(state)
    assert g.widening[3] == 0.02
    del state["widening"]
    g.load_state_dict(state)
    assert not g.widening.any()


@pytest.mark.parametrize("levels", [[], [0.1, 1.0], [1.0, 1.0], [1.0, 0.0]])
def test_levels_that_do_not_descend_are_refused(levels: list[float]):
    with pytest.raises(ValueError, match="levels must be positive and descending"):
        sample_annealed(Normal(), start(4), levels, rng(0))


def test_a_kernel_and_its_steps_belong_together():
    with pytest.raises(ValueError, match="got 5 steps without a kernel"):
        sample_annealed(Normal(), start(4), LEVELS, rng(0), steps=5)
    with pytest.raises(ValueError, match="got 0 steps with a kernel"):
        sample_annealed(Normal(), start(4), LEVELS, rng(0), lambda f, s: mala(f, s**2))

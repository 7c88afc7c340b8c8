"""What chains say about themselves is what is true of chains whose truth is known."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from anila.applications import denoise
from anila.density.targets import gaussian
from anila.evaluation.chains import (
    Convergence,
    configurational_temperature,
    convergence,
    ess,
    mcse,
    nested_rhat,
    rhat,
    verdict,
)
from anila.evaluation.chains.bias import Drift
from anila.rng import rng
from anila.samplers import Sampler, Trace, anisotropic, mala, sample


def autoregressive(phi: float, kept: int, chains: int, seed: int = 0) -> Tensor:
    """x' = φ x + √(1 − φ²) ξ: stationary N(0, 1) whose ESS is (1 − φ) / (1 + φ) of the draws; (kept, chains, 1)."""
    noise = torch.randn(kept, chains, 1, generator=rng(seed, "noise"), dtype=torch.float64)
    x, out = noise[0], []
    for xi in noise:
        x = phi * x + math.sqrt(1 - phi**2) * xi
        out.append(x)
    return torch.stack(out)


@pytest.mark.parametrize("phi", [-0.3, 0.0, 0.5, 0.9])
def test_autoregressive_chains_have_their_effective_size(phi: float):
    """Sees chains and draws exchanged, and an ESS that ignores the sign of the correlation."""
    x = autoregressive(phi, 4000, 8)
    expected = x.numel() * (1 - phi) / (1 + phi)
    assert ess(x).item() == pytest.approx(expected, rel=0.1)
    assert mcse(x).item() == pytest.approx(1 / math.sqrt(expected), rel=0.1)


def test_the_error_of_a_mean_is_its_spread_over_repetitions():
    """Sees an MCSE in other units: it is the standard deviation of the mean over 200 runs."""
    means = torch.stack([3 * autoregressive(0.8, 500, 2, seed).mean() for seed in range(200)])
    assert mcse(3 * autoregressive(0.8, 500, 2)).item() == pytest.approx(means.std().item(), rel=0.25)


def test_tails_can_be_worse_than_the_bulk():
    """Sees tail ESS that is bulk ESS: chains that differ in scale only agree in the middle."""
    x = autoregressive(0.0, 1000, 4) * torch.tensor([1.0, 1.0, 1.0, 4.0], dtype=torch.float64)[:, None]
    assert ess(x, "tail").item() < 0.2 * ess(x).item()


def test_separated_chains_are_seen_and_mixed_ones_are_not():
    """R̂ of two chains a distance 2δ apart is √(1 + 2 δ² …): sees a statistic within chains only."""
    x = autoregressive(0.0, 1000, 4)
    apart = x + 2 * torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64)[:, None]
    assert rhat(x).item() < 1.01
    assert rhat(apart).item() > 1.5
    assert math.isnan(rhat(torch.zeros(100, 4, 1)).item()) or rhat(torch.zeros(100, 4, 1)).item() > 1.01


def test_nested_rhat_allows_short_chains_but_not_separated_groups():
    """64 chains of 20 correlated draws: R̂ asks each to be long, nested R̂ asks groups only, and sees one apart."""
    x, groups = autoregressive(0.8, 20, 256), torch.arange(4).repeat_interleave(64)
    assert rhat(x).item() > 1.05
    assert nested_rhat(x, groups).item() < 1.05 < rhat(x).item()
    apart = x + 2 * (groups == 3).double()[:, None]
    assert nested_rhat(apart, groups).item() > 1.1
    with pytest.raises(ValueError, match="of equal size"):
        nested_rhat(x[:, :100], groups[:100])


@pytest.mark.parametrize("heat", [0.5, 1.0, 2.0])
def test_temperature_is_that_of_the_law(heat: float):
    """Draws of exp(f/T) about a far mean: sees a missing mean, dimension or sign."""
    x = 7 + math.sqrt(heat) * torch.randn(200, 50, 3, generator=rng(0, "draws"), dtype=torch.float64)
    found, error = configurational_temperature(x, -(x - 7))
    assert abs(found - heat) < 4 * error
    assert error < 0.02 * heat


def run(sampler: Sampler, chains: int = 64, steps: int = 600) -> tuple[Trace, Tensor]:
    """Chains in 8 groups after as long a warm-up."""
    groups = torch.arange(8).repeat_interleave(chains // 8)
    x0 = 2 * torch.randn(8, 2, generator=rng(0, "start"), dtype=torch.float64)[groups]
    x, _ = sample(sampler, x0, steps, rng(0, "warm-up"))
    return sample(sampler, x, steps, rng(0, "chains"), keep_every=5)[1], groups


@cache
def of(make: Callable[..., Sampler], steps: int = 600, **settings: float) -> Convergence:
    """What is known of chains of this kernel on N(0, I)."""
    trace, groups = run(make(gaussian(dim=2), **settings), steps=steps)
    return convergence(gaussian(dim=2), trace, groups, settings.get("threshold"))


def test_good_chains_are_called_mixed():
    """N(0, I) by mala: everything is as it should be."""
    found = of(mala, step_size=1.0)
    assert found.temperature == pytest.approx(1, abs=4 * found.temperature_error)
    assert found.nested_rhat is not None
    assert found.nested_rhat < 1.01
    assert min(found.ess_bulk, found.ess_tail) > 400
    judged = verdict(found)
    assert judged.ok
    assert judged.lines[0].startswith("these chains have mixed: nested R̂")


@pytest.mark.filterwarnings("ignore:.*stuck")
@pytest.mark.parametrize(
    ("step_size", "advice"), [(1e-5, "raise step_size"), (1e3, "lower step_size")], ids=["tiny", "huge"]
)
def test_bad_chains_are_called_bad_and_the_remedy_is_named(step_size: float, advice: str):
    """Sees a verdict that is always good, and advice the wrong way round."""
    judged = verdict(of(mala, steps=200, step_size=step_size))
    assert not judged.ok
    assert judged.lines[0] == "these chains have NOT mixed, because"
    assert "above 1.01" in judged.lines[1]
    assert any(advice in line for line in judged.lines)


def test_mixed_chains_of_another_law_are_called_so():
    """The printed rule with b = 1 heats N(0, 1) to 1.8 (see test_bias): sees a verdict blind to the law."""
    judged = verdict(of(anisotropic, threshold=1.0))
    assert not judged.ok
    assert "but not to exp f" in judged.lines[0]
    assert "temperature 1." in judged.lines[1]


def test_an_approximate_kernel_is_called_so_where_nothing_speaks_against_it():
    """Sees a kernel that takes every proposal judged as an exact one, and an exact one told to become what it is."""
    found = of(mala, step_size=1.0)
    assert "approximate" not in " ".join(verdict(found).lines)
    inexact = replace(found, symptoms=found.symptoms._replace(exact=False))
    assert verdict(inexact).ok
    assert "an approximate kernel, whose temperature is that of exp f, 1, to within" in verdict(inexact).lines[1]
    gone = Drift({"x0": 0.9}, limit=0.5, detectable=1.0, level=0.01, steps=10)
    assert "check that f and its draw" in " ".join(verdict(found, gone).lines)
    assert "use mala" in " ".join(verdict(inexact, gone).lines)


def test_a_threshold_nearly_everything_exceeds_is_named():
    """b at the 8% quantile of |∂f| of N(0, I): sees the quantile of something else."""
    found = of(anisotropic, steps=200, threshold=0.1)
    assert found.threshold_quantile is not None
    assert found.threshold_quantile == pytest.approx(1 - found.clipped, abs=0.02)
    assert found.threshold_quantile < 0.1
    assert any("raise the threshold" in line for line in verdict(found).lines)


def test_quantiles_of_the_gradient():
    """|∂f| of N(0, I) is |N(0, 1)|: 0.674, 1.282, 1.960."""
    assert of(mala, step_size=1.0).grad_quantiles == pytest.approx((0.674, 1.282, 1.960), abs=0.03)


def test_as_dict_is_json_and_too_little_is_refused():
    trace, groups = run(mala(gaussian(dim=2), 1e-12), steps=40)
    assert json.loads(json.dumps(verdict(convergence(gaussian(dim=2), trace, groups)).as_dict(), allow_nan=False))
    with pytest.raises(ValueError, match="at least 4 kept"):
        convergence(gaussian(dim=2), sample(mala(gaussian(dim=2), 1.0), torch.zeros(4, 2), 3, rng(0), 1)[1])


def test_chains_of_several_observations_are_judged_by_their_own():
    """Sees f of a chain taken for that of another observation, which makes the draws of both look hot."""
    posterior = denoise(lambda x: -x.square().sum(1) / 2, torch.tensor([[-8.0], [8.0]]), sd=1.0)
    x0 = torch.tensor([[-4.0], [4.0]]).repeat_interleave(16, 0)
    _, trace = sample(mala(posterior, 0.5), x0, 400, rng(0, "chains"), keep_every=4)
    found = convergence(posterior, trace)
    assert abs(found.temperature - 1) < 5 * found.temperature_error

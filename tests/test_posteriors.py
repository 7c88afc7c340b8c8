"""The posteriors of benchmarks/posteriors.py: what is exact about them."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from anila import check_log_density, rng

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return runpy.run_path(str(BENCHMARKS / "posteriors.py"))


def grid(mu: Tensor, log_tau: Tensor) -> Tensor:
    return torch.stack(torch.meshgrid(mu, log_tau, indexing="ij"), 2).flatten(0, 1)


@pytest.mark.parametrize("name", ["schools_centred", "schools_not_centred"])
def test_the_reference_of_the_eight_schools_is_that_of_their_log_density(script: dict[str, Any], name: str):
    """By a sum over (μ, log τ): sees a wrong prior, a lost Jacobian, and quantities in another order."""
    model, reference = script["read"](name)
    line = torch.linspace(-1, 1, 301, dtype=torch.float64)
    x = grid(4 + 36 * line, -2.5 + 10 * line)
    mu, tau = x[:, :1], x[:, 1:].exp()
    y, error = (torch.as_tensor(script[each]) for each in ("EFFECT", "ERROR"))
    variance = 1 / (1 / error**2 + 1 / tau**2)
    theta = variance * (y / error**2 + mu / tau**2)
    centred = name == "schools_centred"
    best = torch.cat([x, theta if centred else (theta - mu) / tau], 1)
    width = variance if centred else variance / tau**2
    p = torch.softmax(model.f(best) + width.log().sum(1) / 2, 0)[:, None]
    means = model.quantities(best)
    mean = (p * means).sum(0)
    variances = torch.cat([0 * x, variance], 1)
    sd = ((p * (variances + means**2)).sum(0) - mean**2).sqrt()
    torch.testing.assert_close(mean, reference["mean"], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(sd, reference["sd"], rtol=1e-3, atol=1e-3)
    below = torch.stack([(p * (means[:, :2] < q[:2])).sum(0) for q in reference["quantiles"]])
    assert (below - torch.tensor(script["SHARES"])[:, None]).abs().max() < 0.02


def test_every_seed_pays_for_the_compiler(script: dict[str, Any]):
    """Sees seeds that find the compiler's files and seem faster than a first run, and a compiler that is paid twice."""
    first = {"compiler_seconds": 2.0, "warm_up_seconds": 5.0, "seconds": 1.0}
    later = {"compiler_seconds": 0.0, "warm_up_seconds": 3.0, "seconds": 1.5}
    assert [script["cost"](run, [first, later]) for run in (first, later)] == [6.0, 6.5]
    assert [script["cost"](run, [first, later], compiling=False) for run in (first, later)] == [4.0, 4.5]


def test_a_ratio_is_of_chains_that_mixed(script: dict[str, Any]):
    """Sees an ESS of NUTS's chains that stand apart taken for one, and ours ÷ NUTS the wrong way round."""
    run = {"compiler_seconds": 0.0, "warm_up_seconds": 5.0, "seconds": 5.0, "gradients": 1e3, "ess": 100.0}
    run |= {"gradients_a_step": 1.0, "mean_error": 0.0, "sd_error": 0.0, "share_error": 0.0, "rhat": 1.0}
    ours = {"a": [run], "b": [run]}
    nuts = {"far": {"a": [run | {"rhat": 1.2}], "b": [run | {"ess": 25.0}]}, "near": {"a": [run | {"ess": 200.0}]}}
    nuts |= {"dense": {"a": [run | {"ess": 400.0, "rhat": 1.2}]}}
    first, second, *rest = (line.split(" | ") for line in script["beside"](ours, nuts).splitlines()[2:])
    assert first[-5] == "not mixed"
    assert second[-1] == "0.5 |"
    assert rest[0][-5] == "not mixed"
    assert rest[1][-1] == "4 |"
    assert "median of 2 posteriors: 2.25 a second" in script["medians"](ours, nuts)


@pytest.fixture
def more(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return runpy.run_path(str(BENCHMARKS / "more_posteriors.py"))


def test_each_of_the_other_posteriors_is_a_log_density(more: dict[str, Any]):
    """Sees one whose rows see each other or of another dimension than it says."""
    for made in more["POSTERIORS"].values():
        f, dim = made()
        x = torch.randn(4, dim, generator=rng(0, "points"), dtype=torch.float64)
        check_log_density(f, x)


def test_counts_are_those_of_a_negative_binomial(more: dict[str, Any]):
    """Sees a mean and a φ that are mixed up: against torch's own, of the same data and priors."""
    f, _ = more["counts"]()
    features = torch.cat([torch.ones(100, 1), more["noise"](100, 2)], 1).double()
    rate = features @ torch.tensor([1.0, 0.5, -0.5]).double() + 0.5 * more["noise"](100, stream="noise")
    y = torch.poisson(rate.exp(), generator=rng(7, "counts"))
    x = torch.randn(5, 4, generator=rng(0, "points"), dtype=torch.float64)
    phi = x[:, 3:].exp()
    law = torch.distributions.NegativeBinomial(phi, logits=x[:, :3] @ features.T - x[:, 3:])
    prior = -x[:, :3].square().sum(1) / 50 + x[:, 3] - torch.log1p(phi[:, 0] ** 2)
    difference = f(x) - law.log_prob(y).sum(1) - prior
    torch.testing.assert_close(difference, difference[:1].expand(5))

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

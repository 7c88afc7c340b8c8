"""The posteriors of benchmarks/posteriors.py: what is exact about them."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

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

"""Networks that see rows in uncorrelated coordinates: the Gaussian of the data, few rows, odd rows, and samplers."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from anila.density.networks import Confined, Whitened
from anila.density.networks import whitened as module
from anila.rng import rng
from anila.runs.experiment.build import build_network
from anila.runs.experiment.build_sampler import build_sampler
from anila.runs.experiment.presets import PRESETS
from anila.runs.experiment.settings import Network, Sampler
from anila.runs.model.trained import Trained
from anila.runs.training.preflight import preflight
from anila.samplers import sample


class Nothing(nn.Module):
    """A net that has learned nothing."""

    def forward(self, u: Tensor) -> Tensor:
        return 0 * u.sum(1)


def gaussian_of(x: Tensor) -> Whitened:
    f = Whitened(Confined(Nothing(), 1.0), x.shape[1])
    f.see(x)
    return f


def correlated(n: int, d: int = 3) -> Tensor:
    """Rows of which the second column follows the first closely."""
    x = torch.randn(n, d, generator=rng(0, "rows"))
    x[:, 1] = x[:, 0] + 0.1 * x[:, 1]
    return x + 5


def test_a_net_that_knows_nothing_is_the_gaussian_of_the_data():
    """Sees C for C⁻¹, a mean that is not taken away, and columns taken as independent."""
    x = correlated(5_000)
    f, law = gaussian_of(x), torch.distributions.MultivariateNormal(x.mean(0), x.T.cov(correction=0))
    f_of, log_p = f(x[:50]), law.log_prob(x[:50])
    torch.testing.assert_close(f_of - f_of[0], log_p - log_p[0], rtol=0, atol=0.3)


def test_few_rows_are_believed_little_and_many_columns_have_few_directions(monkeypatch: pytest.MonkeyPatch):
    """Independent columns, 20 rows of 40. Sees a singular covariance: f beyond all measure off the rows seen."""
    x = torch.randn(20, 40, generator=rng(0, "few"))
    new = torch.randn(500, 40, generator=rng(0, "new"))
    assert 10 < -gaussian_of(x)(new).mean() < 40  # 20 with the true covariance
    monkeypatch.setattr(module, "DIRECTIONS", 5)
    assert 10 < -gaussian_of(x)(new).mean() < 40
    wide = torch.randn(4_000, 12, generator=rng(0, "wide")) * torch.tensor([9.0, 5.0, *[1.0] * 10])
    f = Whitened(nn.Identity(), 12)
    f.see(wide)
    torch.testing.assert_close(f(wide).T.cov(), torch.eye(12), rtol=0, atol=0.1)


def test_rows_far_out_and_columns_that_stand_still_change_nothing():
    """A cell of 1e30, a column without a variance, and no variance at all. Sees a covariance of one row, and NaN."""
    x = torch.cat([correlated(500), torch.full((500, 1), 2.0)], 1)
    plain, odd = gaussian_of(x), gaussian_of(torch.cat([x, torch.full((1, 4), 1e30)]))
    torch.testing.assert_close(plain(x[:5]), odd(x[:5]), rtol=1e-4, atol=1e-4)
    assert bool(torch.isfinite(plain(x)).all())
    assert bool(torch.isfinite(gaussian_of(torch.ones(5, 2))(x[:, :2])).all())


def test_chains_move_as_far_as_the_data_lie():
    """One step size suits columns that follow others closely. Sees steps that are refused, as in x they would be."""
    x = correlated(2_000)
    f = gaussian_of(x)
    kernel = build_sampler(Sampler(name="mala", step_size=1.0), f)
    ends, trace = sample(kernel, x[:500], 20, rng(0, "chains"))
    assert trace["accept_prob"].mean() > 0.8
    torch.testing.assert_close(ends.T.cov(), x.T.cov(), rtol=0.2, atol=0.05)


def test_a_table_is_whitened_when_training_begins():
    """Sees a net that has not seen the table, or all of it but the mean."""
    config = replace(PRESETS["table"].experiment, data=replace(PRESETS["table"].experiment.data, name="moons"))
    f = Trained.untrained(config).f
    [found] = [part for part in f.modules() if isinstance(part, Whitened)]
    x = Trained.untrained(config).data.batch(4_000, 0, 0)
    L = found.preconditioner()
    assert L is not None
    torch.testing.assert_close(L @ L.T, x.T.cov(), rtol=0.1, atol=0.05)


def test_slopes_are_told_in_the_units_of_the_threshold():
    """In coordinates of which a tenth is told, slopes are ten times those at the data. Sees slopes of x: 100 times."""
    config = replace(PRESETS["table"].experiment, data=replace(PRESETS["table"].experiment.data, name="moons"))
    trained = Trained.untrained(config)
    [whitened] = [part for part in trained.learner.model.modules() if isinstance(part, Whitened)]
    whitened.variances.mul_(0.01)
    [line] = [line for line in preflight(trained).description if line.startswith("gradient")]
    median = float(line.partition("median ")[2].partition(",")[0])
    assert 3 < median < 20


def test_images_are_not_whitened():
    with pytest.raises(ValueError, match=r"network.whitened is for rows of numbers \(d,\); the data are \(1, 8, 8\)"):
        build_network(Network(name="mlp", whitened=True), (1, 8, 8), 0)

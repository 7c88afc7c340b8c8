"""Laws of posteriors of an f with levels: with a net that says nothing f is a Gaussian, and they are known.

Points are compared as they come down, before any transition at the final law, which would hide where they came from:
500 for each of two observations, means and covariances at five standard errors of their own.
"""

import inspect
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from anila.applications.on_runs import levels
from anila.applications.on_runs.draws import Law, begun, cleaning, completion, drawn, restoring
from anila.applications.on_runs.observed import Observed
from anila.density.networks import BlurredGaussian, NoiseConditional
from anila.rng import rng
from anila.runs.experiment import settings
from anila.runs.experiment.presets import PRESETS
from anila.runs.experiment.settings import Data
from anila.runs.model.trained import Trained
from anila.samplers import SAMPLERS
from crossed import crossed

D = torch.float64
K = 500
MEAN = torch.tensor([0.1, -0.2, 0.0], dtype=D)
ROOT = 0.3 * torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.3, 0.5, 0.7]], dtype=D)
LOWEST = 0.1
ANY = {"threshold": 30.0, "leapfrog_steps": 2}
COV = ROOT @ ROOT.T + LOWEST**2 * torch.eye(3, dtype=D)
Y = torch.tensor([[0.4, 0.1, -0.2], [-0.3, 0.2, 0.3]], dtype=D)
HIDDEN = torch.tensor([False, True, True])
VIEW = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.5, -1.0]], dtype=D)


class Nothing(nn.Module):
    """A net that says nothing."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros((), dtype=D))

    def forward(self, u: Tensor, s: Tensor) -> Tensor:  # noqa: ARG002
        return self.weight * u


def known() -> NoiseConditional:
    """The data's N(MEAN, ROOT ROOTᵀ) at every level."""
    variances, directions = torch.linalg.eigh(ROOT @ ROOT.T)
    base = BlurredGaussian((3,)).to(D)
    base.load_state_dict({"mean": MEAN, "directions": directions, "variances": variances, "rest": torch.zeros(())})
    return NoiseConditional(Nothing(), base, LOWEST)


def kernel(name: str = "mala", step_size: float = 0.7 * LOWEST**2) -> settings.Sampler:
    takes = inspect.signature(SAMPLERS[name]).parameters
    return settings.Sampler(name=name, **{k: v for k, v in (ANY | {"step_size": step_size}).items() if k in takes})


def view(x: Tensor) -> Tensor:
    return x @ VIEW.T.to(x)


def given(seen: Tensor, matrix: Tensor, sd: float) -> tuple[Tensor, Tensor]:
    """Means and covariance of N(MEAN, COV) given seen = matrix x + sd ξ."""
    gain = COV @ matrix.T @ torch.linalg.inv(matrix @ COV @ matrix.T + sd**2 * torch.eye(len(matrix), dtype=D))
    return MEAN + (seen - MEAN @ matrix.T) @ gain.T, COV - gain @ matrix @ COV


EYE = torch.eye(3, dtype=D)
CASES: dict[str, tuple[Observed, Law, tuple[Tensor, Tensor]]] = {
    "inpaint": (Observed(Y, HIDDEN), completion, given(Y[:, :1], EYE[:1], 0)),
    "inpaint, soft": (Observed(Y, HIDDEN, sd=0.2), completion, given(Y[:, :1], EYE[:1], 0.2)),
    "denoise": (Observed(Y, sd=0.4), cleaning, given(Y, EYE, 0.4)),
    "restore": (Observed(view(Y), view=view, sd=0.2), restoring, given(view(Y), VIEW, 0.2)),
}


def misfit(x: Tensor, mean: Tensor, cov: Tensor) -> float:
    """The largest error of a mean or a covariance of what is free, in standard errors."""
    free = cov.diagonal() > 1e-12
    mean, cov = mean[:, free], cov[free][:, free]
    sd, off = cov.diagonal().sqrt(), []
    for rows, m in zip(x[:, :, free], mean, strict=True):
        off.append(((rows.mean(0) - m).abs() / (sd / math.sqrt(K))).max())
        off.append(((torch.cov(rows.T) - cov).abs() / ((cov.square() + torch.outer(sd, sd).square()) / K).sqrt()).max())
    return float(max(off))


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch):
    """Levels, and transitions at each, that suffice here."""
    monkeypatch.setattr(levels, "RATIO", 1.5)
    monkeypatch.setattr(levels, "STEPS", 12)


@pytest.mark.parametrize("case", CASES)
def test_chains_that_come_down_have_the_posterior(case: str):
    """Sees an observation that is not blurred with the points, or blurred in place of them, or a kernel of f alone."""
    observed, law, exact = CASES[case]
    x = levels.descended(known(), kernel(), observed, law, K, rng(0, "down"))
    assert misfit(x.unflatten(0, (2, K)), *exact) < 5


def test_noisy_points_need_no_kernel(monkeypatch: pytest.MonkeyPatch):
    """Sees a start at another level than that of the noise: steps along f alone are exact where levels are dense."""
    monkeypatch.setattr(levels, "STEPS", 0)
    monkeypatch.setattr(levels, "RATIO", 1.03)
    observed, law, exact = CASES["denoise"]
    x = levels.descended(known(), kernel(), observed, law, K, rng(0, "down"))
    assert misfit(x.unflatten(0, (2, K)), *exact) < 5


@pytest.mark.parametrize(("case", "name"), crossed(CASES, SAMPLERS, "inpaint"))
def test_every_kernel_comes_down(case: str, name: str, monkeypatch: pytest.MonkeyPatch):
    """Sees a kernel that cannot run on the posterior of a level, or what is seen moved by one."""
    monkeypatch.setattr(levels, "STEPS", 2)
    observed, law, (mean, cov) = CASES[case]
    x = levels.descended(known(), kernel(name), observed, law, 4, rng(0, "down")).unflatten(0, (2, 4))
    assert bool(((x - mean[:, None]).abs() <= 6 * COV.diagonal().sqrt()).all())
    seen = cov.diagonal() < 1e-12
    assert torch.equal(x[:, :, seen], Y[:, None, seen].expand(-1, 4, -1))


@pytest.fixture
def run_with_levels(table_run: Path) -> Trained:
    """A run whose f is replaced by the known one."""
    config = PRESETS["table"].experiment
    trained = Trained.untrained(
        replace(
            config,
            data=Data(name=str(table_run.parent / "people.csv")),
            sampler=kernel("langevin", 0.1 * LOWEST**2),
            training=replace(config.training, ema=0.0, device="cpu"),
        )
    )
    trained.learner.model = known().float()
    return trained


def test_draws_of_a_run_end_without_noise(run_with_levels: Trained):
    """Sees noise left in draws, taken twice, or taken out of what is seen: u ← u + s² ∂f of what is hidden."""
    draws = drawn(run_with_levels, Observed(Y.float(), HIDDEN), completion, K, steps=60)
    assert torch.equal(draws.x[:, :, 0], Y[:, :1].float().expand(-1, K))
    _, _, (mean, cov) = CASES["inpaint"]
    left = torch.eye(2, dtype=D) - LOWEST**2 * torch.linalg.inv(COV)[1:, 1:]
    clean = torch.zeros(3, 3, dtype=D)
    clean[1:, 1:] = left @ cov[1:, 1:] @ left.T
    assert misfit(draws.x.double(), mean, clean) < 5
    torch.testing.assert_close(draws.energy, -run_with_levels.f(draws.x.flatten(0, 1)).detach().view(2, K))


def test_each_noise_comes_down_from_its_own_level(run_with_levels: Trained):
    """Sees rows of one noise drawn as those of another."""
    sds = (0.15, 0.6)
    draws = drawn(run_with_levels, Observed(Y.float(), sd=torch.tensor(sds)), cleaning, K, steps=60)
    left = EYE - LOWEST**2 * torch.linalg.inv(COV)
    for x, y, sd in zip(draws.x.double(), Y, sds, strict=True):
        mean, cov = given(y[None], EYE, sd)
        wanted = MEAN + (mean - MEAN) @ left.T, left @ cov @ left.T
        assert misfit(x[None], *wanted) < 5


def test_walks_start_where_they_are_told(run_with_levels: Trained):
    """Sees an edit or a purification that starts from noise."""
    x0 = begun(run_with_levels, Observed(Y.float()), completion, 2, rng(0))
    assert torch.equal(x0, Y.float().repeat_interleave(2, 0))

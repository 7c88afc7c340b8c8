"""What is on a GPU meets nothing of the CPU: on a pretended device, which refuses what a GPU refuses."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor

from anila.applications import outliers
from anila.applications.on_runs import outliers as on_runs
from anila.density.log_density import values
from anila.density.networks import Kernel, mlp, unet
from anila.density.targets import DENSITIES
from anila.evaluation.chains import convergence
from anila.learning.learner import Learner
from anila.learning.starts import FromNoise, Replay
from anila.reports.scores import scores
from anila.rng import rng
from anila.runs.folder.run import Run
from anila.runs.model.model import Model
from anila.runs.model.trained import Trained
from anila.runs.training.train import train
from anila.samplers import (
    SAMPLERS,
    kernel_density,
    langevin,
    mala,
    mixture,
    replica_exchange,
    sample,
    with_global_moves,
)
from anila.samplers.annealed import draw_annealed
from anila.samplers.warm_up import tune
from second_device import TwoDevices, second_device
from tiny import quiet, small_rings


@pytest.fixture
def there() -> Iterator[torch.device]:
    with second_device() as device:
        yield device


def standard(x: Tensor) -> Tensor:
    return -x.square().sum(1) / 2


def points(n: int = 8, d: int = 3) -> Tensor:
    return torch.randn(n, d, generator=rng(0, "points"), device="cpu")


def test_the_device_refuses_what_a_gpu_refuses(there: torch.device):
    """Sees a pretended device on which everything goes."""
    x, wrong = points().to(there), (TwoDevices, TypeError)
    actions: list[Callable[[], Any]] = [
        lambda: x + points(),
        lambda: torch.cat([x, points()]),
        lambda: x.new_zeros(3) / x.cpu().std(0),
        lambda: torch.randn(3, generator=rng(0), device=there),
        lambda: x.gather(0, torch.zeros(1, 3, dtype=torch.int64)),
        x.numpy,
    ]
    for action in actions:
        with pytest.raises(wrong):
            action()
    assert (x + 1)[torch.arange(2)].device == there
    assert torch.equal((x.double() @ x.double().T).cpu(), points().double() @ points().double().T)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_kernel_runs_there(there: torch.device, name: str):
    """Sees numbers made here in a step, and in what is said of the chains."""
    more = {"threshold": 1.0} if "anisotropic" in name else {}
    x, trace = sample(SAMPLERS[name](standard, step_size=0.1, **more), points().to(there), 20, 0, keep_every=2)
    assert x.device == there
    assert "R̂" in trace.summary()


def test_a_ladder_and_a_warm_up_run_there(there: torch.device):
    """Sees temperatures, paths uphill and settings that stay here."""
    ladder = replica_exchange(lambda f: mala(f, 0.5), standard, (1.0, 2.0))
    assert sample(ladder, points().to(there), 4, 0)[0].device == there
    assert tune(standard, 1e3 * points().to(there), 40, 0).x.device == there


def test_global_moves_come_from_points_that_are_here(there: torch.device):
    """Sees q(x) where the data are, beside f(x) where the chains are: training in the plane ended there."""
    kernel = with_global_moves(mala(standard, 0.5), kernel_density(points(50)))
    x, trace = sample(kernel, points().to(there), 4, 0)
    assert x.device == there
    assert bool((trace["global_accept"] > 0).all())


def test_chains_are_judged_there(there: torch.device):
    """Sees errors of means, which ArviZ computes here, beside deviations there: a page of a run ended there."""
    _, trace = sample(mala(standard, 0.5), points().to(there), 20, 0, keep_every=2)
    assert convergence(standard, trace).mcse > 0


def test_f_is_asked_where_its_parameters_are(there: torch.device):
    """Sees rows that are here given to a network that is there."""
    f = torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Flatten(0))
    expected = values(f, points())
    found = values(f.to(there), points())
    assert found.device.type == "cpu"
    torch.testing.assert_close(found, expected)


def test_a_closed_form_is_fitted_and_judged_there(there: torch.device):
    """Sees the rows of a fit numbered here."""
    f = Kernel((3,)).to(there)
    f.see(points(40).to(there))
    assert f.leave_one_out().shape == (40,)
    assert f.draw(5, rng(0, "draws")).shape == (5, 3)
    assert f.oddness(points().to(there)).device == there


def test_a_generator_that_is_here_draws_classes_there(there: torch.device):
    """Sees the banks of a run with classes, which are filled by such a generator, end its second stage."""
    f = unet(1, 4, widths=(2,), classes=2).to(there)
    x = draw_annealed(f, 6, rng(0, "bank"), lambda g: langevin(g, 0.01), levels=2, steps=1)
    assert x.device == there


def test_rows_with_missing_cells_are_scored_there(there: torch.device, monkeypatch: pytest.MonkeyPatch):
    """Sees scores that are here picked by a mask that is there."""

    def filled(_: Any, y: Tensor, hidden: Tensor, count: int) -> Any:
        assert y.shape == hidden.shape == (1, 3)
        return SimpleNamespace(x=y[:, None].repeat(1, count, 1).cpu())

    monkeypatch.setattr(on_runs, "filled", filled)
    x = points().to(there)
    x[2, 0] = torch.nan
    found = on_runs.scores_of(Mock(Model, f=standard), outliers(standard, points(20).to(there)), x, lambda _: None)
    torch.testing.assert_close(found, -values(standard, points() * (x.cpu() == points())))


@pytest.mark.usefixtures("drawn")
@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
def test_a_run_in_the_plane_is_trained_and_scored_there(there: torch.device, tmp_path: Path):
    """Sees its KL, pictures and scores ask a network that is there about data that are here."""
    train(small_rings(f"training.device={there}", "training.iterations=2"), tmp_path / "run", quiet)
    model = Trained.load(Run(tmp_path / "run"))
    assert model.device == there
    found = scores(model, model.reference_data(60), model.draw(60))
    assert {"kl", "log_z", "w2"} <= found.keys()
    assert (tmp_path / "run/samples/000000002.png").is_file()


@pytest.mark.parametrize("where", ["here", "there"])
def test_chains_and_what_they_need_do_not_ask_torch_for_its_default_device(there: torch.device, where: str):
    """Sees numbers of a summary, a path uphill, a bank, a network or an exact draw made where the caller makes his."""
    with there:
        x0 = points().to("cpu" if where == "here" else there)
        both = mixture([mala(standard, 0.5), mala(standard, 0.1)], (1.0, 2.0))
        for kernel in (langevin(standard, 0.1), both):
            x, trace = sample(kernel, x0, 20, 0, keep_every=2)
            assert x.device == x0.device
            assert "R̂" in trace.summary()
        assert tune(standard, 1e3 * x0, 40, 0).x.device == x0.device
        f = mlp(3, (4,), fourier=4).to(x0.device)
        bank = Replay(16, FromNoise((3,)))
        learner = Learner(f, mala(f, 0.1), bank, torch.optim.SGD(f.parameters(), 0.1), steps=1, chains=4)
        assert learner.update(x0)["accept_prob"] > 0
        for density in DENSITIES.values():
            assert density()(density().draw(3, rng(0, "draws"))).shape == (3,)

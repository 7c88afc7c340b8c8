"""Laws of the reproduction: printed settings, one algorithm for every sampler, a figure for each experiment."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from anila.reports.comparison import race
from anila.reports.reproduction import EXPERIMENTS, draw, inpainting_figure, plan_part
from anila.reports.reproduction.experiments import PAIR, RECIPE, SAMPLERS, Part
from anila.rng import rng
from anila.runs.experiment.build import build_objective
from anila.runs.experiment.build_sampler import build_sampler
from anila.runs.experiment.settings import Sampler
from anila.samplers import sample

PARTS = [pytest.param(e, p, id=f"{e}: {p.name}") for e, parts in EXPERIMENTS.items() for p in parts]


@pytest.mark.parametrize(("experiment", "part"), PARTS)
@pytest.mark.parametrize("scale", ["small", "paper"])
def test_an_iteration_costs_every_sampler_the_same(experiment: str, part: Part, scale: str, tmp_path: Path):
    plan = plan_part(part, scale, tmp_path)  # pyright: ignore
    prices = {trial.config.sampler.gradients for trial in plan.trials}
    assert max(prices) <= min(prices) + 1
    assert len({(t.config.training.iterations, t.every) for t in plan.trials}) == 1
    if scale == "paper" and experiment not in ("inpainting", "matched"):
        assert {trial.config.sampler.name for trial in plan.trials} == set(SAMPLERS)


@pytest.mark.parametrize(
    ("experiment", "K", "b", "eps", "T", "chains"),
    [
        ("rings", 100, 0.01, 0.125, 10_000, 100),
        ("flowers", 50, 1e-4, 0.01, 100_000, 100),
        ("cifar10", 100, 2e-4, 0.01, 100_000, 64),
        ("inpainting", 50, 1e-4, 0.01, 50_000, 64),
    ],
)
def test_the_printed_settings_are_printed(
    experiment: str, K: int, b: float, eps: float, T: int, chains: int, tmp_path: Path
):
    plan = plan_part(EXPERIMENTS[experiment][0], "paper", tmp_path)
    config = next(t.config for t in plan.trials if t.sampler == "anisotropic")
    s, t = config.sampler, config.training
    assert (s.steps, s.threshold, s.step_size, t.iterations) == (K, b, 1.0, T)
    assert s.temperature == pytest.approx(eps**2)
    assert (t.chains or t.batch) == chains


@pytest.mark.parametrize("experiment", ["rings", "flowers", "cifar10"])
def test_the_exact_samplers_move_as_langevin_does(experiment: str, tmp_path: Path):
    """Sees T put in once too often: where all is accepted, mala on f/T with γ T is langevin on f with γ and T."""
    part = EXPERIMENTS[experiment][0]
    configs = {t.sampler: t.config for t in plan_part(part, "paper", tmp_path).trials}
    heat = configs["mala"].network.temperature
    assert heat == configs["langevin"].sampler.temperature

    def f(x: Tensor) -> Tensor:
        return -heat * x.sum(1)

    x0 = torch.randn(50, 2, generator=rng(0, "start"))
    plain = sample(build_sampler(configs["langevin"].sampler, f), x0, 1, rng(0, "chains"))[0]
    exact = build_sampler(configs["mala"].sampler, lambda x: f(x) / heat)
    torch.testing.assert_close(sample(exact, x0, 1, rng(0, "chains"))[0], plain)
    rates = [configs[name].optimizer.learning_rate for name in ("mala", "langevin")]
    assert rates[0] / rates[1] == pytest.approx(heat if configs["mala"].optimizer.name == "sgd" else 1)


def test_a_matched_start_is_one_for_all(tmp_path: Path):
    """Sees a first stage that a sampler changes."""
    trials = plan_part(EXPERIMENTS["matched"][0], "small", tmp_path).trials
    first = {
        str(replace(stage, sampler=Sampler(name="langevin")))
        for stage in (trial.config.stage(1) for trial in trials)
        if not build_objective(stage).needs_chains
    }
    assert len(first) == 1
    assert len({trial.sampler for trial in trials}) == 6


@pytest.fixture
def small_part(tmp_path: Path) -> Part:
    """Two samplers on noise images: what CIFAR-10 is in a reproduction, in seconds."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).uniform(-1, 1, (100, 3, 8, 8)).astype(np.float32))
    tiny = [f"data={tmp_path / 'x.npy'}", "data.size=none", "data.flip=false", "network=mlp", "network.hidden=[4]",
            "sampler.steps=2", "start.size=20", "training.batch=4"]  # fmt: skip
    size = RECIPE._replace(iterations=4, points=2, samples=150, settings=tuple(tiny), samplers=PAIR)
    return Part("tiny", "tiny", "cifar10-chains", {name: [] for name in PAIR}, size, size)


def test_every_figure_is_drawn(small_part: Part, tmp_path: Path):
    plan = plan_part(small_part, "small", tmp_path)
    race(plan, 1, lambda _: None)
    names = {path.name for path in draw(plan, small_part)}
    assert names == {"comparison.png", "course.png", "table.md", "grid-anisotropic.png", "grid-langevin.png"}
    assert "Fréchet distance (anila-features-1)" in (plan.folder / "table.md").read_text()
    assert inpainting_figure(plan).stat().st_size > 1000
    assert "| mirror |" in (plan.folder / "inpainting.md").read_text()

"""Laws of an f with levels of noise as a run has it: its Gaussian, its draws, its starts, and what is refused."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from anila.applications.on_runs import levels
from anila.data import Rows
from anila.density.log_density import value_and_grad, values
from anila.density.networks import BlurredGaussian, ClassesAtLevels, NoiseConditional
from anila.evaluation.chains import ess, rhat
from anila.learning.learner import Learner
from anila.learning.starts import Persistent, Replay
from anila.reports import long_run, scores
from anila.rng import rng
from anila.runs.experiment import PRESETS, Experiment, SettingsError, build_learner, resolve
from anila.runs.experiment.build_starts import annealed
from anila.runs.folder.run import Run
from anila.runs.model import export, trained
from anila.runs.training.train import train
from anila.samplers.estimates import coordinates
from test_train import assert_equal_runs, quiet, stop_at
from tiny import anila, chains_on, write_noise

UNET = ["network=unet", "network.widths=[4,4]"]
SMALL = ["network.temperature=1", "network.confine=none", "data.size=8", "data.flip=false", "sampler=langevin",
         "sampler.temperature=1", "sampler.step_size=0.003", "sampler.steps=4", "sampler.levels=5", "training.batch=8",
         "training.data_noise=0", "training.precision=none", "training.threads=1", "training.iterations=4",
         "training.checkpoint_every=2", "training.log_every=1", "training.picture_every=1000"]  # fmt: skip
PLAIN = [*UNET, *SMALL, "objective=denoising", "objective.sd=[0.04,2.4]"]
LIKELIHOOD = [*SMALL, "training.data_noise=0.1", "training.max_grad_norm=1", "training.chains=6", "start=replay",
              "start.kind=annealed", "start.size=9", "start.fresh=0.3", "start.shift=0",
              "start.storage=float32"]  # fmt: skip
ANCHORED = [*UNET, *LIKELIHOOD, "anchor=denoising", "anchor.sd=[0.04,2.4]"]
RECOVERED = [*UNET, *SMALL, "objective=recovery", "objective.steps=2"]
PAIRED = [*UNET, *SMALL, "training.data_noise=0.1", "training.max_grad_norm=1", "network.adapter=[4]", "start=paired",
          "anchor=denoising", "anchor.sd=0.1"]  # fmt: skip


def settings(*more: str) -> Experiment:
    return resolve(PRESETS["flowers-chains"].experiment, list(more))


@pytest.fixture
def pixels(monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Images of unequal brightness, which the data of every run are."""
    x = torch.rand(50, 1, 8, 8, generator=rng(0, "pixels")) * torch.linspace(0.2, 1.5, 8) - 1
    data = Rows(x, "pixels")
    monkeypatch.setattr(trained, "build_data", lambda _: data)
    return data


def built(data: Rows, *more: str) -> tuple[Learner, Any]:
    learner = build_learner(settings(*more), data)
    return learner, learner.model


def test_chains_at_f_of_x_teach_the_adapter_alone_and_the_rest_is_learned_without_it(pixels: Rows):
    """Sees an adapter that a stage without chains moves, or chains that move anything else."""
    for more, moved in (
        ([*PLAIN, "network.adapter=[4]"], {"net"}),
        (PAIRED, {"adapter"}),
        ([*UNET, *LIKELIHOOD], {"net"}),
    ):
        learner, f = built(pixels, *more)
        before = {name: p.clone() for name, p in f.named_parameters()}
        for i in range(3):
            learner.update(pixels.batch(8, 0, i))
        assert {name.split(".")[0] for name, p in f.named_parameters() if not torch.equal(p, before[name])} == moved


def covariance(base: BlurredGaussian) -> Tensor:
    V = base.directions
    return V * base.variances @ V.T + base.rest * (torch.eye(base.dim) - V @ V.T)


def test_a_run_begins_with_the_moments_of_its_data(pixels: Rows):
    """Sees N(0, I), and moments that an average takes on only in time."""
    learner, f = built(pixels, *PLAIN, "training.ema=0.9")
    x = pixels.rows(range(50)).flatten(1)
    exact = covariance(BlurredGaussian.of(pixels.rows(range(50))))
    found: Any
    for found in (f, learner.best_model):
        torch.testing.assert_close(found.base.mean.flatten(), x.mean(0))
        torch.testing.assert_close(covariance(found.base), exact, rtol=1e-3, atol=1e-5)
        assert found.data_sd == pytest.approx(x.var(0, correction=0).mean().sqrt().item(), rel=1e-4)
    before = {name: buffer.clone() for name, buffer in f.named_buffers()}
    learner.update(pixels.rows(range(8)))
    for net in (f, learner.best_model):
        assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())


def test_f_of_x_is_its_lowest_level_and_normalisable(pixels: Rows):
    """Sees another level in its place, and a net that outgrows the Gaussian: along rays f falls as |x|² at least."""
    _, f = built(pixels, *PLAIN, "network.lowest=0.2")
    x = pixels.rows(range(5))
    assert torch.equal(f(x), f.at(0.2)(x))
    with torch.no_grad():
        for p in f.parameters():
            p.add_(torch.randn(p.shape, generator=rng(0, "shake")))
    rays, f = torch.randn(8, 1, 8, 8, generator=rng(0, "rays")).double(), f.double()
    near, _ = value_and_grad(f, 1e5 * rays)
    value, grad = value_and_grad(f, 1e6 * rays)
    assert bool((value - near < -1e12 * rays.flatten(1).square().sum(1)).all())
    assert bool(((grad * rays).flatten(1).sum(1) < 0).all())


@pytest.mark.parametrize("scale", [0.05, 1.0])
def test_the_weights_of_denoising_are_those_of_the_data(scale: float):
    """Sees σ = ½ whatever the data: the loss of an f that knows σ alone is ½ at every level."""
    data = Rows(scale * (2 * torch.rand(1000, 1, 8, 8, generator=rng(0, "pixels")) - 1), "even")
    learner, f = built(data, *PLAIN)
    f.net = Nothing()
    x, objective = data.rows(range(500)), learner.objective
    (contrast,) = learner.contrasts(objective, x, None, objective.draw_noise(x, rng(0, "noise")), None)
    assert contrast.metrics["matching_loss"].mean().item() == pytest.approx(0.5, rel=0.1)


class Nothing(nn.Module):
    """U(u, s) = 0."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, u: Tensor, s: Tensor) -> Tensor:  # noqa: ARG002
        return torch.zeros_like(u)


def test_draws_of_the_gaussian_alone_have_its_moments(pixels: Rows, tmp_path: Path):
    """Sees a kernel of another level, kept chains in place of fresh draws, and noise that stays: x + s² ∇f of draws of
    N(m, C + s² I) has variances λ² / (λ + s²).
    """
    steps = ["network.lowest=0.5", "sampler=mala", "sampler.step_size=0.12", "sampler.draw_steps=30"]
    train(settings(*ANCHORED, "start=persistent", "start.size=none", *steps), tmp_path / "run", quiet)
    model = export.load(tmp_path / "run")
    f: Any = model.f
    assert isinstance(f, NoiseConditional)
    f.net = Nothing()
    x = model.draw(800)
    along = (x - f.base.mean).flatten(1) @ f.base.directions
    variances = f.base.variances
    expected = variances.square() / (variances + f.lowest**2)
    assert x.mean(0).flatten().numpy() == pytest.approx(pixels.rows(range(50)).mean(0).flatten().numpy(), abs=0.05)
    assert along.var(0)[-20:].numpy() == pytest.approx(expected[-20:].numpy(), rel=0.3)
    assert along.var(0).sum().item() == pytest.approx(expected.sum().item(), rel=0.04)


def test_chains_begin_with_draws_of_f_as_it_is_then(pixels: Rows):
    """Sees a bank filled before θ was what it is, a pool made anew each iteration, and a state that forgets either."""
    learner, f = built(pixels, *ANCHORED)
    assert learner.chains
    start: Any = learner.chains.start
    assert isinstance(start, Replay)
    assert learner.state_dict()["start"] == {}
    f.base.mean.fill_(0.5)
    f.net = Nothing()
    x = start.draw(6, rng(0, "first"))
    assert x.mean().item() == pytest.approx(0.5, abs=0.1)
    pool = start.state_dict()["pool"]
    assert pool.shape == (18, 1, 8, 8)
    f.base.mean.fill_(-0.5)
    start.fresh = 1.0
    again = start.draw(6, rng(0, "second"))
    assert all(any(torch.equal(row, one) for one in pool) for row in again)
    other: Any = build_learner(settings(*ANCHORED), pixels).chains
    other.start.load_state_dict(start.state_dict())
    other.start.fresh = 1.0
    assert torch.equal(other.start.draw(6, rng(0, "third")), start.draw(6, rng(0, "third")))


def in_second_stage(*more: str) -> trained.Trained:
    """A run that has learned without chains, with an average, and has just gone on to a stage with some."""
    stages = ["stages.1.objective=denoising", "stages.1.objective.sd=[0.04,2.4]", "stages.1.iterations=3",
              "stages.2.objective=likelihood", "training.ema=0.9"]  # fmt: skip
    now = trained.Trained.untrained(settings(*UNET, *LIKELIHOOD, *stages, *more))
    for _ in range(now.end):
        now.learner.update(*now.batch())
    now.enter_next_stage()
    return now


@pytest.mark.usefixtures("pixels")
def test_a_bank_of_a_later_stage_is_filled_with_draws_of_the_average():
    """Sees f as it was drawn in its place, or θ itself."""
    now = in_second_stage("start=persistent", "start.size=none")
    expected = annealed(now.config.sampler, cast(NoiseConditional, now.f), 6, rng(0, "start"))
    assert torch.equal(now.start.draw(6, rng(0, "any")), expected)


@pytest.mark.usefixtures("pixels")
def test_new_chains_of_every_iteration_are_draws_of_f_as_it_is_then():
    """Sees them drawn by the average of the stage before, for good."""
    now = in_second_stage("start=noise")
    now.learner.update(*now.batch())
    expected = annealed(now.config.sampler, cast(NoiseConditional, now.learner.model), 3, rng(0, "new"))
    assert torch.equal(now.start.draw(3, rng(0, "new")), expected)


def test_it_goes_on_bit_for_bit(pixels: Rows, tmp_path: Path):  # noqa: ARG001
    """Sees the pool, the moments or the anchor's noise left out of a checkpoint."""
    config = settings(*ANCHORED, "training.ema=0.5")
    train(config, tmp_path / "whole", quiet)
    train(config, tmp_path / "parts", quiet, stop_at(3))
    train(config, tmp_path / "parts", quiet)
    assert_equal_runs(tmp_path / "parts", tmp_path / "whole")
    names = Run(tmp_path / "whole").stats()[-1].keys()
    assert {"matching_loss", "anchor_grad_norm", "energy_gap", "grad_norm", "accept_prob"} <= names
    assert "matching_loss" in Run(tmp_path / "whole").series()


def test_recovery_goes_on_bit_for_bit(pixels: Rows, tmp_path: Path):  # noqa: ARG001
    """Sees a run that cannot be saved, as its kernel is a function and no setting."""
    train(settings(*RECOVERED), tmp_path / "whole", quiet)
    train(settings(*RECOVERED), tmp_path / "parts", quiet, stop_at(3))
    train(settings(*RECOVERED), tmp_path / "parts", quiet)
    assert_equal_runs(tmp_path / "parts", tmp_path / "whole")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`plain`, learned without chains, `chains`, with them, and `pairs`, with an adapter, on forty images."""
    folder = tmp_path_factory.mktemp("levels")
    for i in range(40):
        write_noise(folder / "photos" / f"{i:02d}.png", i)
    for name, more in (("plain", PLAIN), ("chains", ANCHORED), ("pairs", PAIRED)):
        assert anila("train", *chains_on(folder / "photos"), *more, "--run", folder / name) == 0
    return folder


@pytest.mark.parametrize("name", ["plain", "chains", "pairs"])
@pytest.mark.parametrize(
    "words",
    [
        ["sample", "{run}", "--count", "3", "--steps", "2", "--out", "{out}.png"],
        ["denoise", "{run}", "{photos}/00.png", "--sd", "0.3", "--out", "{out}.png"],
        ["outliers", "{run}", "{photos}", "--rate", "0.1", "--out", "{out}.csv"],
        ["export", "{run}", "--out", "{out}"],
    ],
)
def test_the_jobs_of_a_run_work(
    runs: Path, name: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Sees an f(x, s) taken for an f(x) somewhere on the way."""
    monkeypatch.setattr(levels, "STEPS", 2)
    places = {"run": runs / name, "photos": runs / "photos", "out": tmp_path / "found"}
    assert anila(*(word.format(**places) for word in words)) == 0


@pytest.mark.parametrize("name", ["plain", "chains", "pairs"])
def test_an_export_draws_what_the_run_draws(runs: Path, name: str, tmp_path: Path):
    """Sees levels or moments that an export does not carry, and a card that knows of no annealing."""
    shared = export.export(Run.existing(runs / name), tmp_path / "shared")
    run = export.load(runs / name)
    assert torch.equal(shared.draw(4, steps=2), run.draw(4, steps=2))
    assert isinstance(shared.start, Persistent) == (name == "chains"), "others begin from noise"
    card = (tmp_path / "shared" / "README.md").read_text()
    assert "annealed draws (5 levels of noise, 2 transitions each)" in card
    assert "confining" not in card


@pytest.mark.parametrize("name", ["plain", "chains"])
def test_a_visitor_sees_the_chains_of_the_draws_and_leaves_them_as_they_are(runs: Path, name: str):
    """Sees R-hat of other chains than those that are scored, and draws that depend on whether somebody looks."""
    model, passed = export.load(runs / name), list[Tensor]()
    drawn = model.draw(70, steps=41, visit=passed.append)
    assert torch.equal(drawn, model.draw(70, steps=41))
    assert {len(x) for x in passed} == {64}
    assert len(passed) == 20, "41 transitions, after every second"
    one_more = list[Tensor]()
    last = model.draw(70, steps=40, visit=one_more.append)
    assert torch.equal(model.clean(one_more[-1]), last[:64])
    assert all(torch.equal(a, b) for a, b in zip(passed, one_more, strict=True)), "the same chains, one step longer"


def test_scores_of_mixing_are_those_of_the_chains_that_drew(runs: Path):
    """Sees R-hat and ESS of other chains, and chains said to have mixed that have not."""
    model, passed = export.load(runs / "plain"), list[Tensor]()
    model.draw(30, steps=20, visit=passed.append)
    found, x = scores.mixing(model.f, passed), torch.stack(passed)
    f_x, x_looked_at = values(model.f, x.flatten(0, 1)).view(20, 30), coordinates(x)[1]
    assert found["rhat"] == pytest.approx(max(rhat(f_x).item(), rhat(x_looked_at).max().item()))
    assert found["ess_bulk"] == pytest.approx(min(ess(f_x).item(), ess(x_looked_at).min().item()))
    still = [x[0] + 1e-3 * torch.randn(x[0].shape, generator=rng(i, "tremble")) for i in range(8)]
    assert scores.mixing(model.f, still)["rhat"] > 3, "chains that only tremble have not mixed"
    apart = torch.randn(8, 30, 129, generator=rng(0, "apart"))
    apart[..., 1] = torch.arange(30)
    assert scores.mixing(lambda x: x[:, 1], list(apart))["rhat"] > 3, "of 64 in 129 coordinates, f alone tells"
    assert scores.mixing(model.f, passed[:3]) == {}
    assert scores.mixing(model.f, [one[:1] for one in passed]) == {}


def test_long_chains_start_from_draws_and_from_noisy_data(runs: Path):
    """Sees clean data taken for the law of f(x), which has noise, and chains that start where no draw does."""
    model = export.load(runs / "plain")
    assert isinstance(model, trained.Trained)
    x_data, groups = long_run.starts(model, 0)
    clean = model.reference_data(40)
    assert list(groups) == ["draws", "data"]
    assert x_data.var().item() == pytest.approx(clean.var().item() + 0.1**2, rel=0.02)
    assert anila("diagnose", runs / "plain", "--steps", "200", "--out", runs / "figures") == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([*PLAIN, "network.temperature=0.5"], "levels of noise.*set network.temperature=1, network.confine=none and"),
        ([*PLAIN, "network.confine=2"], "network.confine=2.0 and network.whitened=false would hide"),
        ([*PLAIN, "network.lowest=3"], "network unet: highest must be above lowest=3.0"),
        ([*PLAIN, "network.widths=[4,4,4,4]"], "network unet: 4 widths halve the image 4 times; 8 is not divisible"),
        ([*PLAIN, "network.spectral=true"], "starts at zero"),
        (LIKELIHOOD, "start.kind=annealed samples an f with levels of noise, and network vanilla has none"),
        ([*PLAIN, "anchor=likelihood"], "an anchor sees data only, and this one needs chains"),
        ([*SMALL, "anchor=denoising", "anchor.sd=[0.1,1]"], "learns levels of noise"),
        (
            [*ANCHORED, "network.adapter=[4]"],
            "an adapter acts in f.x. alone.*set anchor.sd=0.1, or network.adapter=none",
        ),
        ([*ANCHORED, "training.precision=bf16"], "rounds away the small differences"),
    ],
)
def test_what_makes_no_sense_is_refused(pixels: Rows, more: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        build_learner(settings(*more), pixels)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([*PLAIN, "network.widths=[]"], "network.widths"),
        (["sampler.levels=1"], "sampler.levels"),
        (["anchor=denoisin"], "no anchor 'denoisin'.*denoising"),
        (["anchor.sd=1"], "none has no sd, which is a setting of denoising"),
    ],
)
def test_settings_that_cannot_be_are_named(more: list[str], message: str):
    with pytest.raises(SettingsError, match=message):
        settings(*more)


def test_an_anchor_can_be_taken_back():
    """Sees `none` read as no name."""
    assert settings("anchor=denoising", "anchor.sd=[0.1,1]").anchor.options["sd"] == (0.1, 1.0)
    assert resolve(settings(*ANCHORED), ["anchor=none"]).anchor.name == "none"


def test_images_that_are_not_square_are_refused():
    data = Rows(torch.rand(20, 1, 8, 16, generator=rng(0)), "wide")
    with pytest.raises(ValueError, match="network unet: it takes square images"):
        build_learner(settings(*PLAIN), data)


def test_a_network_of_levels_knows_classes_itself(pixels: Rows):
    """Sees a second layer of classes around it, and the anneal of all classes where one is asked for."""
    x = pixels.rows(range(50))
    data = Rows(x, "pixels", labels=[k % 2 for k in range(50)])
    learner, f = built(data, *PLAIN, "network.classes=auto")
    assert isinstance(f, ClassesAtLevels)
    assert len(f.embedding) == 2
    assert "accuracy" in learner.update(x[:8], torch.as_tensor(data.labels[:8]))
    config = settings(*PLAIN, "network.classes=auto")
    found = trained.Trained(config, data, learner, [], config)
    each = [found.draw(4, label=name) for name in found.classes]
    assert not torch.equal(*each)
    torch.testing.assert_close(found.draw(4, label=0), each[0])


def test_an_anchor_of_a_run_learns_classes_too(pixels: Rows):
    """Sees an anchor of f(x) where f has classes, and the weight of the classifier lost on the way to it."""
    x = pixels.rows(range(8))
    data = Rows(x, "pixels", labels=[k % 2 for k in range(8)])
    found = []
    for classify in (0, 1, 100):
        learner, _ = built(data, *ANCHORED, "network.classes=auto", f"training.classify={classify}")
        assert learner.anchor
        metrics = learner.hold(learner.anchor, x, torch.as_tensor(data.labels) if classify else None)
        assert ("accuracy" in metrics) == bool(classify)
        found.append(metrics["anchor_grad_norm"])
    assert len({*found}) == 3

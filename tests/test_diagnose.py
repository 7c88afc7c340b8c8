"""The command that judges chains: good ones pass, bad ones do not, and figures show what was found."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anila.data import Rows
from anila.density.log_density import gradient
from anila.evaluation.chains import DriftInequality, Meetings
from anila.evaluation.pictures import chain_overview, coupling_bound, drift_ratio
from anila.evaluation.pictures.ergodicity import rank_shares
from anila.reports import diagnosis as module
from anila.reports.diagnosis import diagnose, full_key
from anila.reports.long_run import long_run, starts
from anila.rng import rng
from anila.runs.experiment import PRESETS, resolve
from anila.runs.folder.contents import foreign
from anila.runs.folder.run import Run
from anila.runs.model import remembered, trained
from anila.runs.model.trained import Trained
from test_cli import TINY, anila


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer chains, draws and pairs than a user gets."""
    for name, value in {"CHAINS": 16, "DRAWS": 4000, "PAIRS": 60, "LAG": 20, "SIDES": {1: 150, 2: 20}}.items():
        monkeypatch.setattr(module, name, value)


@pytest.mark.usefixtures("rendered")
def test_a_double_well_is_judged_good(tmp_path: Path):
    """The default kernel on a density: mixed, with figures of everything, the exact decay below the bound."""
    found = diagnose("double-well", steps=400)
    assert isinstance(found, module.Diagnosis)
    assert found.verdict.ok, found.verdict.lines
    assert found.meetings is not None
    assert found.exact is not None
    bound, error = found.meetings.bound(len(found.exact) - 1)
    assert bool((found.exact <= bound + 4 * error + 5 / 60).all())
    assert found.inequality.ok
    numbers = json.loads(json.dumps(found.verdict.as_dict(), allow_nan=False))
    assert {"ok", "lines", "convergence", "drift", "coupling", "h1", "drift_inequality"} == numbers.keys()
    assert {path.name for path in found.save(tmp_path / "new")} == {"chains.png", "drift.png", "coupling.png"}
    for path in (tmp_path / "new").iterdir():
        with Image.open(path) as picture:
            assert picture.width > 1000


@pytest.mark.filterwarnings("ignore")
def test_chains_on_a_table_of_two_columns_are_judged_by_their_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Sees x0 and x1, which no file has."""
    x = np.random.default_rng(0).normal(size=(60, 2)) @ [[1.0, 0.9], [0.0, 0.4]]
    np.savetxt(tmp_path / "t.csv", x, delimiter=",", header="height,weight", comments="")
    assert anila("train", str(tmp_path / "t.csv"), "--run", str(tmp_path / "run")) == 0
    capsys.readouterr()
    assert anila("diagnose", str(tmp_path / "run"), "step_size=1e-4", "--sampler", "mala", "--steps", "200") == 0
    assert re.search("effective samples of (height|weight) ", capsys.readouterr().out)


@pytest.mark.filterwarnings("ignore")
def test_bad_chains_are_judged_bad_with_status_0(capsys: pytest.CaptureFixture[str]):
    """Sees a verdict that passes everything: steps far too short, and the printed rule, which has another law."""
    assert anila("diagnose", "banana", "step_size=1e-4", "--sampler", "mala", "--steps", "200") == 0
    out = capsys.readouterr().out
    assert out.startswith("these chains have NOT mixed, because")
    assert "raise step_size" in out
    assert anila("diagnose", "gaussian", "--sampler", "anisotropic", "threshold=1", "--steps", "400", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert not found["ok"]
    assert found["drift"]["found"]
    assert "coupling" not in found
    assert found["convergence"]["temperature"] > 1.2


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers():
    first, again, other = (diagnose("gaussian", steps=200, seed=seed).verdict.as_dict() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_settings_reach_the_kernel():
    """Sees a step_size that is tuned although it was given."""
    assert full_key("step_size=1") == "sampler.step_size=1"
    assert full_key("sampler.step_size=1") == "sampler.step_size=1"
    subject = module.of_density("gaussian", ["sampler.name=mala", "sampler.step_size=0.125"], 0)
    assert subject.sampler.name == "mala"
    assert subject.sampler.step_size == 0.125
    tuned = module.of_density("gaussian", [], 0)
    _, trace = module.sample(tuned.make(tuned.f), tuned.draws[:500], 20, rng(1))
    assert trace["accept_prob"].mean().item() == pytest.approx(0.57, abs=0.07)
    assert tuned.starts(4000, rng(0)).std(0).tolist() == pytest.approx([2.0, 2.0], rel=0.1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("diagnose") / "run"
    assert anila("train", "rings", *TINY, "--run", path) == 0
    return path


def test_a_run_is_taken_with_its_own_kernel_and_checkpoints(run: Path):
    """Sees one θ read twice, and a kernel without the run's global moves."""
    folder = Run(run)
    model = Trained.load(folder)
    subject = module.of_run(model, folder, model.sampler, 0)
    assert len(subject.thetas) == 2
    assert subject.proposal is not None
    assert subject.make(subject.f).local is not None
    assert not torch.equal(*(f(subject.draws[:50]) for f in subject.thetas))
    changed = module.kernel_settings(model, ["sampler.step_size=0.125"])
    assert module.of_run(model, folder, changed, 0).sampler.step_size == 0.125


@pytest.mark.parametrize("start", ["replay", "noise", "data"])
def test_image_runs_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, start: str, request):
    """Chains start where the run's do; the picture shows each of them, and the numbers are those of the words."""
    if start == "replay":
        request.getfixturevalue("rendered")
    pixels = Rows(torch.rand(60, 1, 8, 8, generator=rng(0, "pixels")) * 2 - 1, "pixels")
    for module_of_data in (trained, remembered):
        monkeypatch.setattr(module_of_data, "build_data", lambda _: pixels)
    size = [] if start == "replay" else ["start.size=null"]
    small = ["network.width=2", "training.batch=4", f"start={start}", *size, "sampler.steps=2", "training.threads=1",
             "training.iterations=40", "training.picture_every=1000"]  # fmt: skip
    assert anila("train", "flowers-chains", *small, "--run", tmp_path / "run") == 0
    capsys.readouterr()
    assert anila("diagnose", tmp_path / "run", "--json", "--steps", "200") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert "long chains of 200 transitions" in captured.err
    assert found["lines"][0].startswith(found["regime"])
    own = "kept" if start == "replay" else start
    assert found["ladder"]["own"] == own
    assert found["ladder"]["groups"].keys() == {own, "data", "noise"}
    assert [rung["steps"] for rung in found["ladder"]["groups"]["data"]] == [0, 2, 20, 200]
    assert found["course"]["iterations"] == 40
    pictures = {"course.png", "ladder.png", "long_chains.png"}
    assert pictures <= {path.name for path in (tmp_path / "run/samples").iterdir()}
    assert foreign(tmp_path / "run") == []  # --overwrite takes all of it away


LEVELS = """
from anila.density.networks import BlurredGaussian, NoiseConditional, UNet

def small(channels: int, size: int):
    return NoiseConditional(UNet(channels, size, (4,)), BlurredGaussian((channels, size, size)), lowest=0.1)
"""


def test_a_law_of_noisy_data_is_run_with_noise_and_looked_at_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees data that begin off the law of f, and noise that counts as distance from data."""
    pixels = Rows(torch.rand(100, 1, 8, 8, generator=rng(0, "pixels")) * 2 - 1, "pixels")
    for module_of_data in (trained, remembered):
        monkeypatch.setattr(module_of_data, "build_data", lambda _: pixels)
    (tmp_path / "levels.py").write_text(LEVELS)
    small = [f"network={tmp_path / 'levels.py'}:small", "objective=denoising", "sampler.name=langevin",
             "sampler.step_size=0.003", "sampler.temperature=1", "sampler.steps=2", "start=noise", "start.size=null",
             "training.batch=4", "training.iterations=2", "training.threads=1", "training.data_noise=0"]  # fmt: skip
    config = resolve(PRESETS["flowers-chains"].experiment, [*small, "sampler.clipped=null"])
    model = Trained.untrained(config)
    x, groups = starts(model, 0)
    assert groups.keys() == {"draws", "data"}
    rows = model.reference_data(100)
    assert (x - rows[: len(x)]).std().item() == pytest.approx(0.1, rel=0.1)
    long = long_run(model, Run(tmp_path / "run"), model.sampler, 4, 0, lambda _: None).long_chains
    assert long.own == "draws"
    assert torch.allclose(long.x_data, (x + 0.01 * gradient(model.f, x)).detach())
    first = long.groups["data"][0]
    assert torch.allclose(first.x, model.clean(groups["data"]))
    assert first.distance


def test_table_runs_are_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """One column: no contrast, no image, and fewer rows than chains."""
    np.save(tmp_path / "table.npy", np.random.default_rng(0).normal(size=(90, 1)))
    small = ["network.hidden=[8]", "training.batch=20", "training.chains=10", "training.iterations=30"]
    assert anila("train", tmp_path / "table.npy", *small, "--run", tmp_path / "run") == 0
    assert anila("diagnose", tmp_path / "run", "--steps", "200", "--out", tmp_path / "figures") == 0
    said = capsys.readouterr()
    assert "these chains have" not in said.out
    assert "global move" not in said.err  # of the few steps that are timed
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"long_chains.png"}


@pytest.mark.slow
def test_a_run_is_judged(run: Path, capsys: pytest.CaptureFixture[str]):
    assert anila("diagnose", run, "--steps", "200") == 0
    out = capsys.readouterr().out
    assert "these chains have" in out
    assert "transitions chains" in out
    assert "2 parameters θ" in out
    assert {"chains.png", "drift.png"} <= {path.name for path in (run / "samples").iterdir()}
    assert foreign(run) == []


def test_draws_from_the_grid_have_the_density():
    """Sees axes exchanged or cells off by half: moments of draws of a shifted, skewed normal."""

    def f(x: torch.Tensor) -> torch.Tensor:
        return -((x[:, 0] - 1) / 2).square() / 2 - ((x[:, 1] + x[:, 0]) / 0.5).square() / 2

    x_data = torch.tensor([[-8.0, -10.0], [10.0, 8.0]], dtype=torch.float64)
    x = module.grid_draws(f, x_data, 4000, 0)
    assert x.mean(0).tolist() == pytest.approx([1, -1], abs=0.08)
    assert x.T.cov().flatten().tolist() == pytest.approx([4, -4, -4, 4.25], abs=0.25)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["diagnose", "bananna"], "no density or run 'bananna'; did you mean 'banana'?"),
        (["diagnose", "banana", "stepsize=1"], "did you mean 'sampler.step_size'"),
        (["diagnose", "banana", "step_size=-1"], "sampler.step_size"),
        (["diagnose", "banana", "--sampler", "mal"], "sampler.name"),
        (["diagnose", "."], "is not a run"),
        (["diagnose", "banana", "--steps", "20"], "--steps"),
    ],
)
def test_mistakes_are_one_message_and_status_2(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert anila(*words) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert not list(tmp_path.iterdir())


class TestPictures:
    """Lines are where the numbers are."""

    def test_the_bound_is_drawn_where_it_is(self):
        meetings = Meetings(torch.arange(21.0, 221.0, dtype=torch.float64), lag=20, steps=500)
        exact = 0.5 ** torch.arange(300, dtype=torch.float64)
        bound, shown = coupling_bound(meetings, exact).axes[1].lines
        k, y = (np.asarray(part) for part in bound.get_data())
        assert y[:50] == pytest.approx(meetings.bound(500)[0][k[:50].astype(int)].numpy())
        assert np.asarray(shown.get_data()[1])[:10] == pytest.approx(exact[:10].numpy())
        with pytest.raises(ValueError, match="have not met"):
            coupling_bound(Meetings(torch.full((3,), torch.inf, dtype=torch.float64), 20, 500))

    def test_the_drift_is_drawn_with_mu(self):
        radii = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
        ratio = torch.tensor([[1.2, 0.8, 0.1], [1.1, 0.7, 0.2]], dtype=torch.float64)
        found = DriftInequality(radii, ratio, ratio + 0.05, ratio, 0.5, 0.01, 0.85, 1.0, 0.3)
        ax = drift_ratio(found).axes[0]
        one, two, _, mu = ax.lines
        assert np.asarray(one.get_ydata()) == pytest.approx(ratio[0].numpy())
        assert np.asarray(two.get_ydata()) == pytest.approx(ratio[1].numpy())
        assert np.asarray(mu.get_ydata()) == pytest.approx([0.85, 0.85])

    @pytest.mark.parametrize("make", [torch.randn, torch.rand])
    def test_ranks_of_equal_groups_are_flat_and_of_shifted_ones_are_not(self, make: Callable[..., torch.Tensor]):
        x, groups = make(500, 20, generator=rng(0, "x")), torch.arange(4).repeat_interleave(5)
        flat = rank_shares(x, groups)
        assert flat.mean(1) == pytest.approx(np.ones(4))
        assert np.abs(flat - 1).max() < 0.35
        assert np.abs(rank_shares(x + (groups == 2), groups) - 1).max() > 1
        assert len(chain_overview(x, groups, 5, "x0").axes) == 2

"""One file is enough: a sampler, a network and a density of the user's own do what ours do, by row and by FILE.py:NAME.

`kick` and `Bump` below are written once, as a user writes them.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import anila as package
from anila.density.networks import NETWORKS
from anila.learning.objectives import OBJECTIVES
from anila.reports import diagnosis, own_density
from anila.runs.experiment import PRESETS, SettingsError, resolve
from anila.runs.experiment.code import load_code
from anila.runs.folder.checkpoint import digest
from anila.runs.folder.run import Run
from anila.runs.model.export import CHAINS, MANIFEST, RECORD, WEIGHTS, Shared, ShareError
from anila.runs.model.trained import Trained
from anila.samplers import SAMPLERS, sample
from tiny import anila

MINE = '''
from typing import NamedTuple

import torch
from torch import Tensor

from anila import Info, Noise, Sampler, gradient
from anila.evaluation.training.metric import Metric
from anila.learning.objectives import Contrast, Objective


class State(NamedTuple):
    x: Tensor


def kick(f, step_size, strength: float = 0.5):
    """Follows the sign of the gradient."""

    def step(state: State, noise: Noise):
        grad = gradient(f, state.x)
        x = state.x + strength * step_size * grad.sign() + step_size**0.5 * noise.normal
        one = torch.ones_like(noise.uniform)
        return State(x), Info(one, step_size * one, grad.flatten(1).norm(dim=1), 0 * one)

    return Sampler(State, step, gradients=2)


class Bump(torch.nn.Module):
    def __init__(self, dim, width: int = 4):
        super().__init__()
        self.inner, self.outer = torch.nn.Linear(dim, width), torch.nn.Linear(width, 1)

    def forward(self, x):
        return self.outer(torch.tanh(self.inner(x))).squeeze(1)


def beside(gap: float = 0.5):
    """Up on data, down on noisy copies of them."""
    near = Metric(name="distance", words="the distance", title="how far", short="far", may_grow=False, in_series=True)

    def contrast(f, x_data, x_model, noise):
        return Contrast(x_data, x_data + gap * noise, metrics={"distance": gap * noise.norm(dim=1)})

    def draw_noise(x, generator):
        return torch.randn(x.shape, generator=generator)

    return Objective(contrast, (near,), draw_noise=draw_noise)


def well(x):
    return -x.square().sum(1) / 2


normal = torch.distributions.MultivariateNormal(torch.zeros(3), torch.eye(3))
'''
NAMES = {"sampler": "kick", "network": "Bump", "objective": "beside"}
TINY = ["training.batch=20", "training.chains=10", "training.iterations=4", "training.checkpoint_every=2",
        "training.log_every=1", "network.confine=2"]  # fmt: skip
COMPARED = ["--seeds", "1", "--budget", "80", "--points", "1", "--samples", "20"]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The file, in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    return "mine.py"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer chains, draws and pairs than a user gets."""
    for name, value in {
        "CHAINS": 8,
        "DRAWS": 1000,
        "PAIRS": 20,
        "LAG": 20,
        "WARM_UP": 60,
        "SIDES": {},
    }.items():
        monkeypatch.setattr(diagnosis, name, value)
    monkeypatch.setattr(own_density, "FOUND", 200)


def saved(run: str) -> dict[str, Any]:
    return json.loads((Path(run) / "config.json").read_text())["experiment"]


def as_rows(mine: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A row in each table."""
    monkeypatch.setitem(SAMPLERS, "kick", load_code(f"{mine}:kick", "test").thing)
    monkeypatch.setitem(NETWORKS, "bump", load_code(f"{mine}:Bump", "test").thing)
    return "kick", "bump"


def as_words(mine: str, _: pytest.MonkeyPatch) -> tuple[str, str]:
    """Nothing but the file."""
    return f"{mine}:kick", f"{mine}:Bump"


@pytest.mark.parametrize("added", [as_rows, as_words])
@pytest.mark.usefixtures("few")
@pytest.mark.filterwarnings("ignore:.*of the mass")
def test_a_sampler_and_a_network_are_one_file(
    added: Callable[..., tuple[str, str]],
    mine: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """Sees a list of names in some room: it trains, resumes, draws, compares and diagnoses, and its options count."""
    kick, bump = added(mine, monkeypatch)
    words = ["rings", *TINY, f"sampler={kick}", "sampler.strength=0.25", f"network={bump}", "network.width=3"]
    assert anila("train", *words, "--run", "run") == 0
    assert anila("train", *words, "--run", "run") == 0
    assert "resumed at iteration 4" in capsys.readouterr().err
    assert (saved("run")["sampler"]["strength"], saved("run")["network"]["width"]) == (0.25, 3)
    assert anila("sample", "run", "--count", "5", "--out", "x.csv") == 0
    assert anila("diagnose", "gaussian", "strength=0.1", "--sampler", kick, "--steps", "200") == 0
    compared = ["rings", *TINY[:2], "sampler.strength=0.25", "--samplers", f"langevin,{kick}", *COMPARED]
    assert anila("compare", *compared, "--out", "out") == 0
    found = json.loads(Path("out/comparison.json").read_text())["protocol"]["settings"]
    assert found["kick"]["strength"] == 0.25
    assert found["kick"]["gradients_an_iteration"] == found["langevin"]["gradients_an_iteration"]
    assert anila("compare", *compared, "--samplers", "langevin,descent", "--out", "none") == 2
    assert "sampler.strength" in capsys.readouterr().err


@pytest.mark.parametrize("by_row", [True, False])
@pytest.mark.usefixtures("drawn")
def test_an_objective_is_one_file(
    by_row: bool, mine: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Sees fixed names of metrics: it trains, is guarded, resumes, draws and plots, with the metrics that it lists."""
    beside = f"{mine}:beside"
    if by_row:
        monkeypatch.setitem(OBJECTIVES, "beside", load_code(beside, "test").thing)
        beside = "beside"
    words = ["rings", *TINY, "network.hidden=[4]", f"objective={beside}", "objective.gap=0.25"]
    assert anila("train", *words, "--run", "run") == 0
    assert anila("train", *words, "--run", "run") == 0
    assert "resumed at iteration 4" in capsys.readouterr().err
    assert saved("run")["objective"]["gap"] == 0.25
    assert list(Run("run").series()) == ["iteration", "distance"]
    assert Run("run").stats()[-1]["distance"] == pytest.approx(0.25 * 1.25, rel=0.5)
    guard = Trained.load(Run("run")).restore(Path("run/checkpoints/000000004"))
    assert [list(row) for row in guard["rows"]] == 4 * [["distance"]]
    assert Path("run/samples/curves.png").is_file()
    assert anila("sample", "run", "--count", "5", "--out", "x.csv") == 0
    assert anila("train", *words, "objective.gapp=1", "--run", "other") == 2
    assert "did you mean 'objective.gap'" in capsys.readouterr().err
    assert anila("train", *words, "training.penalty=1", "--run", "other") == 2
    assert "has no penalty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sampler=mine.py:kick", "sampler.strength=much"], "sampler.strength: input should be a valid number"),
        (["sampler=mine.py:kick", "sampler.strenght=1"], "did you mean 'sampler.strength'"),
        (["sampler=mine.py:kick", "sampler.threshold=1"], "mine.py:kick has no threshold, which is a setting of"),
        (["sampler=mine.py:kick", "sampler.accept=0.5"], "never rejects"),
        (["sampler=mine.py:kik"], "has no function 'kik'; did you mean 'kick'"),
        (["network=none.py:Net"], "no file"),
        (["sampler=untyped.py:kick"], "its argument strength needs a type"),
        (["sampler=taken.py:kick"], "steps is a setting of every sampler; rename its argument"),
        (["sampler=broken.py:kick"], "cannot be run: ZeroDivisionError"),
        (
            ["sampler=wrong.py:nothing"],
            "that returns an anila.Sampler; calling it said",
        ),
        (
            ["sampler=wrong.py:none"],
            "that returns an anila.Sampler; got a NoneType",
        ),
    ],
)
def test_mistakes_are_named(mine: str, words: list[str], message: str):  # noqa: ARG001
    Path("untyped.py").write_text("def kick(f, step_size, strength): ...")
    Path("taken.py").write_text("def kick(f, step_size, steps: int = 3): ...")
    Path("broken.py").write_text("1 / 0")
    Path("wrong.py").write_text("def nothing(): ...\ndef none(f, step_size): ...")
    with pytest.raises(SettingsError, match=message):
        resolve(PRESETS["rings"].experiment, words)


def test_a_changed_file_is_refused_unless_it_is_accepted(mine: str, capsys: pytest.CaptureFixture[str]):
    """Sees a run that goes on by another rule than it began with, and a remedy that does not work as it is printed."""
    words = ["train", "rings", *TINY, f"sampler={mine}:kick", "--run", "run"]
    assert anila(*words) == 0
    Path(mine).write_text(MINE.replace("grad.sign()", "grad.tanh()"))
    assert anila(*words) == 2
    (remedy,) = [word for word in capsys.readouterr().err.split() if word.startswith("sampler.code=")]
    assert anila(*words, remedy) == 0
    assert "mine.py:kick is not the file that the run began with" in capsys.readouterr().err
    assert anila(*words) == 2


def test_an_export_carries_f_and_says_which_sampler_to_take(mine: str, capsys: pytest.CaptureFixture[str]):
    """Sees f refused for the sake of its sampler, or drawn from by another."""
    assert anila("train", "rings", *TINY, "network.hidden=[4]", f"sampler={mine}:kick", "--run", "run") == 0
    assert anila("export", "run", "--out", "shared") == 0
    Path(mine).rename("elsewhere.py")
    model = package.load("shared")
    assert isinstance(model, Shared)
    x = torch.randn(5, 2, generator=package.rng(0, "x"))
    with pytest.raises(ValueError, match=r"anila.sample\(kick\(model, step_size=0.02, strength=0.5\), x0"):
        model.draw(3)
    kick = load_code("elsewhere.py:kick", "test").thing
    moved, _ = sample(kick(model, step_size=0.02, strength=0.5), x, 3, package.rng(0, "chains"))
    assert moved.shape == x.shape
    Path("elsewhere.py").rename(mine)
    assert torch.equal(model(x), package.load("run")(x))
    assert anila("train", "rings", *TINY, f"network={mine}:Bump", "--run", "other") == 0
    assert anila("export", "other", "--out", "no") == 2
    assert "an export carries no code" in capsys.readouterr().err


@pytest.mark.parametrize("group", ["sampler", "network", "objective"])
def test_an_export_runs_no_file_that_it_names(group: str, mine: str):
    """Sees code run that somebody put beside weights, checksums and all."""
    assert anila("train", "rings", *TINY, "network.hidden=[4]", "--run", "run") == 0
    assert anila("export", "run", "--out", "shared") == 0
    Path(mine).write_text(f"from pathlib import Path\nPath('ran').touch()\n{MINE}")
    record = json.loads(Path("shared", RECORD).read_text())
    record["experiment"][group] = {"name": f"{Path(mine).absolute()}:{NAMES[group]}"}
    Path("shared", RECORD).write_text(json.dumps(record))
    sums = {name: digest(Path("shared", name)) for name in (RECORD, WEIGHTS, CHAINS)}
    Path("shared", MANIFEST).write_text(json.dumps({"sha256": sums}))
    with pytest.raises(ShareError, match="does not describe a model"):
        package.load("shared")
    assert not Path("ran").exists()


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize(("words", "drift"), [(["well", "--dim", "2"], True), (["well", "--dim", "3"], False),
                                              (["normal"], True)])  # fmt: skip
def test_a_density_of_ones_own_is_diagnosed(words: list[str], drift: bool, mine: str, capsys: Any):
    """Sees draws called exact that are not, or a law that is not found: N(0, I) is sampled as it should be."""
    assert anila("diagnose", f"{mine}:{words[0]}", *words[1:], "--steps", "200", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["convergence"]["temperature"] == pytest.approx(1, abs=0.1)
    assert ("drift" in found) == drift


@pytest.mark.usefixtures("few")
def test_a_model_of_named_parameters_is_diagnosed_by_its_names(mine: str, capsys: Any):  # noqa: ARG001
    """Sees a question about what the model knows, the number of its coordinates, and figures that fail on names."""
    Path("named.py").write_text(
        "from anila import transform\nfrom torch.distributions import HalfNormal, Normal\n"
        "f = transform(mean=Normal(0.0, 1.0), sd=HalfNormal(1.0), z=Normal(0.0, 1.0).expand([2]))\n"
    )
    assert anila("diagnose", "named.py:f", "--steps", "200", "--out", "figures", "--json") == 0
    assert json.loads(capsys.readouterr().out)["convergence"]["worst"] in ("f", "mean", "sd", "z[0]", "z[1]")
    assert Path("figures", "chains.png").exists()
    assert anila("diagnose", "named.py:f", "--dim", "3") == 2
    assert "its points have 4 numbers, not 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["diagnose", "wrong.py:Net", "--dim", "2"], "it is a class; name an instance of it"),
        (["diagnose", "wrong.py:nothing", "--dim", "2"], "f does not accept x of"),
        (["diagnose", "wrong.py:stop", "--dim", "2"], "f ends the process"),
        (["diagnose", "wrong.py:batch"], r"of shape \(2,\); torch.distributions.Independent makes one of it"),
        (["diagnose", "wrong.py:single"], r"of one number make it Independent\(law.expand\(\[1\]\), 1\)"),
        (["diagnose", "ends.py:f", "--dim", "2"], "cannot be run: SystemExit"),
        (["diagnose", "mine.py:normal", "--dim", "2"], "its points have 3 numbers, not 2"),
        (["diagnose", "gaussian", "--dim", "2"], "--dim is for a log-density in FILE.py:NAME"),
        (["train", "rings", "objective=wrong.py:two", "--run", "run"], "expected contrast.f, x_data, x_model, noise."),
        (["train", "rings", "objective=wrong.py:number", "--run", "run"], "to return a Contrast; got a int"),
    ],
)
def test_code_that_does_not_fit_is_one_message(words: list[str], message: str, mine: str, capsys: Any):  # noqa: ARG001
    """Sees a traceback, or a run folder begun for an objective that cannot be asked."""
    Path("wrong.py").write_text(
        "import sys\nfrom torch import nn, zeros\nfrom torch.distributions import Beta, Normal\n"
        "batch, single = Normal(zeros(2), 1.0), Beta(2.0, 3.0)\nfrom anila import Objective\n"
        "def nothing(): ...\ndef stop(x): sys.exit()\n"
        "class Net(nn.Module): ...\n"
        "def two(): return Objective(lambda f, x: f, ())\ndef number(): return Objective(lambda *_: 1, ())\n"
    )
    Path("ends.py").write_text("import sys\nsys.exit()")
    assert anila(*words) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not Path("run").exists()


@pytest.mark.usefixtures("few")
def test_a_flat_density_is_called_flat():
    """Sees a library's words about a threshold that nobody gave."""
    with pytest.raises(ValueError, match="f is flat at all draws"):
        diagnosis.with_kernel(lambda x: 0 * x.sum(1), torch.zeros(10, 2), True, [], 0)


def test_a_run_without_its_file_says_so(mine: str, capsys: pytest.CaptureFixture[str]):
    """Sees a library's own words about a file that was moved."""
    assert anila("train", "rings", *TINY, "network.hidden=[4]", f"sampler={mine}:kick", "--run", "run") == 0
    Path(mine).rename("gone.py")
    capsys.readouterr()
    assert anila("sample", "run", "--count", "3", "--out", "x.csv") == 2
    said = capsys.readouterr().err
    assert "no file" in said
    assert "put back what was there" in said
    assert "pydantic" not in said


def test_a_density_without_its_dimension_is_refused(mine: str, capsys: pytest.CaptureFixture[str]):
    assert anila("diagnose", f"{mine}:well") == 2
    assert "add --dim" in capsys.readouterr().err

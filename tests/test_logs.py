"""Laws of the other logs: they hold what stats.jsonl holds, know what a run went back on, and never end a training."""

import builtins
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from anila.cli import app
from anila.runs.experiment import PRESETS, Experiment, resolve
from anila.runs.experiment.overrides import SettingsError
from anila.runs.folder import logs
from anila.runs.folder.run import Run
from anila.runs.training import drawing
from anila.runs.training import train as training
from anila.runs.training.train import train
from tiny import quiet

pytestmark = pytest.mark.usefixtures("drawn")


def small(*more: str) -> Experiment:
    quick = ["network.hidden=[8]", "network.fourier=0", "training.batch=20", "training.log_every=1",
             "training.checkpoint_every=100", "training.picture_every=2", "training.iterations=4",
             "optimizer.decay=constant"]  # fmt: skip
    return resolve(PRESETS["rings"].experiment, [*quick, *more])


@pytest.fixture(autouse=True)
def grey(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures that are quick to draw."""
    from PIL import Image

    monkeypatch.setattr(drawing.pictures, "plane_panel", lambda *_: Image.new("L", (6, 4), 128))
    monkeypatch.setattr(drawing.pictures, "training_curves", lambda *_: Image.new("L", (6, 4), 128))
    monkeypatch.setattr(training, "exact_kl", lambda *_: 0.5)


def read(run: Path) -> EventAccumulator:
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return events


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_reads_what_stats_say(tmp_path: Path):
    """Sees a metric left out, another value or step, pictures lost, and steps twice where a run went on."""
    train(small("training.log_to=tensorboard"), tmp_path / "run", quiet)
    longer = ["training.log_to=tensorboard", "training.iterations=6"]
    (newest,) = (tmp_path / "run/checkpoints").glob("0*")
    assert newest.name == "000000004"
    train(small(*longer), tmp_path / "run", quiet)
    stats, events = Run(tmp_path / "run").stats(), read(tmp_path / "run")
    assert set(events.Tags()["scalars"]) == {name for line in stats for name in line} - {"iteration"}
    for name in events.Tags()["scalars"]:
        expected = {
            line["iteration"]: pytest.approx(line[name], rel=1e-6, nan_ok=True) for line in stats if name in line
        }
        assert {e.step: e.value for e in events.Scalars(name)} == expected
    pictures = events.Images("samples")
    assert [p.step for p in pictures] == [2, 4, 6]
    assert (pictures[0].width, pictures[0].height) == (6, 4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_forgets_what_a_run_went_back_on(tmp_path: Path):
    """Sees the curve of a training that was rolled back drawn through the one that replaced it."""
    run = Run(tmp_path)
    with run.logs.open(["tensorboard"], tmp_path, 0, {}):
        for i in range(1, 6):
            run.append_stats({"iteration": i, "energy_gap": 100.0})
        run.forget_after(2)
        for i in range(3, 5):
            run.append_stats({"iteration": i, "energy_gap": 1.0})
    values = {e.step: e.value for e in read(tmp_path).Scalars("energy_gap")}
    assert values == {1: 100, 2: 100, 3: 1, 4: 1}


class FakeWandb(types.ModuleType):
    """What anila uses of wandb, noting what it is told."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.begun: list[dict[str, Any]] = []
        self.logged: list[dict[str, Any]] = []
        self.ended = 0
        self.axes: list[tuple[str, str]] = []
        self.Image = lambda path: ("image", Path(path).name)

    def init(self, **options: Any) -> "FakeWandb":
        self.begun.append(options)
        return self

    def define_metric(self, name: str, step_metric: str) -> None:
        self.axes.append((name, step_metric))

    def log(self, line: dict[str, Any]) -> None:
        self.logged.append(line)

    def finish(self) -> None:
        self.ended += 1


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr(logs, "find_spec", lambda _: object())
    return fake


def test_wandb_gets_what_stats_say(tmp_path: Path, wandb: FakeWandb):
    """Sees a resumed run become a second one, lines that differ, an axis that is not the iteration, no end."""
    train(small("training.log_to=wandb"), tmp_path / "rings", quiet)
    train(small("training.log_to=wandb", "training.iterations=6"), tmp_path / "rings", quiet)
    first, second = wandb.begun
    assert first["id"] == second["id"]
    assert (first["project"], first["name"], first["resume"]) == ("anila", "rings", "allow")
    assert Path(first["dir"]) == tmp_path / "rings"
    assert first["config"]["training"]["iterations"] == 4
    assert json.dumps(first["config"])
    assert wandb.axes[0] == ("*", "iteration")
    assert wandb.ended == 2
    assert [line for line in wandb.logged if "samples" not in line] == Run(tmp_path / "rings").stats()
    assert {"iteration": 2, "samples": ("image", "000000002.png")} in wandb.logged


@pytest.mark.parametrize("fails", ["init", "log", "finish"])
def test_a_log_that_fails_is_said_once_and_left(tmp_path: Path, wandb: FakeWandb, fails: str):
    """Sees training ended by a server that is away, and a warning for every line."""

    attempts = []

    def offline(*_: Any, **__: Any) -> None:
        attempts.append(1)
        raise ConnectionError("api.wandb.ai cannot be reached")

    setattr(wandb, fails, offline)
    heard: list[str] = []
    assert train(small("training.log_to=wandb"), tmp_path / "run", heard.append).iteration == 4
    said = [line for line in heard if "wandb" in line]
    assert said == [
        "warning: wandb failed, and training continues without it: ConnectionError: api.wandb.ai cannot be reached"
    ]
    assert len(attempts) == 1
    assert len(Run(tmp_path / "run").stats()) == 4


def test_an_extra_that_is_not_there_is_named_before_any_work(tmp_path: Path, monkeypatch, capsys):
    """Sees a run that begins, or ends in a traceback, for want of an optional package."""
    monkeypatch.setattr(logs, "find_spec", lambda _: None)
    monkeypatch.setattr(
        sys, "argv", ["anila", "train", "rings", "training.log_to=tensorboard", "--run", str(tmp_path / "run")]
    )
    with pytest.raises(SystemExit) as stop:
        app.main()
    assert stop.value.code == 2
    assert "training.log_to=tensorboard needs an extra" in (err := capsys.readouterr().err)
    assert "pip install 'anila[tensorboard]'" in err
    assert not (tmp_path / "run").exists()


def test_nothing_is_imported_that_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees an optional package become one that every run needs."""
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        assert name.partition(".")[0] not in ("tensorboard", "wandb"), name
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert train(small("training.iterations=1"), tmp_path / "run", quiet).iteration == 1


@pytest.mark.parametrize(
    ("text", "names"),
    [("tensorboard", ("tensorboard",)), ("[tensorboard,wandb]", ("tensorboard", "wandb")), ("none", ()), ("[]", ())],
)
def test_names_are_one_or_a_list(text: str, names: tuple[str, ...]):
    assert small(f"training.log_to={text}").training.log_to == names


def test_unknown_logs_are_refused():
    with pytest.raises(SettingsError, match=r"training.log_to.*'tensorboard' or 'wandb'; got 'mlflow'"):
        small("training.log_to=mlflow")

"""Laws of the command line: it works, it is fast to start, and mistakes are one message and a status."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image
from typer.main import get_command

from anila.cli.app import app
from anila.cli.console import Command
from anila.cli.progress import plain_lines
from anila.runs.folder.contents import foreign
from anila.runs.training.stop import Stop
from test_ranks import SERVER, ended
from tiny import anila

TINY = ["network.hidden=[8]", "network.fourier=4", "training.batch=20", "training.chains=10",
        "training.iterations=6", "training.checkpoint_every=3"]  # fmt: skip
PHOTOS = ["data.size=8", "network.widths=[4,4]", "sampler.levels=4", "sampler.steps=2", "training.batch=4",
          "start.size=8", "training.threads=1"]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "a run – ünïcode"
    assert anila("train", "rings", *TINY, "--run", path) == 0
    return path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["purify", "pretrained:mnist", "--out", "a.png"], "How far a pixel may have been changed"),
        (["compose", "pretrained:mnist"], "Number of"),
        (["train"], "A preset, a TOML file, or a path to data"),
    ],
)
def test_what_is_missing_is_explained(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]):
    """Sees a missing option named without what it is."""
    assert anila(*words) == 2
    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "Missing" in said
    assert expected in said


@pytest.mark.usefixtures("rendered")
def test_train_sample_evaluate(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for suffix in ("npz", "npy", "csv", "parquet", "png"):
        assert anila("sample", run, "--count", "30", "--out", tmp_path / f"x.{suffix}") == 0
    points = np.load(tmp_path / "x.npz")["x"]
    assert points.shape == np.load(tmp_path / "x.npy").shape == (30, 2)
    table = pyarrow.parquet.read_table(tmp_path / "x.parquet")
    assert table.column_names == ["x0", "x1"]
    np.testing.assert_array_equal(np.stack([c.to_numpy() for c in table.columns], 1), points)
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.width > 500
    capsys.readouterr()
    assert anila("evaluate", run, "--count", "200", "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores == json.loads((run / "scores.json").read_text())
    assert {"kl", "log_z", "w2", "mode_mass", "energy_gap", "protocol"} <= scores.keys()
    assert {"rhat", "ess_bulk", "ess_tail"} <= scores.keys()  # beside every estimate
    assert sum(scores["mode_mass"]) == pytest.approx(1)
    assert scores["protocol"]["samples"] == 200
    assert foreign(run) == []  # --overwrite takes all of it away


def test_likelihood_comes_with_its_interval_and_protocol(run: Path, capsys: pytest.CaptureFixture[str]):
    """Sees an annealed log Z at odds with the grid's, and numbers without how they were found."""
    assert anila("evaluate", run, "--count", "200", "--likelihood", "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["log_z_annealed_low"] < scores["log_z"] < scores["log_z_annealed_high"]
    assert scores["log_likelihood_low"] < scores["log_likelihood"] < scores["log_likelihood_high"]
    assert {"rungs", "chains", "temperature", "draws", "data"} <= scores["protocol"]["likelihood"].keys()


def test_a_table_comes_back_in_its_own_units(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Sees samples left standardised, or columns renamed."""
    values = np.random.default_rng(0).normal([100.0, -5.0, 0.0], [10.0, 0.1, 1.0], (300, 3))
    np.savetxt(tmp_path / "people.csv", values, delimiter=",", header="height,mood,luck", comments="")
    run = tmp_path / "run"
    assert anila("train", tmp_path / "people.csv", *TINY, "network.fourier=0", "--run", run) == 0
    assert anila("sample", run, "--count", "200", "--out", tmp_path / "new.parquet") == 0
    table = pyarrow.parquet.read_table(tmp_path / "new.parquet")
    assert table.column_names == ["height", "mood", "luck"]
    assert 60 < np.mean(table["height"].to_numpy()) < 140
    assert -6 < np.mean(table["mood"].to_numpy()) < -4
    assert anila("evaluate", run, "--count", "100") == 0
    assert "w2" in capsys.readouterr().out


@pytest.mark.usefixtures("drawn")
def test_images_from_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ANILA_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(8):
        pixels = np.random.default_rng(i).integers(0, 255, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    run = tmp_path / "run"
    assert anila("train", folder, *PHOTOS, "stages.1.iterations=2", "stages.2.iterations=1", "--run", run) == 0
    assert anila("evaluate", run, "--count", "10") == 0
    assert {p.name for p in (run / "samples").iterdir()} >= {"000000003.png", "evaluation.png", "nearest.png"}
    assert "nearest_distance" in json.loads((run / "scores.json").read_text())
    assert anila("sample", run, "--count", "4", "--out", tmp_path / "x.csv") == 2


def test_presets_are_listed(capsys: pytest.CaptureFixture[str]):
    assert anila("presets", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert {
        "rings",
        "mixture",
        "mnist",
        "flowers",
        "flowers-chains",
        "rings-stanley",
        "cifar10-anatomy",
    } <= listed.keys()
    assert all(entry["result"] for entry in listed.values())


def test_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert anila("train", "rings", *TINY, "--run", tmp_path / "run", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "training" in out
    assert "per iteration" in out
    assert "reach" in out
    assert not (tmp_path / "run").exists()
    assert anila("train", "rings", *TINY, "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["settings"]["training"]["batch"] == 20


@pytest.mark.filterwarnings("default::UserWarning")
def test_every_command_says_a_warning_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Sees one shown as Python does, with a line of anila's source, and one said twice."""
    path = tmp_path / "people.csv"
    path.write_text("name,size\nann,1\nbob,2\n")
    assert anila("train", path, "--dry-run") == 0
    said = capsys.readouterr().err
    assert said == "warning: people.csv: left out name (2 different texts in 2 rows: too many for categories)\n"
    commands = get_command(app).commands.values()  # pyright: ignore[reportAttributeAccessIssue]
    assert all(isinstance(command, Command) for command in commands)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "ringz"], "unknown preset 'ringz'; did you mean 'rings'"),
        (["train", "rings", "lerning_rate=1"], "did you mean 'optimizer.learning_rate'"),
        (["train", "rings", "seed=3"], "did you mean 'training.seed'"),
        (["train", "rings", "training.batch=0"], "training.batch"),
        (["train", "rings", "sampler=mala", "sampler.temperature=0.5"], "mala is exact at temperature 1 only"),
        (["train", "rings", "training.device=cuda:7"], "training.device=cuda:7 cannot be used"),
        (["train", "no/such/folder"], "no file or folder"),
        (["train", "nowhere/"], "no file or folder"),
        (["train", "rings", "data=no-such-data"], "no data called 'no-such-data'"),
        (["sample", "no-run", "--count", "3", "--out", "x.npz"], "is not a folder; make a run with"),
        (["evaluate", "no-run"], "is not a folder"),
        (
            ["evaluate", sys.executable],
            "is a file, not the folder of a run; make a run with: anila train PRESET --run NEW",
        ),
        (
            ["evaluate", __file__],
            "is a file, not the folder of a run; a density of your own is for: anila diagnose FILE",
        ),
        (
            ["report", "mine.py:f"],
            "is not a folder; a density of your own is for: anila diagnose FILE.py:NAME, and anila",
        ),
        (["outliers", "pretrained:iris", str(Path(__file__).parent)], "is a folder: give one table of it"),
        (["sample", "no-run", "--count", "0", "--out", "x.npz"], "--count"),
        (["sample", "no-run", "--count", "1", "--out", "x.exe"], "expected one of .npz"),
        (["sample", "no-run", "--count", "1", "--out", "no/folder/x.npz"], "there is no folder"),
        (["train", "rings", "--run", "x" * 300], "File name too long"),
        (["sing"], "No such command"),
    ],
)
def test_mistakes_are_one_message_and_status_2(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert anila(*words) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    assert anila("train", tmp_path / "photos", "--run", tmp_path / "run") == 2
    assert ".png" in capsys.readouterr().err


def test_a_run_is_not_mixed_with_another(run: Path, capsys: pytest.CaptureFixture[str]):
    assert anila("train", "rings", *TINY, "sampler.steps=9", "--run", run) == 2
    assert "sampler.steps: 2 -> 9" in capsys.readouterr().err


def test_overwrite_starts_over(tmp_path: Path):
    assert anila("train", "rings", *TINY, "--run", tmp_path / "run") == 0
    assert anila("train", "rings", *TINY, "sampler.steps=3", "--run", tmp_path / "run", "--overwrite") == 0
    saved = json.loads((tmp_path / "run/config.json").read_text())
    assert saved["experiment"]["sampler"]["steps"] == 3


def test_a_stop_before_anything_was_done_says_to_overwrite_again(tmp_path: Path, monkeypatch, capsys):
    """Sees a command printed that would go on with the old run, or be refused."""
    assert anila("train", "rings", *TINY, "--run", tmp_path / "run") == 0
    monkeypatch.setattr(Stop, "agreed", lambda stop, *_: setattr(stop, "number", signal.SIGTERM) is None)
    assert anila("train", "rings", *TINY, "sampler.steps=3", "--run", tmp_path / "run", "--overwrite") == 143
    err = capsys.readouterr().err
    assert "the old run was put back" in err
    assert err.rstrip().endswith("--overwrite")


def test_home_is_found_where_no_shell_expands_it(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees a folder called ~, and a run that one command finds and the next does not."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    assert anila("train", "rings", *TINY, "training.iterations=1", "--run=~/own") == 0
    shutil.copytree(run, tmp_path / "home/run")
    assert anila("sample", "~/run", "--count", "3", "--out", "~/x.csv") == 0
    assert anila("evaluate", "~/run", "--count", "20") == 0
    assert anila("export", "~/run", "--out", "~/exported") == 0
    assert {path.name for path in (tmp_path / "home").iterdir()} == {"own", "run", "x.csv", "exported"}
    assert (tmp_path / "home/run/scores.json").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_what_is_said_can_be_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Sees a folder with a space in its name without quotes: the next command took its first half."""
    path = tmp_path / "my run"
    assert anila("train", "rings", *TINY, "training.iterations=1", "--run", path) == 0
    assert f"anila sample '{path}' --count 1000 --out FILE" in capsys.readouterr().out
    assert anila("sample", tmp_path / "no run", "--count", "3", "--out", tmp_path / "x.csv") == 2
    assert f"anila train PRESET --run '{tmp_path / 'no run'}'" in capsys.readouterr().err
    assert anila("export", path, "--out", tmp_path / "my model") == 0
    assert f"anila sample '{tmp_path / 'my model'}' --count 64 --out samples.csv" in capsys.readouterr().out
    card = (tmp_path / "my model/README.md").read_text(encoding="utf-8")
    assert "anila sample 'my model' --count 64 --out samples.csv" in card


def test_a_complete_run_without_its_metrics_is_still_complete(run: Path, tmp_path: Path):
    """Sees a traceback where somebody deleted stats.jsonl and gave the same command again."""
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run/stats.jsonl").unlink()
    assert anila("train", "rings", *TINY, "--run", tmp_path / "run") == 0


def test_a_run_stopped_before_its_first_checkpoint_says_how_it_goes_on(run: Path, tmp_path: Path, capsys):
    """Sees a refusal that names no way on."""
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("0*"))
    assert anila("sample", tmp_path / "run", "--count", "3", "--out", tmp_path / "x.csv") == 2
    assert "the command that began it continues it" in capsys.readouterr().err


def test_many_samples_say_how_far_they_are(run: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    """Sees hours of silence, and another number of samples than was asked for."""
    monkeypatch.setattr("anila.runs.model.model.BATCH", 4)
    monkeypatch.setattr("anila.cli.progress.plain_lines", partial(plain_lines, 0.0))
    assert anila("sample", run, "--count", "10", "--out", tmp_path / "x.npy") == 0
    assert [line.split()[0] for line in capsys.readouterr().err.splitlines() if "samples" in line] == [
        "4/10", "8/10", "10/10",
    ]  # fmt: skip
    assert np.load(tmp_path / "x.npy").shape == (10, 2)


@pytest.mark.parametrize(("seconds", "least", "most"), [(60, 4, 6), (1200, 50, 62), (86400, 280, 290)])
def test_a_log_has_a_line_now_and_then(seconds: int, least: int, most: int, capsys, monkeypatch: pytest.MonkeyPatch):
    """Sees thousands of lines of a long run, and none of a short one."""
    now = iter(range(seconds + 2))
    monkeypatch.setattr("anila.cli.progress.time.monotonic", lambda: next(now))
    show = plain_lines()
    for i in range(seconds + 1):
        show(i, seconds, "loss 1")
    assert least <= len(capsys.readouterr().err.splitlines()) <= most


def test_more_samples_than_find_room_are_refused_at_once(run: Path, tmp_path: Path, capsys, monkeypatch):
    """Sees the system end the process, or the disk fill, after hours of drawing."""
    monkeypatch.setattr("anila.runs.model.model.free_memory", lambda: 800)
    assert anila("sample", run, "--count", "101", "--out", tmp_path / "x.npy") == 1
    assert "ask for at most 100 at a time" in capsys.readouterr().err
    assert anila("compose", run, run, "--count", "101", "--out", tmp_path / "x.npy") == 1
    assert anila("sample", run, "--count", "100", "--out", tmp_path / "x.npy") == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(800, 0, 800))  # pyright: ignore
    capsys.readouterr()
    for command in (("sample", run), ("compose", run, run)):
        assert anila(*command, "--count", "101", "--out", tmp_path / "y.npy") == 2
        assert "and its disk has" in capsys.readouterr().err


def test_a_repository_that_is_not_made_is_not_private(run: Path, tmp_path: Path, capsys):
    """Sees --private say nothing where nothing is uploaded."""
    assert anila("export", run, "--out", tmp_path / "x", "--private") == 2
    assert "--push OWNER/NAME" in capsys.readouterr().err


def test_divergence_is_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    wild = ["sampler=langevin", "sampler.step_size=1e9", "optimizer.learning_rate=1e18", "network.confine=none"]
    assert anila("train", "rings", *TINY, *wild, "training.iterations=50", "--run", tmp_path / "run") == 1
    assert "training stopped" in capsys.readouterr().err


STARTS: list[tuple[list[str], int, str]] = [
    (["presets"], 0, "four rings in the plane"),
    (["--help"], 0, "Train, sample and judge"),
    (["train", "--help"], 0, "the same command again resumes"),
    (["train", "ringz"], 2, "did you mean 'rings'"),
    (["train", "no/such.csv"], 2, "no file or folder"),
    (["train", ""], 2, "a word of the command is empty"),
    (["train", "rings", "--run", "", "--dry-run"], 2, "--run is empty"),
    (["sample", "no-run", "--count", "3", "--out="], 2, "--out is empty"),
    (["report", "pretrained:rings"], 2, "this command needs the run it came from"),
    (["export", "pretrained:rings", "--out", "x"], 2, "this command needs the run it came from"),
    (["evaluate", "pretrained:rings"], 2, "this command needs the run it came from"),
    (["diagnose", "pretrained:rings"], 2, "this command needs the run it came from"),
    (["compare", "rings", "--out", f"{__file__}/x"], 2, "is a file; --out takes a folder"),
    (["reproduce", "rings", "--out", f"{__file__}/x"], 2, "is a file; --out takes a folder"),
    (["diagnose", "rings", "--out", __file__], 2, "is a file; --out takes a folder"),
    (["train", "rings", "nonsense=1"], 2, "unknown setting 'nonsense'; known: data, network"),
    (["train", "rings", "lerning_rate=1"], 2, "did you mean 'optimizer.learning_rate'"),
    (["train", "rings", "training.itertions=1"], 2, "did you mean 'training.iterations'"),
    (["train", "rings", "training"], 2, "expected key=value, got 'training'"),
    (["diagnose", "ringz"], 2, "no density or run 'ringz'; did you mean 'rings'"),
    (["playground", "ringz"], 2, "no density, run or file 'ringz'; did you mean 'rings'"),
    (["report", "no-run"], 2, "is not a folder; make a run with"),
    (["outliers", "no-run", "a.csv"], 2, "is not a folder; make a run with"),
    (["evaluate", "no-run"], 2, "is not a folder; make a run with"),
    (["evaluate", "pretrained:ring"], 2, "did you mean 'rings'"),
    (["compare", "ringz"], 2, "did you mean 'rings'"),
    (["train", "rings", "training.batch=0"], 2, "greater than or equal to 1; got '0'"),
    (["train", "rings", "data.missing=NA"], 2, "expected a list; got 'NA'; give 'data.missing=[NA]'"),
    (["train", "rings", "start=nois", "data.size=x"], 2, "or 'paired'; got 'nois' command line: data.size: input"),
]  # fmt: skip
if version("torch").endswith("+cpu"):  # otherwise torch is asked for the GPU
    STARTS.append((["--version"], 0, "no GPU, the CPU is used"))
ONE_BY_ONE = """
import contextlib, io, json, sys
from anila.cli import app
for words in json.load(sys.stdin):
    said, status, sys.argv = io.StringIO(), 0, ["anila", *words]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            app.main()
        except SystemExit as stop:
            status = stop.code or 0
    print(json.dumps([status, said.getvalue(), sorted({"torch", "PIL", "numpy"} & sys.modules.keys())]))
"""


@pytest.fixture(scope="module")
def started() -> list[tuple[int, str, list[str]]]:
    """Status and words of each command, one after the other in a fresh process, and what it has imported by then."""
    commands = json.dumps([words for words, *_ in STARTS])
    done = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE], input=commands, capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("k", range(len(STARTS)), ids=lambda k: " ".join(STARTS[k][0]))
def test_starting_is_fast_because_torch_is_not_imported(k: int, started: list[tuple[int, str, list[str]]]):
    """Sees seconds of imports before a list, a help page, or a refusal."""
    (_, status, says), (found, said, imported) = STARTS[k], started[k]
    assert found == status
    assert says in " ".join(said.split())
    assert not imported


@pytest.mark.parametrize(
    ("given", "says"), [("runs/ring", "did you mean 'rings'?"), ("runs", "; runs in it: runs/rings")]
)
def test_a_run_beside_or_within_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: str, says: str
):
    """Sees a misspelt run that is not told, and advice to train into a folder that holds runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/rings").mkdir(parents=True)
    (tmp_path / "runs/rings/config.json").write_text("{}")
    assert anila("evaluate", given) == 2
    assert says in capsys.readouterr().err


def test_the_catalogue_lists_what_there_is():
    """Sees a preset or a toy that is refused before it is looked for."""
    from anila.data import TOYS
    from anila.density.targets import DENSITIES
    from anila.reports.playground.plane import PLANE
    from anila.runs import catalogue
    from anila.runs.experiment import PRESETS

    assert [*map(tuple, (TOYS, DENSITIES, PLANE))] == [catalogue.TOYS, catalogue.DENSITIES, catalogue.PLANE]
    assert [*PRESETS] == [*catalogue.KNOWN_TO]


def test_the_catalogue_knows_the_settings():
    """Sees a setting refused that there is, and another hint than reading the values would give."""
    from anila.runs import catalogue
    from anila.runs.experiment import PRESETS, SettingsError, resolve
    from anila.runs.experiment.changes import CHOICES
    from anila.runs.experiment.overrides import GROUPS, fields_of

    assert list(CHOICES) == list(catalogue.CHOSEN)
    assert list(catalogue.SETTINGS) == list(GROUPS)
    for group, fields in catalogue.SETTINGS.items():
        there = fields_of(group, list(CHOICES[group].TABLE) if group in CHOICES else [])
        assert set(fields) <= set(there) if group in CHOICES else set(fields) == set(there)
    catalogue.require_keys(["nonsense=1", "training.batch=10"])
    catalogue.require_keys(["optimizer.decay=exponential"])
    catalogue.require_keys(["stages.1.iterations=5"])
    for text in (
        "nonsense=1", "batchh=1", "tresholds=1", "start.batch=3", "training=5", "data.sise=3", "=", "batch",
        "training.batch=0", "training.seed=1.5", "training.precision=half", "data.size=big", "start=nois",
        "data.flip=2", "optimizer.momentum=[1]", "data.held_out=nan", "training.timeout=none",
    ):  # fmt: skip
        with pytest.raises(SettingsError) as early:
            catalogue.require_keys([text])
        with pytest.raises(SettingsError) as late:
            resolve(PRESETS["rings"].experiment, [text])
        assert str(early.value) == str(late.value)


def test_version_torch_and_device_are_printed(capsys: pytest.CaptureFixture[str]):
    """Sees a report of a fault without what it happened on."""
    assert anila("--version") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("anila ")
    assert f", torch {version('torch')}" in printed


def test_a_shell_completes_commands_and_presets():
    """Sees a completion that is switched off, or that imports torch at every tab."""
    code = "import sys; from anila.cli import app\n"
    code += "try: app.main()\nfinally: assert 'torch' not in sys.modules"
    words = {"_ANILA_COMPLETE": "complete_bash", "COMP_WORDS": "anila train ring", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv = ['anila']; {code}"],
        capture_output=True, text=True, env=os.environ | words,
    )  # fmt: skip
    assert set(done.stdout.split()) == {"rings", "rings-stanley", "rings-anatomy", "rings-anatomy-shortrun"}


def test_every_public_name_is_there():
    import anila as package

    assert all(getattr(package, name) is not None for name in package.__all__)
    assert set(package.__all__) == {*package.MODULE_OF, "rng"}


def test_every_count_has_a_least_and_a_most():
    """Sees --count 10^30 taken, to fail much later or never."""
    counts = {}
    for command in app.registered_commands:
        assert command.callback
        for name, hint in get_type_hints(command.callback, include_extras=True).items():
            kind, *more = get_args(hint) if get_origin(hint) is Annotated else (hint,)
            if kind in (int, int | None) and name != "seed":
                counts[f"{command.callback.__name__} {name}"] = (more[0].min, more[0].max)
    assert len(counts) >= 30
    assert [name for name, (least, most) in counts.items() if least is None or most is None] == []


def speak(folder: Path, words: list[str]) -> None:
    """The command line as a process that works in a folder, and says what it has to say into a file there."""
    os.chdir(folder)
    sys.stderr = (folder / "said.txt").open("w")
    raise SystemExit(anila(*words))


def test_ctrl_c_saves_and_says_how_to_resume(tmp_path: Path):
    """Sees a lost run, a traceback or a wrong status: 130 after Ctrl-C, and the printed command goes on."""
    words = [
        "train",
        "rings",
        *TINY,
        "training.iterations=100000",
        "optimizer.decay=constant",
        "--run",
        "run",
        "--overwrite",
    ]
    process = SERVER.Process(target=speak, args=(tmp_path, words), daemon=True)
    process.start()
    stats = tmp_path / "run/stats.jsonl"
    while not (stats.exists() and stats.read_text()) and process.is_alive():
        time.sleep(0.05)
    assert process.pid
    os.kill(process.pid, signal.SIGINT)
    assert ended([process]) == [130]
    err = (tmp_path / "said.txt").read_text()
    assert "Traceback" not in err
    assert "resume with: anila train rings" in err
    assert "--overwrite" not in err
    assert any((tmp_path / "run/checkpoints").glob("0*"))
    assert not (tmp_path / "run/lock").exists()


def test_a_broken_image_is_named_and_can_be_left_out(tmp_path: Path, monkeypatch, capsys):
    """Sees a run that dies in its third epoch, or a hint that the command line does not know."""
    monkeypatch.setenv("ANILA_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    half = (folder / "05.png").read_bytes()[:60]
    (folder / "05.png").write_bytes(half)
    words = ["train", folder, *PHOTOS, "stages=none", "training.iterations=1", "--run", tmp_path / "run"]
    assert anila(*words) == 2
    assert "05.png" in (err := capsys.readouterr().err)
    assert "on_error=skip" in err
    assert not (tmp_path / "run").exists()
    assert anila(*words, "data.on_error=skip") == 0
    assert "photos: 1 of 12 images cannot be decoded: 05.png" in capsys.readouterr().err


def test_the_parts_of_an_iteration_add_up_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Sees a part measured twice, or left out; and files written by a look at the clock."""
    monkeypatch.chdir(tmp_path)
    assert anila("train", "rings", "--profile", "--json", "training.batch=50") == 0
    found = json.loads(capsys.readouterr().out)
    whole, floor = found.pop("iteration"), found.pop("∇f × K")
    assert 0 < sum(found.values()) < 1.2 * whole
    assert sum(found.values()) > 0.5 * whole
    assert floor > 0
    assert not list(tmp_path.iterdir())

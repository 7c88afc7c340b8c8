"""What earlier versions left on disk is read, drawn from and gone on with as they did it: see tests/fixtures/make.py.

Numbers are equal to rounding, as another processor or version of torch computes them: a thousandth of their spread, and
where chains at rest are rounded to 8 bits, the step between two of those.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import anila as package
from fixtures.make import SEED, learned
from test_ranks import ended, start
from tiny import anila

FIXTURES = Path(__file__).parent / "fixtures"
ROUNDED = ("images", "classes")
"""The runs whose chains are stored as uint8 or bf16; one that rounds to the other side moves what follows a little."""


def named(pattern: str) -> pytest.MarkDecorator:
    """A case for every folder of fixtures that fits a pattern, as VERSION and NAME."""
    found = [path.relative_to(FIXTURES).parts for path in sorted(FIXTURES.glob(pattern))]
    assert found
    cases = [pytest.param(parts[0], parts[2], id=f"{parts[0]}-{parts[2]}") for parts in found]
    return pytest.mark.parametrize(("version", "name"), cases)


@pytest.fixture
def expected(version: str, name: str, tmp_path: Path, own_cache: None, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: ARG001
    """What is expected of a run; a copy of all that its version made is the working folder.

    Runs have their folder of samples, which was empty and which git does not keep.
    """
    shutil.copytree(FIXTURES / version, tmp_path / version)
    monkeypatch.chdir(tmp_path / version)
    Path("runs", name, "samples").mkdir()
    return Path("expected", name)


def require_near(found: Any, wanted: Any, tolerance: float = 1e-3, columns: bool = False) -> None:
    """Equal to a part of the spread of the wanted numbers, or of each of their columns."""
    found, wanted = (torch.as_tensor(np.asarray(x), dtype=torch.float64) for x in (found, wanted))
    spread = wanted.std(0) if columns else wanted.std()
    torch.testing.assert_close(found / spread, wanted / spread, rtol=0.0, atol=tolerance)


def require_same_draws(folder: Path, wanted: Path, *more: str) -> None:
    out = wanted.with_name("new.npz")
    assert anila("sample", folder, "--count", "16", "--seed", SEED, "--out", out, *more) == 0
    with np.load(out) as found, np.load(wanted) as known:
        assert found["columns"].tolist() == known["columns"].tolist()
        require_near(found["x"], known["x"], columns=found["x"].ndim == 2)


def require_same_f(folder: Path, wanted: Path) -> None:
    model = package.load(folder)
    with np.load(wanted / "f.npz") as known, torch.no_grad():
        require_near(model(torch.from_numpy(known["x"])), known["f"])


def require_learned(run: Path, wanted: Path) -> None:
    """A run ended with the statistics, θ and the chains it would have ended with at once.

    The average of θ and its KL are left out: since 0.2.0 it forgets the first θ sooner.
    """
    loose = 10 if wanted.name in ROUNDED else 1
    lines = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    after = [json.loads(line) for line in (wanted / "stats.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == list(range(1, after[-1]["iteration"] + 1))
    for line, known in zip(lines[-len(after) :], after, strict=True):
        known.pop("kl", None)
        assert {k: line.get(k) for k in known} == pytest.approx(known, rel=1e-3 * loose, abs=5e-5 * loose)
    found = learned(run)
    with np.load(wanted / "learned.npz") as known:
        assert found.keys() == set(known.files)
        for name, value in ((k, v) for k, v in found.items() if not k.startswith("average")):
            tolerance = 1e-3 if wanted.name not in ROUNDED else 3e-2 if name == "chains" else 5e-3
            require_near(value, known[name], tolerance)


@named("*/runs/*")
def test_an_old_run_is_the_model_it_was(name: str, expected: Path):
    """Sees parameters that are read wrongly or not averaged, chains lost or in another order, other noise."""
    require_same_f(Path("runs", name), expected)
    require_same_draws(Path("runs", name), expected / "draws.npz")
    if (expected / "label.npz").exists():
        require_same_draws(Path("runs", name), expected / "label.npz", "--label", "dogs")


@named("*/exports/*")
def test_an_old_export_is_the_model_it_was(name: str, expected: Path):
    """Sees the same of an export, and another recipe than the run's."""
    require_same_f(Path("exports", name), expected)
    require_same_draws(Path("exports", name), expected / "export.npz")
    if (expected / "label.npz").exists():
        require_same_draws(Path("exports", name), expected / "label.npz", "--label", "dogs")


def command(expected: Path) -> list[str]:
    """The command that made a run, with what its preset said then: a folder of images was learned by chains alone."""
    train, what, *words = json.loads((expected / "command.json").read_text())
    if what.endswith(".csv"):
        words = ["network.confine=3", "sampler.steps=10", *words]
    if not what.endswith(".zip"):
        return [train, what, *words]
    return [train, "flowers-chains", f"data.name={what}", "data.size=32", "data.flip=false", *words]


@named("*/runs/*")
def test_an_old_run_goes_on(name: str, expected: Path):
    """Sees a state that is not all restored, other noise or other data in what follows; and old words refused."""
    assert anila(*command(expected)) == 0
    assert "resumed at iteration 6 of 12" in Path("runs", name, "log.txt").read_text()
    require_learned(Path("runs", name), expected)


def give(words: list[str]) -> None:
    """A command on one of two processes."""
    assert anila(*words) == 0


@named("*/runs/processes")
def test_an_old_run_goes_on_by_two_processes(name: str, expected: Path):
    """Sees chains lost, doubled or exchanged between processes that read what earlier ones wrote."""
    assert ended(start(give, 2, command(expected))) == [0, 0]
    require_learned(Path("runs", name), expected)


@named("*/runs/rings")
def test_an_old_run_has_the_scores_it_had(name: str, expected: Path):
    """Sees a score that is missing, renamed or computed from something else."""
    run, known = Path("runs", name), json.loads((expected / "scores.json").read_text())
    assert json.loads((run / "scores.json").read_text()) == known
    assert anila("evaluate", run, "--count", "200") == 0
    scores = json.loads((run / "scores.json").read_text())
    assert scores.keys() == known.keys()
    assert scores["protocol"].keys() == known["protocol"].keys()
    assert [scores[k] for k in ("kl", "log_z")] == pytest.approx([known[k] for k in ("kl", "log_z")], rel=1e-4)

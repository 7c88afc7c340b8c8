"""Applications of a model that knows classes, and a degradation of the user's own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
import torch
from torch import Tensor, nn

import anila as package
from anila.applications.files.inputs import Named, rows_from
from anila.applications.on_runs.classify import OfClass, classified
from anila.density.networks import Conditional
from anila.runs.model.trained import Trained
from tiny import TABLE, anila

CENTRES = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 2.0]])


class Three(nn.Module):
    """log p(x, y) of three unit normals, the last three times as likely."""

    def __init__(self) -> None:
        super().__init__()
        self.centres = nn.Parameter(CENTRES)

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.tensor([1.0, 1.0, 3.0], dtype=x.dtype).log()
        return weight - (x[:, None] - self.centres).square().sum(2) / 2


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a table of three kinds."""
    folder = tmp_path_factory.mktemp("kinds")
    x = torch.randn(60, 2, generator=torch.Generator().manual_seed(0)).double()
    table = {"a": x[:, 0].numpy(), "b": x[:, 1].numpy(), "kind": ["left", "right", "top"] * 20}
    pyarrow.csv.write_csv(pa.table(table), folder / "kinds.csv")
    words = ["data.label=kind", "network.classes=auto", *TABLE]
    assert anila("train", folder / "kinds.csv", *words, "--run", folder / "run") == 0
    return folder / "run"


@pytest.fixture
def known(kinds: Path) -> Trained:
    """That run with a density that is known, and chains that follow it."""
    trained: Any = package.load(kinds)
    trained.learner.ema, trained.learner.model = None, Conditional(Three())
    y = torch.multinomial(torch.tensor([1.0, 1.0, 3.0]), 6000, True, generator=torch.Generator().manual_seed(1))
    x = CENTRES[y] + torch.randn(6000, 2, generator=torch.Generator().manual_seed(2))
    trained.learner.chains.start = package.Persistent(x)
    return trained


def test_probabilities_are_bayes(known: Trained):
    """Sees classes out of order, or a prior that is lost."""
    x = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.0, 0.75]])
    found = classified(known, Named(["p", "q", "r"], x))
    joint = torch.tensor([1.0, 1.0, 3.0]) * (-(x[:, None] - CENTRES).square().sum(2) / 2).exp()
    torch.testing.assert_close(found.probability, (joint / joint.sum(1, keepdim=True)).double(), atol=1e-5, rtol=0)
    assert found.best == ["left", "right", "top"]
    assert list(found.columns) == ["class", "probability", "p(left)", "p(right)", "p(top)"]


def test_a_model_within_a_class_is_that_class(known: Trained):
    """Sees f of all classes, another class, starts that ignore it, or a name taken for an index."""
    top = OfClass(known, "top")
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(top(x), Three()(x)[:, 2])
    assert torch.equal(top(x), OfClass(known, "2")(x))
    start: Any = top.start
    torch.testing.assert_close(start.x.mean(0), CENTRES[2], atol=0.15, rtol=0)
    torch.testing.assert_close(top.draw(1000).mean(0), CENTRES[2], atol=0.2, rtol=0)


def test_rows_are_classified_beside_their_other_columns(kinds: Path, tmp_path: Path, capsys: Any):
    """Sees classes in another order than the rows, and a table that is altered."""
    table, out = kinds.parent / "kinds.csv", tmp_path / "out.csv"
    assert anila("classify", kinds, table, "--out", out, "--json") == 0
    summary, got = json.loads(capsys.readouterr().out), pyarrow.csv.read_csv(out)
    assert got.column_names == ["a", "b", "kind", "class", "probability", "p(left)", "p(right)", "p(top)"]
    assert got.select(["a", "b", "kind"]).equals(pyarrow.csv.read_csv(table))
    model = package.load(kinds)
    with torch.no_grad():
        p = model.f.logits(rows_from([str(table)], model).x).softmax(1)  # pyright: ignore[reportCallIssue]
    assert got.column("p(top)").to_pylist() == pytest.approx(p[:, 2].tolist(), abs=1e-5)
    assert got.column("class").to_pylist() == [model.classes[i] for i in p.argmax(1).tolist()]
    assert sum(summary["counts"].values()) == summary["rows"] == 60


def test_images_of_a_class(class_run: Path, tmp_path: Path, capsys: Any):
    """Sees a class that is ignored: with it completions and energies differ, by name and index they do not."""
    pets = class_run.parent / "pets"
    assert anila("classify", class_run, pets, "--out", tmp_path / "c.csv") == 0
    assert "8 rows: " in capsys.readouterr().out
    assert pyarrow.csv.read_csv(tmp_path / "c.csv").column("file").to_pylist()[0] == "cats/0.png"
    words = ["inpaint", class_run, pets / "cats/0.png", "--box", "0,0,4,8", "--steps", "3", "--out"]
    energy = {}
    for label in ("cats", "dogs", "1", None):
        out = tmp_path / f"{label}.npz"
        assert anila(*words, out, *(["--class", label] if label else [])) == 0
        energy[label] = np.load(out)["energy"].tolist()
    assert energy["dogs"] == energy["1"]
    assert energy["cats"] != energy["dogs"] != energy[None]
    assert anila("sample", class_run, "--count", "4", "--class", "dogs", "--out", tmp_path / "x.npy") == 0
    assert np.load(tmp_path / "x.npy").shape == (4, 3, 8, 8)


FILE = """
import torch

def half(x):
    return x[:, :, ::2]

def fog(x):
    return 0.5 * x + 0.3

def rounded(x):
    return (x * 10).round()

def detached(x):
    return x.detach() * 2

def fewer(x):
    return x[:1]

def mixed(x):
    return x - x.mean(0)

def numpy(x):
    return x.detach().numpy()

def falls(x):
    return x @ torch.zeros(3)

number = 3
"""


@pytest.mark.parametrize("name", ["half", "fog"])
def test_a_degradation_of_the_users_own(name: str, image_run: Path, tmp_path: Path, capsys: Any):
    """Sees a view that is not the user's function of the truth."""
    (tmp_path / "own.py").write_text(FILE)
    out = tmp_path / "x.npz"
    words = ["restore", image_run, "--images", "2", "--steps", "3", "--sd", "0.2", "--out", out]
    assert anila(*words, "--degrade", f"{tmp_path}/own.py:{name}") == 0
    assert "running your own code" in capsys.readouterr().err
    got = np.load(out)
    assert np.allclose(got["degraded"], got["truth"][:, :, ::2] if name == "half" else 0.5 * got["truth"] + 0.3)
    assert np.isfinite(got["energy"]).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["classify", "TABLE", "x.csv"], "the run has no classes; train one with network.classes=auto"),
        (["classify", "PETS", "none.png"], "no file or folder"),
        (["classify", "PETS", "own.py"], "expected"),
        (["classify", "KINDS", "x.csv", "x.csv"], "give one table; got 2 files"),
        (["classify", "KINDS", "x.csv", "--out", "x.txt"], "expected one of .csv, .tsv, .parquet"),
        (["sample", "IMAGES", "--count", "1", "--class", "dogs", "--out", "x.png"], "the run has no classes"),
        (["sample", "PETS", "--count", "1", "--class", "dog", "--out", "x.png"], "no class 'dog'; did you mean 'dogs'"),
        (["inpaint", "IMAGES", "--class", "dogs", "--box", "0,0,2,2", "--out", "x.png"], "the run has no classes"),
        (["inpaint", "PETS", "--class", "7", "--box", "0,0,2,2", "--out", "x.png"], "no class '7'"),
        (["restore", "IMAGES", "--degrade", "own.py", "--out", "x.png"], "expected FILE.py:NAME"),
        (["restore", "IMAGES", "--degrade", "none.py:fog", "--out", "x.png"], "no file"),
        (["restore", "IMAGES", "--degrade", "x.csv:fog", "--out", "x.png"], "is not a Python file"),
        (["restore", "IMAGES", "--degrade", "bad.py:fog", "--out", "x.png"], "cannot be run: SyntaxError"),
        (["restore", "IMAGES", "--degrade", "own.py:frog", "--out", "x.png"], "has no function 'frog'; did you mean"),
        (["restore", "IMAGES", "--degrade", "own.py:number", "--out", "x.png"], "has no function 'number'"),
        (["restore", "IMAGES", "--degrade", "own.py:rounded", "--out", "x.png"], "finite gradient that is not 0"),
        (["restore", "IMAGES", "--degrade", "own.py:detached", "--out", "x.png"], "is not differentiable"),
        (["restore", "IMAGES", "--degrade", "own.py:fewer", "--out", "x.png"], "expected a tensor of 2 rows"),
        (["restore", "IMAGES", "--degrade", "own.py:mixed", "--out", "x.png"], "mixes rows"),
        (["restore", "IMAGES", "--degrade", "own.py:numpy", "--out", "x.png"], "got a ndarray"),
        (["restore", "IMAGES", "--degrade", "own.py:falls", "--out", "x.png"], "fails on rows of shape (2, 3, 8, 8)"),
        (["restore", "IMAGES", "--degrade", "own.py:half", "--degraded", "--out", "x.png"], "--degraded: inputs have"),
        (["restore", "IMAGES", "--degrade", "own.py:fog", "--blur", "1", "--out", "x.png"], "give one of --blur"),
    ],
)  # fmt: skip
def test_mistakes_are_one_message_and_status_2(
    words: list[str], message: str, table_run: Path, image_run: Path, class_run: Path, kinds: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: Any,
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "own.py": FILE,
        "bad.py": "def",
        "x.csv": "a,b\n1,2\n",
    }.items():
        (tmp_path / name).write_text(text)
    before = set(tmp_path.iterdir())
    runs = {"TABLE": table_run, "IMAGES": image_run, "PETS": class_run, "KINDS": kinds}
    assert anila(*(runs.get(word, word) for word in words)) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert set(tmp_path.iterdir()) == before

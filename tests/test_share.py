"""A model passed on is the model: what an exported folder gives is what the run gave, and a spoilt one is refused."""

import json
import pickle
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.csv
import pytest
import torch
from safetensors.torch import load_file, save_file

import anila as package
from anila.data import Elsewhere
from anila.learning.starts import Persistent
from anila.runs.folder.checkpoint import digest
from anila.runs.folder.run import Run
from anila.runs.model import export, hub, pretrained
from anila.runs.model.card import limits
from anila.runs.model.export import CARD, CHAINS, FILES, MANIFEST, RECORD, WEIGHTS, Shared, ShareError
from anila.runs.model.model import Model
from anila.runs.model.trained import Trained
from tiny import IMAGES, TABLE, anila, chains_on


@pytest.fixture(scope="module")
def table(table_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared – ünïcode") / "people"
    assert anila("export", table_run, "--out", folder) == 0
    return folder


@pytest.fixture(scope="module")
def images(image_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared") / "photos"
    assert anila("export", image_run, "--out", folder) == 0
    return folder


@pytest.fixture(scope="module")
def pets(class_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared") / "pets"
    assert anila("export", class_run, "--out", folder) == 0
    return folder


def test_one_line_loads_a_run_or_a_folder(image_run: Path, images: Path):
    """Sees the last parameters in place of the average, chains lost or in another order, a recipe not as training
    left it: then f or the draws differ in some bit.
    """
    run, shared = package.load(image_run), package.load(images)
    assert isinstance(run, Trained)
    assert isinstance(shared, Shared)
    x = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(run(x), shared(x))
    assert torch.equal(run.draw(12, seed=3), shared.draw(12, seed=3))
    assert run.sampler == shared.sampler
    assert shared.iteration == 2


def test_classes_are_passed_on(class_run: Path, pets: Path):
    run, shared = package.load(class_run), package.load(str(pets))
    assert shared.classes == ("cats", "dogs")
    assert torch.equal(run.draw(4, label="dogs"), shared.draw(4, label="dogs"))
    assert not torch.equal(shared.draw(4, label="dogs"), shared.draw(4, label="cats"))


def test_a_toy_is_drawn_anywhere(tmp_path: Path):
    assert anila("train", "rings", *TABLE, "--run", tmp_path / "run") == 0
    assert anila("export", tmp_path / "run", "--out", tmp_path / "rings") == 0
    run, shared = package.load(tmp_path / "run"), package.load(tmp_path / "rings")
    assert torch.equal(run.draw(20), shared.draw(20))
    assert "Trained 2 of 1,200 iterations" in (tmp_path / "rings/README.md").read_text()
    assert anila("sample", tmp_path / "rings", "--count", "20", "--out", tmp_path / "x.png") == 0


def test_chains_that_are_kept_small_are_the_same(image_run: Path, tmp_path: Path):
    """Sees a bank rounded twice, or read in another type."""
    photos = image_run.parent / "photos"
    assert anila("train", *chains_on(photos), *IMAGES, "start.storage=uint8", "--run", tmp_path / "run") == 0
    shared = export.export(Run.existing(tmp_path / "run"), tmp_path / "shared")
    assert torch.equal(package.load(tmp_path / "run").draw(8), shared.draw(8))


@pytest.mark.parametrize("start", ["noise", "data"])
def test_runs_without_kept_chains_are_passed_on(start: str, table_run: Path, tmp_path: Path):
    people = table_run.parent / "people.csv"
    assert anila("train", people, *TABLE, f"start={start}", "--run", tmp_path / "run") == 0
    shared = export.export(Run.existing(tmp_path / "run"), tmp_path / "shared")
    x = shared.draw(30, steps=5)
    assert x.shape == (30, 3)
    assert bool(torch.isfinite(x).all())


def test_no_row_and_no_path_of_the_data_is_passed_on(table_run: Path, table: Path):
    text = (table / RECORD).read_text() + (table / "README.md").read_text()
    assert str(table_run.parent) not in text
    assert set(load_file(table / CHAINS)) == {"held_out", "chains"}
    rows = Trained.load(Run.existing(table_run)).data.batch(400, 0, 0)
    chains = load_file(table / CHAINS)["chains"]
    assert not (chains[:, None] == rows).all(2).any()
    data = package.load(table).data
    assert isinstance(data, Elsewhere)
    with pytest.raises(ValueError, match=r"came without its data \(people.csv\): give files of your own"):
        data.batch(1, 0, 0)


def test_jobs_do_with_a_folder_what_they_do_with_a_run(table_run: Path, table: Path, tmp_path: Path, capsys: Any):
    """Sees units lost on the way, and outliers judged by other held-out rows."""
    people = table_run.parent / "people.csv"
    found = []
    for model in (table_run, table):
        assert anila("outliers", model, people, "--rate", "0.05", "--json", "--out", tmp_path / "s.csv") == 0
        summary, scores = json.loads(capsys.readouterr().out), pyarrow.csv.read_csv(tmp_path / "s.csv")
        found.append((summary["threshold"], summary["held_out"], scores.column("percentile").to_pylist()))
    assert found[0] == found[1]
    out = tmp_path / "x.csv"
    assert anila("inpaint", table, "--given", "height=200,mood=-3", "--count", "4", "--steps", "5", "--out", out) == 0
    got = pyarrow.csv.read_csv(out)
    assert got.column("height").to_pylist() == [200] * 4
    assert (
        anila("denoise", table, people, "--sd", "0.3", "--count", "1", "--steps", "5", "--out", tmp_path / "d.csv") == 0
    )
    assert anila("sample", table, "--count", "50", "--out", tmp_path / "y.csv") == 0
    assert 100 < np.mean(pyarrow.csv.read_csv(tmp_path / "y.csv").column("height").to_numpy()) < 240
    assert anila("compose", table, table, "--count", "5", "--steps", "3", "--out", tmp_path / "z.csv") == 0


@pytest.mark.parametrize(
    "words",
    [
        ["inpaint", "--box", "2,0,2,8"],
        ["denoise", "--sd", "0.3"],
        ["restore", "--downsample", "2"],
        ["purify", "--within", "0.2"],
        ["edit", "--sd", "0.3"],
    ],
)
def test_images_are_worked_on_as_by_the_run(words: list[str], image_run: Path, images: Path, tmp_path: Path):
    """Sees starts or a recipe that are not the run's: then some bit differs."""
    photo = image_run.parent / "photos/test/01.png"
    for name, model in (("a.npz", image_run), ("b.npz", images)):
        assert anila(words[0], model, photo, *words[1:], "--steps", "4", "--out", tmp_path / name) == 0
    a, b = np.load(tmp_path / "a.npz"), np.load(tmp_path / "b.npz")
    assert np.array_equal(a["x"], b["x"])
    assert np.array_equal(a["energy"], b["energy"])


def test_a_run_is_passed_on_without_its_photos(image_run: Path, images: Path, tmp_path: Path):
    """Sees an export that needs the data, or calibrates on something else where they are gone."""
    photos = image_run.parent / "photos"
    photos.rename(tmp_path / "elsewhere")
    try:
        assert anila("export", image_run, "--out", tmp_path / "m") == 0
    finally:
        (tmp_path / "elsewhere").rename(photos)
    found, usual = (package.load(folder).calibration(100) for folder in (tmp_path / "m", images))
    assert found.f.equal(usual.f)
    assert found[1:] == usual[1:]


def test_the_card_says_what_the_model_is(image_run: Path, table_run: Path, table: Path, images: Path, tmp_path: Path):
    """Sees a limit that is kept quiet, and scores that are left out."""
    card = (images / "README.md").read_text()
    trained = Trained.load(Run.existing(image_run))
    for said in (trained.data.fingerprint, "preset `flowers-chains`, 2 iterations", "Biased sampler", "Not evaluated"):
        assert said in card
    card = (table / "README.md").read_text()
    assert "no preset, 2 iterations" in card
    assert "Biased sampler" not in card
    assert "Outliers are judged by rows it was trained on" not in card
    shutil.copytree(table_run, tmp_path / "run")
    assert anila("evaluate", tmp_path / "run", "--count", "50") == 0
    export.export(Run.existing(tmp_path / "run"), tmp_path / "scored")
    card = (tmp_path / "scored/README.md").read_text()
    assert "| energy_gap | " in card
    assert "50 samples, seed 1, iteration 2" in card


def test_a_run_of_minutes_is_as_long_as_it_was_planned(images: Path):
    """Sees the iterations of a preset that says minutes, which are those of no run, taken for its length."""
    shared = package.load(images)
    assert isinstance(shared, Shared)
    assert "Trained 2 iterations." in limits(replace(shared.record, preset="flowers"), annealed=True)


def test_every_flipped_or_missing_byte_is_refused(table: Path, tmp_path: Path):
    """Sees a file without a checksum: one bit in each of them, a cut, and each file taken away."""
    for name in (RECORD, WEIGHTS, CHAINS, MANIFEST):
        whole = (table / name).read_bytes()
        for spoilt in (whole[:-1], whole[: len(whole) // 2], b"", flipped(whole), None):
            folder = tmp_path / "spoilt"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(table, folder)
            (folder / name).unlink() if spoilt is None else (folder / name).write_bytes(spoilt)
            with pytest.raises(ShareError) as refusal:
                package.load(folder)
            assert str(folder) in str(refusal.value)


def flipped(content: bytes) -> bytes:
    """One bit of the last number of a checksum, or of the middle of anything else."""
    place = content.rindex(b'"') - 1 if b"sha256" in content else len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def rewritten(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """A folder whose anila.json somebody changed, checksum and all."""

    def write(folder: Path) -> None:
        record = json.loads((folder / RECORD).read_text())
        change(record)
        (folder / RECORD).write_text(json.dumps(record))

    return write


def weights(change: Callable[[dict[str, torch.Tensor]], Any], name: str = WEIGHTS) -> Callable[[Path], None]:
    """A folder whose tensors somebody changed."""

    def write(folder: Path) -> None:
        tensors = load_file(folder / name)
        change(tensors)
        save_file(tensors, folder / name)

    return write


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(pickle.dumps({"weight": [1.0]}))


def claims_a_terabyte(folder: Path) -> None:
    header = b'{"x":{"dtype":"F32","shape":[250000000000],"data_offsets":[0,1000000000000]}}'
    (folder / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header)


def network(**more: Any) -> Callable[[Path], None]:
    return rewritten(lambda record: record["experiment"]["network"].update(more))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (pickled, "is not a safetensors file"),
        (claims_a_terabyte, "is not a safetensors file"),
        (rewritten(lambda r: r.update(format=2)), "reads format 1"),
        (rewritten(lambda r: r.update(surprise=1)), "does not describe a model"),
        (rewritten(lambda r: r.update(scale=[1.0, 0.0, 1.0])), "does not describe a model"),
        (rewritten(lambda r: r.update(mean=[1.0])), "expected 3 columns"),
        (rewritten(lambda r: r.update(event_shape=[4], columns=list("abcd"), mean=[0] * 4, scale=[1] * 4)), "fit"),
        (rewritten(lambda r: r["experiment"]["sampler"].update(name="rm -rf")), "does not describe a model"),
        (network(hidden=[10**9, 10**9]), "the file holds"),
        (network(fourier=10**9), "the file holds"),
        (network(fourier=10**15), "does not describe a model"),
        (network(name="wrn", depth=6 * 10**9 + 4), "does not describe a model"),
        (network(hidden=[7]), "does not fit"),
        (weights(lambda t: t.popitem()), "the file holds"),
        (weights(lambda t: t.update(more=torch.zeros(1))), "more"),
        (weights(lambda t: next(iter(t.values())).fill_(float("nan"))), "holds NaN or infinity"),
        (weights(lambda t: t.pop("chains"), CHAINS), "expected chains"),
        (weights(lambda t: t.update(chains=torch.zeros(4, 2)), CHAINS), "expected chains"),
        (weights(lambda t: t["chains"].fill_(float("inf")), CHAINS), "holds NaN or infinity"),
        (weights(lambda t: t.pop("held_out"), CHAINS), "expected held_out"),
    ],
)
def test_a_forged_folder_is_refused(spoil: Callable[[Path], None], message: str, table: Path, tmp_path: Path):
    """Sees code run, memory taken, a traceback, or a model that is not the one described; checksums are forged too."""
    folder = tmp_path / "forged"
    shutil.copytree(table, folder)
    spoil(folder)
    sums = {name: digest(folder / name) for name in (RECORD, WEIGHTS, CHAINS)}
    (folder / MANIFEST).write_text(json.dumps({"sha256": sums}))
    with pytest.raises(ShareError) as refusal:
        package.load(folder)
    assert message in str(refusal.value)


@pytest.mark.parametrize("text", ["[]", "{}", '{"sha256": 3}', "[" * 100_000])
def test_a_manifest_that_is_none_is_refused(text: str, table: Path, tmp_path: Path):
    shutil.copytree(table, tmp_path / "forged")
    (tmp_path / "forged" / MANIFEST).write_text(text)
    with pytest.raises(ShareError, match="manifest"):
        package.load(tmp_path / "forged")


def test_mistakes_are_one_message_and_status_2(table_run: Path, table: Path, images: Path, tmp_path: Path, capsys: Any):
    (tmp_path / "empty").mkdir()
    for words, message in {
        ("export", table_run, "--out", table): "already exists",
        ("export", table_run, "--out", tmp_path / "no/where"): "there is no folder",
        ("export", tmp_path / "empty", "--out", tmp_path / "x"): "is not a run",
        ("export", table, "--out", tmp_path / "x"): "this command needs the run it came from",
        ("evaluate", table): "an exported model without its data",
        ("inpaint", images, "--box", "0,0,2,2", "--out", tmp_path / "x.png"): "came without its data (photos)",
        ("sample", tmp_path / "empty", "--count", "1", "--out", tmp_path / "x.csv"): "is not a run",
    }.items():
        assert anila(*words) == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert "Traceback" not in captured.err
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_what_cannot_be_written_so_is_not_drawn(
    table: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    """Sees minutes of chains lost to a suffix."""
    monkeypatch.setattr(Model, "draw", lambda *_: pytest.fail("it was drawn"))
    for model, name, message in ((images, "x.csv", "use .npz or .png"), (table, "x.png", "use .npz, .csv or .parquet")):
        assert anila("sample", model, "--count", "1", "--out", tmp_path / name) == 2
        assert message in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_behind(table_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from faults import full

    monkeypatch.setattr(export, "flush", full)
    with pytest.raises(OSError, match="No space left"):
        export.export(Run.existing(table_run), tmp_path / "shared")
    assert not list(tmp_path.iterdir())


class FakeHub:
    """The two calls of huggingface_hub that are made, on a folder; nothing touches the network."""

    def __init__(self, root: Path):
        self.root, self.asked = root, list[Any]()

    def HfApi(self, **_: Any) -> "FakeHub":  # noqa: N802
        return self

    def create_repo(self, repo_id: str, private: bool, exist_ok: bool) -> None:
        self.asked.append((repo_id, private))
        (self.root / repo_id).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(self, repo_id: str, folder_path: Path, allow_patterns: list[str], commit_message: str) -> None:
        assert commit_message
        for pattern in allow_patterns:
            for path in folder_path.glob(pattern):
                shutil.copy(path, self.root / repo_id)

    def snapshot_download(self, name: str, revision: str | None, allow_patterns: list[str]) -> str:
        assert allow_patterns == list(hub.WANTED)
        self.asked.append(revision)
        return str(self.root / name)


def test_a_repository_is_named_by_a_path_of_windows_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees the command line ask the Hub for me\\digits."""
    asked: list[str] = []
    fake = SimpleNamespace(snapshot_download=lambda name, **_: asked.append(name) or tmp_path)
    monkeypatch.setattr(hub, "client", lambda: fake)
    hub.pull(str(PureWindowsPath("hub:me/digits")))
    assert asked == ["me/digits"]


def test_what_could_not_be_pushed_can_be_pushed_again(table_run: Path, tmp_path: Path, monkeypatch, capsys):
    """Sees a folder that is in the way of the same command."""

    def offline(*_: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(hub, "client", lambda: FakeHub(tmp_path / "hub"))
    with monkeypatch.context() as broken:
        broken.setattr(hub, "push", offline)
        assert anila("export", table_run, "--out", tmp_path / "people", "--push", "me/people") == 1
    assert not (tmp_path / "people").exists()
    assert "iteration" not in capsys.readouterr().out
    assert anila("export", table_run, "--out", tmp_path / "people", "--push", "me/people") == 0


def test_the_hub_gives_back_what_was_pushed(
    table_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    """Sees a file that is not uploaded, or a revision that is lost."""
    fake = FakeHub(tmp_path / "hub")
    monkeypatch.setattr(hub, "client", lambda: fake)
    assert anila("export", table_run, "--out", tmp_path / "people", "--push", "me/people", "--private") == 0
    assert "anila.load('hub:me/people')" in capsys.readouterr().out
    model = package.load("hub:me/people@v1")
    assert fake.asked == [("me/people", True), "v1"]
    assert torch.equal(model.draw(5, steps=5), package.load(tmp_path / "people").draw(5, steps=5))
    assert {p.name for p in (tmp_path / "hub/me/people").iterdir()} == set(export.FILES)
    assert anila("sample", "hub:me/people", "--count", "3", "--out", tmp_path / "x.csv") == 0


def test_the_calls_are_those_the_client_has():
    """Sees an argument that huggingface_hub does not know: the fake above would take it."""
    client = pytest.importorskip("huggingface_hub")
    import inspect

    for call, used in {
        client.HfApi.create_repo: {"repo_id", "private", "exist_ok"},
        client.HfApi.upload_folder: {"repo_id", "folder_path", "allow_patterns", "commit_message"},
        client.snapshot_download: {"repo_id", "revision", "allow_patterns"},
        client.HfApi.__init__: {"library_name"},
    }.items():
        assert used <= set(inspect.signature(call).parameters)


def test_a_missing_extra_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'anila\[hub\]'"):
        package.load("hub:me/people")


class TestPretrained:
    """Models that come with the package are exports like any other, and small."""

    @pytest.mark.parametrize("name", pretrained.names())
    def test_each_is_whole_scored_and_says_how_it_was_made(self, name: str):
        """Sees a file left out of the package or altered, a model without scores, and one that is not float32."""
        model = package.load(f"pretrained:{name}")
        assert isinstance(model, Shared)
        assert {path.name for path in (pretrained.FOLDER / name).iterdir()} == set(FILES)
        assert all(value.dtype == torch.float32 for value in model.f.parameters())
        assert model.record.scores["protocol"]["iteration"] == model.iteration
        x = model.draw(3, steps=5)
        assert x.shape == (3, *model.data.event_shape)
        assert bool(torch.isfinite(model(x)).all())
        card = (pretrained.FOLDER / name / CARD).read_text(encoding="utf-8")
        assert f"python scripts/pretrained.py {name}" in card
        assert f'anila.load("pretrained:{name}")' in card

    def test_they_are_small(self):
        sizes = [
            sum(path.stat().st_size for path in (pretrained.FOLDER / name).iterdir()) for name in pretrained.names()
        ]
        assert max(sizes) <= 3e6
        assert sum(sizes) <= 8e6

    def test_nothing_keeps_them_out_of_the_wheel(self):
        """Sees a folder that the build leaves out: it takes all of src/anila that git does not ignore."""
        root = Path(__file__).parents[1]
        build = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
        assert build["targets"]["wheel"] == {"packages": ["src/anila"]}
        assert root / "src/anila/pretrained" == pretrained.FOLDER
        files = [pretrained.FOLDER / name / file for name in pretrained.names() for file in FILES]
        found = subprocess.run(["git", "check-ignore", *map(str, files)], cwd=root, capture_output=True, text=True)
        assert found.stdout == ""

    def test_commands_take_them_by_name(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
        assert anila("sample", "pretrained:rings", "--count", "5", "--steps", "2", "--out", tmp_path / "x.csv") == 0
        assert anila("sample", "pretrained:ring", "--count", "5", "--out", tmp_path / "y.csv") == 2
        told = capsys.readouterr().err
        assert "no pretrained model 'ring'; did you mean 'rings'" in told
        assert all(f"pretrained:{name}" in told for name in pretrained.names())

    def test_what_is_rounded_is_stored_in_half(self, image_run: Path, tmp_path: Path):
        """Sees numbers that lose bits on the way, and rounded ones that take twice the room."""
        run, halves = Run.existing(image_run), Trained.load(Run.existing(image_run))
        with torch.no_grad():
            for value in halves.f.parameters():
                value.copy_(value.half())
        assert isinstance(halves.start, Persistent)
        halves.start.bank = halves.start.bank.half().float()
        export.write(halves, run, tmp_path / "halves", "halves")
        export.export(run, tmp_path / "whole")
        x = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        for model, path in ((halves, "halves"), (Trained.load(run), "whole")):
            assert torch.equal(package.load(tmp_path / path)(x), model(x))
            assert torch.equal(package.load(tmp_path / path).draw(4), model.draw(4))
        stored = {path: load_file(tmp_path / path / WEIGHTS).values() for path in ("halves", "whole")}
        assert all(value.dtype == torch.float16 for value in stored["halves"])
        assert not all(value.dtype == torch.float16 for value in stored["whole"])

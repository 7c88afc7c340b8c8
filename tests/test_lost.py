"""Nothing that a user holds is lost: a run whose folder moves, its best checkpoint, outputs, others' files."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from anila.applications.files import outputs
from anila.data import cache
from anila.evaluation import pictures
from anila.runs.folder import checkpoint
from anila.runs.folder.contents import foreign
from anila.runs.folder.run import Run
from anila.runs.folder.whole import whole_file, write_atomically
from anila.runs.model.export import export
from anila.runs.training.train import Lost, train
from faults import full
from tiny import EIGHT, anila, eight_rings, quiet, trained_rings

pytestmark = pytest.mark.usefixtures("unmeasured")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_rings(tmp_path_factory.mktemp("whole") / "run", *EIGHT)


def move(run: Path) -> None:
    run.rename(run.with_name("elsewhere"))


def replace(run: Path) -> None:
    move(run)
    run.mkdir()
    (run / "lock").write_text("somebody else's")


def empty(run: Path) -> None:
    for path in run.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


FOUND: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "moved": (move, "elsewhere", "run was moved to"),
    "moved, and another in its place": (replace, "elsewhere", "run was moved to"),
    "removed": (shutil.rmtree, "run", "were removed during the run"),
    "emptied": (empty, "run", "were removed during the run"),
}


@pytest.mark.parametrize("what", FOUND)
def test_a_run_whose_folder_is_taken_away_stops_and_is_saved(tmp_path: Path, whole: Path, what: str):
    """Sees training that goes on to "done" with nothing on the disk, or a file of another owner touched."""
    act, where, says = FOUND[what]
    run, seen = tmp_path / "run", []

    def watch(i: int, _: dict[str, float]) -> None:
        seen.append(i)
        if i == 5:
            act(run)

    with pytest.raises(Lost, match=f"{says}.*; iteration 5 is saved: continue with --run"):
        train(eight_rings(), run, quiet, watch)
    assert seen == [1, 2, 3, 4, 5]
    train(eight_rings(), tmp_path / where, quiet)
    assert same_weights(tmp_path / where, whole)
    if what.endswith("in its place"):
        assert [path.read_text() for path in run.iterdir()] == ["somebody else's"]


@pytest.mark.parametrize("at", [4, 8])
def test_a_folder_taken_away_after_its_checkpoint_is_saved_again(tmp_path: Path, at: int):
    """Sees a run said to be saved of which the last checkpoint went with the folder."""
    run = tmp_path / "run"
    with pytest.raises(Lost, match=f"iteration {at} is saved"):
        train(eight_rings(), run, quiet, lambda i, _: shutil.rmtree(run) if i == at else None)
    assert [path.name for path in checkpoint.listed(run / "checkpoints")] == [f"{at:09d}"]


def same_weights(a: Path, b: Path) -> bool:
    one, other = (checkpoint.load(path / "checkpoints/000000008", "model")[1]["model"] for path in (a, b))
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_taken_away_is_status_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Sees a script go on as if there were a run."""
    monkeypatch.setattr(
        "anila.cli.progress.Progress.watch", lambda *_: shutil.rmtree(tmp_path / "run", ignore_errors=True)
    )
    words = ["network.hidden=[8]", "training.batch=20", "training.chains=10", "training.iterations=4"]
    assert anila("train", "rings", *words, "--run", tmp_path / "run") == 1
    assert "were removed during the run; iteration 1 is saved" in capsys.readouterr().err


def test_the_best_checkpoint_is_marked_on_resume(tmp_path: Path, whole: Path):
    """Sees a kill between a checkpoint and its mark leave the best one unmarked, to be pruned."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    lines = [line | {"kl": 0.5 if line["iteration"] == 8 else 2.0} for line in Run(run).stats()]
    (run / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run / "checkpoints/best.json").unlink()
    train(eight_rings(), run, quiet)
    assert checkpoint.best_of(run / "checkpoints") == run / "checkpoints/000000008"
    assert checkpoint.best_score(run / "checkpoints") == 0.5


# Files of others


def test_a_folder_in_checkpoints_that_is_none_stays(tmp_path: Path):
    """Sees a year, or a copy under a shorter number, pruned as if it were a checkpoint."""
    (tmp_path / "2024").mkdir()
    for i in range(1, 40, 10):
        checkpoint.save(tmp_path, i, {"model": {"w": torch.zeros(2)}})
    checkpoint.forget_after(tmp_path, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["2024"]


def test_only_its_own_temporary_files_leave_a_cache_folder(tmp_path: Path):
    """Sees a cache set to a folder that is used for more clear it of other programs' files."""
    own, others = tmp_path / ".ab.npy.0123abcd.4194301@gone.tmp", [".notes.tmp", ".x.npy.backup.tmp", ".a.tmp"]
    for path in (own, *map(tmp_path.joinpath, others)):
        path.touch()
        os.utime(path, (0, 0))
    cache.remove_orphans(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)


def test_an_export_touches_nothing_beside_it(tmp_path: Path, whole: Path):
    """Sees a folder deleted because its name is what an export might call its own."""
    (tmp_path / ".mine.writing").mkdir()
    export(Run(whole), tmp_path / "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.writing", "mine"]


# What --out replaces


def write(kind: str, path: Path) -> None:
    table = pa.table({"a": [1.0, 2.0]})
    if kind == "table":
        outputs.write_table(table, path)
    else:
        with whole_file(path) as file:
            np.savez_compressed(file, x=np.zeros(3))


@pytest.mark.parametrize(("kind", "suffix"), [("table", ".csv"), ("table", ".parquet"), ("arrays", ".npz")])
def test_an_output_is_written_whole_or_the_old_one_stays(tmp_path: Path, monkeypatch, kind: str, suffix: str):
    """Sees last week's results cut short by a disk that is full today."""
    path = tmp_path / f"x{suffix}"
    write(kind, path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"No space left on device.*x{suffix}"):
        write(kind, path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before]


def test_two_that_write_the_same_file_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees one process rename, or delete, what another one is writing under the same temporary name."""
    path, real = tmp_path / "report.html", os.fsync

    def meanwhile(fd: int) -> None:
        monkeypatch.setattr(os, "fsync", real)
        write_atomically(path, "the other's")
        real(fd)

    monkeypatch.setattr(os, "fsync", meanwhile)
    write_atomically(path, "ours")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("report.html", "ours")]


def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path: Path):
    """Sees a file refused whose temporary name alone is too long."""
    path = tmp_path / f"{'x' * 251}.csv"
    write("table", path)
    assert path.is_file()


def test_what_a_killed_process_left_of_a_picture_is_the_runs_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees half a picture of a run that is overwritten taken for somebody's file."""
    (tmp_path / "samples").mkdir()
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        pictures.save(Image.new("L", (1, 1)), tmp_path / "samples/000000001.png")
    assert len([*(tmp_path / "samples").iterdir()]) == 1
    assert foreign(tmp_path) == []


def test_an_output_goes_to_where_a_link_points(tmp_path: Path):
    """Sees a link replaced by a file."""
    (tmp_path / "to.csv").symlink_to(tmp_path / "real.csv")
    write("table", tmp_path / "to.csv")
    assert (tmp_path / "to.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("a\n")


def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path, whole: Path, capsys):
    """Sees a pipe that another program reads from replaced, a traceback at circular links, and too long names."""
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "circle.csv").symlink_to(tmp_path / "circle.csv")
    (tmp_path / "away.csv").symlink_to(tmp_path / "gone/away.csv")
    for name, says in (("pipe", "a pipe or a device"), ("circle", "a link to itself"), ("away", "there is no folder")):
        assert anila("sample", whole, "--count", "2", "--out", tmp_path / f"{name}.csv") == 2
        assert says in capsys.readouterr().err
    assert (tmp_path / "pipe.csv").is_fifo()
    assert anila("sample", whole, "--count", "2", "--out", tmp_path / f"{'a' * 300}.csv") == 2
    assert "this name is too long; choose a shorter one" in capsys.readouterr().err
    assert anila("export", whole, "--out", tmp_path / "away.csv") == 2
    assert "away.csv already exists" in capsys.readouterr().err


@pytest.mark.usefixtures("rendered")
def test_so_do_pictures_and_pages(tmp_path: Path):
    for name, act in (
        ("x.png", lambda path: pictures.save(Image.new("L", (1, 1)), path)),
        ("x.html", lambda path: write_atomically(path, "<p>")),
    ):
        (tmp_path / name).symlink_to(tmp_path / f"real {name}")
        act(tmp_path / name)
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / f"real {name}").stat().st_size


def test_what_is_read_is_not_written_over(table_run: Path, image_run: Path, class_run: Path, tmp_path: Path, capsys):
    """Sees the data, or an input, replaced by draws, whatever name it is given by."""
    people, photo = table_run.parent / "people.csv", image_run.parent / "photos/train/00.png"
    again = people.parent / "folder" / ".." / "people.csv"
    (people.parent / "folder").mkdir(exist_ok=True)
    other, mask = shutil.copy(people, tmp_path / "other.csv"), shutil.copy(photo, tmp_path / "mask.png")
    pet, hard = class_run.parent / "pets/cats/0.png", tmp_path / "hard.csv"
    hard.hardlink_to(people)
    before = people.read_bytes(), photo.read_bytes(), pet.read_bytes()
    for words in (
        ("sample", table_run, "--count", "2", "--out", again),
        ("sample", table_run, "--count", "2", "--out", hard),
        ("sample", image_run, "--count", "2", "--out", photo),
        ("compose", table_run, table_run, "--count", "2", "--out", people),
        ("outliers", table_run, people, "--out", people),
        ("outliers", table_run, other, "--out", people),
        ("outliers", table_run, other, "--held-out", people, "--out", people),
        ("inpaint", table_run, people, "--out", people),
        ("inpaint", table_run, "--given", "luck=1", "--out", people),
        ("inpaint", image_run, photo, "--mask", mask, "--out", mask),
        ("denoise", table_run, people, "--sd", "0.1", "--out", people),
        ("denoise", table_run, other, "--sd", "0.1", "--out", people),
        ("denoise", image_run, photo, "--sd", "0.1", "--out", photo),
        ("edit", class_run, "--sd", "0.1", "--out", pet),
        ("purify", class_run, "--within", "0.1", "--out", pet),
        ("restore", class_run, "--blur", "1", "--out", pet),
        ("outliers", image_run, photo, "--picture", photo),
        ("outliers", class_run, photo, "--picture", pet),
    ):
        assert anila(*words) == 2
        assert "this file is an input and would be overwritten; choose another name" in capsys.readouterr().err
    assert (people.read_bytes(), photo.read_bytes(), pet.read_bytes()) == before


def test_a_run_may_be_called_like_its_toy(whole: Path, tmp_path: Path, monkeypatch):
    """Sees the name of a toy taken for a folder that is read."""
    shutil.copytree(whole, tmp_path / "rings")
    monkeypatch.chdir(tmp_path)
    assert [anila("sample", "rings", "--count", "2", "--out", "rings/mine.csv") for _ in range(2)] == [0, 0]


def test_what_a_run_wrote_is_not_written_over(table_run: Path, whole: Path, capsys):
    """Sees the record of a training replaced by draws, of this run or of another."""
    (whole / "samples/000000008.png").touch()
    for run, name in ((whole, "series.csv"), (table_run, "series.csv"), (whole, "samples/000000008.png")):
        (whole / name).touch()
        assert anila("sample", run, "--count", "2", "--out", whole / name) == 2
        assert f"this file belongs to the run in {whole} and would be overwritten" in capsys.readouterr().err


# Room for it (FAULTS 13)


def test_too_little_disk_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees a disk fill up at the third checkpoint of a run whose size was known from the start."""
    usage, heard = shutil._ntuple_diskusage, list[str]()  # pyright: ignore[reportAttributeAccessIssue]
    for free in (1000, 10**9):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage(0, 0, free))
        train(eight_rings("training.iterations=1"), tmp_path / str(free), heard.append)
    warned = [line for line in heard if "MiB free: make room, or choose another --run" in line]
    assert len(warned) == 1
    assert "1000 has 0 MiB free" in warned[0]

"""Laws of --overwrite: of two runs one is always whole, nothing of anybody else's is touched, and no live run is."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from anila.learning.learner import Learner, NotFinite
from anila.runs.experiment import Experiment
from anila.runs.folder import checkpoint, overwrite
from anila.runs.folder.contents import foreign
from anila.runs.folder.run import Run, RunError
from anila.runs.model.trained import Trained
from anila.runs.training import train as training
from anila.runs.training.train import train
from faults import dying
from tiny import quiet, small_rings, trained_rings

pytestmark = pytest.mark.usefixtures("unmeasured")

PROCESSES = multiprocessing.get_context("fork")


FOUR = ("training.iterations=4", "training.checkpoint_every=2", "training.picture_every=1000")


def small(*more: str) -> Experiment:
    return small_rings(*FOUR, *more)


NEW = small("sampler.steps=3")


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four iterations with the pictures and scores that runs have."""
    path = trained_rings(tmp_path_factory.mktemp("overwrite") / "old", *FOUR)
    (path / "samples/000000004.png").write_text("a picture")
    (path / "samples/evaluation.png").write_text("another")
    (path / "scores.json").write_text('{"kl": 1.0}')
    return path


@pytest.fixture
def run(old: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(old, tmp_path / "run"))


def files(folder: Path) -> dict[str, bytes]:
    """All that lies in a folder but its locks."""
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {name: content for name, content in found.items() if name not in ("lock", ".lock")}


def steps(folder: Path) -> int:
    return json.loads((folder / "config.json").read_text())["experiment"]["sampler"]["steps"]


def assert_new(folder: Path) -> None:
    """The new run is there alone: nothing of the old one's."""
    assert steps(folder) == 3
    assert [line["iteration"] for line in Run(folder).stats()] == [1, 2, 3, 4]
    assert not (folder / "scores.json").exists()
    assert not (folder / "samples/evaluation.png").exists()
    assert not list(folder.rglob(".overwritten"))
    assert foreign(folder) == []


def test_a_new_run_takes_the_place_of_the_old(run: Path):
    """Sees scores or pictures of the old run left beside the new one, and numbers that depend on what was there."""
    train(NEW, run, quiet, overwrite=True)
    assert_new(run)
    train(NEW, other := run.with_name("other"), quiet, overwrite=True)
    assert files(other / "checkpoints") == files(run / "checkpoints")


def test_the_old_run_is_gone_when_the_new_one_has_a_checkpoint(run: Path):
    """Sees two runs on the disk while one trains, and the old one gone too early."""
    aside: list[bool] = []
    train(NEW, run, quiet, lambda *_: aside.append(bool(overwrite.lying_aside(run))), overwrite=True)
    assert aside == [True, False, False, False]


# Whose folder is it?


@pytest.mark.parametrize("config", ['{"name": "web", "scripts": {}}', '{"experiment": {"name": "mine"}}'])
def test_what_is_not_a_run_is_left_alone(tmp_path: Path, config: str):
    """Sees the tree of another program deleted, or written into, because it has some config.json."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src/index.js").write_text("code")
    (tmp_path / "config.json").write_text(config)
    before = files(tmp_path)
    for again in (True, False):
        with pytest.raises(RunError, match=r"is not a run: its config\.json does not hold a run's settings; choose"):
            train(small(), tmp_path, quiet, overwrite=again)
    assert files(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == {"src", "config.json"}


def test_peoples_own_files_stay(run: Path):
    """Sees notes, or pictures somebody kept, deleted with a run, or in silence left."""
    own = {"notes.txt", "samples/own.png", "checkpoints/readme", "thesis/a.tex"}
    (run / "thesis").mkdir()
    for name in own:
        (run / name).write_text(f"mine: {name}")
    heard: list[str] = []
    train(NEW, run, heard.append, overwrite=True)
    assert all((run / name).read_text() == f"mine: {name}" for name in own)
    assert "left in place, as not the run's own: checkpoints/readme, notes.txt, samples/own.png, thesis" in heard
    assert not list(run.rglob(".overwritten"))


def test_a_live_process_keeps_its_run(run: Path):
    """Sees a run deleted under the process that trains it."""
    before = files(run)
    taken, done = PROCESSES.Event(), PROCESSES.Event()

    def hold() -> None:
        with Run(run).claim():
            taken.set()
            done.wait(60)

    process = PROCESSES.Process(target=hold, daemon=True)
    process.start()
    assert taken.wait(60)
    with pytest.raises(RunError, match=f"process {process.pid} on .* is training in"):
        train(NEW, run, quiet, overwrite=True)
    done.set()
    process.join()
    assert files(run) == before


@pytest.mark.parametrize("linked", ["run", "checkpoints"])
def test_links_stay_links(run: Path, linked: str):
    """Sees a link deleted in place of what it leads to, and a run left at the other end."""
    link = run.with_name("link") if linked == "run" else run / "checkpoints"
    elsewhere = run if linked == "run" else Path(shutil.move(link, run.with_name("elsewhere")))
    link.symlink_to(elsewhere)
    train(NEW, link if linked == "run" else run, quiet, overwrite=True)
    assert link.is_symlink()
    assert_new(run)


def test_there_need_be_no_run(tmp_path: Path):
    """Sees --overwrite refuse a folder that is not there, or take a file for one."""
    train(NEW, tmp_path / "new", quiet, overwrite=True)
    assert_new(tmp_path / "new")
    (tmp_path / "file").write_text("words")
    with pytest.raises(RunError, match="is a file"):
        train(NEW, tmp_path / "file", quiet, overwrite=True)
    assert (tmp_path / "file").read_text() == "words"


def test_a_run_without_a_sound_checkpoint_can_be_overwritten(run: Path):
    """Sees advice that does not work: a spoilt run is to be started over with --overwrite."""
    for file in run.glob("checkpoints/*/learner.json"):
        file.write_text("{}")
    with pytest.raises(RunError, match="start over with --overwrite"):
        train(small(), run, quiet)
    train(NEW, run, quiet, overwrite=True)
    assert_new(run)


# The new run does not come to a checkpoint


def refuse(error: BaseException) -> Callable[..., Any]:
    def raiser(*_: Any, **__: Any) -> Any:
        raise error

    return raiser


@pytest.mark.parametrize(
    ("where", "name", "error"),
    [
        (Trained, "untrained", ValueError("the data cannot be read")),
        (training, "preflight", MemoryError("too little")),
        (Learner, "update", NotFinite(0, "a gradient that is not finite", "learning")),
        (Learner, "update", KeyboardInterrupt()),
        (checkpoint, "save", OSError(28, "No space left on device")),
    ],
    ids=["data", "memory", "not finite", "Ctrl-C", "full disk"],
)
def test_the_old_run_is_back_if_the_new_one_fails(
    run: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, error: BaseException
):
    """Sees a run deleted for one that never was, by whatever ended that."""
    before, heard = files(run), []
    monkeypatch.setattr(where, name, refuse(error))
    with pytest.raises((type(error), ArithmeticError)):
        train(small("sampler.steps=3", "training.rollbacks=1"), run, heard.append, overwrite=True)
    assert files(run) == before
    assert not list(run.rglob(".overwritten"))
    assert ("the old run was put back" in "\n".join(heard)) == (name in ("update", "save"))


def test_a_stop_before_the_first_iteration_puts_the_old_run_back(run: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees nothing where a run was, after a signal that came before anything was done."""
    before = files(run)

    def stopped(*_: Any) -> bool:
        _[0].number = signal.SIGTERM
        return True

    monkeypatch.setattr(training.Stop, "agreed", stopped)
    assert train(NEW, run, quiet, overwrite=True).iteration == 0
    assert files(run) == before


@pytest.mark.parametrize("every", [pytest.param(9, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)])
def test_death_at_any_change_leaves_one_whole_run(run: Path, old: Path, tmp_path: Path, every: int):
    """Sees a run lost, or halves of two mixed, by a death while one was moved aside, deleted or put back."""
    whole = files(old)
    train(NEW, tmp_path / "new", quiet)
    kept = set()
    for _ in dying(lambda: train(NEW, run, quiet, overwrite=True), 2, every):
        found = Run.existing(run)
        kept.add(steps(run))
        if steps(run) == 3:
            assert checkpoint.newest(found.checkpoints)[0] is not None
            train(NEW, run, quiet)
            assert_new(run)
            assert files(run / "checkpoints/000000004") == files(tmp_path / "new/checkpoints/000000004")
        else:
            assert files(run) == whole
        shutil.rmtree(run)
        shutil.copytree(old, run)
    assert kept == {2, 3}


def test_death_while_the_old_run_is_put_back(run: Path, old: Path):
    """Sees the half that was put back taken for the new run."""
    for _ in dying(lambda: overwrite.settle(run)):
        overwrite.settle(run)
        assert files(run) == files(old)
        overwrite.set_aside(run)
        (run / "config.json").write_text("{}")
        (run / "stats.jsonl").write_text("of the new one")
    assert files(run) == files(old)


def test_a_run_whose_overwriting_was_killed_is_sampled_and_gone_on_with(run: Path, old: Path):
    """Sees a run that is there for `train` but not for `sample`; a real process, really killed."""
    ready = run.with_name("ready")

    def wait(*_: Any) -> None:
        ready.touch()
        time.sleep(60)

    process = PROCESSES.Process(
        target=train, args=(small("training.checkpoint_every=1000", "sampler.steps=3"), run, quiet, wait, None, True)
    )
    process.start()
    while not ready.exists():
        assert process.is_alive()
        time.sleep(0.01)
    with pytest.raises(RunError, match=f"process {process.pid} .* is training in"):
        Run.existing(run)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert steps(run) == 3
    spare = Path(shutil.copytree(run, run.with_name("spare")))
    trained = Trained.load(Run.existing(run))
    assert torch.equal(trained.draw(3), Trained.load(Run(old)).draw(3))
    assert files(run) == files(old)
    heard: list[str] = []
    train(small(), spare, heard.append)
    assert "the old run was put back" in heard[0]
    assert "resumed at iteration 4 of 4" in heard


def test_what_cannot_be_deleted_does_not_end_the_new_run(run: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees training ended by the old run's files, or those taken for a run to put back."""
    heard: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(overwrite, "remove", refuse(OSError(13, "Permission denied")))
        train(NEW, run, heard.append, overwrite=True)
        assert sum("cannot delete the run that was overwritten" in line for line in heard) == 1
        assert steps(Run.existing(run).path) == 3
        with pytest.raises(RunError, match="delete it before you overwrite"):
            train(small(), run, quiet, overwrite=True)
    train(NEW, run, quiet)
    assert_new(run)

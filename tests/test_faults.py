"""Laws of misfortune: whatever dies, fills up, flips or lies, a run goes on from its newest sound checkpoint."""

import contextlib
import errno
import json
import os
import runpy
import shutil
import signal
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from anila.cli import app
from anila.evaluation import pictures
from anila.reports import scores
from anila.runs.experiment import Experiment
from anila.runs.folder import checkpoint, lock
from anila.runs.folder import run as runs
from anila.runs.folder.checkpoint import Damaged
from anila.runs.folder.run import Run, RunError
from anila.runs.folder.whole import write_atomically
from anila.runs.model import model
from anila.runs.model.trained import Trained
from anila.runs.training import preflight
from anila.runs.training import train as training
from anila.runs.training.train import train
from faults import dying, full
from tiny import anila, quiet, small_rings

ROOT = Path(__file__).parents[1]


def small(*more: str) -> Experiment:
    quick = ["training.iterations=4", "training.checkpoint_every=2", "training.picture_every=1000", "training.ema=0.5",
             "optimizer.decay=constant"]  # fmt: skip
    return small_rings(*quick, *more)


def hasten(patch: pytest.MonkeyPatch) -> None:
    """The exact KL takes most of the time of so short a run; any number of θ does in its place."""
    patch.setattr(training, "exact_kl", lambda now, _: sum(float(p.detach().sum()) for p in now.f.parameters()))


@pytest.fixture(autouse=True)
def hastened(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four iterations, never disturbed."""
    path = tmp_path_factory.mktemp("faults") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        hasten(patch)
        train(small(), path, quiet)
    return path


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def newest_tensors(run: Path) -> dict[str, torch.Tensor]:
    path, _ = checkpoint.newest(run / "checkpoints")
    assert path is not None
    return load_file(path / "learner.safetensors")


def assert_same_end(a: Path, b: Path) -> None:
    x, y = newest_tensors(a), newest_tensors(b)
    assert x.keys() == y.keys()
    assert all(torch.equal(x[k], y[k]) for k in x)
    assert [line["iteration"] for line in Run(a).stats()] == [line["iteration"] for line in Run(b).stats()]
    assert Run(a).series() == Run(b).series()


def parts(i: int) -> dict[str, Any]:
    return {"learner": {"x": torch.full((3,), float(i)), "iteration": i}}


# Death at every change to the disk (FAULTS 35)


def written(folder: Path) -> int:
    """The iteration of the newest sound checkpoint, read whole; no folder with a number may be anything else."""
    path, notices = checkpoint.newest(folder)
    assert not notices
    assert path is not None
    iteration, loaded = checkpoint.load(path, "learner")
    assert loaded["learner"]["x"].tolist() == [float(iteration % 100)] * 3
    return iteration


@pytest.mark.parametrize("iteration", [30, 20], ids=["a new one", "the same one again"])
def test_death_at_every_change_while_saving(tmp_path: Path, iteration: int):
    """Sees a half checkpoint with a number, the old one gone before the new one is there, a half one after pruning."""
    folder, before = tmp_path / "checkpoints", tmp_path / "before"
    for i in (10, 20):
        checkpoint.save(before, i, parts(i))
    deaths, seen = 0, set()
    shutil.copytree(before, folder)
    for _ in dying(lambda: checkpoint.save(folder, iteration, parts(iteration))):
        checkpoint.recover(folder)
        seen.add(written(folder))
        assert not [p.name for p in folder.iterdir() if p.name.startswith(".")]
        checkpoint.save(folder, 40, parts(40))
        assert written(folder) == 40
        shutil.rmtree(folder)
        shutil.copytree(before, folder)
        deaths += 1
    assert written(folder) == iteration
    assert seen == {20, iteration}
    assert deaths > 10


def test_death_at_every_change_while_going_back(tmp_path: Path):
    """Sees a rollback that leaves half a checkpoint, or a later one beside a gap."""
    folder, before = tmp_path / "checkpoints", tmp_path / "before"
    for i in (10, 20, 30, 40):
        path = checkpoint.save(before, i, parts(i))
    checkpoint.mark_best(before, path, 1.0)
    shutil.copytree(before, folder)

    def go_back() -> None:
        checkpoint.forget_after(folder, 20)
        checkpoint.save(folder, 20, parts(20))

    seen = []
    for _ in dying(go_back):
        checkpoint.recover(folder)
        seen.append(written(folder))
        best = checkpoint.best_of(folder)
        assert best is None or best.is_dir()
        shutil.rmtree(folder)
        shutil.copytree(before, folder)
    assert seen == sorted(seen, reverse=True)
    assert {40, 30, 20} == set(seen)
    assert checkpoint.best_of(folder) is None


@pytest.mark.parametrize(
    ("first", "every"), [(3, 17), *(pytest.param(k, 8, marks=pytest.mark.slow) for k in range(1, 9))]
)
def test_death_at_any_change_of_a_run(tmp_path: Path, whole: Path, first: int, every: int):
    """Sees a run that cannot go on, skips or repeats an iteration, or ends elsewhere; slow: every change there is."""
    home, deaths = tmp_path / "run", 0
    for _ in dying(lambda: train(small(), home, quiet), first, every):
        deaths += 1
        train(small(), home, quiet)
        assert_same_end(home, whole)
        shutil.rmtree(home)
    assert deaths > 5


@pytest.mark.parametrize(
    ("kills", "of"),
    [(4, []), *(pytest.param(kills, of, marks=pytest.mark.slow) for kills, of in ((50, []), (20, ["--images"])))],
)
def test_kill_9_at_random_moments(
    tmp_path: Path, kills: int, of: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Real processes, really killed: benchmarks/kills.py fails where one is not resumable or ends elsewhere."""
    monkeypatch.setenv("ANILA_CACHE", "")  # which the script sets
    monkeypatch.setattr(sys, "argv", ["kills.py", "--kills", str(kills), *of, "--out", str(tmp_path / "runs")])
    runpy.run_path(str(ROOT / "benchmarks/kills.py"))["main"]()
    assert f"{kills} kills" in capsys.readouterr().out


# Damage (FAULTS 40)


def test_any_flipped_bit_is_found(tmp_path: Path):
    """Sees a byte that no checksum covers: every bit of the manifest, and a bit of every byte of the other files."""
    path = checkpoint.save(tmp_path, 7, parts(7))
    for file in sorted(path.iterdir()):
        content = file.read_bytes()
        for at in range(len(content)):
            for bit in range(8) if file.name == "manifest.json" else [at % 8]:
                damaged = bytearray(content)
                damaged[at] ^= 1 << bit
                file.write_bytes(damaged)
                with pytest.raises(Damaged):
                    checkpoint.load(path, "learner")
        file.write_bytes(content)
    assert checkpoint.load(path, "learner")[0] == 7


@pytest.mark.parametrize("file", ["learner.safetensors", "learner.json", "manifest.json"])
def test_any_truncation_is_found(tmp_path: Path, file: str):
    """Sees a file cut at any length taken for a whole one: nothing, within the header, within the numbers, one byte."""
    path = checkpoint.save(tmp_path, 7, parts(7))
    content = (path / file).read_bytes()
    for length in range(len(content)):
        (path / file).write_bytes(content[:length])
        with pytest.raises(Damaged, match=file.replace(".", "[.]") if file != "manifest.json" else "manifest"):
            checkpoint.load(path, "learner")


# Malice (FAULTS 41): checksums that agree, contents that do not


def forge(path: Path, name: str, content: bytes) -> None:
    """Put this into a checkpoint and let its manifest vouch for it."""
    (path / name).write_bytes(content)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["sha256"][name] = checkpoint.digest(path / name)
    (path / "manifest.json").write_text(json.dumps(manifest))


def tensors_file(header: dict[str, Any] | bytes, size: int = 8) -> bytes:
    """A safetensors file with this header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


def tensor(shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


FORGED = {
    "a header longer than the file": ("learner.safetensors", struct.pack("<Q", 2**62) + b"{}"),
    "a tensor of 2^62 numbers": ("learner.safetensors", tensors_file({"/x": tensor([2**31, 2**31], 0, 8)})),
    "a tensor beyond the file": ("learner.safetensors", tensors_file({"/x": tensor([2**28], 0, 2**30)})),
    "overlapping tensors": ("learner.safetensors", tensors_file({k: tensor([2], 0, 8) for k in ("/x", "/y")})),
    "a header that is not JSON": ("learner.safetensors", tensors_file(b"{'a':")),
    "nested without end": ("learner.json", b"[" * 200_000),
    "a tensor that is not there": ("learner.json", b'{"$tensor": "/y"}'),
    "a tensor named by a list": ("learner.json", b'{"$tensor": []}'),
    "pairs that are none": ("learner.json", b'{"$pairs": 5}'),
    "a key that is a dictionary": ("learner.json", b'{"$pairs": [[{}, 1]]}'),
    "bytes that are not text": ("learner.json", b"\xff\xfe"),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_parts_are_refused_before_memory_is_taken(tmp_path: Path, name: str):
    """Sees a crash other than Damaged, and memory taken on a header's word."""
    path = checkpoint.save(tmp_path, 7, parts(7))
    forge(path, *FORGED[name])
    with pytest.raises(Damaged, match="000000007/learner is not a part of a checkpoint"):
        checkpoint.load(path, "learner")


@pytest.mark.parametrize(
    "manifest",
    [b"[]", b"5", b"{}", b'{"iteration": 7, "sha256": []}', b'{"iteration": 7, "sha256": {}}', b"[" * 200_000,
     b'{"iteration": 1e400, "sha256": {}}', b'{"iteration": "7", "sha256": {}}', b'{"sha256": {"a": 1}}'],
)  # fmt: skip
def test_forged_manifests_are_refused(tmp_path: Path, manifest: bytes):
    """Sees parts that no checksum covers, and a crash other than Damaged."""
    path = checkpoint.save(tmp_path, 7, parts(7))
    (path / "manifest.json").write_bytes(manifest)
    with pytest.raises(Damaged, match="manifest"):
        checkpoint.load(path, "learner")


@pytest.mark.parametrize("best", ['{"checkpoint": "../../elsewhere"}', '{"checkpoint": 5}', "[]", "5", "[" * 200_000])
def test_the_best_checkpoint_is_one_of_the_runs_own(tmp_path: Path, best: str):
    """Sees a mark that leads out of the run."""
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "run/checkpoints"
    checkpoint.save(folder, 7, parts(7))
    (folder / "best.json").write_text(best)
    assert checkpoint.best_of(folder) is None
    assert checkpoint.best_score(folder) == float("inf")


def respell(path: Path, change: Callable[[dict[str, Any]], Any], name: str = "learner.json") -> None:
    """Change the outline of a part, checksums and all."""
    outline = json.loads((path / name).read_text())
    change(outline)
    forge(path, name, json.dumps(outline).encode())


def reshape(path: Path, key: str, shape: tuple[int, ...]) -> None:
    """Another shape for one tensor, checksums and all."""
    tensors = load_file(path / "learner.safetensors")
    tensors[key] = torch.zeros(shape)
    save_file(tensors, path / "other")
    forge(path, "learner.safetensors", (path / "other").read_bytes())


MISFITS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a weight of another shape": (lambda p: reshape(p, "/model/net.1.weight", (3, 3)), "net.1.weight"),
    "chains of another shape": (lambda p: reshape(p, "/start/x", (3, 5)), "expected a bank of shape"),
    "a moment of another shape": (lambda p: reshape(p, "/optimizer/state/0/exp_avg", (1, 1)), "exp_avg of shape"),
    "a missing part": (lambda p: respell(p, lambda o: o.pop("optimizer")), "optimizer"),
    "another iteration": (lambda p: respell(p, lambda o: o.update(iteration=10**9)), "holds iteration 1000000000"),
    "a schedule of words": (
        lambda p: respell(p, lambda o: (o["schedule"].update(last_epoch="x"), o.update(iteration=10**9))),
        "holds iteration 1000000000",
    ),
    "a list for a part": (lambda p: respell(p, lambda o: o.update(model=[])), "does not fit"),
    "a setting that the guard never makes": (
        lambda p: respell(p, lambda o: o.update(remedies=["network.hidden=[1000000]"]), "guard.json"),
        "the guard never sets network.hidden",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_checkpoint_of_something_else_is_stepped_over(run: Path, whole: Path, name: str):
    """Sees a traceback, a half-loaded model trained on, and a fault found only after training has begun."""
    spoil, message = MISFITS[name]
    spoil(run / "checkpoints/000000004")
    (run / "checkpoints/best.json").unlink()
    notices = Trained.load(Run.existing(run)).notices
    assert len(notices) == 1
    assert message in notices[0]
    heard: list[str] = []
    train(small(), run, heard.append)
    assert message in heard[0]
    assert heard[0].endswith("going back to 000000002")
    assert_same_end(run, whole)


def test_hostile_statistics_do_not_stop_a_run(run: Path, whole: Path):
    """Sees a line cut short, or bytes that are not text, in the way of a resume."""
    with (run / "stats.jsonl").open("ab") as file:
        file.write(b'5\n"event"\n{"a": 1}\n{"iteration": "x"}\n\xff\xfe\n' + b"[" * 100_000 + b'\n{"iterat')
    with (run / "series.csv").open("ab") as file:
        file.write(b"5\n1,2,3,4,5,six\n\xff\xfe\n3,1,1,1,1")
    shutil.rmtree(run / "checkpoints/000000004")
    train(small(), run, quiet)
    assert_same_end(run, whole)


@pytest.mark.parametrize(
    ("config", "message"),
    [(None, "holds checkpoints but no config.json"), (b"", "unreadable"), (b"[" * 200_000, "unreadable"),
     (b'{"data": 5}', "unreadable"), (b"\xff", "unreadable"), (b"{}", "does not hold (a run's )?settings")],
)  # fmt: skip
def test_a_run_without_its_settings_is_refused(run: Path, config: bytes | None, message: str):
    """Sees new training mixed into old checkpoints, and a crash other than RunError."""
    if config is None:
        (run / "config.json").unlink()
    else:
        (run / "config.json").write_bytes(config)
    with pytest.raises(RunError, match=message):
        train(small(), run, quiet)
    with pytest.raises(RunError, match=message if config is not None else "has no config.json"):
        Trained.load(Run.existing(run))


# A full disk (FAULTS 34, 43)


def test_a_full_disk_says_so_whoever_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees the file system's reason hidden in the words of a library."""

    def refuse(*_: object) -> None:
        raise checkpoint.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", refuse)
    with pytest.raises(OSError, match="No space left on device") as caught:
        checkpoint.save(tmp_path, 6, parts(6))
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_training_outlives_a_full_disk(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees a run that ends because one checkpoint, or a line, could not be written, or that is silent about it."""
    real, heard = checkpoint.save_file, []

    def mostly_full(tensors: Any, path: Path) -> None:
        full() if "000000002" in str(path) else real(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", mostly_full)
    monkeypatch.setattr(checkpoint, "mark_best", full)
    outcome = train(small(), tmp_path / "run", heard.append)
    assert outcome.iteration == 4
    assert [p.name for p in (tmp_path / "run/checkpoints").iterdir()] == ["000000004"]
    said = [line for line in heard if "cannot write" in line]
    assert [Path(line.split(":")[1].removeprefix(" cannot write ")).name for line in said] == ["000000002", "best.json"]
    assert all("No space left on device; training continues without it" in line for line in said)
    assert_same_end(tmp_path / "run", whole)


def test_the_last_checkpoint_must_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Sees a run that says it is done with nothing to show, and a traceback."""
    monkeypatch.setattr(checkpoint, "save_file", full)
    monkeypatch.setattr(
        sys, "argv", ["anila", "train", "rings", "training.iterations=1", "network.hidden=[4]", "training.batch=10",
                      "--run", str(tmp_path / "run")],
    )  # fmt: skip
    with pytest.raises(SystemExit) as stop:
        app.main()
    err = capsys.readouterr().err
    assert stop.value.code == 1
    assert "anila: /the/file: No space left on device; make room and run the same command again" in err
    assert "Traceback" not in err


def test_lines_that_cannot_be_written_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees training ended by its own log, and a warning for every line."""
    heard: list[str] = []
    monkeypatch.setattr(runs, "append_line", full)
    assert train(small(), tmp_path / "run", heard.append).iteration == 4
    said = [line for line in heard if "cannot write" in line]
    assert [Path(line.split(":")[1]).name for line in said] == ["log.txt", "series.csv", "stats.jsonl"]
    assert Run(tmp_path / "run").stats() == []


def test_half_a_line_spoils_no_other(tmp_path: Path):
    """Sees the line after one cut short glued to it."""
    run = Run(tmp_path)
    run.append_stats({"iteration": 1})
    with run.stats_path.open("a") as file:
        file.write('{"iteration": 2, "ene')
    run.append_stats({"iteration": 3})
    assert run.stats() == [{"iteration": 1}, {"iteration": 3}]


@pytest.mark.usefixtures("drawn")
def test_pictures_that_cannot_be_written_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees training ended by a picture, and half of one left behind."""
    heard: list[str] = []
    monkeypatch.setattr(Path, "write_bytes", full)
    train(small("training.iterations=2", "training.picture_every=1"), tmp_path / "run", heard.append)
    assert sum("cannot write" in line and ".png" in line for line in heard) == 3
    assert not list((tmp_path / "run/samples").iterdir())


def test_half_a_picture_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees a temporary file left on a disk that is full already."""
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        pictures.save(pictures.image_grid(torch.zeros(1, 1, 4, 4)), tmp_path / "x.png")
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "x.json", "{}")
    assert not list(tmp_path.iterdir())


def test_nobody_need_listen(tmp_path: Path):
    """Sees training ended because what it says goes to a closed pipe."""

    def deaf(_: str) -> None:
        raise BrokenPipeError

    assert train(small("training.iterations=1"), tmp_path / "run", deaf).iteration == 1


# Stopping, resuming, sharing (FAULTS 12, 37, 39)


def test_a_second_ctrl_c_acts_at_once(tmp_path: Path):
    """Sees a process that cannot be stopped while an iteration hangs; what it leaves goes on."""
    home = tmp_path / "run"
    pid = os.fork()
    if not pid:
        with contextlib.suppress(BaseException):
            train(small("training.iterations=100000"), home, quiet, twice_at_three)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGINT
    heard: list[str] = []
    train(small(), home, heard.append)
    assert "resumed at iteration 2 of 4" in heard


def twice_at_three(i: int, _: dict[str, float]) -> None:
    """Ctrl-C, and again before the iteration is over."""
    if i == 3:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_a_resume_says_what_has_changed(run: Path):
    """Sees another version, device or rhythm pass in silence."""
    config = json.loads((run / "config.json").read_text())
    assert config["versions"]["device"] == "cpu"
    config["versions"] |= {"torch": "2.0.0", "device": "cuda:0"}
    (run / "config.json").write_text(json.dumps(config))
    heard: list[str] = []
    train(small("training.log_every=3"), run, heard.append)
    (said,) = [line for line in heard if line.startswith("changed since then")]
    assert "training.log_every: 1 -> 3" in said
    assert f"torch: 2.0.0 -> {torch.__version__.partition('+')[0]}" in said
    assert "device: cuda:0 -> cpu" in said
    heard.clear()
    train(small("training.log_every=3"), run, heard.append)
    assert not [line for line in heard if line.startswith("changed since then")]


def test_of_many_at_once_one_gets_the_folder(tmp_path: Path):
    """Sees two that both find a dead process's lock and both take it."""
    (tmp_path / "lock").write_text('{"pid": 4194301, "host": "' + os.uname().nodename + '"}')
    together, inside, refused = threading.Barrier(8), [], []

    def enter() -> None:
        together.wait()
        try:
            with Run(tmp_path).claim():
                inside.append(1)
                together.wait()
        except RunError as error:
            refused.append(str(error))
            together.wait()

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(inside) == 1
    assert len(refused) == 7
    assert "is training in" in refused[0]
    assert not (tmp_path / "lock").exists()


@pytest.mark.parametrize("works", [True, False], ids=["locks", "no locks"])
def test_a_lock_of_another_machine_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool):
    """Sees a shared file system, on which kernels do not know of each other's locks or have none, left unguarded."""
    if not works:
        monkeypatch.setattr(lock, "FileLock", full)
    (tmp_path / "lock").write_text('{"pid": 1, "host": "elsewhere"}')
    with pytest.raises(RunError, match="process 1 on elsewhere is training in .*or delete the file lock there"):
        Run(tmp_path).claim().__enter__()
    (tmp_path / "lock").unlink()
    with Run(tmp_path).claim():
        assert json.loads((tmp_path / "lock").read_text()) == {"pid": os.getpid(), "host": os.uname().nodename}
    assert not (tmp_path / "lock").exists()


def test_the_kernel_knows_of_a_process_that_the_file_does_not(tmp_path: Path):
    """Sees a folder taken from a live process whose `lock` somebody deleted."""
    with Run(tmp_path).claim():
        (tmp_path / "lock").unlink()
        with pytest.raises(RunError, match="another process is training in"):
            Run(tmp_path).claim().__enter__()


# Memory (FAULTS 33)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nmore"),
     RuntimeError("[enforce fail at alloc_cpu.cpp:127] data. DefaultCPUAllocator: can't allocate memory: you tried")],
)  # fmt: skip
def test_too_little_memory_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError):
    """Sees a traceback in place of what to lower."""

    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(training, "loop", refuse)
    with pytest.raises(MemoryError, match=r"not enough memory for training.batch=20 and training.chains=10; lower"):
        train(small(), tmp_path / "run", quiet)
    assert not (tmp_path / "run/lock").exists()


@pytest.mark.parametrize("how", ["--run", "--dry-run"])
def test_more_than_there_is_is_explained_before_there_is_a_folder(tmp_path: Path, how: str, capsys: Any):
    """Sees a traceback, or an empty run, where memory ends before the first iteration."""
    words = [how, str(tmp_path / "x")][: 1 + (how == "--run")]
    assert anila("train", "rings", "network.hidden=[1000000000,1000000000]", *words) == 1
    assert "anila: not enough memory" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("text", ["can't allocate memory: you tried", "Storage size calculation overflowed with sizes"])
def test_a_command_without_memory_is_one_line_and_status_1(monkeypatch: pytest.MonkeyPatch, text: str, capsys: Any):
    """Sees torch's C++ frames where a draw, a score or a picture is too large."""

    def refuse(**_: object) -> None:
        raise RuntimeError(f"{text} 1 bytes\nframe #0: c10")

    monkeypatch.setattr("anila.cli.app.app", refuse)
    assert anila("sample") == 1
    assert capsys.readouterr().err == f"anila: not enough memory: ask for less at a time ({text} 1 bytes)\n"


def test_other_errors_keep_their_words():
    with pytest.raises(RuntimeError, match="something else"), preflight.memory_explained(small()):
        raise RuntimeError("something else")


# What is sampled and evaluated


def test_the_average_is_what_is_sampled_and_evaluated(whole: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees samples, scores or `model.safetensors` of the last parameters where an average is kept."""
    there = Trained.load(Run(whole))
    average, last = there.learner.ema, there.learner.model
    assert average is not None
    assert there.f is average.module
    assert any(not torch.equal(a, b) for a, b in zip(there.f.parameters(), last.parameters(), strict=True))
    used: list[Any] = []
    real = model.build_sampler
    monkeypatch.setattr(model, "build_sampler", lambda s, f, *rest: used.append(f) or real(s, f, *rest))
    there.draw(5)
    assert used == [average.module]
    x = there.reference_data(100)
    expected = (average.module(x).mean() - average.module(x / 2).mean()).item()
    assert scores.scores(there, x, x / 2)["energy_gap"] == pytest.approx(expected, rel=1e-5)
    kept = load_file(whole / "checkpoints" / f"{there.learner.iteration:09d}" / "model.safetensors")
    assert all(torch.equal(kept[f"/{name}"], value) for name, value in average.module.state_dict().items())

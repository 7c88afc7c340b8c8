"""What the machine does to a run: taken ports, clocks that jump, folders that close, too little memory, launchers."""

import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file

from anila import anisotropic_mala, langevin, mala, rng, sample
from anila.evaluation import pictures
from anila.learning.distributed import joined
from anila.reports.playground.serve import server
from anila.runs.folder import checkpoint
from anila.runs.folder.run import Run
from anila.runs.model.trained import Trained
from anila.runs.training.drawing import draw_pictures
from anila.runs.training.train import Lost, train
from compilers import compiling
from tiny import EIGHT, eight_rings, quiet, trained_rings

pytestmark = pytest.mark.usefixtures("unmeasured")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of eight iterations, never disturbed."""
    return trained_rings(tmp_path_factory.mktemp("machine") / "run", *EIGHT)


def same(a: Path, b: Path) -> bool:
    one, other = (load_file(checkpoint.listed(run / "checkpoints")[-1] / "learner.safetensors") for run in (a, b))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def in_a_child(work: Callable[[], int]) -> int:
    """The exit status of a process that is forked to do this."""
    pid = os.fork()
    if not pid:
        try:
            os._exit(work())
        except BaseException:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# Ports (FAULTS 8)


def test_two_playgrounds_are_served_at_once():
    """Sees a second one refused because the first has the port."""
    with server("", "") as one, server("", "") as other:
        assert one.server_port != other.server_port


def test_a_taken_port_is_named(monkeypatch: pytest.MonkeyPatch):
    """Sees processes that cannot meet blamed on one that ended."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        here = {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
        for name, value in {**here, "MASTER_ADDR": "127.0.0.1"}.items():
            monkeypatch.setenv(name, str(value))
        with pytest.raises(ValueError, match=f"port {port} of this machine is in use.*MASTER_PORT"):
            joined(5.0).__enter__()


# Clocks (FAULTS 42)


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees the time of day in what a run learns, keeps or goes on from."""
    jumps = iter([0.0, 4e9, -1e6, 2e9] * 1000)
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    train(eight_rings(), tmp_path / "run", quiet, backwards(tmp_path / "run"))
    assert same(tmp_path / "run", whole)
    kept = [[path.name for path in checkpoint.listed(run / "checkpoints")] for run in (tmp_path / "run", whole)]
    assert kept[0] == kept[1]


def backwards(run: Path) -> Callable[[int, dict[str, float]], None]:
    """Whatever is written last looks oldest."""

    def watch(i: int, _: dict[str, float]) -> None:
        for path in run.rglob("*"):
            os.utime(path, (10**9 - i, 10**9 - i))

    return watch


# A folder that can no longer be written (FAULTS 10)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that a user without rights can reach; pytest's own are its user's alone."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o777)
    shutil.rmtree(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="folders are closed to their owner in another way there")
def test_a_folder_that_becomes_read_only(open_to_all: Path, whole: Path):
    """Sees training ended by it, silence, success or a user's mistake; what was saved before it goes on."""
    run, heard = open_to_all / "run", open_to_all / "heard"
    heard.touch(0o666)
    heard.chmod(0o666)

    def work() -> int:
        if os.getuid() == 0:
            os.setuid(65534)  # nothing is read-only to root
        lines: list[str] = []
        try:
            train(eight_rings(), run, lines.append, closing(run, at=5))
        except Lost as error:
            lines.append(f"refused: {error}")
        heard.write_text("\n".join(lines))
        return 7

    assert in_a_child(work) == 7
    said = heard.read_text()
    assert "Permission denied; training continues without it" in said
    assert "refused: [Errno 13] Permission denied" in said
    assert "make the folder writable, then run the same command again to continue" in said
    assert checkpoint.listed(run / "checkpoints")[-1].name == "000000004"
    for path in (run, *run.rglob("*")):
        path.chmod(0o777)
    train(eight_rings(), run, quiet)
    assert same(run, whole)


def closing(run: Path, at: int) -> Callable[[int, dict[str, float]], None]:
    """Take the right to write from the run's folders, after an iteration."""

    def watch(i: int, _: dict[str, float]) -> None:
        for path in (run, *run.rglob("*")) if i == at else ():
            path.chmod(0o555 if path.is_dir() else 0o444)

    return watch


def test_a_checkpoint_is_written_where_folders_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees Windows, which opens no folder and flushes only what may be written, end a run at its first checkpoint."""
    opened, flush = os.open, os.fsync

    def open_file(path: Path, flags: int) -> int:
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        assert flags & os.O_RDWR
        return opened(path, flags)

    monkeypatch.setattr(checkpoint, "WINDOWS", True)
    monkeypatch.setattr(os, "open", open_file)
    flushed = list[int]()
    monkeypatch.setattr(os, "fsync", lambda fd: flushed.append(fd) or flush(fd))
    path = checkpoint.save(tmp_path / "checkpoints", 3, {"model": {"w": torch.ones(2)}})
    monkeypatch.undo()
    assert checkpoint.load(path, "model")[0] == 3
    assert len(flushed) == len(list(path.iterdir()))


# Memory (FAULTS 33)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process cannot be given less memory")
def test_memory_that_runs_out_is_explained(tmp_path: Path):
    """Sees a process of too little memory die without a word of what to lower, or with an empty run."""

    resource = pytest.importorskip("resource")

    def work() -> int:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
        try:
            train(eight_rings("training.batch=2000000", "training.rollbacks=none"), tmp_path / "run", quiet)
        except MemoryError as error:
            (tmp_path / "said").write_text(str(error))
        return 7

    assert in_a_child(work) == 7
    assert "for training.batch=2000000 and training.chains=10; lower" in (tmp_path / "said").read_text()


def test_more_steps_than_memory_is_for_are_refused_at_the_first():
    """Sees minutes spent on a list of the steps, or torch's words about bytes."""
    x0 = torch.zeros(10**4, 1)
    with pytest.raises(MemoryError, match=r"the records of 10,000,000,000 steps of 10,000 chains: run fewer steps"):
        sample(mala(lambda x: -x.square().sum(1), step_size=0.1), x0, 10**10, rng(0))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("steps", [1500, pytest.param(100_000, marks=pytest.mark.slow)])
def test_long_chains_take_the_memory_of_their_trace(steps: int):
    """Sees a step that leaves something behind: more than the numbers that the trace has for it."""

    def f(x: torch.Tensor) -> torch.Tensor:
        return -x.square().sum(1) / 2

    sample(langevin(f, 0.1), torch.zeros(4, 2), 1500, rng(0), keep_every=100)
    before = resident()
    _, trace = sample(langevin(f, 0.1), torch.zeros(4, 2), steps, rng(0), keep_every=100)
    held = sum(trace[name].nbytes for name in trace)
    assert resident() - before < held + 2**21


def test_pictures_give_their_memory_back(whole: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees figures of tens of megabytes wait for Python to find that nobody holds them."""
    monkeypatch.setattr(pictures, "save", lambda *_: None)
    gc.disable()
    try:
        before = figures()
        draw_pictures(Run(whole), Trained.load(Run(whole)))
        assert figures() <= before
    finally:
        gc.enable()


def figures() -> int:
    return sum(type(thing) is Figure for thing in gc.get_objects())


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# Forks


@compiling
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_compiled_steps_live_on_in_a_fork():
    """Sees a data loader's or a web server's child hang, or draw something else, with steps its parent compiled."""
    target = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    kernel = anisotropic_mala(target.log_prob, threshold=1.0, step_size=0.5)

    def draw() -> torch.Tensor:
        return sample(kernel, torch.ones(4, 2), 20, rng(0), compile=True)[0]

    expected = draw()
    assert in_a_child(lambda: 7 if torch.equal(draw(), expected) else 8) == 7


# Launchers


@pytest.mark.slow
def test_sigterm_to_torchrun_saves(tmp_path: Path):
    """Sees a batch system's signal to the launcher lose iterations, or leave processes behind."""
    words = ["network.hidden=[8]", "network.fourier=4", "training.batch=20", "training.chains=10",
             "training.log_every=1", "training.checkpoint_every=100000", "training.iterations=100000"]  # fmt: skip
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [*launch, "anila", "train", "rings", *words, "--run", tmp_path / "run"], stdout=said, stderr=said
        )
        deadline = time.monotonic() + 300
        series = tmp_path / "run/series.csv"
        while not (series.exists() and len(series.read_text().splitlines()) > 3) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) != 0
    last = int(series.read_text().splitlines()[-1].partition(",")[0])
    assert int(checkpoint.listed(tmp_path / "run/checkpoints")[-1].name) == last
    assert f"stopped and saved at iteration {last}" in (tmp_path / "said").read_text()
    assert not (tmp_path / "run/lock").exists()

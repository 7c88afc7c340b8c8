"""Laws of several processes: they compute what one computes, stop together, and never wait for ever."""

import json
import multiprocessing
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from anila.cli import app
from anila.data import Rows
from anila.density.networks import mlp
from anila.evaluation.likelihood import grid
from anila.learning.distributed import RankLost, Ranks, joined
from anila.learning.learner import Learner, NotFinite
from anila.learning.objectives import denoising, recovery, transport
from anila.learning.starts import FromNoise
from anila.rng import rng
from anila.runs.experiment import PRESETS, Experiment, resolve
from anila.runs.folder import checkpoint
from anila.runs.folder.run import Run
from anila.runs.model import trained as models
from anila.runs.training import train as training
from anila.runs.training.guard import Guard, Trouble
from anila.samplers import langevin
from levels import Perceptron

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["anila.runs.training.train", "anila.cli.app", "torch.distributed.fsdp"])
"""Processes are forked from one that has imported all, so each starts in milliseconds."""

RINGS = ["network.hidden=[8]", "network.fourier=4", "training.batch=21", "training.chains=11", "start.size=29",
         "training.ema=0.5", "training.log_every=1", "training.checkpoint_every=4", "training.picture_every=1000",
         "training.iterations=8"]  # fmt: skip
PIXELS = ["network.width=4", "training.batch=6", "start.size=13", "start.fresh=0.3", "sampler.steps=2",
          "data.flip=false", "training.iterations=6", "training.checkpoint_every=3", "training.log_every=1",
          "training.picture_every=1000", "training.threads=1"]  # fmt: skip


def settings(name: str, *more: str) -> Experiment:
    return resolve(PRESETS[name].experiment, [*(RINGS if name == "rings" else PIXELS), *more])


def start(work: Callable[..., object], size: int, *args: Any) -> list[Any]:
    """`work(*args)` in so many processes, as a launcher starts them."""
    port = free_port()
    processes = [SERVER.Process(target=among, args=(r, size, port, work, args), daemon=True) for r in range(size)]
    for process in processes:
        process.start()
    return processes


def free_port() -> int:
    """One that no outgoing connection takes before it is listened on: those come from 32768 on."""
    while True:
        port = secrets.choice(range(20_000, 32_000))
        with closing(socket.socket()) as free:
            if free.connect_ex(("127.0.0.1", port)):
                return port


def among(rank: int, size: int, port: int, work: Callable[..., object], args: tuple[Any, ...]) -> None:
    here = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
    os.environ.update({k: str(v) for k, v in here.items()}, MASTER_ADDR="127.0.0.1")
    torch.set_num_threads(1)
    training.draw_pictures, grid.SIDE = drawn, 100
    work(*args)


def drawn(run: Run, trained: Any) -> None:
    """In place of a picture, which takes seconds: that f and its gradient can be had on the first process alone."""
    assert Path(run.samples).is_dir()
    trained.draw(2)


def ended(processes: list[Any], seconds: float = 900) -> list[int | None]:
    """Their exit statuses; None, and it is killed, if one did not end."""
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    statuses = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return statuses


def run_training(path: Path, config: Experiment, stop: dict[str, int] | None = None) -> None:
    """Train; where asked to, one process gets a signal after an iteration."""
    if config.data.name != "rings":
        pixels = torch.rand(30, 3, 16, 16, generator=rng(0, "pixels")) * 2 - 1
        models.build_data = lambda _: Rows(pixels, "pixels", labels=torch.arange(30) % 3)

    def watch(i: int, _: dict[str, float]) -> None:
        if stop and (i, int(os.environ["RANK"])) == (stop["at"], stop["rank"]):
            os.kill(os.getpid(), stop["signal"])

    training.train(config, path, lambda _: None, watch)


def trained(path: Path, config: Experiment, *sizes: int, stop: int = 4) -> Path:
    """The run that so many processes begin, and so many go on with after a stop that the last of them asked for."""
    for k, size in enumerate(sizes):
        ask = {"at": stop, "rank": size - 1, "signal": signal.SIGTERM} if k < len(sizes) - 1 else None
        assert ended(start(run_training, size, path, config, ask)) == [0] * size
        assert ask is None or int(checkpoint.listed(path / "checkpoints")[-1].name) == stop
    return path


def learned(run: Path) -> dict[str, Tensor]:
    return load_file(checkpoint.listed(run / "checkpoints")[-1] / "learner.safetensors")


def assert_same(a: Path, b: Path) -> None:
    """Two runs are the same to rounding: every line of statistics, θ, its average, the optimiser and the chains;
    an iteration is in the series once.

    But for the constant of f, a tensor of one number: its gradient is rounding alone, and Adam makes steps of it.
    """
    lines_a, lines_b = ([{k: v for k, v in line.items() if k != "seconds"} for line in Run(r).stats()] for r in (a, b))
    assert [line.keys() for line in lines_a] == [line.keys() for line in lines_b]
    assert Run(a).series()["iteration"] == Run(b).series()["iteration"]
    for one, other in zip(lines_a, lines_b, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-5)
    tensors_a, tensors_b = learned(a), learned(b)
    assert tensors_a.keys() == tensors_b.keys()
    for name, value in ((name, value) for name, value in tensors_a.items() if value.numel() > 1):
        torch.testing.assert_close(value, tensors_b[name], rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    runs: dict[str, Path] = {}

    def of(name: str) -> Path:
        if name not in runs:
            runs[name] = trained(tmp_path_factory.mktemp(name), settings(name), 1)
        return runs[name]

    return of


@pytest.mark.parametrize("n", [5, 7, 100])
def test_shares_are_all_rows_once(n: int):
    """Sees a row in two shares, or in none."""
    shares = [Ranks(rank, 5).share(n) for rank in range(5)]
    assert [i for share in shares for i in range(n)[share]] == list(range(n))
    assert max(len(range(n)[s]) for s in shares) - min(len(range(n)[s]) for s in shares) <= 1


@pytest.mark.parametrize("how", ["training.shard=false", "training.shard=true"])
@pytest.mark.parametrize("name", ["rings", "flowers-chains"])
def test_two_processes_learn_what_one_learns(tmp_path: Path, undisturbed: Callable[[str], Path], name: str, how: str):
    """Sees noise, data or chains that depend on the number of processes, and gradients averaged with wrong weights:
    the shares are uneven.
    """
    both = trained(tmp_path / "run", settings(name, how, "training.picture_every=3"), 2)
    assert_same(both, undisturbed(name))


@pytest.mark.parametrize("shard", ["false", pytest.param("true", marks=pytest.mark.slow)])
def test_processes_share_labels_and_spectral_norms(tmp_path: Path, shard: str):
    """Sees labels of other rows than this process has, a cross-entropy summed or averaged wrongly, u and v apart."""
    more = ["network.classes=auto", "network.spectral=true", f"training.shard={shard}"]
    alone, both = (trained(tmp_path / str(size), settings("flowers-chains", *more), size) for size in (1, 2))
    assert_same(both, alone)
    assert all("accuracy" in line for line in Run(alone).stats())


LEVELS = ["network=unet", "network.widths=[4,4]", "network.temperature=1", "network.confine=none", "data.flip=false",
          "anchor=denoising", "anchor.sd=[0.04,2.4]", "sampler=langevin", "sampler.temperature=1",
          "sampler.step_size=0.003", "sampler.steps=2", "sampler.levels=4", "start=replay", "start.kind=annealed",
          "start.size=7", "start.fresh=0.3", "start.storage=float32", "training.batch=6", "training.chains=5",
          "training.max_grad_norm=1", "training.data_noise=0.1", "training.precision=none", "training.ema=0.5",
          "training.iterations=4", "training.checkpoint_every=2", "training.log_every=1",
          "training.picture_every=1000", "training.threads=1"]  # fmt: skip


@pytest.mark.parametrize(("shard", "sizes"), [("false", (2, 1)), pytest.param("true", (2,), marks=pytest.mark.slow)])
def test_processes_share_levels_annealed_starts_and_an_anchor(tmp_path: Path, shard: str, sizes: tuple[int, ...]):
    """Sees a pool that a process does not have in its place, or that is lost with it, moments that are not the same
    everywhere, and an anchor's gradient of one process's rows.
    """
    config = resolve(PRESETS["flowers-chains"].experiment, [*LEVELS, f"training.shard={shard}"])
    both = trained(tmp_path / "both", config, *sizes, stop=3)
    assert_same(both, trained(tmp_path / "alone", config, 1))
    assert all("matching_loss" in line for line in Run(both).stats())


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("rings", (2, 1)), ("rings", (1, 2)), pytest.param("flowers-chains", (3, 2), marks=pytest.mark.slow)],
)
def test_a_run_goes_on_with_other_processes(tmp_path: Path, undisturbed: Callable[[str], Path], name: str, sizes):
    """Sees chains lost, doubled or exchanged, and a stop that not all processes hear of."""
    assert_same(trained(tmp_path / "run", settings(name), *sizes), undisturbed(name))


def test_pieces_and_copies_go_on_from_each_other(tmp_path: Path, undisturbed: Callable[[str], Path]):
    """Sees a checkpoint of θ in pieces that only as many pieces can read."""
    run, pieces = tmp_path / "run", settings("rings", "training.shard=true")
    ask = {"at": 3, "rank": 0, "signal": signal.SIGINT}
    assert ended(start(run_training, 2, run, pieces, ask)) == [0, 0]
    trained(run, settings("rings"), 1, 2, stop=5)
    assert_same(trained(run, pieces, 2), undisturbed("rings"))


SWITCH = ["stages.1.objective=transport", "stages.1.iterations=3", "stages.2.objective=likelihood",
          "stages.2.iterations=5", "stages.2.training.ema=0.8"]  # fmt: skip


def staged(*more: str) -> Experiment:
    return resolve(settings("rings"), [*SWITCH, *more])


@pytest.mark.parametrize(
    ("how", "sizes"), [("false", (2,)), ("false", (2, 1)), pytest.param("true", (2,), marks=pytest.mark.slow)]
)
def test_processes_go_through_stages_together(tmp_path: Path, how: str, sizes: tuple[int, ...]):
    """Sees θ or its average in pieces lost at a switch, and chains filled by each process as if it were alone; the
    second run is stopped at the switch.
    """
    alone = trained(tmp_path / "alone", staged(), 1)
    some = trained(tmp_path / "some", staged(f"training.shard={how}"), *sizes, stop=3)
    assert_same(some, alone)


IMAGES = ["data.flip=true", "network.widths=[4,4]", "network.adapter=[4]", "sampler.levels=4", "sampler.steps=2",
          "start.fresh=0.3", "training.batch=7", "training.ema=0.5", "training.minutes=none",
          "optimizer.warmup=1", "optimizer.learning_rate=0.0002", "stages.1.iterations=3", "stages.2.iterations=3",
          "stages.2.optimizer.warmup=1", "stages.2.training.checkpoint_every=2", "training.checkpoint_every=2",
          "training.log_every=1", "training.picture_every=1000", "training.threads=1"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("how", ["training.shard=false", "training.shard=true"])
def test_processes_learn_images_in_stages(tmp_path: Path, how: str):
    """Sees levels, flips, pairs of chains and data, or an anchor of the second stage that depend on the number of
    processes, or on where another number of them took over: within a stage, at the switch, in its last iterations.
    """
    config = resolve(PRESETS["flowers"].experiment, [*IMAGES, how])
    alone = trained(tmp_path / "alone", resolve(config, ["training.shard=false"]), 1)
    assert {len(line) for line in Run(alone).stats()[3:]} == {len(Run(alone).stats()[-1])}
    for k, (sizes, stop) in enumerate([((2,), 0), ((1, 2), 2), ((2, 1), 3), ((1, 2), 5)]):
        assert_same(trained(tmp_path / str(k), config, *sizes, stop=stop), alone)


def test_processes_agree_on_a_plan(tmp_path: Path):
    """Sees processes that go by clocks of their own, of which one would wait for ever."""
    run = trained(tmp_path / "run", resolve(settings("rings"), [*SWITCH[::2], "training.minutes=0.01"]), 2)
    config = json.loads((run / "config.json").read_text())["experiment"]
    assert int(checkpoint.listed(run / "checkpoints")[-1].name) == sum(s["iterations"] for s in config["stages"])


def run_into_trouble(path: Path, config: Experiment) -> None:
    """Train with a guard that sees trouble in what the fifth iteration of the first attempt reports."""
    seen: list[float] = []

    def look(self: Guard, metrics: Mapping[str, float]) -> Trouble | None:  # noqa: ARG001
        seen.append(metrics["energy_gap"])
        return Trouble("learning", "trouble") if len(seen) == 5 else None

    Guard.look = look
    run_training(path, config)


def test_processes_go_back_together(tmp_path: Path):
    """Sees a return to a checkpoint that forgets the chains of other processes, or that they do not share."""
    for size in (1, 2):
        assert ended(start(run_into_trouble, size, tmp_path / str(size), settings("rings"))) == [0] * size
        (event,) = Run(tmp_path / str(size)).events()
        assert event["change"].startswith("optimizer.learning_rate=")
    assert_same(tmp_path / "2", tmp_path / "1")


def overwrite(path: Path, config: Experiment, fails: bool) -> None:
    """Train anew; where asked to, the last process dies before there is a checkpoint."""

    def watch(i: int, _: dict[str, float]) -> None:
        if fails and i == 3 and os.environ["RANK"] == "1":
            os._exit(7)

    training.train(config, path, lambda _: None, watch, overwrite=True)


def test_processes_overwrite_a_run_together(tmp_path: Path, undisturbed: Callable[[str], Path]):
    """Sees a process that goes on with the run which the first one moves aside, and a run lost with a process."""
    run = trained(tmp_path / "run", settings("rings", "sampler.steps=3", "training.iterations=4"), 1)
    before = learned(run)
    assert 0 not in ended(start(overwrite, 2, run, settings("rings"), True))
    assert learned(run).keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in learned(run).items())
    assert ended(start(overwrite, 2, run, settings("rings"), False)) == [0, 0]
    assert_same(run, undisturbed("rings"))


def lose(path: Path, number: int, timeout: int) -> None:
    with closing((path / f"{os.environ['RANK']}.txt").open("w")) as file:
        try:
            config = settings("rings", f"training.timeout={timeout}", "training.checkpoint_every=1")
            run_training(path / "run", config, {"at": 3, "rank": 1, "signal": number})
        except RankLost as error:
            file.write(str(error))
            raise SystemExit(1) from None


@pytest.mark.parametrize(
    ("number", "timeout"), [(signal.SIGKILL, 600), pytest.param(signal.SIGSTOP, 2, marks=pytest.mark.slow)]
)
def test_a_lost_process_ends_the_others(tmp_path: Path, number: signal.Signals, timeout: int):
    """Sees a job that waits for ever for a process that died, or hangs; the run can go on."""
    processes = start(lose, 2, tmp_path, number, timeout)
    assert ended(processes[:1]) == [1]
    ended(processes[1:], 0)
    assert "process 0 of 2 lost contact with the others" in (tmp_path / "0.txt").read_text()
    assert int(checkpoint.listed(tmp_path / "run/checkpoints")[-1].name) == 3
    (tmp_path / "run/lock").unlink(missing_ok=True)
    trained(tmp_path / "run", settings("rings", "training.checkpoint_every=1"), 1)


def from_command_line(run: Path) -> None:
    sys.argv = ["anila", "train", "rings", *RINGS, "training.iterations=1000000", "--run", str(run)]
    app.main()


@pytest.mark.parametrize("size", [1, 2])
def test_sigterm_saves_and_exits_143(tmp_path: Path, size: int):
    """Sees a batch system's signal, sent twice to the last process, lose iterations or leave another process behind."""
    processes = start(from_command_line, size, tmp_path / "run")
    deadline = time.monotonic() + 300
    while len(Run(tmp_path / "run").stats()) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    for _ in range(2):
        os.kill(processes[-1].pid, signal.SIGTERM)
    assert ended(processes) == [143] * size
    last = Run(tmp_path / "run").stats()[-1]["iteration"]
    assert int(checkpoint.listed(tmp_path / "run/checkpoints")[-1].name) == last


WITHOUT_CHAINS = {"denoising": denoising((0.05, 2.0)), "transport": transport(), "recovery": recovery(steps=3)}


def learn_without_chains(path: Path) -> None:
    """Three iterations of every objective that takes no chains of the learner's."""
    found: dict[str, dict[str, float]] = {}
    with joined(60) as ranks:
        for name, objective in WITHOUT_CHAINS.items():
            torch.manual_seed(0)
            model = Perceptron(4) if objective.needs_levels else mlp(4, hidden=(16,))
            learner = Learner(
                model, optimizer=torch.optim.SGD(model.parameters(), 0.1), objective=objective, ranks=ranks
            )
            for t in range(3):
                found[name] = learner.update(torch.randn(21, 4, generator=rng(0, "data", t)))
            found[name] |= {f"theta {k}": p.norm().item() for k, p in enumerate(model.parameters())}
    (path / f"{ranks.rank} of {ranks.size}.json").write_text(json.dumps(found))


def test_what_needs_no_chains_is_learned_together(tmp_path: Path):
    """Sees noise, pairs or levels that depend on who holds the rows, and levels that the replica of f does not get."""
    for size in (1, 2):
        assert ended(start(learn_without_chains, size, tmp_path)) == [0] * size
    one, *two = (json.loads((tmp_path / f"{who}.json").read_text()) for who in ("0 of 1", "0 of 2", "1 of 2"))
    assert two[0] == two[1]
    for name in WITHOUT_CHAINS:
        assert two[0][name] == pytest.approx(one[name], rel=1e-3, abs=1e-5)


class Faulty(nn.Module):
    """f(x) = θ·x − |x|²/2, which one process spoils in a third iteration."""

    def __init__(self, fault: str):
        super().__init__()
        self.theta, self.fault = nn.Parameter(torch.zeros(2)), fault
        self.learning = False

    def forward(self, x: Tensor) -> Tensor:
        f = x @ self.theta - x.square().sum(-1) / 2
        if self.fault == "value" and self.theta.requires_grad:
            return f * torch.nan
        if self.fault == "gradient" and self.theta.requires_grad:
            return f + (self.theta * 0).sum().sqrt() * 0
        return f * torch.inf if self.fault == "chain" and not self.theta.requires_grad else f


def meet_nan(path: Path, fault: str) -> None:
    with joined(60) as ranks:
        model = Faulty("")
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        learner = Learner(model, langevin(model, 0.1), FromNoise((2,)), optimizer, 2, chains=7, ranks=ranks)
        x = torch.randn(8, 2, generator=rng(0, "data"))
        learner.update(x)
        theta = model.theta.tolist()
        model.fault = fault if ranks.rank == 1 else ""
        try:
            learner.update(x)
            said = ""
        except NotFinite as error:
            said = str(error)
        found = {"said": said, "before": theta, "after": model.theta.tolist()}
        (path / f"{ranks.rank}.json").write_text(json.dumps(found))


@pytest.mark.parametrize("fault", ["value", "gradient", "chain"])
def test_nan_on_one_process_is_seen_on_all(tmp_path: Path, fault: str):
    """Sees θ moved where nothing was wrong, and then differing between processes."""
    assert ended(start(meet_nan, 2, tmp_path, fault)) == [0, 0]
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert one == other
    assert "θ was not moved" in one["said"]
    assert one["before"] == one["after"] != [0.0, 0.0]
    assert fault != "chain" or "on process [1]" in one["said"]


def test_torchrun_starts_them(tmp_path: Path, undisturbed: Callable[[str], Path]):
    """Sees a command that only works in tests; the first process speaks, once."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "--"]
    command = [*launcher, "anila", "train", "rings", *RINGS, "--run", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done: 8 iterations") == 1
    assert done.stderr.count("2 processes") == 1
    assert_same(tmp_path / "run", undisturbed("rings"))

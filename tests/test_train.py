"""Laws of a run: resume is bit-equal, a stop loses nothing, folders are never mixed, damage is survived."""

import json
import os
import shutil
import signal
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from anila.data import Rows
from anila.learning.objectives import likelihood
from anila.rng import rng
from anila.runs.experiment import PRESETS, Experiment, build, resolve
from anila.runs.folder import checkpoint
from anila.runs.folder.run import Run, RunError
from anila.runs.model import trained
from anila.runs.model.trained import Trained
from anila.runs.training import machine, preflight, rounding, timing
from anila.runs.training.guard import Diverged
from anila.runs.training.resume import as_begun
from anila.runs.training.train import train
from faults import full
from tiny import table_run

SMALL = ["network.hidden=[8]", "network.fourier=4", "training.batch=20", "training.chains=10", "training.log_every=1",
         "training.checkpoint_every=5", "training.picture_every=1000", "training.iterations=12"]  # fmt: skip


def small(*more: str) -> Experiment:
    return resolve(PRESETS["rings"].experiment, [*SMALL, *more])


def quiet(text: str) -> None:
    """Takes what a run says."""


class Heard(list[str]):
    def __call__(self, text: str) -> None:
        self.append(text)


def stop_at(iteration: int, number: int = signal.SIGINT):
    """A watch that sends this process a signal after an iteration."""

    def watch(i: int, _: dict[str, float]) -> None:
        if i == iteration:
            os.kill(os.getpid(), number)

    return watch


def contents(run: Path) -> tuple[dict[str, torch.Tensor], list[dict]]:
    path, _ = checkpoint.newest(run / "checkpoints")
    assert path is not None
    stats = [{k: v for k, v in line.items() if k != "seconds"} for line in Run(run).stats()]
    return load_file(path / "learner.safetensors"), stats


def assert_equal_runs(a: Path, b: Path) -> None:
    (tensors_a, stats_a), (tensors_b, stats_b) = contents(a), contents(b)
    assert tensors_a.keys() == tensors_b.keys()
    assert all(torch.equal(tensors_a[k], tensors_b[k]) for k in tensors_a)
    assert stats_a == stats_b
    assert Run(a).series() == Run(b).series()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "whole"
    train(small(), path, quiet)
    return path


@pytest.mark.parametrize("stop", [1, 4, 5, 7, 11])
def test_resume_is_bit_equal(tmp_path: Path, uninterrupted: Path, stop: int):
    """Sees anything that a checkpoint forgets: stop anywhere, go on, and compare every tensor and statistic."""
    heard = Heard()
    first = train(small(), tmp_path / "run", heard, stop_at(stop))
    assert (first.iteration, first.stopped_by) == (stop, signal.SIGINT)
    assert f"stopped and saved at iteration {stop}" in heard[-1]
    second = train(small(), tmp_path / "run", heard)
    assert (second.iteration, second.stopped_by) == (12, None)
    assert f"resumed at iteration {stop} of 12" in heard
    assert_equal_runs(tmp_path / "run", uninterrupted)


IMAGES = ["network.width=4", "training.batch=4", "start.size=9", "sampler.steps=2", "data.flip=false",
          "training.iterations=6", "training.checkpoint_every=3", "training.log_every=1",
          "training.threads=1"]  # fmt: skip


@pytest.mark.parametrize("sampler", ["langevin", "anisotropic", "mala", "anisotropic_mala", "hmc", "descent"])
def test_images_resume_bit_equal_with_every_sampler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str):
    """Sees replay, momentum and average left out of a checkpoint."""
    pixels = torch.rand(30, 3, 16, 16, generator=rng(0, "pixels")) * 2 - 1
    data = Rows(pixels, "pixels")
    monkeypatch.setattr(trained, "build_data", lambda _: data)
    config = resolve(
        PRESETS["flowers-chains"].experiment, [*IMAGES, f"sampler={sampler}"], PRESETS["flowers-chains"].exact
    )
    train(config, tmp_path / "whole", quiet)
    train(config, tmp_path / "parts", quiet, stop_at(2, signal.SIGTERM))
    train(config, tmp_path / "parts", quiet)
    assert_equal_runs(tmp_path / "parts", tmp_path / "whole")


def test_a_damaged_checkpoint_is_stepped_over(tmp_path: Path, uninterrupted: Path):
    """Sees a flipped bit trained on: the run goes back one checkpoint, says so, and ends the same."""
    train(small(), tmp_path / "run", quiet, stop_at(8))
    newest = tmp_path / "run/checkpoints/000000008/learner.safetensors"
    content = bytearray(newest.read_bytes())
    content[-9] ^= 4
    newest.write_bytes(content)
    heard = Heard()
    train(small(), tmp_path / "run", heard)
    assert "000000008/learner.safetensors does not match its checksum" in heard[0]
    assert "going back to 000000005" in heard[0]
    assert_equal_runs(tmp_path / "run", uninterrupted)


def test_the_series_hold_every_iteration_once(tmp_path: Path):
    """Sees d_t logged with the lines only, iterations that are done again counted twice, and a line cut short read."""
    sparse, path = small("training.log_every=5", "training.checkpoint_every=4"), tmp_path / "run"
    seen: dict[int, dict[str, float]] = {}
    train(sparse, path, quiet, lambda i, metrics: seen.update({i: dict(metrics)}))
    run = Run(path)
    series = run.series()
    assert series["iteration"] == list(range(1, 13))
    for name in likelihood().series:
        assert series[name] == pytest.approx([seen[i][name] for i in range(1, 13)], rel=1e-5)
    run.series_path.write_text(run.series_path.read_text() + "13,0.1")
    assert run.series() == series
    run.forget_after(8)
    run.append_series(9, {name: seen[9][name] for name in likelihood().series})
    assert run.series()["iteration"] == list(range(1, 10))


def test_training_ends_with_a_verdict_and_a_stop_does_not(tmp_path: Path):
    heard = Heard()
    train(small("training.iterations=45"), tmp_path / "run", heard)
    assert any(line.startswith("steady: ") for line in heard)
    assert f"for a verdict from long chains: anila diagnose {tmp_path / 'run'}" in heard
    assert "steady: " in (tmp_path / "run/log.txt").read_text()
    stopped = Heard()
    train(small("training.iterations=45"), tmp_path / "stopped", stopped, stop_at(41))
    assert not any(line.startswith("steady: ") for line in stopped)


def test_a_run_without_a_sound_checkpoint_is_refused(tmp_path: Path):
    train(small("training.iterations=1"), tmp_path / "run", quiet)
    for file in (tmp_path / "run/checkpoints").glob("*/learner.json"):
        file.write_text("{}")
    with pytest.raises(RunError, match="no sound checkpoint left; start over with --overwrite"):
        train(small("training.iterations=1"), tmp_path / "run", quiet)


def test_other_settings_are_refused_with_the_difference(tmp_path: Path):
    """Sees two runs mixed in one folder."""
    train(small(), tmp_path / "run", quiet, stop_at(2))
    with pytest.raises(RunError, match=r"sampler.step_size: 0.02 -> 0.5"):
        train(small("sampler.step_size=0.5"), tmp_path / "run", quiet)
    with pytest.raises(RunError, match=r"training.iterations: 12 -> 20"):
        train(small("training.iterations=20"), tmp_path / "run", quiet)


def test_harmless_settings_may_change(tmp_path: Path):
    """A longer run under a constant learning rate is the same run for longer."""
    constant = "optimizer.decay=constant"
    train(small(constant, "training.iterations=6"), tmp_path / "run", quiet)
    train(small(constant), tmp_path / "run", quiet)
    train(small(constant), tmp_path / "whole", quiet)
    assert torch.equal(contents(tmp_path / "run")[0]["/start/x"], contents(tmp_path / "whole")[0]["/start/x"])


def test_changed_data_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pixels = torch.rand(30, 3, 16, 16, generator=rng(0, "pixels"))
    config = resolve(PRESETS["flowers-chains"].experiment, IMAGES)
    monkeypatch.setattr(trained, "build_data", lambda _: Rows(pixels, "pixels"))
    train(config, tmp_path / "run", quiet, stop_at(2))
    monkeypatch.setattr(trained, "build_data", lambda _: Rows(pixels + 0.1, "pixels"))
    with pytest.raises(RunError, match="the content of flowers102 has changed"):
        train(config, tmp_path / "run", quiet)


def test_folders_that_are_not_runs_are_left_alone(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("words")
    with pytest.raises(RunError, match="holds 'thesis.tex' and is not a run"):
        train(small(), tmp_path, quiet)
    with pytest.raises(RunError, match="is a file"):
        train(small(), tmp_path / "thesis.tex", quiet)
    with pytest.raises(RunError, match="holds 'thesis.tex' and is not a run"):
        train(small(), tmp_path, quiet, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "words"


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write the run to"):
        train(small(), tmp_path / "file" / "run", quiet)


def test_two_runs_cannot_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees the second of two processes write into the first one's run; a dead process's lock is taken over.

    So is that of a live one that the kernel does not know of: it got the number of a dead one.
    """
    lock = tmp_path / "run/lock"
    lock.parent.mkdir()
    import socket

    lock.write_text(json.dumps({"pid": os.getppid(), "host": socket.gethostname()}))
    with monkeypatch.context() as patch:
        patch.setattr("anila.runs.folder.lock.FileLock", full)
        with pytest.raises(RunError, match=f"process {os.getppid()} on .* is training"):
            train(small(), tmp_path / "run", quiet)
    assert lock.exists()
    train(small("training.iterations=1"), tmp_path / "run", quiet)
    lock.write_text(json.dumps({"pid": 2**22 - 3, "host": socket.gethostname()}))
    train(small("training.iterations=1"), tmp_path / "run", quiet)
    assert not lock.exists()


def test_divergence_stops_with_a_reason_and_keeps_the_checkpoint(tmp_path: Path):
    """Sees NaN trained on: the last checkpoint stays, the message says what to change."""
    wild = small("sampler=langevin", "sampler.step_size=1e9", "training.checkpoint_every=1", "network.confine=none",
                 "optimizer.learning_rate=1e18", "training.iterations=50")  # fmt: skip
    with pytest.raises(Diverged, match=r"training stopped at iteration \d+: .*Lower optimizer.learning_rate"):
        train(wild, tmp_path / "run", quiet)
    path, notices = checkpoint.newest(tmp_path / "run/checkpoints")
    assert not notices
    if path is not None:
        assert all(bool(torch.isfinite(t).all()) for t in load_file(path / "model.safetensors").values())


def test_coupled_rows_are_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees batch norm in f: chains would not be independent."""
    net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1), nn.Flatten(0))
    monkeypatch.setattr(build, "bare_network", lambda *_: net)
    with pytest.raises(ValueError, match="couples the rows of a batch"):
        train(small(), tmp_path / "run", quiet)


def test_the_reach_of_the_printed_cifar10_run_is_said(monkeypatch: pytest.MonkeyPatch):
    """METHOD fact 2: b = 2e-4 and K = 100 move a coordinate by 0.01 while starts and data are about 0.6 apart."""
    pixels = torch.rand(70, 3, 32, 32, generator=rng(0, "pixels")) * 2 - 1
    monkeypatch.setattr(trained, "build_data", lambda _: Rows(pixels, "pixels"))
    config = resolve(PRESETS["cifar10-stanley"].experiment, ["network.width=4"])
    (warning,) = preflight.look_ahead(config).warnings
    assert "K = 100 transitions drift moves a coordinate by at most" in warning
    assert "= 0.01 and noise by about 0.1, but starts and data are 0.66" in warning.replace("0.67", "0.66")
    assert "at least 67 iterations" in warning.replace("66 iterations", "67 iterations")
    flowers = resolve(PRESETS["flowers-chains"].experiment, ["network.width=4", "training.batch=8", "start.size=70"])
    assert not preflight.look_ahead(flowers).warnings


def test_samples_come_from_the_kept_chains(uninterrupted: Path):
    """Sees samples that depend on how many are asked for at once, or that ignore the seed."""
    trained = Trained.load(Run.existing(uninterrupted))
    x = trained.draw(25, seed=3, steps=4)
    assert x.shape == (25, 2)
    assert torch.equal(x, trained.draw(25, seed=3, steps=4))
    assert not torch.equal(x, trained.draw(25, seed=4, steps=4))


def test_the_best_checkpoint_is_the_one_of_lowest_kl(uninterrupted: Path):
    kls = {line["iteration"]: line["kl"] for line in Run(uninterrupted).stats() if "kl" in line}
    best = checkpoint.best_of(uninterrupted / "checkpoints")
    assert best is not None
    assert int(best.name) == min(kls, key=lambda i: kls[i])
    assert checkpoint.best_score(uninterrupted / "checkpoints") == min(kls.values())


@pytest.mark.usefixtures("drawn")
def test_the_run_folder_holds_what_it_says(tmp_path: Path):
    uninterrupted = tmp_path / "run"
    train(small(), uninterrupted, quiet)
    config = json.loads((uninterrupted / "config.json").read_text())
    assert config["experiment"]["training"]["iterations"] == 12
    assert config["data"]["fingerprint"]
    assert len(Run(uninterrupted).stats()) == 12
    assert (uninterrupted / "samples/000000012.png").is_file()
    assert (uninterrupted / "samples/curves.png").is_file()


def test_timing_a_few_steps_does_not_warn_of_what_all_steps_do(tmp_path: Path):
    """Sees preflight complain that its one timed step came to no global move."""
    heard = Heard()
    train(small("sampler.steps=6", "sampler.global_every=5", "training.iterations=1"), tmp_path / "run", heard)
    assert not any("global move" in line for line in heard)


def test_what_no_iteration_measured_is_no_number_of_the_log(tmp_path: Path):
    """Sees NaN, which JSON does not have, where no global move was made."""
    quick = small("sampler.steps=2", "sampler.global_every=5", "training.iterations=2", "training.log_every=1")
    train(quick, tmp_path / "run", quiet)
    lines = (tmp_path / "run/stats.jsonl").read_text().splitlines()
    found = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert [line["global_accept"] for line in found] == [None, None]


def test_images_take_the_cores_that_the_process_is_bound_to(monkeypatch: pytest.MonkeyPatch):
    """And no more than OMP_NUM_THREADS."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 6}, raising=False)
    before, images = torch.get_num_threads(), PRESETS["mnist"].experiment
    try:
        found = []
        for config, processes, asked in ((images, 1, "8"), (images, 2, ""), (images, 1, "2"), (small(), 1, "")):
            monkeypatch.setenv("OMP_NUM_THREADS", asked)
            machine.set_threads(config, processes)
            found.append(torch.get_num_threads())
        assert found == [3, 1, 2, 1]
    finally:
        torch.set_num_threads(before)


def test_a_precision_is_measured_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees a run go on at another precision than it began with, or one that is slower here taken."""
    seconds = {None: 1.0, "bf16": 0.5}
    monkeypatch.setattr(rounding, "pace", lambda stage, _: timing.Pace(seconds[stage.whole.training.precision], 0.0))
    heard = Heard()
    train(small("training.precision=auto", "training.iterations=2"), tmp_path / "a", heard)
    assert "precision bf16: an iteration takes 1 s in float32, 0.5 s in bf16" in heard
    assert Trained.load(Run(tmp_path / "a")).learner.precision == "bf16"
    seconds["bf16"] = 0.95
    train(small("training.precision=auto", "training.iterations=2"), tmp_path / "a", heard)
    assert sum("an iteration takes" in line for line in heard) == 1
    train(small("training.precision=auto", "training.iterations=2"), tmp_path / "b", heard)
    assert Trained.load(Run(tmp_path / "b")).learner.precision is None


def test_a_config_that_was_edited_is_not_believed(tmp_path: Path, uninterrupted: Path):
    """Sees samples of another network, sampler or start than were trained, because a file says so."""
    for group, name, value in (
        ("network", "nonlinearity", "relu"),
        ("sampler", "step_size", 0.5),
        ("start", "fresh", 0.5),
        ("training", "seed", 7),
        ("training", "data_noise", 0.5),
        ("optimizer", "learning_rate", 0.5),
    ):
        run = Path(shutil.copytree(uninterrupted, tmp_path / f"{group}.{name}"))
        config = json.loads((run / "config.json").read_text())
        assert config["experiment"][group][name] != value
        before, config["experiment"][group][name] = config["experiment"][group][name], value
        (run / "config.json").write_text(json.dumps(config))
        with pytest.raises(
            RunError, match=rf"config\.json has changed since .*\n  {group}\.{name} was {before} and is {value}\n"
        ):
            Trained.load(Run(run))
        with pytest.raises(RunError, match="put back what was there"):
            train(resolve(small(), [f"{group}.{name}={value}"]), run, quiet)


def test_units_and_held_out_rows_are_those_of_training(tmp_path: Path):
    """Sees draws in other units, classes of other names, or training rows called held out, as config.json says so."""
    run = Path(shutil.copytree(table_run(tmp_path), tmp_path / "kept"))
    shutil.rmtree(tmp_path / "run")
    whole = (run / "config.json").read_text()
    edits = [
        ('"held_out": 0.2', '"held_out": 0.4', "data.held_out was 0.2 and is 0.4"),
        ('"dependent": false', '"dependent": true', "data.dependent was False and is True"),
        ('"fingerprint": "', '"fingerprint": "0', "data.fingerprint is not that of the checkpoint"),
    ]
    believed = [
        ('"classes": []', '"classes": ["a", "b"]', "data.classes is not that"),
        ('"height"', '"weight"', "data.units is not that"),
    ]
    refused(run, whole, edits)
    (tmp_path / "people.csv").unlink()
    refused(run, whole, edits + believed)
    (run / "config.json").write_text(whole.replace(str(tmp_path / "people.csv"), "moved.csv"))
    Trained.load(Run(run))


def refused(run: Path, whole: str, edits: list[tuple[str, str, str]]) -> None:
    for old, new, says in edits:
        assert old in whole
        (run / "config.json").write_text(whole.replace(old, new))
        with pytest.raises(RunError, match=rf"config\.json has changed since .*\n  {says}"):
            Trained.load(Run(run))


def test_what_a_run_began_without_knowing_stays_as_it_was(tmp_path: Path):
    """Sees settings that a preset gained since then take a run that knew none of them for another one."""
    config = PRESETS["flowers"].experiment
    assert config.network.options["finest"]
    before = json.loads(json.dumps(asdict(config)))
    del before["network"]["finest"]
    Run(tmp_path).write_config({"experiment": before, "versions": {"anila": "0.1.0"}})
    assert as_begun(Run(tmp_path), config).network.options["finest"] is None
    other = as_begun(Run(tmp_path), resolve(config, ["network=vanilla", "stages=none", "objective=likelihood"]))
    assert other.network.name == "vanilla"

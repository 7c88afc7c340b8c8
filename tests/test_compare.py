"""Laws of a comparison: equal gradients, pairs over seeds, and the same numbers however often it was killed."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from anila.reports.comparison import Plan, outcome_of, plan, race
from anila.reports.comparison import trial as trials
from anila.reports.comparison.measure import measure_of
from anila.reports.comparison.outcome import mean_and_error, pair_of, value_and_error, verdict
from anila.reports.comparison.trial import Curve, run_trial
from anila.rng import rng
from anila.runs.experiment import settings
from anila.runs.experiment.build_sampler import build_sampler
from anila.runs.model.trained import Trained
from anila.samplers import SAMPLERS
from anila.samplers.sample import transitions
from tiny import anila

TINY = ["network.hidden=[8]", "network.fourier=4", "training.batch=20", "training.chains=10"]


def tiny(folder: Path, samplers: str = "langevin,mala", seeds: int = 2, budget: int = 120, points: int = 3) -> Plan:
    return plan("rings", TINY, samplers.split(","), seeds, budget, folder, points, samples=20)


def silent(_: str) -> None:
    """Nobody listens."""


def scores_of(planned: Plan) -> list[list[float]]:
    return [[point.score for point in Curve(trial).points()] for trial in planned.trials]


class TestEqualGradients:
    @pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "anisotropic_corrected"])
    @pytest.mark.parametrize("refresh", ["step", "iteration"])
    def test_the_price_of_an_iteration_is_what_is_paid(self, name: str, refresh: str):
        """Sees the gradient ahead, or those of a trajectory, not counted."""
        some = {"threshold": 1.0, "leapfrog_steps": 3, "refresh": refresh}
        own = {key: value for key, value in some.items() if key in settings.Sampler.kind(name).own}
        s = settings.Sampler(name=name, steps=7, **own)
        paid = 0

        def f(x: Tensor) -> Tensor:
            nonlocal paid
            paid += 1
            return -x.square().sum(1) / 2

        transitions(build_sampler(s, f), torch.randn(4, 2, generator=rng(0, "start")), s.steps, rng(0, "chains"))
        assert paid == s.gradients

    def test_every_sampler_gets_the_budget(self, tmp_path: Path):
        planned = tiny(tmp_path, "langevin,mala,hmc,anisotropic", seeds=1, budget=2000)
        for trial in planned.trials:
            spent = trial.config.training.iterations * trial.config.sampler.gradients
            assert 2000 - trial.every * 22 < spent <= 2000
        assert {trial.config.network for trial in planned.trials} == {planned.trials[0].config.network}

    @pytest.mark.parametrize(
        ("samplers", "budget", "message"),
        [
            ("langevin,langevin", 1000, "langevin twice"),
            ("langevin,nuts", 1000, "nuts"),
            ("mala", 50, "buys 2 iterations"),
            ("", 1000, "names none"),
        ],
    )
    def test_what_cannot_be_compared_is_refused(self, tmp_path: Path, samplers: str, budget: int, message: str):
        with pytest.raises(ValueError, match=message):
            plan("rings", TINY, [s for s in samplers.split(",") if s], 1, budget, tmp_path, 3)
        with pytest.raises(ValueError, match="by --samplers"):
            plan("rings", ["sampler=mala"], ["langevin"], 1, 1000, tmp_path)
        with pytest.raises(ValueError, match="clipped is a setting of none of langevin, hmc"):
            plan("rings", [*TINY, "sampler.clipped=0.5"], ["langevin", "hmc"], 1, 1000, tmp_path)

    def test_a_setting_is_for_those_who_have_it(self, tmp_path: Path):
        """Sees langevin refuse to be compared because it has no threshold."""
        planned = plan("rings", [*TINY, "sampler.clipped=0.5"], ["langevin", "anisotropic"], 1, 1000, tmp_path)
        assert [trial.config.sampler.clipped for trial in planned.trials] == [None, 0.5]


class TestPairs:
    def test_a_difference_within_seeds_is_seen_beneath_that_between_seeds(self):
        """Sees pairs broken up: seeds differ by 10, samplers by 1 ± 0.1."""
        hard = torch.tensor([[0.0], [10.0], [20.0], [5.0]], dtype=torch.float64)
        a = hard + torch.tensor([[1.0], [1.1], [0.9], [1.0]])
        pair = pair_of("a", "b", a, hard)
        assert pair.mean == pytest.approx([1.0])
        assert pair.error == pytest.approx([math.sqrt(0.02 / 3 / 4)])
        assert pair.separates == [True]
        assert pair_of("a", "b", a, hard.flip(0)).separates == [False]

    @pytest.mark.parametrize("seeds", [3, 5])
    def test_equals_are_told_apart_one_time_in_twenty(self, seeds: int):
        """Sees the normal law taken for Student's, √n forgotten, or one side of it."""
        d = torch.randn(seeds, 5000, generator=rng(0, "differences"), dtype=torch.float64)
        found = pair_of("a", "b", d, torch.zeros_like(d)).separates
        assert sum(found) / len(found) == pytest.approx(0.05, abs=0.012)  # 4 standard errors

    def test_runs_that_ran_away_are_left_out(self):
        score = torch.tensor([[1.0, 2.0], [3.0, math.inf], [5.0, math.inf]], dtype=torch.float64)
        mean, error = mean_and_error(score)
        assert mean.tolist() == [3.0, 2.0]
        assert error[0] == pytest.approx(2 / math.sqrt(3))
        assert math.isnan(error[1])
        assert pair_of("a", "b", score, torch.zeros_like(score)).separates == [False, False]

    def test_one_seed_tells_nothing(self):
        pair = pair_of("a", "b", torch.ones(1, 2), torch.zeros(1, 2))
        assert "too few runs" in verdict(pair, torch.tensor([1.0, 2.0]))
        assert value_and_error(1.0, pair.error[0]) == "1"


class TestStages:
    STAGED = (*TINY, "stages.1.objective=denoising", "stages.1.iterations=6", "stages.2.iterations=12")

    def planned(self, folder: Path, *samplers: str) -> Plan:
        return plan("rings", [*self.STAGED], list(samplers), 2, 240, folder, 3, samples=20)

    def test_those_without_chains_are_the_same_for_all_and_cost_nothing(self, tmp_path: Path):
        """Sees iterations of denoising counted as gradients of chains, and points that end before the last stage."""
        for trial in self.planned(tmp_path, "langevin", "mala").trials:
            first, last = trial.config.lengths
            each = trial.config.sampler.gradients
            assert first == 6
            assert trial.points[-1] == first + last
            assert [trial.gradients(i) for i in (0, 6, 7, first + last)] == [0, 0, each, last * each]
            assert 0 <= 240 - last * each < 4 * each

    def test_a_whole_comparison(self, tmp_path: Path):
        race(planned := self.planned(tmp_path, "langevin", "anisotropic"), 1, silent)
        outcome = outcome_of(planned)
        assert [int(g) for g in outcome.lines["langevin"].gradients] == [
            planned.trials[0].gradients(i) for i in planned.trials[0].points
        ]
        assert len(outcome.verdicts()) == 1

    def test_training_without_chains_is_refused(self, tmp_path: Path):
        with pytest.raises(ValueError, match="has none: set objective=likelihood"):
            plan("rings", [*TINY, "objective=denoising", "objective.sd=0.3"], ["langevin", "mala"], 1, 100, tmp_path)


@pytest.mark.filterwarnings("ignore:.*of the mass")
def test_a_tempered_sampler_is_measured_by_the_law_it_aims_at(tmp_path: Path):
    """Sees exp f measured: langevin at T on f and mala on f/T have one law, and one KL."""
    hot, exact = (t.config for t in tiny(tmp_path, seeds=1).trials)
    hot = replace(hot, sampler=replace(hot.sampler, temperature=0.1))
    exact = replace(exact, network=replace(exact.network, temperature=0.1))
    runs = [Trained.untrained(replace(c, network=replace(c.network, confine=None))) for c in (hot, exact)]
    found = [measure_of(run, 20).of(run)[0] for run in runs]
    assert found[0] == pytest.approx(found[1], rel=1e-4)


class TestRace:
    def test_killed_anywhere_it_ends_with_the_same_numbers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """Sees a point measured on another checkpoint, measured twice, or lost between checkpoint and measure."""
        whole, cut = (tiny(tmp_path / name, "mala", seeds=1, points=2) for name in ("whole", "cut"))
        race(whole, 1, silent)
        keep = Curve.keep

        def killed(curve: Curve, iteration: int, x: Tensor) -> None:
            if iteration == curve.trial.points[1]:
                raise KeyboardInterrupt
            keep(curve, iteration, x)

        monkeypatch.setattr(Curve, "keep", killed)
        for _ in range(2):  # between the checkpoint and its measure: on the way, and when that is made up for
            with pytest.raises(KeyboardInterrupt):
                race(cut, 1, silent)
        monkeypatch.setattr(Curve, "keep", keep)
        race(cut, 1, silent)
        assert scores_of(cut) == scores_of(whole)
        lines = [json.loads(line) for line in (cut.trials[0].path / "curve.jsonl").read_text().splitlines()]
        assert [line["iteration"] for line in lines] == [*cut.trials[0].points]

    def test_what_is_complete_is_not_done_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        planned = tiny(tmp_path, "langevin", seeds=1)
        race(planned, 1, silent)
        monkeypatch.setattr(trials, "train", None)
        said: list[str] = []
        race(planned, 1, said.append)
        assert said == ["1 of 1 run is complete"]

    def test_a_run_that_runs_away_is_noted_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        planned = tiny(tmp_path, "langevin", seeds=1)
        config = planned.trials[0].config
        wild = replace(config, optimizer=replace(config.optimizer, learning_rate=1e30, warmup=0))
        planned = planned._replace(trials=(planned.trials[0]._replace(config=wild),))
        said: list[str] = []
        race(planned, 1, said.append)
        assert said[0].startswith("run 1 of 1: langevin, seed 0, ")  # before it begins, not only when it ends
        assert "ran away" in said[1]
        assert scores_of(planned) == [[math.inf] * 3]
        monkeypatch.setattr(trials, "train", None)
        run_trial(planned.trials[0], said.append)
        assert outcome_of(planned).lines["langevin"].ran_away == 1

    @pytest.mark.slow
    @pytest.mark.usefixtures("fine")
    def test_several_processes_give_the_same_numbers(self, tmp_path: Path):
        one, many = tiny(tmp_path / "one"), tiny(tmp_path / "many")
        race(one, 1, silent)
        race(many, 2, silent)
        assert scores_of(many) == scores_of(one)

    @pytest.mark.slow
    @pytest.mark.parametrize("jobs", [1, 2])
    def test_kill_nine_and_again(self, tmp_path: Path, jobs: int):
        """Sees orphans that stay or hold the lock of a run, and half a point taken for a whole one."""
        words = ["compare", "rings", *TINY, "--samplers", "langevin,mala", "--seeds", "2", "--budget", "3000"]
        words += ["--points", "10", "--samples", "20", "--jobs", str(jobs), "--json", "--out"]
        command = [sys.executable, "-m", "anila", *words, str(tmp_path / "killed")]
        for seconds in (6, 9):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(seconds)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            for _ in range(60):
                time.sleep(1)
                if not any(Path(f"/proc/{child}").exists() for child in children):
                    break
            else:
                pytest.fail("processes outlive the one that started them")
        killed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        command[-1] = str(tmp_path / "whole")
        whole = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for name in ("langevin", "mala"):
            assert killed["samplers"][name]["mean"] == whole["samplers"][name]["mean"]


@pytest.mark.usefixtures("rendered")
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["compare", "rings", *TINY, "--samplers", "langevin,descent", "--seeds", "1", "--budget", "60"]
    words += ["--points", "3", "--samples", "20", "--out", tmp_path / "out"]
    assert anila(*words) == 0
    printed = capsys.readouterr().out
    assert "| descent |" in printed
    assert "none can be told apart" in printed
    found = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert found["samplers"]["langevin"]["gradients"] == [20, 40, 60]
    assert found["protocol"]["seeds"] == [0]
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 10_000
    assert anila("compare", "rings", "--samplers", "langevn", "--out", tmp_path / "no") == 2
    assert not (tmp_path / "no").exists()
    assert anila(*words, "training.batch=30") == 2  # another comparison in this folder
    assert anila(*words[:-4], "--samples", "30", *words[-2:]) == 2

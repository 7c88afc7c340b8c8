"""Laws of stages: what goes over from one to the next, what begins anew, and that a run is still one function."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file

from anila.reports.diagnosis import thetas_of
from anila.runs.experiment import PRESETS, Experiment, SettingsError, Stage, build, resolve
from anila.runs.experiment.choose import choose
from anila.runs.experiment.saved import current
from anila.runs.folder import checkpoint
from anila.runs.folder.run import Run, RunError
from anila.runs.model.trained import Trained, config_of
from anila.runs.training import plan, timing
from anila.runs.training import train as training
from anila.runs.training.guard import Guard, Trouble, guard_of
from anila.runs.training.preflight import look_ahead
from anila.runs.training.train import train
from test_train import Heard, quiet, stop_at
from tiny import anila

TINY = ["network.hidden=[8]", "network.fourier=4", "training.batch=20", "training.chains=10", "training.log_every=1",
        "training.checkpoint_every=4", "training.picture_every=1000", "optimizer.warmup=2"]  # fmt: skip
STAGES = (
    Stage(iterations=6, changes={"objective": {"name": "transport"}, "training": {"ema": 0.5}}),
    Stage(iterations=5, changes={"objective": {"name": "denoising", "sd": 0.2}, "training": {"ema": 0.8}}),
    Stage(iterations=7, changes={"objective": {"name": "likelihood"}, "optimizer": {"learning_rate": 1e-3}}),
)
END = 18


def staged(*more: str) -> Experiment:
    return resolve(replace(resolve(PRESETS["rings"].experiment, TINY), stages=STAGES), list(more))


def state(run: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint.listed(run / "checkpoints")[-1] / "learner.safetensors")


def lines(run: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in Run(run).lines()]


def assert_equal_runs(a: Path, b: Path) -> None:
    tensors_a, tensors_b = state(a), state(b)
    assert tensors_a.keys() == tensors_b.keys()
    assert all(torch.equal(tensors_a[k], tensors_b[k]) for k in tensors_a)
    assert lines(a) == lines(b)
    assert (a / "series.csv").read_text() == (b / "series.csv").read_text()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "whole"
    train(staged(), path, quiet)
    return path


@pytest.mark.parametrize("stop", [3, 6, 8, 15])
def test_resume_is_bit_equal_in_and_across_stages(tmp_path: Path, uninterrupted: Path, stop: int):
    """Sees anything that a switch takes from memory and a checkpoint does not hold, or a switch made twice."""
    assert train(staged(), tmp_path / "run", quiet, stop_at(stop)).iteration == stop
    heard = Heard()
    assert train(staged(), tmp_path / "run", heard).iteration == END
    assert f"resumed at iteration {stop} of {END}" in heard
    assert_equal_runs(tmp_path / "run", uninterrupted)


def test_one_stage_is_the_run_without_stages(tmp_path: Path):
    """Sees a stage that draws other noise, or has other courses, than the experiment it is."""
    flat = resolve(PRESETS["rings"].experiment, [*TINY, "training.iterations=6"])
    train(flat, tmp_path / "flat", quiet)
    train(replace(flat, stages=(Stage(),)), tmp_path / "one", quiet)
    assert_equal_runs(tmp_path / "one", tmp_path / "flat")


def at_switch(config: Experiment) -> tuple[Trained, dict]:
    """An experiment that has just entered its second stage, and what the first one ended with."""
    trained = Trained.untrained(config)
    for _ in range(trained.end):
        trained.learner.update(*trained.batch())
    before = trained.learner.state_dict()
    trained.enter_next_stage()
    return trained, before


def test_a_stage_begins_with_the_average_of_the_one_before_and_nothing_else():
    """Sees θ drawn anew or not averaged, an average that begins again, or moments of another gradient kept."""
    trained, before = at_switch(staged("stages.2.training.ema=0.3"))
    after = trained.learner.state_dict()
    assert all(torch.equal(after["model"][k], before["ema"][f"module.{k}"]) for k in before["model"])
    assert all(torch.equal(after["ema"][k], before["ema"][k]) for k in before["ema"])
    assert (after["optimizer"]["state"], after["schedule"]["last_epoch"], after["iteration"]) == ({}, 0, 6)
    was = [p.clone() for p in trained.learner.best_model.parameters()]
    trained.learner.update(*trained.batch())
    pairs = zip(was, trained.learner.best_model.parameters(), trained.learner.model.parameters(), strict=True)
    assert all(torch.allclose(mean, 0.3 * old + 0.7 * θ, atol=1e-6) for old, mean, θ in pairs)


def test_courses_run_over_each_stage():
    """Sees a learning rate, noise or temperature that goes on where the stage before left it."""
    sampler = {"name": "langevin", "temperature": 1.0, "final_temperature": 0.01}
    changes = {"objective": {"name": "likelihood"}, "sampler": sampler,
               "training": {"data_noise": 1.0, "final_data_noise": 0.0}}  # fmt: skip
    config = replace(staged("sampler=langevin"), stages=(STAGES[0], Stage(iterations=4, changes=changes)))
    trained, _ = at_switch(config)
    learner = trained.learner
    assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(build.course(config.optimizer, 0, 4) * 5e-3)
    assert callable(learner.data_noise)
    assert [learner.data_noise(i) for i in (6, 8, 10)] == [1.0, 0.5, 0.0]
    assert learner.chains
    temperatures = [learner.chains.sampler.settings(i)["temperature"] for i in (6, 8, 10)]  # pyright: ignore
    assert temperatures == pytest.approx([1.0, 0.1, 0.01])


def in_trouble(monkeypatch: pytest.MonkeyPatch, *at: int) -> None:
    """A guard that sees trouble in these looks of a run."""
    looks: list[int] = []

    def look(self: Guard, metrics: dict[str, float]) -> Trouble | None:  # noqa: ARG001
        looks.append(len(looks) + 1)
        return Trouble("learning", "trouble") if looks[-1] in at else None

    monkeypatch.setattr(Guard, "look", look)


@pytest.mark.parametrize("at", [7, 10, 18])
def test_the_guard_goes_back_no_further_than_the_switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int):
    """Sees a return into the stage before, its learner loaded into this one's, or its settings changed."""
    in_trouble(monkeypatch, at)
    train(staged(), tmp_path / "run", quiet)
    (event,) = Run(tmp_path / "run").events()
    begin = 6 if at < 12 else 11
    assert (event["from"], event["iteration"]) == (at, begin)
    now = Trained.load(Run(tmp_path / "run"))
    assert now.config.optimizer.learning_rate == pytest.approx(2e-4 if at > 11 else 1e-3), "a stage keeps its remedies"
    rates = {line["iteration"]: line["learning_rate"] for line in Run(tmp_path / "run").stats()}
    assert rates[begin + 1] == pytest.approx(1e-4 if at > 11 else 5e-4), "the course of the stage begins again"
    series = Run(tmp_path / "run").series()
    assert series["iteration"] == list(range(1, END + 1))


def test_a_run_that_went_back_to_a_switch_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees a checkpoint at a switch taken for that of the stage before though the guard was there already."""
    in_trouble(monkeypatch, 14)
    train(staged(), tmp_path / "whole", quiet)
    in_trouble(monkeypatch, 14)
    real = training.save

    class Killed(BaseException): ...

    def save_and_die(run: Run, now: Trained, guard: Guard, last: bool = False) -> None:
        real(run, now, guard, last)
        if guard.remedies:
            raise Killed

    monkeypatch.setattr(training, "save", save_and_die)
    with pytest.raises(Killed):
        train(staged(), tmp_path / "parts", quiet)
    monkeypatch.setattr(training, "save", real)
    in_trouble(monkeypatch)
    assert train(staged(), tmp_path / "parts", quiet).iteration == END
    assert_equal_runs(tmp_path / "parts", tmp_path / "whole")


def test_after_the_first_stage_f_knows_something():
    """Sees a guard that waits for f to learn what it has learned, or takes for a fault what chains are to mend."""
    trained, _ = at_switch(replace(staged(), stages=(STAGES[0], STAGES[2])))
    guard, healthy = guard_of(trained), dict.fromkeys(("chain_range", "accept_prob", "energy_sd", "grad_norm"), 1.0)
    gaps = [-4.0] * 20 + [0.0] * 10 + [-2.0] * 10 + [-4.0] * 10
    *before, found = [guard.look(healthy | {"theta_grad_norm": 1.0, "energy_gap": gap}) for gap in gaps]
    assert before[:43] == [None] * 43
    assert found is not None
    assert "above the data" in found.what


@pytest.mark.parametrize("knows", [False, True])
def test_an_f_that_knows_something_may_not_steepen_at_once(knows: bool):
    """Sees a short stage with chains ruin f unseen: r_t tenfold in a few of the first 100 iterations, at a gap of 0.05
    sd. What else grows then may have its reasons, and an f that knows nothing has to become steep.
    """
    guard, row = Guard(knows=knows), dict.fromkeys(("chain_range", "accept_prob", "energy_sd", "grad_norm"), 1.0)
    healthy = [row | {"theta_grad_norm": 10.0 ** (i / 10), "energy_gap": 0.1 * i} for i in range(30)]
    assert [guard.look(now) for now in healthy] == [None] * 30
    slowly = [row | {"grad_norm": 1.1**i} for i in range(40)]
    assert [guard.look(now) for now in slowly] == [None] * 40, "2.6 times in 10 iterations"
    steep = 1.1**40
    found = [guard.look(row | {"grad_norm": 10 * steep, "energy_sd": 1000.0}) for _ in range(10)]
    assert any(found) == knows
    if knows:
        said = next(filter(None, found)).what
        assert said.startswith("the gradient of f grew from")


def test_the_folder_tells_the_stages(uninterrupted: Path):
    """Sees columns of a stage lost or shifted, a switch unsaid, a best checkpoint of a stage that is over."""
    run = Run(uninterrupted)
    series = run.series()
    assert series["iteration"] == list(range(1, END + 1))
    assert [math.isnan(gap) for gap in series["energy_gap"]] == [True] * 11 + [False] * 7
    assert [math.isnan(loss) for loss in series["matching_loss"]] == [False] * 11 + [True] * 7
    assert run.series(after=11)["iteration"] == list(range(12, END + 1))
    assert run.switches() == [6, 11]
    assert run.events() == run.returns() == []
    best = checkpoint.best_of(run.checkpoints)
    assert best is None or int(best.name) > 11
    log = (uninterrupted / "log.txt").read_text()
    assert "stages    transport 6 iterations, denoising 5 iterations, likelihood 7 iterations" in log
    assert "stage     3/3: likelihood, iterations 12 to 18" in log
    assert Trained.load(run).config == staged().stage(3)
    assert config_of(run) == staged()


def test_every_checkpoint_of_a_run_in_stages_is_diagnosed(uninterrupted: Path):
    """Sees `anila diagnose` end in a KeyError at a checkpoint of a stage without chains."""
    run = Run(uninterrupted)
    trained = Trained.load(run)
    at = trained.iteration
    assert len(thetas_of(trained, run)) == len(checkpoint.listed(run.checkpoints)) > 1
    assert trained.iteration == at


@pytest.mark.usefixtures("drawn")
def test_a_picture_is_drawn_at_the_end_of_a_stage(tmp_path: Path):
    """Sees curves of one stage only, and chains asked of a stage that has none."""
    stages = (replace(STAGES[0], iterations=2), replace(STAGES[2], iterations=1))
    train(replace(staged(), stages=stages), tmp_path / "run", quiet)
    found = sorted(path.name for path in (tmp_path / "run/samples").glob("*.png"))
    assert found == ["000000002.png", "000000003.png", "curves.png"]


def test_the_last_stage_may_be_longer_where_its_rate_is_constant(tmp_path: Path):
    """Sees another length of an earlier stage, which would be another run, let through."""
    constant = staged("stages.3.optimizer.decay=constant")
    train(constant, tmp_path / "run", quiet, stop_at(8))
    with pytest.raises(RunError, match=r"stages.2.iterations: 5 -> 6"):
        train(resolve(constant, ["stages.2.iterations=6"]), tmp_path / "run", quiet)
    with pytest.raises(RunError, match=r"stages.3.sampler.steps: 2 -> 3"):
        train(resolve(constant, ["stages.3.sampler.steps=3"]), tmp_path / "run", quiet)
    more = resolve(constant, ["stages.3.iterations=9", "stages.1.training.log_every=2"])
    assert train(more, tmp_path / "run", quiet).iteration == 20


class TestSettings:
    def test_what_is_set_for_all_holds_where_a_stage_says_nothing_else(self):
        config = staged("training.batch=30", "stages.2.training.batch=40", "training.ema=0.1")
        assert [stage.training.batch for stage in config.flat] == [30, 40, 30]
        assert [stage.training.ema for stage in config.flat] == [0.5, 0.8, 0.1]
        assert (config.lengths, config.iterations) == ([6, 5, 7], END)
        assert all(stage.stages == () for stage in config.flat)

    def test_stages_can_be_made_and_left_out_in_words(self):
        """Sees a stage that keeps what its former choice had."""
        assert staged("stages=none", "training.iterations=9").lengths == [9]
        words = ["stages=none", "stages.1.objective=transport", "stages.1.iterations=3", "stages.2.sampler=langevin"]
        config = staged(*words, "training.iterations=4")
        assert [stage.objective.name for stage in config.flat] == ["transport", "likelihood"]
        assert (config.lengths, config.stage(2).sampler.name) == ([3, 4], "langevin")
        hmc = staged("stages.3.sampler=hmc", "stages.3.sampler.leapfrog_steps=3")
        assert resolve(hmc, ["stages.3.sampler=mala"]).stage(3).sampler.name == "mala"

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("objective=likelihood", "each stage has its own objective: set stages.1.objective=…, or leave the stages"),
            ("objective.sd=0.3", "each stage has its own objective.sd: set stages.1.objective.sd=…"),
            ("training.iterations=3", "each stage has its own iterations: set stages.1.iterations=…"),
            ("stages.2.objective.sdd=3", "stage 2: unknown setting 'objective.sdd'; did you mean 'objective.sd'"),
            ("stages.1.smapler=mala", "stage 1: unknown setting 'smapler'; did you mean 'sampler'"),
            ("stages.1.training.batch=x", "stage 1: training.batch: input should be a valid integer"),
            ("trainig.batch=3", "command line: unknown setting 'trainig'; did you mean 'training'"),
            ("stages.1.share=0", "stages.1.share: input should be greater than 0"),
            (
                "stages.1.network.hidden=[3]",
                "stage 1: network.hidden applies to the whole run and cannot change in a stage",
            ),
            ("stages.1.training.seed=3", "stage 1: training.seed applies to the whole run"),
            ("stages.1.training.iterations=3", "set stages.1.iterations"),
            ("stages.5.iterations=3", "stages being numbered 1 to 3; got stages.5.iterations"),
            ("stages=2", "expected stages=none"),
            ("stages.3.start.size=3", "stage 3: start.size=3 keeps fewer chains than the 10 that run"),
            ("training.minutes=1 stages.1.iterations=3", "training.minutes plans the iterations"),
        ],
    )
    def test_a_mistake_says_what_to_type(self, words: str, message: str):
        with pytest.raises(SettingsError) as error:
            staged(*words.split())
        assert message in str(error.value)

    def test_settings_go_round_through_json_and_toml(self, tmp_path: Path):
        """Sees a stage, or a tuple in one, that is not what it was when it is read again."""
        config = staged("stages.1.share=0.4")
        saved = json.loads(json.dumps(asdict(config)))
        assert TypeAdapter(Experiment).validate_python(current(saved)) == config
        file = tmp_path / "mine.toml"
        file.write_text(
            'preset = "rings"\n[[stages]]\niterations = 6\nobjective = "transport"\n'
            "[[stages]]\nshare = 2\n[stages.sampler]\nsteps = 20\n"
        )
        _, found = choose(str(file), ["training.iterations=8"])
        assert [(s.objective.name, s.sampler.steps) for s in found.flat] == [("transport", 2), ("likelihood", 20)]
        assert (found.lengths, found.stages[1].share) == ([6, 8], 2.0)
        file.write_text(file.read_text().replace("steps", "stepps"))
        with pytest.raises(SettingsError, match=r"mine\.toml:8: stage 2: unknown setting 'sampler.stepps'"):
            choose(str(file), [])


class TestMinutes:
    PACES = (timing.Pace(0.5, 0.0), timing.Pace(0.25, 5.0), timing.Pace(2.0, 20.0))

    @pytest.fixture
    def measured(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The stages that were measured: at 0.5 s, 0.25 s and 2 s an iteration, chains taking time before it."""
        seen: list[int] = []

        def pace(trained: Trained, number: int) -> timing.Pace:  # noqa: ARG001
            seen.append(number)
            return self.PACES[number - 1]

        monkeypatch.setattr(plan, "pace", pace)
        return seen

    def config(self, *more: str) -> Experiment:
        shares = ["stages.1.share=2", "stages.2.share=3", "stages.3.share=5"]
        return staged(*shares, "training.minutes=0.5", *more)

    def test_minutes_become_iterations_once(self, tmp_path: Path, measured: list[int]):
        """Sees a run that is measured anew when it goes on, and so is no function of its settings any more."""
        heard = Heard()
        train(self.config(), tmp_path / "run", heard, stop_at(13))
        assert measured == [1, 2, 3]
        assert "0.5 minutes: transport 12 iterations, denoising 16 iterations, likelihood 1 iteration" in heard
        saved = config_of(Run(tmp_path / "run"))
        assert (saved.lengths, saved.training.minutes) == ([12, 16, 1], 0.5)
        assert train(self.config(), tmp_path / "run", quiet).iteration == 29
        assert measured == [1, 2, 3]
        with pytest.raises(RunError, match="training.minutes: 0.5 -> 1.0"):
            train(resolve(self.config(), ["training.minutes=1"]), tmp_path / "run", quiet)
        train(self.config(), tmp_path / "run", quiet, overwrite=True)
        assert measured == [1, 2, 3] * 3

    @pytest.mark.usefixtures("measured")
    def test_a_planned_run_is_the_run_of_those_iterations(self, tmp_path: Path):
        train(self.config(), tmp_path / "planned", quiet)
        given = [f"stages.{k}.iterations={n}" for k, n in enumerate((12, 16, 1), 1)]
        train(staged(*given), tmp_path / "given", quiet)
        assert_equal_runs(tmp_path / "planned", tmp_path / "given")

    @pytest.mark.usefixtures("measured")
    def test_a_run_without_stages_can_be_planned(self, tmp_path: Path):
        flat = staged("stages=none", "training.minutes=0.1")
        assert train(flat, tmp_path / "run", quiet).iteration == 12
        assert train(flat, tmp_path / "run", quiet).iteration == 12

    def test_iterations_that_are_given_plan_nothing(self):
        config = resolve(self.config(), ["stages.1.iterations=3"])
        assert (config.training.minutes, config.lengths[0]) == (None, 3)

    def test_measuring_moves_nothing(self):
        """Sees a learner that has learned before its first iteration."""
        trained = Trained.untrained(staged())
        before = [p.clone() for p in trained.learner.model.parameters()]
        paces = [timing.pace(trained, number) for number in (1, 2, 3)]
        assert all(pace.iteration > 0 for pace in paces)
        assert all(map(torch.equal, before, trained.learner.model.parameters()))
        assert (trained.learner.iteration, trained.number) == (0, 1)


def test_a_dry_run_and_a_profile_tell_each_stage(capsys: pytest.CaptureFixture[str]):
    words = ["rings", *TINY, "training.iterations=3", "stages.1.objective=transport", "stages.2.sampler.steps=3"]
    assert anila("train", *words, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "[stages.2.sampler]  steps=3" in out
    assert "stage     1/2: transport, iterations 1 to 3" in out
    assert "stage     2/2: likelihood, iterations 4 to 6" in out
    assert anila("train", *words, "--profile") == 0
    assert "stage 2/2: likelihood" in capsys.readouterr().out
    assert look_ahead(staged()).description[-1].startswith("in all")


def test_the_progress_says_the_stage(capsys: pytest.CaptureFixture[str]):
    from anila.cli.progress import Progress

    shown: list[tuple[int, int, str]] = []
    progress = Progress(lambda *what: shown.append(what))
    progress.begin(staged())
    progress.watch(6, {"matching_loss": 0.5})
    progress.watch(12, {"energy_gap": 0.25})
    assert [(i, total, text.split("  ")[0]) for i, total, text in shown] == [
        (6, END, "1/3 transport"), (12, END, "3/3 likelihood"),
    ]  # fmt: skip
    assert "gap 0.25" in shown[1][2]
    assert not capsys.readouterr().out

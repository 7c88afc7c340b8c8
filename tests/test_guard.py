"""The divergence guard: what it must see, what it must not, and where training goes on."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from anila.data import Rows
from anila.evaluation.training import course, regime
from anila.learning.chains import NotFinite
from anila.learning.learner import Learner
from anila.learning.objectives import OBJECTIVES, Contrast, Objective
from anila.rng import rng
from anila.runs.experiment import PRESETS, Experiment, resolve
from anila.runs.folder import checkpoint
from anila.runs.folder.run import Run
from anila.runs.model import trained
from anila.runs.model.trained import Trained
from anila.runs.training import train as training
from anila.runs.training.guard import CHANGES, PATIENCE, Diverged, Guard, Trouble, what_to_change
from anila.runs.training.train import train
from anila.samplers import SAMPLERS
from tiny import quiet

HEALTHY = {
    "energy_gap": 0.05, "energy_sd": 0.2, "grad_norm": 0.08, "theta_grad_norm": 1.0, "chain_range": 3.0,
    "clipped": 0.05, "accept_prob": 1.0,
}  # fmt: skip


def small(*overrides: str) -> Experiment:
    quick = [
        "training.iterations=60",
        "training.batch=20",
        "training.chains=20",
        "training.log_every=1",
        "training.checkpoint_every=15",
        "training.picture_every=99",
        "network.hidden=[8]",
        "network.fourier=0",
        "sampler.global_every=0",
    ]
    return resolve(PRESETS["rings"].experiment, [*quick, *overrides])


def after_learning(iterations: int = 150) -> Guard:
    """A guard that has seen training learn and settle, with the noise such metrics have."""
    guard, generator = Guard(), rng(0, "metrics")
    for i in range(iterations):
        noise = 1 + 0.3 * torch.randn((), generator=generator).item()
        early = {"grad_norm": 0.003, "energy_gap": 0.5, "energy_sd": 0.05} if i < 20 else {}
        assert guard.look(HEALTHY | {"energy_gap": 0.05 * noise} | early) is None
    return guard


def seen(guard: Guard, **faults: float) -> tuple[int, Trouble]:
    """After how many iterations of these metrics the guard sees something, and what."""
    for i in range(1, 2 * PATIENCE):
        trouble = guard.look(HEALTHY | faults)
        if trouble:
            return i, trouble
    raise AssertionError(f"{faults} was not seen")


@pytest.mark.parametrize(
    ("faults", "cause", "words"),
    [
        ({"energy_gap": -1.0}, "learning", "steps in θ are too long"),
        ({"energy_gap": 0.2, "energy_sd": 0.05}, "learning", "no longer catch up"),
        ({"energy_gap": 4.0, "energy_sd": 4.0}, "learning", "the energy gap grew"),
        ({"grad_norm": 3.0}, "learning", "the gradient of f grew"),
        ({"theta_grad_norm": 50.0}, "learning", "the gradient in θ grew"),
        ({"clipped": 0.8}, "learning", "of the coordinates are clipped"),
        ({"chain_range": 50.0}, "chains", "as far out as the data"),
    ],
)
def test_each_symptom_is_seen_within_twenty_iterations(faults: dict[str, float], cause: str, words: str):
    """Sees each rule switched off."""
    i, trouble = seen(after_learning(), **faults)
    assert i <= 20
    assert trouble.cause == cause
    assert words in trouble.what


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_an_objective_reports_is_enough_to_judge_it(name: str):
    """Sees a rule that looks for a metric which an objective of this kind does not report."""
    watched = OBJECTIVES[name]().watched
    guard = Guard(watched)
    assert [guard.look({m.name: 1.0 for m in watched}) for _ in range(2 * PATIENCE)] == [None] * 2 * PATIENCE
    series = {"iteration": [float(i) for i in range(100)]} | {m.name: [1.0, 1.1] * 50 for m in watched if m.in_series}
    assert regime(course(series, watched)).lines


def test_a_value_that_came_again_is_no_chance_later_either():
    """Sees returns spent on changing nothing after it was known that something must change."""
    guard, trouble = Guard(), Trouble("learning", "f = nan", finite=False)
    assert guard.may_be_chance(trouble, 30)
    guard.repeated.append(30)
    assert guard.may_be_chance(trouble, 40)
    guard.remedies.append("sampler.step_size=0.1")
    assert not guard.may_be_chance(trouble, 50)


def test_what_follows_from_chains_far_out_is_theirs():
    """Sees a gradient that is not finite because chains ran away laid on the learning rate."""
    error = NotFinite(7, "f(data) = 300, f(chains) = -inf, ‖∇θ‖ = nan", "learning")
    guard, causes = Guard(), []
    for far in (3.0, 1e9):
        guard.look(HEALTHY | {"chain_range": far})
        causes.append(guard.not_finite(error).cause)
    assert causes == ["learning", "chains"]
    assert Guard().not_finite(error).cause == "learning"


def test_chains_that_never_move_are_seen():
    i, trouble = seen(after_learning(), accept_prob=0.0)
    assert (i, trouble.cause) == (PATIENCE, "chains")


def test_the_gap_before_chains_respond_is_no_trouble():
    """Sees the separation every training starts with called a divergence: f learns, the chains have not moved yet."""
    guard = Guard()
    for i in range(200):
        gap = 0.001 * 1.05**i
        assert guard.look(HEALTHY | {"energy_gap": gap, "energy_sd": 0.01, "grad_norm": 0.003}) is None


def test_thresholds_that_clip_from_the_start_are_no_trouble():
    """The papers' printed thresholds clip nearly every coordinate all the time."""
    guard = Guard()
    assert all(guard.look(HEALTHY | {"clipped": 0.95}) is None for _ in range(200))


def test_changes_come_in_the_documented_order():
    config, guard = PRESETS["flowers-chains"].experiment, Guard()
    keys = []
    for _ in range(5):
        guard.remedies.append(guard.remedy(Trouble("learning", ""), config))
        key, _, value = guard.remedies[-1].partition("=")
        group, field = key.split(".")
        assert float(value) == pytest.approx(getattr(getattr(config, group), field) * CHANGES[key], rel=1e-5)
        config = resolve(config, guard.remedies[-1:])
        keys.append(field)
    assert keys == ["learning_rate", "learning_rate", "steps", "step_size", "learning_rate"]
    assert Guard().remedy(Trouble("chains", ""), config).startswith("sampler.step_size=")
    adaptive = resolve(config, ["sampler=mala", "sampler.temperature=1", "sampler.accept=0.57"])
    assert Guard().remedy(Trouble("chains", ""), adaptive).startswith("optimizer.learning_rate=")


def test_the_guard_goes_on_from_its_state():
    """Sees memory lost on resume, which would see trouble at another iteration."""
    there = after_learning()
    there.remedies, there.repeated, there.returned = ["sampler.steps=4"], [140], 120
    back = Guard()
    back.load_state_dict(json.loads(json.dumps(there.state_dict())))
    assert seen(there, energy_gap=-1.0) == seen(back, energy_gap=-1.0)
    assert there.state_dict() == back.state_dict()


def inject(monkeypatch: pytest.MonkeyPatch, at: int, times: int = 1) -> list[int]:
    """NaN in the gradient in θ of an iteration, so many times; where θ was then is noted."""
    real, seen_at = Learner.gradient, []

    def gradient(self: Learner, objective: Objective, contrasts: list[Contrast]) -> dict[str, float]:
        if self.iteration == at and len(seen_at) < times:
            seen_at.append(at)
            contrasts = [contrast._replace(up=contrast.up * math.nan) for contrast in contrasts]
        return real(self, objective, contrasts)

    monkeypatch.setattr(Learner, "gradient", gradient)
    return seen_at


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch):
    """Short runs whose chains follow f at once."""
    monkeypatch.setattr(Guard, "settling", False)


def learned(run: Path) -> dict[str, torch.Tensor]:
    """Everything that a run ended with: θ, its average, the optimiser, chains."""
    return load_file(checkpoint.listed(run / "checkpoints")[-1] / "learner.safetensors")


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_after_one_nan_a_run_ends_as_if_it_had_not_been(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees NaN trained on, a setting changed for a fault that does not come again, or a part of the past lost."""
    train(small(), tmp_path / "healthy", quiet)
    hits = inject(monkeypatch, at=50)
    said: list[str] = []
    train(small(), tmp_path / "run", said.append)
    assert hits == [50]
    (event,) = Run(tmp_path / "run").events()
    assert (event["from"], event["iteration"], event["change"]) == (50, 45, "nothing changed")
    assert "f(data) = nan" in event["why"]
    assert any("Back to iteration 45, as it was" in line for line in said)
    assert any("the divergence guard went back: from 50 back to 45 with nothing changed" in line for line in said)
    assert equal(learned(tmp_path / "healthy"), learned(tmp_path / "run"))


@pytest.mark.usefixtures("settled")
def test_a_nan_that_comes_again_is_rolled_back_explained_and_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees NaN trained on, a checkpoint too new to be proved good, or a change that is not made."""
    hits = inject(monkeypatch, at=45, times=2)
    said: list[str] = []
    outcome = train(small(), tmp_path / "run", said.append)
    assert hits == [45, 45]
    assert outcome.iteration == 60
    run = Run(tmp_path / "run")
    first, event = run.events()
    assert (first["iteration"], first["change"]) == (45, "nothing changed")
    was = small().optimizer.learning_rate
    assert event["from"] == 45
    assert event["iteration"] == 15, "the newest checkpoint that 20 iterations have proved"
    assert event["change"] == f"optimizer.learning_rate={was / 5:.6g}"
    assert "f(data) = nan" in event["why"]
    assert any("Back to iteration 15, now with optimizer.learning_rate=" in line for line in said)
    assert [line["iteration"] for line in run.stats()] == list(range(1, 61))
    rates = [line["learning_rate"] for line in run.stats()]
    assert rates[15] / rates[14] == pytest.approx(0.2, rel=0.1), "the course goes on at the changed rate"
    back = Trained.load(run)
    assert back.config.optimizer.learning_rate == pytest.approx(was / 5)
    assert all(bool(torch.isfinite(p).all()) for p in back.f.parameters())


@pytest.mark.usefixtures("settled")
def test_a_run_that_went_back_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees changes, or how often they were made, forgotten by a checkpoint."""
    inject(monkeypatch, at=45, times=2)
    train(small(), tmp_path / "whole", quiet)
    inject(monkeypatch, at=45, times=2)
    real = training.save

    class Killed(BaseException): ...

    def save_and_die(run: Run, now: Trained, guard: Guard, last: bool = False) -> None:
        real(run, now, guard, last)
        if guard.remedies and now.learner.iteration == 30:
            raise Killed

    monkeypatch.setattr(training, "save", save_and_die)
    with pytest.raises(Killed):
        train(small(), tmp_path / "parts", quiet)
    monkeypatch.setattr(training, "save", real)
    assert train(small(), tmp_path / "parts", quiet).iteration == 60
    assert equal(learned(tmp_path / "whole"), learned(tmp_path / "parts"))
    assert Run(tmp_path / "whole").events() == Run(tmp_path / "parts").events()


def test_a_checkpoint_from_before_the_chains_followed_is_no_place_to_go_back_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Sees training resumed, more slowly, from the transient that every training starts with."""
    inject(monkeypatch, at=45, times=2)
    monkeypatch.setattr(Guard, "settling", True)
    train(small(), tmp_path / "run", quiet)
    assert [event["iteration"] for event in Run(tmp_path / "run").events()] == [45, 0]


@pytest.mark.usefixtures("settled")
def test_it_gives_up_with_what_it_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees endless returns, and a reason that leaves out what was tried."""
    hits = inject(monkeypatch, at=25, times=1000)
    with pytest.raises(
        Diverged, match=r"training stopped at iteration 25: f\(data\) = nan.*Tried: .*learning_rate.*steps"
    ):
        train(small("training.rollbacks=4"), tmp_path / "run", quiet)
    assert len(hits) == 5
    path, notices = checkpoint.newest(tmp_path / "run/checkpoints")
    assert path is not None
    assert not notices


def test_a_learning_rate_far_too_high_is_caught_and_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Small images: f rates the chains far above the data until the guard has brought the rate down."""
    blobs = (torch.randn(200, 1, 16, 16, generator=rng(0, "blobs")).cumsum(-1).cumsum(-2) / 20).clamp(-1, 1)
    monkeypatch.setattr(trained, "build_data", lambda _: Rows(blobs, "blobs"))
    config = resolve(
        PRESETS["mnist-chains"].experiment,
        ["network.width=4", "training.batch=16", "sampler.steps=10", "start.size=100", "sampler=langevin",
         "sampler.step_size=10", "training.iterations=120", "training.checkpoint_every=20", "training.log_every=1",
         "optimizer.learning_rate=0.05", "optimizer.warmup=20", "training.picture_every=1000", "training.threads=1"],
    )  # fmt: skip
    train(config, tmp_path / "run", quiet)
    run = Run(tmp_path / "run")
    assert run.events()[0]["from"] <= 20
    ratios = [line["energy_gap"] / line["energy_sd"] for line in run.stats()[-20:]]
    assert abs(sum(ratios) / 20) < 0.5


@pytest.mark.parametrize("limit", ["none", "1"])
@pytest.mark.parametrize("sampler", [*SAMPLERS])
@pytest.mark.parametrize("chains", [True, False])
def test_what_to_change_is_not_done_already(sampler: str, limit: str, chains: bool):
    """Sees a Metropolis sampler advised to who uses one, a limit to who has one, a step to who has no chains."""
    config = resolve(PRESETS["rings"].experiment, [f"sampler={sampler}", f"training.max_grad_norm={limit}"])
    said = what_to_change(config, chains)
    assert ("use a Metropolis sampler" in said) == (chains and not config.sampler.kernel.exact)
    assert ("set training.max_grad_norm" in said) == (limit == "none")
    assert ("sampler.step_size" in said) == (chains and config.sampler.accept is None)
    assert said.startswith("Lower optimizer.learning_rate")
    if config.sampler.kernel.exact:
        steered = resolve(config, ["sampler.accept=0.5"])
        assert "step_size" not in what_to_change(steered, chains)

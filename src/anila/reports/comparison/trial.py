"""One trial: a run that is trained, scored in points along its way, and goes on where it was killed.

The run is that of `anila train`; beside it

curve.jsonl         a line a point: iteration, gradients, seconds, score; the last may say where it ran away
shown/NUMBER.…      some samples of each point

A point is measured on the checkpoint of its iteration, so a run killed between the two is measured when it goes on.
Seconds are CPU seconds of the process where the net is on the CPU, which other processes do not slow down, and seconds
of the clock elsewhere; what scoring takes is left out.
"""

import json
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from anila.messages import as_json
from anila.reports.comparison.measure import Measure, measure_of
from anila.reports.comparison.plan import Trial
from anila.runs.folder import checkpoint
from anila.runs.folder.run import Run, RunError, append_line
from anila.runs.folder.whole import whole_file, write_atomically
from anila.runs.model.trained import Trained, config_of
from anila.runs.training.guard import Diverged
from anila.runs.training.machine import set_threads
from anila.runs.training.resume import CHANGEABLE, accepting_code, differences, flat
from anila.runs.training.train import train, unsaid

SHOWN = 1000
"""Points, or numbers of 64 images, that are kept of each point."""


class Point(NamedTuple):
    """What a run was at an iteration."""

    iteration: int
    gradients: int
    """Evaluations of ∇f a chain."""
    seconds: float
    score: float
    """Infinite where the run had run away before."""


class Stopped(Exception):
    """A signal stopped a trial; it is saved."""

    def __init__(self, number: int):
        super().__init__(f"stopped by signal {number}")
        self.number = number


def run_trial(trial: Trial, say: Callable[[str], None]) -> None:
    """Train and score a trial, or what is left of it.

    Args:
        trial: Which.
        say: Takes a line for the user.

    Raises:
        Stopped: After a signal.
        RunError: If the folder holds another run.
    """
    curve = Curve(trial)
    if curve.complete:
        return
    set_threads(trial.config)
    trained = Trained.untrained(trial.config)
    measure = measure_of(trained, trial.samples)
    look = partial(curve.look, trained, measure)
    for path in checkpoint.listed(Run(trial.path).checkpoints):
        look(int(path.name))
    clock = Clock(trained.device)

    def watch(iteration: int, _: dict[str, float]) -> None:
        clock.tick()
        if iteration in trial.points:
            look(iteration, clock.pace)
            clock.skip()

    try:
        outcome = train(trial.config, trial.path, unsaid, watch)
    except Diverged as error:
        curve.end(Run(trial.path), str(error))
        say(f"{trial.sampler}, seed {trial.seed}: ran away; {error}")
        return
    if outcome.stopped_by is not None:
        raise Stopped(outcome.stopped_by)
    if not curve.complete:
        raise RunError(f"{trial.path.absolute()} was scored at other points; give the same --points, or another folder")
    last = curve.points()[-1]
    say(f"{trial.sampler}, seed {trial.seed}: {measure.name} {last.score:.4g} after {last.seconds:.0f} s")


def require_same(trial: Trial) -> None:
    """Refuse the folder of another trial.

    Raises:
        RunError: Saying what differs.
    """
    run = Run(trial.path)
    if run.config() is None:
        return
    now = {name: value for name, value in flat(trial.config).items() if name not in CHANGEABLE}
    before = flat(config_of(run))
    differing = differences(before, now)
    counts = {line["samples"] for line in Curve(trial).lines() if "samples" in line} - {trial.samples}
    differing += [f"samples a score: {count} -> {trial.samples}" for count in counts]
    if differing:
        raise RunError(
            f"{trial.path.absolute()} holds a run with other settings:\n  " + "\n  ".join(differing)
            + "\nrepeat its settings to continue, or choose another folder"
            + "".join(f"\n{line}" for line in accepting_code(before, now))
        )  # fmt: skip


class Clock:
    """Seconds an iteration, those of scoring left out; the first iteration after a start is not timed.

    Args:
        device: Where the net is.
    """

    def __init__(self, device: torch.device):
        self.now = time.process_time if device.type == "cpu" else time.perf_counter
        self.last: float | None = None
        self.total, self.ticks = 0.0, 0

    def tick(self) -> None:
        """An iteration has ended."""
        now = self.now()
        if self.last is not None:
            self.total, self.ticks = self.total + now - self.last, self.ticks + 1
        self.last = now

    def skip(self) -> None:
        """What came since does not count."""
        self.last = self.now()

    @property
    def pace(self) -> float:
        """Seconds an iteration; NaN before the second."""
        return self.total / self.ticks if self.ticks else math.nan


class Curve:
    """The points of a trial, in its folder.

    Args:
        trial: Which.
    """

    def __init__(self, trial: Trial):
        self.trial = trial
        self.path, self.shown = trial.path / "curve.jsonl", trial.path / "shown"

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to do."""
        lines = self.lines()
        return any("ran_away" in line for line in lines) or {n["iteration"] for n in lines} >= {*self.trial.points}

    def lines(self) -> list[dict[str, Any]]:
        """What was written, whole lines only, the last of an iteration."""
        if not self.path.exists():
            return []
        found = {}
        for text in self.path.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
                found[line["iteration"]] = line
            except (ValueError, KeyError, TypeError):
                continue
        return [found[i] for i in sorted(found)]

    def points(self) -> list[Point]:
        """The points so far; those after a run ran away have an infinite score."""
        found = {line["iteration"]: line for line in self.lines() if "ran_away" not in line}
        rows = []
        for i in self.trial.points:
            line = found.get(i, {})
            score, seconds = line.get("score"), line.get("seconds")
            if line or self.ran_away:
                rows.append(
                    Point(
                        i,
                        self.trial.gradients(i),
                        math.nan if seconds is None else seconds,
                        math.inf if score is None else score,
                    )
                )
        return rows

    @property
    def ran_away(self) -> str | None:
        """Where and why the run ended early."""
        return next((line["ran_away"] for line in self.lines() if "ran_away" in line), None)

    def look(self, trained: Trained, measure: Measure, iteration: int, pace: float = math.nan) -> None:
        """Score the checkpoint of an iteration, if it is a point that is not scored.

        Args:
            trained: Takes the checkpoint's parameters.
            measure: Scores it.
            iteration: Which.
            pace: Seconds an iteration.
        """
        before = [line for line in self.lines() if line["iteration"] <= iteration]
        if iteration not in self.trial.points or (before and before[-1]["iteration"] == iteration):
            return
        try:
            trained.restore(Run(self.trial.path).checkpoints / f"{iteration:09d}")
        except checkpoint.Damaged:
            return
        score, x = measure.of(trained)
        last = before[-1] if before else {"iteration": 0, "seconds": 0.0}
        pace = last.get("pace") or math.nan if math.isnan(pace) else pace
        seconds = (last["seconds"] or 0.0) + (iteration - last["iteration"]) * pace
        self.keep(iteration, x)
        line = {"iteration": iteration, "seconds": seconds, "pace": pace, "score": score}
        append_line(self.path, as_json(line | {"samples": self.trial.samples}))

    def keep(self, iteration: int, x: Tensor) -> None:
        """Some of the samples of a point."""
        self.shown.mkdir(exist_ok=True)
        shown = x[:64] if x.ndim == 4 else x[:SHOWN]
        with whole_file(self.shown / f"{iteration:09d}.safetensors") as file:
            file.write(save({"x": shown.half().contiguous()}))

    def samples(self, iteration: int) -> Tensor | None:
        """What `keep` kept."""
        path = self.shown / f"{iteration:09d}.safetensors"
        return load_file(path)["x"].float() if path.exists() else None

    def end(self, run: Run, why: str) -> None:
        """Note that the run ran away."""
        lines = self.lines()
        i = max([line["iteration"] for line in lines], default=0) + 1
        text = "".join(json.dumps(line) + "\n" for line in [*lines, {"iteration": i, "ran_away": why}])
        run.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, text)

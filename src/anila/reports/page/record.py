"""What the folder of a run says without its model: the settings, how far it came, how it ended, how good it is."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from anila.evaluation import training
from anila.evaluation.training.metric import KL, Metric
from anila.evaluation.training.regime import AWAY, AWAY_REMEDIES
from anila.messages import counted
from anila.reports.page.command import command_of
from anila.runs.catalogue import KNOWN_TO
from anila.runs.experiment import Experiment
from anila.runs.experiment.build import build_objective
from anila.runs.folder import checkpoint
from anila.runs.folder.lock import holder_of
from anila.runs.folder.run import Run
from anila.runs.model.trained import config_of


@dataclass(frozen=True)
class Status:
    """How a run ended, if it did."""

    word: Literal["complete", "training", "stopped", "failed", "not begun"]
    text: str


@dataclass(frozen=True)
class Record:
    """A run as its folder has it.

    Args:
        run: The folder.
        saved: What config.json says.
        config: The settings in it.
    """

    run: Run
    saved: dict[str, Any]
    config: Experiment

    @classmethod
    def of(cls, path: Path) -> "Record":
        """The run in a folder.

        Raises:
            RunError: If there is none, or its settings cannot be read.
        """
        run = Run.existing(path)
        return cls(run, run.config() or {}, config_of(run))

    @property
    def name(self) -> str:
        """What people call it: the folder."""
        return self.run.path.absolute().name

    @cached_property
    def stats(self) -> list[dict[str, Any]]:
        return self.run.stats()

    @cached_property
    def iteration(self) -> int:
        """Iterations that were done, and are written down."""
        saved = [int(path.name) for path in checkpoint.listed(self.run.checkpoints)]
        return max([0, *saved, *(line["iteration"] for line in self.stats)])

    @cached_property
    def status(self) -> Status:
        """How it ended."""
        done, planned = self.iteration, self.config.iterations
        if self.failure:
            where = f"iteration {self.failure['iteration']:,} of {planned:,}"
            return Status("failed", f"Training ran away at {where} and was stopped: {self.failure['why']}.")
        if done >= planned:
            fitted = self.config.objective.name == "none"
            made = f"All {planned:,} iterations are done." if planned > 1 else "Its one iteration is done."
            return Status("complete", "Fitted in closed form." if fitted else made)
        if holder := holder_of(self.run.path / "lock"):
            return Status("training", f"Iteration {done:,} of {planned:,}; {holder} is training here now.")
        if not done:
            return Status("not begun", f"None of {counted(planned, 'iteration')} was recorded.")
        return Status("stopped", f"Stopped at iteration {done:,} of {planned:,}. Run the same command to continue.")

    @cached_property
    def failure(self) -> dict[str, Any] | None:
        """Where and why it was given up."""
        return self.run.failure()

    @cached_property
    def scores(self) -> dict[str, Any]:
        """What `anila evaluate` found; empty before."""
        return {name: value for name, value in self.run.scores().items() if value is not None}

    @cached_property
    def diagnosis(self) -> dict[str, Any]:
        """What `anila diagnose` found; empty before."""
        return self.run.diagnosis()

    @property
    def preset(self) -> str | None:
        """The preset that it began with; None if it began with data or a file."""
        name = self.saved.get("preset")
        return name if name in KNOWN_TO else None

    @cached_property
    def metrics(self) -> list[Metric]:
        """What the objectives of its stages report, if it can change with its kernel and plots show it, and the KL."""
        stages = [(stage.sampler.kernel, build_objective(stage).watched) for stage in self.config.flat]
        watched = [metric for kernel, metrics in stages for metric in metrics if getattr(kernel, metric.needs, True)]
        return [metric for metric in {m.name: m for m in (*watched, KL)}.values() if metric.title]

    @cached_property
    def lines(self) -> list[str]:
        """The verdict in plain words: that of `anila diagnose`, else what the series allow to say."""
        if self.failure:
            remedies = [f"do this: {remedy}" for remedy in AWAY_REMEDIES]
            returns = [f"the divergence guard went back: {words}" for words in self.run.returns()]
            return [f"{AWAY}: {self.failure['why']}", *remedies, *returns]
        if self.diagnosis.get("lines"):
            return [str(line) for line in self.diagnosis["lines"]]
        last, ends = self.config.flat[-1], [0, *self.config.ends]
        begun = ends[-2] if self.iteration > ends[-2] else 0
        watched = build_objective(last if begun == ends[-2] else self.config.flat[0]).watched
        try:
            course = training.course(self.run.series(after=begun), watched)
        except (KeyError, RuntimeError):  # written by a version that kept other series
            course = None
        return list(training.regime(course, returns=self.run.returns()).lines)

    @cached_property
    def command(self) -> str | None:
        """What to type for the same run again."""
        return command_of(self.config, self.saved.get("preset"), self.run.path)

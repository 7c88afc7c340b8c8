"""`training.precision=auto`: the faster precision on this machine, measured before a run begins and recorded in it.

Some processors have no instructions for bf16 and take several times as long with it; on others, and on GPUs, it halves
the time of an iteration. A run keeps the precision with which it began, on any machine.
"""

from dataclasses import replace
from typing import Literal

from anila.messages import Say
from anila.runs.experiment import Experiment
from anila.runs.experiment.build import build_objective
from anila.runs.folder.run import Run
from anila.runs.model.trained import Trained, config_of
from anila.runs.training.timing import pace

Rounds = Literal["bf16", "fp16", "tf32"] | None
PRECISIONS: tuple[Rounds, ...] = (None, "bf16", "fp16", "tf32")
WORTH = 0.9
"""Largest relative time of an iteration for which rounding is chosen."""


def settled(trained: Trained, run: Run, anew: bool, say: Say) -> Experiment:
    """The settings with a precision: the one recorded in the run's folder, else the faster one.

    Args:
        trained: The experiment at iteration 0.
        run: Its folder.
        anew: Whether an existing run is overwritten.
        say: Called with the choice in one line.
    """
    config, ranks = trained.whole, trained.learner.ranks
    known = recorded(run) if ranks.first and not anew else None
    number = int(ranks.gather([-1.0 if known is None else float(known)])[0].item())
    if number >= 0:
        return at(config, PRECISIONS[number])
    if not may_round(trained):
        return at(config, None)
    exact, rounded = (pace(replace(trained, whole=at(config, p)), 1).iteration for p in (None, "bf16"))
    chosen = "bf16" if rounded < WORTH * exact else None
    say(f"precision {chosen or 'float32'}: an iteration takes {exact:.2g} s in float32, {rounded:.2g} s in bf16")
    return at(config, chosen)


def recorded(run: Run) -> int | None:
    """Index in `PRECISIONS` of the precision with which the run began; None if there is no run."""
    return None if run.config() is None else PRECISIONS.index(config_of(run).training.precision)


def may_round(trained: Trained) -> bool:
    """Whether the objectives of all stages allow rounding."""
    objectives = [build_objective(stage) for stage in trained.whole.flat]
    anchor = trained.learner.anchor
    return all(objective.may_round for objective in [*objectives, *([anchor] if anchor else [])])


def at(config: Experiment, precision: Rounds) -> Experiment:
    """The settings at a precision."""
    return replace(config, training=replace(config.training, precision=precision))

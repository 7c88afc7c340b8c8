"""From minutes to iterations: the time of each stage is measured before a run begins, and the resulting iterations are
recorded, so that the run is a function of its settings.

    iterations of a stage = (its share of the minutes − seconds beside its iterations) / seconds per iteration

Seconds are wall-clock time on this machine. Saving and drawing pictures come on top.
"""

import math

from anila.messages import Say, counted
from anila.runs.experiment import Experiment
from anila.runs.folder.run import Run
from anila.runs.model.trained import Trained, config_of
from anila.runs.training.timing import Pace, pace


def planned(trained: Trained, run: Run, anew: bool, say: Say) -> Experiment:
    """The settings with the iterations for `training.minutes`: those recorded in the run's folder, else measured.

    Args:
        trained: The experiment at iteration 0.
        run: Its folder.
        anew: Whether an existing run is overwritten.
        say: Called with the plan in one line.
    """
    config, ranks = trained.whole, trained.learner.ranks
    if config.training.minutes is None:
        return config
    known = recorded(run, config) if ranks.first and not anew else []
    lengths = ranks.gather([float(n) for n in known or [0] * len(config.lengths)])[0].int().tolist()
    if not any(lengths):
        lengths = lengths_in([pace(trained, number) for number in range(1, len(lengths) + 1)], config)
        say(in_words(config.of_lengths(lengths)))
    return config.of_lengths(lengths)


def recorded(run: Run, config: Experiment) -> list[int]:
    """The iterations of each stage that were planned when the run began; empty if it was not planned."""
    if run.config() is None:
        return []
    lengths, minutes = config_of(run).lengths, config_of(run).training.minutes
    return lengths if (minutes, len(lengths)) == (config.training.minutes, len(config.lengths)) else []


def lengths_in(paces: list[Pace], config: Experiment) -> list[int]:
    """Iterations of each stage, at least one."""
    shares = [stage.share for stage in config.stages] or [1.0]
    seconds = [60 * (config.training.minutes or 0) * share / math.fsum(shares) for share in shares]
    return [max(1, int((s - p.beside) / p.iteration)) for s, p in zip(seconds, paces, strict=True)]


def in_words(config: Experiment) -> str:
    """The lengths of the stages, in words.

    >>> in_words(Experiment())
    'likelihood 1,000 iterations'
    """
    stages = ", ".join(
        f"{flat.objective.name} {counted(flat.training.iterations, 'iteration')}" for flat in config.flat
    )
    minutes = config.training.minutes
    return f"{minutes:g} minute{'s' * (minutes != 1)}: {stages}" if minutes else stages

"""Training: Algorithm 1 in a loop, in a run folder, resumable bitwise.

A run is a function of (settings, seed, iteration): repeating the command resumes from the newest sound checkpoint and
ends where the uninterrupted run would have ended. Ctrl-C finishes the iteration, saves, and says how to resume.

Under `torchrun` every process calls `train`: they share data and chains (see `distributed`) and stop together, and the
first one prints and writes. A checkpoint does not depend on the number of processes.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from anila.data import TOYS, Images, Table
from anila.density.check import check_log_density
from anila.density.log_density import ClosedForm
from anila.density.precision import own_defaults
from anila.evaluation import training
from anila.learning.chains import NotFinite
from anila.learning.distributed import Ranks, assembled, joined, whole
from anila.learning.objectives.base import in_series
from anila.messages import Say, as_typed, lines_printable, surviving, warnings_to
from anila.runs.experiment import Experiment
from anila.runs.folder import checkpoint, logs
from anila.runs.folder.lock import Lost
from anila.runs.folder.run import Run
from anila.runs.model.remembered import remembered
from anila.runs.model.trained import Trained, exact_kl
from anila.runs.training.drawing import draw_pictures
from anila.runs.training.guard import Diverged, Guard, Trouble, guard_of, what_to_change
from anila.runs.training.machine import set_threads
from anila.runs.training.plan import in_words, planned
from anila.runs.training.preflight import (
    about_stage,
    disk_warning,
    memory_explained,
    preflight,
    try_objective,
)
from anila.runs.training.resume import as_begun, refuse_other_folders, restored, resume
from anila.runs.training.rounding import settled
from anila.runs.training.stop import Stop, stop_signals

CALIBRATED, CALIBRATED_IMAGES = 5000, 1000
"""Most ordinary rows of a table whose f is kept, and most images."""


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended."""

    run: Run
    iteration: int
    stopped_by: int | None
    """The signal that stopped it; None if training is complete."""


Watch = Callable[[int, dict[str, float]], None]


def train(
    config: Experiment,
    path: Path | str,
    say: Say = print,
    watch: Watch = lambda *_: None,
    preset: str | None = None,
    overwrite: bool = False,
    begins: Callable[[Experiment], None] = lambda _: None,
) -> Outcome:
    """Train the run in a folder, or resume it.

    Args:
        config: All settings.
        path: The run folder; created if it does not exist.
        say: Called with lines of text for the user.
        watch: Called after every iteration, on every process, with its number (from 1) and metrics.
        preset: The preset's name, for the record.
        overwrite: Start anew. The old run is deleted once the new one has a checkpoint, and put back if the new one
            ends before that.
        begins: Called before the first iteration, on every process, with the settings of the whole run, including the
            iterations planned from `training.minutes`.

    Raises:
        RunError: If the folder cannot be this run.
        ValueError, FileNotFoundError: If data or settings are refused.
        ImportError: If training.log_to names an extra that is not installed.
        Diverged: If training runs away and the divergence guard has no return left; the last checkpoint stays.
        RankLost: If another process ended or hung.
        Lost: If the run's folder was moved, removed or made read-only; whatever could be saved is.
        OSError: If the last checkpoint cannot be written; other failed writes are reported, and training continues.
        MemoryError: Saying what takes the memory.
    """
    with own_defaults(), memory_explained(config), joined(config.training.timeout) as ranks:
        speak = surviving(say) if ranks.first else unsaid
        return train_among(ranks, config, path, speak, watch, preset, overwrite, begins)


def unsaid(text: str) -> None:
    """A `say` that says nothing, as of processes after the first."""


def train_among(
    ranks: Ranks,
    config: Experiment,
    path: Path | str,
    say: Say,
    watch: Watch,
    preset: str | None,
    overwrite: bool,
    begins: Callable[[Experiment], None],
) -> Outcome:
    """`train`, on one of several processes."""
    run = Run(path)
    logs.require(config.training.log_to)
    if ranks.first:
        refuse_other_folders(run, say)
    config = config if overwrite else as_begun(run, config)
    set_threads(config, ranks.machine_size)
    if config.data.name not in TOYS:
        say(f"reading {config.data.name}" + (" (decoded the first time, then cached)" if config.data.size else ""))
    with warnings_to(say):
        trained = Trained.untrained(config, ranks)
    try_objective(trained)
    if config.training.precision == "auto":
        trained.whole = settled(trained, run, overwrite, say)
        trained.restart()
    if config.training.minutes is not None:
        trained.whole = planned(trained, run, overwrite, say)
        trained.restart()
    begins(trained.whole)
    record = {"preset": preset, "experiment": asdict(trained.whole), "data": remembered(trained.data)}
    speak = said_and_logged(run, say) if ranks.first else unsaid
    with warnings_to(speak), run.claim() if ranks.first else nullcontext():
        ranks.wait()
        seen = first_look(trained) if overwrite else []
        with run.overwriting(say) if overwrite and ranks.first else nullcontext():
            ranks.wait()
            guard = resume(run, trained, record, speak)
            if trained.learner.iteration == 0:
                for line in seen or first_look(trained):
                    speak(line)
                for line in disk_warning(trained.learner, run.path) if ranks.first else ():
                    speak(f"warning: {line}")
            names = config.training.log_to if ranks.first else ()
            writers = run.logs.open(names, run.path, trained.learner.iteration, record["experiment"])
            with writers, stop_signals() as stop:
                loop(run, trained, guard, speak, watch, stop)
            if run.lost:
                there = as_typed("--run", run.path)
                raise Lost(f"{run.lost}; iteration {trained.learner.iteration} is saved: continue with {there}")
        if ranks.first and stop.number is None and trained.learner.objective.moves:
            course = training.course(run.series(trained.begin), trained.learner.watched)
            for line in training.regime(course, returns=run.returns()).lines:
                speak(line)
            speak(f"for a verdict from long chains: {as_typed('anila', 'diagnose', run.path)}")
    return Outcome(run, trained.learner.iteration, stop.number)


def first_look(trained: Trained) -> list[str]:
    """The lines reported before the first iteration.

    Raises:
        ValueError: If f is not a log-density.
    """
    x_data = trained.data.batch(2, trained.config.training.seed, 0)
    with whole(trained.learner.model):
        check_log_density(trained.learner.model, x_data[:2].to(trained.device))
        ahead = preflight(trained)
    plan = [f"stages    {in_words(trained.whole)}"] if trained.whole.stages else []
    return [*plan, *ahead.description, *(f"warning: {w}" for w in ahead.warnings)]


def loop(run: Run, trained: Trained, guard: Guard, say: Say, watch: Watch, stop: Stop) -> None:
    """Iterations until the last one or a stop signal, each a function of (settings, seed, iteration)."""
    ranks = trained.learner.ranks
    began, saved = time.perf_counter(), trained.learner.iteration
    while not stop.agreed(ranks, run.follow()) and trained.learner.iteration < trained.whole.iterations:
        if trained.learner.iteration == trained.end:
            guard = enter_next_stage(run, trained, say)
        learner, t, end = trained.learner, trained.config.training, trained.end
        rate = learner.optimizer.param_groups[0]["lr"]
        try:
            metrics = learner.update(*trained.batch())
            trouble = guard.look(metrics) if t.rollbacks is not None else None
        except NotFinite as error:
            metrics, trouble = {}, guard.not_finite(error)
        if trouble:
            guard = go_back(run, trained, guard, trouble, say)
            continue
        i = learner.iteration
        if i == end and not learner.chains:
            trained.widen()
        if ranks.first:
            run.append_series(i, {name: metrics[name] for name in in_series(learner.watched)})
        line = {"iteration": i, **metrics, "learning_rate": rate, "seconds": round(time.perf_counter() - began, 3)}
        if due(i, t.checkpoint_every, end):
            line |= measure(trained)
        if ranks.first and (due(i, t.log_every, end) or "kl" in line):
            run.append_stats(line)
        if due(i, t.checkpoint_every, end):
            saved = i
            save(run, trained, guard, last=i == trained.whole.iterations)
            run.mark_if_best(line)
        if due(i, t.picture_every, end):
            with whole(trained.f):
                if ranks.first:
                    draw_pictures(run, trained)
        watch(i, metrics)
    if stop.lost or saved < trained.learner.iteration:
        save(run, trained, guard, last=True)
    if stop.number is not None and not run.lost:
        say(f"stopped and saved at iteration {trained.learner.iteration}; run the same command again to continue")


def due(iteration: int, every: int, end: int) -> bool:
    """Whether something done every `every` iterations, and at the end of a stage, is due now."""
    return iteration % every == 0 or iteration == end


def enter_next_stage(run: Run, trained: Trained, say: Say) -> Guard:
    """Continue in the next stage, and report and record that it begins.

    Returns:
        Its guard.
    """
    trained.enter_next_stage()
    with whole(trained.learner.model):
        about = about_stage(trained)
    for line in about.said:
        say(line)
    if trained.learner.ranks.first:
        checkpoint.forget_best(run.checkpoints)
        if trained.begin not in run.switches():
            run.append_stats({"iteration": trained.begin, "event": "stage", "stage": trained.number})
    return guard_of(trained)


def go_back(run: Run, trained: Trained, guard: Guard, trouble: Trouble, say: Say) -> Guard:
    """Return to the newest checkpoint that had proved good, with one setting changed, and record what and why.

    The first return from a value that is not finite leads to the newest checkpoint of all, with nothing changed. No
    return leads out of the stage.

    Raises:
        Diverged: If the settings allow no more returns.
    """
    i, t, ranks = trained.learner.iteration, trained.config.training, trained.learner.ranks
    if guard.returns >= (t.rollbacks or 0):
        raise given_up(run, trained, trouble)
    again = guard.may_be_chance(trouble, i)
    change = "nothing changed" if again else guard.remedy(trouble, trained.config)
    remedies, repeated = guard.remedies + [change] * (not again), guard.repeated + [i] * again
    newest = i if again else max(i - checkpoint.SETTLED, guard.returned, trained.begin)
    path = checkpoint.proved(run.checkpoints, newest, trained.begin)
    if path:
        guard = back_in(trained, path)
    if not path or (guard.settling and not again):
        guard = begin_again(run, trained, trouble)
    trained.change(remedies)
    back = trained.learner.iteration
    guard.remedies, guard.repeated = remedies, repeated
    guard.returned = guard.returned if again else back
    ranks.wait()
    if ranks.first:
        checkpoint.forget_after(run.checkpoints, back)
        run.forget_after(back)
        event = {"event": "rollback", "from": i, "why": trouble.what, "change": change}
        run.append_stats({"iteration": back, **event})
    save(run, trained, guard)
    say(f"iteration {i}: {trouble.what}. Back to iteration {back}, {'as it was' if again else f'now with {change}'}")
    return guard


def back_in(trained: Trained, path: Path) -> Guard:
    """Restore a checkpoint of this stage, or the beginning of the stage if it is the last one of the previous stage;
    returns the guard of that time.
    """
    number = trained.number
    guard = restored(trained, path)
    if trained.number == number:
        return guard
    trained.enter_next_stage()
    return guard_of(trained)


def begin_again(run: Run, trained: Trained, trouble: Trouble) -> Guard:
    """Return to the beginning of the stage, with a new guard.

    Raises:
        Diverged: If the checkpoint with which the stage began is damaged.
    """
    if trained.number == 1:
        trained.restart()
    elif (path := checkpoint.proved(run.checkpoints, trained.begin, trained.begin)) is None:
        raise given_up(run, trained, trouble)
    else:
        back_in(trained, path)
    return guard_of(trained)


def given_up(run: Run, trained: Trained, trouble: Trouble) -> Diverged:
    """Record that no return is left; returns the error."""
    if trained.learner.ranks.first:
        run.append_stats({"iteration": trained.learner.iteration, "event": "failure", "why": trouble.what})
    return Diverged(diagnosis(run, trained, trouble))


def save(run: Run, trained: Trained, guard: Guard, last: bool = False) -> None:
    """Write a checkpoint: learner, guard, the model to sample, and how to sample it. All processes wait for it.

    Raises:
        Lost, OSError: If the last checkpoint cannot be written; for others, this is only reported.
    """
    learner = trained.learner
    state = learner.state_dict() | {"stage": trained.number}
    parts = {"learner": state, "model": assembled(learner.best_model.state_dict()), "recipe": trained.recipe()}
    parts["guard"] = guard.state_dict()
    if (rows := calibrated(trained, last)) and not isinstance(trained.f, ClosedForm):
        with whole(trained.f):
            parts["calibration"] = trained.calibration(rows)._asdict()
    if learner.ranks.first:
        try:
            with nullcontext() if last else logs.surviving_disk(run.checkpoints / f"{learner.iteration:09d}"):
                run.save(learner.iteration, parts, floor=trained.begin)
        except PermissionError as error:  # permission existed when it began: the command was right
            raise Lost(f"{error}; make the folder writable, then run the same command again to continue") from error
    learner.ranks.wait()


def calibrated(trained: Trained, last: bool) -> int:
    """How many ordinary rows a checkpoint keeps f of, to find outliers without the data; for images only if last."""
    if isinstance(trained.data, Table):
        return CALIBRATED
    return CALIBRATED_IMAGES if last and isinstance(trained.data, Images) else 0


def measure(trained: Trained) -> dict[str, float]:
    """KL(data ‖ model), in the plane."""
    with whole(trained.f):
        kl = exact_kl(trained, trained.reference_data(10_000)) if trained.learner.ranks.first else None
    return {} if kl is None else {"kl": kl}


def diagnosis(run: Run, trained: Trained, trouble: Trouble) -> str:
    """A diagnosis: what happened, what was tried, the last log lines, and what to change."""
    i, objective, tried = trained.learner.iteration, trained.learner.objective, "; ".join(run.returns())
    shown = [metric for metric in trained.learner.watched if metric.short]
    lines = [(line, [m for m in shown if line.get(m.name) is not None]) for line in run.stats()[-3:]]
    seen = "; ".join(
        f"iteration {line['iteration']}: " + ", ".join(f"{m.short} {line[m.name]:.3g}" for m in known)
        for line, known in lines
    )
    return (
        f"training stopped at iteration {i}: {trouble.what}. Tried: {tried or 'nothing'}. Before: "
        f"{seen or 'nothing logged'}. The last checkpoint is kept. "
        f"{what_to_change(trained.config, objective.needs_chains)}"
    )


def said_and_logged(run: Run, say: Say) -> Say:
    """A `say` that also writes to log.txt."""

    def both(text: str) -> None:
        run.log(lines_printable(text))
        say(text)

    return both

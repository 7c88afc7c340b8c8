"""How far a run is: a bar on a terminal, a line now and then elsewhere. Of several processes the first one shows it."""

import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from anila import notebook
from anila.cli.console import note
from anila.messages import duration, lines_printable


def is_first() -> bool:
    """Whether this process speaks: the first, or only, one."""
    return os.environ.get("RANK", "0") == "0"


class Progress:
    """How far a run is.

    Args:
        show: Takes the iteration, how many there are, and what to say of this one.
    """

    def __init__(self, show: Callable[[int, int, str], None]):
        self.show, self.ends, self.names = show, [0], [""]
        self.labels: dict[str, str] = {}

    def begin(self, config: Any) -> None:
        """Know how long the run is, what its stages are called, and what the metrics are."""
        from anila.runs.experiment.build import build_objective

        flat, self.ends = config.flat, config.ends
        self.names = [f"{k}/{len(flat)} {stage.objective.name}  " for k, stage in enumerate(flat, 1)]
        self.names = self.names if config.stages else [""]
        watched = [metric for stage in flat for metric in build_objective(stage).watched]
        self.labels = {metric.name: metric.short for metric in watched if metric.short}

    def watch(self, i: int, metrics: dict[str, float]) -> None:
        """Show an iteration."""
        name = self.names[bisect_left(self.ends, i)]
        self.show(i, self.ends[-1], name + short(metrics, self.labels))


@contextmanager
def trials() -> Iterator[None]:
    """Inside, trials run: a signal ends the command once they are saved."""
    from anila.reports.comparison.trial import Stopped

    try:
        yield
    except Stopped as stopped:
        note("stopped and saved; run the same command again to continue")
        raise typer.Exit(128 + stopped.number) from None


@contextmanager
def progress_of(config: Any) -> Iterator[tuple[Callable[[str], None], Progress]]:
    """What to say lines with and what to watch iterations with: a bar on a terminal, else plain lines."""
    from rich.console import Console

    console = Console(stderr=True)
    if not is_first():
        yield lambda _: None, Progress(lambda *_: None)
    elif console.is_terminal and not notebook.started_this():
        with bar(console, config.iterations) as show:
            yield lambda text: console.print(lines_printable(text), markup=False, highlight=False), Progress(show)
    else:
        yield note, Progress(plain_lines())


@contextmanager
def progress_in(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """What to watch a count with."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal and not notebook.started_this():
        with bar(console, total) as show:
            yield lambda done: show(done, total, what)
    else:
        show = plain_lines()
        show(0, total, what)
        yield lambda done: show(done, total, what)


@contextmanager
def bar(console: Any, total: int) -> Iterator[Callable[[int, int, str], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]} ", markup=False),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=total, text="")
        yield lambda i, total, text: progress.update(task, completed=i, total=total, text=text)


def plain_lines(least: float = 10.0, most: float = 300.0) -> Callable[[int, int, str], None]:
    """A line now and then, with the time left: about 60 in all, but from `least` to `most` seconds apart."""
    first: list[float] = []
    last = [time.monotonic()]

    def show(i: int, total: int, text: str) -> None:
        now = time.monotonic()
        first[:] = first or [now, i]
        if i == first[1]:
            return
        passed = now - first[0]
        left = passed / (i - first[1]) * (total - i)
        if now - last[0] >= min(max(least, (passed + left) / 60), most):
            last[0] = now
            note(f"{i}/{total}  {text}  {duration(left)} left")

    return show


def short(metrics: dict[str, float], labels: dict[str, str]) -> str:
    return "  ".join(f"{label} {metrics[name]:.3g}" for name, label in labels.items() if name in metrics)

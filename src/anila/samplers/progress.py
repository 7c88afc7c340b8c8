"""Progress of chains, as a bar in a terminal or a notebook."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from anila import notebook

if TYPE_CHECKING:
    from rich.progress import Progress


class Bar:
    """A bar that shows nothing. Bars whose number of steps is 0 do not show how far the work is."""

    def begin(self, title: str, more: int = 0) -> None:
        """Name what comes next, and add steps that were not planned before."""

    def advance(self, steps: int) -> None:
        """Count these steps as made."""


class TerminalBar(Bar):
    """A bar drawn by rich."""

    def __init__(self, progress: "Progress", title: str, steps: int):
        self.progress, self.steps = progress, steps
        self.task = progress.add_task(title, total=steps or None)

    def begin(self, title: str, more: int = 0) -> None:
        self.steps += more
        self.progress.update(self.task, description=title, total=self.steps or None)

    def advance(self, steps: int) -> None:
        self.progress.advance(self.task, steps)


class NotebookBar(Bar):
    """A bar that is redrawn at each percent and for each title."""

    def __init__(self, title: str, steps: int):
        from IPython.core.display_functions import DisplayHandle  # a notebook has IPython

        self.title, self.done, self.steps, self.handle = title, 0, steps, DisplayHandle()
        self.handle.display(self.drawn())

    def drawn(self) -> Any:
        from IPython.core.display import HTML

        return HTML(notebook.bar(self.title, self.done, self.steps))

    def begin(self, title: str, more: int = 0) -> None:
        self.title, self.steps = title, self.steps + more
        self.handle.update(self.drawn())

    def advance(self, steps: int) -> None:
        before, self.done = self.done, self.done + steps
        if self.done * 100 // self.steps > before * 100 // self.steps:
            self.handle.update(self.drawn())


@contextmanager
def progress_bar(title: str, steps: int, shown: bool) -> Iterator[Bar]:
    """A bar for `steps` steps; one that shows nothing unless `shown`."""
    if not shown:
        yield Bar()
    elif notebook.runs_here():
        yield NotebookBar(title, steps)
    else:
        from rich.progress import Progress

        with Progress() as progress:
            yield TerminalBar(progress, title, steps)

"""What all commands share: arguments, how a run is loaded, what is said and where. torch is imported only on use."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder made by anila train.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]
Seed = Annotated[int, typer.Option(help="Seed of the chains drawn here.")]


def load(path: Path) -> Any:
    """The trained model of a run folder, with a notice for every damaged checkpoint."""
    from anila.run import Run
    from anila.trained import Trained

    trained = Trained.load(Run.existing(path))
    for notice in trained.notices:
        note(notice)
    return trained


def note(text: str) -> None:
    """A line for whoever still listens: nothing ends because nobody does."""
    with suppress(BrokenPipeError):
        typer.echo(text, err=True)


def print_json(data: Any) -> None:
    typer.echo(json.dumps(data, indent=2))

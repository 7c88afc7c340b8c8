"""What all commands share: arguments, how a run is loaded, what is said and where. torch is imported only on use."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

RunFolder = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="Run folder, or one of anila export; hub:OWNER/NAME; pretrained:NAME."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]
Label = Annotated[str | None, typer.Option("--class", "--label", help="Only of this class, by name or index.")]
Seed = Annotated[int, typer.Option(help="Seed of the chains drawn here.")]


def load(path: Path, label: str | None = None) -> Any:
    """The model of a run or an exported folder, within one class if asked, with what must be said of its loading."""
    from anila.applications.on_runs.classify import OfClass
    from anila.messages import warnings_to
    from anila.runs.model.export import load as load_model

    with warnings_to(note):
        model = load_model(path)
    for notice in model.notices:
        note(notice)
    return model if label is None else OfClass(model, label)


def load_run(path: Path) -> Any:
    """The trained model of a run, with its data and all."""
    from anila.runs.model.trained import Trained

    trained = load(path)
    if not isinstance(trained, Trained):
        raise ValueError(f"{path} is an exported model without its data; this command needs the run it is from")
    return trained


def note(text: str) -> None:
    """A line for whoever still listens: nothing ends because nobody does."""
    with suppress(BrokenPipeError):
        typer.echo(text, err=True)


def print_json(data: Any) -> None:
    typer.echo(json.dumps(data, indent=2))

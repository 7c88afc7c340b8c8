"""What all commands share: arguments, how a run is loaded, what is said and where. torch is imported only on use."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from anila.messages import did_you_mean, lines_printable, surviving


def require_there(path: Path) -> Path:
    """Refuse a run or a model that is not there, before torch is imported; how else it can be wrong, loading says."""
    from anila.runs.model import pretrained

    name = str(path)
    if name.startswith(pretrained.PREFIX):
        pretrained.folder(name)
    elif ":" not in name and not name.startswith("~") and not path.exists():
        near = did_you_mean(path.name, [config.parent.name for config in path.parent.glob("*/config.json")])
        raise ValueError(f"{path.absolute()} is not a folder{near}; a run is made by: anila train PRESET --run {path}")
    return path


def all_there(paths: list[Path]) -> list[Path]:
    """Runs or models, each of which is there."""
    return [require_there(path) for path in paths]


RunFolder = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="Run folder, or one of anila export; hub:OWNER/NAME; pretrained:NAME.",
        callback=require_there,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]
Label = Annotated[str | None, typer.Option("--class", "--label", help="Only of this class, by name or index.")]
Seed = Annotated[int, typer.Option(help="Seed of the chains drawn here.")]


class Command(TyperCommand):
    """A command that says of what it misses also what that is."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message or (getattr(error.param, "help", None) or "").rstrip(".")
            raise


SAMPLES = {".npz": "", ".npy": "", ".csv": "", ".parquet": "", ".png": "for a picture"}
TABLES = {".csv": "", ".parquet": ""}
IMAGES = {".png": "for a picture", ".npz": "for the images and their energies"}
"""Suffix -> what it gives, where that needs saying."""


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


def require_out(
    path: Path, suffixes: Mapping[str, str], option: str = "--out", spared: Iterable[str | Path | None] = ()
) -> None:
    """Refuse an output before work is spent on it.

    Args:
        path: Where the output goes.
        suffixes: Those there are.
        option: What the user typed before the path.
        spared: Files and folders that are read, and so not written over.

    Raises:
        ValueError: If the suffix is not one of these, the folder is not there, or the file would be lost.
    """
    if path.suffix.lower() not in suffixes:
        named = [f"{suffix} {what}".strip() for suffix, what in suffixes.items()]
        expected = " or ".join(named) if len(named) < 3 else f"one of {', '.join(named)}"
        raise ValueError(f"{option} {path}: expected {expected}")
    if not path.absolute().parent.is_dir():
        raise ValueError(f"{option} {path}: there is no folder {path.absolute().parent}")
    if path.is_dir():
        raise ValueError(f"{option} {path}: there is a folder of this name; choose another")
    spare(path, spared, option)


def samples_file(path: Path) -> Path:
    """An output for samples, refused before a run is looked for."""
    require_out(path, SAMPLES)
    return path


def data_of(model: Any) -> list[str]:
    """The path of its data, where they have one."""
    from anila.data import KNOWN, TOYS

    name = model.config.data.name
    return [] if name in TOYS or name in KNOWN else [name]


def spare(path: Path, spared: Iterable[str | Path | None], option: str = "--out") -> None:
    """Refuse to write over a file that is read, or what a run wrote into its folder.

    Raises:
        ValueError: If the path is one of these files or in one of these folders, by whatever name, or a run's own.
    """
    if not path.exists():
        return
    from anila.data.foreign import expanded
    from anila.runs.folder.contents import run_of

    there, read = path.resolve(), [expanded(name) for name in spared if name is not None]
    if any(place.exists() and (path.samefile(place) or there.is_relative_to(place.resolve())) for place in read):
        raise ValueError(f"{option} {path}: this file is read here and would be lost; choose another name")
    if run := run_of(there):
        raise ValueError(f"{option} {path}: this file is the run's in {run} and would be lost; choose another name")


def echo(text: object = "") -> None:
    """A line of the output; names in it that come from files do nothing to a terminal."""
    typer.echo(lines_printable(str(text)))


def note(text: str) -> None:
    """A line for whoever still listens: nothing ends because nobody does."""
    surviving(lambda text: typer.echo(text, err=True))(lines_printable(text))


def print_json(data: Any) -> None:
    typer.echo(json.dumps(data, indent=2))

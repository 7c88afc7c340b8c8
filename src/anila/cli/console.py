"""What all commands share: arguments, how a run is loaded, what is said and where. torch is imported only on use."""

import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from anila.messages import as_json, as_typed, did_you_mean, lines_printable, surviving, warnings_to

MODELS = ("hub:", "pretrained:")
"""How the names of models begin that are no folders."""


def at_home(path: Path) -> Path:
    """With ~ expanded, which no shell does in --run=~/a; `~$people.csv` is a file."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def require_there(path: Path) -> Path:
    """Refuse a run or a model that is not there, before torch is imported; how else it can be wrong, loading says."""
    from anila.runs.model import pretrained

    path, name = at_home(path), str(path)
    if name.startswith(pretrained.PREFIX):
        pretrained.folder(name)
    elif ":" not in name and not path.exists():
        near = did_you_mean(path.name, [config.parent.name for config in path.parent.glob("*/config.json")])
        made = as_typed("anila", "train", "PRESET", "--run", path)
        raise ValueError(f"{path.absolute()} is not a folder{near}; make a run with: {made}")
    return path


def require_run(path: Path) -> Path:
    """Refuse what is not there, and a model without the run that it is from."""
    path = require_there(path)
    if str(path).startswith(MODELS) or (path / "anila.json").is_file():
        raise ValueError(f"{path} is an exported model without its data; this command needs the run it came from")
    return path


def run_or_word(what: str) -> str:
    """The path of a run, or a word that is none; no model without its run."""
    path = at_home(Path(what))
    if what.startswith(MODELS) or path.is_dir():
        require_run(path)
    return str(path) if what.startswith("~") else what


def all_there(paths: list[Path]) -> list[Path]:
    """Runs or models, each of which is there."""
    return [require_there(path) for path in paths]


def all_runs(paths: list[Path]) -> list[Path]:
    """Runs, each of which is there."""
    return [require_run(path) for path in paths]


ModelFolder = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="A run's folder, or that of an exported model; hub:OWNER/NAME; pretrained:NAME.",
        callback=require_there,
    ),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder.", callback=require_run)]
AsJson = Annotated[bool, typer.Option("--json", help="Print data as JSON.")]
Label = Annotated[str | None, typer.Option("--class", "--label", help="Only this class, by name or index.")]
Seed = Annotated[int, typer.Option(help="Seed of the chains drawn here.")]


class Command(TyperCommand):
    """A command that says of what it misses also what that is, whose paths may begin with ~, and that says warnings."""

    def invoke(self, ctx: Any) -> Any:
        with warnings_to(note):
            return super().invoke(ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        require_words(args)
        try:
            rest = super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message or (getattr(error.param, "help", None) or "").rstrip(".")
            raise
        for name, value in ctx.params.items():
            if isinstance(value, Path):
                ctx.params[name] = at_home(value)
        return rest


def require_words(args: list[str]) -> None:
    """Refuse an empty word: as a path it would be the folder that one is in.

    Raises:
        ValueError: Saying where it stands.
    """
    for before, word in zip(["", *args], args, strict=False):
        option, equals, value = word.partition("=")
        if not word or (equals and not value and option.startswith("--")):
            what = option or (before if before.startswith("--") else "a word of the command")
            raise ValueError(f"{what} is empty; is a variable in the command not set?")


SAMPLES = {".npz": "", ".npy": "", ".csv": "", ".tsv": "", ".parquet": "", ".png": "for a picture"}
TABLES = {".csv": "", ".tsv": "", ".parquet": ""}
IMAGES = {".png": "for a picture", ".npz": "for the images and their energies"}
"""Suffix -> what it gives, where that needs saying."""


def load(path: Path, label: str | None = None) -> Any:
    """The model of a run or an exported folder, within one class if asked, with what must be said of its loading."""
    from anila.applications.on_runs.classify import OfClass
    from anila.runs.model.export import load as load_model

    model = load_model(path)
    for notice in model.notices:
        note(notice)
    return model if label is None else OfClass(model, label)


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
    there = Path(os.path.realpath(path))
    require_short(path, option)
    if not there.parent.is_dir():
        raise ValueError(f"{option} {path}: there is no folder {there.parent}")
    if there.is_dir() or there.is_symlink() or (there.exists() and not there.is_file()):
        what = "a folder" if there.is_dir() else "a link to itself" if there.is_symlink() else "a pipe or a device"
        raise ValueError(f"{option} {path}: {what} has this name; choose another")
    spare(path, spared, option)


def require_short(path: Path, option: str) -> None:
    """Refuse a name that this file system cannot hold.

    Raises:
        ValueError: If it is too long.
    """
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError(f"{option} {path}: this name is too long; choose a shorter one") from None


def samples_file(path: Path) -> Path:
    """An output for samples, refused before a run is looked for."""
    require_out(path := at_home(path), SAMPLES)
    return path


def require_folder(path: Path | None, option: str = "--out") -> None:
    """Refuse a folder for outputs that is a file, or in one, before work is spent on it.

    Raises:
        ValueError: Saying which.
    """
    for place in (path, *path.absolute().parents) if path else ():
        if place.exists() and not place.is_dir():
            raise ValueError(f"{option} {path}: {place} is a file; {option} takes a folder")


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
        raise ValueError(f"{option} {path}: this file is an input and would be overwritten; choose another name")
    if run := run_of(there):
        raise ValueError(
            f"{option} {path}: this file belongs to the run in {run} and would be overwritten; choose another name"
        )


def echo(text: object = "") -> None:
    """A line of the output; names in it that come from files do nothing to a terminal."""
    typer.echo(lines_printable(str(text)))


def note(text: str) -> None:
    """A line for whoever still listens: nothing ends because nobody does."""
    surviving(lambda text: typer.echo(text, err=True))(lines_printable(text))


def print_json(data: Any) -> None:
    typer.echo(as_json(data, indent=2))

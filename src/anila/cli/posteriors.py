"""What anila inpaint, denoise, restore, purify and edit share: options, what they read, and how they end."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from anila.cli.console import IMAGES, data_of, echo, note, require_out
from anila.density.ranges import MOST
from anila.messages import counted

if TYPE_CHECKING:
    from torch import Tensor

    from anila.applications import Draws
    from anila.applications.files.beside import Beside
    from anila.runs.model.model import Model

SHOWN = 8
"""Held-out images that are taken where no file is given."""
RESULTS = ("draw", "energy")
"""Columns that are joined to a table."""

Inputs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[INPUT]...", help="Image files, folders, archives, arrays; held-out images by default."),
]
Out = Annotated[
    Path, typer.Option(help="Images: FILE.png for a picture, .npz for arrays. Tables: .csv, .tsv or .parquet.")
]
Pictures = Annotated[Path, typer.Option("--out", help="FILE.png for a picture, .npz for arrays.")]
Count = Annotated[int, typer.Option(min=1, max=MOST, help="Draws for each input.")]
Steps = Annotated[int | None, typer.Option(min=1, max=MOST, help="Transitions; the run's by default.")]
Images = Annotated[int, typer.Option("--images", min=1, max=MOST, help="Held-out images to use if no INPUT is given.")]


class Seen(NamedTuple):
    """The images that a command works on."""

    names: list[str]
    x: "Tensor"
    given: bool
    """Whether the user gave them."""


def require(right: bool, otherwise: str) -> None:
    """A usage error with this message.

    Raises:
        ValueError: If it is not right.
    """
    if not right:
        raise ValueError(otherwise)


def is_table(model: "Model") -> bool:
    """Whether the run is on rows of numbers."""
    return len(model.data.event_shape) == 1


def refuse(options: Mapping[str, Any], because: str) -> None:
    """A usage error if one of these options is given."""
    for name, value in options.items():
        require(value is None, f"{name} {because}")


def images_in(model: "Model", inputs: list[str] | None, images: int, out: Path) -> Seen:
    """The images of the inputs, or some held-out ones."""
    from anila.applications.files.inputs import rows_from

    shape = model.data.event_shape
    require(len(shape) == 3, f"this command is for runs on images; this run is on points of shape {shape}")
    require_out(out, IMAGES, spared=[*data_of(model), *(inputs or ())])
    if inputs:
        names, x, _ = rows_from(inputs, model)
        return Seen(names, x, True)
    kept = model.held_out(images)
    note(f"no INPUT given: {counted(len(kept.x), 'image')} of {kept.source}")
    return Seen([f"{kept.source} {i}" for i in range(len(kept.x))], kept.x, False)


def finish(work: "Callable[[], Draws]", beside: "Beside", out: Path) -> None:
    """Draw, write what was drawn, and say the energies."""
    draws = work()
    beside.write(draws, out)
    for name, energy in zip(beside.names[:SHOWN], draws.energy, strict=False):
        echo(f"{name:40} energy " + " ".join(f"{e:.4g}" for e in energy))
    n, k = draws.x.shape[:2]
    of = counted(n, beside.what) if n == 1 else f"each of {counted(n, beside.what)}"
    echo(f"{counted(k, 'draw')} for {of} in {out}")

"""anila inpaint | denoise | restore | purify | edit: what is seen, and what the model makes of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from anila.cli.console import Label, RunFolder, Seed, load, note

SHOWN = 8
"""Held-out images that are taken where no file is given."""

Inputs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[INPUT]...", help="Image files, folders, archives, arrays; held-out images by default."),
]
Out = Annotated[Path, typer.Option(help="Images: FILE.png for a picture, .npz for arrays. Tables: .csv or .parquet.")]
Count = Annotated[int, typer.Option(min=1, help="Draws for each input.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Transitions; by default by the run's sampler.")]
Images = Annotated[int, typer.Option("--images", min=1, help="Held-out images taken where no INPUT is given.")]


def inpaint(
    run: RunFolder,
    out: Out,
    inputs: Inputs = None,
    mask: Annotated[Path | None, typer.Option(help="Black and white image; white is hidden.")] = None,
    box: Annotated[str | None, typer.Option(help="Hide TOP,LEFT,HEIGHT,WIDTH in pixels.")] = None,
    random: Annotated[float | None, typer.Option(help="Hide this fraction of pixels.")] = None,
    given: Annotated[str | None, typer.Option(help="Tables: one row's known columns, a=1,b=2.")] = None,
    sd: Annotated[
        float | None, typer.Option(help="Noise of what is seen, images in [-1, 1]; exact by default.")
    ] = None,
    count: Count = 4,
    steps: Steps = None,
    images: Images = SHOWN,
    label: Label = None,
    seed: Seed = 0,
) -> None:
    """Draw what is hidden given what is seen: parts of images, missing columns and cells of tables."""
    model = load(run, label)
    if len(model.data.event_shape) == 1:
        for name, value in {"--mask": mask, "--box": box, "--random": random, "--sd": sd}.items():
            require(value is None, f"{name} is for images; this run is on rows: leave out or empty the cells to draw")
        fill_table(model, inputs, given, out, count, steps, seed)
        return
    require(given is None, "--given is for tables; this run is on images")
    require(
        sum(m is not None for m in (mask, box, random)) == 1, "give one of --mask, --box or --random: what is hidden"
    )
    from anila.applications.on_runs.images import inpainted

    seen = images_in(model, inputs, images, out)
    hidden = mask_of(model, mask, box, random, seed)
    draws = said(lambda: inpainted(model, seen.x, hidden, count, sd, steps, seed))
    finish(seen, draws, {"masked": seen.x.masked_fill(hidden, 0)}, {"truth": seen.x})


def denoise(
    run: RunFolder,
    out: Out,
    inputs: Inputs = None,
    sd: Annotated[float | None, typer.Option(help="Noise of the inputs; estimated from images by default.")] = None,
    add: Annotated[float, typer.Option(min=0, help="Add noise of this sd to the inputs first.")] = 0.0,
    count: Count = 2,
    steps: Steps = None,
    images: Images = SHOWN,
    label: Label = None,
    seed: Seed = 0,
) -> None:
    """Draw what was there before noise; sd is in units of x: images in [-1, 1], tables in each column's sd."""
    model = load(run, label)
    if len(model.data.event_shape) == 1:
        require(sd is not None, "a table does not tell its noise: give --sd, in standard deviations of each column")
        require(not add, "--add is for images")
        clean_table(model, inputs, sd, out, count, steps, seed)
        return
    import torch

    from anila.applications import noise_sd
    from anila.applications.on_runs.images import denoised
    from anila.rng import rng

    seen = images_in(model, inputs, images, out)
    require(seen.given or add > 0, "held-out images have no noise: add some with --add SD, or give noisy INPUT")
    y = seen.x + add * torch.randn(seen.x.shape, generator=rng(seed, "noise"))
    spread = torch.full((len(y),), sd) if sd is not None else noise_sd(y)
    if sd is None:
        note(f"noise estimated: sd {spread.min():.3g} to {spread.max():.3g}")
        require(bool((spread > 0).all()), "no noise found in an input: give --sd")
    draws = said(lambda: denoised(model, y, spread, count, steps, seed))
    finish(seen, draws, {"noisy": y}, {"truth": seen.x} if add else {})


def restore(
    run: RunFolder,
    out: Out,
    inputs: Inputs = None,
    blur: Annotated[float | None, typer.Option(help="Inputs are blurred by a Gaussian of this sd, pixels.")] = None,
    downsample: Annotated[int | None, typer.Option(help="Inputs are reduced by this factor.")] = None,
    degrade: Annotated[
        str | None,
        typer.Option(metavar="FILE.py:FUNCTION", help="Your own map of rows. This runs the code in FILE.py."),
    ] = None,
    sd: Annotated[float, typer.Option(help="Noise of the degraded image, in [-1, 1].")] = 0.05,
    degraded: Annotated[bool, typer.Option("--degraded", help="Inputs are degraded already.")] = False,
    count: Count = 2,
    steps: Steps = None,
    images: Images = SHOWN,
    label: Label = None,
    seed: Seed = 0,
) -> None:
    """Draw images whose degraded view is seen; inputs are degraded here first, so the truth is shown too."""
    ways = [way for way in (blur, downsample, degrade) if way is not None]
    require(len(ways) == 1, "give one of --blur or --downsample or --degrade: how images were degraded")
    from anila.applications.on_runs.images import restored

    require(downsample is None or not degraded, "--degraded is for --blur: inputs come in the model's size")
    seen = images_in(load(run, label), inputs, images, out)
    view = view_of(seen, blur, downsample, degrade)
    y = view(seen.x)
    require(not degraded or y.shape == seen.x.shape, f"--degraded: inputs have {seen.x.shape[1:]}, views {y.shape[1:]}")
    y = seen.x if degraded else y
    draws = said(lambda: restored(seen.model, y, view, sd, count, steps, seed))
    finish(seen, draws, {"degraded": y}, {} if degraded else {"truth": seen.x})


def purify(
    run: RunFolder,
    out: Out,
    within: Annotated[float, typer.Option(help="How far a pixel may have been changed, images in [-1, 1].")],
    inputs: Inputs = None,
    count: Count = 1,
    steps: Steps = None,
    images: Images = SHOWN,
    label: Label = None,
    seed: Seed = 0,
) -> None:
    """Draw likely images within so much of the inputs in every pixel: takes adversarial changes out."""
    from anila.applications.on_runs.images import purified

    seen = images_in(load(run, label), inputs, images, out)
    finish(seen, said(lambda: purified(seen.model, seen.x, within, count, steps, seed)), {"input": seen.x}, {})


def edit(
    run: RunFolder,
    out: Out,
    sd: Annotated[float, typer.Option(help="How far the walk may go, images in [-1, 1].")],
    inputs: Inputs = None,
    frames: Annotated[int, typer.Option(min=1, help="Images shown along the walk.")] = 4,
    steps: Steps = None,
    images: Images = SHOWN,
    label: Label = None,
    seed: Seed = 0,
) -> None:
    """Walk from an image to a lower energy near it."""
    seen = images_in(load(run, label), inputs, images, out)
    from anila.applications.on_runs.images import edited

    draws = said(lambda: edited(seen.model, seen.x, sd, frames, steps, seed))
    walk = {f"frame {i + 1}": x[:, 0] for i, x in enumerate(draws.path[:-1])}
    finish(seen, draws, {"input": seen.x, **walk}, {})


COMMANDS: tuple[Callable[..., None], ...] = (inpaint, denoise, restore, purify, edit)


def require(right: bool, otherwise: str) -> None:
    """A usage error with this message.

    Raises:
        ValueError: If it is not right.
    """
    if not right:
        raise ValueError(otherwise)


class Seen(NamedTuple):
    """The images that a command works on."""

    model: Any
    names: list[str]
    x: Any
    given: bool
    """Whether the user gave them."""
    out: Path


def images_in(model: Any, inputs: list[str] | None, images: int, out: Path) -> Seen:
    """The images of the inputs, or some held-out ones."""
    from anila.applications.files.inputs import rows_from
    from anila.applications.files.outputs import IMAGES, require_out

    shape = model.data.event_shape
    require(len(shape) == 3, f"this command is for runs on images; this one is on points of shape {shape}")
    require_out(out, IMAGES)
    if inputs:
        return Seen(model, *rows_from(inputs, model), True, out)
    kept = model.held_out(images)
    note(f"no INPUT given: {len(kept.x)} images of {kept.source}")
    return Seen(model, [f"{kept.source} {i}" for i in range(len(kept.x))], kept.x, False, out)


def mask_of(model: Any, mask: Path | None, box: str | None, random: float | None, seed: int) -> Any:
    """The one mask that is asked for."""
    from anila.applications import box_mask, random_mask, read_mask
    from anila.rng import rng

    shape = model.data.event_shape[1:]
    if mask is not None:
        return read_mask(mask, shape)
    if random is not None:
        return random_mask(shape, random, rng(seed, "mask"))
    try:
        top, left, height, width = map(int, (box or "").split(","))
    except ValueError:
        raise ValueError(f"--box {box}: expected four whole numbers TOP,LEFT,HEIGHT,WIDTH, e.g. 16,0,16,32") from None
    return box_mask(shape, (top, left, height, width))


def view_of(seen: Seen, blur: float | None, downsample: int | None, degrade: str | None) -> Callable[[Any], Any]:
    """The one degradation that is asked for."""
    from anila import applications
    from anila.applications.files.degradation import degradation

    if degrade is not None:
        note(f"running your own code: {degrade}")
        return degradation(degrade, seen.model.data.event_shape)
    return applications.blur(blur) if blur is not None else applications.downsample(downsample or 0)


def fill_table(
    model: Any, inputs: list[str] | None, given: str | None, out: Path, count: int, steps: int | None, seed: int
) -> None:
    """Missing columns and cells of one table, drawn."""
    from anila.applications.files import tables
    from anila.applications.files.outputs import TABLES, require_out, write_table
    from anila.applications.on_runs import rows

    require_out(out, TABLES)
    require(
        (given is None) == (len(inputs or []) == 1), "give one table with cells to draw, or --given COLUMN=NUMBER,..."
    )
    table = tables.read_table(inputs[0]) if inputs else tables.given(given or "")
    columns = model.units.columns
    values = tables.numbers(table, columns, missing=True)
    tables.require_free(table, ("draw", "energy"))
    x, energy = said(lambda: rows.filled(model, values, count, steps, seed))
    write_table(rows.joined(table, columns, x, energy), out)
    typer.echo(f"{count} draws for each of {len(values)} rows in {out}")


def clean_table(
    model: Any, inputs: list[str] | None, sd: Any, out: Path, count: int, steps: int | None, seed: int
) -> None:
    """Rows of one table before noise was added."""
    from anila.applications.files import tables
    from anila.applications.files.outputs import TABLES, require_out, write_table
    from anila.applications.on_runs import rows

    require_out(out, TABLES)
    require(len(inputs or []) == 1, "give one table to clean")
    table = tables.read_table((inputs or [""])[0])
    columns = model.units.columns
    values = tables.numbers(table, columns)
    tables.require_free(table, ("draw", "energy"))
    x, energy = said(lambda: rows.cleaned(model, values, sd, count, steps, seed))
    write_table(rows.joined(table, columns, x, energy), out)
    typer.echo(f"{count} draws for each of {len(values)} rows in {out}")


def said(work: Callable[[], Any]) -> Any:
    """What the work gives, its warnings as lines."""
    from anila.messages import warnings_to

    with warnings_to(note):
        return work()


def finish(seen: Seen, draws: Any, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Write what was drawn, and say the energies."""
    from anila.applications.on_runs.images import write

    write(seen.out, draws, seen.names, before, after)
    for name, energy in zip(seen.names[:SHOWN], draws.energy, strict=False):
        typer.echo(f"{name:40} energy " + " ".join(f"{e:.4g}" for e in energy))
    typer.echo(f"{draws.x.shape[1]} draws for each of {len(seen.names)} images in {seen.out}")

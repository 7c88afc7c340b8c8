"""anila inpaint: what is hidden, drawn given what is seen."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anila.cli.console import TABLES, Label, ModelFolder, Seed, data_of, load, require_out, spare
from anila.cli.posteriors import (
    RESULTS,
    SHOWN,
    Count,
    Images,
    Inputs,
    Out,
    Steps,
    finish,
    images_in,
    is_table,
    refuse,
    require,
)

if TYPE_CHECKING:
    from torch import Tensor

    from anila.runs.model.model import Model


def inpaint(
    run: ModelFolder,
    out: Out,
    inputs: Inputs = None,
    mask: Annotated[Path | None, typer.Option(help="Black and white image; white is hidden.")] = None,
    box: Annotated[str | None, typer.Option(help="Hide TOP,LEFT,HEIGHT,WIDTH in pixels.")] = None,
    random: Annotated[float | None, typer.Option(help="Hide this fraction of pixels.")] = None,
    given: Annotated[str | None, typer.Option(help="Tables: one row's known columns, a=1,b=2.")] = None,
    sd: Annotated[float | None, typer.Option(help="Noise in what is seen, images in [-1, 1]; none by default.")] = None,
    count: Count = 4,
    steps: Steps = None,
    images: Images = SHOWN,
    label: Label = None,
    seed: Seed = 0,
) -> None:
    """Draw what is hidden given what is seen: parts of images, missing columns and cells of tables."""
    model = load(run, label)
    if is_table(model):
        options = {"--mask": mask, "--box": box, "--random": random, "--sd": sd}
        refuse(
            options, "is for images, and this run is on rows: leave the cells to draw empty, or leave out their columns"
        )
        fill(model, inputs, given, out, count, steps, seed)
        return
    from anila.applications.files.beside import BesideImages
    from anila.applications.on_runs.draws import completion, drawn
    from anila.applications.on_runs.kernel import require_stable
    from anila.applications.on_runs.observed import Observed

    refuse({"--given": given}, "is for tables, and this run is on images")
    ways = [way for way in (mask, box, random) if way is not None]
    require(len(ways) == 1, "give one of --mask, --box or --random to say what is hidden")
    seen = images_in(model, inputs, images, out)
    spare(out, [mask])
    hidden = mask_of(model, mask, box, random, seed)
    if sd is not None:
        require_stable(model.sampler, sd, ", or leave it out to keep what is seen as it is")
    beside = BesideImages(seen.names, {"masked": seen.x.masked_fill(hidden, 0)}, {"truth": seen.x})
    observed = Observed(seen.x, hidden, sd=sd)
    finish(lambda: drawn(model, observed, completion, count, steps, seed), beside, out)


def mask_of(model: "Model", mask: Path | None, box: str | None, random: float | None, seed: int) -> "Tensor":
    """The one mask that is asked for."""
    from anila.applications import box_mask, random_mask, read_mask
    from anila.rng import rng

    _, height, width = model.data.event_shape
    if mask is not None:
        return read_mask(mask, (height, width))
    if random is not None:
        return random_mask((height, width), random, rng(seed, "mask"))
    try:
        top, left, high, wide = map(int, (box or "").split(","))
    except ValueError:
        raise ValueError(f"--box {box}: expected four whole numbers TOP,LEFT,HEIGHT,WIDTH, e.g. 16,0,16,32") from None
    return box_mask((height, width), (top, left, high, wide))


def fill(
    model: "Model", inputs: list[str] | None, given: str | None, out: Path, count: int, steps: int | None, seed: int
) -> None:
    """Missing columns and cells of one table, drawn."""
    import torch

    from anila.applications.files import tables
    from anila.applications.files.beside import BesideTable
    from anila.applications.on_runs.draws import filled
    from anila.runs.model.model import require_memory

    require_out(out, TABLES, spared=[*data_of(model), *(inputs or ())])
    require(
        len(inputs or []) == (given is None),
        "give one table with cells to draw, or --given COLUMN=VALUE,... and not both",
    )
    units = model.units
    table = tables.as_learned(tables.read_table(inputs[0]) if inputs else tables.given(given or ""), units)
    tables.warn_of_taken([*table.column_names, *units.rows.names], RESULTS)
    y = tables.points(table, units, missing=True, absent=True)
    require_memory(count * len(y), model)
    hidden = torch.from_numpy(tables.missing_cells(y.numpy(), table, units))
    beside = BesideTable(table, units, kept=True)
    finish(lambda: filled(model, y, hidden, count, steps, seed), beside, out)

"""anila denoise: what was there before noise."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anila.cli.console import TABLES, Label, ModelFolder, Seed, data_of, load, note, require_out
from anila.cli.posteriors import (
    RESULTS,
    SHOWN,
    Count,
    Images,
    Inputs,
    Out,
    Seen,
    Steps,
    finish,
    images_in,
    is_table,
    require,
)

if TYPE_CHECKING:
    from torch import Tensor

    from anila.applications.files.inputs import Named
    from anila.runs.model.model import Model


def denoise(
    run: ModelFolder,
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
    from anila.applications.files.beside import BesideImages, BesideTable
    from anila.applications.on_runs.draws import cleaning, drawn
    from anila.applications.on_runs.observed import Observed

    model = load(run, label)
    if is_table(model):
        _, x, table = rows_in(model, inputs, sd, add, out)
        observed, beside = Observed(x, sd=sd), BesideTable(table, model.units)
    else:
        seen = images_in(model, inputs, images, out)
        y = noisy(seen, add, seed)
        observed = Observed(y, sd=noise_of(model, seen.names, y, sd))
        beside = BesideImages(seen.names, {"noisy": y}, {"truth": seen.x} if add else {})
    finish(lambda: drawn(model, observed, cleaning, count, steps, seed), beside, out)


def rows_in(model: "Model", inputs: list[str] | None, sd: float | None, add: float, out: Path) -> "Named":
    """The rows of one table."""
    from anila.applications.files.inputs import rows_from

    require(
        sd is not None, "the noise of a table cannot be estimated: give --sd, in standard deviations of each column"
    )
    require(not add, "--add is for images")
    require_out(out, TABLES, spared=[*data_of(model), *(inputs or ())])
    require(len(inputs or []) == 1, "give one table to clean")
    return rows_from(inputs or [], model, RESULTS)


def noisy(seen: Seen, add: float, seed: int) -> "Tensor":
    """The images, with the noise that is asked for."""
    import torch

    from anila.rng import rng

    require(add < math.inf, f"--add {add:g}: expected a finite sd")
    require(seen.given or add > 0, "held-out images have no noise: add some with --add SD, or give noisy INPUT")
    return seen.x + add * torch.randn(seen.x.shape, generator=rng(seed, "noise"))


def noise_of(model: "Model", names: list[str], y: "Tensor", sd: float | None) -> "Tensor":
    """The noise of each image: what is said, or else estimated."""
    import torch

    from anila.applications import noise_sd
    from anila.applications.on_runs.kernel import require_stable

    found = torch.full((len(y),), sd) if sd is not None else noise_sd(y)
    if sd is None:
        low, high = f"{found.min():.3g}", f"{found.max():.3g}"
        note(f"noise estimated: sd {low if low == high else f'{low} to {high}'}")
        clean = ", ".join(name for name, noise in zip(names, found, strict=True) if not noise > 0)
        require(not clean, f"no noise found in {clean}: leave it out, or give its noise with --sd")
    require_stable(model.sampler, found.min().item(), "")
    return found

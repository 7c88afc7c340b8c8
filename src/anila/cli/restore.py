"""anila restore: images whose degraded view is seen."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from anila.cli.console import Label, ModelFolder, Seed, load, note
from anila.cli.posteriors import SHOWN, Count, Images, Inputs, Pictures, Steps, finish, images_in, require
from anila.density.ranges import MOST

if TYPE_CHECKING:
    from torch import Tensor

    from anila.runs.model.model import Model


def restore(
    run: ModelFolder,
    out: Pictures,
    inputs: Inputs = None,
    blur: Annotated[float | None, typer.Option(help="Inputs are blurred by a Gaussian of this sd, pixels.")] = None,
    downsample: Annotated[int | None, typer.Option(min=2, max=MOST, help="Inputs are reduced by this factor.")] = None,
    degrade: Annotated[
        str | None,
        typer.Option(metavar="FILE.py:FUNCTION", help="Your own degradation of rows. This runs the code in FILE.py."),
    ] = None,
    sd: Annotated[float, typer.Option(help="Noise of the degraded image, in [-1, 1].")] = 0.05,
    degraded: Annotated[bool, typer.Option("--degraded", help="Inputs are degraded already.")] = False,
    count: Count = 2,
    steps: Steps = None,
    images: Images = SHOWN,
    label: Label = None,
    seed: Seed = 0,
) -> None:
    """Draw images given a degraded view; inputs are degraded here first, so the truth is shown too."""
    from anila.applications.files.beside import BesideImages
    from anila.applications.on_runs.draws import drawn, restoring
    from anila.applications.on_runs.kernel import require_stable
    from anila.applications.on_runs.observed import Observed

    ways = [way for way in (blur, downsample, degrade) if way is not None]
    require(len(ways) == 1, "give one of --blur, --downsample or --degrade to say how images were degraded")
    require(downsample is None or not degraded, "--degraded is for --blur: inputs come in the model's size")
    model = load(run, label)
    seen = images_in(model, inputs, images, out)
    view = view_of(model, blur, downsample, degrade)
    y = view(seen.x)
    require(not degraded or y.shape == seen.x.shape, f"--degraded: inputs have {seen.x.shape[1:]}, views {y.shape[1:]}")
    y = seen.x if degraded else y
    require_stable(model.sampler, sd, "")
    observed = Observed(y, view=view, sd=sd)
    finish(
        lambda: drawn(model, observed, restoring, count, steps, seed),
        BesideImages(seen.names, {"degraded": y}, {} if degraded else {"truth": seen.x}),
        out,
    )


def view_of(
    model: "Model", blur: float | None, downsample: int | None, degrade: str | None
) -> "Callable[[Tensor], Tensor]":
    """The one degradation that is asked for."""
    from anila import applications
    from anila.applications.files.degradation import degradation

    if degrade is not None:
        note(f"running your own code: {degrade}")
        return degradation(degrade, model.data.event_shape)
    return applications.blur(blur) if blur is not None else applications.downsample(downsample or 0)

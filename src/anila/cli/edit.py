"""anila edit: walks from images to lower energies near them."""

from typing import Annotated

import typer

from anila.cli.console import Label, ModelFolder, Seed, load
from anila.cli.posteriors import SHOWN, Images, Inputs, Pictures, Steps, finish, images_in
from anila.density.ranges import MOST


def edit(
    run: ModelFolder,
    out: Pictures,
    sd: Annotated[float, typer.Option(help="How far the walk may go, images in [-1, 1].")],
    inputs: Inputs = None,
    frames: Annotated[int, typer.Option(min=1, max=MOST, help="Images shown along the walk.")] = 4,
    steps: Steps = None,
    images: Images = SHOWN,
    label: Label = None,
    seed: Seed = 0,
) -> None:
    """Walk from an image to a lower energy near it."""
    from anila import applications
    from anila.applications.files.beside import BesideImages
    from anila.applications.on_runs.draws import drawn
    from anila.applications.on_runs.kernel import require_stable
    from anila.applications.on_runs.observed import Observed

    model = load(run, label)
    seen = images_in(model, inputs, images, out)
    require_stable(model.sampler, sd, "")
    observed = Observed(seen.x)
    finish(
        lambda: drawn(model, observed, lambda f, o, T: applications.edit(f, o.y, sd, None, T), 1, steps, seed, frames),
        BesideImages(seen.names, {"input": seen.x}),
        out,
    )

"""anila purify: likely images near the inputs."""

from typing import Annotated

import typer

from anila.cli.console import Label, ModelFolder, Seed, load
from anila.cli.posteriors import SHOWN, Count, Images, Inputs, Pictures, Steps, finish, images_in


def purify(
    run: ModelFolder,
    out: Pictures,
    within: Annotated[float, typer.Option(help="How far a pixel may have been changed, images in [-1, 1].")],
    inputs: Inputs = None,
    count: Count = 1,
    steps: Steps = None,
    images: Images = SHOWN,
    label: Label = None,
    seed: Seed = 0,
) -> None:
    """Draw likely images that are close to the inputs in every pixel: removes adversarial changes."""
    from anila import applications
    from anila.applications.files.beside import BesideImages
    from anila.applications.on_runs.draws import drawn
    from anila.applications.on_runs.observed import Observed

    model = load(run, label)
    seen = images_in(model, inputs, images, out)
    observed = Observed(seen.x)
    finish(
        lambda: drawn(model, observed, lambda f, o, T: applications.purify(f, o.y, within, T), count, steps, seed),
        BesideImages(seen.names, {"input": seen.x}),
        out,
    )

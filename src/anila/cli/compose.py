"""anila compose: samples of several models as one."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from anila.cli.console import SAMPLES, Seed, all_there, data_of, echo, load, require_out, spare
from anila.density.ranges import MOST
from anila.messages import counted


def compose(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN RUN...", help="Run folders with points of the same shape.", callback=all_there),
    ],
    count: Annotated[int, typer.Option(min=1, max=MOST, help="Number of samples.")],
    out: Annotated[Path, typer.Option(help="FILE.npz, .npy, .csv, .tsv, .parquet, or .png for a grid of images.")],
    weights: Annotated[str | None, typer.Option(help="A number for each run, e.g. 1,-0.5; below 0 negates.")] = None,
    rule: Annotated[Literal["product", "mixture"], typer.Option(help="Likely under all, or under some.")] = "product",
    steps: Annotated[int | None, typer.Option(min=1, max=MOST, help="Transitions; the first run's by default.")] = None,
    seed: Seed = 0,
) -> None:
    """Draw samples of a product, a mixture or a negation of models."""
    from anila.applications.files.outputs import require_disk, require_form, write_samples
    from anila.applications.on_runs.compose import combined, draw_combined

    require_out(out, SAMPLES)
    try:
        wanted = [float(word) for word in weights.split(",")] if weights is not None else None
    except ValueError:
        raise ValueError(f"--weights {weights}: expected a number for each run, e.g. 1,-0.5") from None
    trained = [load(run) for run in runs]
    spare(out, [name for model in trained for name in data_of(model)])
    require_form(trained[0].data.event_shape, out)
    require_disk(trained[0].data.event_shape, count, out)
    posterior = combined(trained, wanted, rule)
    write_samples(trained[0], draw_combined(trained, posterior, count, steps, seed), out)
    echo(f"{counted(count, 'sample')} in {out}")

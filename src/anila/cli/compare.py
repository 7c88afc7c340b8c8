"""anila compare: which sampler trains a model best at equal gradient evaluations, with error bars."""

from pathlib import Path
from typing import Annotated

import typer

from anila.cli.console import AsJson, echo, note, print_json, require_folder
from anila.cli.progress import trials
from anila.density.ranges import MOST


def compare(
    what: Annotated[str, typer.Argument(metavar="PRESET|PATH", help="A preset, a TOML file, or a path to data.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings for all samplers.")
    ] = None,
    samplers: Annotated[str, typer.Option(help="Names or FILE.py:NAME, separated by commas.")] = "langevin,anisotropic",
    seeds: Annotated[int, typer.Option(min=1, max=MOST, help="Runs of each sampler.")] = 3,
    budget: Annotated[
        int | None,
        typer.Option(min=1, max=MOST, help="Gradient evaluations per chain and run; the preset's by default."),
    ] = None,
    points: Annotated[int, typer.Option(min=1, max=MOST, help="How often each run is scored.")] = 10,
    samples: Annotated[int, typer.Option(min=10, max=MOST, help="Samples per score.")] = 1000,
    jobs: Annotated[int, typer.Option(min=1, max=MOST, help="Runs at a time.")] = 1,
    out: Annotated[Path | None, typer.Option(help="Folder of the runs; runs/compare-PRESET by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare samplers: same nets and seeds, equal gradients; the same command again resumes."""
    from anila.runs.catalogue import require_keys, require_known

    require_folder(out)
    require_known(what)
    require_keys(overrides or [])
    from anila.reports.comparison import outcome_of, plan, race
    from anila.reports.comparison.figure import save_figure

    folder = out or Path("runs") / f"compare-{Path(what).stem}"
    names = [name.strip() for name in samplers.split(",") if name.strip()]
    planned = plan(what, overrides or [], names, seeds, budget, folder, points, samples)
    with trials():
        race(planned, jobs, note)
    outcome = outcome_of(planned)
    outcome.save(planned)
    figure = save_figure(planned, outcome)
    if as_json:
        print_json(outcome.as_dict())
        return
    for line in [*outcome.table(), "", *outcome.verdicts(), "", f"numbers and figure: {figure.parent}"]:
        echo(line)

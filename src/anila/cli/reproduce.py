"""anila reproduce: the papers' experiments and figures."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from anila.cli.console import echo, note, require_folder
from anila.cli.progress import trials
from anila.density.ranges import MOST


def reproduce(
    what: Annotated[
        Literal["rings", "flowers", "cifar10", "inpainting", "matched", "all"],
        typer.Argument(metavar="WHAT", help="Experiment."),
    ],
    scale: Annotated[
        Literal["small", "paper"], typer.Option(help="small: all within two hours on two cores.")
    ] = "small",
    jobs: Annotated[int, typer.Option(min=1, max=MOST, help="Runs at a time.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder of runs and figures.")] = Path("runs/reproduce"),
) -> None:
    """Run the papers' experiments and make their figures; the same command again resumes."""
    require_folder(out)
    from anila.reports.comparison import race
    from anila.reports.reproduction import EXPERIMENTS, draw, inpainting_figure, plan_part

    for experiment in EXPERIMENTS if what == "all" else (what,):
        for part in EXPERIMENTS[experiment]:
            note(f"{experiment}: {part.title}")
            plan = plan_part(part, scale, out / scale)
            with trials():
                race(plan, jobs, note)
            if experiment == "inpainting":
                echo(inpainting_figure(plan))
                continue
            for path in draw(plan, part):
                echo(path)

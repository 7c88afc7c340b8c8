"""anila report: runs as one page of HTML."""

from pathlib import Path
from typing import Annotated

import typer

from anila.cli.console import all_runs, echo, require_out


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run folders; several are shown side by side.", callback=all_runs),
    ],
    out: Annotated[Path | None, typer.Option(help="FILE.html; RUN/report.html for a single run.")] = None,
) -> None:
    """Write one self-contained page of HTML on runs: scores, verdict, curves, samples, chains."""
    if out is None and len(runs) > 1:
        raise ValueError(f"{len(runs)} runs go into one page: say where, with --out FILE.html")
    from anila.reports.page import write_page
    from anila.runs.folder.run import Run

    path = out or Run.existing(runs[0]).report_path
    require_out(path, {".html": ""})
    write_page(runs, path)
    echo(f"report: {path}")

"""anila playground: one page in which chains move, in the plane or as images."""

from pathlib import Path
from typing import Annotated

import typer

from anila.cli.console import echo, require_out


def playground(
    what: Annotated[
        str | None,
        typer.Argument(metavar="RUN|TARGET|FILE.py:NAME|POINTS", help="A density, a run, your own f, or points.csv."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The page.")] = Path("playground.html"),
    serve: Annotated[bool, typer.Option("--serve", help="Serve it on 127.0.0.1 instead.")] = False,
) -> None:
    """Make one page to play in: two samplers side by side in the plane, or images that a run's net draws."""
    from anila.runs.catalogue import PLANE, require_density

    if what is not None:
        require_density(what, PLANE, "density, run or file")
    from anila.reports.playground import page, subject_of
    from anila.reports.playground import serve as serve_page
    from anila.runs.folder.whole import write_atomically

    if not serve:
        require_out(out, {".html": "for the page"})
    made = page(subject_of(what))
    if serve:
        serve_page(made.text, made.policy, echo)
        return
    write_atomically(out, made.text)
    echo(f"{out}: open it in a browser; it works without a network")

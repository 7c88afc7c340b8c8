"""anila outliers: which rows or images the model finds odd, at a known rate of false alarms."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from anila.cli.console import AsJson, RunFolder, load, note, print_json


def outliers(
    run: RunFolder,
    files: Annotated[list[str], typer.Argument(metavar="FILES...", help="Images or one table to judge.")],
    rate: Annotated[float, typer.Option(help="Most false alarms, as a share of normal rows.")] = 0.01,
    held_out: Annotated[str | None, typer.Option(help="Rows kept out of training; found by default.")] = None,
    typical: Annotated[
        bool, typer.Option("--typical", help="Score the distance from the typical f, on either side.")
    ] = False,
    top: Annotated[int, typer.Option(min=0, help="How many of the oddest are listed.")] = 10,
    out: Annotated[Path | None, typer.Option(help="Scores joined to the rows: FILE.csv or .parquet.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Images: FILE.png with the oddest.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score rows or images, and say which are outliers at a chosen rate of false alarms."""
    from anila.applications.files.inputs import rows_from
    from anila.applications.files.outputs import TABLES, require_out, write_table
    from anila.applications.on_runs.outliers import RESULTS, judged, unseen_warning
    from anila.evaluation import pictures
    from anila.messages import warnings_to

    if out is not None:
        require_out(out, TABLES)
    if picture is not None:
        require_out(picture, {".png": ""}, "--picture")
    trained = load(run)
    if picture is not None and len(trained.data.event_shape) == 1:
        raise ValueError("--picture is for runs on images")
    with warnings_to(note):
        found = judged(trained, rows_from(files, trained, RESULTS), rate, held_out, typical)
    if (warning := unseen_warning(found.calibration)) is not None:
        note(warning)
    if out is not None:
        write_table(found.rows.joined(found.columns()), out)
    if picture is not None:
        pictures.save(found.picture(), picture)
    report(found, top, out, as_json)


def report(found: Any, top: int, out: Path | None, as_json: bool) -> None:
    """The summary and the oddest."""
    summary, oddest = found.summary(), found.top(top)
    if as_json:
        print_json(summary | {"top": oddest})
        return
    typer.echo(
        f"{summary['outliers']} of {summary['rows']} are outliers: {summary['score']} above "
        f"{summary['threshold']:.5g}. At most {100 * summary['rate']:g}% of rows like the "
        f"{summary['held_out_rows']} held out ({summary['held_out']}) lie above it"
    )
    for row in oddest:
        mark = "outlier" if row["outlier"] else ""
        typer.echo(f"{row['name']:40} {row['score']:12.5g} {row['percentile']:8.2f}% {mark}")
    if out is not None:
        typer.echo(f"scores in {out}")


COMMANDS: tuple[Callable[..., None], ...] = (outliers,)

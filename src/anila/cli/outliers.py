"""anila outliers: which rows or images the model finds odd, at a known rate of false alarms."""

from pathlib import Path
from typing import Annotated, Any

import typer

from anila.cli.console import TABLES, AsJson, ModelFolder, data_of, echo, load, note, print_json, require_out, spare
from anila.cli.progress import progress_in
from anila.density.ranges import MOST
from anila.messages import counted


def outliers(
    run: ModelFolder,
    files: Annotated[list[str], typer.Argument(metavar="FILES...", help="Images or one table to judge.")],
    rate: Annotated[float, typer.Option(help="Allowed false alarms, as a share of ordinary rows.")] = 0.01,
    held_out: Annotated[
        str | None, typer.Option(help="A file of ordinary rows kept out of training; by default the run's own.")
    ] = None,
    typical: Annotated[
        bool, typer.Option("--typical", help="Score the distance from the typical f, on either side.")
    ] = False,
    top: Annotated[
        int, typer.Option(min=0, max=MOST, help="How many of the oddest to list; FILE[0] is the first row.")
    ] = 10,
    out: Annotated[
        Path | None, typer.Option(help="Write the rows with their scores: FILE.csv, .tsv or .parquet.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="FILE.png with the oddest.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score rows or images, and say which are outliers at a chosen rate of false alarms."""
    from anila.applications.files.inputs import rows_from
    from anila.applications.files.outputs import write_table
    from anila.applications.on_runs.outliers import RESULTS, judged, warnings_of
    from anila.evaluation import pictures

    if out is not None:
        require_out(out, TABLES, spared=[*files, held_out])
    if picture is not None:
        require_out(picture, {".png": ""}, "--picture", [*files, held_out])
    trained = load(run)
    for path, option in ((out, "--out"), (picture, "--picture")):
        if path is not None:
            spare(path, data_of(trained), option)
    if picture is not None and len(trained.data.event_shape) == 1 and not trained.config.network.by_seeing:
        raise ValueError("--picture is for runs on images, or on tables with network=kernel")
    rows = rows_from(files, trained, RESULTS if out else (), missing=True)
    with progress_in(len(rows.x), "rows") as watch:
        found = judged(trained, rows, rate, held_out, typical, watch=watch)
    for text in warnings_of(found):
        note(text)
    if out is not None:
        write_table(found.rows.joined(found.columns()), out)
    if picture is not None and rows.file is not None and not found.flagged.any():
        note("no picture: no row is an outlier")
    elif picture is not None:
        pictures.save(found.picture(), picture)
    report(found, top, out, as_json)


def report(found: Any, top: int, out: Path | None, as_json: bool) -> None:
    """The summary and the oddest."""
    summary, oddest = found.summary(), found.top(top)
    by = summary["held_out"] if summary["held_out"].startswith("rows ") else f"of {summary['held_out']}"
    if as_json:
        print_json(summary | {"top": oddest})
        return
    echo(
        f"{counted(summary['outliers'], 'outlier')} in {counted(summary['rows'], 'row')}: {summary['score']} above "
        f"{summary['threshold']:.5g}. At most {100 * summary['rate']:.3g}% of ordinary rows lie above it, calibrated "
        f"on {summary['held_out_rows']:,} {by}"
    )
    for row in oddest:
        mark = "outlier" if row["outlier"] else ""
        because = "; ".join(map(str, found.reasons.get(row["index"], [])))
        echo(f"{row['name']:40} {row['score']:12.5g} {row['percentile']:8.2f}% {mark}  {because}".rstrip())
    if out is not None:
        echo(f"scores in {out}")

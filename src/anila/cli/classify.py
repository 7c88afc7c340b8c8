"""anila classify: which class rows or images are of, by a run that knows classes."""

from pathlib import Path
from typing import Annotated

import typer

from anila.cli.console import TABLES, AsJson, ModelFolder, data_of, echo, load, print_json, require_out, spare
from anila.messages import counted

LISTED = 20
"""Rows that are listed; of more, only how many are of each class."""


def classify(
    run: ModelFolder,
    files: Annotated[list[str], typer.Argument(metavar="FILES...", help="Images or one table to classify.")],
    out: Annotated[
        Path | None, typer.Option(help="Write the rows with their classes: FILE.csv, .tsv or .parquet.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Classify rows or images, and say how sure the model is."""
    from anila.applications.files.inputs import rows_from
    from anila.applications.files.outputs import write_table
    from anila.applications.on_runs import classify

    if out is not None:
        require_out(out, TABLES, spared=files)
    model = load(run)
    if out is not None:
        spare(out, data_of(model))
    classify.require_classes(model)
    rows = rows_from(files, model, classify.names(model.classes) if out else ())
    found = classify.classified(model, rows)
    if out is not None:
        write_table(found.rows.joined(found.columns), out)
    summary = found.summary()
    if as_json:
        print_json(summary)
        return
    for row in summary["classes"] if summary["rows"] <= LISTED else []:
        echo(f"{row['name']:40} {row['class']:20} {row['probability']:.3f}")
    counts = ", ".join(f"{n} of class {name}" for name, n in summary["counts"].items() if n)
    echo(f"{counted(summary['rows'], 'row')}: {counts}")
    if out is not None:
        echo(f"classes in {out}")

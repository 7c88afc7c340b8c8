"""anila export: a run as a folder to share."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from anila.cli.console import RunFolder, echo, note


def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="The folder to make.")],
    push: Annotated[str | None, typer.Option(help="OWNER/NAME: upload it to the Hugging Face Hub too.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Make the repository private, if it is new.")] = False,
) -> None:
    """Make a folder to share: parameters, chains, recipe, card, checksums; no data, except with network=kernel."""
    if private and push is None:
        raise ValueError("--private is for a repository that --push OWNER/NAME creates")
    from anila.runs.folder.run import Run
    from anila.runs.model import hub
    from anila.runs.model.card import drawing
    from anila.runs.model.export import export as export_run

    if push is not None:
        hub.client()
    shared = export_run(Run.existing(run), out)
    try:
        pushed = None if push is None else hub.push(out, push, private)
    except BaseException:
        shutil.rmtree(out)  # the same command again begins anew
        raise
    if shared.config.network.by_seeing:
        note("warning: the model is made of rows of its data, and the folder holds them: pass it on as you would them")
    echo(f"iteration {shared.iteration} in {out}; read its README.md, then: {drawing(str(out), shared.record)}")
    if pushed is not None:
        echo(f"pushed: anila.load({pushed!r})")

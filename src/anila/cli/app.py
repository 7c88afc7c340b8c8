"""The command line: a thin skin over the library. torch is imported only once there is work for it.

Exit status: 0 done, 1 failed, 2 usage; 130 after Ctrl-C, 143 after SIGTERM. Of several processes under
`torchrun` the first one speaks.
"""

import errno
import io
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from anila.cli.classify import classify
from anila.cli.compare import compare
from anila.cli.compose import compose
from anila.cli.console import (
    AsJson,
    Command,
    Label,
    ModelFolder,
    RunFolder,
    Seed,
    data_of,
    echo,
    load,
    note,
    print_json,
    require_folder,
    run_or_word,
    samples_file,
    spare,
)
from anila.cli.denoise import denoise
from anila.cli.edit import edit
from anila.cli.export import export
from anila.cli.inpaint import inpaint
from anila.cli.outliers import outliers
from anila.cli.playground import playground
from anila.cli.progress import is_first, progress_in, progress_of
from anila.cli.purify import purify
from anila.cli.report import report
from anila.cli.reproduce import reproduce
from anila.cli.restore import restore
from anila.density.ranges import MOST
from anila.messages import as_typed, counted, lacks_memory, warnings_to

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Entry point: users' mistakes are one message and exit status 2, without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(standalone_mode=True)
    except (ValueError, FileNotFoundError, PermissionError, ImportError) as error:
        fail(in_words(error), 2)
    except ArithmeticError as error:
        fail(str(error) if is_first() else "", 1)
    except BrokenPipeError:
        sys.exit(0)
    except MemoryError as error:
        fail(str(error) or "not enough memory: ask for less at a time", 1)
    except RuntimeError as error:
        if not lacks_memory(error):
            raise
        fail(f"not enough memory: ask for less at a time ({str(error).splitlines()[0]})", 1)
    except OSError as error:
        room = "; make room and run the same command again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        fail(in_words(error) + room, 1)


def in_words(error: Exception) -> str:
    """What it says; of the system's errors, the file and the reason."""
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)


def fail(message: str, status: int) -> None:
    if message:
        note(f"anila: {message}")
    sys.exit(status)


def show_version(wanted: bool) -> bool:
    """The version, torch's, and where a run would learn here."""
    if not wanted:
        return False
    from importlib.metadata import version

    echo(f"anila {version('anila')}, torch {version('torch')}, {gpu(version('torch')) or 'no GPU, the CPU is used'}")
    raise typer.Exit


def gpu(torch_version: str) -> str | None:
    """The GPU's name, None where there is none; a torch for processors alone is not imported to be asked."""
    if torch_version.endswith("+cpu"):
        return None
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Print version, torch and device."),
    ] = False,
) -> None:
    """Train, sample and judge energy-based models."""


@app.command(cls=Command)
def presets(as_json: AsJson = False) -> None:
    """List what can be trained, with the result each preset is known to reach."""
    from rich.console import Console
    from rich.table import Table

    from anila.runs.catalogue import KNOWN_TO

    if as_json:
        print_json({name: story._asdict() for name, story in KNOWN_TO.items()})
        return
    table = Table("preset", "what", "known to reach", box=None, pad_edge=False)
    for name, preset in KNOWN_TO.items():
        table.add_row(f"[bold]{name}[/bold]", preset.summary, preset.result)
    Console().print(table)


def trainable(typed: str) -> list[str]:
    """What a shell offers to complete."""
    from anila.runs.catalogue import KNOWN_TO, TOYS

    return [name for name in dict.fromkeys([*KNOWN_TO, *TOYS]) if name.startswith(typed)]


@app.command(cls=Command)
def train(
    what: Annotated[
        str,
        typer.Argument(
            metavar="PRESET|PATH", help="A preset, a TOML file, or a path to data.", autocompletion=trainable
        ),
    ],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME by default.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print settings, reach and time; run nothing.")] = False,
    times: Annotated[bool, typer.Option("--profile", help="Print where time goes; write nothing.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start over in the folder of a run.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train; the same command again resumes. On N GPUs: torchrun --nproc-per-node N -m -- anila train …"""
    from anila.runs.catalogue import require_keys, require_known

    require_known(what)
    require_keys(overrides or [])
    from anila.runs.experiment.choose import choose

    with warnings_to(lambda _: None):  # what is to be said of the data is said where they are read to learn
        name, config = choose(what, overrides or [])
    path = run or Path("runs") / name
    if dry_run:
        describe(config, as_json)
        return
    if times:
        show_times(config, as_json)
        return
    from anila.runs.training.guard import Diverged
    from anila.runs.training.train import train as train_run

    try:
        with progress_of(config) as (say, progress):
            outcome = train_run(config, path, say, progress.watch, name, overwrite, progress.begin)
    except Diverged:
        if is_first():
            note(f"report so far: {written(path)}")
        raise
    if outcome.stopped_by is not None:
        if is_first():
            note(f"resume with: {shell_line(anew=outcome.iteration == 0)}")
        raise typer.Exit(128 + outcome.stopped_by)
    if is_first():
        tell(config, outcome, path, as_json)


def tell(config: Any, outcome: Any, path: Path, as_json: bool) -> None:
    """What came of a training that is complete, and what to do next."""
    last, page = (outcome.run.stats() or [{"iteration": outcome.iteration}])[-1], written(path)
    draw = as_typed("anila", "sample", path, "--count", 1000, "--out", "FILE")
    if as_json:
        print_json(last)
        return
    if config.network.by_seeing:
        echo(f"done; find odd rows with: {as_typed('anila', 'outliers', path, 'FILE')}")
        echo(f"open {page} to see it; draw with: {draw}")
        return
    kl = f", KL(data ‖ model) = {last['kl']:.4f} nats" if last.get("kl") is not None else ""
    echo(f"done: {counted(outcome.iteration, 'iteration')}{kl}")
    echo(f"open {page} to see it; draw with: {draw}")


def written(path: Path) -> Path:
    """The report of a run, written. Whatever comes in the way is said, and ends nothing: the run is whole without."""
    from anila.reports.page import write_page
    from anila.runs.folder.run import Run

    page = Run(path).report_path
    try:
        with warnings_to(lambda _: None):  # what is to be said of the data was said in training
            write_page([path], page)
    except Exception as error:
        note(f"the report could not be written: {type(error).__name__}: {error}")
    return page


def describe(config: Any, as_json: bool) -> None:
    """The resolved settings, what they reach and what they cost."""
    from dataclasses import asdict

    from anila.runs.training.preflight import look_ahead

    ahead = look_ahead(config)
    if as_json:
        print_json(asdict(ahead) | {"settings": asdict(config)})
        return
    settings = asdict(config)
    stages = settings.pop("stages")
    for group, values in settings.items():
        echo(f"[{group}]  " + spelled(values))
    for number, stage in enumerate(stages, 1):
        own = {key: stage[key] for key in ("iterations", "share") if stage[key] is not None}
        echo(f"[stages.{number}]  " + spelled(own))
        for group, values in stage["changes"].items():
            echo(f"[stages.{number}.{group}]  " + spelled(values))
    echo()
    for line in ahead.description:
        echo(line)
    for warning in ahead.warnings:
        echo(f"warning: {warning}")


def spelled(values: dict[str, Any]) -> str:
    """Settings as they are typed."""
    return "  ".join(f"{key}={value}" for key, value in values.items())


def show_times(config: Any, as_json: bool) -> None:
    """A line for each part of an iteration: milliseconds, and the share of the whole; a table a stage."""
    from anila.runs.training.profile import profile

    tables = [profile(stage) for stage in config.flat]
    if as_json:
        print_json({"stages": tables} if config.stages else tables[0])
        return
    for number, (stage, seconds) in enumerate(zip(config.flat, tables, strict=True), 1):
        if config.stages:
            echo(f"stage {number}/{len(tables)}: {stage.objective.name}")
        for name, value in sorted(seconds.items(), key=lambda item: -item[1]):
            echo(f"{name:24}{1000 * value:12.3f} ms{value / seconds['iteration']:8.1%}")


@app.command(cls=Command)
def sample(
    run: ModelFolder,
    count: Annotated[int, typer.Option(min=1, max=MOST, help="Number of samples.")],
    out: Annotated[
        Path,
        typer.Option(
            help="FILE.npz, .npy, .csv, .tsv, .parquet, or .png for a picture.", callback=samples_file, is_eager=True
        ),
    ],
    steps: Annotated[int | None, typer.Option(min=1, max=MOST, help="Transitions from the kept chains.")] = None,
    label: Label = None,
    seed: Seed = 0,
) -> None:
    """Draw samples from a run."""
    trained = load(run)
    from anila.applications.files.outputs import require_disk, require_form, write_samples
    from anila.data import Table

    spare(out, data_of(trained))
    require_form(trained.data.event_shape, out)
    require_disk(trained.data.event_shape, count, out)
    with progress_in(count, "samples") as watch:
        x = trained.draw(count, seed, steps, label, watch)
    write_samples(trained, x, out)
    echo(f"{counted(count, 'sample')} in {out}")
    if isinstance(trained.data, Table):
        echo(f"to compare such rows with rows kept out of training: {as_typed('anila', 'evaluate', run)}")


@app.command(cls=Command)
def evaluate(
    run: RunFolder,
    count: Annotated[
        int | None,
        typer.Option(min=2, max=MOST, help="Samples to draw: 4,000 points, or as many images as take a minute."),
    ] = None,
    seed: Seed = 1,
    likelihood: Annotated[bool, typer.Option("--likelihood", help="log Z and likelihood, annealed: slow.")] = False,
    inception: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights of Inception: images are scored by FID and KID.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score a run: RUN/scores.json and a table."""
    from anila.evaluation.samples import inception as inception_features
    from anila.reports.count import count_of
    from anila.reports.scores import evaluate_run

    extractor = inception_features(inception) if inception else None
    trained = load(run)
    count = count or count_of(trained)
    with progress_in(count, "samples") as watch:
        scores = evaluate_run(trained, run, count, seed, likelihood, extractor, watch)
    if as_json:
        print_json(scores)
        return
    names = {name: name for name in scores} | scores["protocol"].get("names", {})
    width = max(map(len, names.values()))
    for name, value in scores.items():
        if name != "protocol":
            shown = " ".join(f"{v:.3f}" for v in value) if isinstance(value, list) else f"{value:.5g}"
            echo(f"{names[name]:{width}} {shown}")
    for line in scores["protocol"].get("drawn_rows", {}).get("verdict", []):
        echo(line)
    echo(f"of {counted(scores['protocol']['samples'], 'sample')}; written to {run / 'scores.json'}")


@app.command(cls=Command)
def diagnose(
    what: Annotated[str, typer.Argument(metavar="RUN|TARGET|FILE.py:NAME", help="A run, a density, or your own f.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Sampler settings.")] = None,
    sampler: Annotated[
        str | None, typer.Option(help="Name or FILE.py:NAME; by default the run's, or anisotropic_mala.")
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=200, max=MOST, help="Transitions: 100 K of a run's long chains, 1000 of a density's."),
    ] = None,
    dim: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="Coordinates per point of your own log-density.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the figures; RUN/samples for a run.")] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Judge a run, or chains on a density: its regime, a verdict in plain words, and figures."""
    from anila.runs.catalogue import DENSITIES, require_density

    require_folder(out)
    what = what if what in DENSITIES else run_or_word(what)
    require_density(what, DENSITIES, "density or run")
    from anila.reports.diagnosis import RunDiagnosis
    from anila.reports.diagnosis import diagnose as diagnose_chains
    from anila.reports.fit import FitDiagnosis
    from anila.runs.folder.run import Run

    diagnosis = diagnose_chains(what, sampler, overrides or [], steps, seed, dim, note)
    folder = out or (Path(what) / "samples" if isinstance(diagnosis, RunDiagnosis | FitDiagnosis) else None)
    figures = diagnosis.save(folder) if folder else []
    if isinstance(diagnosis, RunDiagnosis) and not (out or sampler or overrides):
        diagnosis.write(Run(what))
    if as_json:
        print_json(diagnosis.verdict.as_dict())
        return
    for line in diagnosis.verdict.lines:
        echo(line)
    echo(f"figures: {', '.join(map(str, figures))}" if figures else "for figures: --out FOLDER")


COMMANDS = (
    inpaint, denoise, restore, purify, edit, outliers, compose, export, classify, compare, reproduce, report,
    playground,
)  # fmt: skip
for command in COMMANDS:
    app.command(cls=Command)(command)


def shell_line(anew: bool) -> str:
    """This command as it can be typed again to go on: it overwrites only where there is nothing yet to go on from."""
    return as_typed("anila", *(word for word in sys.argv[1:] if anew or word != "--overwrite"))

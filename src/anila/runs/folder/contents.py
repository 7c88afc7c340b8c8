"""What the folder of a run holds. Only this is ever deleted there: what else lies in it is its owner's.

config.json      the resolved settings, the version, the data's fingerprint
stats.jsonl      one object a log line: metrics, or an event: a return of the divergence guard or that it gave up, the
                 beginning of a stage
series.csv       one short line an iteration: the metrics whose course anila.evaluation.training reads
checkpoints/     NUMBER/ (see anila.runs.folder.checkpoint); the newest two, the best, the one that a stage began with
samples/         pictures of training; those that `anila evaluate` and `anila diagnose` draw
scores.json      what `anila evaluate` found
diagnosis.json   what `anila diagnose` found
report.html      the run as a page (see anila.reports.page)
log.txt          what was said
lock, .lock      process and machine that train here now, and the kernel's lock (see anila.runs.folder.lock)
tensorboard/     and wandb/, where training.log_to asks for them (see anila.runs.folder.logs)
"""

from pathlib import Path
from typing import Any

FOLDERS = ("checkpoints", "samples", "tensorboard", "wandb")
LOCKS = ("lock", ".lock")
NUMBER = "[0-9]" * 9
PICTURES = ("curves", "evaluation", "nearest", "long_chains", "course", "ladder", "chains", "drift", "coupling", "fit")
OWN = (
    *(f"samples/{name}.png" for name in (NUMBER, *PICTURES)),
    f"checkpoints/{NUMBER}",
    "checkpoints/best.json",
    "tensorboard/events.out.tfevents.*",
    *(f"wandb/{name}" for name in ("id", "run-*", "offline-run-*", "latest-run", "debug*.log")),
    *(f"{folder}.*.writing" for folder in ("", "checkpoints/", "samples/")),
    *("stats.jsonl", "series.csv", "scores.json", "diagnosis.json", "report.html", "log.txt", "config.json"),
)
"""Patterns of the files and folders that a run writes; config.json, which makes the folder a run, is the last."""


def own(folder: Path) -> list[Path]:
    """What a run wrote into its folder, config.json last."""
    return [path for pattern in OWN for path in folder.glob(pattern)]


def foreign(folder: Path) -> list[str]:
    """What lies in the folder of a run and is not the run's, as relative paths."""
    known = {*own(folder), *(folder / name for name in (*FOLDERS, *LOCKS))}
    rooms = [folder, *(folder / name for name in FOLDERS)]
    found = [path for room in rooms if room.is_dir() for path in room.iterdir()]
    return sorted(str(path.relative_to(folder)) for path in found if path not in known)


def run_of(path: Path) -> Path | None:
    """The run that a file is part of; a page of it may be written anew, so is none."""
    rooms = [room for room in path.parents[:2] if (room / "config.json").is_file() and (room / "checkpoints").is_dir()]
    return next((room for room in rooms if path in own(room) and path.suffix != ".html"), None)


def describes_a_run(config: dict[str, Any]) -> bool:
    """Whether a config.json is that of a run: other programs have files of this name too."""
    versions = config.get("versions")
    return isinstance(config.get("experiment"), dict) and isinstance(versions, dict) and "anila" in versions

"""The contents of a run's folder. Only these are ever deleted there: everything else in it belongs to the user.

config.json      the resolved settings, the version, the data's fingerprint
stats.jsonl      one object per line: metrics, or an event: a return of the divergence guard or that it gave up, the
                 beginning of a stage
series.csv       one short line per iteration: the metrics whose course anila.evaluation.training reads
checkpoints/     NUMBER/ (see anila.runs.folder.checkpoint); the newest two, the best, the one with which a stage began
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
"""Patterns of the files and folders that a run writes; config.json, which makes the folder a run, comes last."""


def own(folder: Path) -> list[Path]:
    """Paths that a run wrote into its folder, config.json last."""
    return [path for pattern in OWN for path in folder.glob(pattern)]


def foreign(folder: Path) -> list[str]:
    """Relative paths in the folder of a run that do not belong to the run."""
    known = {*own(folder), *(folder / name for name in (*FOLDERS, *LOCKS))}
    rooms = [folder, *(folder / name for name in FOLDERS)]
    found = [path for room in rooms if room.is_dir() for path in room.iterdir()]
    return sorted(str(path.relative_to(folder)) for path in found if path not in known)


def run_of(path: Path) -> Path | None:
    """The run to which a file belongs; its page may be rewritten, so it does not count."""
    rooms = [room for room in path.parents[:2] if (room / "config.json").is_file() and (room / "checkpoints").is_dir()]
    return next((room for room in rooms if path in own(room) and path.suffix != ".html"), None)


def describes_a_run(config: dict[str, Any]) -> bool:
    """Whether a config.json belongs to a run: other programs use this name too."""
    versions = config.get("versions")
    return isinstance(config.get("experiment"), dict) and isinstance(versions, dict) and "anila" in versions

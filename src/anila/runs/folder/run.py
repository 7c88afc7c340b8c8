"""The run folder: everything a run leaves behind, and the only thing that reports and later commands read.

Its contents are listed in `anila.runs.folder.contents`.
"""

import contextlib
import json
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from anila.messages import Say, as_json, as_typed
from anila.runs.folder import checkpoint, overwrite
from anila.runs.folder.contents import foreign
from anila.runs.folder.lock import Lost, RunError, locked
from anila.runs.folder.logs import Logs, surviving_disk
from anila.runs.folder.place import Place
from anila.runs.folder.whole import write_atomically

BACK = "the old run was put back as it was: the new one had no checkpoint yet"


class Run:
    """The run in one folder.

    Args:
        path: The folder; created by `claim`.

    Attributes:
        lost: What happened to the folder while the run was written; None if nothing did.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.place: Place | None = None
        self.record: dict[str, Any] = {}
        self.lost: str | None = None
        self.logs = Logs()

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def stats_path(self) -> Path:
        return self.path / "stats.jsonl"

    @property
    def series_path(self) -> Path:
        return self.path / "series.csv"

    @property
    def scores_path(self) -> Path:
        return self.path / "scores.json"

    @property
    def diagnosis_path(self) -> Path:
        return self.path / "diagnosis.json"

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    @classmethod
    def existing(cls, path: Path | str) -> "Run":
        """The run in a folder that holds one.

        Raises:
            RunError: If it does not, or the run is being overwritten.
        """
        run = cls(path)
        run.settle()
        if not (run.path / "config.json").is_file():
            other = "is a file, not the folder of a run" if run.path.is_file() else "is not a folder"
            what = "is not a run: it has no config.json" if run.path.is_dir() else other
            runs = sorted(str(config.parent) for config in run.path.glob("*/config.json"))
            taken = run.path.is_file() or (run.path.is_dir() and any(run.path.iterdir()))
            do = f"make a run with: {as_typed('anila', 'train', 'PRESET', '--run', 'NEW_FOLDER' if taken else path)}"
            if runs:
                do = f"runs in it: {', '.join(runs)}"
            elif run.path.name.partition(":")[0].endswith(".py"):
                do = "a density of your own is for: anila diagnose FILE.py:NAME, and anila playground FILE.py:NAME"
            elif (run.path / "anila.json").is_file():
                do = "it is an exported model: give the run it came from"
            raise RunError(f"{run.path.absolute()} {what}; {do}")
        return run

    def config(self) -> dict[str, Any] | None:
        """The content of config.json; None if there is none yet.

        Raises:
            RunError: If the file is unreadable, or missing beside checkpoints.
        """
        path = self.path / "config.json"
        if not path.exists():
            if checkpoint.listed(self.checkpoints):
                raise RunError(
                    f"{self.path.absolute()} holds checkpoints but no config.json, so nothing says whose they "
                    "are; put the file back, choose another --run, or delete the folder"
                )
            return None
        try:
            config = dict(json.loads(path.read_text(encoding="utf-8")))
            return config | {name: dict(config[name]) for name in ("data", "versions") if name in config}
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise RunError(
                f"{path.absolute()} is unreadable: {error}; put a copy in its place, or delete the folder"
            ) from None

    @contextlib.contextmanager
    def claim(self) -> Iterator[None]:
        """Create the folder, check that it can be written, and hold its lock.

        Raises:
            RunError: If it cannot be written, holds something other than a run, or another process trains in it.
        """
        with self.refusing():
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "lock").touch()
        with locked(self.path):
            checkpoint.recover(self.checkpoints)
            overwrite.settle(self.path)
            self.make_rooms()
            self.place = Place(self.path)
            try:
                yield
            finally:
                self.place.close()

    def make_rooms(self) -> None:
        """Create the folders for pictures and checkpoints."""
        with self.refusing():
            self.samples.mkdir(parents=True, exist_ok=True)
            self.checkpoints.mkdir(exist_ok=True)

    def follow(self) -> bool:
        """Whether the folder was moved, removed or emptied; the run then follows it, or is created anew."""
        if self.lost or self.place is None:
            return self.lost is not None
        there = self.place.holds()
        if there and (self.path / "config.json").exists():
            return False
        former = self.path.absolute()
        if not there and (now := self.place.now()):
            self.path, self.lost = now, f"the run's folder {former} was moved to {now} during the run"
            return True
        if not there and self.path.exists():  # it belongs to someone else by now
            self.path = Path(tempfile.mkdtemp(prefix=f"{self.path.name}-saved-", dir=former.parent))
        self.lost = f"the contents of the run's folder {former} were removed during the run"
        try:
            self.make_rooms()
            self.write_config(self.record)
        except (OSError, RunError) as error:
            raise Lost(f"{self.lost}, and nothing can be saved there: {error}") from None
        return True

    @contextlib.contextmanager
    def refusing(self) -> Iterator[None]:
        """Turn errors of the file system into the refusal that no run can be in this folder."""
        try:
            yield
        except OSError as error:
            raise RunError(f"cannot write the run to {self.path.absolute()}: {error.strerror}") from None

    def settle(self) -> bool:
        """Restore a run that a process was overwriting when it died.

        Returns:
            Whether there was one.

        Raises:
            RunError: If that process is alive, or the folder cannot be written.
        """
        if not overwrite.is_unsettled(self.path):
            return False
        with self.claim():
            return True

    @contextlib.contextmanager
    def overwriting(self, say: Say) -> Iterator[None]:
        """Inside, the existing run is set aside; it is put back if the new one ends without a checkpoint.

        Raises:
            RunError: If an earlier overwritten run is still set aside.
        """
        if self.config() is None:
            yield
            return
        if rest := overwrite.lying_aside(self.path):
            raise RunError(f"{rest[0].parent.absolute()} cannot be deleted; delete it before you overwrite another run")
        if others := foreign(self.path):
            say(f"left in place, as not the run's own: {', '.join(others)}")
        try:
            overwrite.set_aside(self.path)
            yield
        finally:
            if overwrite.settle(self.path):
                say(BACK)

    def save(self, iteration: int, parts: dict[str, Any], floor: int = 0) -> None:
        """Write a checkpoint; if it is the first after a run was overwritten, the old run is deleted.

        Args:
            iteration: As in `checkpoint.save`.
            parts: As there.
            floor: As there.

        Raises:
            OSError: If the checkpoint cannot be written.
        """
        checkpoint.save(self.checkpoints, iteration, parts, floor)
        overwrite.let_go(self.path)

    def mark_if_best(self, line: dict[str, Any]) -> None:
        """Mark the checkpoint of an iteration as best if the KL in its line of stats.jsonl is the lowest so far."""
        path, score = self.checkpoints / f"{line['iteration']:09d}", line.get("kl")
        if isinstance(score, float | int) and score < checkpoint.best_score(self.checkpoints) and path.is_dir():
            with surviving_disk(path.with_name("best.json")):
                checkpoint.mark_best(self.checkpoints, path, score)

    def write_config(self, config: dict[str, Any]) -> None:
        self.record = config
        write_atomically(self.path / "config.json", json.dumps(config, indent=2))

    def write_scores(self, scores: dict[str, Any]) -> None:
        write_atomically(self.scores_path, as_json(scores, indent=2))

    def write_diagnosis(self, diagnosis: dict[str, Any]) -> None:
        write_atomically(self.diagnosis_path, as_json(diagnosis, indent=2))

    def scores(self) -> dict[str, Any]:
        """The findings of `anila evaluate`; empty before it ran."""
        return read_json(self.scores_path)

    def diagnosis(self) -> dict[str, Any]:
        """The findings of `anila diagnose`; empty before it ran."""
        return read_json(self.diagnosis_path)

    def append_stats(self, line: dict[str, Any]) -> None:
        """Append a line to stats.jsonl, and send metrics to the other writers; failures do not end training."""
        with surviving_disk(self.stats_path):
            append_line(self.stats_path, as_json(line))
        if "event" not in line:
            metrics = {name: value for name, value in line.items() if name != "iteration"}
            self.logs.each(lambda writer: writer.scalars(line["iteration"], metrics))

    def show(self, iteration: int, path: Path) -> None:
        """Send a picture to the other writers."""
        self.logs.each(lambda writer: writer.picture(iteration, path))

    def stats(self) -> list[dict[str, Any]]:
        """The metrics in stats.jsonl, one line per logged iteration."""
        return [numbers_in(line) for line in self.lines() if "event" not in line]

    def events(self) -> list[dict[str, Any]]:
        """The lines that the divergence guard wrote to stats.jsonl."""
        found = [e for e in self.lines() if e.get("event") == "rollback" and {"from", "why", "change"} <= e.keys()]
        return [event for event in found if isinstance(event["from"], int)]

    def switches(self) -> list[int]:
        """The iterations after which a later stage began."""
        return [line["iteration"] for line in self.lines() if line.get("event") == "stage"]

    def failure(self) -> dict[str, Any] | None:
        """Where and why training was given up; None if it was not, or has continued since."""
        last = self.lines()[-1:]
        return last[0] if last and last[0].get("event") == "failure" and "why" in last[0] else None

    def returns(self) -> list[str]:
        """What the divergence guard did, in words."""
        return [f"from {e['from']} back to {e['iteration']} with {e['change']} ({e['why']})" for e in self.events()]

    def lines(self) -> list[dict[str, Any]]:
        """The lines of stats.jsonl, without truncated ones."""
        if not self.stats_path.exists():
            return []
        lines = []
        for text in self.stats_path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                lines.append(json.loads(text))
        return [line for line in lines if isinstance(line, dict) and isinstance(line.get("iteration"), int)]

    def append_series(self, iteration: int, metrics: Mapping[str, float]) -> None:
        """Append a line to series.csv; new metrics get new columns."""
        with surviving_disk(self.series_path):
            if not self.series_path.exists():
                append_line(self.series_path, ",".join(["iteration", *metrics]))
            names = self.series_names()
            if new := [name for name in metrics if name not in names]:
                names = self.widen_series(new)
            values = [metrics.get(name, math.nan) for name in names[1:]]
            append_line(self.series_path, series_line([float(iteration), *values]))

    def widen_series(self, new: list[str]) -> list[str]:
        """Add empty columns to series.csv, and return the names of all."""
        names, rows = self.series_rows()
        lines = [",".join(names + new), *(series_line(row + [math.nan] * len(new)) for row in rows)]
        write_atomically(self.series_path, "".join(line + "\n" for line in lines))
        return names + new

    def series(self, after: int = 0) -> dict[str, list[float]]:
        """The columns of series.csv, without truncated lines.

        Args:
            after: Iterations up to this one are left out too.
        """
        names, rows = self.series_rows()
        return {name: [row[k] for row in rows if row[0] > after] for k, name in enumerate(names)}

    def series_names(self) -> list[str]:
        """The names in the first line of series.csv."""
        with self.series_path.open(encoding="utf-8", errors="replace") as file:
            return file.readline().rstrip("\n").split(",")

    def series_rows(self) -> tuple[list[str], list[list[float]]]:
        """The names in the first line of series.csv, and its complete other lines."""
        if not self.series_path.exists():
            return ["iteration"], []
        rows = []
        text = self.series_path.read_text(encoding="utf-8", errors="replace")
        head, *lines = text.rpartition("\n")[0].splitlines() or ["iteration"]
        for line in lines:
            with contextlib.suppress(ValueError):
                rows.append([float(value) if value else math.nan for value in line.split(",")])
        names = head.split(",")
        return names, [row for row in rows if len(row) == len(names)]

    def forget_after(self, iteration: int) -> None:
        """Drop the records of iterations after the checkpoint from which the run resumes; returns of the guard stay."""
        known = [line for line in self.lines() if line.get("event") != "failure"]
        kept = [line for line in known if line.get("event") == "rollback" or line["iteration"] <= iteration]
        names, rows = self.series_rows()
        if rows := [row for row in rows if row[0] <= iteration]:
            text = "".join(line + "\n" for line in [",".join(names), *map(series_line, rows)])
            with surviving_disk(self.series_path):
                write_atomically(self.series_path, text)
        else:
            self.series_path.unlink(missing_ok=True)
        with surviving_disk(self.stats_path):
            write_atomically(self.stats_path, "".join(as_json(line) + "\n" for line in kept))
        self.logs.each(lambda writer: writer.rewind(iteration))

    def log(self, text: str) -> None:
        """Append a line to log.txt."""
        path = self.path / "log.txt"
        with surviving_disk(path):
            append_line(path, text)


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty if it is missing or damaged."""
    with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    return {}


def numbers_in(line: dict[str, Any]) -> dict[str, Any]:
    """The entries of a line that are numbers and fit a float; foreign entries are left out."""
    return {
        k: v
        for k, v in line.items()
        if v is None or (isinstance(v, float) and math.isfinite(v)) or (isinstance(v, int) and abs(v) < 2**1000)
    }


def series_line(values: Sequence[float]) -> str:
    """A line of series.csv: six digits per value, whole iterations, and empty cells for missing values."""
    return ",".join([f"{values[0]:.0f}", *("" if math.isnan(value) else f"{value:.6g}" for value in values[1:])])


def append_line(path: Path, text: str) -> None:
    """Append a line to a file, on a new line even if the last one was truncated."""
    with path.open("ab+") as file:
        end = file.tell()
        file.seek(max(0, end - 1))
        whole = file.read(1) in (b"", b"\n")
        file.write(("" if whole else "\n").encode() + text.encode() + b"\n")

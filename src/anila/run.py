"""The run folder: everything a run leaves behind, and the only thing that reports and later commands read.

config.json      the resolved settings, the version, the data's fingerprint
stats.jsonl      one object a log line: metrics, or an event of the divergence guard
series.csv       one short line an iteration: what anila.diagnostics reads the course of training from
checkpoints/     NUMBER/ (see anila.checkpoint); the newest two and the best
samples/         pictures, and the samples drawn at the end
scores.json      what `anila evaluate` found
log.txt          what was said
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from anila.checkpoint import write_atomically

SERIES = ("iteration", "energy_gap", "grad_norm", "theta_grad_norm", "clipped", "chain_range")
"""The columns of series.csv."""


class RunError(ValueError):
    """A folder that cannot be this run: in use, another run's, or not writable."""


class Run:
    """The run in one folder.

    Args:
        path: The folder; made by `claim`.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.samples = self.path / "samples"
        self.stats_path = self.path / "stats.jsonl"
        self.series_path = self.path / "series.csv"
        self.scores_path = self.path / "scores.json"

    @classmethod
    def existing(cls, path: Path | str) -> "Run":
        """The run in a folder that holds one.

        Raises:
            RunError: If it does not.
        """
        run = cls(path)
        if not (run.path / "config.json").is_file():
            what = "is not a run: it has no config.json" if run.path.is_dir() else "is not a folder"
            raise RunError(f"{run.path.absolute()} {what}; a run is made by: anila train PRESET --run {path}")
        return run

    def config(self) -> dict[str, Any] | None:
        """What config.json says, None where there is none yet.

        Raises:
            RunError: If the file is unreadable.
        """
        path = self.path / "config.json"
        if not path.exists():
            return None
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"{path.absolute()} is unreadable: {error}") from None

    @contextlib.contextmanager
    def claim(self) -> Iterator[None]:
        """Make the folder, prove it can be written, and hold its lock.

        Raises:
            RunError: If it cannot be written, holds something else than a run, or another process runs in it.
        """
        try:
            self.samples.mkdir(parents=True, exist_ok=True)
            self.checkpoints.mkdir(exist_ok=True)
            write_atomically(self.path / ".probe", "")
            (self.path / ".probe").unlink()
        except OSError as error:
            raise RunError(f"cannot write the run to {self.path.absolute()}: {error.strerror}") from None
        lock = self.path / "lock"
        take_lock(lock)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)

    def write_config(self, config: dict[str, Any]) -> None:
        write_atomically(self.path / "config.json", json.dumps(config, indent=2))

    def write_scores(self, scores: dict[str, Any]) -> None:
        write_atomically(self.scores_path, json.dumps(scores, indent=2))

    def append_stats(self, line: dict[str, Any]) -> None:
        """One more line of stats.jsonl."""
        with self.stats_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def stats(self) -> list[dict[str, Any]]:
        """The metrics in stats.jsonl, a line an iteration that was logged."""
        return [line for line in self.lines() if "event" not in line]

    def events(self) -> list[dict[str, Any]]:
        """What the divergence guard wrote to stats.jsonl."""
        return [line for line in self.lines() if "event" in line]

    def lines(self) -> list[dict[str, Any]]:
        """The lines of stats.jsonl; a last line cut short is left out."""
        if not self.stats_path.exists():
            return []
        lines = []
        for text in self.stats_path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(text))
        return lines

    def append_series(self, iteration: int, metrics: dict[str, float]) -> None:
        """One more line of series.csv."""
        with self.series_path.open("a", encoding="utf-8") as file:
            file.write(series_line([float(iteration), *(metrics[name] for name in SERIES[1:])]))

    def series(self) -> dict[str, list[float]]:
        """The columns of series.csv; a line cut short is left out."""
        rows = self.series_rows()
        return {name: [row[k] for row in rows] for k, name in enumerate(SERIES)}

    def series_rows(self) -> list[list[float]]:
        """The complete lines of series.csv."""
        if not self.series_path.exists():
            return []
        lines = self.series_path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]
        return [list(map(float, line.split(","))) for line in lines if line.endswith("\n")]

    def forget_after(self, iteration: int) -> None:
        """Drop the metrics of iterations that the checkpoint resumed from does not know; events stay."""
        kept = [line for line in self.lines() if "event" in line or line["iteration"] <= iteration]
        rows = [row for row in self.series_rows() if row[0] <= iteration]
        write_atomically(self.series_path, ",".join(SERIES) + "\n" + "".join(map(series_line, rows)))
        write_atomically(self.stats_path, "".join(json.dumps(line) + "\n" for line in kept))

    def log(self, text: str) -> None:
        """One more line of log.txt."""
        with (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def series_line(values: Sequence[float]) -> str:
    """A line of series.csv, six digits a value but whole iterations."""
    return ",".join([f"{values[0]:.0f}", *(f"{value:.6g}" for value in values[1:])]) + "\n"


def take_lock(lock: Path) -> None:
    """Write pid and host into the lock file; a dead process's lock is taken over.

    Raises:
        RunError: If a live process holds it.
    """
    me = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
    for _ in range(2):
        try:
            with lock.open("x") as file:
                file.write(me)
            return
        except FileExistsError:
            holder = holder_of(lock)
            if holder:
                raise RunError(
                    f"{holder} is training in {lock.parent.absolute()}; wait for it, choose another --run, or delete "
                    f"the file {lock.name} there if it is gone"
                ) from None
            lock.unlink(missing_ok=True)
    raise RunError(f"another process took {lock.absolute()}")


def holder_of(lock: Path) -> str | None:
    """Who holds a lock, None if that process is dead or the file says nothing."""
    try:
        holder = json.loads(lock.read_text())
        pid, host = int(holder["pid"]), str(holder["host"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return f"process {pid} on {host}" if host != socket.gethostname() or is_alive(pid) else None


def is_alive(pid: int) -> bool:
    """Whether a process of this machine exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()

"""Checkpoints: nested dictionaries of tensors and numbers, in safetensors and JSON, with a checksum for every file.

A checkpoint is a folder named by its iteration. It is written under a temporary name, flushed to disk and renamed, and
renamed again before it is deleted, so a folder with a number is always complete; `manifest.json` holds the sha256 of
every other file, so damage is noticed. Nothing is ever unpickled.

.writing-N     being written            .replaced-N   the former N, until the new one has its name
.dropped-N     being deleted
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from anila.runs.folder.whole import write_atomically

KEPT = 2
"""Number of newest checkpoints kept: the last, and one to fall back on if it is damaged."""
SETTLED = 20
"""A checkpoint has proved good if training has not run away for this many iterations; one such is kept too."""
TENSOR, PAIRS = "$tensor", "$pairs"
WINDOWS = os.name == "nt"


class Damaged(ValueError):
    """A checkpoint that is incomplete, does not match its checksums, or belongs to something else."""


def save(folder: Path, iteration: int, parts: dict[str, Any], floor: int = 0) -> Path:
    """Write checkpoint `iteration` into folder and drop those no longer needed.

    Args:
        folder: The run's checkpoints.
        iteration: Names the checkpoint.
        parts: Name -> nested dictionaries, lists, numbers, strings and tensors; each becomes NAME.safetensors and
            NAME.json.
        floor: The iteration of a checkpoint that must stay: the one with which a stage began.

    Raises:
        OSError: From the file system (disk full, no permission); older checkpoints stay as they are.
    """
    final, aside = folder / f"{iteration:09d}", folder / f".writing-{iteration:09d}"
    recover(folder)
    aside.mkdir(parents=True)
    try:
        for name, part in parts.items():
            tensors: dict[str, Tensor] = {}
            outline = split(part, tensors)
            write_tensors(tensors, aside / f"{name}.safetensors")
            (aside / f"{name}.json").write_text(json.dumps(outline))
        sums = {path.name: digest(path) for path in sorted(aside.iterdir())}
        (aside / "manifest.json").write_text(json.dumps({"iteration": iteration, "sha256": sums}, indent=1))
        flush(*aside.iterdir(), aside)
        former = final.with_name(f".replaced-{final.name}")
        if final.exists():
            final.rename(former)
        aside.rename(final)
        flush(folder)
        if former.exists():
            drop(former)
    except BaseException:
        recover(folder)
        raise
    needed = {
        *listed(folder)[-KEPT:],
        best_of(folder),
        folder / f"{floor:09d}",
        *up_to(folder, iteration - SETTLED)[-1:],
    }
    for old in listed(folder):
        if old not in needed:
            drop(old)
    return final


def recover(folder: Path) -> None:
    """Clean up after a process that died while writing or deleting here; only for the one process that writes."""
    for former in folder.glob(".replaced-*"):
        final = folder / former.name.removeprefix(".replaced-")
        if final.exists():
            drop(former)
        else:
            former.rename(final)
    for rest in [*folder.glob(".writing-*"), *folder.glob(".dropped-*")]:
        shutil.rmtree(rest, ignore_errors=True)


def drop(path: Path) -> None:
    """Delete a checkpoint so that no part of it keeps its name."""
    gone = path.with_name(f".dropped-{path.name.rpartition('-')[2]}")
    shutil.rmtree(gone, ignore_errors=True)
    path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a safetensors file.

    Raises:
        OSError: From the file system, which safetensors reports in its own words.
    """
    try:
        save_file(in_memory_apart(tensors), path)
    except SafetensorError as error:
        if code := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from None
        raise OSError(f"{path}: {error}") from None


def in_memory_apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, each with its own memory: safetensors refuses tied weights."""
    found: dict[str, Tensor] = {}
    taken = set[int]()
    for name, value in tensors.items():
        plain = value.detach().cpu().contiguous()
        memory = plain.untyped_storage().data_ptr()
        found[name] = plain.clone() if memory in taken else plain
        taken.add(memory)
    return found


def load(path: Path, *names: str) -> tuple[int, dict[str, Any]]:
    """The iteration and the named parts of the checkpoint at path, verified first.

    Raises:
        Damaged: Naming the file that is missing, altered or not what it claims to be.
    """
    manifest = verify(path)
    parts = {}
    for name in names:
        for file in (f"{name}.safetensors", f"{name}.json"):
            if file not in manifest["sha256"]:
                raise Damaged(f"{path.name}/manifest.json does not list {file}")
        try:
            tensors = load_file(path / f"{name}.safetensors")
            parts[name] = join(json.loads((path / f"{name}.json").read_text()), tensors)
        except (OSError, KeyError, TypeError, ValueError, RecursionError, SafetensorError) as error:
            raise Damaged(f"{path.name}/{name} is not a part of a checkpoint: {error}") from None
    return manifest["iteration"], parts


def verify(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint all of whose files match their checksums.

    Raises:
        Damaged: Naming the first file that does not.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        sums = manifest["sha256"] = {str(name): str(expected) for name, expected in manifest["sha256"].items()}
        iteration = manifest["iteration"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Damaged(f"{path.name}/manifest.json is missing or unreadable") from None
    if type(iteration) is not int or path.name != f"{iteration:09d}":
        raise Damaged(f"{path.name}/manifest.json belongs to iteration {iteration!r}")
    for name, expected in sums.items():
        try:
            found = digest(path / Path(name).name)
        except OSError:
            raise Damaged(f"{path.name}/{name} is missing or unreadable") from None
        if found != expected:
            raise Damaged(f"{path.name}/{name} does not match its checksum: the file was altered or cut short")
    return manifest


def newest(folder: Path, check: Callable[[Path], Any] = verify) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that `check` finds undamaged, and a notice for each newer one.

    One that disappears while it is read, as old ones do while a run trains, does not count: there are newer ones by
    then.
    """
    notices, seen = [], set[Path]()
    while left := [path for path in listed(folder) if path not in seen]:
        path = left[-1]
        seen.add(path)
        try:
            check(path)
        except Damaged as damage:
            notices += [f"checkpoint {damage}"] if path.is_dir() else []
        else:
            return path, notices
    return None, notices


def proved(folder: Path, iteration: int, floor: int = 0) -> Path | None:
    """The newest sound checkpoint at or before this iteration, down to the floor; None if there is none."""
    for path in reversed(up_to(folder, iteration)):
        if int(path.name) < floor:
            break
        with contextlib.suppress(Damaged):
            verify(path)
            return path
    return None


def up_to(folder: Path, iteration: int) -> list[Path]:
    """The checkpoints up to this iteration, oldest first."""
    return [path for path in listed(folder) if int(path.name) <= iteration]


def forget_after(folder: Path, iteration: int) -> None:
    """Delete the checkpoints of later iterations, newest first, and the mark of the best if it was one of them."""
    for path in reversed(listed(folder)):
        if int(path.name) > iteration:
            drop(path)
    if best_of(folder) is None:
        forget_best(folder)


def listed(folder: Path) -> list[Path]:
    """Complete checkpoints, ordered by number, oldest first. Folders with other names belong to the user."""
    named = (p for p in folder.glob("[0-9]*") if p.name.isdecimal() and p.name == f"{int(p.name):09d}")
    return sorted((p for p in named if p.is_dir()), key=lambda p: int(p.name))


def mark_best(folder: Path, path: Path, score: float) -> None:
    """Mark path as the best checkpoint; lower scores are better."""
    write_atomically(folder / "best.json", json.dumps({"checkpoint": path.name, "score": score}))


def forget_best(folder: Path) -> None:
    """Remove the mark of the best checkpoint."""
    (folder / "best.json").unlink(missing_ok=True)


def best_of(folder: Path) -> Path | None:
    """The checkpoint marked as best, if it exists."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        name = json.loads((folder / "best.json").read_text())["checkpoint"]
        return next((path for path in listed(folder) if path.name == name), None)
    return None


def best_score(folder: Path) -> float:
    """The score of the best checkpoint; infinite if none is marked."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        return float(json.loads((folder / "best.json").read_text())["score"])
    return float("inf")


def split(value: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """The structure of value in JSON's types; its tensors go to `tensors` under their paths."""
    if isinstance(value, Tensor):
        tensors[path] = value
        return {TENSOR: path}
    if isinstance(value, dict):
        if all(isinstance(k, str) for k in value):
            return {k: split(v, tensors, f"{path}/{k}") for k, v in value.items()}
        return {PAIRS: [[k, split(v, tensors, f"{path}/{k}")] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return [split(v, tensors, f"{path}/{i}") for i, v in enumerate(value)]
    return value


def join(outline: Any, tensors: dict[str, Tensor]) -> Any:
    """The value that `split` took apart; tuples come back as lists."""
    if isinstance(outline, dict):
        if TENSOR in outline:
            return tensors[outline[TENSOR]]
        if PAIRS in outline:
            return {k: join(v, tensors) for k, v in outline[PAIRS]}
        return {k: join(v, tensors) for k, v in outline.items()}
    return [join(v, tensors) for v in outline] if isinstance(outline, list) else outline


def digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(*paths: Path) -> None:
    """Flush files and folders to disk before anything relies on them; Windows cannot open folders."""
    for path in paths:
        if not (WINDOWS and path.is_dir()):
            with descriptor(path) as fd:
                os.fsync(fd)


@contextlib.contextmanager
def descriptor(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)  # Windows flushes only files opened for writing
    try:
        yield fd
    finally:
        os.close(fd)

"""Overwriting a run so that nothing is lost: the old run is set aside until the new one has a checkpoint.

The files of the old run are renamed into folders `.overwritten` next to them, so nothing leaves its file system, and
mount points and links stay as they are. Renaming many files is not atomic, so config.json tells how far it came if the
process dies:

    config.json aside, and a checkpoint past iteration 0    the new run stands: delete the old one
    config.json aside, no such checkpoint                   it does not: delete it, and put the old one back
    other files aside                                       the move was interrupted: put the old one back

For this, config.json is set aside last, put back first, and deleted last.
"""

import contextlib
import shutil
import warnings
from pathlib import Path

from anila.runs.folder import checkpoint
from anila.runs.folder.contents import FOLDERS, own

ASIDE = ".overwritten"


def set_aside(folder: Path) -> None:
    """Set the run in a folder aside; only for the process that holds its lock."""
    for path in own(folder):
        aside = path.parent / ASIDE
        aside.mkdir(exist_ok=True)
        path.rename(aside / path.name)


def settle(folder: Path) -> bool:
    """Keep one of two runs: the new one if it stands, else the old one; only for the process that holds the lock.

    Returns:
        Whether the old one is back.
    """
    return not let_go(folder) and put_back(folder)


def let_go(folder: Path) -> bool:
    """Delete the old run if the new one stands, and return whether it does."""
    if not new_one_stands(folder):
        return False
    try:
        for path in reversed(lying_aside(folder)):
            remove(path)
    except OSError as error:
        warnings.warn(f"cannot delete the run that was overwritten: {error}", RuntimeWarning, stacklevel=3)
    remove_empty(folder)
    return True


def put_back(folder: Path) -> bool:
    """Put the old run back, and return whether there is one."""
    aside = lying_aside(folder)
    if folder / ASIDE / "config.json" in aside:
        for path in own(folder):
            remove(path)
    for path in aside:
        path.rename(path.parents[1] / path.name)
    remove_empty(folder)
    return bool(aside)


def is_unsettled(folder: Path) -> bool:
    """Whether the run in a folder is incomplete: parts are set aside, and no new run has taken its place."""
    return bool(lying_aside(folder)) and not new_one_stands(folder)


def new_one_stands(folder: Path) -> bool:
    """Whether a run was overwritten by one that has passed iteration 0."""
    newest = checkpoint.listed(folder / "checkpoints")[-1:]
    return (folder / ASIDE / "config.json").exists() and any(int(path.name) > 0 for path in newest)


def lying_aside(folder: Path) -> list[Path]:
    """Paths that were set aside, config.json first."""
    found = [path for name in ("", *FOLDERS) for path in (folder / name / ASIDE).glob("*")]
    return sorted(found, key=lambda path: path != folder / ASIDE / "config.json")


def remove_empty(folder: Path) -> None:
    """Delete the emptied folders of files set aside."""
    for name in ("", *FOLDERS):
        with contextlib.suppress(OSError):
            (folder / name / ASIDE).rmdir()


def remove(path: Path) -> None:
    """Delete a file, a link or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()

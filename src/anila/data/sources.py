"""The files that a path stands for, and the images in them.

A path is a folder of images (any nesting, in name order; linked folders are not entered), a zip or tar, a folder of
archives (one after the other in name order), or MNIST's idx files. Hidden files are skipped; other files that look like
images and are not taken are noted in words, to be reported.

Folder names carry meaning. A folder that holds everything is dropped. If all images are then in `train/`, `test/`,
`val/` or another split, or some in `train/` and some in a held-out split, that folder is the split, and images outside
are left out. The last folder below the split, else above it, is the label. An archive `train.zip` counts as a folder
`train/`.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from anila.data import archives, decode, idx
from anila.data.archives import Entry, Selection, files_in, is_archive, is_image, member_name, open_archive
from anila.data.cache import some
from anila.data.foreign import local, printable_refusals, sha256_of_file
from anila.data.table_files import SUFFIXES, suffix_of
from anila.messages import counted

SPLIT = re.compile(r"(train|test|val)(ing|id|idation)?([-_ ]?(set|images|data))?\d*")
"""Names of splits: train, training_set, train2017, test, valid, validation, ..."""
UNREAD = (".heic", ".heif", ".jxl", ".jp2", ".svg", ".psd", ".raw", ".dng", ".cr2", ".nef", ".tga", ".ico", ".eps")
UNPACKED_ELSEWHERE = (*archives.SUFFIXES, ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".rar", ".7z")
ACCEPTED = ", ".join((*decode.SUFFIXES, *archives.SUFFIXES, "*-images-idx3-ubyte(.gz)"))
CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"


@dataclass(frozen=True)
class Files:
    """The files that a path stands for.

    Attributes:
        root: The path itself, absolute.
        paths: The files to read, in order.
        remarks: Files that look like images and are not read, in words.
    """

    root: Path
    paths: list[Path]
    remarks: list[str] = field(default_factory=list)

    def digest(self) -> str:
        """sha256 over names and bytes, streamed."""
        total = hashlib.sha256()
        for path in self.paths:
            total.update(f"{self.name(path)}\0{sha256_of_file(path)}\0".encode(errors="surrogateescape"))
        return total.hexdigest()

    def name(self, path: Path) -> str:
        """A file's path inside the root."""
        return path.relative_to(self.root if self.root.is_dir() else self.root.parent).as_posix()


@printable_refusals()
def survey(path: Path) -> Files:
    """Find the files of a path.

    Args:
        path: Folder, archive or idx file.

    Raises:
        FileNotFoundError: If there is nothing at the path.
        ValueError: If nothing there is an image.
    """
    path = local(path)
    if not path.exists():
        raise FileNotFoundError(f"no file or folder {path}")
    if path.is_dir():
        return survey_folder(path)
    if not path.is_file():
        raise ValueError(f"{path}: expected a folder of images or a file, got a pipe or a device")
    if not (is_archive(path.name) or idx.is_idx(path.name)):
        raise ValueError(f"{path}: expected a folder of images or one of {archives.SUFFIXES}, got a {path.suffix} file")
    return Files(path, with_labels([path]))


def survey_folder(folder: Path) -> Files:
    """idx files if there are any, else images, else archives."""
    closed: list[str] = []
    files = {path: member_name(path.relative_to(folder).as_posix()) for path in visible_files(folder, closed)}
    for wanted in (idx.is_idx, is_image, is_archive):
        found = [path for path, name in files.items() if wanted(name)]
        if found:
            rest = [name for name in files.values() if not wanted(name)]
            return Files(folder, with_labels(found), closed + passed_over(rest))
    raise ValueError(f"no images in {folder}: {seen(list(files.values()), 'give that file')}; accepted: {ACCEPTED}")


def seen(names: Sequence[str], use: str) -> str:
    """How many files of which kinds there are, and if some are tables or arrays, how to use the first."""
    kinds = Counter(suffix_of(name) or "no suffix" for name in names)
    kind = ", ".join(f"{count} {suffix}" for suffix, count in kinds.most_common(5)) or "none"
    table = next((f"; to use {name}, {use}" for name in names if suffix_of(name) in SUFFIXES), "")
    return f"{counted(len(names), 'file')} seen ({kind}){table}"


def passed_over(names: Sequence[str]) -> list[str]:
    """The files not read that look like images, in one line for each kind."""
    kinds = {
        "archive": [name for name in names if name.lower().endswith(UNPACKED_ELSEWHERE)],
        "image": [name for name in names if is_image(name)],
        "image of an unsupported kind": [n for n in names if PurePosixPath(n).suffix.lower() in UNREAD],
    }
    return [f"left out {len(found)} × {kind} ({some(found)})" for kind, found in kinds.items() if found]


def visible_files(folder: Path, closed: list[str]) -> Iterator[Path]:
    """All files except hidden ones; folders that are not entered, and what would never end, are added to `closed`."""

    def unreadable(error: OSError) -> None:
        closed.append(f"left out folder {error.filename} ({error.strerror})")

    for parent, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        closed += [
            f"left out linked folder {Path(parent, name)}" for name in folders if Path(parent, name).is_symlink()
        ]
        for path in (Path(parent, name) for name in sorted(names) if not name.startswith(".")):
            if path.is_file() or not path.exists():
                yield path
            else:
                closed.append(f"left out {path} (a pipe or a device)")


def with_labels(paths: Sequence[Path]) -> list[Path]:
    """The paths, and after each idx file of images its labels."""
    labels = {path: idx.labels_of(path) if idx.is_idx(path.name) else None for path in paths}
    return [file for path in paths for file in (path, labels[path]) if file is not None]


@contextmanager
def open_entries(files: Files) -> Iterator[list[Entry]]:
    """The images of the files, readable until the context ends.

    Args:
        files: What `survey` found.

    Raises:
        ValueError: If an archive is unsafe or unreadable, or holds no image.
    """
    with ExitStack() as stack:
        entries = [entry for path in files.paths for entry in entries_of(path, files, stack)]
        if not entries:
            names = [name for path in files.paths if is_archive(path.name) for name in files_in(path)]
            raise ValueError(
                f"no images in {files.root}: {seen(names, 'unpack it and give that file')}; accepted suffixes of "
                f"images are {', '.join(decode.SUFFIXES)}"
            )
        yield entries


def entries_of(path: Path, files: Files, stack: ExitStack) -> list[Entry]:
    if path.name == CIFAR_ARCHIVE:
        return idx.cifar_entries(path, stack)
    if is_archive(path.name):
        entries = stack.enter_context(open_archive(path))
        return entries if path == files.root else below_split(path.name.split(".")[0], entries)
    if idx.is_idx(path.name):
        return idx.idx_entries(path, stack, with_split=path != files.root)
    return [Entry(member_name(files.name(path)), path.read_bytes)] if is_image(path.name) else []


def below_split(archive: str, entries: list[Entry]) -> list[Entry]:
    """The images of one of several archives, whose name is their split if it names one and they have none."""
    if split_of(archive) is None or any(split_at(entry.name.split("/")[:-1]) is not None for entry in entries):
        return entries
    return [replace(entry, name=f"{archive}/{entry.name}") for entry in entries]


def select(entries: list[Entry], split: str, source: Path) -> Selection:
    """The images of a split.

    Args:
        entries: All images.
        split: An existing split, or "all"; without splits, "train" means all too.
        source: For messages.

    Raises:
        ValueError: If there is no such split.
    """
    folders = without_common([entry.name.split("/")[:-1] for entry in entries])
    names = [parts[at].lower() if (at := split_at(parts)) is not None else "" for parts in folders]
    splits = Counter(filter(None, names))
    if not separated(folders, splits):
        kept = list(range(len(entries))) if split in ("train", "all") else []
        held_out = {name: n for name, n in splits.items() if kept and split_of(name) != "train"}
        remarks = [f"took {counted(n, 'image')} in a folder {name!r} with the others" for name, n in held_out.items()]
        labels, splits = [parts[-1] if parts else "" for parts in folders], Counter()
    else:
        kept = [i for i, name in enumerate(names) if split == "all" or split in (name, split_of(name))]
        outside = [entry.name for entry, name in zip(entries, names, strict=True) if not name and split != "all"]
        remarks = [f"left out {counted(len(outside), 'image')} in no split ({some(outside)})"] if outside else []
        labels = labels_by_split(folders)
    if not kept:
        there = (
            ", ".join(f"{name!r} ({counted(count, 'image')})" for name, count in splits.items()) or "no split folders"
        )
        raise ValueError(f"{source} has no split {split!r}: it has {there}; choose one of these or data.split=all")
    return Selection([entries[i] for i in kept], [labels[i] for i in kept], dict(splits), remarks)


def separated(folders: list[list[str]], splits: Counter[str]) -> bool:
    """Whether names of splits mean splits: all images have one, or some are training images and some held out."""
    kinds = set(map(split_of, splits))
    return splits.total() == len(folders) or ("train" in kinds and len(kinds) > 1)


def split_of(folder: str) -> str | None:
    """train, test or val, if the name of a folder means one of them.

    >>> split_of("training_set"), split_of("val2017"), split_of("trains")
    ('train', 'val', None)
    """
    match = SPLIT.fullmatch(folder.lower())
    return match[1] if match else None


def split_at(folders: list[str]) -> int | None:
    """Index of the folder that is the split."""
    return next((i for i, name in enumerate(folders) if split_of(name)), None)


def labels_by_split(folders: list[list[str]]) -> list[str]:
    """The last folder below the split, else the last above it that does not hold everything."""
    at = [split_at(parts) for parts in folders]
    above = without_common([parts[:i] for parts, i in zip(folders, at, strict=True)])
    below = [[] if i is None else parts[i + 1 :] for parts, i in zip(folders, at, strict=True)]
    return [(low or high or [""])[-1] for low, high in zip(below, above, strict=True)]


def without_common(folders: list[list[str]]) -> list[list[str]]:
    """Drop the leading folders that hold everything, up to the first that names a split."""
    depth = 0
    for level in zip(*folders, strict=False):
        if len(set(level)) > 1 or split_of(level[0]):
            break
        depth += 1
    return [parts[depth:] for parts in folders]

"""Which files a path stands for, and which images are in them.

A path is a folder of images (any nesting, in name order; linked folders are not entered), a zip or tar, a
folder of archives (one after the other in name order), or MNIST's idx files. Hidden files are passed over.

Folder names carry meaning. A folder that holds everything is dropped. If all images then lie under `train/`,
`test/`, `val/`, `valid/` or `validation/`, that folder is the split. The last folder left is the label.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from anila.data import archives, decode, idx
from anila.data.archives import Entry, is_archive, is_image, member_name, open_archive
from anila.data.foreign import local, printable_refusals

SPLITS = ("train", "test", "val", "valid", "validation")
ACCEPTED = ", ".join((*decode.SUFFIXES, *archives.SUFFIXES, "*-images-idx3-ubyte(.gz)"))
CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"


@dataclass(frozen=True)
class Files:
    """The files a path stands for.

    Attributes:
        root: The path itself, absolute.
        paths: What is read, in order.
    """

    root: Path
    paths: list[Path]

    def digest(self) -> str:
        """sha256 over names and bytes, streamed."""
        total = hashlib.sha256()
        for path in self.paths:
            total.update(f"{self.name(path)}\0{sha256_of_file(path)}\0".encode(errors="surrogateescape"))
        return total.hexdigest()

    def name(self, path: Path) -> str:
        """A file's path inside the root."""
        return path.relative_to(self.root if self.root.is_dir() else self.root.parent).as_posix()


def sha256_of_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}; repair or remove it") from error


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
        return Files(path, survey_folder(path))
    if not (is_archive(path.name) or idx.is_idx(path.name)):
        raise ValueError(f"{path}: expected a folder of images or one of {archives.SUFFIXES}, got a {path.suffix} file")
    return Files(path, with_labels([path]))


def survey_folder(folder: Path) -> list[Path]:
    """idx files if there are any, else images, else archives."""
    files = list(visible_files(folder))
    for wanted in (idx.is_idx, is_image, is_archive):
        found = [path for path in files if wanted(path.relative_to(folder).as_posix())]
        if found:
            return with_labels(found)
    suffixes = Counter(path.suffix or "no suffix" for path in files)
    seen = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(5)) or "none"
    raise ValueError(f"no images in {folder}: {len(files)} files seen ({seen}); accepted are {ACCEPTED}")


def visible_files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


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
            raise ValueError(f"no images in {files.root}; accepted suffixes are {', '.join(decode.SUFFIXES)}")
        yield entries


def entries_of(path: Path, files: Files, stack: ExitStack) -> list[Entry]:
    if path.name == CIFAR_ARCHIVE:
        return idx.cifar_entries(path, stack)
    if is_archive(path.name):
        return stack.enter_context(open_archive(path))
    if idx.is_idx(path.name):
        return idx.idx_entries(path, stack, with_split=path != files.root)
    return [Entry(member_name(files.name(path)), path.read_bytes)] if is_image(path.name) else []


def select(entries: list[Entry], split: str, source: Path) -> tuple[list[Entry], list[str]]:
    """The images of a split, and their labels ("" where a folder name gives none).

    Args:
        entries: All images.
        split: One of `SPLITS` that is there, or "all"; "train" is also all where there are no splits.
        source: For messages.

    Raises:
        ValueError: If the split is not there.
    """
    folders = without_common([entry.name.split("/")[:-1] for entry in entries])
    splits = Counter(parts[0].lower() for parts in folders if parts)
    if set(splits) <= set(SPLITS) and splits.total() == len(entries):
        kept = [i for i, parts in enumerate(folders) if split in (parts[0].lower(), "all")]
        folders = [parts[1:] for parts in folders]
    else:
        kept, splits = list(range(len(entries))) if split in ("train", "all") else [], Counter()
    if not kept:
        there = ", ".join(f"{name!r} ({count} images)" for name, count in splits.items()) or "no split folders"
        raise ValueError(f"{source} has no split {split!r}: it has {there}; choose one of these or data.split=all")
    return [entries[i] for i in kept], [folders[i][-1] if folders[i] else "" for i in kept]


def without_common(folders: list[list[str]]) -> list[list[str]]:
    """Drop the leading folders that hold everything, up to the first that names a split."""
    depth = 0
    for level in zip(*folders, strict=False):
        if len(set(level)) > 1 or level[0].lower() in SPLITS:
            break
        depth += 1
    return [parts[depth:] for parts in folders]

"""Zip and tar archives of images, read in memory: nothing is ever extracted to disk.

A whole archive is refused, naming the member, if a member has an absolute name or one with "..", is a link or a device,
or is encrypted, or if the sizes are those of a decompression bomb: more than `MEMBERS` members, one larger than
`MEMBER_BYTES`, more than `TOTAL_BYTES` together, or more than `RATIO` times the stored size.
"""

import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from PIL import Image

from anila.data.decode import SUFFIXES as IMAGE_SUFFIXES
from anila.data.decode import open_image
from anila.data.foreign import COPY_AGAIN, Refused, printable, reading

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")

MEMBERS = 2_000_000
MEMBER_BYTES = 2**30
TOTAL_BYTES = 2**40
RATIO = 200
FREE_BYTES = 2**24
"""Below this size nothing is a bomb, whatever its ratio."""


@dataclass(frozen=True)
class Entry:
    """One image of a source.

    Attributes:
        name: Its path inside the source, as `member_name` writes it.
        read: Returns its bytes; entries are read in order, as seeking back in a compressed tar is slow.
        open: Makes an image in mode L or RGB from them.
        background: Level with which `decode.fit` pads; None if it does not pad.
    """

    name: str
    read: Callable[[], bytes]
    open: Callable[[bytes], Image.Image] = open_image
    background: int | None = None


class Selection(NamedTuple):
    """The images of a split.

    Attributes:
        entries: The images.
        labels: Their labels, "" if no folder name gives one.
        splits: Number of images in each split; empty without splits.
        remarks: Oddities of the folders, in words.
    """

    entries: list[Entry]
    labels: list[str]
    splits: dict[str, int]
    remarks: list[str]


def member_name(raw: str) -> str:
    r"""The name of a member with "/" between folders, whatever system wrote it, and printable.

    >>> member_name("train\\cats\\1.png"), member_name("a/\x1b.png")
    ('train/cats/1.png', 'a/\\x1b.png')
    """
    return printable(raw.replace("\\", "/"))


def is_image(name: str) -> bool:
    """Whether a name has the suffix of an image; hidden files and those added by macOS do not count.

    >>> is_image("cats/1.JPG"), is_image("__MACOSX/cats/._1.jpg"), is_image("notes.txt")
    (True, False, False)
    """
    return not is_hidden(name) and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def is_archive(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


@contextmanager
def open_archive(path: Path) -> Iterator[list[Entry]]:
    """The images of a zip or tar, in name order (zip) or stored order (tar).

    Args:
        path: The archive.

    Raises:
        ValueError: If it cannot be read or breaks a rule of the module.
    """
    with ExitStack() as stack:
        yield (zip_entries if path.suffix.lower() == ".zip" else tar_entries)(path, stack)


def files_in(path: Path) -> list[str]:
    """The names of the files in a zip or tar, whatever they are, without hidden ones.

    Args:
        path: An archive that `open_archive` reads.
    """
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as packed:
            names = [member.filename for member in packed.infolist() if not member.is_dir()]
    else:
        with tarfile.open(path) as packed:
            names = [member.name for member in packed if member.isreg()]
    return [name for name in map(member_name, names) if not is_hidden(name)]


def zip_entries(path: Path, stack: ExitStack) -> list[Entry]:
    with reading(f"{path} is not a complete zip file: ", COPY_AGAIN):
        archive = stack.enter_context(zipfile.ZipFile(path))
    members = archive.infolist()
    limits = Limits(path)
    for member in members:
        require_safe(path, member.filename, zip_fault(member))
        limits.add(member.filename, member.file_size, member.compress_size)
    named = sorted((member_name(member.filename), i) for i, member in enumerate(members))
    return [Entry(name, partial(archive.read, members[i])) for name, i in named if is_image(name) and name[-1] != "/"]


def zip_fault(member: zipfile.ZipInfo) -> str | None:
    if stat.S_ISLNK(member.external_attr >> 16):
        return "is a symbolic link"
    if member.flag_bits & 1:
        return "is encrypted"
    return None


def tar_entries(path: Path, stack: ExitStack) -> list[Entry]:
    limits, entries = Limits(path), []
    with reading(f"{path} is not a complete tar file: ", COPY_AGAIN):
        archive = stack.enter_context(tarfile.open(path))  # noqa: SIM115
        for member in archive:
            plain = member.isreg() or member.isdir()
            require_safe(path, member.name, None if plain else "is a link or a device")
            limits.add(member.name, member.size, None)
            name = member_name(member.name)
            if member.isreg() and is_image(name):
                entries.append(Entry(name, partial(read_member, archive, member)))
    return entries


def read_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""


def require_safe(path: Path, name: str, fault: str | None) -> None:
    """Refuse an archive because of one member."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or re.match("[A-Za-z]:", name):
        fault = "has an absolute name"
    elif ".." in parts:
        fault = "climbs out of the archive"
    if fault:
        raise Refused(f"{path} is refused: its member {name!r} {fault}; expected plain files in folders")


class Limits:
    """Running totals over the members of an archive, which is refused as soon as they look like a bomb."""

    def __init__(self, path: Path) -> None:
        self.path, self.stored = path, path.stat().st_size
        self.members = self.total = 0

    def add(self, name: str, size: int, stored: int | None) -> None:
        """Count one member.

        Args:
            name: The member.
            size: Its bytes unpacked, as declared.
            stored: Its bytes in the archive, if known.
        """
        self.members += 1
        self.total += size
        self.refuse(self.members > MEMBERS, name, f"is one of more than {MEMBERS:,} members")
        self.refuse(size > MEMBER_BYTES, name, f"unpacks to {size:,} bytes, more than {MEMBER_BYTES:,}")
        self.refuse(self.total > TOTAL_BYTES, name, f"brings the total to more than {TOTAL_BYTES:,} bytes")
        for unpacked, packed in ((size, stored), (self.total, self.stored)):
            bomb = packed is not None and unpacked > max(FREE_BYTES, RATIO * packed)
            self.refuse(bomb, name, f"unpacks to more than {RATIO} times what is stored")

    def refuse(self, broken: bool, name: str, why: str) -> None:
        if broken:
            raise Refused(f"{self.path} is refused as a zip bomb: its member {name!r} {why}")

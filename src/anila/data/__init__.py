"""Data: toys, images, tables, arrays and streams. Each gives the rows of iteration t.

`load` takes the name of a toy or of a known image set, or a path, and finds out which of these it is.
"""

import inspect
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anila.data import archives, idx
from anila.data.dataset import DataSet, Labelled, Rows, Stream
from anila.data.elsewhere import Elsewhere
from anila.data.encoding import Encoding
from anila.data.foreign import local, printable_refusals
from anila.data.images import Images, images
from anila.data.known import KNOWN
from anila.data.sources import ACCEPTED
from anila.data.table_files import SUFFIXES, suffix_of
from anila.data.tables import Table, table
from anila.data.toys import TOYS, Toy
from anila.data.units import Units
from anila.messages import did_you_mean

__all__ = [
    "KNOWN", "TOYS", "DataSet", "Elsewhere", "Encoding", "Images", "Labelled", "Rows", "Stream", "Table", "Toy",
    "Units", "images", "load", "table",
]  # fmt: skip


@printable_refusals()
def load(source: str | Path, **settings: Any) -> DataSet:
    """The data set with a name, or at a path.

    Args:
        source: A toy (`TOYS`), a known image set (`KNOWN`), a table (.csv, .tsv, .xlsx, .parquet, .npy, .npz), or a
            folder, archive or idx file of images. Names take precedence: write `./moons` for a path.
        settings: Arguments of `images` or `table`, whichever reads the source; a toy has none.

    Raises:
        FileNotFoundError: If there is nothing at a path.
        ValueError: If the name, the kind of file or a setting is unknown, or the data are refused.

    >>> load("checkerboard").event_shape
    (2,)
    """
    kind = kind_of(source)
    known = list(inspect.signature(kind).parameters)[1:]
    for setting in settings:
        if setting not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise ValueError(f"{source} has no setting {setting!r}{did_you_mean(setting, known)}; {takes}")
    return kind(source, **settings)


def kind_of(source: str | Path) -> Callable[..., DataSet]:
    """The function that reads this source: `Toy`, `images` or `table`."""
    if source in TOYS:
        return Toy
    path = local(source)
    if source in KNOWN or path.is_dir():
        return images
    if suffix_of(path) in SUFFIXES:
        return table
    if archives.is_archive(path.name) or idx.is_idx(path.name):
        return images
    files = f"files accepted: {', '.join(SUFFIXES)}, or a folder or archive of images ({ACCEPTED})"
    if path.exists():
        unpack = f"; unpack it first: gunzip {shlex.quote(str(path))}" if path.suffix == ".gz" else ""
        raise ValueError(f"{path}: unknown kind of file; {files}{unpack}")
    if isinstance(source, Path) or path.suffix or path.name != source:
        raise FileNotFoundError(f"no file or folder {path}")
    names = (*TOYS, *KNOWN)
    raise ValueError(f"no data called {source!r}{did_you_mean(str(source), names)}; names: {', '.join(names)}; {files}")

"""Where draws are written: beside what was seen, as images above and below them, or in the rows of a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa
from torch import Tensor

from anila.applications import Draws
from anila.applications.files.outputs import write_table
from anila.applications.files.tables import filled_in, named, with_columns
from anila.data import Units
from anila.data.style import like
from anila.evaluation import pictures
from anila.runs.folder.whole import whole_file


class Beside(Protocol):
    """What draws are written beside."""

    what: ClassVar[str]
    """What one observation is called."""

    @property
    def names(self) -> Sequence[str]:
        """Those of the observations, where they have some."""
        ...

    def write(self, draws: Draws, path: Path) -> None:
        """All in one file."""
        ...


@dataclass(frozen=True)
class BesideImages:
    """Images, a picture's rows or arrays of a file.

    Args:
        names: Those of n images.
        before: Rows above the draws, (n, *event) each, e.g. what was seen.
        after: Rows below, e.g. the truth.
    """

    names: Sequence[str]
    before: Mapping[str, Tensor]
    after: Mapping[str, Tensor] = field(default_factory=dict)
    what: ClassVar[str] = "image"

    def write(self, draws: Draws, path: Path) -> None:
        """A picture with a row for each draw and each frame on the way, .png, or the arrays, .npz."""
        frames = {f"frame {i + 1}": x[:, 0] for i, x in enumerate(draws.path[:-1])}
        if path.suffix.lower() == ".npz":
            arrays = {"x": draws.x, "energy": draws.energy, "path": draws.path, **self.before, **frames, **self.after}
            found: dict[str, Any] = {name.replace(" ", "_"): array.numpy(force=True) for name, array in arrays.items()}
            with whole_file(path) as file:
                np.savez_compressed(file, names=np.array(self.names), **found)
            return
        drawn = {f"draw {j + 1}": draws.x[:, j] for j in range(draws.x.shape[1])}
        pictures.save(pictures.image_rows({**self.before, **frames, **drawn, **self.after}), path)


@dataclass(frozen=True)
class BesideTable:
    """A table, each of its rows once for each of its draws.

    Args:
        table: What was read, n rows.
        units: The model's columns and their units.
        kept: Whether the cells that are there stay as they are.
    """

    table: pa.Table
    units: Units
    kept: bool = False
    names: Sequence[str] = ()
    what: ClassVar[str] = "row"

    def joined(self, draws: Draws) -> pa.Table:
        """The model's columns drawn, `draw` and `energy` beside; the other columns as they were."""
        n, k, _ = draws.x.shape
        drawn = self.units.rows.decode(draws.x.flatten(0, 1))
        table = like(named(self.table, drawn.column_names), drawn).take(np.repeat(np.arange(n), k))
        for name, cells in zip(drawn.column_names, drawn.columns, strict=True):
            if name not in table.column_names:
                table = table.append_column(name, cells)
            else:
                own = filled_in(table.column(name), cells) if self.kept else cells
                table = table.set_column(table.column_names.index(name), name, own)
        energy = draws.energy.double().numpy(force=True).ravel()
        return with_columns(table, {"draw": np.tile(np.arange(1, k + 1), n), "energy": energy})

    def write(self, draws: Draws, path: Path) -> None:
        """By suffix: .csv, .tsv or .parquet."""
        write_table(self.joined(draws), path)

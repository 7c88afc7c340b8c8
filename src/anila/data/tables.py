"""Tables: rows of numbers, booleans, dates, text and categories, from .csv, .tsv, .xlsx, .parquet, .npy or .npz.

A table has one row per observation. An `Encoding` turns its columns into coordinates, standardised so that one step
size suits all. Missing cells stay NaN in `values`; in the rows of a batch they are drawn given the other cells
(`Completion`), anew in each batch. Columns from which nothing can be learned are left out, and named: text with hardly
any repeats, cells of no usable type, no cells at all. Constants, copies and totals of others get no coordinate.

A four-dimensional array of an .npy or .npz is a set of images (`image_array`).

pandas' index, as written by `to_csv` and `to_parquet`, is not a column unless it is asked for.

One column, or one array of an .npz, can be named as the label: text, whole numbers or true/false. Then it is not a
column of the rows; its distinct values, sorted, are the classes.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from anila.data.column import is_zoned
from anila.data.completion import Completion
from anila.data.dataset import Rows, sha256_of
from anila.data.dependent import independent, law, require_varying
from anila.data.encoding import Encoding
from anila.data.foreign import printable, printable_refusals
from anila.data.image_array import image_array
from anila.data.refusals import require_numbers_usable
from anila.data.suspects import warn_of_suspects
from anila.data.table_files import SUFFIXES, read_labelled, require_table
from anila.data.units import Units
from anila.data.usable import filled_rows, usable
from anila.messages import counted, listed
from anila.rng import rng

__all__ = ["SUFFIXES", "Table", "table"]


class Table(Rows):
    """Rows of a table as points.

    Args:
        values: (rows, columns) of numbers, or an Arrow table of any columns an `Encoding` takes.
        columns: Name of each column; those of an Arrow table by default.
        name: Its name for people.
        labels: Index into classes of every row, if there are any.
        classes: Names of the classes.
        dependent: Whether columns that follow from others have coordinates too.

    Attributes:
        encoding: How rows become points and points rows.
        values: Points in stored order, float32, NaN where a cell is missing.
        columns: Name of each column.
        mean: Mean of each coordinate, float64.
        scale: Scale of each coordinate, float64.
        units: The names of the coordinates, the two of them, and the encoding.

    Raises:
        ValueError: If there are fewer than 2 rows, a number is infinite or so far out that it hides the others, or
            nothing varies.

    >>> table = Table(np.array([[1.0, 10.0], [3.0, 30.0]]), ["a", "b"])
    >>> table.rows([0, 1]).tolist(), table.inverse(table.rows([1])).tolist()
    ([[-1.0, -1.0], [1.0, 1.0]], [[3.0, 30.0]])
    """

    def __init__(
        self,
        values: np.ndarray | pa.Table,
        columns: Sequence[str] = (),
        name: str = "table",
        labels: Sequence[int] | None = None,
        classes: Sequence[str] = (),
        dependent: bool = False,
    ) -> None:
        rows = values if isinstance(values, pa.Table) else named_columns(values, columns)
        self.encoding = encoding_of(rows, name, dependent)
        raw, settings = self.encoding.raw(rows), () if labels is None else (list(labels), list(classes))
        fingerprint = sha256_of(raw, *self.encoding.coordinates, *settings)
        points = self.encoding.encode(rows).astype(np.float32)
        super().__init__(points, name, fingerprint, None, labels, classes, incomplete=True)
        self.columns = self.encoding.names
        self.mean, self.scale = torch.from_numpy(self.encoding.mean), torch.from_numpy(self.encoding.scale)
        mean, scale = tuple(self.mean.tolist()), tuple(self.scale.tolist())
        self.units = Units(self.encoding.coordinates, mean, scale, self.encoding)

    @cached_property
    def missing(self) -> dict[str, int]:
        """Number of missing cells, for the columns that have some."""
        counts = {name: np.isnan(self.values[:, at]).any(1).sum() for name, at in self.encoding.slices.items()}
        return {name: int(count) for name, count in counts.items() if count}

    @cached_property
    def completion(self) -> Completion:
        """The source of draws for missing cells."""
        return Completion(self.values)

    @cached_property
    def complete(self) -> Float[np.ndarray, "n d"]:
        """All rows, with each missing cell drawn once and for all."""
        if not self.missing:
            return self.values
        return self.completion.rows(torch.arange(len(self)), rng(0, "missing cells")).numpy()

    def rows(self, indices: Int[Tensor, "n"] | Int[np.ndarray, "n"] | Sequence[int]) -> Float[Tensor, "n d"]:
        """The rows at these indices, in this order, with each missing cell drawn once and for all.

        Args:
            indices: Row numbers, 0 <= index < len(self).
        """
        return torch.from_numpy(self.complete[np.asarray(indices, dtype=np.int64)])

    def batch(self, n: int, seed: int, iteration: int) -> Float[Tensor, "n d"]:
        """The n rows of training iteration `iteration` (from 0), with missing cells drawn for this iteration.

        Args:
            n: Rows wanted; more than len(self) spans several epochs.
            seed: The user's seed.
            iteration: Which iteration, from 0.
        """
        indices = self.indices(n, seed, iteration)
        if not self.missing:
            return self.rows(indices)
        return self.completion.rows(indices, rng(seed, "missing cells", iteration))

    def inverse(self, x: Float[Tensor, "n d"]) -> Float64[Tensor, "n d"]:
        """Rows in the file's units, v = mean + scale x.

        Args:
            x: Standardised rows, from the data or from a model.
        """
        return self.mean.to(x.device) + self.scale.to(x.device) * x


@printable_refusals()
def table(
    path: str | Path,
    columns: Sequence[str] | None = None,
    label: str | None = None,
    missing: Sequence[str | int | float] = (),
    dependent: bool = False,
) -> Rows:
    """Read a table, or an array of images.

    Args:
        path: .csv or .tsv, also .gz (a first row of names is optional), .xlsx, .parquet, .npy or .npz.
        columns: Which columns, in this order; None takes all. The columns of an array are named
            "0", "1", ...; those of an .npz are its one-dimensional arrays, or those of the one array that it
            holds or `columns` names.
        label: The column, or array of an .npz, whose values are the classes of the rows.
        missing: Values, or texts, that stand for a missing cell, besides empty cells and NaN: -999, "unknown".
        dependent: Whether columns that follow from others, copies and totals, have coordinates of their own.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read, is pickled, or holds nothing from which to learn.
    """
    path = require_table(path)
    found, values, how = read_labelled(path, columns, label, tuple(missing))
    name = printable(path.name)
    if isinstance(found, np.ndarray):
        labels, classes = (None, []) if values is None else encoded(values, f"{name}: label {label!r}")
        return image_array(found, name, labels, classes)
    rows, left_out = usable(found, name, asked=bool(columns))
    left_out += said_of_zones(rows)
    warn_of_suspects(rows, name, asked=bool(columns))
    there = filled_rows(rows)
    if not there.all():
        left_out.append(f"left out {counted(int((~there).sum()), 'empty row')}")
        rows = rows.filter(pa.array(there))
        values = values and [value for value, keep in zip(values, there, strict=True) if keep]
    labels, classes = (None, []) if values is None else encoded(values, f"{name}: label {label!r}")
    data = Table(rows, (), name, labels, classes, dependent)
    told = "".join(f"; {part}" for part in [*said(data), *left_out])
    data.description = printable(f"{counted(len(data), 'row')} of {listed(data.columns)} from {path}{how}{told}")
    return data


def said(data: Table) -> list[str]:
    """What was done with the columns, for people."""
    columns = data.encoding.columns
    categories = [f"{c.name} ({len(c.categories)})" for c in columns if len(c.mean) > 1]
    follow = [law(c) for c in columns if not c.mean]
    missing = [f"{name} ({count:,})" for name, count in data.missing.items()]
    return [
        *([f"one coordinate per category of {', '.join(categories)}"] if categories else []),
        *([f"no coordinate for columns that others determine: {', '.join(follow)}"] if follow else []),
        *([f"missing cells, drawn given the rest of their row: {', '.join(missing)}"] if missing else []),
    ]


def said_of_zones(rows: pa.Table) -> list[str]:
    """How times are read, if some have a zone."""
    times = [field for field in rows.schema if pa.types.is_timestamp(field.type)]
    zoned, naive = ([field.name for field in times if is_zoned(field.type) == has] for has in (True, False))
    if not zoned:
        return []
    as_they_are = f"; those of {', '.join(naive)} have no zone and stay as they are" if naive else ""
    return [f"times of {', '.join(zoned)} in UTC{as_they_are}"]


def named_columns(values: np.ndarray, columns: Sequence[str]) -> pa.Table:
    return pa.table({name: values[:, j].astype(np.float64) for j, name in enumerate(columns)})


def encoding_of(rows: pa.Table, name: str, dependent: bool) -> Encoding:
    """The encoding of usable rows.

    Raises:
        ValueError: As `Table`.
    """
    if len(rows) < 2:
        raise ValueError(f"{name}: expected at least 2 rows, got {len(rows)}")
    every = Encoding.of(rows)
    require_numbers_usable(rows, every, name)
    encoding = independent(every, rows, totals=not dependent)
    require_varying(encoding, name)
    return encoding


def encoded(values: list[Any], what: str) -> tuple[list[int], list[str]]:
    """The index of each value among the sorted distinct values, and their names."""
    for row, value in enumerate(values):
        if not isinstance(value, str | int | float) or (isinstance(value, float) and not value.is_integer()):
            missing = value is None or value != value
            got = "a missing value" if missing else repr(value)
            raise ValueError(
                f"{what}: expected text or whole numbers, got {got} in row {row}; choose a column of classes"
            )
    whole = [int(value) if isinstance(value, float) else value for value in values]
    index = {value: i for i, value in enumerate(sorted(set(whole)))}
    return [index[value] for value in whole], list(map(str, index))

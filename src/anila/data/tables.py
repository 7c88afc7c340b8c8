"""Numbers from .npy, .npz, .csv, .tsv and .parquet files.

A table has one row an observation and numeric columns. It is standardised, x = (v - mean) / scale with the
mean and standard deviation of each column, so that one step size suits all; `inverse` goes back to the file's
units.

A four-dimensional .npy or .npz array (n, channels, height, width) is a set of images and not standardised:
uint8 is mapped to [-1, 1] by x = u / 127.5 - 1; other numbers within [-1, 1] stay as they are; those within
[0, 1] or [0, 255] are mapped to [-1, 1] too, with a warning that says so; others stay, with a warning.

pandas' index, as `to_csv` and `to_parquet` write it, is no column unless it is asked for.

One column, or one array of an .npz, can be named as the label: text, whole numbers or true/false. It is not a column
of the rows then; its different values, sorted, are the classes.
"""

import json
import re
import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from anila.data.arrays import load_arrays
from anila.data.dataset import BLOCK, Rows, require_finite, sha256_of
from anila.data.delimited import layout_of, read_csv
from anila.data.foreign import local, printable, printable_refusals, reading
from anila.data.units import Units
from anila.messages import did_you_mean

SUFFIXES = (".npy", ".npz", ".csv", ".tsv", ".parquet")


JSON_WORDS = {"true", "false", "null", "NaN", "Infinity"}
SMALLEST = 1e-150
"""Spread below which squares vanish in float64, and beyond whose inverse they overflow."""
HIDDEN = 1e-7
"""Resolution of float32."""

Columns = dict[str, np.ndarray]
Values = list[Any] | None
"""The label column, if there is one."""


class Table(Rows):
    """Standardised rows of a table.

    Args:
        values: (rows, columns), in the file's units.
        columns: Name of each column.
        name: What people call it.
        labels: Index into classes of every row, if there are any.
        classes: Names of the classes.

    Attributes:
        columns: Name of each column.
        mean: Mean of each column, float64.
        scale: Standard deviation of each column, float64.
        units: The three of them.

    Raises:
        ValueError: If a value is missing or infinite, or a column is constant.

    >>> table = Table(np.array([[1.0, 10.0], [3.0, 30.0]]), ["a", "b"])
    >>> table.rows([0, 1]).tolist(), table.inverse(table.rows([1])).tolist()
    ([[-1.0, -1.0], [1.0, 1.0]], [[3.0, 30.0]])
    """

    def __init__(
        self,
        values: np.ndarray,
        columns: Sequence[str],
        name: str = "table",
        labels: Sequence[int] | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        values = values.astype(np.float64)
        require_columns_finite(values, columns, name)
        require_varied(values, columns, name)
        require_squares(values, columns, name)
        mean, scale = values.mean(0), values.std(0)
        settings = () if labels is None else (list(labels), list(classes))
        standardised, fingerprint = (values - mean) / scale, sha256_of(values, *columns, *settings)
        super().__init__(standardised.astype(np.float32), name, fingerprint, None, labels, classes)
        self.columns = tuple(columns)
        self.mean, self.scale = torch.from_numpy(mean), torch.from_numpy(scale)
        self.units = Units(self.columns, tuple(mean.tolist()), tuple(scale.tolist()))

    def inverse(self, x: Float[Tensor, "n columns"]) -> Float64[Tensor, "n columns"]:
        """Back to the file's units, v = mean + scale x.

        Args:
            x: Standardised rows, from the data or from a model.
        """
        return self.mean.to(x.device) + self.scale.to(x.device) * x


@printable_refusals()
def table(path: str | Path, columns: Sequence[str] | None = None, label: str | None = None) -> Rows:
    """Read a table, or an array of images.

    Args:
        path: .npy, .npz, .csv or .tsv (a first row of names is optional) or .parquet.
        columns: Which columns, in this order; None takes all. The columns of an array are named
            "0", "1", ...; those of an .npz are its one-dimensional arrays, or those of the one array that it
            holds or `columns` names.
        label: The column, or array of an .npz, whose values are the classes of the rows.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read, is pickled, or holds what is not finite, varied numbers.
    """
    path = local(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: expected one of {', '.join(SUFFIXES)}, got {suffix or 'no suffix'}")
    if suffix in (".npy", ".npz"):
        (found, values), how = read_array(path, columns, label), ""
    else:
        found, values, how = read_arrow(path, columns, label)
    name = printable(path.name)
    labels, classes = (None, []) if values is None else encoded(values, f"{name}: label {label!r}")
    if isinstance(found, np.ndarray):
        return image_array(found, name, labels, classes)
    data = Table(stacked(found, name), list(found), name, labels, classes)
    data.description = printable(f"{len(data):,} rows of {', '.join(found)} from {path}{how}")
    return data


def encoded(values: list[Any], what: str) -> tuple[list[int], list[str]]:
    """The index of every value among the sorted different ones, and their names."""
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


def read_arrow(path: Path, columns: Sequence[str] | None, label: str | None) -> tuple[Columns, Values, str]:
    """The columns of a .csv, .tsv or .parquet, missing values as NaN; the label; and how it was read, for people."""
    layout = None if path.suffix.lower() == ".parquet" else layout_of(path)
    with reading(f"{path} cannot be read as {path.suffix.lower()}: "):
        found = pyarrow.parquet.read_table(path) if layout is None else read_csv(path, layout)
    if not len(found):
        raise ValueError(
            f"{path.name}: expected at least 2 rows, got none below the names {', '.join(found.column_names)}"
        )
    index = [] if columns else index_of(found)
    chosen = [c for c in chosen_columns(found.column_names, columns, path.name, label) if c not in index]
    if not chosen:
        raise ValueError(
            f"{path.name}: no column is left beside the label and pandas' index; it has {', '.join(found.column_names)}"
        )
    values = None if label is None else found.column(label).to_pylist()
    with reading(f"{path} cannot be read: "):
        numbers = {name: found.column(name).to_numpy() for name in chosen}
    return numbers, values, str(layout or "") + without_index([c for c in index if c != label], chosen, path.name)


def without_index(index: list[str], chosen: list[str], name: str) -> str:
    """Says, and warns, that the index of pandas is left out."""
    if not index:
        return ""
    left_out = f"left out {', '.join(index).strip() or 'the first column, which has no name'}, the index of pandas"
    warnings.warn(printable(f"{name}: {left_out}; {chosen_by([*index, *chosen])} takes it"), stacklevel=4)
    return f"; {left_out}"


def index_of(found: pa.Table) -> list[str]:
    """The columns in which pandas stores the index, by its metadata or by name."""
    names = found.column_names
    with reading("the metadata of pandas cannot be read: "):
        stored = json.loads((found.schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
    unnamed = [name for name in names[:1] if name.strip() in ("", "Unnamed: 0") and len(names) > 1]
    levels = [name for name in names if re.fullmatch(r"__index_level_\d+__", name)]
    return list(dict.fromkeys([*unnamed, *levels, *(name for name in stored if name in names)]))


def read_array(path: Path, columns: Sequence[str] | None, label: str | None) -> tuple[Columns | np.ndarray, Values]:
    """The columns of an .npy or .npz, or its array of images."""
    arrays, values = load_arrays(path), None
    if len(arrays) > 1:
        chosen = chosen_columns(list(arrays), columns, path.name, label)
        values = None if label is None else arrays[label].tolist()
        arrays = {name: arrays[name] for name in chosen}
        columns, label = None if len(arrays) == 1 else columns, None
    if not arrays:
        raise ValueError(f"{path.name}: expected at least one array, got none")
    only = next(iter(arrays.values()))
    if len(arrays) == 1 and only.ndim == 4 and label is None:
        return only, values
    if len(arrays) == 1 and only.ndim == 2:
        names = chosen_columns([str(i) for i in range(only.shape[1])], columns, path.name, label)
        values = values if label is None else only[:, int(label)].tolist()
        return {name: only[:, int(name)] for name in names}, values
    if len(arrays) > 1 and only.ndim == 1 and len({array.shape for array in arrays.values()}) == 1:
        return arrays, values
    if label is not None:
        raise ValueError(f"{path.name}: no label {label!r} beside its one array {only.shape}; save both in one .npz")
    if only.dtype.names:
        raise ValueError(
            f"{path.name} holds a structured array of fields {', '.join(only.dtype.names)}; save them side by side: "
            "np.save(path, np.stack([x[name] for name in x.dtype.names], 1))"
        )
    got = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    usable = [name for name, array in arrays.items() if array.ndim in (2, 4)]
    one = f", or take {chosen_by(usable[:1])}" if len(arrays) > 1 and usable else ""
    raise ValueError(
        f"{path.name}: expected one array (rows, columns) or (n, channels, height, width), or columns of one "
        f"length, got {got}; reshape and save again{one}"
    )


def chosen_columns(there: Sequence[str], columns: Sequence[str] | None, name: str, label: str | None) -> list[str]:
    """The wanted columns, by default all but the label.

    Raises:
        ValueError: If one is not there, or the label is wanted as a column too.
    """
    repeated = sorted({column for column in there if there.count(column) > 1})
    if repeated:
        raise ValueError(f"{name}: columns of the same name: {', '.join(repeated)}; rename them")
    for column in [*(columns or ()), *([] if label is None else [label])]:
        if column not in there:
            near = did_you_mean(column, there)
            raise ValueError(f"{name}: no column {column!r}{near}; it has {', '.join(there)}")
    if columns and label in columns:
        rest = [column for column in columns if column != label]
        raise ValueError(
            f"{name}: {label!r} is the label and cannot be one of the columns too; "
            + (f"take {chosen_by(rest)}" if rest else "leave out data.columns")
        )
    return list(columns or (column for column in there if column != label))


def chosen_by(columns: Sequence[str]) -> str:
    """The setting that takes these columns, as it is typed into a shell.

    >>> print(chosen_by(["a", "b c"]), chosen_by(["0", "x,y"]))
    'data.columns=[a,b c]' 'data.columns=["0", "x,y"]'
    """
    are_words = all(name.replace(" ", "_").isidentifier() and name == name.strip() for name in columns)
    plain = are_words and not JSON_WORDS & set(columns)
    written = f"[{','.join(columns)}]" if plain else json.dumps(list(columns), ensure_ascii=False)
    return shlex.quote(f"data.columns={written}")


def stacked(columns: Columns, name: str) -> np.ndarray:
    """(rows, columns) of numbers; other columns are refused by name."""
    wrong = [f"{key} ({values.dtype})" for key, values in columns.items() if values.dtype.kind not in "iuf"]
    if wrong:
        numeric = [key for key, values in columns.items() if values.dtype.kind in "iuf"]
        hint = f"take {chosen_by(numeric)}" if numeric else "expected integers or floating-point numbers"
        raise ValueError(f"{name}: columns that are not numbers: {', '.join(wrong)}; {hint}")
    return np.stack([values.astype(np.float64) for values in columns.values()], 1)


def require_columns_finite(values: np.ndarray, columns: Sequence[str], name: str) -> None:
    """Refuse missing, NaN and infinite values, with their number in each column."""
    bad = ~np.isfinite(values)
    if bad.any():
        counts = ", ".join(f"{columns[i]} ({count})" for i, count in enumerate(bad.sum(0)) if count)
        raise ValueError(
            f"{name}: {bad.sum()} missing, NaN or infinite values in {counts}, the first in row "
            f"{int(bad.any(1).argmax())}; remove these rows, or {others(columns, np.asarray(bad.any(0)))}"
        )


def require_varied(values: np.ndarray, columns: Sequence[str], name: str) -> None:
    """Refuse constant columns: no density exists on them, and no scale."""
    if len(values) < 2:
        raise ValueError(f"{name}: expected at least 2 rows, got {len(values)}")
    low, high = values.min(0), values.max(0)
    constant = low == high
    vast = constant & (np.abs(high) >= 2**53)
    for bad, what in (
        (vast, "columns whose whole numbers beyond 2**53 cannot be told apart in float64, subtract an offset"),
        (constant, "constant columns have no density"),
    ):
        if bad.any():
            raise ValueError(f"{name}: {what}: {listed(columns, bad)}; {others(columns, bad)}")


def require_squares(values: np.ndarray, columns: Sequence[str], name: str) -> None:
    """Refuse columns whose squares overflow or vanish, and those in which one value hides all others in float32."""
    low, high = values.min(0), values.max(0)
    spread = high / 2 - low / 2

    def ranges(chosen: np.ndarray) -> str:
        return ", ".join(f"{columns[i]} ({low[i]:.3g} to {high[i]:.3g})" for i in np.flatnonzero(chosen).tolist())

    bad = ~((spread > SMALLEST) & (spread < 1 / SMALLEST))
    if bad.any():
        raise ValueError(
            f"{name}: columns whose squares float64 cannot hold: {ranges(bad)}; remove rows that mark missing values, "
            f"give the columns other units, or {others(columns, bad)}"
        )
    inner = np.diff(np.quantile(values, (0.1, 0.9), axis=0), axis=0)[0]
    hidden = (inner > 0) & (inner < HIDDEN * spread)
    if hidden.any():
        raise ValueError(
            f"{name}: columns in which one value is so far out that float32 cannot tell the others apart: "
            f"{ranges(hidden)}; remove rows that mark missing values, or {others(columns, hidden)}"
        )


def listed(columns: Sequence[str], chosen: np.ndarray) -> str:
    return ", ".join(columns[i] for i in np.flatnonzero(chosen).tolist())


def others(columns: Sequence[str], bad: np.ndarray) -> str:
    """The end of a message: which columns are in order, as it is typed."""
    good = [column for column, wrong in zip(columns, bad, strict=True) if not wrong]
    return f"take {chosen_by(good)}" if good else "take other data"


def image_array(values: np.ndarray, name: str, labels: list[int] | None, classes: list[str]) -> Rows:
    """Rows of an array (n, channels, height, width), by the module's rule for its range."""
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{name}: expected numbers, got {values.dtype}")
    if values.shape[1] not in (1, 3) and values.shape[3] in (1, 3):
        raise ValueError(
            f"{name}: expected images (n, channels, height, width), got {values.shape}, channels last; "
            "save array.transpose(0, 3, 1, 2)"
        )
    if values.dtype == np.uint8 or not values.size:
        return Rows(values, name, None, 127.5, labels, classes)
    require_finite(values, name)
    low, high = observed_range(values)
    half_range = half_range_of(low, high)
    if low < -1 or high > 1 or half_range:
        done = f"mapped to [-1, 1] by x = u / {half_range} - 1" if half_range else "left as they are"
        got = f"{name}: expected values filling [-1, 1], got {low:g} to {high:g}"
        warnings.warn(f"{got}; {done}", stacklevel=3)
    return Rows(values, name, None, half_range, labels, classes)


def half_range_of(low: float, high: float) -> float | None:
    """The h of x = u / h - 1: 0.5 for values within [0, 1], 127.5 for [0, 255], else None.

    >>> half_range_of(0.0, 1.0), half_range_of(0.0, 255.0), half_range_of(-1.0, 1.0)
    (0.5, 127.5, None)
    """
    if low < 0 or high > 255:
        return None
    return 0.5 if high <= 1 else 127.5


def observed_range(values: np.ndarray) -> tuple[float, float]:
    blocks = [values[start : start + BLOCK] for start in range(0, len(values), BLOCK)]
    return float(min(block.min() for block in blocks)), float(max(block.max() for block in blocks))

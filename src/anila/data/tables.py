"""Numbers from .npy, .npz, .csv and .parquet files.

A table has one row an observation and numeric columns. It is standardised, x = (v - mean) / scale with the
mean and standard deviation of each column, so that one step size suits all; `inverse` goes back to the file's
units.

A four-dimensional .npy or .npz array (n, channels, height, width) is a set of images and not standardised:
uint8 is mapped to [-1, 1] by x = u / 127.5 - 1; other numbers within [-1, 1] stay as they are; those within
[0, 1] or [0, 255] are mapped to [-1, 1] too, with a warning that says so; others stay, with a warning.

One column, or one array of an .npz, can be named as the label: text, whole numbers or true/false. It is not a column
of the rows then; its different values, sorted, are the classes.
"""

import json
import shlex
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from anila.data.dataset import BLOCK, Rows, require_finite, sha256_of
from anila.data.foreign import local
from anila.data.units import Units
from anila.messages import did_you_mean

SUFFIXES = (".npy", ".npz", ".csv", ".parquet")

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


def table(path: str | Path, columns: Sequence[str] | None = None, label: str | None = None) -> Rows:
    """Read a table, or an array of images.

    Args:
        path: .npy, .npz, .csv (a first row of names is optional) or .parquet.
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
    read = read_array if suffix in (".npy", ".npz") else read_arrow
    found, values = read(path, columns, label)
    labels, classes = (None, []) if values is None else encoded(values, f"{path.name}: label {label!r}")
    if isinstance(found, np.ndarray):
        return image_array(found, path.name, labels, classes)
    return Table(stacked(found, path.name), list(found), path.name, labels, classes)


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


def read_arrow(path: Path, columns: Sequence[str] | None, label: str | None) -> tuple[Columns, Values]:
    """The columns of a .csv or .parquet; missing values become NaN."""
    suffix = path.suffix.lower()
    try:
        found = read_csv(path) if suffix == ".csv" else pyarrow.parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as {suffix}: {str(error).splitlines()[0]}") from error
    chosen = chosen_columns(found.column_names, columns, path.name, label)
    values = None if label is None else found.column(label).to_pylist()
    return {name: found.column(name).to_numpy() for name in chosen}, values


def read_csv(path: Path) -> pa.Table:
    """With the first row as names, unless it holds a number."""
    found = pyarrow.csv.read_csv(path)
    if not any(map(is_number, found.column_names)):
        return found
    options = pyarrow.csv.ReadOptions(autogenerate_column_names=True)
    found = pyarrow.csv.read_csv(path, read_options=options)
    return found.rename_columns([str(i) for i in range(found.num_columns)])


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


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
    got = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
    usable = [name for name, array in arrays.items() if array.ndim in (2, 4)]
    one = f", or take {chosen_by(usable[:1])}" if len(arrays) > 1 and usable else ""
    raise ValueError(
        f"{path.name}: expected one array (rows, columns) or (n, channels, height, width), or columns of one "
        f"length, got {got}; reshape and save again{one}"
    )


def load_arrays(path: Path) -> Columns:
    """Memory-mapped .npy, or the arrays of an .npz; nothing that is pickled."""
    try:
        if path.suffix.lower() == ".npy":
            return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False)}
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return dict(archive)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, TypeError, AttributeError) as error:
        if any(word in str(error).lower() for word in ("pickle", "object")):
            raise ValueError(
                f"{path} holds pickled Python objects, which could run code when read, so it is refused; "
                "save plain numbers: np.save(path, np.asarray(rows, dtype=np.float32))"
            ) from error
        raise ValueError(f"{path} is not a whole {path.suffix} file: {error}; save or copy it again") from error


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
    listed = f"[{','.join(columns)}]" if are_words else json.dumps(columns, ensure_ascii=False)
    return shlex.quote(f"data.columns={listed}")


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
        whole = [columns[i] for i in np.flatnonzero(~bad.any(0)).tolist()]
        raise ValueError(
            f"{name}: {bad.sum()} missing, NaN or infinite values in {counts}, the first in row "
            f"{int(bad.any(1).argmax())}; remove these rows" + (f" or take {chosen_by(whole)}" if whole else "")
        )


def require_varied(values: np.ndarray, columns: Sequence[str], name: str) -> None:
    """Refuse constant columns: no density exists on them, and no scale."""
    if len(values) < 2:
        raise ValueError(f"{name}: expected at least 2 rows, got {len(values)}")
    constant = [columns[i] for i in np.flatnonzero(values.min(0) == values.max(0)).tolist()]
    if constant:
        varied = [column for column in columns if column not in constant]
        raise ValueError(
            f"{name}: constant columns have no density: {', '.join(constant)}; "
            + (f"take {chosen_by(varied)}" if varied else "no other column is left to learn")
        )


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

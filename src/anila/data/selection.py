"""The columns of a table to take: those asked for, else all but the label and pandas' index."""

import json
import math
import re
import shlex
import warnings
from collections.abc import Sequence

import pyarrow as pa

from anila.data.foreign import printable, reading
from anila.messages import did_you_mean, listed

JSON_WORDS = {"true", "false", "null", "NaN", "Infinity"}


def without_index(index: list[str], chosen: list[str], name: str) -> str:
    """A note, also given as a warning, that the index of pandas is left out."""
    if not index:
        return ""
    left_out = f"left out {', '.join(index).strip() or 'the first column, which has no name'}, the index of pandas"
    warnings.warn(printable(f"{name}: {left_out}; {chosen_by([*index, *chosen])} keeps it"), stacklevel=4)
    return f"; {left_out}"


def index_of(found: pa.Table) -> list[str]:
    """The columns in which pandas stored its index, by metadata or by name."""
    names = found.column_names
    with reading("the metadata from pandas cannot be read: "):
        stored = json.loads((found.schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
    unnamed = [name for name in names[:1] if name.strip() in ("", "Unnamed: 0") and len(names) > 1]
    levels = [name for name in names if re.fullmatch(r"__index_level_\d+__", name)]
    return list(dict.fromkeys([*unnamed, *levels, *(name for name in stored if name in names)]))


def chosen_columns(there: Sequence[str], columns: Sequence[str] | None, name: str, label: str | None) -> list[str]:
    """The wanted columns, by default all but the label.

    Raises:
        ValueError: If one does not exist, or the label is wanted as a column too.
    """
    repeated = sorted({column for column in there if there.count(column) > 1})
    if repeated:
        if not any(column.strip() for column in repeated):
            raise ValueError(f"{name}: columns without a name; name each, or remove the lines above the names")
        raise ValueError(f"{name}: columns of the same name: {', '.join(repeated)}; rename them")
    for column in [*(columns or ()), *([] if label is None else [label])]:
        if column not in there:
            near = did_you_mean(column, there)
            raise ValueError(f"{name}: no column {column!r}{near}; it has {listed(there)}")
    if columns and label in columns:
        rest = [column for column in columns if column != label]
        raise ValueError(
            f"{name}: {label!r} is the label and cannot also be a column; "
            + (f"use {chosen_by(rest)}" if rest else "leave out data.columns")
        )
    return list(columns or (column for column in there if column != label))


def chosen_by(columns: Sequence[str]) -> str:
    """The setting that takes these columns, as typed in a shell.

    >>> print(chosen_by(["a", "b c"]), chosen_by(["0", "x,y"]))
    'data.columns=[a,b c]' 'data.columns=["0", "x,y"]'
    """
    are_words = all(name.replace(" ", "_").isidentifier() and name == name.strip() for name in columns)
    plain = are_words and not JSON_WORDS & set(columns)
    written = f"[{','.join(columns)}]" if plain else json.dumps(list(columns), ensure_ascii=False)
    return shlex.quote(f"data.columns={written}")


def marks_by(values: Sequence[str | int | float]) -> str:
    """The setting that treats these values as missing cells, as typed in a shell."""
    written = [value if isinstance(value, str) or math.isfinite(value) else str(value) for value in values]
    return f"type {shlex.quote('data.missing=' + json.dumps(written, ensure_ascii=False))}"

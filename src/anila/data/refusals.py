"""Numbers that make training impossible: infinite ones, and ones so far out that they hide all others."""

import numpy as np
import pyarrow as pa
from jaxtyping import Float64

from anila.data.column import FARTHEST, Column
from anila.data.encoding import Encoding
from anila.data.scale import FAR
from anila.data.selection import chosen_by, marks_by
from anila.messages import counted

LOOKED_AT = 10_000
"""Approximate maximum number of cells of a column that are compared."""


def require_numbers_usable(rows: pa.Table, encoding: Encoding, name: str) -> None:
    """Refuse infinite cells, and columns whose distinct cells become equal in float32 when standardised.

    Raises:
        ValueError: Naming columns, range, the first row, and what to type.
    """
    for column in encoding.columns:
        if column.kind == "category":
            continue
        values = column.values(rows.column(column.name))
        infinite = np.isinf(values)
        if infinite.any():
            marks, row = np.unique(values[infinite]).tolist(), int(infinite.argmax())
            fault = f"{counted(int(infinite.sum()), 'infinite value')} in {column.name}, the first in row {row}"
            raise ValueError(refusal(name, fault, marks, column, encoding))
        if hides(values, column):
            row = int(np.nanargmax(np.abs(values)))
            fault = (
                f"a value of {column.name} is so far out that float32 cannot tell the others apart "
                f"({np.nanmin(values):.3g} to {np.nanmax(values):.3g}, the largest in row {row})"
            )
            raise ValueError(refusal(name, fault, [float(values[row])], column, encoding))


def refusal(name: str, fault: str, marks: list[float], column: Column, encoding: Encoding) -> str:
    good = [other for other in encoding.names if other != column.name]
    take = f"use {chosen_by(good)}" if good else "use other data"
    return f"{name}: {fault}; if it marks missing cells, {marks_by(marks)}; else remove these rows, or {take}"


def hides(values: Float64[np.ndarray, "n"], column: Column) -> bool:
    """Whether one value is far beyond the scale of the others, or most of these become equal in float32."""
    seen = values[~np.isnan(values)]
    different = np.unique(seen[:: 1 + len(seen) // LOOKED_AT])
    with np.errstate(over="ignore"):
        x = (different - column.mean[0]) / column.scale
    alike = np.unique(np.clip(x, -FARTHEST, FARTHEST).astype(np.float32))
    far = np.abs(x).max(initial=0) > max(FAR, len(seen))
    return bool(far or 2 * len(alike) < len(different))

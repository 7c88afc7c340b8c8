"""DataFrames that hold more than numbers: text, categories, booleans, dates."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from anila.data.foreign import reading
from anila.data.usable import usable


def holds_more(X: Any) -> bool:
    """Whether X is a DataFrame with a column that does not hold numbers."""
    return hasattr(X, "select_dtypes") and X.select_dtypes("number", exclude="timedelta").shape[1] < X.shape[1]


def rows_of(frame: Any, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a DataFrame; when fitting, without columns from which nothing can be learned.

    Args:
        frame: pandas' DataFrame.
        columns: Those of the fitted frame; None when fitting.

    Raises:
        ValueError: If there are fewer than 2 rows to fit, two columns share a name, or one mixes kinds of cells.
    """
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise ValueError(f"expected columns with different names, got {', '.join(names)}")
    with reading("the frame has a column of mixed kinds: ", "; make its cells all numbers or all text"):
        rows = pa.Table.from_pandas(frame.set_axis(names, axis=1), preserve_index=False)
    if columns is not None:
        return rows.select(columns)
    if len(rows) < 2:
        raise ValueError(
            f"Found array with {len(rows)} sample(s) (shape={frame.shape}) while a minimum of 2 is required"
        )
    return usable(rows, "X")[0]


def like(frame: Any, rows: pa.Table) -> Any:
    """Rows as a DataFrame, with the column names and types of the given one."""
    found = rows.to_pandas().rename(columns={str(name): name for name in frame.columns})
    for name in found.columns:
        zone = getattr(frame.dtypes[name], "tz", None)
        cells = found[name] if zone is None else found[name].dt.tz_localize("UTC")
        found[name] = cells.astype(frame.dtypes[name])
    return found


def completed(frame: Any, fitted: Any, rows: pa.Table) -> Any:
    """The frame with its missing cells taken from rows; categories are those of the fitted frame."""
    found = frame.copy()
    drawn = like(fitted, rows).set_axis(found.index)
    for name in drawn.columns:
        dtype = fitted.dtypes[name] if fitted.dtypes[name] == "category" else found.dtypes[name]
        found[name] = found[name].astype(object).where(found[name].notna(), drawn[name]).astype(dtype)
    return found

"""A table as the model sees it: the law of each column beside the data's, and the oddest rows, each with a reason.

score(x) = −f(x), or what an f in closed form says itself
reason   what such an f says; else the coordinate j, and its value v among 21 quantiles of the data, that make
         f(x with x_j = v) − f(x) largest
"""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from anila.data import Rows
from anila.data.column import Column
from anila.data.forms import Form, with_unit
from anila.density.log_density import ClosedForm, values
from anila.reports.page.chart import Chart, Line, edges_of, histogram, number
from anila.runs.model.trained import Trained

SHOWN, ODDEST, BINS, CATEGORIES = 12, 8, 30, 6
"""Columns whose law is drawn, rows listed, bins, categories of a column."""
ROWS, QUANTILES, CHANGED = 20_000, 21, 40
"""Rows judged, values that are tried in place of one, and columns that are."""


class Odd(NamedTuple):
    """A row that the model finds unlikely."""

    row: int
    """Its number in the data, from 0."""
    score: float
    values: list[str]
    reason: str


def marginals(trained: Trained, x_data: Tensor, x_model: Tensor) -> list[Chart]:
    """A chart for each column, in the file's units."""
    rows = trained.units.rows
    data, model = (rows.decode(x.nan_to_num()) for x in (x_data, x_model))
    columns = [column for column in rows.columns if column.name in rows.names][:SHOWN]
    return [marginal(c, data.column(c.name), model.column(c.name)) for c in columns]


def marginal(column: Column, data: pa.ChunkedArray, model: pa.ChunkedArray) -> Chart:
    """The law of one column."""
    if column.kind in ("category", "boolean"):
        return shares(column.name, data.to_pylist(), model.to_pylist())
    own, drawn = (finite(column.values(cells)) for cells in (data, model))
    edges = edges_of([own, drawn], min(BINS, max(8, int(len(own) ** 0.5))))
    lines = [histogram("data", own, edges, "data", filled=True), histogram("samples", drawn, edges, "model")]
    return Chart(column.name, lines, column.name, dates=column.kind == "date")


def shares(name: str, data: list[Any], model: list[Any]) -> Chart:
    """How often each category comes, the commonest first."""
    common = sorted({*data}, key=lambda value: (-data.count(value), str(value)))[:CATEGORIES]
    edges = np.arange(len(common) + 1) - 0.5

    def line(label: str, cells: list[Any], look: str, filled: bool) -> Line:
        y = np.repeat([cells.count(value) / max(1, len(cells)) for value in common], 2)
        return Line(label, np.repeat(edges, 2)[1:-1].tolist(), y.tolist(), look, filled=filled)

    lines = [line("data", data, "data", True), line("samples", model, "model", False)]
    return Chart(name, lines, name, names=[str(value) for value in common])


def finite(column: np.ndarray) -> np.ndarray:
    return column[np.isfinite(column)]


def oddest(trained: Trained) -> list[Odd]:
    """The rows of the data that the model finds oddest."""
    assert isinstance(trained.data, Rows)
    n = len(trained.data)
    rows = np.arange(n) if n <= ROWS else np.sort(np.asarray(trained.data.indices(ROWS, 0, 0)))
    x = trained.data.rows(rows).to(trained.device)
    there = torch.from_numpy(trained.data.values[rows]).to(x)
    if isinstance(trained.f, ClosedForm):  # it judges a row by the cells that are there
        x = there
    score = -values(trained.usual, x)
    order = score.argsort(descending=True)[:ODDEST].tolist()
    why = reasons(trained, x, x[order], there[order])
    return [
        Odd(int(rows[i]), score[i].item(), cells, reason)
        for i, cells, reason in zip(order, shown(trained, there[order]), why, strict=True)
    ]


def shown(trained: Trained, x: Tensor) -> list[list[str]]:
    """Rows in the file's kinds."""
    rows = trained.units.rows
    table = rows.decode(x).select(list(rows.names[:SHOWN]))
    forms = rows.style.numbers
    return [[text(cell, forms.get(name)) for name, cell in row.items()] for row in table.to_pylist()]


def text(cell: Any, form: Form | None = None) -> str:
    """A cell as people read it, a number in the unit of its column."""
    if cell is None:
        return "–"
    plain = number(float(f"{cell:.5g}")) if isinstance(cell, float) else str(cell)
    return with_unit(plain, form) if form and isinstance(cell, int | float) else plain


def reasons(trained: Trained, x: Tensor, odd: Tensor, there: Tensor) -> list[str]:
    """Why rows are odd, among all rows x; NaN where a cell of theirs is not there."""
    if isinstance(trained.f, ClosedForm):
        return own_reasons(trained, odd)
    tried = torch.from_numpy(np.nanquantile(x.numpy(force=True), np.linspace(0, 1, QUANTILES), axis=0)).to(x)
    asked = zip(odd, there, values(trained.f, odd), strict=True)
    return [reason(trained, row, cells, float(f), tried) for row, cells, f in asked]


def own_reasons(trained: Trained, x: Tensor) -> list[str]:
    """What an f in closed form says: the cells that make a row odd, and what would be likely there."""
    f: Any = trained.f
    rows = trained.units.rows
    share, likely = (part.cpu() for part in f.reasons(x, rows.cells.to(x.device)))
    found, instead = (rows.decode(row).to_pylist() for row in (x.cpu().nan_to_num(), changed(x.cpu(), likely)))
    parts, forms = rows.by_column(share).tolist(), rows.style.numbers
    named = [[name for name, part in zip(rows.names, row, strict=True) if part > 0] for row in parts]
    return [
        "; ".join(
            f"likely {name} {text(other[name], forms.get(name))}, not {text(own[name], forms.get(name))}"
            for name in names
        )
        or "no single cell"
        for names, own, other in zip(named, found, instead, strict=True)
    ]


def changed(x: Tensor, likely: Tensor) -> Tensor:
    """Rows with what is likely in the place of what is odd."""
    return torch.where(likely.isnan(), x.nan_to_num(), likely)


def reason(trained: Trained, x: Tensor, there: Tensor, f: float, tried: Tensor) -> str:
    """Which column is odd given the others, and what would be usual there."""
    n = min(CHANGED, int((~there.isnan()).sum()))
    columns = there.abs().nan_to_num(-1).argsort(descending=True)[:n].tolist()
    other = x.repeat(len(columns), len(tried), 1)
    for k, j in enumerate(columns):
        other[k, :, j] = tried[:, j]
    gain = values(trained.f, other.flatten(0, 1)).view(len(columns), len(tried)) - f
    k, q = divmod(int(gain.argmax()), len(tried))
    j, units = columns[k], trained.units
    was, usual = (units.mean[j] + units.scale[j] * float(v) for v in (x[j], tried[q, j]))
    if gain[k, q] <= 0:
        return "no single column: every other value is even less likely"
    return f"{units.columns[j]} {number(float(f'{was:.4g}'))}: {number(float(f'{usual:.4g}'))} is " + (
        f"{number(round(gain[k, q].item(), 1))} nats likelier given the rest"
    )

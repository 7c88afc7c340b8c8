"""A table as the model sees it: the law of each column beside the data's, and the oddest rows, each with a reason.

score(x) = −f(x)
reason   the column j, and its value v among 21 quantiles of the data, that make f(x with x_j = v) − f(x) largest
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from anila.data import Rows
from anila.density.log_density import values
from anila.reports.page.chart import Chart, edges_of, histogram, number
from anila.runs.model.trained import Trained

SHOWN, ODDEST, BINS = 12, 8, 30
"""Columns whose law is drawn, rows listed, bins."""
ROWS, QUANTILES, CHANGED = 20_000, 21, 40
"""Rows judged, values that are tried in place of one, and columns that are."""


class Odd(NamedTuple):
    """A row that the model finds unlikely."""

    row: int
    """Its number in the data, from 0."""
    energy: float
    values: list[str]
    reason: str


def marginals(trained: Trained, x_data: Tensor, x_model: Tensor) -> list[Chart]:
    """A chart for each column, in the file's units."""
    data, model = trained.units.outward(x_data), trained.units.outward(x_model)
    names = trained.units.columns[:SHOWN]
    return [marginal(name, data[:, j], finite(model[:, j])) for j, name in enumerate(names)]


def marginal(name: str, data: np.ndarray, model: np.ndarray) -> Chart:
    """The law of one column."""
    edges = edges_of([data, model], min(BINS, max(8, int(len(data) ** 0.5))))
    lines = [histogram("data", data, edges, "data", filled=True), histogram("samples", model, edges, "model")]
    return Chart(name, lines, name)


def finite(column: np.ndarray) -> np.ndarray:
    return column[np.isfinite(column)]


def oddest(trained: Trained) -> list[Odd]:
    """The rows of the data of lowest f."""
    assert isinstance(trained.data, Rows)
    n = len(trained.data)
    rows = np.arange(n) if n <= ROWS else np.sort(np.asarray(trained.data.indices(ROWS, 0, 0)))
    x = trained.data.rows(rows).to(trained.device)
    f = values(trained.f, x)
    order = f.argsort()[:ODDEST].tolist()
    tried = torch.from_numpy(np.quantile(x.numpy(force=True), np.linspace(0, 1, QUANTILES), axis=0)).to(x)
    return [
        Odd(int(rows[i]), -f[i].item(), shown(trained, x[i]), reason(trained, x[i], f[i].item(), tried)) for i in order
    ]


def shown(trained: Trained, x: Tensor) -> list[str]:
    """A row in the file's units."""
    return [number(float(f"{value:.5g}")) for value in trained.units.outward(x[None])[0, :SHOWN]]


def reason(trained: Trained, x: Tensor, f: float, tried: Tensor) -> str:
    """Which column is odd given the others, and what would be usual there."""
    columns = x.abs().argsort(descending=True)[:CHANGED].tolist()
    other = x.repeat(len(columns), len(tried), 1)
    for k, j in enumerate(columns):
        other[k, :, j] = tried[:, j]
    gain = values(trained.f, other.flatten(0, 1)).view(len(columns), len(tried)) - f
    k, q = divmod(int(gain.argmax()), len(tried))
    j, units = columns[k], trained.units
    was, usual = (units.mean[j] + units.scale[j] * float(v) for v in (x[j], tried[q, j]))
    if gain[k, q] <= 0:
        return "no single column: every other value is less likely still"
    return f"{units.columns[j]} {number(float(f'{was:.4g}'))}: {number(float(f'{usual:.4g}'))} is " + (
        f"{number(round(gain[k, q].item(), 1))} nats likelier beside the rest"
    )

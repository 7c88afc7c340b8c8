"""Rows of numbers under a run's model: missing cells drawn given those that are there, noisy rows cleaned."""

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from anila import applications
from anila.applications import Draws
from anila.applications.files.tables import floats, named, with_columns
from anila.applications.on_runs.draws import draws_of, nearest_starts
from anila.applications.on_runs.kernel import temperature
from anila.runs.model.model import Model


def filled(
    model: Model, values: Float[np.ndarray, "n d"], count: int, steps: int | None = None, seed: int = 0
) -> tuple[Float[np.ndarray, "n k d"], Float[np.ndarray, "n k"]]:
    """Missing cells (NaN) of each row drawn `count` times given the row's others, which stay as they are.

    Args:
        model: The run.
        values: In the file's units.
        count: Draws for each row.
        steps: Transitions.
        seed: Seed of everything drawn.

    Returns:
        Rows in the file's units, and the energies.

    Raises:
        ValueError: If nothing is missing, or nothing is given in a row.
    """
    missing = np.isnan(values)
    if not missing.any():
        raise ValueError("no cell is missing: leave out the columns that are to be drawn, or leave their cells empty")
    if missing.all(1).any():
        raise ValueError(
            f"row {int(missing.all(1).argmax())} has none of the model's columns; to draw whole rows use anila sample"
        )
    units = model.units
    y = units.inward(values).to(model.device)
    x = y[:, None].repeat(1, count, 1)
    energy = torch.empty(len(y), count)
    for i, pattern in enumerate(np.unique(missing, axis=0)):
        here = torch.from_numpy((missing == pattern).all(1).nonzero()[0])
        if pattern.any():
            draws = conditional(model, y[here], torch.from_numpy(pattern), count, steps, seed + i)
            x[here] = draws.x.to(x)
    with torch.no_grad():
        energy = -model.f(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    found = np.where(missing[:, None], units.outward(x), values[:, None])
    return found, energy.double().numpy(force=True)


def conditional(model: Model, y: Tensor, mask: Tensor, count: int, steps: int | None, seed: int) -> Draws:
    """Draws of the masked coordinates given the others, hard."""
    f, mask = model.f, mask.to(y.device)
    return draws_of(
        model,
        lambda part: applications.inpaint(f, y[part], mask),
        lambda part, generator: nearest_starts(model, lambda x: x[:, ~mask], y[part][:, ~mask], count, generator),
        len(y), count, steps, seed, global_moves=True,
    )  # fmt: skip


def cleaned(
    model: Model, values: Float[np.ndarray, "n d"], sd: float, count: int, steps: int | None = None, seed: int = 0
) -> tuple[Float[np.ndarray, "n k d"], Float[np.ndarray, "n k"]]:
    """`count` draws of what each row was before noise of sd was added, sd in standard deviations of each column."""
    units = model.units
    f, t, y = model.f, temperature(model), units.inward(values).to(model.device)
    draws = draws_of(
        model,
        lambda part: applications.denoise(f, y[part], sd, t),
        lambda part, _: y[part].repeat_interleave(count, 0),
        len(y), count, steps, seed, global_moves=True,
    )  # fmt: skip
    return units.outward(draws.x), draws.energy.double().numpy()


def joined(table: pa.Table, columns: tuple[str, ...], x: np.ndarray, energy: np.ndarray) -> pa.Table:
    """The table with every row once for each of its draws: the model's columns drawn, `draw` and `energy` beside.

    Args:
        table: What was read.
        columns: The model's.
        x: Draws in the file's units, (n, k, d).
        energy: Theirs, (n, k).
    """
    n, k, _ = x.shape
    table = named(table, columns).take(np.repeat(np.arange(n), k))
    for i, name in enumerate(columns):
        drawn = pa.array(x[:, :, i].ravel())
        if name not in table.column_names:
            table = table.append_column(name, drawn)
        elif np.isnan(floats(table.column(name), name)).any() or not same(table, name, x[:, :, i].ravel()):
            table = table.set_column(table.column_names.index(name), name, drawn)
    return with_columns(table, {"draw": np.tile(np.arange(1, k + 1), n), "energy": energy.ravel()})


def same(table: pa.Table, name: str, values: np.ndarray) -> bool:
    """Whether a column already holds these values, so that it keeps its type."""
    return np.array_equal(floats(table.column(name), name), values)

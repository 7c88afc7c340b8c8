"""What a page is made for: a law of the plane, or a net of images, as data that JavaScript reads.

A run and a density of the user's own become a grid: f and ∇f at NODES × NODES points, between which the page draws the
bicubic surface that takes both on. Its error falls with the fourth power of the spacing, its gradient is that of the
surface, so the page's exact kernels are exact for what it shows. Points go as they are: the page puts a bump on each.
"""

import base64
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anila.data import Table, table
from anila.data.foreign import local
from anila.data.tables import SUFFIXES
from anila.density.log_density import LogDensity, value_and_grad
from anila.evaluation.likelihood.grid import Grid, in_plane
from anila.reports.own_density import doubled, own_density
from anila.reports.playground.images import of_images
from anila.reports.playground.plane import PLANE
from anila.rng import rng
from anila.runs.catalogue import unknown_density
from anila.runs.experiment.code import is_code
from anila.runs.model.export import load
from anila.runs.model.hub import PREFIX as HUB
from anila.runs.model.pretrained import PREFIX as PRETRAINED

NODES = 160
"""Nodes along an axis."""
POINTS, DRAWS = 600, 20_000
"""Points that are shown, and draws that say where a density is."""
REST = 0.002
"""The share of draws beyond each side of the frame, before it is widened."""
MARGIN = 0.2
SAMPLERS = ("langevin", "anisotropic", "mala", "anisotropic_mala", "barker", "hmc")
"""The kernels the page has."""


def subject_of(what: str | None, seed: int = 0) -> dict[str, Any]:
    """What the page opens with.

    Args:
        what: A name in PLANE, FILE.py:NAME, a table of two columns, or a run in the plane or on images; None for the
            page's own laws.
        seed: Seed of the draws that find a density.

    Raises:
        ValueError: If there is nothing of that name, or its points are neither in the plane nor images.
    """
    if what is None:
        return {}
    if what in PLANE:
        return {"state": {"target": what}}
    if is_code(what):
        f, draws, _ = own_density(what, "playground", 2, DRAWS, seed)
        return {"title": what.rpartition(":")[2], "state": {"target": "own"}, "grid": on_nodes(f, draws)}
    path = local(what)
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        return of_points(path)
    if not path.exists() and not what.startswith((HUB, PRETRAINED)):
        raise ValueError(unknown_density(what, PLANE, "density, run or file"))
    return of_run(what)


def of_run(what: str) -> dict[str, Any]:
    """A run's trained f with its data, and its sampler on the right; of a run on images its net, or films."""
    model = load(what)
    title = what if what.startswith((HUB, PRETRAINED)) else Path(what).resolve().name
    if len(model.data.event_shape) == 3:
        return {"title": title} | of_images(model)
    require_plane(model.data.event_shape, what)
    x = model.reference_data(DRAWS).double().cpu()
    sampler = model.sampler.name
    right = {"right": sampler} if sampler in SAMPLERS else {}
    shown = x[:POINTS].tolist()
    return {"title": title, "state": {"target": "own"} | right, "grid": on_nodes(doubled(model.f), x), "points": shown}


def of_points(path: Path) -> dict[str, Any]:
    """Rows of a table of two columns, each in its standard deviations."""
    data = table(path)
    require_plane(data.event_shape, path.name)
    assert isinstance(data, Table)
    order = torch.randperm(len(data), generator=rng(0, "points"))[:POINTS]
    points = data.rows(order.tolist()).double().round(decimals=4)
    return {"title": path.name, "state": {"target": "own"}, "points": points.tolist()}


def require_plane(shape: tuple[int, ...], what: str) -> None:
    if not in_plane(shape):
        raise ValueError(
            f"playground {what}: expected points of 2 numbers, the plane, or images, got shape {tuple(shape)}; take a "
            "file of two columns, or a run on two: anila train FILE.csv 'data.columns=[a,b]'"
        )


def on_nodes(f: LogDensity, draws: Tensor) -> dict[str, Any]:
    """f above its maximum and ∇f at the nodes of the frame of these draws, as 32-bit numbers in base64."""
    low, high = frame(draws)
    axes = [torch.linspace(a, b, NODES, dtype=torch.float64) for a, b in zip(low, high, strict=True)]
    value, grad = value_and_grad(f, torch.cartesian_prod(*axes))
    columns = {"value": value - value.max(), "gx": grad[:, 0], "gy": grad[:, 1]}
    return {"low": low, "high": high, "side": NODES} | {name: spelled(column) for name, column in columns.items()}


def frame(draws: Tensor) -> tuple[list[float], list[float]]:
    """The box of all but the outermost draws, widened."""
    ends = torch.tensor([REST, 1 - REST], dtype=draws.dtype)
    box = Grid.around(draws.quantile(ends, dim=0), margin=MARGIN)
    return list(box.low), list(box.high)


def spelled(column: Tensor) -> str:
    return base64.b64encode(column.float().numpy().tobytes()).decode()

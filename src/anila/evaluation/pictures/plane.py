"""Points and log-densities of the plane.

f is shown twice: as the density exp f, which shows where the mass is, and as the energy −f above its minimum, cut off
at 12 nats (exp −12 is six millionths), which shows how high the walls between modes are.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from anila.density.log_density import LogDensity
from anila.evaluation.likelihood.grid import Grid, values_on_grid
from anila.evaluation.pictures.style import DATA, DPI, INK, MODEL, STYLE, WIDTH, caption
from anila.messages import counted

PATHS = ("#ffb000", "#ff6a3d", "#f25ca8", "#b48cff")
MASS = LinearSegmentedColormap.from_list(
    "mass", [(0, "#ffffff"), (0.12, "#b9dbee"), (0.4, "#4f9fcd"), (0.75, "#0b5f99"), (1, "#06304d")]
)
ENERGY = LinearSegmentedColormap.from_list(
    "energy", [(0, "#0d2b42"), (0.15, "#1f5f82"), (0.35, "#5fa3ad"), (0.6, "#b9d6c2"), (1, "#fbf8ee")]
)
NATS = 12
"""Energies are shown up to this many nats above their minimum."""


@STYLE
def plane_panel(
    x_data: Float[Tensor, "n 2"] | None,
    x_model: Float[Tensor, "chains 2"],
    f: LogDensity,
    grid: Grid,
    title: str | None = None,
) -> Figure:
    """Panels on one frame: data, chains, model density exp f, energy −f with contours.

    Args:
        x_data: Data, (n, 2); None leaves its panel out.
        x_model: Where the chains are, (chains, 2).
        f: The model's log-density, (n, 2) -> (n,).
        grid: The frame, and where f is evaluated.
        title: A heading.
    """
    figure = Figure(figsize=(WIDTH, 2.95 if title else 2.7), dpi=DPI)
    names = (*(["data"] if x_data is not None else []), "samples", "model density", "model energy")
    axes = figure.subplots(1, len(names), sharex=True, sharey=True)
    value = values_on_grid(f, grid)
    if x_data is not None:
        scatter(axes[0], x_data, DATA)
    scatter(axes[-3], x_model, MODEL)
    show(axes[-2], (value - value.max()).exp(), grid)
    draw_energy(axes[-1], value, grid)
    for ax, name in zip(axes, names, strict=True):
        frame(ax, grid, name)
    outside = len(x_model) - int(in_frame(x_model, grid).sum())
    lost = f", {outside:,} outside the frame" if outside else ""
    caption(
        figure,
        (f"{counted(len(x_data), 'data point')} · " if x_data is not None else "")
        + f"{counted(len(x_model), 'chain')}{lost} · density exp f / Z · "
        "energy −f in nats above its minimum, one contour per 2",
    )
    if title:
        figure.suptitle(title, size=11, weight="bold")
    return figure


@STYLE
def trajectories(x_kept: Float[Tensor, "kept chains 2"], f: LogDensity, grid: Grid) -> Figure:
    """Chains moving on the energy: the paths of the first four, from a ring to a disc, and where all end.

    Args:
        x_kept: Kept positions, (kept, chains, 2): `trace["x"]` of `sample(..., keep_every=1)`.
        f: The log-density on which they move, (n, 2) -> (n,).
        grid: The frame, and where f is evaluated.
    """
    figure = Figure(figsize=(WIDTH / 2, WIDTH / 2 - 0.1), dpi=DPI)
    ax = figure.subplots()
    draw_energy(ax, values_on_grid(f, grid), grid)
    scatter(ax, x_kept[-1], "white", size=2.0)
    for path, colour in zip(x_kept.unbind(1), PATHS, strict=False):
        draw_path(ax, path.numpy(force=True), colour)
    frame(ax, grid, "chains on the energy")
    caption(
        figure,
        f"ring: start · disc: end, {counted(len(x_kept), 'position')} · dots: all ends of "
        f"{counted(x_kept.shape[1], 'chain')}",
    )
    return figure


def frame(ax: Axes, grid: Grid, title: str) -> None:
    """Give a panel the square frame that all panels of the plane share."""
    ax.set(xlim=(grid.low[0], grid.high[0]), ylim=(grid.low[1], grid.high[1]), box_aspect=1)
    ax.set_title(title)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(4, prune="both"))
    ax.label_outer(remove_inner_ticks=True)


def scatter(ax: Axes, x: Float[Tensor, "n 2"], colour: str, size: float | None = None) -> None:
    """Points whose size and opacity follow their number."""
    a, b = x.numpy(force=True).T
    area = size or min(4.0, max(0.8, 4000 / len(x)))
    ax.scatter(a, b, s=area, color=colour, alpha=0.75 if len(x) < 3000 else 0.5, linewidths=0)


def show(ax: Axes, value: Float[Tensor, "side side"], grid: Grid) -> None:
    """A non-negative function on the grid, white where it is 0."""
    ax.imshow(value.T.numpy(), cmap=MASS, vmin=0, extent=extent(grid), origin="lower", aspect="auto")


def draw_energy(ax: Axes, value: Float[Tensor, "side side"], grid: Grid) -> None:
    """max f − f on the grid, cut off at 12 nats, with a contour every 2."""
    energy = (value.max() - value).clamp(max=NATS).T.numpy()
    box = extent(grid)
    drawn = ax.imshow(energy, cmap=ENERGY, vmin=0, vmax=NATS, extent=box, origin="lower", aspect="auto")
    if levels := [nats for nats in range(2, NATS, 2) if nats < energy.max()]:
        ax.contour(energy, levels, extent=box, origin="lower", colors=INK, linewidths=0.35, alpha=0.45)
    bar = ax.figure.colorbar(drawn, cax=ax.inset_axes((1.04, 0, 0.045, 1)), ticks=range(0, NATS + 1, 4))
    bar.outline.set_visible(False)
    bar.ax.set_yticklabels(["0", "4", "8", f"≥ {NATS}"])


def draw_path(ax: Axes, path: np.ndarray, colour: str) -> None:
    """One chain: a thin line from a ring to a disc."""
    ax.plot(*path.T, color=colour, linewidth=0.7, alpha=0.9)
    ax.plot(*path[0], "o", markersize=5, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=1.4)
    ax.plot(*path[-1], "o", markersize=5.5, color=colour, markeredgecolor="white", markeredgewidth=0.8)


def extent(grid: Grid) -> tuple[float, float, float, float]:
    """The box in matplotlib's order."""
    return (grid.low[0], grid.high[0], grid.low[1], grid.high[1])


def in_frame(x: Float[Tensor, "n 2"], grid: Grid) -> Bool[Tensor, "n"]:
    """Which points lie in the frame."""
    low, high = (torch.tensor(corner).to(x) for corner in (grid.low, grid.high))
    return ((low <= x) & (x <= high)).all(1)

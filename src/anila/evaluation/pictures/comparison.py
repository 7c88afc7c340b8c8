"""Samplers side by side, as in the papers: a column for each, and their scores over gradients and seconds."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from anila.density.rows import finite_rows
from anila.evaluation.likelihood.grid import Grid
from anila.evaluation.pictures.curves import SERIES, log_axis, open_axes
from anila.evaluation.pictures.images import pixels, tile
from anila.evaluation.pictures.plane import frame, scatter
from anila.evaluation.pictures.style import DPI, INK, STYLE, WIDTH

TILES = 4
"""Number of images above each other."""
Curves = Mapping[str, tuple[Tensor, Tensor, Tensor, Tensor]]
"""Name of sampler -> (gradients, seconds, mean score, standard error), each (points,)."""


@STYLE
def comparison(
    curves: Curves, samples: Mapping[str, Float[Tensor, "_ *event"]], score: str, grid: Grid | None = None
) -> Figure:
    """Samples of each sampler in a column, above the score over gradient evaluations and over seconds.

    Args:
        curves: Mean ± one standard error; NaN where there is none.
        samples: Points of the plane (n, 2), or images (n, c, h, w), at the end.
        score: Name of the score.
        grid: The frame of points.
    """
    colours: dict[str, str] = dict(zip(curves, SERIES * len(curves), strict=False))
    panel = WIDTH / max(4, len(samples))
    figure = Figure(figsize=(WIDTH, panel + 3.4), dpi=DPI)
    above, below = figure.subfigures(2, 1, height_ratios=(panel + 0.45, 2.95), squeeze=False).flatten()
    panels = above.subplots(1, len(samples), squeeze=False).flatten()
    across = round(TILES * WIDTH / panel / len(samples))
    for ax, (name, x) in zip(panels, samples.items(), strict=True):
        draw_samples(ax, x, colours[name], grid, fill(name, 18), across)
        ax.title.set(color=colours[name], weight="bold")
    left, right = below.subplots(1, 2, sharey=True)
    draw_scores(left, {name: (c[0], c[2], c[3]) for name, c in curves.items()}, colours)
    draw_scores(right, {name: (c[1], c[2], c[3]) for name, c in curves.items()}, colours)
    left.set(xlabel="gradient evaluations per chain", ylabel=fill(score, 36, break_on_hyphens=False))
    right.set_xlabel("seconds")
    left.legend(labelcolor="linecolor")
    return figure


@STYLE
def course_of_samples(
    samples: Mapping[str, Sequence[Float[Tensor, "_ *event"] | None]], heads: Sequence[str], grid: Grid | None = None
) -> Figure:
    """A row for each sampler, a column for each moment of training.

    Args:
        samples: Name of sampler -> its points (n, 2) or images (n, c, h, w) at each moment; None if it had run away.
        heads: Names of the moments.
        grid: The frame of points.
    """
    panel = WIDTH / max(4, len(heads))
    figure = Figure(figsize=(0.3 + panel * len(heads), 0.3 + (panel + 0.06) * len(samples)), dpi=DPI)
    axes = figure.subplots(len(samples), len(heads), squeeze=False)
    for row, (name, moments) in zip(axes, samples.items(), strict=True):
        for ax, x in zip(row, moments, strict=True):
            if x is None:
                ax.set_axis_off()
            else:
                draw_samples(ax, x, SERIES[0], grid, "")
        if moments[0] is not None:
            row[0].set_ylabel(name, color=INK, weight="bold")
    for ax, head in zip(axes[0], heads, strict=False):
        ax.set_title(head)
    return figure


def draw_samples(ax: Axes, x: Tensor, colour: str, grid: Grid | None, title: str, across: int = TILES) -> None:
    """Points in their frame, or four rows of images."""
    if x.ndim == 2 and grid is not None:
        scatter(ax, x[torch.isfinite(x).all(1)], colour)
        frame(ax, grid, title)
    else:
        good = x[finite_rows(x)]
        ax.set_title(title)
        if len(good):
            ax.imshow(tile(pixels(good[: TILES * across]), across), interpolation="nearest")
        ax.spines[:].set_visible(False)
    ax.set(xticks=[], yticks=[])


def draw_scores(ax: Axes, curves: Mapping[str, tuple[Tensor, Tensor, Tensor]], colours: Mapping[str, str]) -> None:
    """Mean ± one standard error, each line in its sampler's colour; points that are not finite are left out."""
    every = [np.ones(1)]
    for name, columns in curves.items():
        x, mean, error = (column.double().numpy(force=True) for column in columns)
        known = np.isfinite(mean) & np.isfinite(x)
        x, mean, error = x[known], mean[known], np.nan_to_num(error[known])
        ax.plot(x, mean, color=colours[name], linewidth=1.8, marker="o", markersize=2.5, label=name)
        ax.fill_between(x, np.maximum(mean - error, mean / 10), mean + error, color=colours[name], alpha=0.18, lw=0)
        every.append(mean)
    log_axis(ax, np.concatenate(every[1:]) if len(every) > 1 else every[0])
    open_axes(ax)

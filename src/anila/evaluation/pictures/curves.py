"""Curves over counts: metrics of a training run over iterations, scores of samplers over gradients."""

import math
from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullLocator
from torch import Tensor

from anila.evaluation.likelihood.grid import Grid
from anila.evaluation.pictures.plane import frame, scatter
from anila.evaluation.pictures.style import DATA, DPI, INK, MODEL, STYLE, WIDTH
from anila.evaluation.training.metric import KL, OF_CHAINS, Metric

SERIES = (MODEL, DATA, "#009e73", "#b85c93", "#b8860b", "#56b4e9", "#4b4b4b", "#7a5195")
"""Colours of samplers, in the order given."""


@STYLE
def training_curves(
    stats: Mapping[str, Sequence[float | int]],
    metrics: Sequence[Metric] = (*OF_CHAINS, KL),
    switches: Sequence[int] = (),
) -> Figure:
    """The metrics of a training run over iterations: raw values faint, a running mean on top.

    Args:
        stats: Columns of the log, all of one length: "iteration" and any of the metrics. NaN where one was not
            measured.
        metrics: Metrics to draw if they have a title; by default those of Algorithm 1 and the KL.
        switches: Iterations after which another stage began; each gets a thin line.

    Raises:
        ValueError: If none of the metrics was measured, or the columns differ in length.
    """
    drawn = [metric for metric in metrics if metric.title]
    shown = [metric for metric in drawn if np.isfinite(stats.get(metric.name, [])).any()]
    if not shown or any(len(stats[metric.name]) != len(stats.get("iteration", [])) for metric in shown):
        names = ", ".join(metric.name for metric in drawn)
        lengths = {name: len(column) for name, column in stats.items()}
        raise ValueError(f'expected "iteration" and one of {names}, all of one length; got {lengths}')
    columns = len(shown) if len(shown) < 4 else 2 if len(shown) == 4 else 3
    rows = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(WIDTH, 0.35 + 1.9 * rows), dpi=DPI)
    for k, metric in enumerate(shown):
        ax = figure.add_subplot(rows, columns, k + 1)
        draw_curve(ax, metric, np.asarray(stats["iteration"]), np.asarray(stats[metric.name]))
        for switch in switches:
            ax.axvline(switch, color=INK, linewidth=0.5, alpha=0.5, zorder=1)
        if k + columns >= len(shown):
            ax.set_xlabel("iteration")
    return figure


@STYLE
def sampler_comparison(
    curves: dict[str, tuple[Float[Tensor, "points"], Float[Tensor, "points"], Float[Tensor, "points"]]],
    samples: dict[str, Float[Tensor, "_ 2"]],
    grid: Grid,
    score: str,
) -> Figure:
    """Samplers at equal cost: the chains of each, and its score over gradient evaluations.

    Args:
        curves: Name of sampler -> (gradient evaluations, mean score, standard error), each (points,).
        samples: Name of sampler -> its chains at the end, (chains, 2).
        grid: The frame of the scatter panels.
        score: Name of the score, e.g. "KL(data ‖ model), nats".
    """
    colours: dict[str, str] = dict(zip(curves, SERIES * len(curves), strict=False))
    panel = WIDTH / max(4, len(samples))
    figure = Figure(figsize=(WIDTH, panel + 3.5), dpi=DPI)
    above, below = figure.subfigures(2, 1, height_ratios=(panel + 0.45, 3.05), squeeze=False).flatten()
    panels = above.subplots(1, len(samples), sharex=True, sharey=True, squeeze=False).flatten()
    for ax, (name, x) in zip(panels, samples.items(), strict=True):
        scatter(ax, x, colours[name])
        frame(ax, grid, fill(name, 18))
        ax.title.set(color=colours[name], weight="bold")
    draw_scores(below.subplots(), curves, colours, score)
    return figure


def draw_curve(ax: Axes, metric: Metric, iteration: np.ndarray, value: np.ndarray) -> None:
    """One metric over iterations, on its scale."""
    known = np.isfinite(value)
    iteration, value = iteration[known], value[known]
    window = max(1, len(value) // 50)
    if window > 1:
        ax.plot(iteration, value, color=DATA, linewidth=0.5, alpha=0.3)
    ax.plot(iteration, running_mean(value, window), color=DATA, linewidth=1.5)
    ax.set_title(metric.title, loc="left", size=8.5)
    open_axes(ax)
    match metric.scale:
        case "signed":
            ax.axhline(0, color=INK, linewidth=0.8, zorder=1)
            if np.abs(value).max() > 10:
                ax.set_yscale("symlog", linthresh=1)
                ax.yaxis.set_major_locator(signed_decades(value))
                ax.set_ylim(2 * min(value.min(), -1), 2 * max(value.max(), 1))
        case "log":
            log_axis(ax, value)
        case "fraction":
            ax.set_ylim(-0.03, 1.03)


def signed_decades(value: np.ndarray) -> FixedLocator:
    """0 and a few powers of ten on either side, as far as the values go."""
    top = math.floor(math.log10(np.abs(value).max()))
    decades = np.arange(top, -1, -max(1, math.ceil(top / 3)))
    return FixedLocator([*(-(10.0**decades)), 0, *(10.0**decades)])


def draw_scores(
    ax: Axes, curves: dict[str, tuple[Tensor, Tensor, Tensor]], colours: dict[str, str], score: str
) -> None:
    """Mean ± one standard error over gradient evaluations, each line in its sampler's colour."""
    for name, columns in curves.items():
        x, mean, error = (column.double().numpy(force=True) for column in columns)
        ax.plot(x, mean, color=colours[name], linewidth=1.8, label=name)
        low = np.maximum(mean - error, mean / 10)
        ax.fill_between(x, low, mean + error, color=colours[name], alpha=0.18, linewidth=0)
    log_axis(ax, np.concatenate([mean.numpy(force=True) for _, mean, _ in curves.values()]))
    ax.set(xlabel="gradient evaluations per chain", ylabel=score)
    ax.legend(labelcolor="linecolor")
    open_axes(ax)


def open_axes(ax: Axes) -> None:
    """Style the axes of a curve over counts: two rules and a faint grid."""
    ax.grid(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.xaxis.set_major_formatter("{x:,.0f}")


def log_axis(ax: Axes, value: np.ndarray) -> None:
    """A logarithmic axis with plain numbers: decades, 1-2-5 within two, even steps within a factor of 5."""
    positive = value[value > 0]
    if not len(positive):
        return
    ratio = positive.max() / positive.min()
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(MaxNLocator(4) if ratio < 5 else LogLocator(subs=(1, 2, 5) if ratio < 100 else (1,)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(NullLocator())


def running_mean(value: np.ndarray, window: int) -> np.ndarray:
    """Mean of the last `window` values, or of fewer at the start."""
    total = np.concatenate([[0.0], np.cumsum(value)])
    end = np.arange(1, len(total))
    start = np.maximum(end - window, 0)
    return (total[end] - total[start]) / (end - start)

"""The regime of a run: its course with correlations, long chains compared with the data, and images of them."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from anila.density.rows import across, finite_rows
from anila.evaluation.pictures.curves import SERIES, draw_curve, open_axes
from anila.evaluation.pictures.images import enlarge, pixels, tile
from anila.evaluation.pictures.style import DATA, DPI, FAINT, INK, MODEL, STYLE, WIDTH, caption
from anila.evaluation.training import CourseOfChains, LongChains
from anila.evaluation.training.long_chains import Snapshot, median
from anila.evaluation.training.metric import CLIPPED, ENERGY_GAP, GRAD_NORM
from anila.messages import counted

GROUPS = {"kept": MODEL, "draws": MODEL, "data": DATA, "noise": SERIES[2]}
"""Starts of long chains, and their colours."""
TITLES = {"kept": "kept chains", "draws": "chains from draws", "data": "chains from data", "noise": "chains from noise"}
TILES = 5
"""Number of chains shown of each start."""
MARGIN = 20
"""Pixels between starts."""
BINS = 24
LOOKS = {
    "f": "log-density f",
    "contrast": "contrast",
    "sharpness": "total variation",
    "outside": "outside the range",
    "diversity": "diversity",
}
"""The looks drawn over transitions, in this order."""


@STYLE
def training_course(series: Mapping[str, Sequence[float]], course: CourseOfChains) -> Figure:
    """d_t, r_t and the fraction clipped over iterations; below, correlations with the range of chance.

    Args:
        series: Columns "iteration", "energy_gap", "grad_norm", "clipped".
        course: The course computed from them.
    """
    figure = Figure(figsize=(WIDTH, 4.5), dpi=DPI)
    above, below = figure.subplots(2, 3)
    for ax, metric in zip(above, (ENERGY_GAP, GRAD_NORM, CLIPPED), strict=True):
        draw_curve(ax, metric, np.asarray(series["iteration"]), np.asarray(series[metric.name]))
        ax.set_xlabel("iteration")
    lags = np.arange(1, len(course.gap_autocorrelation) + 1)
    both = np.arange(-lags[-1], lags[-1] + 1)
    draw_correlation(below[0], lags, course.gap_autocorrelation, course, "autocorrelation of $d_t$")
    draw_correlation(below[1], lags, course.grad_autocorrelation, course, "autocorrelation of $r_t$")
    draw_correlation(below[2], both, course.cross_correlation, course, "cross-correlation, $r_{t+k}$ with $d_t$")
    above[0].set_title("$d_t$ = f(data) − f(chains)", loc="left", size=8.5)
    above[1].set_title("$r_t$ = mean |∇f| along chains", loc="left", size=8.5)
    caption(
        figure,
        f"correlations over the last {counted(course.window, 'iteration')} · grey: white noise stays within at "
        f"all {len(lags)} lags 99 times in 100",
    )
    return figure


def draw_correlation(ax: Axes, lags: np.ndarray, value: Sequence[float], course: CourseOfChains, title: str) -> None:
    """Stems at the lags, coloured if beyond chance."""
    height = np.nan_to_num(np.asarray(value))
    ax.axhspan(-course.chance, course.chance, color=FAINT, alpha=0.15, linewidth=0)
    ax.vlines(lags, 0, height, colors=np.where(np.abs(height) > course.chance, MODEL, FAINT).tolist(), linewidth=2.5)
    ax.axhline(0, color=INK, linewidth=0.8)
    ax.set_title(title, loc="left", size=8.5)
    ax.set_xlabel("lag k, iterations")
    open_axes(ax)
    ax.set_xticks(lags[lags % 5 == 0])
    ax.set_ylim(min(-0.3, -1.3 * course.chance, 1.15 * height.min()), min(1.05, max(0.5, 1.15 * height.max())))


@STYLE
def long_chains(long: LongChains) -> Figure:
    """Above: f of data and of chains after more and more transitions. Below: looks over transitions, data as a band.

    Args:
        long: The chains.
    """
    snapshots = len(next(iter(long.groups.values())))
    shown = [name for name in LOOKS if name in long.data or name == "diversity"]
    figure = Figure(figsize=(WIDTH, 4.9), dpi=DPI)
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.05), squeeze=False).flatten()
    panels = above.subplots(1, snapshots, sharey=True, squeeze=False).flatten()
    top = max(draw_densities(ax, long, k) for k, ax in enumerate(panels))
    panels[0].set(ylim=(0, 1.08 * top), ylabel="share of points")
    legend = above.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=4, fontsize=7.5)
    for text, colour in zip(legend.get_texts(), [FAINT, *(GROUPS[name] for name in long.groups)], strict=True):
        text.set_color(colour)
    for ax, name in zip(below.subplots(1, len(shown), squeeze=False).flatten(), shown, strict=True):
        draw_look(ax, long, name)
    below.supxlabel(
        "transitions · lines: medians of chains · grey: the middle half of the data · diversity: distance between "
        "points, 1 among data", size=7.5, color=FAINT,
    )  # fmt: skip
    return figure


def draw_densities(ax: Axes, long: LongChains, k: int) -> float:
    """Histograms of f in one snapshot: data filled, chains as lines, in the same bins; returns the highest share."""
    data = long.data["f"].numpy()
    chains = {name: snapshots[k].looks["f"].numpy() for name, snapshots in long.groups.items()}
    edges = bins([data, *chains.values()])
    highest = bin_shares(data, edges)
    ax.stairs(highest, edges, color=FAINT, alpha=0.3, fill=True, label="data")
    for name, value in chains.items():
        share = bin_shares(value, edges)
        ax.stairs(share, edges, color=GROUPS[name], linewidth=1.4, label=TITLES[name])
        highest = np.maximum(highest, share)
    ax.set_title(snapshot_name(long, k), loc="left", size=8.5)
    ax.set_xlabel("log-density f")
    open_axes(ax)
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.xaxis.set_major_formatter("{x:.3g}")
    return float(highest.max())


def bins(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Bin edges that cover the middle eight tenths of every column."""
    ends = [np.quantile(c, (0.1, 0.9)) for c in columns if len(c)]
    low, high = min(e[0] for e in ends), max(e[1] for e in ends)
    pad = 0.2 * (high - low) or 0.5
    return np.linspace(low - pad, high + pad, BINS + 1)


def bin_shares(value: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share of the values in each bin; values beyond count in the outermost bins."""
    return np.histogram(np.clip(value, edges[0], edges[-1]), edges)[0] / max(1, len(value))


def draw_look(ax: Axes, long: LongChains, name: str) -> None:
    """One look over transitions, a line for each start, and the middle half of the data."""
    steps = [snapshot.steps for snapshot in next(iter(long.groups.values()))]
    places = np.arange(len(steps))
    if name in long.data:
        low, middle, high = long.data[name].quantile(torch.tensor([0.25, 0.5, 0.75]).double()).tolist()
        ax.axhspan(low, high, color=FAINT, alpha=0.22, linewidth=0)
    else:
        middle = 1.0
    ax.axhline(middle, color=FAINT, linewidth=0.8)
    for group, snapshots in long.groups.items():
        value = [look_of(snapshot, name) for snapshot in snapshots]
        ax.plot(places, value, color=GROUPS[group], linewidth=1.5, marker="o", markersize=3)
    if name == "outside":
        ax.set_ylim(-0.01, max(0.1, ax.get_ylim()[1]))
    ax.set_title(LOOKS[name], loc="left", size=8.5)
    ax.grid(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_xticks(places, [f"{s:,}" for s in steps], size=7, rotation=35)
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.yaxis.set_major_formatter("{x:.3g}")


def look_of(snapshot: Snapshot, name: str) -> float:
    """A number of a snapshot by its name."""
    return median(snapshot.looks[name]) if name in snapshot.looks else getattr(snapshot, name)


def snapshot_name(long: LongChains, k: int) -> str:
    """The name of a snapshot: the start, K, or a number of transitions."""
    steps = next(iter(long.groups.values()))[k].steps
    return "start" if k == 0 else f"K = {steps}" if steps == long.K else f"{counted(steps, 'transition')}"


def long_chain_images(long: LongChains) -> Image.Image:
    """The same chains after 0, K, 10 K, .. transitions, row by row, some of each start; white where a chain is lost.

    Args:
        long: Long chains of images (n, c, h, w), c 1 or 3.
    """
    snapshots = len(long.groups[long.own])
    blocks = [[strip(group[k].x[:TILES]) for group in long.groups.values()] for k in range(snapshots)]
    height, width, _ = blocks[0][0].shape
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), max(14, height // 6))
    names = [snapshot_name(long, k) for k in range(snapshots)]
    left, top = int(max(map(font.getlength, names))) + MARGIN, 2 * font.size
    page = Image.new("RGB", (left + len(long.groups) * (width + MARGIN), top + snapshots * height), "white")
    draw = ImageDraw.Draw(page)
    for g, start in enumerate(long.groups):
        draw.text((left + g * (width + MARGIN), top // 2), TITLES[start], fill=GROUPS[start], font=font, anchor="lm")
    for k, name in enumerate(names):
        draw.text((left - MARGIN // 2, top + k * height + height // 2), name, fill=INK, font=font, anchor="rm")
        for g, block in enumerate(blocks[k]):
            page.paste(Image.fromarray(block), (left + g * (width + MARGIN), top + k * height))
    return page


def strip(x: Float[Tensor, "n c h w"]) -> UInt8[np.ndarray, "height width 3"]:
    """Images side by side, white where one is not finite."""
    finite = across(finite_rows(x), x)
    return tile(enlarge(pixels(torch.where(finite, x, torch.ones_like(x)))), len(x))

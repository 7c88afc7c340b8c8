"""How chains forget their start: the bound from coupled pairs, the drift towards the middle, ranks and traces."""

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from torch import Tensor

from anila.evaluation.chains import DriftInequality, Meetings
from anila.evaluation.pictures.curves import SERIES, open_axes
from anila.evaluation.pictures.style import DATA, DPI, FAINT, INK, MODEL, STYLE, WIDTH, caption
from anila.messages import counted

TRACES = 6
"""Number of chains whose traces are drawn."""
BINS = 20
"""Number of bins of the rank histograms."""
FLOOR = 1e-3
"""Total variations below this, or below the share of two pairs, are not drawn."""


@STYLE
def coupling_bound(meetings: Meetings, exact: Float[Tensor, "steps1"] | None = None) -> Figure:
    """Meeting times of coupled pairs, and the bound on the distance from exp f that follows, over steps.

    Args:
        meetings: Meeting times of pairs that have all met.
        exact: Total variation after 0, 1, .. steps, if a grid gives it, (steps + 1,).

    Raises:
        ValueError: If a pair has not met: there is no bound to draw.
    """
    if meetings.unmet:
        raise ValueError(
            f"{meetings.unmet} of {counted(len(meetings.times), 'pair')} have not met, so there is no bound to draw"
        )
    figure = Figure(figsize=(WIDTH, 3.2), dpi=DPI)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.6))
    since = (meetings.times - meetings.lag).numpy()
    left.hist(since, bins=40, color=DATA, alpha=0.85)
    left.set(xlabel="steps until a pair has met", ylabel="pairs")
    left.set_title(f"{counted(len(since), 'coupled pair')}, lag {meetings.lag}", loc="left")
    open_axes(left)
    draw_bound(right, meetings, exact)
    rate, error = meetings.rate()
    caption(figure, f"after the median meeting time the bound falls by a factor {rate:.4f} ± {error:.2g} a step")
    return figure


def draw_bound(ax: Axes, meetings: Meetings, exact: Tensor | None) -> None:
    """The bound ± two standard errors, and the exact decay, on a logarithmic axis."""
    floor = max(FLOOR, 2 / len(meetings.times))
    steps = max(1, meetings.mixing_steps(floor) or 0)
    mean, error = (part.numpy() for part in meetings.bound(steps))
    k = np.arange(steps + 1)
    ax.fill_between(
        k, np.clip(mean - 2 * error, floor / 2, None), mean + 2 * error, color=MODEL, alpha=0.2, linewidth=0
    )
    ax.plot(k, np.clip(mean, floor / 2, None), color=MODEL, linewidth=1.8, label="upper bound from couplings")
    if exact is not None:
        shown = exact.numpy()[: steps + 1]
        ax.plot(np.arange(len(shown)), shown, color=DATA, linewidth=1.8, label="exact, by grid")
    ax.set_yscale("log")
    ax.set_ylim(floor, 1.3 * max(1.0, mean[0]))
    ax.yaxis.set_major_locator(LogLocator(subs=(1,)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set(xlabel="steps k from the start law", ylabel="total variation from exp f")
    ax.set_title("how far from exp f after k steps", loc="left")
    open_axes(ax)
    ax.legend(labelcolor="linecolor", loc="upper right")


@STYLE
def drift_ratio(inequality: DriftInequality) -> Figure:
    """ΠV/V over |z| for each f, with its confidence limit: below 1 the chain is drawn inwards.

    Args:
        inequality: The estimates.
    """
    figure = Figure(figsize=(WIDTH * 0.62, 3.3), dpi=DPI)
    ax = figure.subplots()
    radii = inequality.radii.numpy()
    for k, (ratio, upper) in enumerate(zip(inequality.ratio.numpy(), inequality.upper.numpy(), strict=True)):
        colour = SERIES[k % len(SERIES)]
        ax.fill_between(radii, ratio, upper, color=colour, alpha=0.2, linewidth=0)
        ax.plot(radii, ratio, color=colour, linewidth=1.8, marker="o", markersize=2.5, label=f"θ{k + 1}")
    ax.axhline(1, color=INK, linewidth=0.8)
    if inequality.ok:
        ax.axvspan(radii[0] / 2, inequality.radius, color=FAINT, alpha=0.12, linewidth=0)
        beyond = [max(inequality.radius, radii[0]), radii[-1]]
        ax.plot(beyond, [inequality.mu] * 2, color=INK, linewidth=1.2, linestyle=(0, (4, 3)))
        ax.annotate(
            f"μ = {inequality.mu:.3f}", (radii[-1], inequality.mu), xytext=(0, 4), textcoords="offset points",
            ha="right", va="bottom", color=INK,
        )  # fmt: skip
    top = np.nanquantile(inequality.upper.numpy(), 1)
    ax.set_ylim(0, 1.1 * min(max(top, 1.05), 3.0))
    ax.set_xscale("log")
    ax.set_xlim(radii[0] / 1.1, 1.1 * radii[-1])
    ax.set(xlabel="distance from the centre |z|", ylabel="ΠV(z) / V(z), worst direction")
    if len(inequality.ratio) > 1:
        ax.legend(labelcolor="linecolor")
    ax.set_title(f"drift of $V = \\pi^{{-{inequality.beta:g}}}$ under one step of the kernel", loc="left")
    ax.grid(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_locator(NullLocator())
    caption(figure, f"bands: to the {1 - inequality.level:.0%} confidence limit · grey: the small set, |z| ≤ R")
    return figure


@STYLE
def chain_overview(
    x: Float[Tensor, "kept chains"], groups: Int[Tensor, "chains"], steps_between: int, name: str
) -> Figure:
    """One quantity along chains: traces of a few, and how each group ranks among all draws.

    In mixed chains no group ranks high or low: its histogram is flat up to chance.

    Args:
        x: Draws of one quantity, (kept, chains).
        groups: Which chains share a start, (chains,).
        steps_between: Steps between kept draws.
        name: The quantity, for the axes.
    """
    figure = Figure(figsize=(WIDTH, 3.2), dpi=DPI)
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    steps = np.arange(1, len(x) + 1) * steps_between
    firsts = [int((groups == g).nonzero()[0]) for g in groups.unique()[:TRACES]]
    for k, chain in enumerate(firsts):
        left.plot(steps, x[:, chain].numpy(force=True), color=SERIES[k % len(SERIES)], linewidth=0.8, alpha=0.9)
    left.set(xlabel="steps after warm-up", ylabel=name)
    left.set_title(f"traces of {counted(len(firsts), 'chain')}, each from another start", loc="left")
    open_axes(left)
    shares = rank_shares(x, groups)
    edges = np.linspace(0, 1, BINS + 1)
    for k, share in enumerate(shares):
        right.stairs(share, edges, color=SERIES[k % len(SERIES)], linewidth=1.1, alpha=0.85, baseline=None)
    right.axhline(1, color=INK, linewidth=0.8)
    right.set_ylim(0, max(2.0, 1.1 * float(shares.max())))
    right.set_xlim(0, 1)
    right.set(xlabel="rank among all draws", ylabel="density")
    right.set_title(f"ranks of {counted(len(shares), 'group')}", loc="left")
    right.grid(True)
    right.spines[["top", "right"]].set_visible(False)
    caption(
        figure,
        f"{counted(x.shape[1], 'chain')} in {counted(len(shares), 'group')}, {counted(len(x), 'draw')} of each · "
        "mixed: every line near 1",
    )
    return figure


def rank_shares(x: Float[Tensor, "kept chains"], groups: Int[Tensor, "chains"]) -> np.ndarray:
    """Density of each group's ranks among all draws, (groups, BINS); 1 everywhere if it draws like the others."""
    order = torch.empty(x.numel(), dtype=torch.float64)
    order[x.flatten().argsort()] = (torch.arange(x.numel(), dtype=torch.float64) + 0.5) / x.numel()
    rank = order.view(x.shape)
    bins = (rank * BINS).long()
    shares = [bins[:, groups == g].flatten().bincount(minlength=BINS) for g in groups.unique()]
    return np.stack([s.double().numpy() * BINS / max(1, int(s.sum())) for s in shares])

"""How odd ordinary rows are, and where an outlier begins."""

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from anila.evaluation.pictures.style import DATA, INK, MODEL, STYLE, WIDTH

RATES = (0.05, 0.01)


@STYLE
def ordinary_scores(scores: Float[Tensor, "n"]) -> Figure:
    """A histogram of the scores of ordinary rows, with the thresholds of some rates of false alarms.

    Args:
        scores: One or more scores, in any order.
    """
    figure = Figure((WIDTH, 2.6))
    axes = figure.subplots()
    axes.hist(scores.numpy(), bins=60, color=DATA, alpha=0.8)
    for rate in (rate for rate in RATES if rate * (len(scores) + 1) >= 1):
        threshold = torch.quantile(scores, 1 - rate).item()
        axes.axvline(threshold, color=MODEL, linewidth=1)
        axes.text(threshold, 0.97, f" {rate:.0%} above", transform=axes.get_xaxis_transform(), va="top", color=INK)
    axes.set(title="scores of ordinary rows, each judged by others", xlabel="score", ylabel="rows")
    return figure

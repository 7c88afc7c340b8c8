"""Odd rows of a table: their cells, those that carry the score coloured, and what would be likely in their place."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from anila.evaluation.pictures.style import FAINT, INK, MODEL, RULE, STYLE, WIDTH

ROWS, COLUMNS = 12, 8
"""Shown at most: the first rows, and the columns that carry most of their scores."""
HEIGHT, LETTERS = 0.42, 14
"""Inches of a row; letters of a name or a value that are shown."""


@STYLE
def odd_rows(
    names: Sequence[str],
    columns: Sequence[str],
    values: Sequence[list[str]],
    likely: Sequence[list[str]],
    share: Float[np.ndarray, "rows columns"],
    scores: Sequence[float],
) -> Figure:
    """A line for each row, the oddest first.

    Args:
        names: Of the rows.
        columns: Names of the columns.
        values: The cells, as text, rows × columns.
        likely: What is likely in their place, as text; empty where nothing is said.
        share: Part of the row's score that each cell carries.
        scores: Of the rows.

    Raises:
        ValueError: If there is no row.
    """
    if not len(names):
        raise ValueError("expected at least one row")
    rows = min(ROWS, len(names))
    shown = [int(column) for column in np.sort(np.argsort(-share[:ROWS].sum(0), kind="stable")[:COLUMNS])]
    figure = Figure((WIDTH, HEIGHT * (rows + 1.3)))
    axes = figure.subplots()
    axes.set(xlim=(-1.4, len(shown) + 0.7), ylim=(rows, -1))
    axes.axis("off")
    axes.text(-1.35, -0.35, "row", color=FAINT)
    axes.text(len(shown) + 0.65, -0.35, "score", color=FAINT, ha="right")
    for place, column in enumerate(shown):
        axes.text(place + 0.5, -0.35, cut(columns[column]), color=FAINT, ha="center")
    for i in range(rows):
        axes.plot([-1.4, len(shown) + 0.7], [i, i], color=RULE, linewidth=0.8)
        axes.text(-1.35, i + 0.5, cut(names[i]), va="center")
        axes.text(len(shown) + 0.65, i + 0.5, f"{scores[i]:.3g}", va="center", ha="right")
        for place, column in enumerate(shown):
            part, instead = float(share[i, column]), likely[i][column]
            axes.add_patch(
                Rectangle((place + 0.04, i + 0.06), 0.92, 0.88, color=MODEL, alpha=0.75 * part**0.5, linewidth=0)
            )
            axes.text(place + 0.5, i + (0.33 if instead else 0.5), cut(values[i][column]), va="center", ha="center",
                      color=INK, weight="bold" if instead else "normal")  # fmt: skip
            if instead:
                axes.text(
                    place + 0.5, i + 0.72, cut(f"likely {instead}", LETTERS + 7), va="center", ha="center", size=7
                )
    return figure


def cut(text: str, letters: int = LETTERS) -> str:
    """The beginning of a text that is long, with nothing in it that matplotlib takes for mathematics."""
    return (text if len(text) <= letters else text[: letters - 1] + "…").replace("$", r"\$")

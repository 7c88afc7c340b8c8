"""Odd rows of a table: their cells, with those that carry the score coloured, and likely values for these."""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path

from anila.evaluation.pictures.style import FAINT, INK, MODEL, RULE, STYLE, WIDTH
from anila.messages import printable

ROWS, COLUMNS = 12, 8
"""Most rows shown, the first ones, and most columns, those that carry most of their scores."""
HEIGHT, MARGIN = 0.42, 0.08
"""Height of a row, and margin around the table, in inches."""
NAME, SCORE, CELL = 1.4, 0.9, 0.92
"""Widths of the names of rows, of their scores, and of a cell, in widths of a column."""
SIZE, SMALL = 8.5, 7.0
"""Font sizes of a value and of its likely value, in points."""
MOST = 100
"""Number of characters of a text that are looked at."""


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
        names: Names of the rows.
        columns: Names of the columns.
        values: The cells, as text, rows × columns.
        likely: Likely values for them, as text; empty where a cell is not named.
        share: Share of the row's score that each cell carries.
        scores: Scores of the rows.

    Raises:
        ValueError: If there is no row.
    """
    if not len(names):
        raise ValueError("expected at least one row")
    rows = min(ROWS, len(names))
    shown = [int(column) for column in np.sort(np.argsort(-share[:ROWS].sum(0), kind="stable")[:COLUMNS])]
    figure = Figure((WIDTH, HEIGHT * (rows + 1) + 2 * MARGIN))
    figure.set_layout_engine("none")
    high = MARGIN / figure.get_figheight()
    axes = figure.add_axes((MARGIN / WIDTH, high, 1 - 2 * MARGIN / WIDTH, 1 - 2 * high))
    axes.set(xlim=(-NAME, len(shown) + SCORE), ylim=(rows, -1))
    axes.axis("off")
    column_inches = (WIDTH - 2 * MARGIN) / (NAME + len(shown) + SCORE)

    def put(
        x: float, y: float, text: str, room: float = CELL, ha: str = "center", size: float = SIZE, color: str = INK,
        weight: str = "normal",
    ) -> None:  # fmt: skip
        fitting = cut(printable(text), room * column_inches, size, weight, tail=ha == "left")
        axes.text(x, y, fitting, size=size, color=color, weight=weight, ha=ha, va="center", parse_math=False)

    put(-NAME, -0.4, "row", ha="left", color=FAINT)
    put(len(shown) + SCORE, -0.4, "score", ha="right", color=FAINT)
    for place, column in enumerate(shown):
        put(place + 0.5, -0.4, columns[column], color=FAINT)
    for i in range(rows):
        axes.plot([-NAME, len(shown) + SCORE], [i, i], color=RULE, linewidth=0.8)
        put(-NAME, i + 0.5, names[i], NAME - (1 - CELL), ha="left")
        put(len(shown) + SCORE, i + 0.5, f"{scores[i]:.3g}", SCORE, ha="right")
        for place, column in enumerate(shown):
            part, instead = float(share[i, column]), likely[i][column]
            corner, alpha = (place + (1 - CELL) / 2, i + 0.06), 0.75 * part**0.5
            axes.add_patch(Rectangle(corner, CELL, 0.88, color=MODEL, alpha=alpha, linewidth=0))
            if instead:
                put(place + 0.5, i + 0.33, values[i][column], weight="bold")
                put(place + 0.5, i + 0.72, f"likely {instead}", size=SMALL)
            else:
                put(place + 0.5, i + 0.5, values[i][column])
    return figure


def cut(text: str, inches: float, size: float = SIZE, weight: str = "normal", tail: bool = False) -> str:
    """As much of a text as fits: its beginning, or its tail, which holds the numbers of rows.

    >>> cut("Mönchengladbach", 0.5), cut("measurements.csv[31]", 0.8, tail=True), cut("Oslo", 0.5)
    ('Mönc…', '…nts.csv[31]', 'Oslo')
    """
    look = FontProperties(family="DejaVu Sans", weight=weight, size=size)

    def part(letters: int) -> str:
        return f"…{text[len(text) - letters :]}" if tail else f"{text[:letters]}…"

    def width(shown: str) -> float:
        return text_to_path.get_text_width_height_descent(shown, look, False)[0] / 72

    if len(text) <= MOST and width(text) <= inches:
        return text
    lengths = range(1, min(MOST, len(text)))
    return part(max(1, bisect_right(lengths, inches, key=lambda letters: width(part(letters)))))

"""What a notebook shows: things as small tables and pictures in HTML, and a bar while chains run.

Everything is escaped, loads nothing, and takes its colours from the notebook's theme.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT, SQUARE, MARGIN = 480, 90, 240, 4
"""Sizes of a picture of curves and of one of points, and its margin, in pixels."""
OPACITY = 0.45


def table(rows: Mapping[str, str]) -> str:
    """Names beside what they are.

    >>> table({"step_size": "0.1 < 1"})
    '<table><tr><th style="text-align:left">step_size</th><td style="text-align:left">0.1 &lt; 1</td></tr></table>'
    """
    left = ' style="text-align:left"'
    lines = (f"<tr><th{left}>{escape(name)}</th><td{left}>{escape(text)}</td></tr>" for name, text in rows.items())
    return f"<table>{''.join(lines)}</table>"


def lines(text: str) -> str:
    """Lines whose columns are aligned by spaces."""
    return f'<pre style="line-height:1.3">{escape(text)}</pre>'


def verdict(ok: bool, text: Sequence[str]) -> str:
    """What was found, with a mark, then its reasons."""
    mark, colour = ("✓", "#2a8a4a") if ok else ("✗", "#c2452d")
    head = f'<b style="color:{colour}">{mark} {escape(text[0])}</b>'
    return head + f"<ul>{''.join(f'<li>{escape(line.strip())}</li>' for line in text[1:])}</ul>" * (len(text) > 1)


def curves(columns: Sequence[Sequence[float]], title: str) -> str:
    """A curve for each column, on common axes.

    Args:
        columns: Finite numbers, as many in each.
        title: What they are.
    """
    low, high = min(map(min, columns)), max(map(max, columns))
    across = (WIDTH - 2 * MARGIN) / max(1, len(columns[0]) - 1)
    down = (HEIGHT - 2 * MARGIN) / ((high - low) or 1)
    paths = (
        "M" + " ".join(f"{MARGIN + i * across:.1f},{MARGIN + (high - y) * down:.1f}" for i, y in enumerate(column))
        for column in columns
    )
    drawn = "".join(f'<path d="{path}"/>' for path in paths)
    return drawing(drawn, WIDTH, HEIGHT, f"{title}, from {low:.3g} to {high:.3g}")


def points(x: Sequence[Sequence[float]], title: str) -> str:
    """Points of the plane, finite, on a square."""
    low = min(map(min, x))
    across = (SQUARE - 2 * MARGIN) / ((max(map(max, x)) - low) or 1)
    places = (f"M{MARGIN + (a - low) * across:.1f},{SQUARE - MARGIN - (b - low) * across:.1f}h0" for a, b in x)
    return drawing(f'<path stroke-width="3" d="{"".join(places)}"/>', SQUARE, SQUARE, title)


def drawing(drawn: str, width: int, height: int, label: str) -> str:
    """Paths with a caption, which screen readers have too."""
    style = f'style="max-width:100%" fill="none" stroke="#2f7fb8" stroke-linecap="round" stroke-opacity="{OPACITY}"'
    head = f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{escape(label)}" {style}>'
    return captioned(f"{head}{drawn}</svg>", label)


def image(png: bytes, label: str) -> str:
    """A picture that is part of the page."""
    text = base64.b64encode(png).decode()
    return captioned(f'<img alt="{escape(label)}" style="max-width:100%" src="data:image/png;base64,{text}">', label)


def captioned(picture: str, label: str) -> str:
    return f'<figure style="margin:0">{picture}<figcaption><small>{escape(label)}</small></figcaption></figure>'


def started_this() -> bool:
    """Whether a notebook's kernel started this process, by `!`: what it takes for a terminal cannot move its cursor."""
    return "JPY_PARENT_PID" in os.environ


def runs_here() -> bool:
    """Whether this is the kernel of a notebook."""
    from rich import get_console

    return get_console().is_jupyter


def bar(title: str, done: int, whole: int) -> str:
    """How far something is; a bar that moves to and fro where that is not known.

    >>> bar("tuning", 5, 10), bar("tuning", 0, 0)
    ('<progress value="5" max="10"></progress> tuning: 5 of 10', '<progress></progress> tuning')
    """
    if not whole:
        return f"<progress></progress> {escape(title)}"
    return f'<progress value="{done}" max="{whole}"></progress> {escape(title)}: {done:,} of {whole:,}'

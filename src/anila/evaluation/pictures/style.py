"""The one look of all figures, and how a picture becomes a file.

Colours are those of Okabe & Ito 2008, which colour-blind readers can tell apart, some darkened for white paper.
"""

import io
from pathlib import Path
from uuid import uuid4

from matplotlib import style
from matplotlib.figure import Figure
from PIL import Image

DPI = 200
WIDTH = 9.0
"""Width of a figure in inches."""
INK, FAINT, RULE = "#1f2933", "#6b7785", "#d5dbe1"
DATA, MODEL = "#0072b2", "#d55e00"

STYLE = style.context(
    [
        "default",
        {
            "font.family": "DejaVu Sans",
            "font.size": 8.5,
            "text.color": INK,
            "axes.titlesize": 9.5,
            "axes.titlecolor": INK,
            "axes.titlepad": 6,
            "axes.labelcolor": FAINT,
            "axes.labelsize": 8.5,
            "axes.edgecolor": RULE,
            "axes.linewidth": 0.8,
            "axes.axisbelow": True,
            "grid.color": "#e9edf1",
            "grid.linewidth": 0.7,
            "xtick.color": RULE,
            "ytick.color": RULE,
            "xtick.labelcolor": FAINT,
            "ytick.labelcolor": FAINT,
            "xtick.labelsize": 8,
            "ytick.labelsize": 8,
            "xtick.major.size": 3,
            "ytick.major.size": 3,
            "xtick.minor.size": 0,
            "ytick.minor.size": 0,
            "lines.solid_capstyle": "round",
            "legend.frameon": False,
            "figure.constrained_layout.use": True,
            "figure.constrained_layout.h_pad": 0.07,
            "figure.constrained_layout.w_pad": 0.05,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
        },
    ]
)
"""Decorator of every function that makes or writes a figure: matplotlib's defaults, then ours."""


def caption(figure: Figure, text: str) -> None:
    """One quiet line below the panels."""
    figure.supxlabel(text, size=7.5, color=FAINT)


@STYLE
def save(picture: Figure | Image.Image, path: Path) -> None:
    """Write a PNG atomically: draw it in memory, write it under a temporary name, rename it.

    Args:
        picture: A result of a function of this package.
        path: Path of the file, in an existing folder.
    """
    png = io.BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    else:
        picture.save(png, format="png")
    path = path.resolve()
    temporary = path.with_name(f".{uuid4().hex[:12]}.writing")
    try:
        temporary.write_bytes(png.getvalue())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise

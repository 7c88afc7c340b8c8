"""Rows of images with a name before each: the input, the draws, the truth."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from anila.evaluation.pictures.images import GUTTER, enlarge, pixels, tile
from anila.evaluation.pictures.style import INK

MOST = 20
"""Number of images shown per row."""


def image_rows(rows: Mapping[str, Float[Tensor, "..."]]) -> Image.Image:
    """A row of images for each name, image i above image i.

    Args:
        rows: Name -> images in [−1, 1], (n, c, h, w); smaller images are enlarged to the size of the largest.

    Raises:
        ValueError: If there is no row, or as in `image_grid`.
    """
    if not rows:
        raise ValueError("expected at least one row of images")
    most = max(x.shape[2] for x in rows.values())
    tiles = [tile(enlarge(grown(pixels(x[:MOST]), most)), min(len(x), MOST)) for x in rows.values()]
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 14)
    left = int(max(font.getlength(name) for name in rows)) + 4 * GUTTER
    page = Image.new("RGB", (left + max(t.shape[1] for t in tiles), sum(len(t) for t in tiles)), "white")
    draw, top = ImageDraw.Draw(page), 0
    for name, row in zip(rows, tiles, strict=True):
        page.paste(Image.fromarray(row), (left, top))
        draw.text((left - 2 * GUTTER, top + len(row) // 2), name, fill=INK, font=font, anchor="rm")
        top += len(row)
    return page


def grown(x: np.ndarray, side: int) -> np.ndarray:
    """Each pixel repeated until the image is about as high as the others."""
    times = max(1, side // x.shape[1])
    return x.repeat(times, 1).repeat(times, 2)

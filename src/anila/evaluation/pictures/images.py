"""Images pixel for pixel: x in [−1, 1] becomes the byte 127.5 (x + 1); images are enlarged by whole factors only."""

import math

import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from anila.density.rows import finite_rows
from anila.evaluation.pictures.style import FAINT, INK

GUTTER = 2
"""Pixels between tiles."""
TILE = 64
"""Smaller images are enlarged to at least this many pixels per side."""
PAIRS = 10
"""Number of pairs of sample and neighbour in a row."""
PAIR_GAP = 20
"""Pixels between rows of pairs."""


def image_grid(x: Float[Tensor, "n c h w"], columns: int | None = None) -> Image.Image:
    """Images tiled row by row, each pixel a whole square of pixels, on white with a gutter.

    Args:
        x: Images in [−1, 1], (n, c, h, w), c 1 (grey) or 3 (colour); values beyond are clipped.
        columns: Images per row; by default the grid is as square as can be.

    Raises:
        ValueError: If there is no image, c is not 1 or 3, or a value is NaN or infinite.
    """
    tiles = enlarge(pixels(x))
    return Image.fromarray(tile(tiles, columns or math.ceil(math.sqrt(len(tiles)))))


def neighbours_grid(samples: Float[Tensor, "n c h w"], nearest: Float[Tensor, "m c h w"]) -> Image.Image:
    """Samples, each above its nearest training image, ten pairs per row: has the model memorised the data?

    Args:
        samples: Images in [−1, 1], (n, c, h, w).
        nearest: The nearest training image of each, (n, c, h, w).

    Raises:
        ValueError: As in `image_grid`, or if the shapes differ.
    """
    if samples.shape != nearest.shape:
        raise ValueError(f"expected one image for each; got {tuple(samples.shape)} and {tuple(nearest.shape)}")
    columns = min(PAIRS, len(samples))
    both = (samples.split(columns), nearest.split(columns))
    rows = [tile(enlarge(pixels(x)), columns) for pair in zip(*both, strict=True) for x in pair]
    height, width, _ = rows[0].shape
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), max(12, height // 6))
    left = int(font.getlength("nearest ")) + 2 * GUTTER
    page = Image.new("RGB", (left + width, len(rows) * height + (len(rows) // 2 - 1) * PAIR_GAP), "white")
    draw = ImageDraw.Draw(page)
    for k, row in enumerate(rows):
        top, (name, ink) = k * height + k // 2 * PAIR_GAP, (("sample", INK), ("nearest", FAINT))[k % 2]
        page.paste(Image.fromarray(row), (left, top))
        draw.text((left - 2 * GUTTER, top + height // 2), name, fill=ink, font=font, anchor="rm")
    return page


def pixels(x: Float[Tensor, "n c h w"]) -> UInt8[np.ndarray, "n h w 3"]:
    """Bytes round(127.5 (x + 1)), grey repeated into three channels."""
    if not len(x) or x.shape[1] not in (1, 3):
        raise ValueError(f"expected images (n, c, h, w) with n >= 1 and c 1 or 3; got shape {tuple(x.shape)}")
    if not bool(torch.isfinite(x).all()):
        bad = int((~finite_rows(x)).sum())
        raise ValueError(f"expected finite images; {bad} of {len(x)} hold NaN or infinity: leave them out, and say so")
    bytes_ = ((x.float() + 1) * 127.5).round().clamp(0, 255).byte()
    return bytes_.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy(force=True)


def enlarge(x: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "n h2 w2 3"]:
    """Each pixel repeated a whole number of times in both directions."""
    scale = math.ceil(TILE / max(x.shape[1:3]))
    return x.repeat(scale, 1).repeat(scale, 2)


def tile(x: UInt8[np.ndarray, "n h w 3"], columns: int) -> UInt8[np.ndarray, "height width 3"]:
    """Tiles in rows, with a gutter around each."""
    n, h, w, _ = x.shape
    rows, (dy, dx) = math.ceil(n / columns), (h + GUTTER, w + GUTTER)
    page = np.full((rows * dy + GUTTER, columns * dx + GUTTER, 3), 255, np.uint8)
    for k, image in enumerate(x):
        top, left = GUTTER + k // columns * dy, GUTTER + k % columns * dx
        page[top : top + h, left : left + w] = image
    return page

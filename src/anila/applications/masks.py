"""Masks: True where a coordinate is hidden. A mask of an image hides all channels of a pixel."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from anila.data.decode import BAD_IMAGE, open_image
from anila.data.foreign import local
from anila.messages import are, counted

DARK, LIGHT = 64, 191
"""Levels up to the first are black, from the second on white; an image with levels between is not a mask."""


def box_mask(shape: tuple[int, int], box: tuple[int, int, int, int]) -> Bool[Tensor, "1 h w"]:
    """Hide a rectangle.

    Args:
        shape: Height and width of the image, pixels.
        box: Top, left, height and width of the rectangle, pixels.

    Raises:
        ValueError: If it does not lie in the image.

    >>> box_mask((2, 3), (0, 1, 2, 1)).int().tolist()
    [[[0, 1, 0], [0, 1, 0]]]
    """
    top, left, height, width = box
    if min(top, left) < 0 or min(height, width) < 1 or top + height > shape[0] or left + width > shape[1]:
        raise ValueError(
            f"box {top},{left},{height},{width} (top, left, height, width) does not lie in an image of {shape[0]} × "
            f"{shape[1]} pixels"
        )
    mask = torch.zeros(1, *shape, dtype=torch.bool)
    mask[:, top : top + height, left : left + width] = True
    return mask


def random_mask(shape: tuple[int, int], fraction: float, generator: torch.Generator) -> Bool[Tensor, "1 h w"]:
    """Hide a random set of pixels.

    Args:
        shape: Height and width of the image, pixels.
        fraction: Share of pixels hidden, between 0 and 1; rounded to whole pixels.
        generator: Chooses the pixels.

    Raises:
        ValueError: If fraction is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the fraction of pixels hidden must lie between 0 and 1; got {fraction!r}")
    count = shape[0] * shape[1]
    order = torch.randperm(count, generator=generator, device=generator.device).cpu()
    return (order < round(fraction * count)).view(1, *shape)


def read_mask(path: str | Path, shape: tuple[int, int]) -> Bool[Tensor, "1 h w"]:
    """A mask from an image file: white pixels are hidden.

    Args:
        path: A black and white image with the size of the images.
        shape: Height and width it must have, pixels.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an image, has another size, or is not black and white.
    """
    path = local(path)
    if not path.is_file():
        raise FileNotFoundError(f"no mask {path}")
    try:
        image = open_image(path.read_bytes())
    except BAD_IMAGE as error:
        raise ValueError(f"mask {path} cannot be decoded: {error or type(error).__name__}") from error
    if image.size != (shape[1], shape[0]):
        raise ValueError(
            f"mask {path}: expected {shape[0]} × {shape[1]} pixels (height × width), as the model's images have; "
            f"got {image.height} × {image.width}; resize it without smoothing"
        )
    level = np.asarray(image.convert("L"))
    grey = int(((level > DARK) & (level < LIGHT)).sum())
    if grey:
        raise ValueError(
            f"mask {path}: expected black (seen) and white (hidden); {counted(grey, 'pixel')} {are(grey)} grey"
        )
    return torch.from_numpy(level >= LIGHT)[None]

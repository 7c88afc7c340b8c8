"""Coarse distance: whether the large shapes and colours of images are right, ignoring details.

    d² = the Fréchet distance of the images averaged down to 8 × 8 pixels

Features of networks are most sensitive to edges and textures. A grid of clean strokes that form no digits scores well
on them and badly here, and so do correct strokes in the wrong place. Each distance sees what the other misses: read
them together.
"""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from anila.evaluation.samples.frechet import frechet_distance

SIDE = 8


def coarse_distance(x: Float[Tensor, "n c h w"], y: Float[Tensor, "m c h2 w2"]) -> float:
    """The Fréchet distance of images averaged down to 8 × 8 pixels, in squared units of x.

    Args:
        x: Images in [−1, 1], (n, c, h, w); values beyond are clipped.
        y: Other images with as many channels; they may have another size.

    Raises:
        ValueError: If a pixel is not finite, there are fewer than two images, or the channels differ.
    """
    return frechet_distance(averaged(x), averaged(y))


def averaged(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c 8 8"]:
    """Means over blocks of pixels."""
    return F.adaptive_avg_pool2d(x.clamp(-1, 1), SIDE)

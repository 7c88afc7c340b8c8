"""The plane: the density as a picture, and chains that move over it."""

from dataclasses import dataclass

import numpy as np
import torch
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from anila.evaluation.likelihood.grid import Grid, plane_frame, values_on_grid
from anila.reports.page.chart import safe_json
from anila.reports.page.pictures import data_uri, png_of
from anila.reports.page.walk import Walk
from anila.runs.model.trained import Trained

SIDE, UNIT = 200, 1000
"""Cells of the picture along an axis; units of positions."""
EACH, EVERY = 40, 4
"""Transitions of which every one is shown, and how many are skipped after those."""
INK = (60, 130, 190)
"""Of the density: to be seen on white and on black."""
DARKER = 0.6
"""Power of the density that is its opacity: tails are seen too."""
POINTS = 400


@dataclass(frozen=True)
class Film:
    """Chains over the density of a run, from their start to their end."""

    picture: str
    """The density, as the address of a picture with transparency."""
    steps: list[int]
    frames: list[list[int]]
    """x and y of each chain, in thousandths of the frame from its upper left corner, one after the other."""
    low: tuple[float, float]
    high: tuple[float, float]

    @property
    def last(self) -> list[tuple[int, int]]:
        """Where the chains end."""
        return list(zip(self.frames[-1][::2], self.frames[-1][1::2], strict=True))

    @property
    def data(self) -> Markup:
        """What the script plays."""
        return safe_json({"steps": self.steps, "frames": self.frames})


def film_over(trained: Trained, found: Walk) -> Film:
    """The film of these chains."""
    grid = plane_frame(trained.reference_data(POINTS))
    grid = Grid(grid.low, grid.high, SIDE, device=trained.device)
    moments = [k for k in range(found.transitions + 1) if k <= EACH or k % EVERY == 0]
    frames = [positions(found.x[k], grid) for k in moments]
    return Film(density_picture(trained, grid), moments, frames, grid.low, grid.high)


def positions(x: Tensor, grid: Grid) -> list[int]:
    """Where points are in the frame; those outside, and lost ones, at its edge."""
    low, high = torch.tensor(grid.low), torch.tensor(grid.high)
    share = torch.nan_to_num((x.cpu() - low) / (high - low), nan=-1.0).clamp(-0.05, 1.05)
    share[:, 1] = 1 - share[:, 1]
    return (share * UNIT).round().int().flatten().tolist()


def density_picture(trained: Trained, grid: Grid) -> str:
    """exp f, the denser the more opaque."""
    f = values_on_grid(trained.f, grid)
    opacity = (255 * (f - f.max()).exp().pow(DARKER)).round().byte().T.flip(0).numpy()
    pixels = np.empty((SIDE, SIDE, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = INK, opacity
    return data_uri(png_of(Image.fromarray(pixels)))

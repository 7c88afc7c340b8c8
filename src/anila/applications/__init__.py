"""What an energy is for: applications change f, never the sampler, so each works with every kernel.

Each function maps f and observations to a `Posterior`: another log-density, sampled like any other, e.g.
`inpaint(f, y, mask).draw(lambda g: anisotropic_mala(g, threshold=1.0), x0, steps=500, generator=g)`.
"""

from anila.applications.compose import compose
from anila.applications.degradations import blur, downsample
from anila.applications.edit import edit
from anila.applications.inpaint import inpaint
from anila.applications.masks import box_mask, random_mask, read_mask
from anila.applications.outliers import Outliers, auroc, calibrated, outliers
from anila.applications.posterior import Draws, Posterior
from anila.applications.purify import purify
from anila.applications.restore import denoise, noise_sd, restore

__all__ = [
    "Draws",
    "Outliers",
    "Posterior",
    "auroc",
    "blur",
    "box_mask",
    "calibrated",
    "compose",
    "denoise",
    "downsample",
    "edit",
    "inpaint",
    "noise_sd",
    "outliers",
    "purify",
    "random_mask",
    "read_mask",
    "restore",
]

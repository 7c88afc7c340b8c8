"""Blending: the hidden part of an image, drawn by a chain, is shifted smoothly to meet the visible part.

    x' = x + h,      h = y − x where y is visible,      h = its mean over the neighbours of a pixel where hidden

At low temperature a chain keeps its initial colours, so these should match the surroundings of the gap. The shift is
harmonic: it has no maximum and no edge inside the gap.

Reference: Pérez, Gangnet & Blake 2003, eq. 4 (Poisson image editing, with the chain's gradients as guidance).
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import sparse
from scipy.sparse.linalg import spsolve
from torch import Tensor


def blended(
    x: Float[Tensor, "n c h w"], y: Float[Tensor, "n c h w"], mask: Bool[Tensor, "c h w"]
) -> Float[Tensor, "n c h w"]:
    """x where the mask is True, shifted to meet y, which is taken elsewhere.

    Args:
        x: Images for the hidden part.
        y: Images for the visible part, where the mask is False.
        mask: True where y is hidden, not everywhere.
    """
    found = y.clone()
    for channel, hidden in enumerate(mask.cpu()):
        if hidden.any():
            shift = extended((y - x)[:, channel][:, ~hidden].double().numpy(force=True), hidden.numpy())
            found[:, channel, hidden] = x[:, channel, hidden] + torch.from_numpy(shift).to(x)
    return found


def extended(known: Float[np.ndarray, "n seen"], hidden: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "n hidden"]:
    """The harmonic function on the hidden pixels with these values at the others."""
    number = np.arange(hidden.size).reshape(hidden.shape)
    pairs = np.concatenate(
        [
            np.stack([number[1:].ravel(), number[:-1].ravel()], 1),
            np.stack([number[:, 1:].ravel(), number[:, :-1].ravel()], 1),
        ]
    )
    i, j = np.concatenate([pairs, pairs[:, ::-1]]).T
    beside = sparse.csr_array((np.ones(len(i)), (i, j)), shape=(hidden.size, hidden.size))
    laplacian = (sparse.diags_array(beside.sum(1)) - beside).tocsr()[hidden.ravel()]
    inner, outer = laplacian[:, hidden.ravel()].tocsc(), laplacian[:, ~hidden.ravel()]
    return np.atleast_2d(spsolve(inner, -(outer @ known.T)).reshape(-1, len(known)).T)

"""Blending: what a chain shows where an image is hidden, shifted smoothly so that it meets what is seen.

    x' = x + h,      h = y − x where y is seen,      mean of h over the neighbours of a pixel = h there where hidden

At low temperature a chain keeps the colours that it starts with; so it starts with those around the gap. The shift is
harmonic: it has no maximum and no edge of its own inside the gap.

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
        x: What is shown where y is hidden.
        y: What is seen where the mask is False.
        mask: True where y is hidden, not everywhere.
    """
    found = y.clone()
    for channel, hidden in enumerate(mask.cpu()):
        if hidden.any():
            shift = extended((y - x)[:, channel][:, ~hidden].double().numpy(force=True), hidden.numpy())
            found[:, channel, hidden] = x[:, channel, hidden] + torch.from_numpy(shift).to(x)
    return found


def extended(known: Float[np.ndarray, "n seen"], hidden: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "n hidden"]:
    """The harmonic function of the hidden pixels with these values at the others."""
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

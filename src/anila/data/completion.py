"""Missing cells of a table, drawn given the other cells of their row.

The law is that of the table's kernel energy: among the rows that have the missing cells, one is picked with its kernel
probability given the observed cells, and lends its cells, with the kernel's noise. So any method that learns from
complete rows can learn from these, with new draws each time.

References: Rubin 1987 (multiple imputation); `anila.density.kernel_energy` (the law).
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from anila.density.kernel_energy import Bumps, KernelEnergy, Own, leave_one_out_bandwidth, place, softmax
from anila.rng import rng

CENTRES = 2000
"""Largest number of rows that lend cells."""


class Completion:
    """Draws for the missing cells of these rows.

    Args:
        x: (n, d), NaN where a cell is missing.
    """

    def __init__(self, x: Float[np.ndarray, "n d"]) -> None:
        self.x = torch.from_numpy(x)
        chosen = torch.randperm(len(x), generator=rng(0, "completion", "centres"))[:CENTRES]
        self.place = torch.full((len(x),), -1).index_put_((chosen,), torch.arange(len(chosen)))
        h = leave_one_out_bandwidth(self.x[chosen], rng(0, "completion", "bandwidth"))
        self.kernel = KernelEnergy(self.x[chosen], h)

    def rows(self, indices: Int[Tensor, "rows"], generator: torch.Generator) -> Float[Tensor, "rows d"]:
        """These rows, with each missing cell drawn once."""
        x = self.x[indices]
        at = x.isnan().any(1)
        return x.index_put_((at,), self.completed(x[at], self.place[indices[at]], generator)) if bool(at.any()) else x

    def completed(
        self, x: Float[Tensor, "rows d"], place_of: Int[Tensor, "rows"], generator: torch.Generator
    ) -> Float[Tensor, "rows d"]:
        """Rows with missing cells filled in, given which lender each row is itself, if any."""
        u = torch.rand(len(x), 1, generator=generator, dtype=torch.float64)
        own = Own(place_of.clamp(min=0), (place_of >= 0).to(x))
        weights = (self.weights(*part) for part in self.kernel.parts(x, own))
        lenders = [place(p, at) for p, at in zip(weights, u.split(self.kernel.rows_at_once), strict=True)]
        return torch.where(x.isnan(), self.kernel.scattered(torch.cat(lenders)[:, 0], generator), x)

    def weights(self, x: Float[Tensor, "rows d"], own: Own | None, bumps: Bumps) -> Float[Tensor, "rows n"]:
        """How likely each row lends cells: rows that lack a wanted cell do not, unless all lack it."""
        lacking = x.isnan().to(x) @ self.kernel.centres.isnan().to(x).T > 0
        lacking &= ~lacking.all(1, keepdim=True)
        return softmax(self.kernel.log_weights(x, own, bumps).masked_fill(lacking, -torch.inf))

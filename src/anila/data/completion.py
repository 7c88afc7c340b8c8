"""Missing cells of a table, drawn given the other cells of their row.

The law is that of the table's kernel energy: another row is picked with the probability that the kernel gives it in
view of the cells that are there, and lends its cells for the missing ones, with the kernel's noise. So whatever learns
from complete rows learns from these, each time with other draws.

References: Rubin 1987 (multiple imputation); `anila.density.kernel_energy` (the law).
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from anila.density.kernel_energy import KernelEnergy, Own, leave_one_out_bandwidth
from anila.rng import rng

CENTRES, ENOUGH = 2000, 200
"""Rows at most that lend cells; complete rows that are enough to take them alone."""


class Completion:
    """Draws of the missing cells of these rows.

    Args:
        x: (n, d), NaN where a cell is missing.
    """

    def __init__(self, x: Float[np.ndarray, "n d"]) -> None:
        self.x = torch.from_numpy(x)
        whole = torch.from_numpy(~np.isnan(x).any(1))
        lenders = whole if whole.sum() >= min(ENOUGH, len(x) / 2) else torch.ones_like(whole)
        order = torch.randperm(len(x), generator=rng(0, "completion", "centres"))
        chosen = order[lenders[order]][:CENTRES]
        self.place = torch.full((len(x),), -1).index_put_((chosen,), torch.arange(len(chosen)))
        h = leave_one_out_bandwidth(self.x[chosen], rng(0, "completion", "bandwidth"))
        self.kernel = KernelEnergy(self.x[chosen], h)

    def rows(self, indices: Int[Tensor, "rows"], generator: torch.Generator) -> Float[Tensor, "rows d"]:
        """These rows, each missing cell drawn once; none lends to itself."""
        x = self.x[indices]
        at = x.isnan().any(1)
        place = self.place[indices[at]]
        own = Own(place.clamp(min=0), (place >= 0).to(x))
        return x.index_put_((at,), self.kernel.completed(x[at], generator, own)) if bool(at.any()) else x

"""The kernel energy as a network: f has a closed form, computed at once when it sees the data. Nothing is trained.

    f(x) = log Σ_i w_i exp(−|x − x_i|²/(2h²))

The x_i are the rows of the data, or some of them if the table is large. h maximises the leave-one-out likelihood.
Scores of ordinary rows come from cross-validation (`anila.density.kernel_rows`) and tell which scores are odd. Draws
and conditional draws are exact (`anila.density.kernel_energy`).

f contains rows of the data: whoever has the model has them.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from anila.density.kernel_energy import KernelEnergy, leave_one_out_bandwidth
from anila.density.kernel_reasons import Reasons, reasons
from anila.density.kernel_rows import (
    FEWEST,
    ROWS_BY_CENTRES,
    Centres,
    centres_of,
    cross_validated,
    densest,
    of_two_values,
)
from anila.density.ranges import Count, Fraction, Positive
from anila.rng import rng

EXTREME = 1e4
"""Standard deviations of a column beyond which a cell is left out of its scale."""
JUDGED = 5_000
"""Largest number of rows whose scores define what is ordinary."""
CELLS_SEEN = 2**25
"""Largest number of cells that are looked at if no number of centres is given: 256 MiB."""


class Kernel(nn.Module):
    """log Σ_i w_i exp(−|x − x_i|²/(2h²)) over the rows x_i that it has seen.

    Args:
        event_shape: (d,): rows of d numbers.
        bandwidth: h, in standard deviations of a column; None for the likeliest by leave-one-out.
        centres: Largest number of centres, drawn at random from more rows. None uses all of up to 31,622 rows, and the
            fewer the more rows there are beyond that, but at least 5,000.
        trimmed: Share of the sparsest rows that are not used as centres: 0.2 if the rows may contain anomalies.

    Attributes:
        ordinary: Scores of ordinary rows by cross-validation, sorted, (n,).

    Raises:
        ValueError: If points are not rows of numbers.
    """

    by_seeing: ClassVar[bool] = True
    """Whether seeing the data determines it, without learning."""
    ordinary: Tensor

    def __init__(
        self,
        event_shape: tuple[int, ...],
        bandwidth: Positive | None = None,
        centres: Count | None = None,
        trimmed: Fraction = 0.0,
    ):
        if len(event_shape) != 1:
            raise ValueError(f"it takes rows of numbers (d,); the data are {event_shape}; use another network")
        super().__init__()
        self.chosen, self.most, self.trimmed = bandwidth, centres, trimmed
        self.energy = KernelEnergy(torch.zeros(1, *event_shape, dtype=torch.float64), bandwidth or 1.0)
        self.register_buffer("ordinary", torch.zeros(0, dtype=torch.float64))
        self.register_load_state_dict_pre_hook(take_size)
        self.known: Centres | None = None

    @property
    def sees(self) -> int:
        """Number of rows of data that it asks for."""
        if self.most:
            return self.most + JUDGED
        return min(ROWS_BY_CENTRES // FEWEST, max(FEWEST, CELLS_SEEN // self.energy.centres.shape[1]))

    @torch.no_grad()
    def see(self, x_data: Float[Tensor, "n d"]) -> None:
        """Become the energy of these rows, which are in random order."""
        rows = without_extremes(x_data.to(self.energy.centres))
        centres = densest(rows[: self.most or centres_of(len(rows))], self.trimmed)
        seen = Centres(rows[centres])
        probabilities = of_categories(rows)
        h = self.chosen or leave_one_out_bandwidth(seen.distinct, rng(0, "bandwidth"), seen.counts, probabilities)
        self.energy = KernelEnergy(seen.distinct, h, seen.counts)
        self.ordinary = cross_validated(rows, centres, h, JUDGED, rng(0, "folds"))
        self.known = None

    def forward(self, x: Float[Tensor, "rows d"]) -> Float[Tensor, "rows"]:
        return self.energy(self.inward(x)).to(x.dtype)

    @property
    def log_z(self) -> float:
        """log ∫ exp f(x) dx."""
        return self.energy.log_z

    def draw(self, n: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """n exact draws, which keep frequent values."""
        return self.energy.draw(n, generator).to(torch.get_default_dtype())

    def completed(self, x: Float[Tensor, "rows d"], generator: torch.Generator) -> Float[Tensor, "rows d"]:
        """x with every NaN replaced by an exact draw given the other cells of its row."""
        return self.energy.completed(self.inward(x), generator).to(x.dtype)

    @torch.no_grad()
    def oddness(self, x: Float[Tensor, "rows d"]) -> Float[Tensor, "rows"]:
        """The denoising error, in standard deviations; a row that was seen is scored by the others.

        A row without any cell gets the median score of ordinary rows.
        """
        z = self.inward(x)
        found = self.energy.oddness(z, self.centres.own(z))
        empty = z.isnan().all(1)
        return torch.where(empty, self.ordinary.median(), found) if bool(empty.any()) else found

    @torch.no_grad()
    def reasons(self, x: Float[Tensor, "rows d"], cell: Int[Tensor, "d"] | None = None) -> Reasons:
        """Which cells make each row odd, and likely values for them.

        Args:
            x: Rows, (rows, d).
            cell: Number of the cell to which each coordinate belongs; by default each is its own.
        """
        z = self.inward(x)
        return reasons(self.energy, z, self.centres.own(z), cell)

    @torch.no_grad()
    def leave_one_out(self) -> Tensor:
        """log p of up to 2,000 centres, each under all others, (n,)."""
        centres = self.energy.centres
        return self.energy.left_out(torch.arange(min(2000, len(centres)), device=centres.device))

    @property
    def centres(self) -> Centres:
        """The lookup of the centre that equals a row."""
        self.known = self.known or Centres(self.energy.centres, self.energy.counts)
        return self.known

    def inward(self, x: Tensor) -> Tensor:
        """x in the precision of the centres."""
        return x.to(self.energy.centres)


def without_extremes(x: Float[Tensor, "n d"]) -> Float[Tensor, "some d"]:
    """The rows without cells so far out, such as 1e300, that they would spoil the scale: no draw comes near them.

    Afterwards they count as odd rows, like any other of the kind.
    """
    near = (x.abs() <= EXTREME).all(1)
    return x[near] if bool(near.any()) else x


def of_categories(x: Float[Tensor, "n d"]) -> Callable[[float], float]:
    """h -> log p of a row minus its log-density: columns of two values, as for categories, have probabilities.

    For bumps on two values s apart, the sum 1 + exp(−s²/(2h²)) replaces the integral h √(2π), so that no h is likelier
    merely because it is small.
    """
    apart = (x.amax(0) - x.amin(0))[of_two_values(x)]

    def more(h: float) -> float:
        sums = (-apart.square() / (2 * h**2)).exp().log1p()
        return len(apart) * (math.log(h) + math.log(2 * math.pi) / 2) - float(sums.sum())

    return more


def take_size(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Resize to the number of scores in a state that is loaded."""
    assert isinstance(module, Kernel)
    if (found := state.get(f"{prefix}ordinary")) is not None and found.ndim == 1:
        module.ordinary = module.ordinary.new_empty(len(found))

"""What is seen of points, and where chains that look for the points start.

Where y is points, chains start from it. Where it is a view of points, or a part of them is hidden, they start from the
kept chains whose view is nearest to y; images are blended into what is seen. At the low temperature of the image
recipes a chain keeps the mode that it starts in.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anila.applications.poisson_blend import blended
from anila.learning.starts import Persistent
from anila.rng import normal
from anila.runs.model.model import Model

POOL = 2000
"""New starts among which the nearest are looked for, where a run has kept no chains."""


class Observed(NamedTuple):
    """What is seen of n points, in the model's units."""

    y: Float[Tensor, "n *seen"]
    """The points, changed in some way, or a view of them."""
    hidden: Bool[Tensor, "..."] | None = None
    """True where points are not seen, broadcast to *event; y may be anything there."""
    view: Callable[[Tensor], Tensor] | None = None
    """(rows, *event) -> (rows, *seen), where y is a view."""
    sd: float | Tensor | None = None
    """Noise of what is seen, one or one a row; None where there is none."""

    def part(self, rows: slice | Tensor) -> "Observed":
        """What is seen of some of the points."""
        return self._replace(y=self.y[rows], sd=self.sd[rows] if isinstance(self.sd, Tensor) else self.sd)

    def repeated(self, count: int) -> "Observed":
        """The same, each `count` times beside each other."""
        sd = self.sd.repeat_interleave(count, 0) if isinstance(self.sd, Tensor) else self.sd
        return self._replace(y=self.y.repeat_interleave(count, 0), sd=sd)

    @property
    def is_start(self) -> bool:
        """Whether y is points to walk from."""
        return self.hidden is None and self.sd is None

    @property
    def is_noisy(self) -> bool:
        """Whether y is whole points, with noise."""
        return self.hidden is None and self.view is None and self.sd is not None

    def blurred(self, noise: float, generator: torch.Generator) -> "Observed":
        """What is seen of copies of the points with noise of this sd: see `anila.applications.descend`."""
        if self.sd is None:
            return self._replace(y=self.y + noise * normal(self.y.shape, self.y, generator))
        sign = -1 if self.is_noisy else 1
        return self._replace(sd=(torch.as_tensor(self.sd, dtype=torch.float64).square() + sign * noise**2).sqrt())

    def on(self, device: torch.device) -> "Observed":
        """The same on a device, `hidden` for every coordinate."""
        hidden = None if self.hidden is None else self.hidden.expand(self.y.shape[1:]).to(device)
        return self._replace(y=self.y.to(device), hidden=hidden)


def starts(
    model: Model, observed: Observed, count: int, generator: torch.Generator, first: int = 0
) -> Float[Tensor, "rows *event"]:
    """`count` points for each observation, from the `first` on, the chains of one beside each other."""
    y, hidden, view, _ = observed
    if hidden is not None:
        near = nearest_starts(model, lambda x: x[:, ~hidden], y[:, ~hidden], count, generator, first)
        return blended(near, y.repeat_interleave(count, 0), hidden) if y.ndim == 4 else near
    if view is not None:
        return nearest_starts(model, view, y, count, generator, first)
    return y.repeat_interleave(count, 0)


def nearest_starts(
    model: Model, view: Callable[[Tensor], Tensor], seen: Tensor, count: int, generator: torch.Generator, first: int
) -> Tensor:
    """For each observation the kept chains whose view is nearest to it.

    Args:
        model: The run's model.
        view: What is seen of points, (rows, *event) -> (rows, *seen).
        seen: The observations, (n, *seen).
        count: Chains for each.
        generator: Source of new starts where none are kept.
        first: How many of the nearest are passed over.

    Returns:
        (n · count, *event), the nearest of an observation first; again from the nearest where fewer are kept.
    """
    start = model.start
    pool = start.x if isinstance(start, Persistent) else model.starts(POOL, generator)
    pool = pool.to(model.device)
    distance = torch.cdist(seen.to(pool).flatten(1), view(pool).flatten(1))
    order = distance.argsort(1)[:, torch.arange(first, first + count, device=pool.device) % len(pool)]
    return pool[order.flatten()]

"""Chains that are compared with the data points at which they began.

    up: xᵢ with new noise        down: zᵢ, some transitions after it began at xᵢ

Algorithm 1 compares all chains with all data. Values of f differ far more between unlike images than between an image
and a chain that began there, so the gradient in θ is mostly noise. In pairs this noise cancels as long as chains stay
near their images, as in contrastive divergence (Hinton 2002); and chains that continue for many iterations see where f
leads in the long run (Tieleman 2008). Once chains forget their start, pairs are as good as any other data.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from anila.density.rows import across
from anila.learning.starts import ALL


class Paired:
    """Each chain begins at a data point and is compared with it until it restarts at another.

    Args:
        fresh: Probability that a chain restarts in an iteration.

    Raises:
        ValueError: If fresh is not a fraction.
    """

    def __init__(self, fresh: float = 0.05):
        if not 0 <= fresh <= 1:
            raise ValueError(f"fresh must be in [0, 1]; got {fresh}")
        self.fresh = fresh
        self.z: Tensor | None = None
        self.x: Tensor = torch.empty(0)
        self.y: Tensor = torch.empty(0)
        self.rows = ALL

    def __repr__(self) -> str:
        return f"<Paired: chains that begin at data, of which {self.fresh:.3g} restart>"

    def keep(self, rows: slice, n: int) -> None:  # noqa: ARG002
        """Keep only these rows of n chains; every process keeps the data at which all of them began."""
        self.rows = rows

    def meet(
        self, x: Tensor, y: Tensor | None, begin: Callable[[Tensor], Tensor], generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Restart some chains at these data.

        Args:
            x: Data points of this iteration, as many as there are chains.
            y: Their classes, if any.
            begin: Data points -> chains that begin at them, with the noise of the law of f added.
            generator: Decides which chains restart.

        Returns:
            The points at which the chains began, and their classes.

        Raises:
            ValueError: If there are not as many data points as chains.
        """
        u = torch.rand(len(x), generator=generator, device=generator.device).to(x.device)
        new = begin(x)[self.rows]
        if self.z is None:
            self.z, self.x, self.y = new, x, x.new_empty(0) if y is None else y
        elif len(x) != len(self.x):
            raise ValueError(f"each chain is paired with a data point: {len(self.x)} chains met {len(x)} points")
        else:
            again = u < self.fresh
            self.z = where(again[self.rows], new, self.z.to(x))
            self.x = where(again, x, self.x.to(x))
            self.y = self.y if y is None else where(again, y, self.y.to(y))
        return self.x, None if y is None else self.y

    def draw(self, n: int, generator: torch.Generator, rows: slice = ALL) -> Tensor:  # noqa: ARG002
        """The chains of the iteration in which `meet` was called."""
        assert self.z is not None, "data are met first"
        return self.z

    def store(self, x: Tensor) -> None:
        self.z = x.detach()

    def state_dict(self) -> dict[str, Tensor]:
        """This process's part of the chains, points and classes."""
        if self.z is None:
            return {}
        return {"z": self.z, "x": self.x[self.rows], "y": self.y[self.rows]}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take this process's chains, and all points and classes."""
        if state:
            self.z, self.x, self.y = state["z"][self.rows], state["x"], state["y"]


def where(again: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Rows of `new` where `again`, else of `old`."""
    return torch.where(across(again, new), new, old)

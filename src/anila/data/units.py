"""The coordinates of rows: what they are called, and their units in the user's files."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anila.data.column import FARTHEST, Column
from anila.data.encoding import Encoding


class Units(NamedTuple):
    """v = mean + scale x, a column each; none for images.

    >>> units = Units(("height",), (170.0,), (10.0,))
    >>> units.inward(np.array([[180.0]])).tolist(), units.outward(torch.tensor([[-1.0]])).tolist()
    ([[1.0]], [[160.0]])
    """

    columns: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    encoding: Encoding | None = None
    """How rows become points and come back, where a table was read."""

    @property
    def rows(self) -> Encoding:
        """How rows become points and come back; numbers only where no table was read."""
        plain = zip(self.columns, self.mean, self.scale, strict=True)
        return self.encoding or Encoding(tuple(Column(name, "number", (mean,), scale) for name, mean, scale in plain))

    @classmethod
    def plain(cls, event_shape: Sequence[int]) -> "Units":
        """x0, x1, ... as they are."""
        d = event_shape[0] if len(event_shape) == 1 else 0
        return cls(tuple(f"x{i}" for i in range(d)), (0.0,) * d, (1.0,) * d)

    def inward(self, values: Float[np.ndarray, "n d"]) -> Float[Tensor, "n d"]:
        """From a file to the model; NaN stays, and what is beyond 10¹⁸ scales, or infinite, counts as that far."""
        with np.errstate(over="ignore"):
            x = np.clip((values - np.array(self.mean)) / np.array(self.scale), -FARTHEST, FARTHEST)
        return torch.from_numpy(x.astype(np.float32))

    def outward(self, x: Float[Tensor, "*n d"]) -> Float[np.ndarray, "*n d"]:
        """From the model to a file."""
        return np.array(self.mean) + np.array(self.scale) * x.double().numpy(force=True)

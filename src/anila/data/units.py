"""The coordinates of rows: their names, and their units in the user's files."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anila.data.column import FARTHEST, Column
from anila.data.encoding import Encoding


class Units(NamedTuple):
    """v = mean + scale x for each column; empty for images.

    >>> units = Units(("height",), (170.0,), (10.0,))
    >>> units.inward(np.array([[180.0]])).tolist(), units.outward(torch.tensor([[-1.0]])).tolist()
    ([[1.0]], [[160.0]])
    """

    columns: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    encoding: Encoding | None = None
    """The encoding of rows as points, if a table was read."""

    @property
    def rows(self) -> Encoding:
        """The encoding of rows as points; for numbers only if no table was read."""
        plain = zip(self.columns, self.mean, self.scale, strict=True)
        return self.encoding or Encoding(tuple(Column(name, "number", (mean,), scale) for name, mean, scale in plain))

    @classmethod
    def plain(cls, event_shape: Sequence[int]) -> "Units":
        """Coordinates x0, x1, ..., without units."""
        d = event_shape[0] if len(event_shape) == 1 else 0
        return cls(tuple(f"x{i}" for i in range(d)), (0.0,) * d, (1.0,) * d)

    def inward(self, values: Float[np.ndarray, "n d"]) -> Float[Tensor, "n d"]:
        """From the units of a file to those of the model; NaN stays, and values beyond 10¹⁸ scales are clipped."""
        with np.errstate(over="ignore"):
            x = np.clip((values - np.array(self.mean)) / np.array(self.scale), -FARTHEST, FARTHEST)
        return torch.from_numpy(x.astype(np.float32))

    def outward(self, x: Float[Tensor, "*n d"]) -> Float[np.ndarray, "*n d"]:
        """From the units of the model to those of a file."""
        return np.array(self.mean) + np.array(self.scale) * x.double().numpy(force=True)

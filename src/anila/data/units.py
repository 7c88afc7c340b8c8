"""The coordinates of rows: what they are called, and their units in the user's files."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anila.data.column import FARTHEST


class Units(NamedTuple):
    """v = mean + scale x, a column each; none for images.

    >>> units = Units(("height",), (170.0,), (10.0,))
    >>> units.inward(np.array([[180.0]])).tolist(), units.outward(torch.tensor([[-1.0]])).tolist()
    ([[1.0]], [[160.0]])
    """

    columns: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]

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

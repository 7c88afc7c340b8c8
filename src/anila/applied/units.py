"""The coordinates of a run's rows: what they are called, and their units in the user's files."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from anila.data import Table
from anila.trained import Trained


class Units(NamedTuple):
    """v = mean + scale x, a column each; none for images."""

    columns: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def of(cls, trained: Trained) -> "Units":
        """Those of a table's columns; x0, x1, ... as they are for other rows."""
        data = trained.data
        if isinstance(data, Table):
            return cls(data.columns, tuple(data.mean.tolist()), tuple(data.scale.tolist()))
        d = data.event_shape[0] if len(data.event_shape) == 1 else 0
        return cls(tuple(f"x{i}" for i in range(d)), (0.0,) * d, (1.0,) * d)

    def inward(self, values: Float[np.ndarray, "n d"]) -> Float[Tensor, "n d"]:
        """From a file to the model."""
        return torch.from_numpy(((values - np.array(self.mean)) / np.array(self.scale)).astype(np.float32))

    def outward(self, x: Float[Tensor, "*n d"]) -> Float[np.ndarray, "*n d"]:
        """From the model to a file."""
        return np.array(self.mean) + np.array(self.scale) * x.double().numpy(force=True)

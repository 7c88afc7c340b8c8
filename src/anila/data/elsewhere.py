"""Data that stayed where the model was trained: their format is known, but the rows are not here."""

from dataclasses import dataclass

import torch
from torch import Tensor

from anila.data.units import Units


@dataclass
class Elsewhere:
    """A data set without its rows.

    Args:
        event_shape: Shape of one row.
        name: Its name for people.
        fingerprint: sha256 of content and settings.
        classes: Names of the classes; empty if the rows have no labels.
        units: Names and units of the columns of a table.
        rows: Number of rows, unless they are always drawn anew.
        why: Why the rows are not here.
    """

    event_shape: tuple[int, ...]
    name: str
    fingerprint: str
    classes: tuple[str, ...]
    units: Units
    rows: int | None = None
    why: str = "this model came without its data"

    def batch(self, n: int, seed: int, iteration: int) -> Tensor:
        """Refuse, as there are no rows.

        Raises:
            ValueError: Always.
        """
        del n, seed, iteration
        raise ValueError(
            f"{self.why} ({self.name}): give files of your own, or use the run folder and the data that it is from"
        )

    def batch_labels(self, n: int, seed: int, iteration: int) -> Tensor:
        """Refuse, like `batch`."""
        return self.batch(n, seed, iteration).to(torch.int64)

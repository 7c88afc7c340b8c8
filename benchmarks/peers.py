"""Anila's f as the peers of the benchmarks want it."""

from typing import Any

from torch import Tensor, nn
from torchebm.core import BaseModel  # pyright: ignore[reportMissingImports]


class Energy(BaseModel):
    """−f for TorchEBM."""

    def __init__(self, f: nn.Module):
        super().__init__()
        self.f = f

    def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
        return -self.f(x)

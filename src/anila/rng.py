"""Everything random comes from a generator made here: one stream for each purpose, named."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def rng(seed: int, *names: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator for one named stream of randomness; different names give independent streams.

    Args:
        seed: The user's seed, any integer.
        names: What the stream is for, e.g. `rng(0, "chains", iteration)`.
        device: Where the numbers are drawn.

    >>> import torch
    >>> a, b = torch.randn(2, generator=rng(0, "start")), torch.randn(2, generator=rng(0, "chains"))
    >>> bool((a != b).all()), bool((a == torch.randn(2, generator=rng(0, "start"))).all())
    (True, True)
    """
    import torch

    digest = hashlib.sha256(repr((int(seed), *names)).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little", signed=True))

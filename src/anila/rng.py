"""Everything random comes from a generator made here: one stream for each purpose, named."""

from __future__ import annotations

import hashlib
from numbers import Integral
from operator import index
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


def rng(seed: int, *names: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator for one named stream of randomness; different names give independent streams.

    Args:
        seed: The user's seed, any integer.
        names: What the stream is for, e.g. `rng(0, "chains", iteration)`.
        device: Where the numbers are drawn.

    Raises:
        TypeError: If the seed is no whole number, or a name neither one nor text.

    >>> import torch
    >>> a, b = torch.randn(2, generator=rng(0, "start")), torch.randn(2, generator=rng(0, "chains"))
    >>> bool((a != b).all()), bool((a == torch.randn(2, generator=rng(0, "start"))).all())
    (True, True)
    """
    import torch

    try:
        key = (index(seed), *(str(name) if isinstance(name, str) else index(name) for name in names))
    except TypeError:
        raise TypeError(f"seed must be a whole number, and names such numbers or text; got {(seed, *names)}") from None
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little", signed=True))


def derived(seed: int, *names: str | int) -> int:
    """The seed of one named stream, for what takes a seed and not a generator: at least 0 and below 2³¹."""
    return rng(seed, *names).initial_seed() % 2**31


def normal(shape: Sequence[int], like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """N(0, 1), drawn on the generator's device, in the precision and on the device of `like`."""
    import torch

    return torch.randn(shape, generator=generator, dtype=like.dtype, device=generator.device).to(like.device)


def uniform(shape: Sequence[int], like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """U(0, 1), drawn in the same way."""
    import torch

    return torch.rand(shape, generator=generator, dtype=like.dtype, device=generator.device).to(like.device)


def as_generator(given: Any, *names: str | int) -> torch.Generator:
    """A generator as people give it: one of torch, a seed, or one of NumPy, from which a seed is drawn.

    Args:
        given: The generator or seed.
        names: What a seed's stream is for.

    Raises:
        TypeError: If it is none of these.
    """
    import numpy as np
    import torch

    if isinstance(given, torch.Generator):
        return given
    if isinstance(given, np.random.Generator):
        given = int(given.integers(2**63))
    if isinstance(given, bool) or not isinstance(given, Integral):
        raise TypeError(
            f'generator must be a torch.Generator, e.g. rng(0, "chains"), or a seed, e.g. 0; got {type(given).__name__}'
        )
    return rng(int(given), *names)

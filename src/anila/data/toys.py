"""Two-dimensional distributions with unlimited exact draws, at their natural scale within about [-4, 4]².

| name | what |
|---|---|
| moons | two interleaved half circles of radius 2, noise 0.2 |
| checkerboard | uniform on the 8 dark squares, side 2, of a 4 × 4 board over [-4, 4]² |
| spirals | two arms of one and a half turns, outer radius π, noise 0.1 |
| pinwheel | five bent blades |
| circles | two circles of radius 1.5 and 3, noise 0.1 |
| swissroll | one arm of one and a half turns, radius 1.2 to 3.5, noise 0.15 |
| rings | `anila.density.targets.rings()`: radii 1, 2, 3, 4, radial sd 0.15 |
| mixture | `anila.density.targets.mixture()`: 8 Gaussians on a circle of radius 1, sd 0.15 |
"""

import hashlib
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from anila.data.dataset import require_batch
from anila.messages import did_you_mean
from anila.rng import rng

Points = Float[Tensor, "n 2"]


class Toy:
    """A toy distribution as a data set: every iteration draws anew from (seed, iteration).

    Args:
        name: A name of `TOYS`.

    Raises:
        ValueError: If there is no such toy.

    >>> toy = Toy("moons")
    >>> toy.event_shape, tuple(toy.batch(64, seed=0, iteration=3).shape)
    ((2,), (64, 2))
    """

    event_shape: tuple[int, ...] = (2,)

    def __init__(self, name: str) -> None:
        if name not in TOYS:
            raise ValueError(f"no toy named {name!r}: expected one of {', '.join(TOYS)}{did_you_mean(name, TOYS)}")
        self.name = name
        self.fingerprint = hashlib.sha256(f"toy {name}".encode()).hexdigest()

    def __repr__(self) -> str:
        return f"<Toy: {self.name}>"

    def batch(self, n: int, seed: int, iteration: int) -> Points:
        """n draws for iteration `iteration` (from 0).

        Args:
            n: Number of draws.
            seed: The user's seed.
            iteration: The iteration, from 0.
        """
        require_batch(n, iteration)
        return TOYS[self.name](n, rng(seed, "data", iteration))


def moons(n: int, generator: Generator) -> Points:
    """(cos a, sin a) and (1 - cos a, 1/2 - sin a), a uniform on [0, π], centred and doubled."""
    a = math.pi * uniform(n, generator)
    lower = uniform(n, generator) < 0.5
    x = torch.where(lower, 1 - a.cos(), a.cos()) - 0.5
    y = torch.where(lower, 0.5 - a.sin(), a.sin()) - 0.25
    return 2 * torch.stack([x, y], 1) + 0.2 * normal(n, generator)


def checkerboard(n: int, generator: Generator) -> Points:
    """Column and place uniform; the row's parity is the column's."""
    x = 4 * uniform(n, generator) - 2
    row = 2 * torch.randint(2, (n,), generator=generator, device=generator.device) - 2 + x.floor().remainder(2)
    return 2 * torch.stack([x, row + uniform(n, generator)], 1)


def spirals(n: int, generator: Generator) -> Points:
    """±(r cos 3r, r sin 3r), r = π √u."""
    r = math.pi * uniform(n, generator).sqrt()
    sign = 2.0 * (uniform(n, generator) < 0.5) - 1
    return sign[:, None] * polar(r, 3 * r) + 0.1 * normal(n, generator)


def pinwheel(n: int, generator: Generator) -> Points:
    """Five Gaussian blades, turned by an angle that grows exponentially with the radius (Johnson 2016)."""
    blade = torch.randint(5, (n,), generator=generator, device=generator.device)
    r, t = (normal(n, generator) * torch.tensor([0.3, 0.1], device=generator.device)).unbind(1)
    angle = 2 * math.pi * blade / 5 + 0.25 * (r + 1).exp()
    return 2 * ((r + 1)[:, None] * polar(torch.ones_like(r), angle) + t[:, None] * polar(1.0, angle + math.pi / 2))


def circles(n: int, generator: Generator) -> Points:
    """Radius 1.5 or 3 with equal chance, angle uniform."""
    r = 1.5 + 1.5 * (uniform(n, generator) < 0.5)
    return polar(r, 2 * math.pi * uniform(n, generator)) + 0.1 * normal(n, generator)


def swissroll(n: int, generator: Generator) -> Points:
    """(a cos a, a sin a) / 4, a uniform on [3π/2, 9π/2]."""
    a = 1.5 * math.pi * (1 + 2 * uniform(n, generator))
    return polar(a / 4, a) + 0.15 * normal(n, generator)


def rings(n: int, generator: Generator) -> Points:
    """Exact draws of the target of the same name."""
    from anila.density import targets

    return targets.rings().draw(n, generator)


def mixture(n: int, generator: Generator) -> Points:
    """Exact draws of the target of the same name."""
    from anila.density import targets

    return targets.mixture().draw(n, generator)


def uniform(n: int, generator: Generator) -> Float[Tensor, "n"]:
    return torch.rand(n, generator=generator, device=generator.device)


def normal(n: int, generator: Generator) -> Points:
    return torch.randn(n, 2, generator=generator, device=generator.device)


def polar(radius: Tensor | float, angle: Float[Tensor, "n"]) -> Points:
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)


TOYS: dict[str, Callable[[int, Generator], Tensor]] = {
    "moons": moons,
    "checkerboard": checkerboard,
    "spirals": spirals,
    "pinwheel": pinwheel,
    "circles": circles,
    "swissroll": swissroll,
    "rings": rings,
    "mixture": mixture,
}
"""Name -> function that draws, (n, generator) -> (n, 2) float32."""

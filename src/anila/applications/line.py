"""One coordinate given all others: draws from its law on a grid, without chains.

    p(x_j | others) ∝ exp f(…, x_j, …)

The density is evaluated at nodes, and nodes are added repeatedly where the mass is. A draw falls between two nodes with
a probability equal to the mass there, and uniformly between them. No mode as wide as the distance of the first nodes is
missed, and none has to be found by a chain.

The first nodes lie where chains on f have been, ignoring single outliers. Where no chain has been, nothing kept f low
during learning: one row in a thousand, far from all others, can have a spurious mode there that outweighs everything.

Reference: Devroye 1986, chapter 2 (inversion); Ritter & Tanner 1992 (the same in a Gibbs sampler).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import LogDensity
from anila.rng import uniform

EVEN, MORE, ROUNDS = 65, 64, 4
"""Number of evenly spaced first nodes, of nodes added per round, and of rounds."""
BEYOND, TAIL = 3.0, 0.005
"""How far the first nodes reach beyond the values seen, in units of x; share of values ignored at either end."""
AT_ONCE = 2**16
"""Number of points at which f is evaluated together."""


@torch.no_grad()
def along(
    f: LogDensity,
    y: Float[Tensor, "n d"],
    j: int,
    seen: Float[Tensor, "some"],
    count: int,
    generator: torch.Generator,
) -> Float[Tensor, "n count"]:
    """Draws of coordinate j of each row given the others.

    Args:
        f: Log-density, (rows, d) -> (rows,).
        y: Rows; their coordinate j is ignored.
        j: The coordinate.
        seen: Values of it in chains, which determine the first nodes.
        count: Number of draws per row.
        generator: Source of the draws.

    Raises:
        ValueError: If f has no finite largest value on the line of a row.
    """
    parts = y.split(max(1, AT_ONCE // (EVEN + MORE)))
    return torch.cat([along_some(f, part, j, seen.to(y), count, generator) for part in parts])


def along_some(f: LogDensity, y: Tensor, j: int, seen: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`along`, for rows that are evaluated together."""
    levels, places = torch.linspace(0, 1, MORE).to(y), seen.quantile(torch.linspace(TAIL, 1 - TAIL, MORE).to(y))
    even = torch.linspace(float(places[0]) - BEYOND, float(places[-1]) + BEYOND, EVEN).to(y)
    nodes = torch.cat([even, places]).sort().values.expand(len(y), -1)
    values = at(f, y, j, nodes)
    for _ in range(ROUNDS - 1):
        more = inverse(nodes, masses(nodes, values), levels.expand(len(y), -1))
        nodes, order = torch.cat([nodes, more], 1).sort(1)
        values = torch.cat([values, at(f, y, j, more)], 1).gather(1, order)
    if not bool(values.amax(1).isfinite().all()):
        raise ValueError(f"f is not finite along coordinate {j} of a row: train again with smaller steps")
    u = uniform((len(y), count), y, generator)
    return inverse(nodes, masses(nodes, values), u)


def at(f: LogDensity, y: Tensor, j: int, nodes: Float[Tensor, "n nodes"]) -> Float[Tensor, "n nodes"]:
    """f of each row with each of its nodes as coordinate j."""
    x = y[:, None].repeat(1, nodes.shape[1], 1)
    x[..., j] = nodes
    return f(x.flatten(0, 1)).unflatten(0, nodes.shape)


def masses(nodes: Float[Tensor, "n nodes"], values: Float[Tensor, "n nodes"]) -> Float[Tensor, "n cells"]:
    """Share of the mass between neighbouring nodes, by trapezoids."""
    p = (values - values.amax(1, keepdim=True)).exp()
    found = (p[:, 1:] + p[:, :-1]) * nodes.diff(dim=1)
    return found / found.sum(1, keepdim=True)


def inverse(
    nodes: Float[Tensor, "n nodes"], mass: Float[Tensor, "n cells"], u: Float[Tensor, "n levels"]
) -> Float[Tensor, "n levels"]:
    """The points below which a share u of the mass lies."""
    below = torch.nn.functional.pad(mass.cumsum(1), (1, 0))
    cell = (torch.searchsorted(below, u.contiguous(), right=True) - 1).clamp(0, mass.shape[1] - 1)
    low, wide, share, start = (part.gather(1, cell) for part in (nodes[:, :-1], nodes.diff(dim=1), mass, below[:, :-1]))
    within = ((u - start) / share.clamp(min=torch.finfo(share.dtype).tiny)).clamp(0, 1)
    return low + wide * within

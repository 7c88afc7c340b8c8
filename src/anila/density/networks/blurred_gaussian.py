"""The Gaussian with the moments of the data, blurred: what is known about noisy data before learning.

    N(m, C + s² I),   C = V diag(λ) Vᵀ + ρ (I − V Vᵀ)

V holds the directions of largest variance; in all others the variance is their mean, ρ. Given x_s = x + s ξ, this
Gaussian leaves a variance of s² λ / (s² + λ) of x in each direction.

With few points, only few directions are kept. Directions are biased towards the points from which they were estimated,
which then fit them better than others do; a model trained on only these points would trust the Gaussian too much.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anila.rng import normal

RANK = 256
"""Number of directions kept for data with more coordinates."""
POINTS = 30
"""Training points required for each direction with its own variance."""


class BlurredGaussian(nn.Module):
    """log N(x; m, C + s² I), with exact draws.

    Args:
        event: Shape of one point. It starts as N(0, I): `see` takes moments from data, `load_state_dict` stored ones.
        rank: Most directions with their own variance; at most one per coordinate and one per 30 points are used.
    """

    mean: Tensor
    directions: Tensor
    variances: Tensor
    rest: Tensor

    def __init__(self, event: tuple[int, ...], rank: int = RANK):
        super().__init__()
        self.dim = math.prod(event)
        rank = min(rank, self.dim)
        self.register_buffer("mean", torch.zeros(event))
        self.register_buffer("directions", torch.eye(self.dim, rank))
        self.register_buffer("variances", torch.ones(rank))
        self.register_buffer("rest", torch.ones(()))

    @classmethod
    def of(cls, x: Float[Tensor, "n *event"], rank: int = RANK) -> "BlurredGaussian":
        """The Gaussian of these points: see `see`."""
        found = cls(tuple(x.shape[1:]), rank).to(x)
        found.see(x)
        return found

    @torch.no_grad()
    def see(self, x: Float[Tensor, "n *event"], of: int | float | None = None) -> None:
        """Take the mean, the largest variances with their directions, and the mean of the other variances.

        Args:
            x: Points.
            of: Number of training points, of which these are some; ∞ if new ones are always drawn. None says that there
                are no others.
        """
        mean = x.mean(0)
        z = (x - mean).flatten(1) / math.sqrt(len(x))
        variances, directions = principal(z, len(self.variances))
        few = int(min(len(variances), max(1, (of or len(x)) / POINTS)))
        others = self.dim - few
        rest = (z.square().sum() - variances[-few:].sum()).clamp(min=0) / others if others else x.new_zeros(())
        variances[:-few] = rest
        found = {"mean": mean, "variances": variances, "directions": directions, "rest": rest}
        for name, value in found.items():
            getattr(self, name).copy_(value)

    def forward(self, x: Float[Tensor, "n *event"], s: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        variances, rest = self.blurred(s)
        squares = ((x - self.mean) * self.pull(x, s)).flatten(1).sum(1)
        others = self.dim - variances.shape[1]
        return -(squares + variances.log().sum(1) + others * rest.log() + self.dim * math.log(2 * math.pi)) / 2

    def pull(self, x: Float[Tensor, "n *event"], s: Float[Tensor, "n"]) -> Float[Tensor, "n *event"]:
        """(C + s² I)⁻¹ (x − m), the gradient of −log N."""
        z = (x - self.mean).flatten(1)
        p = z @ self.directions
        variances, rest = self.blurred(s)
        return ((p / variances) @ self.directions.T + (z - p @ self.directions.T) / rest[:, None]).view_as(x)

    def draw(self, n: int, s: float, generator: torch.Generator) -> Float[Tensor, "n *event"]:
        """n draws from N(m, C + s² I)."""
        xi = normal((n, self.dim), self.mean, generator)
        variances, rest = self.blurred(self.mean.new_full((1,), s))
        along = (xi @ self.directions) * (variances.sqrt() - rest.sqrt())
        return self.mean + (xi * rest.sqrt() + along @ self.directions.T).view(n, *self.mean.shape)

    def blurred(self, s: Float[Tensor, "n"]) -> tuple[Float[Tensor, "n rank"], Float[Tensor, "n"]]:
        """λ + s² and ρ + s²."""
        return self.variances + s.square()[:, None], self.rest + s.square()

    def variance(self) -> Float[Tensor, ""]:
        """σ², the variance of a coordinate, averaged over coordinates."""
        return self.mean_over_directions(self.variances[None], self.rest[None])[0]

    def unknown(self, s: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """c(s)², the mean of s² λ / (s² + λ): the variance of a coordinate of x given x + s ξ."""
        variances, rest = self.blurred(s)
        return s.square() * self.mean_over_directions(self.variances / variances, self.rest / rest)

    def mean_over_directions(self, along: Float[Tensor, "n rank"], rest: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        return (along.sum(1) + (self.dim - along.shape[1]) * rest) / self.dim


def principal(z: Float[Tensor, "n d"], rank: int) -> tuple[Float[Tensor, "rank"], Float[Tensor, "d rank"]]:
    """The largest eigenvalues of zᵀz, ascending, and their directions; from zzᵀ if that is smaller."""
    if len(z) >= z.shape[1]:
        values, directions = torch.linalg.eigh(z.T @ z)
        return values[-rank:].clamp(min=0), directions[:, -rank:]
    values, rows = torch.linalg.eigh(z @ z.T)
    spanned = torch.cat([z.T @ rows.flip(1), torch.eye(z.shape[1], rank).to(z)], 1)[:, :rank]
    values = torch.cat([values.flip(0).clamp(min=0), z.new_zeros(rank)])[:rank]
    return values.flip(0), torch.linalg.qr(spanned)[0].flip(1)

"""A network that sees the rows of a table in whitened coordinates: uncorrelated and of variance 1.

    f(x) = net(u),   u = C^(−1/2) (x − m)
    C = (1 − λ) S + λ μ I

m and S are the mean and covariance of the data, μ the mean of their variances. λ is the share of noise in the distance
of S from μ I: with few rows of many columns, S is trusted little. In u, a confining term of scale 1 is the Gaussian of
the data, so the linear dependences are known from the start and the net learns the rest.

For many columns, S keeps the directions of largest variance, and has the mean of the other variances in all others.

References: Ledoit & Wolf 2004 (λ); Kessy, Lewin & Strimmer 2018 (this u is the whitening nearest to x).
"""

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anila.density.networks.blurred_gaussian import principal

DIRECTIONS = 128
"""Number of directions with their own variance."""
DENSE = 256
"""Largest number of columns for which samplers get C."""
LEAST = 1e-4
"""Smallest λ: a column that nearly follows from others keeps some width."""
EXTREME = 1e4
"""Standard deviations beyond which a row is left out of the covariance."""


class Whitened(nn.Module):
    """net(C^(−1/2) (x − m)); net(x) before it sees data.

    Args:
        net: A module (n, d) -> (n,), or (n, classes).
        dim: d.
    """

    sees: ClassVar[int] = 5_000
    """Number of rows of data that it asks for."""
    mean: Tensor
    directions: Tensor
    variances: Tensor
    rest: Tensor

    def __init__(self, net: nn.Module, dim: int):
        super().__init__()
        self.net, rank = net, min(dim, DIRECTIONS)
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("directions", torch.eye(dim, rank))
        self.register_buffer("variances", torch.ones(rank))
        self.register_buffer("rest", torch.ones(()))

    @torch.no_grad()
    def see(self, x_data: Float[Tensor, "n d"]) -> None:
        """Take m and C from these rows."""
        near = (x_data.abs() <= EXTREME).all(1)
        x = x_data[near if bool(near.any()) else slice(None)].double()
        mean, rank, others = x.mean(0), len(self.variances), len(self.mean) - len(self.variances)
        z = (x - mean) / math.sqrt(len(x))
        total = z.square().sum()
        if not bool((total > 0) & total.isfinite()):
            return
        known, directions = principal(z, rank)
        rest = (total - known.sum()).clamp(min=0) / others if others else total.new_zeros(())
        share, mu = noise_share(z), total / len(mean)
        for name, value in {
            "mean": mean,
            "directions": directions,
            "variances": (1 - share) * known + share * mu,
            "rest": (1 - share) * rest + share * mu,
        }.items():
            getattr(self, name).copy_(value)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n *out"]:
        z, rest = x - self.mean, self.rest.rsqrt()
        along = (z @ self.directions) * (self.variances.rsqrt() - rest)
        return self.net(z * rest + along @ self.directions.T)

    def preconditioner(self) -> Float[Tensor, "d d"] | None:
        """The lower Cholesky factor of C, for samplers; None for many columns."""
        if len(self.mean) > DENSE:
            return None
        V, identity = self.directions.double(), torch.eye(len(self.mean)).to(self.directions).double()
        C = (V * (self.variances - self.rest)) @ V.T + self.rest * identity
        return torch.linalg.cholesky(C).to(self.mean)


def noise_share(z: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
    """λ, given S = zᵀz: E‖zᵢzᵢᵀn − S‖² / n over ‖S − μ I‖²."""
    n, d = z.shape
    squares = (z.T @ z if n >= d else z @ z.T).square().sum()
    noise = z.square().sum(1).square().sum() - squares / n
    apart = squares - z.square().sum().square() / d
    return (noise / apart.clamp(min=torch.finfo(z.dtype).tiny)).clamp(LEAST, 1.0)

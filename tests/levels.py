"""f(x, s) with exact answers, and one that can learn anything."""

import torch
from torch import Tensor, nn

from anila.density.log_density import LogDensity
from anila.density.networks import mlp


class Levelled(nn.Module):
    """f(x, s) of any module (n, d), (n,) -> (n,): its lowest level is 0.1."""

    def at(self, s: float | Tensor) -> LogDensity:
        return lambda x: self(x, torch.as_tensor(s, dtype=x.dtype).expand(len(x)))


class Perceptron(Levelled):
    """A perceptron of (x, ln s)."""

    def __init__(self, dim: int):
        super().__init__()
        self.net = mlp(dim + 1, hidden=(32, 32))

    def forward(self, x: Tensor, s: Tensor | None = None) -> Tensor:
        s = x.new_full((len(x),), 0.1) if s is None else s
        return self.net(torch.cat([x, s.log()[:, None]], 1))


class BlurredNormal(Levelled):
    """log N(x; m, Σ + s² I) with m and Σ to be learned: Σ = L Lᵀ."""

    def __init__(self, dim: int):
        super().__init__()
        self.m = nn.Parameter(torch.zeros(dim, dtype=torch.float64))
        self.L = nn.Parameter(torch.eye(dim, dtype=torch.float64))

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        covariance = self.L @ self.L.T + s.square()[:, None, None] * torch.eye(len(self.m), dtype=x.dtype)
        return torch.distributions.MultivariateNormal(self.m, covariance).log_prob(x)


class BlurredMixture(Levelled):
    """Two normals on a line, −1 with mass ¼ and 1 with mass ¾ and sd 0.2, blurred with noise of level s."""

    centres, masses, sd = torch.tensor([-1.0, 1.0]), torch.tensor([0.25, 0.75]), 0.2

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        variance = (self.sd**2 + s.square())[:, None]
        offset = x - self.centres.to(x)
        return (self.masses.to(x).log() - offset.square() / (2 * variance) - variance.log() / 2).logsumexp(1)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        which = torch.multinomial(self.masses, n, replacement=True, generator=generator)
        return (self.centres[which] + self.sd * torch.randn(n, generator=generator)).double()[:, None]

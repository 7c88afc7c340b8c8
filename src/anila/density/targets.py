"""Exact targets: f, exact draws, and log Z if it is known. They are for testing samplers and for teaching.

A `Density` is a log-density with its ground truth: call it for f, `draw(n, generator)` for exact draws, `log_z` for log
∫ exp f, and `modes` for the centres by which mode masses are counted.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Density:
    """A log-density with exact draws.

    Args:
        f: (n, d) -> (n,), unnormalised.
        draw64: (n, generator) -> exact draws (n, d), float64 on the CPU.
        dim: d.
        log_z: log ∫ exp f(x) dx.
        modes: Centres of the modes, (modes, d), if the modes are points.
    """

    f: Callable[[Tensor], Tensor]
    draw64: Callable[[int, torch.Generator], Tensor]
    dim: int
    log_z: float
    modes: Tensor | None = None

    def __call__(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        return self.f(x)

    def draw(self, n: int, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
        """n exact draws, (n, d)."""
        return self.draw64(n, generator).to(dtype)

    def log_prob(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Normalised log-density f(x) − log Z."""
        return self.f(x) - self.log_z


def normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device).cpu()


def uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device).cpu()


def one_of(k: int, n: int, generator: torch.Generator) -> Tensor:
    """n uniform integers below k."""
    return torch.randint(k, (n,), generator=generator, device=generator.device).cpu()


def gaussian(sd: Tensor | float = 1.0, dim: int | None = None) -> Density:
    """Independent normals: f = −Σ x²/(2 sd²).

    Args:
        sd: One standard deviation, or one per coordinate, (d,).
        dim: Number of coordinates when sd is a number; 1 by default.

    >>> gaussian(2.0).log_z == math.log(2.0) + LOG_2PI / 2
    True
    """
    scale = torch.as_tensor(sd, dtype=torch.float64, device="cpu").reshape(-1).expand(dim or -1)
    return Density(
        f=lambda x: -(x / scale.to(x)).square().sum(-1) / 2,
        draw64=lambda n, g: scale * normal((n, len(scale)), g),
        dim=len(scale),
        log_z=float(scale.log().sum()) + len(scale) * LOG_2PI / 2,
        modes=torch.zeros(1, len(scale), device="cpu"),
    )


def mixture(modes: int = 8, radius: float = 1.0, sd: float = 0.15) -> Density:
    """Equal Gaussians on a circle: f = log Σⱼ exp(−|x − cⱼ|²/(2 sd²)). Nijkamp et al. 2020 with 8, 1, 0.15."""
    angle = 2 * math.pi * torch.arange(modes, dtype=torch.float64, device="cpu") / modes
    centres = radius * torch.stack([angle.cos(), angle.sin()], 1)

    def draw(n: int, g: torch.Generator) -> Tensor:
        return centres[one_of(modes, n, g)] + sd * normal((n, 2), g)

    def f(x: Tensor) -> Tensor:
        offset = x[:, None, :] - centres.to(x)
        return (offset.square().sum(-1) / (-2 * sd**2)).logsumexp(-1)

    return Density(f, draw, 2, math.log(modes) + 2 * math.log(sd) + LOG_2PI, centres)


def rings(radii: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0), sd: float = 0.15) -> Density:
    """Concentric rings of equal mass, uniform in angle, normal in radius (Nijkamp et al. 2020).

    f(x) = log Σⱼ exp(−(r − rⱼ)²/(2 sd²)) − log r, r = |x|. The 1/r is the Jacobian of polar coordinates.
    """
    centres = torch.tensor(radii, dtype=torch.float64, device="cpu")

    def draw(n: int, g: torch.Generator) -> Tensor:
        r = centres[one_of(len(radii), n, g)] + sd * normal((n,), g)
        angle = 2 * math.pi * uniform((n,), g)
        return r[:, None] * torch.stack([angle.cos(), angle.sin()], 1)

    def f(x: Tensor) -> Tensor:
        r = x.norm(dim=-1).clamp(min=torch.finfo(x.dtype).tiny)
        return folded(r).logsumexp(-1) - r.log()

    def folded(r: Tensor) -> Tensor:
        """Reflect radii below 0: they land at −r on the other side."""
        both = torch.stack([r, -r], -1)[..., None] - centres.to(r)
        return (both.square() / (-2 * sd**2)).flatten(-2)

    return Density(f, draw, 2, math.log(len(radii) * sd) + 1.5 * LOG_2PI)


def banana(bend: float = 1.0, sd: float = 1.0) -> Density:
    """x₀ ~ N(0, 1), x₁ | x₀ ~ N(bend (x₀² − 1), sd²): curved, so that a stale gradient is noticed.

    f = −x₀²/2 − (x₁ − bend (x₀² − 1))²/(2 sd²). Haario, Saksman & Tamminen 1999.
    """

    def draw(n: int, g: torch.Generator) -> Tensor:
        a, e = normal((2, n), g)
        return torch.stack([a, bend * (a.square() - 1) + sd * e], 1)

    def f(x: Tensor) -> Tensor:
        a, b = x.unbind(-1)
        return -a.square() / 2 - ((b - bend * (a.square() - 1)) / sd).square() / 2

    return Density(f, draw, 2, math.log(sd) + LOG_2PI)


def funnel(dim: int = 10, sd: float = 3.0) -> Density:
    """v = x₀ ~ N(0, sd²), xᵢ | v ~ N(0, exp v): a neck that no single step size fits (Neal 2003).

    f = −v²/(2 sd²) − Σᵢ (xᵢ² exp(−v) + v)/2.
    """

    def draw(n: int, g: torch.Generator) -> Tensor:
        v = sd * normal((n, 1), g)
        return torch.cat([v, (v / 2).exp() * normal((n, dim - 1), g)], 1)

    def f(x: Tensor) -> Tensor:
        v, rest = x[:, 0], x[:, 1:]
        return -v.square() / (2 * sd**2) - (rest.square().sum(1) * (-v).exp() + (dim - 1) * v) / 2

    return Density(f, draw, dim, math.log(sd) + dim * LOG_2PI / 2)


def double_well(height: float = 2.0, tilt: float = 0.5) -> Density:
    """f = −height (x² − 1)² + tilt · x in one dimension: two wells of unequal mass.

    log Z and exact draws come from quadrature on [−4, 4] (the mass outside is below 1e-100).
    """
    grid = torch.linspace(-4, 4, 200_001, dtype=torch.float64, device="cpu")
    f1 = -height * (grid.square() - 1).square() + tilt * grid
    cdf = f1.exp().cumsum(0)

    def draw(n: int, g: torch.Generator) -> Tensor:
        u = uniform((n,), g) * cdf[-1]
        right = torch.searchsorted(cdf, u).clamp(1, len(grid) - 1)
        share = (u - cdf[right - 1]) / (cdf[right] - cdf[right - 1])
        return (grid[right - 1] + share * (grid[right] - grid[right - 1]))[:, None]

    def f(x: Tensor) -> Tensor:
        return (-height * (x.square() - 1).square() + tilt * x).squeeze(-1)

    log_z = float(torch.trapezoid(f1.exp(), grid).log())
    return Density(f, draw, 1, log_z, torch.tensor([[-1.0], [1.0]], device="cpu"))


DENSITIES: dict[str, Callable[[], Density]] = {
    "gaussian": lambda: gaussian(dim=2),
    "mixture": mixture,
    "rings": rings,
    "banana": banana,
    "funnel": funnel,
    "double-well": double_well,
}
"""Name -> density with its default parameters."""

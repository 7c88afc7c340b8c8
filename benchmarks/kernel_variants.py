"""Why a step size for each coordinate ruins acceptance in many dimensions, and step sizes that do not.

    γᵢ = h b / max(b, |∂ᵢf|)                          y = x + γ/2 ∇f + √γ ξ           the anisotropic proposal

With uᵢ = log γᵢ(y) − log γᵢ(x), the ratio of the two proposals' densities has, besides what MALA's has, the terms

    Σᵢ ½ uᵢ (ξᵢ² − 1) + O(u²),      uᵢ ≈ (∂ᵢ log γᵢ) √γᵢ ξᵢ    of order √h

where MALA's are of order h^(3/2). As E (ξ³ − ξ)² = 10, the log acceptance ratio is about N(−V/2, V) with

    V = 10/4 Σᵢ γᵢ (∂ᵢ log γᵢ)²         over clipped coordinates,      mean acceptance 2 Φ(−√V / 2).

Of N(0, σ² I) and a threshold at c/σ that is V = d h/σ² · 5/2 · c E[1{|z| > c} / |z|³]: proportional to d h. So h must
fall as 1/d, as a random walk's, where MALA's falls as 1/∛d; the drift buys nothing. Sums over fewer, smoother steps:

    one step a row, γ = h b / max(b, rms ∂f)        u = −⟨x, √γ ξ⟩/|x|² is of order √(h/d) and multiplies Σ (ξᵢ² − 1) of
                                                    order √(2d): V = h/(2σ²), whatever d
    one step a block of m coordinates               V = d/m · h/(2σ²)
    one step a row, from the largest |∂ᵢf|          u follows that one coordinate: V = d h/(4 σ² log d) · γ/h, as bad
    one step a scale of an orthonormal Haar basis   V = scales · h/(2σ²)

Reference: Roberts & Rosenthal 1998 (MALA and d^(−1/3)).
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from anila.density.log_density import LogDensity
from anila.samplers import Sampler, anisotropic_mala, mala
from anila.samplers.langevin import metropolis
from anila.samplers.scales import Scale

Make = Callable[[LogDensity, float, float], Sampler]
"""(f, b, h) -> kernel."""


def limited(slope: Tensor, b: float, h: float) -> Tensor:
    """γ = h b / max(b, slope)."""
    return h * b / slope.clamp(min=b)


def of_blocks(side: int, b: float, h: float) -> Scale:
    """One step for each square of so many pixels and all channels, by the rms of ∂f there."""

    def scale(grad: Tensor) -> Tensor:
        rms = F.avg_pool2d(grad.square().mean(1, keepdim=True), side).sqrt()
        return limited(F.interpolate(rms, scale_factor=side), b, h).expand_as(grad)

    return scale


def of_largest(b: float, h: float) -> Scale:
    """One step for the whole row, by its largest |∂f|."""
    return lambda grad: limited(grad.abs().amax((1, 2, 3), keepdim=True), b, h).expand_as(grad)


def of_scales(bands: Tensor, b: float, h: float) -> Scale:
    """One step for each band of coefficients, by the rms of ∂f in it."""
    members = F.one_hot(bands.flatten()).float()

    def scale(grad: Tensor) -> Tensor:
        squares = grad.square().mean(1).flatten(1) @ members / members.sum(0)
        return (limited(squares.sqrt(), b, h) @ members.T).view(-1, 1, *grad.shape[2:]).expand_as(grad)

    return scale


def haar(x: Tensor) -> Tensor:
    """Orthonormal Haar coefficients, those of the coarsest scale in the first corner."""
    if x.shape[-1] == 1:
        return x
    for dim in (-1, -2):
        even, odd = x.unflatten(dim, (-1, 2)).unbind(dim)
        x = torch.cat([even + odd, even - odd], dim) / math.sqrt(2)
    half = x.shape[-1] // 2
    top = torch.cat([haar(x[..., :half, :half]), x[..., :half, half:]], -1)
    return torch.cat([top, x[..., half:, :]], -2)


def unhaar(c: Tensor) -> Tensor:
    """The image of these coefficients."""
    if c.shape[-1] == 1:
        return c
    half = c.shape[-1] // 2
    top = torch.cat([unhaar(c[..., :half, :half]), c[..., :half, half:]], -1)
    x = torch.cat([top, c[..., half:, :]], -2)
    for dim in (-2, -1):
        plus, minus = x.chunk(2, dim)
        x = torch.stack([plus + minus, plus - minus], dim).flatten(dim - 1, dim) / math.sqrt(2)
    return x


def bands(side: int) -> Tensor:
    """The scale of each coefficient: 0 the coarsest, one more each time the side doubles; 4 × 4 count as one."""
    i = torch.arange(side)
    return torch.maximum(i[:, None], i).clamp(min=3).add(1).double().log2().ceil().long() - 2


def by_scale(f: LogDensity, b: float, h: float, side: int = 32) -> Sampler:
    """Metropolis on the Haar coefficients; `init` takes them, not images."""
    return metropolis(lambda c: f(unhaar(c)), of_scales(bands(side), b, h), b)


def blocked(side: int, f: LogDensity, b: float, h: float) -> Sampler:
    return metropolis(f, of_blocks(side, b, h), b)


VARIANTS: dict[str, Make] = {
    "mala": lambda f, b, h: mala(f, h),  # noqa: ARG005
    "a coordinate (anisotropic_mala)": lambda f, b, h: anisotropic_mala(f, b, h),
    "a block of 2 × 2": partial(blocked, 2),
    "a block of 4 × 4": partial(blocked, 4),
    "a block of 8 × 8": partial(blocked, 8),
    "an image, rms": partial(blocked, 32),
    "an image, largest": lambda f, b, h: metropolis(f, of_largest(b, h), b),
    "a scale (Haar), rms": by_scale,
}


def predicted(dim: int, h: float, c: float) -> float:
    """2 Φ(−√V / 2) of a step for each coordinate on N(0, I), the threshold at c."""
    z = torch.linspace(c, 12, 100_001, dtype=torch.float64)
    tail = 2 * torch.trapezoid((-z.square() / 2).exp() / math.sqrt(2 * math.pi) / z**3, z).item()
    return math.erfc(math.sqrt(2.5 * dim * h * c * tail / 8))

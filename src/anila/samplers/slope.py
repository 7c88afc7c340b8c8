"""Slope: whether ∇f is the gradient of f, by its differences along a small random step v.

    median |⟨v, ∇f⟩ − (f(x + v) − f(x − v)) / 2|  relative to  median |⟨v, ∇f⟩|

A Metropolis kernel is exact for any ∇f, but goes astray or stands still if it is wrong.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import LogDensity, exact_value
from anila.rng import rng

SLOPES = 256
"""Approximate number of points at which ∇f is compared with differences of f."""
OFF = 0.1
"""Relative error of a slope above which it is wrong."""


def slope_off(
    f: LogDensity, x: Float[Tensor, "kept chains *event"], grad: Float[Tensor, "kept chains *event"]
) -> float:
    """How far ∇f is off, relative to the median slope; 0 where rounding explains it.

    v is small beside the width of one chain, as chains may be in narrow regions far apart; beside that of all where
    none moves.

    Args:
        f: Log-density, (n, *event) -> (n,).
        x: Points, finite.
        grad: ∇f there, as chains use it.
    """
    within, overall = x.var(0, correction=0).mean(0).sqrt(), x.flatten(0, 1).std(0)
    every = max(1, x.shape[0] * x.shape[1] // SLOPES)
    x, grad, eps = x[::every], grad[::every], torch.finfo(x.dtype).eps
    noise = torch.randn(x.shape, generator=rng(0, "slopes"), dtype=x.dtype, device="cpu").to(x.device)
    v = noise * torch.where(within > 0, within, overall) * eps ** (1 / 3)
    up, down = (torch.stack([exact_value(f, part) for part in y]).double() for y in (x + v, x - v))
    told, seen = (grad * v).double().flatten(2).sum(2), (up - down) / 2
    wrong = (told - seen).abs().nanmedian().item()
    rounding = 10 * eps * up.abs().nanmedian().item()
    return wrong / max(told.abs().nanmedian().item(), rounding) if wrong > rounding else 0.0

"""Restoration: draw x given a degraded and noisy view of it.

    y = A(x) + sd ξ        g(x) = f(x) − T |y − A(x)|² / (2 sd²)

A is any differentiable map of rows; in denoising, A(x) = x.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from anila.applications.posterior import Posterior, beside, in_place, log_normal, require_observations, require_sd
from anila.density.log_density import LogDensity


def restore(
    f: LogDensity,
    y: Float[Tensor, "n *seen"],
    degrade: Callable[[Tensor], Tensor],
    sd: float | Tensor,
    temperature: float = 1.0,
) -> Posterior:
    """The law of points whose degraded view is y.

    Args:
        f: Log-density, (rows, *event) -> (rows,).
        y: The degraded view, (n, *seen).
        degrade: A, (rows, *event) -> (rows, *seen), differentiable and row by row, e.g. `blur` or `downsample`.
        sd: Noise of the view, in its units; one for all, or one per row.
        temperature: Temperature of the kernel that will sample.

    Raises:
        ValueError: If sd is not positive, y is not finite, or (when sampled) A returns another shape than that of y.
    """
    require_observations(y)
    spread = require_sd(sd, len(y))

    def log_likelihood(x: Tensor) -> Tensor:
        seen = degrade(x)
        if seen.shape != (len(x), *y.shape[1:]):
            raise ValueError(
                f"degrade: expected ({len(x)}, *{tuple(y.shape[1:])}), the shape of y, for x of shape "
                f"{tuple(x.shape)}; got {tuple(seen.shape)}"
            )
        return log_normal(seen - beside(y, x), spread)

    return in_place(f, log_likelihood, len(y), temperature)


def denoise(f: LogDensity, y: Float[Tensor, "n *event"], sd: float | Tensor, temperature: float = 1.0) -> Posterior:
    """The law of points x given y = x + sd ξ.

    Args:
        f: Log-density, (rows, *event) -> (rows,).
        y: The noisy points, (n, *event).
        sd: Noise, in units of x; one for all, or one per row. `noise_sd` estimates it from images.
        temperature: Temperature of the kernel that will sample.

    Raises:
        ValueError: If sd is not positive or y is not finite.

    >>> from anila import mala, rng
    >>> posterior = denoise(lambda x: -x.square().sum(1) / 2, torch.tensor([[4.0]]), sd=1.0)
    >>> draws = posterior.draw(lambda g: mala(g, 0.5), torch.zeros(2000, 1), 50, rng(0, "chains"))
    >>> round(draws.x.mean().item(), 1), round(draws.x.var().item(), 1)
    (2.0, 0.5)
    """
    return restore(f, y, lambda x: x, sd, temperature)


def noise_sd(y: Float[Tensor, "n c h w"]) -> Float[Tensor, "n"]:
    """sd of white noise in each image: median |d| / 0.6745 over the diagonal details d = (a − b − c + e)/2.

    A detail is taken from each 2 × 2 block of pixels [[a, b], [c, e]]: that of smooth images is almost 0, that of noise
    has its full sd.

    Args:
        y: Noisy images, at least 2 × 2 pixels.

    Raises:
        ValueError: If y is not such images.

    Reference: Donoho & Johnstone 1994, section 4.2 (with the Haar wavelet).

    >>> from anila import rng
    >>> noise = torch.randn(1, 3, 64, 64, generator=rng(0, "noise"))
    >>> round(noise_sd(0.5 + 0.2 * noise).item(), 2)
    0.2
    """
    if y.ndim != 4 or min(y.shape[2:]) < 2:
        raise ValueError(
            f"noise_sd: expected images (n, channels, height, width) of at least 2 × 2 pixels, got {tuple(y.shape)}; "
            "for other points give sd"
        )
    a, b, c, e = (y[:, :, i : y.shape[2] - 1 + i : 2, j : y.shape[3] - 1 + j : 2] for i in (0, 1) for j in (0, 1))
    detail = ((a - b - c + e) / 2).abs().flatten(1)
    return detail.median(1).values / torch.special.ndtri(torch.tensor(0.75, dtype=y.dtype)).to(y)

"""Inpainting: draw masked coordinates given the observed ones. On tables: some columns given others.

    hard    g(u) = f(y with u in its masked coordinates)          the conditional law of u, exactly
    soft    g(x) = f(x) − T Σ (xᵢ − yᵢ)² / (2 sd²)                sum over observed coordinates, all of x free

In the hard form only masked coordinates are sampled, so observed ones stay bitwise the same under any kernel.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anila.applications.posterior import Posterior, beside, in_place, log_normal, require_observations, require_sd
from anila.density.log_density import LogDensity


def inpaint(
    f: LogDensity,
    y: Float[Tensor, "n *event"],
    mask: Bool[Tensor, "..."],
    sd: float | Tensor | None = None,
    temperature: float = 1.0,
) -> Posterior:
    """The law of points of which y is observed where the mask is False.

    Args:
        f: Log-density, (rows, *event) -> (rows,).
        y: The observation, (n, *event); values under the mask are ignored and may be NaN.
        mask: True where a coordinate is hidden; broadcast to *event, so (1, h, w) hides all channels of a pixel.
        sd: Noise of the observation, in units of x, one for all or one per row; None takes it as exact.
        temperature: Temperature of the kernel that will sample; only a soft observation needs it.

    Raises:
        ValueError: If the mask does not fit, hides nothing or everything, or an observed coordinate is not finite.

    >>> from anila import mala, rng
    >>> def f(x):  # x₁ given x₀ is N(0.8 x₀, 0.36)
    ...     return -(x[:, 0] ** 2 + (x[:, 1] - 0.8 * x[:, 0]) ** 2 / 0.36) / 2
    >>> posterior = inpaint(f, torch.tensor([[2.0, float("nan")]]), torch.tensor([False, True]))
    >>> draws = posterior.draw(lambda g: mala(g, 0.5), torch.zeros(2000, 2), 50, rng(0, "chains"))
    >>> draws.x.shape, bool((draws.x[..., 0] == 2).all()), round(draws.x[..., 1].mean().item(), 1)
    (torch.Size([1, 2000, 2]), True, 1.6)
    """
    hidden = fitted(mask, tuple(y.shape[1:]))
    y = y.masked_fill(hidden.to(y.device), 0)
    require_observations(y)
    if sd is not None:
        spread = require_sd(sd, len(y))
        seen = ~hidden

        def log_likelihood(x: Tensor) -> Tensor:
            return log_normal((x - beside(y, x)) * seen.to(x.device), spread)

        return in_place(f, log_likelihood, len(y), temperature)

    def outside(u: Tensor) -> Tensor:
        x = beside(y, u)
        x[:, hidden] = u
        return x

    return Posterior(lambda u: f(outside(u)), f, lambda x: x[:, hidden], outside, len(y))


def fitted(mask: Tensor, event_shape: tuple[int, ...]) -> Bool[Tensor, "*event"]:
    """The mask, broadcast to all coordinates of an event."""
    if mask.dtype != torch.bool:
        raise ValueError(f"mask must be boolean, True where hidden; got {mask.dtype}: compare it with something")
    try:
        hidden = mask.expand(event_shape)
    except RuntimeError:
        raise ValueError(
            f"mask: expected the shape of one point, {event_shape}, or one that broadcasts to it; "
            f"got {tuple(mask.shape)}"
        ) from None
    if not bool(hidden.any()):
        raise ValueError("mask hides nothing: there is nothing to draw")
    if bool(hidden.all()):
        raise ValueError("mask hides everything: nothing is seen, so draw from the model itself with sample")
    return hidden

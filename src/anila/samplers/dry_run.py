"""A look at a kernel before its chains run: two of them for one step, alone and with two more beside them.

A row of a step depends on that row of the state and of the noise, and on nothing else. So both report the same ‖∇f‖
either way, unless f couples rows or is random.
"""

import warnings

import torch
from torch import Tensor

from anila.rng import rng
from anila.samplers.kernel import Sampler, rows_of

TOLERANCE, FLOOR = 1e-3, 1e-5
"""Of ‖∇f‖, relative and in units of ∇f: what the size of a batch may change by rounding."""


def require_rows_apart(sampler: Sampler, x0: Tensor) -> None:
    """Refuse a kernel whose chains talk to each other, or whose f is another function each time it is called.

    Args:
        sampler: Kernel bound to f.
        x0: Where the chains start, (chains, *event).

    Raises:
        ValueError: Saying which of the two; of an unadjusted kernel a random f is a warning, for chains that are meant
            to follow noisy gradients.
    """
    four = x0[[row % len(x0) for row in range(4)]]
    try:
        noise = sampler.draw_noise(four, rng(0, "dry run"))
        alone, beside = (grad_norms(sampler, four[:n], rows_of(noise, slice(0, n))) for n in (2, 4))
    except Exception:  # f may be made for just so many rows; what else is wrong with it the run itself says
        return
    if alone is None or beside is None or alike(alone, beside):
        return
    again = grad_norms(sampler, four[:2], rows_of(noise, slice(0, 2)))
    if again is not None and alike(alone, again):
        raise ValueError(
            f"f couples the rows of a batch: ‖∇f‖ at x₀ is {alone[0]:.6g} beside x₁ and {beside[0]:.6g} beside x₁, x₂ "
            "and x₃; chains would not be independent (batch norm in training mode? call model.eval())"
        )
    says = "f is random: ‖∇f‖ at one point is another each time (dropout in training mode? call model.eval())"
    if sampler.exact:
        raise ValueError(f"{says}; no acceptance is right then")
    warnings.warn(says, RuntimeWarning, stacklevel=3)


def grad_norms(sampler: Sampler, x: Tensor, noise: object) -> Tensor | None:
    """‖∇f‖ of the first two chains in a step, (2,); None for a kernel that does not report it."""
    info = sampler.step(sampler.init(x.clone()), noise)[1]
    found = getattr(info, "grad_norm", None)
    return None if found is None else found[:2].double()


def alike(a: Tensor, b: Tensor) -> bool:
    """Whether they differ by rounding only; what is not finite is another's matter."""
    apart = (a - b).abs() > TOLERANCE * torch.maximum(a, b) + FLOOR
    return not bool((apart & torch.isfinite(a) & torch.isfinite(b)).any())

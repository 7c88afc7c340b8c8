"""A look at a kernel before its chains run: a chain among the others, and among copies of itself.

A row of a step depends on that row of the state and of the noise, and on nothing else. So ‖∇f‖ of the first chain is
the same both times, unless f couples rows or is random. The number of chains stays: f may hold data for each of them.
"""

import warnings
from typing import Any

import torch
from torch import Tensor

from anila.rng import rng
from anila.samplers.kernel import Sampler

TOLERANCE, FLOOR = 1e-3, 1e-5
"""Of ‖∇f‖, relative and in units of ∇f: what rounding may change."""


def require_rows_apart(sampler: Sampler, x0: Tensor, state: Any) -> None:
    """Refuse a kernel whose chains talk to each other, or whose f is another function each time it is called.

    Args:
        sampler: Kernel bound to f.
        x0: Where the chains start, (chains, *event).
        state: What `init` makes of them.

    Raises:
        ValueError: Saying which of the two; of an unadjusted kernel a random f is a warning, for chains that are meant
            to follow noisy gradients.
    """
    copies = x0[:1].expand_as(x0).clone()
    found, beside = grad_norm(sampler, state), grad_norm(sampler, sampler.init(copies))
    if found is None or beside is None or alike(found, beside):
        return
    again = grad_norm(sampler, sampler.init(x0.clone()))
    if again is not None and alike(found, again):
        raise ValueError(
            f"f couples the rows of a batch: ‖∇f‖ at x₀ is {found:.6g} beside the other chains and {beside:.6g} beside "
            "copies of itself; chains would not be independent (batch norm in training mode? call model.eval())"
        )
    says = "f is random: ‖∇f‖ at one point is another each time (dropout in training mode? call model.eval())"
    if sampler.exact:
        raise ValueError(f"{says}; no acceptance is right then")
    warnings.warn(says, RuntimeWarning, stacklevel=5)


def grad_norm(sampler: Sampler, state: Any) -> Tensor | None:
    """‖∇f‖ of the first chain: of the state where it holds ∇f, else of a step; None for a kernel that tells neither."""
    if isinstance(grad := getattr(state, "grad", None), Tensor):
        return grad[0].double().norm()
    norms = getattr(sampler.step(state, sampler.draw_noise(state.x, rng(0, "dry run")))[1], "grad_norm", None)
    return None if norms is None else norms[0].double()


def alike(a: Tensor, b: Tensor) -> bool:
    """Whether they differ by rounding only; what is not finite is another's matter."""
    apart = (a - b).abs() > TOLERANCE * torch.maximum(a, b) + FLOOR
    return not bool(apart & torch.isfinite(a) & torch.isfinite(b))

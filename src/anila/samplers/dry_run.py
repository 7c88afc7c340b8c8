"""A check before chains run: evaluate half of them beside the other half, then beside copies of the first chain.

A row of a step depends on that row of the state and of the noise, and on nothing else. So f, where the kernel remembers
it for an acceptance, and ‖∇f‖ of that half are the same both times, unless f couples rows or is random. The number of
chains does not change, as f may hold data for each.
"""

import warnings
from typing import Any

import torch
from torch import Tensor

from anila.density.wrong_f import COUPLED
from anila.rng import rng
from anila.samplers.kernel import Sampler

TOLERANCE, FLOOR = 1e-3, 1e-5
"""What rounding may change of ‖∇f‖: a relative part, and an absolute one in units of ∇f."""


def require_rows_apart(sampler: Sampler, x0: Tensor, state: Any) -> None:
    """Refuse a kernel whose f couples chains or is random.

    Args:
        sampler: Kernel bound to f.
        x0: Where the chains start, (chains, *event).
        state: What `init` makes of them.

    Raises:
        ValueError: Saying which of the two. For an unadjusted kernel a random f is only a warning, as its chains may be
            meant to follow noisy gradients.
    """
    half = max(1, len(x0) // 2)
    beside = torch.cat([x0[:half], x0[:1].expand_as(x0[half:])])
    first, second = (measured(sampler, at, half) for at in (state, sampler.init(beside)))
    moved = [what for what in first if not alike(first[what], second[what])]
    if not moved:
        return
    what, again = moved[0], measured(sampler, sampler.init(x0.clone()), half)
    if alike(first[what], again[what]):
        before, after = first[what], second[what]
        worst = int((before - after).abs().nan_to_num().argmax())
        raise ValueError(
            f"f couples the rows of a batch: {what} at chain {worst} is {before[worst]:.6g} beside the other chains "
            f"and {after[worst]:.6g} beside copies of one; {COUPLED}"
        )
    says = f"f is random: {what} at one point changes from call to call (dropout in training mode? call model.eval())"
    if sampler.exact:
        raise ValueError(f"{says}; its acceptances would be wrong")
    warnings.warn(says, RuntimeWarning, stacklevel=5)


def measured(sampler: Sampler, state: Any, n: int) -> dict[str, Tensor]:
    """‖∇f‖ of the first n chains, and f if the kernel remembers it; each (n,)."""
    found, value = {"‖∇f‖": grad_norms(sampler, state)[:n]}, value_of(state)
    return found if value is None else found | {"f": value[:n].double()}


def value_of(state: Any) -> Tensor | None:
    """f where the chains stand, if the kernel remembers it, (chains,)."""
    value, local = getattr(state, "value", None), getattr(state, "local", None)
    return value if isinstance(value, Tensor) or local is None else value_of(local)


def grad_norms(sampler: Sampler, state: Any) -> Tensor:
    """‖∇f‖ of every chain, (chains,): from the state if it holds ∇f, else from a step; 0 if neither reports it."""
    if isinstance(grad := getattr(state, "grad", None), Tensor):
        return grad.flatten(1).double().norm(dim=1)
    info = sampler.step(state, sampler.draw_noise(state.x, rng(0, "dry run")))[1]
    return getattr(info, "grad_norm", torch.zeros(len(state.x))).double()


def alike(a: Tensor, b: Tensor) -> bool:
    """Whether they differ by rounding only; numbers that are not finite are left to other checks."""
    apart = (a - b).abs() > TOLERANCE * torch.maximum(a.abs(), b.abs()) + FLOOR
    return not bool((apart & torch.isfinite(a) & torch.isfinite(b)).any())

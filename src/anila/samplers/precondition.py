"""Frozen preconditioners: any local kernel, run in the coordinates u of x = m + L u.

There the log-density is f(m + L u) and its gradient is Lᵀ ∇f, so a step proposes with drift γ/2 L Lᵀ ∇f and noise √γ L
ξ, and thresholds and ‖∇f‖ are in units of Lᵀ∇f. L is constant, and so is its Jacobian, so exact kernels stay exact. A
local kernel does not depend on where u = 0 is, so m is the chain's position: no inverse of L is needed, rounding does
not move a rejected chain, and x is all there is to remember.

L is a tensor: the scale of each coordinate (*event), or the (d, d) lower Cholesky factor of a covariance for
flattened events of d ≤ 500 numbers.

Reference: Girolami & Calderhead 2011, section 3 (preconditioned MALA, constant metric).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anila.density.log_density import LogDensity
from anila.density.precision import exact
from anila.density.wrong_f import require_function
from anila.samplers.kernel import Sampler

DENSE_LIMIT = 500
"""Size of an event above which a dense factor is refused: it costs d² per chain and step."""


def preconditioned(f: LogDensity, preconditioner: Tensor | None, make: Callable[[LogDensity], Sampler]) -> Sampler:
    """The kernel that `make` binds to u ↦ f(x + L u), moving x by L u.

    Args:
        f: Log-density of x, (chains, *event) -> (chains,).
        preconditioner: L; None for the identity.
        make: f -> local kernel, i.e. one that uses differences of positions only.

    Raises:
        ValueError: If L is not finite or, at `init`, does not fit the points.
        TypeError: If f is no function.
    """
    require_function(f)
    if preconditioner is None:
        return make(f)._replace(f=f)
    if not bool(torch.isfinite(preconditioner).all()):
        raise ValueError("preconditioner must be finite; it holds a NaN or an infinity")

    def stretch(u: Tensor) -> Tensor:
        L = preconditioner.to(u)
        if L.shape == u.shape[1:]:
            return u * L
        with exact(u.device):  # unrounded: ∇f is wanted at exactly the proposed point
            return (u.flatten(1) @ L.T).view_as(u)

    return stretched(f, stretch, make, lambda x: require_fit(preconditioner, x))._replace(
        f=f, preconditioner=preconditioner
    )


def stretched(
    f: LogDensity,
    stretch: Callable[[Tensor], Tensor],
    make: Callable[[LogDensity], Sampler],
    check: Callable[[Tensor], None] | None = None,
) -> Sampler:
    """The kernel that `make` binds to u ↦ f(x + stretch u), with u = 0 where the chain stands."""
    here: dict[str, Tensor] = {}  # set before each use, so that a step stays a function of (state, noise)
    fits = set[torch.Size]()  # looked at once, for inside a compiled move nobody can decide by values
    kernel = make(lambda u: f(here["x"] + stretch(u)))

    def init(x: Tensor) -> Any:
        if check and x.shape[1:] not in fits:
            check(x)
            fits.add(x.shape[1:])
        here["x"] = x
        state = kernel.init(torch.zeros_like(x))
        require_local(state)
        return state._replace(x=x)

    def step(state: Any, noise: Any) -> tuple[Any, Any]:
        here["x"] = state.x
        new, info = kernel.step(state._replace(x=torch.zeros_like(state.x)), noise)
        return new._replace(x=state.x + stretch(new.x)), info

    return kernel._replace(init=init, step=step)


def require_local(state: Any) -> None:
    """Refuse kernels that remember more than the current point: the rest would not move with x."""
    if any(not isinstance(field, Tensor | None) for field in state):
        raise ValueError(
            f"preconditioners and replica exchange wrap one local kernel; got one with a {type(state).__name__}: "
            "put the mixture, the global moves or the ladder outside"
        )


def require_fit(L: Tensor, x: Tensor) -> None:
    """Refuse a preconditioner that is neither a positive scale per coordinate nor a Cholesky factor for the event."""
    d = x[0].numel()
    if L.shape == x.shape[1:]:
        diagonal = L
    elif L.shape == (d, d) and d <= DENSE_LIMIT and torch.equal(L, L.tril()):
        diagonal = L.diagonal()
    else:
        raise ValueError(
            f"preconditioner must be one scale per coordinate, of shape {tuple(x.shape[1:])}, or the lower Cholesky "
            f"factor of a covariance, ({d}, {d}) with at most {DENSE_LIMIT} rows; got shape {tuple(L.shape)}"
            + (", not lower triangular" if L.shape == (d, d) and d <= DENSE_LIMIT else "")
        )
    if not bool((diagonal > 0).all()):
        raise ValueError(f"preconditioner must have positive scales (diagonal); the smallest is {diagonal.min():.3g}")

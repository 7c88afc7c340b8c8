"""A look at a log-density before anything runs: what would silently go wrong in a chain is refused."""

import torch
from torch import Tensor

from anila.density.log_density import LogDensity, exact_value, value_and_grad
from anila.density.wrong_f import COUPLED, kind, require_function, strangers

TRIES = 8
"""Values of f at one point, among which a random one shows itself."""


def check_log_density(f: LogDensity, x: Tensor) -> None:
    """Dry-run f on two points and refuse what would silently go wrong in a chain.

    Args:
        f: Log-density, (chains, *event) -> (chains,).
        x: At least two points, (chains, *event); the first two at which f is finite, if there are two, are tried.

    Raises:
        ValueError: If f does not take points of this dtype on this device, returns the wrong shape, cannot be
            differentiated, is random (as dropout in training mode is), or couples the rows of a batch (as batch norm
            in training mode does): chains must be independent.
        TypeError: If f is no function.
    """
    require_function(f)
    two = x[:2]
    try:
        both, grad = value_and_grad(f, two)
        if len(x) > 2 and not bool(torch.isfinite(both).all()):
            inside = torch.isfinite(exact_value(f, x)).nonzero().flatten()[:2]
            two = x[inside] if len(inside) == 2 else two
            both, grad = value_and_grad(f, two)
    except (RuntimeError, TypeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ValueError(f"f does not accept x of {kind(x)}{strangers(f, x)}: {error}") from error
    require_rows_apart(f, two)
    if not bool(torch.isfinite(both).all() and torch.isfinite(grad).all()):
        raise ValueError(
            f"f or its gradient is not finite at the start: f = {both.tolist()}; if its mass is around 15 and about 3 "
            "wide, g = lambda x: f(15 + 3 * x) has it around 0"
        )


def require_rows_apart(f: LogDensity, two: Tensor) -> None:
    """Refuse an f whose value at one of two rows, (2, *event), depends on the other or on chance.

    Raises:
        ValueError: Saying which.
    """
    both = exact_value(f, two)
    more = exact_value(f, torch.cat([two[:1], two]))  # a batch of one would make batch norm raise first
    if same(both[0], more[0]):
        return
    for _ in range(TRIES):
        if not same(both[0], again := exact_value(f, two)[0]):
            raise ValueError(
                f"f is random: f(x₀) is {both[0]:.6g}, and then {again:.6g}; a chain needs one f (dropout in training "
                "mode? call model.eval())"
            )
    raise ValueError(
        f"f couples the rows of a batch: f(x₀) is {both[0]:.6g} beside x₁ and {more[0]:.6g} beside x₀ and x₁; "
        + COUPLED
    )


def same(a: Tensor, b: Tensor) -> bool:
    """Whether they differ by rounding only."""
    tolerance = 1e-3 if a.dtype != torch.float64 else 1e-9
    return not bool((a - b).abs() > tolerance * (1 + a.abs()))

"""A degradation of the user's own, FILE.py:FUNCTION. Loading it runs that file: it is the user's code, not data."""

from collections.abc import Callable

import torch
from torch import Tensor

from anila.rng import rng
from anila.runs.experiment.code import load_code


def degradation(text: str, event_shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """The function of a file, after it was tried on two rows of noise.

    Args:
        text: "FILE.py:FUNCTION"; the function maps (rows, *event) to (rows, *seen), differentiably and row by row.
        event_shape: Shape of one row.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be run, has no such function, or the function is no such map.
    """
    degrade = load_code(text, "--degrade").thing
    require_degradation(degrade, torch.rand(2, *event_shape, generator=rng(0, "degrade")) * 2 - 1, f"--degrade {text}")
    return degrade


def require_degradation(degrade: Callable[[Tensor], Tensor], x: Tensor, what: str) -> None:
    """Refuse a map that chains cannot move along.

    Raises:
        ValueError: If it fails, changes the number of rows, mixes them, or has no gradient.
    """
    x = x.requires_grad_()
    try:
        y, first = degrade(x), degrade(x[:1])
    except Exception as error:
        raise ValueError(f"{what} fails on rows of shape {tuple(x.shape)}: {type(error).__name__}: {error}") from error
    if not isinstance(y, Tensor) or y.ndim < 2 or len(y) != len(x):
        got = f"shape {tuple(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
        raise ValueError(f"{what}: expected a tensor of {len(x)} rows for {len(x)} rows, got {got}")
    if not y.requires_grad:
        raise ValueError(f"{what} is not differentiable: no gradient reaches x; use torch operations, no .detach()")
    (gradient,) = torch.autograd.grad(y.double().square().sum(), x)
    if not bool(torch.isfinite(gradient).all()) or not bool(gradient.any()):
        raise ValueError(f"{what}: expected a finite gradient that is not 0 everywhere; rounding and masks have none")
    if first.shape[1:] != y.shape[1:] or not torch.allclose(first, y[:1], rtol=1e-4, atol=1e-5):
        raise ValueError(f"{what} mixes rows, or is random: the first of two rows gives something else when alone")

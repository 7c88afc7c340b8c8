"""Whether steps made compiled and uncompiled agree, up to rounding.

They add up in another order, so every number of a chain agrees to half of its digits:

    |a − b| <= √ε max(1, ‖b‖∞),    ε the resolution of gradients

An acceptance is exp of a difference of f's, and known no better than f is. Where the uniform number that decides is as
near to it, a chain may go either way. Unstable steps take a few chains apart as well. So most chains must agree: memory
read where it should not be, or an operation that computes something else, makes nearly all of them differ.
"""

import math

import torch
from torch import Tensor

Rows = dict[str, Tensor]
"""Name -> numbers of each chain, (chains, numbers)."""


def require_agreement(found: Rows, expected: Rows, uniform: Tensor | None, eps: float) -> None:
    """Refuse steps in which most chains go another way than uncompiled.

    Args:
        found: What compiled steps gave.
        expected: What they give uncompiled.
        uniform: What acceptances were decided by, (chains, steps), where there is such a thing.
        eps: Resolution of gradients.

    Raises:
        ValueError: If they differ; it names a number that does.
    """
    finite = {name: rows.where(rows.isfinite(), 0) for name, rows in expected.items()}
    within = {name: math.sqrt(eps) * rows.abs().amax(1, True).clamp(min=1) for name, rows in finite.items()}
    if {"accept_prob", "state.value"} <= within.keys():
        within["accept_prob"] = within["state.value"]
    undecided = ties(expected, uniform, within)
    for name, rows in expected.items():
        differs = ~((found[name] - rows).abs() <= within[name]) & rows.isfinite() & ~undecided[:, None]
        if 2 * int(differs.any(1).sum()) > int((~undecided).sum()):
            chain, k = differs.nonzero()[0].tolist()
            raise ValueError(
                f"{name} of chain {chain} is {found[name][chain, k]:.6g} compiled and {rows[chain, k]:.6g} uncompiled"
            )


def ties(expected: Rows, uniform: Tensor | None, within: Rows) -> Tensor:
    """Chains that may be accepted or not, (chains,)."""
    prob = expected.get("accept_prob")
    if prob is None or uniform is None:
        return torch.zeros(len(expected["state.x"]), dtype=torch.bool, device=expected["state.x"].device)
    return (((uniform - prob).abs() <= within["accept_prob"]) & (prob < 1)).any(1)

"""Whether steps made compiled and uncompiled agree, up to rounding.

Compiled sums are taken in another order, so every number of a chain must agree to half of its digits:

    |a − b| <= √ε max(1, ‖b‖∞),    ε the resolution of gradients

An acceptance probability is exp of a difference of values of f, and no more accurate than f. If the uniform that
decides is that close to it, a chain may go either way. Unstable steps separate a few chains as well. It is therefore
enough that most chains agree: a read of the wrong memory or a wrong operation makes nearly all of them differ.
"""

import math

import torch
from torch import Tensor

Rows = dict[str, Tensor]
"""Name -> the numbers that each chain has under it, (chains, numbers)."""


def require_agreement(found: Rows, expected: Rows, uniform: Tensor | None, eps: float) -> None:
    """Refuse compiled steps in which most chains differ from uncompiled ones.

    Args:
        found: Result of the compiled steps.
        expected: Result of the same steps uncompiled.
        uniform: The uniforms that decided acceptances, (chains, steps), if there are any.
        eps: Resolution of gradients.

    Raises:
        ValueError: If they differ; it names a field that does.
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
    """Chains whose acceptance is too close to decide, (chains,)."""
    prob = expected.get("accept_prob")
    if prob is None or uniform is None:
        return torch.zeros(len(expected["state.x"]), dtype=torch.bool, device=expected["state.x"].device)
    return (((uniform - prob).abs() <= within["accept_prob"]) & (prob < 1)).any(1)

"""Several models combined into one.

    product    g = Σⱼ wⱼ fⱼ                          likely under all; a weight below 0 is a negation: unlikely under fⱼ
    mixture    g = T log Σⱼ wⱼ exp((fⱼ − log Zⱼ)/T)   likely under some

The normalisers of a product do not matter. Those of a mixture do: without them, weights are relative to unknown Zⱼ.
With a negation, exp g may not be normalisable: the fⱼ with larger weights must provide the tails
(`evaluation.chains.rays` checks whether ∇g points inwards).

Reference: Hinton 2002 (products); Du, Li & Mordatch 2020, section 3 (conjunction, disjunction, negation).
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from anila.density.log_density import LogDensity
from anila.messages import counted


def compose(
    fs: Sequence[LogDensity],
    weights: Sequence[float] | None = None,
    rule: Literal["product", "mixture"] = "product",
    log_z: Sequence[float] | None = None,
    temperature: float = 1.0,
) -> LogDensity:
    """The log-density that combines several.

    Args:
        fs: Log-densities of the same points, (rows, *event) -> (rows,).
        weights: One per log-density; by default 1 in a product and 1/n in a mixture.
        rule: "product" or "mixture".
        log_z: log ∫ exp(fⱼ/T) of each part of a mixture, at the temperature.
        temperature: Temperature of the kernel that will sample; only a mixture needs it.

    Raises:
        ValueError: If fs is a single log-density, the numbers of parts, weights and log_z differ, a weight is not
            finite, all weights are 0, one of a mixture is negative, or temperature is not positive.

    >>> left, right = (lambda x: -(x + 1).square().sum(1) / 2), (lambda x: -(x - 1).square().sum(1) / 2)
    >>> both = compose([left, right])  # N(0, 1/2): a constant below −x²
    >>> (both(torch.tensor([[0.0], [1.0]]))).tolist()
    [-1.0, -2.0]
    """
    require_several(fs, weights, log_z)
    if rule not in ("product", "mixture"):
        raise ValueError(f'rule must be "product" or "mixture"; got {rule!r}')
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, that of the kernel that will sample; got {temperature!r}")
    wanted = list(weights) if weights is not None else [1.0 if rule == "product" else 1 / len(fs)] * len(fs)
    offsets = list(log_z) if log_z is not None else [0.0] * len(fs)
    require_weights(len(fs), wanted, offsets, rule)
    if rule == "product":
        return lambda x: torch.stack([w * f(x) for f, w in zip(fs, wanted, strict=True)]).sum(0)
    shifts = [math.log(w) - z if w else -math.inf for w, z in zip(wanted, offsets, strict=True)]

    def mixed(x: Tensor) -> Tensor:
        parts = [f(x) / temperature + shift for f, shift in zip(fs, shifts, strict=True)]
        return temperature * torch.stack(parts).logsumexp(0)

    return mixed


def require_several(fs: object, weights: object, log_z: object) -> None:
    """Refuse single things in place of lists: a network of several layers has a length too, but is one f."""
    if callable(fs) and not isinstance(fs, torch.nn.ModuleList):
        raise ValueError("compose: expected a list of log-densities, e.g. compose([f, g]); got a single one")
    for name, given in (("weights", weights), ("log_z", log_z)):
        if isinstance(given, int | float):
            raise ValueError(f"compose: expected a list of {name}, a number for each part; got {given}")


def require_weights(parts: int, weights: list[float], log_z: list[float], rule: str) -> None:
    """Refuse weights that do not fit the parts or the rule."""
    if not parts or len(weights) != parts or len(log_z) != parts:
        raise ValueError(
            f"compose: expected one weight and one log_z for each of {counted(parts, 'part')}, at least one; "
            f"got {counted(len(weights), 'weight')} and {len(log_z)} log_z"
        )
    if not all(map(math.isfinite, weights)) or not any(weights):
        raise ValueError(f"compose: weights must be finite and not all 0; got {weights}")
    if rule == "mixture" and min(weights) < 0:
        raise ValueError(
            f'compose: a mixture cannot have negative weights, got {weights}; to negate use rule="product"'
        )

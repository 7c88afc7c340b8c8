"""Maximum likelihood with chains: Algorithm 1 of Karimi, Xie & Li 2023 (eq. 4).

    ∇θ log p_θ(x) = ∇θ f_θ(x) − E_{z ~ p_θ} ∇θ f_θ(z)

The expectation is the mean over chains: f goes up on data and down on chains.
"""

import math
from typing import Any

from torch import Tensor

from anila.density.log_density import LogDensity
from anila.evaluation.training.metric import OF_CHAINS
from anila.learning.objectives.base import Contrast, Moments, Objective, Values


def likelihood(penalty: float = 0.0) -> Objective:
    """θ ascends mean f(data) − mean f(chains) − penalty (mean f(data)² + mean f(chains)²).

    Args:
        penalty: Keeps f from growing (Du & Mordatch 2019, section 3.3); 0 is Algorithm 1 as printed.

    Raises:
        ValueError: If penalty is negative.

    >>> import torch
    >>> likelihood().contrast(lambda x: x.sum(1), torch.ones(2, 1), torch.zeros(3, 1)).down.shape
    torch.Size([3, 1])
    """
    if not penalty >= 0:
        raise ValueError(f"penalty must be at least 0; got {penalty!r}")

    def term(values: Values) -> tuple[Tensor, dict[str, Tensor]]:
        return penalty * mean_squares(values), {}

    return Objective(contrast, OF_CHAINS, needs_chains=True, report=report, term=term if penalty else None)


def contrast(f: LogDensity, x_data: Tensor, x_model: Tensor, noise: Any = None) -> Contrast:  # noqa: ARG001
    """Up on data, down on chains."""
    return Contrast(x_data, x_model)


def report(f: Moments) -> dict[str, float]:
    """d_t = mean f(data) − mean f(chains), and the spread of f within data and within chains, pooled."""
    variance = (f.up_square - f.up**2 + f.down_square - f.down**2) / 2
    return {"energy_gap": f.up - f.down, "energy_sd": math.sqrt(max(0.0, variance))}


def mean_squares(values: Values) -> Tensor:
    """The contribution of these rows to mean f(up)² + mean f(down)²."""
    return values.up.square().sum() / values.ups + values.down.square().sum() / values.downs

"""Bijections onto correlation matrices and simplices that keep a slope far out, unlike torch's.

Both break a stick: each number takes a share of what the earlier ones left. Torch computes the remainder as 1 − share
and clamps shares at 1 − eps, for correlations at x = 18 in float64 and 8 in float32. Beyond that, f would be flat or
−∞, and no path would lead back. Here the remainder is kept as a logarithm:

    corr_cholesky   y_ij = tanh x_ij · ∏_{k<j} sech x_ik,   y_ii = ∏_{k<i} sech x_ik
                    log |det| = Σ_{j<i} (1 + i − j) log sech x_ij
    simplex         y_k = σ(u_k) ∏_{j<k} σ(−u_j),   u_k = x_k − log(K − k) for k = 1, …, K − 1
                    log |det| = Σ_k log σ(u_k) + (K − k) log σ(−u_k)

Points and Jacobians agree with torch.

References: Lewandowski, Kurowicka & Joe 2009; Stan reference manual, "Cholesky factors of correlation matrices" and
"Unit simplex".
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import biject_to, constraints
from torch.distributions.constraints import Constraint
from torch.distributions.transforms import CorrCholeskyTransform, IndependentTransform, StickBreakingTransform
from torch.nn.functional import logsigmoid, pad, softplus


def bijection(constraint: Constraint) -> Any:
    """The bijection from unconstrained numbers onto this constraint: torch's, or one of this file."""
    if isinstance(constraint, constraints.independent):
        return IndependentTransform(bijection(constraint.base_constraint), constraint.reinterpreted_batch_ndims)
    found = biject_to(constraint)
    return OURS.get(type(found), lambda: found)()


class CorrCholesky(CorrCholeskyTransform):
    """(..., K (K − 1) / 2) -> Cholesky factors of correlation matrices, (..., K, K), row by row."""

    def _call(self, x: Tensor) -> Tensor:
        x = lower(x)
        k = x.shape[-1]
        left = (log_sech(x) @ before(k, x)).exp()
        return (x.tanh().tril(-1) + torch.eye(k).to(x)) * left

    def _inverse(self, y: Tensor) -> Tensor:
        k = y.shape[-1]
        left = (y.square() @ before(k, y).mT).sqrt()
        rows, columns = torch.tril_indices(k, k, -1)
        return torch.asinh(y[..., rows, columns] / left[..., rows, columns])

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor, intermediates: object = None) -> Tensor:  # noqa: ARG002
        rows, columns = torch.tril_indices(y.shape[-1], y.shape[-1], -1)
        return (log_sech(x) * (1 + rows - columns).to(x)).sum(-1)


class StickBreaking(StickBreakingTransform):
    """(..., K − 1) -> points of the simplex, (..., K)."""

    def _call(self, x: Tensor) -> Tensor:
        u = x - log_shares(x)
        left = (pad(logsigmoid(-u), (0, 1)) @ before(x.shape[-1] + 1, x)).exp()
        return pad(u.sigmoid(), (0, 1), value=1.0) * left

    def _inverse(self, y: Tensor) -> Tensor:
        left = y @ before(y.shape[-1], y).mT
        return (y.log() - left.log())[..., :-1] + log_shares(y[..., :-1])

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        shares = log_shares(x)
        return (logsigmoid(x - shares) + shares.exp() * logsigmoid(shares - x)).sum(-1)


OURS: dict[type, Any] = {CorrCholeskyTransform: CorrCholesky, StickBreakingTransform: StickBreaking}


def lower(x: Tensor) -> Tensor:
    """Matrices with these numbers below the diagonal, row by row."""
    k = (1 + math.isqrt(1 + 8 * x.shape[-1])) // 2
    place = torch.zeros(k, k, dtype=torch.long)
    place[tuple(torch.tril_indices(k, k, -1))] = torch.arange(x.shape[-1])
    return x[..., place.to(x.device)].tril(-1)


def before(k: int, like: Tensor) -> Tensor:
    """The matrix that turns a row into the sums over the numbers before each one."""
    return torch.ones(k, k).triu(1).to(like)


def log_shares(x: Tensor) -> Tensor:
    """log(K − k) for k = 1, …, K − 1: with these, x = 0 gives equal shares."""
    return torch.arange(x.shape[-1], 0, -1).to(x).log()


def log_sech(x: Tensor) -> Tensor:
    """log(1 / cosh x)."""
    return math.log(2) - x - softplus(-2 * x)

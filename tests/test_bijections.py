"""Bijections onto correlations and simplices: torch's points, and a slope far out where torch's have none."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Dirichlet, LKJCholesky, MultivariateNormal, biject_to
from torch.distributions.constraints import Constraint, corr_cholesky, real, simplex
from torch.nn.functional import logsigmoid

from anila import rng, transform
from anila.density.bijections import bijection
from anila.density.log_density import value_and_grad
from anila.samplers.pathfinder import Point, starts

CASES = [(corr_cholesky, 1), (corr_cholesky, 6), (simplex, 1), (simplex, 4)]


def normal(n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=rng(0, "points"), dtype=torch.float64)


@pytest.mark.parametrize(("constraint", "numbers"), CASES)
def test_points_and_jacobians_are_those_of_torch(constraint: Constraint, numbers: int):
    """Sees numbers in another order, a share of the wrong rest, and a Jacobian that is not of this map."""
    x, ours, torchs = normal(8, numbers), bijection(constraint), biject_to(constraint)
    y = ours(x)
    torch.testing.assert_close(y, torchs(x))
    torch.testing.assert_close(ours.log_abs_det_jacobian(x, y), torchs.log_abs_det_jacobian(x, y))


@pytest.mark.parametrize(("constraint", "numbers"), CASES)
def test_the_way_back_keeps_its_digits_far_out(constraint: Constraint, numbers: int):
    """Sees what is left of a stick as 1 − what was taken: torch comes back from 40 to 18."""
    x = 20 * normal(8, numbers)
    ours = bijection(constraint)
    torch.testing.assert_close(ours.inv(ours(x)), x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_prior_has_its_slope_far_out(dtype: torch.dtype):
    """Sees shares clamped at 1 − eps: the density of LKJ(η) is sech^2η, that of Dirichlet(a) a product of sigmoids."""
    x = torch.tensor([[-30.0], [-3.0], [3.0], [30.0]], dtype=dtype)
    lkj = transform(c=LKJCholesky(2, torch.tensor(1.5, dtype=dtype)))
    torch.testing.assert_close(value_and_grad(lkj, x)[1], -3 * x.tanh())
    a = torch.tensor([0.5, 2.0, 3.0], dtype=dtype)
    u = torch.cartesian_prod(x[:, 0], x[:, 0]).requires_grad_()
    shares = torch.tensor([2.0, 1.0], dtype=dtype).log()
    exact = (a[:2] * logsigmoid(u - shares) + a.flip(0).cumsum(0).flip(0)[1:] * logsigmoid(shares - u)).sum()
    torch.testing.assert_close(value_and_grad(transform(w=Dirichlet(a)), u)[1], torch.autograd.grad(exact, u)[0])


def test_a_covariance_comes_home_from_far():
    """Sees paths that end where a correlation is clamped at ±1: 7 of 8 did."""
    factor = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.4, 0.0], [-0.5, 0.5, 0.5]])
    seen = torch.randn(30, 3, generator=rng(0, "data")) @ factor.T

    def model(corr: Tensor, mean: Tensor) -> Tensor:
        return MultivariateNormal(mean, scale_tril=corr).log_prob(seen).sum()

    f: Any = transform(model, corr=LKJCholesky(3, 1.0), mean=(real, 3))

    def at(x: Tensor) -> Point:
        return Point(x, *(part.double() for part in value_and_grad(f, x.float())))

    found = starts(at, 10 * torch.randn(8, f.dim, generator=rng(0, "start")).double(), 200, rng(0, "tune"))
    assert (found.far, found.kept) == (8, 8)

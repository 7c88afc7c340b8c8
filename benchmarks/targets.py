"""Ten targets and three more, each written once for PyTorch and JAX.

`f(xp, x)` is the log-density of x, (..., d) -> (...), with `xp` the module `torch` or `jax.numpy`: only names and
meanings that both have are used, so both sides of a comparison evaluate the same lines. `verify` checks values and
gradients of both at run time all the same.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from anila import rng, value_and_grad

F = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Target:
    """A log-density for either library, and where chains start.

    Args:
        f: (xp, x) -> log-density of x, (..., d) -> (...), unnormalised.
        dim: d.
        start_sd: Chains start at N(0, start_sd²), about twice as wide as the target where it is known.
        about: The formula, in words for the report.
    """

    f: F
    dim: int
    start_sd: float
    about: str

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """The log-density as PyTorch sees it, (chains, d) -> (chains,)."""
        return self.f(torch, x)

    def start(self, chains: int, seed: int) -> torch.Tensor:
        """Where the chains of a seed start, (chains, d) in float64: the same points for every sampler."""
        noise = torch.randn(chains, self.dim, generator=rng(seed, "start"), dtype=torch.float64)
        return self.start_sd * noise


SD = np.geomspace(1.0, 10**0.5, 10)


def gaussian(xp: Any, x: Any) -> Any:
    """Independent normals of variance 1 to 10: condition number 10."""
    return -((x / xp.asarray(SD)) ** 2).sum(-1) / 2


def banana(xp: Any, x: Any) -> Any:  # noqa: ARG001
    """x₀ ~ N(0, 1), x₁ | x₀ ~ N(x₀² − 1, 1)."""
    a, b = x[..., 0], x[..., 1]
    return -(a**2) / 2 - (b - a**2 + 1) ** 2 / 2


def funnel(xp: Any, x: Any) -> Any:
    """v = x₀ ~ N(0, 1), x₁..x₄ | v ~ N(0, exp v)."""
    v, rest = x[..., 0], x[..., 1:]
    return -(v**2) / 2 - ((rest**2).sum(-1) * xp.exp(-v) + 4 * v) / 2


def ring(xp: Any, x: Any) -> Any:
    """Radius 2 ± 0.4 in two dimensions."""
    r = xp.sqrt((x**2).sum(-1))
    return -((r - 2) ** 2) / (2 * 0.4**2)


def mixture(xp: Any, x: Any) -> Any:
    """Three unit normals in equal parts, centres 3 apart: chains cross between them."""
    a, b, c = (-((x - xp.asarray(centre)) ** 2).sum(-1) / 2 for centre in CENTRES)
    return xp.logaddexp(xp.logaddexp(a, b), c)


CENTRES = 3**0.5 * np.array([[0.0, 1.0], [0.75**0.5, -0.5], [-(0.75**0.5), -0.5]])


def double_well(xp: Any, x: Any) -> Any:  # noqa: ARG001
    """−2 (x² − 1)² + x/2."""
    return (-2 * (x**2 - 1) ** 2 + x / 2).sum(-1)


def heavy_tails(xp: Any, x: Any) -> Any:
    """Student's t in two dimensions, 5 degrees of freedom."""
    return -(5 + 2) / 2 * xp.log1p((x**2).sum(-1) / 5)


def light_tails(xp: Any, x: Any) -> Any:  # noqa: ARG001
    """−Σ xᵢ⁴ in two dimensions."""
    return -(x**4).sum(-1)


def regression_data() -> tuple[np.ndarray, np.ndarray]:
    """100 labels in {−1, 1} of 6 features (a constant, five normals of correlation 0.5), fixed for good."""
    draw = np.random.default_rng(20231012)
    common, own, u = draw.normal(size=(100, 1)), draw.normal(size=(100, 5)), draw.uniform(size=100)
    features = np.concatenate([np.ones((100, 1)), 0.5**0.5 * (common + own)], 1)
    truth = np.array([0.5, 1.0, -1.0, 0.5, 0.0, 0.0])
    return features, np.where(u < 1 / (1 + np.exp(-features @ truth)), 1.0, -1.0)


SIGNED = regression_data()[0] * regression_data()[1][:, None]


def regression(xp: Any, w: Any) -> Any:
    """Logistic likelihood of 100 observations, prior N(0, 2.5²) on 6 weights."""
    margin = w @ xp.asarray(SIGNED).T
    return -xp.logaddexp(0 * margin, -margin).sum(-1) - (w**2).sum(-1) / (2 * 2.5**2)


EFFECT = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERROR = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def eight_schools(xp: Any, x: Any) -> Any:
    """Non-centred: μ ~ N(0, 5²), τ ~ half-Cauchy(5), θ = μ + τ z, y ~ N(θ, σ²); x = (μ, log τ, z₁..z₈)."""
    mu, log_tau, z = x[..., :1], x[..., 1], x[..., 2:]
    residual = (xp.asarray(EFFECT) - mu - xp.exp(log_tau)[..., None] * z) / xp.asarray(ERROR)
    prior = -((mu[..., 0] / 5) ** 2) / 2 + log_tau - xp.log1p(xp.exp(2 * log_tau) / 25)
    return prior - (z**2).sum(-1) / 2 - (residual**2).sum(-1) / 2


def centred_schools(xp: Any, x: Any) -> Any:
    """Eight schools with x = (μ, log τ, θ₁..θ₈): a funnel."""
    mu, log_tau, theta = x[..., :1], x[..., 1], x[..., 2:]
    z, residual = (theta - mu) * xp.exp(-log_tau)[..., None], (xp.asarray(EFFECT) - theta) / xp.asarray(ERROR)
    prior = -((mu[..., 0] / 5) ** 2) / 2 + log_tau - xp.log1p(xp.exp(2 * log_tau) / 25)
    return prior - 8 * log_tau - (z**2).sum(-1) / 2 - (residual**2).sum(-1) / 2


def rotation(dim: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(dim).normal(size=(dim, dim)))[0]


WHITE = rotation(100) / np.geomspace(0.1, 10.0, 100)


def rotated(xp: Any, x: Any) -> Any:
    """A normal of 100 standard deviations from 0.1 to 10, along no axis."""
    return -((x @ xp.asarray(WHITE)) ** 2).sum(-1) / 2


def wide_data() -> np.ndarray:
    """500 signed rows of 31 features, whose scales go from 0.16 to 6.3 along no axis."""
    draw = np.random.default_rng(31)
    features = draw.normal(size=(500, 31)) * np.geomspace(0.16, 6.3, 31) @ rotation(31).T
    up = draw.uniform(size=500) < 1 / (1 + np.exp(-features @ (draw.normal(size=31) / 2)))
    return np.where(up[:, None], features, -features)


WIDE = wide_data()


def wide_regression(xp: Any, w: Any) -> Any:
    """Logistic likelihood of 500 observations, prior N(0, 2²) on 31 weights."""
    margin = w @ xp.asarray(WIDE).T
    return -xp.logaddexp(0 * margin, -margin).sum(-1) - (w**2).sum(-1) / 8


TARGETS: dict[str, Target] = {
    "gaussian": Target(gaussian, 10, 3.0, "10-d normal, variances 1 to 10"),
    "banana": Target(banana, 2, 2.0, "x₁ | x₀ ~ N(x₀² − 1, 1)"),
    "funnel": Target(funnel, 5, 1.0, "5-d, v ~ N(0, 1)"),
    "ring": Target(ring, 2, 2.0, "2-d, radius 2 ± 0.4"),
    "mixture": Target(mixture, 2, 3.0, "3 normals in 2-d, 3 sd apart"),
    "double well": Target(double_well, 1, 1.0, "1-d, −2 (x² − 1)² + x/2"),
    "heavy tails": Target(heavy_tails, 2, 2.0, "2-d Student t, 5 degrees"),
    "light tails": Target(light_tails, 2, 1.0, "2-d, −Σ x⁴"),
    "regression": Target(regression, 6, 1.0, "logistic, 100 × 6"),
    "eight schools": Target(eight_schools, 10, 1.0, "10-d, non-centred"),
}
MORE: dict[str, Target] = {
    "eight schools, centred": Target(centred_schools, 10, 1.0, "10-d, centred"),
    "rotated": Target(rotated, 100, 1.0, "100-d normal, condition 10⁴"),
    "wide regression": Target(wide_regression, 31, 1.0, "logistic, 500 × 31"),
}
"""Those that the table of momentum has besides."""


def verify(name: str, jax_value_and_grad: Callable[[Target, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> None:
    """Refuse a target whose value or gradient the two libraries disagree on.

    Args:
        name: In `TARGETS`.
        jax_value_and_grad: (target, x) -> values and gradients by JAX.

    Raises:
        ValueError: If any differs by more than 1e-5 of its size (or of 1 where it is smaller).
    """
    target = (TARGETS | MORE)[name]
    x = target.start(64, seed=-1)
    ours = [a.numpy() for a in value_and_grad(target, x)]
    for what, a, b in zip(("value", "gradient"), ours, jax_value_and_grad(target, x.numpy()), strict=True):
        if not np.allclose(a, b, rtol=1e-5, atol=1e-5):
            raise ValueError(f"{name}: {what} by torch and by jax differ by {np.abs(a - b).max():.2g}")

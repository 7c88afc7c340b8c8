"""The posteriors of `posteriors.py` in JAX, a function of one point each, and BlackJAX's NUTS on them.

`verify` compares values and gradients with those of PyTorch. Both solve `lotka_volterra` by the very same steps. Needs
the extra `bench`.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

import beside_blackjax as beside
from anila import value_and_grad
from targets import Target, centred_schools, eight_schools

jax, jnp = beside.jax, beside.jnp
Data = dict[str, Any]
F = Callable[[Any], Any]


def normal(x: Any, mean: Any, sd: Any) -> Any:
    """log N(x; mean, sd²) without its constant, summed."""
    return jnp.sum(-(((x - mean) / sd) ** 2) / 2 - jnp.log(sd))


def t_prior(x: Any, mean: float, scale: float, freedom: float) -> Any:
    return -(freedom + 1) / 2 * jnp.log1p(((x - mean) / scale) ** 2 / freedom)


def regression(features: Any, y: Any, prior: F = lambda b: 0.0) -> F:  # noqa: ARG005
    """y ~ N(features · b, σ), parameters (b, log σ), flat in σ."""
    gram, cross, square, n = features.T @ features, features.T @ y, y @ y, len(y)

    def f(x: Any) -> Any:
        b, log_sd = x[:-1], x[-1]
        residual = square - 2 * b @ cross + b @ gram @ b
        return prior(b) - residual / 2 * jnp.exp(-2 * log_sd) - n * log_sd + log_sd

    return f


def columns(data: Data, *names: str) -> Any:
    """A constant, then these."""
    parts = [data[name] for name in names]
    return jnp.stack([jnp.ones_like(parts[0]), *parts], 1)


def arma11(data: Data) -> F:
    y = data["y"]

    def f(x: Any) -> Any:
        mu, phi, theta, log_sd = x

        def error(last: Any, pair: Any) -> Any:
            now, before = pair
            e = now - mu - phi * before - theta * last
            return e, e

        _, errors = jax.lax.scan(error, 0.0, (y, jnp.concatenate([mu[None], y[:-1]])))
        prior = normal(mu, 0, 10.0) + normal(phi, 0, 2.0) + normal(theta, 0, 2.0) + t_prior(jnp.exp(log_sd), 0, 2.5, 1)
        return prior + log_sd - jnp.sum(errors**2) / 2 * jnp.exp(-2 * log_sd) - len(y) * log_sd

    return f


def diamonds(data: Data) -> F:
    features = data["X"][:, 1:]
    features = jnp.concatenate([features - features.mean(0), jnp.ones((len(features), 1))], 1)
    plain = regression(features, data["Y"])

    def f(x: Any) -> Any:
        return plain(x) + normal(x[:-2], 0, 1.0) + t_prior(x[-2], 8, 10, 3) + t_prior(jnp.exp(x[-1]), 0, 10, 3)

    return f


def earn_height(data: Data) -> F:
    return regression(columns(data, "height"), data["earn"])


def gp_pois_regr(data: Data) -> F:
    at, counts = data["x"], data["k"]
    square, eye = (at[:, None] - at) ** 2, jnp.eye(len(at))

    def f(x: Any) -> Any:
        rho, alpha, z = jnp.exp(x[0]), jnp.exp(x[1]), x[2:]
        rate = jnp.linalg.cholesky(alpha**2 * jnp.exp(-square / (2 * rho**2)) + 1e-10 * eye) @ z
        prior = 25 * x[0] - 4 * rho - alpha**2 / 8 + x[1] - jnp.sum(z**2) / 2
        return prior + jnp.sum(counts * rate - jnp.exp(rate))

    return f


def hmm_drive_1(data: Data) -> F:
    u, v, centre = data["u"], data["v"], jnp.array([0.0, 3.0])

    def f(x: Any) -> Any:
        phi, lam = (jnp.stack([x[k], x[k] + jnp.exp(x[k + 1])]) for k in (2, 4))
        own, other = jax.nn.log_sigmoid(x[:2]), jax.nn.log_sigmoid(-x[:2])
        move = jnp.array([[own[0], other[0]], [other[1], own[1]]])
        emitted = -(((u[:, None] - phi) / data["tau"]) ** 2 + ((v[:, None] - lam) / data["rho"]) ** 2) / 2

        def onward(alpha: Any, seen: Any) -> Any:
            return jax.nn.logsumexp(alpha[:, None] + move, 0) + seen, None

        alpha, _ = jax.lax.scan(onward, emitted[0], emitted[1:])
        prior = jnp.sum(data["alpha"] * move) + x[3] + x[5] + normal(phi, centre, 1.0) + normal(lam, centre, 1.0)
        return prior + jax.nn.logsumexp(alpha)

    return f


def kidscore_interaction_c2(data: Data) -> F:
    h, q = data["mom_hs"] - 0.5, data["mom_iq"] - 100
    return regression(jnp.stack([jnp.ones_like(h), h, q, h * q], 1), data["kid_score"])


def kilpisjarvi(data: Data) -> F:
    def prior(b: Any) -> Any:
        return normal(b[0], data["pmualpha"], data["psalpha"]) + normal(b[1], data["pmubeta"], data["psbeta"])

    return regression(columns(data, "x"), data["y"], prior)


STEPS_A_YEAR = 5


def lotka_volterra(data: Data) -> F:
    seen = jnp.log(jnp.concatenate([data["y_init"][None], data["y"]]))

    def f(x: Any) -> Any:
        theta, first, log_sd = jnp.exp(x[:4]), x[4:6], x[6:]
        own, other = theta[::2] * jnp.array([1.0, -1.0]), theta[1::2] * jnp.array([-1.0, 1.0])

        def rate(z: Any) -> Any:
            return z * (own + other * z[::-1])

        def step(z: Any, _: Any) -> Any:
            h = 1 / STEPS_A_YEAR
            a = rate(z)
            b = rate(z + h / 2 * a)
            c = rate(z + h / 2 * b)
            return z + h / 6 * (a + 2 * (b + c) + rate(z + h * c)), z

        last, path = jax.lax.scan(step, jnp.exp(first), None, len(data["ts"]) * STEPS_A_YEAR)
        path = jnp.concatenate([path[::STEPS_A_YEAR], last[None]])
        prior = normal(theta[::2], 1, 0.5) + normal(theta[1::2], 0.05, 0.05) + jnp.sum(x[:4])
        prior = prior + normal(log_sd, -1, 1.0) + normal(first, math.log(10), 1.0)
        return prior + normal(seen, jnp.log(path), jnp.exp(log_sd) + 0 * seen)

    return f


def mesquite(data: Data) -> F:
    names = ("diam1", "diam2", "canopy_height", "total_height", "density", "group")
    return regression(columns(data, *names), data["weight"])


def nes(data: Data) -> F:
    data = data | {f"age{k}": 1.0 * (data["age_discrete"] == k) for k in (2, 3, 4)}
    names = ("real_ideo", "race_adj", "age2", "age3", "age4", "educ1", "gender", "income")
    return regression(columns(data, *names), data["partyid7"])


MODELS: dict[str, Callable[[Data], F]] = {
    model.__name__: model
    for model in (
        arma11, diamonds, earn_height, gp_pois_regr, hmm_drive_1, kidscore_interaction_c2, kilpisjarvi, lotka_volterra,
        mesquite, nes,
    )
}  # fmt: skip
SCHOOLS = {"schools_centred": centred_schools, "schools_not_centred": eight_schools}


def read(name: str, data: Data) -> F:
    """A posterior as a function of one point."""
    if name in SCHOOLS:
        return partial(SCHOOLS[name], jnp)
    return MODELS[name]({key: jnp.asarray(x.numpy()) for key, x in data.items()})


def verify(name: str, ours: Callable[[torch.Tensor], torch.Tensor], theirs: F, dim: int) -> None:
    """Refuse a posterior on which the two libraries disagree at 64 points of N(0, 1).

    Raises:
        ValueError: If a value, up to a constant, or a gradient differs by more than 1e-6 of its size.
    """
    x = np.random.default_rng(0).normal(size=(64, dim))
    value, grad = (a.numpy() for a in value_and_grad(ours, torch.tensor(x)))
    same, slope = (np.asarray(a) for a in jax.vmap(jax.value_and_grad(theirs))(jnp.asarray(x)))
    there = np.isfinite(value)
    if not there.any() or not np.array_equal(there, np.isfinite(same)):
        raise ValueError(f"{name}: torch and jax are finite at other points")
    same = same - np.median((same - value)[there])
    for what, a, b in (("value", value[there, None], same[there, None]), ("gradient", grad[there], slope[there])):
        wrong = np.abs(a - b).max(1) / (1 + np.abs(a).max(1))
        if wrong.max() > 1e-6:
            raise ValueError(f"{name}: {what} by torch and by jax differ by {wrong.max():.2g} of their size")


def starts_of_stan(f: F, chains: int, dim: int, seed: int) -> np.ndarray:
    """U(−2, 2), drawn again where f is not finite, (chains, d)."""
    draw = np.random.default_rng([seed, 1])
    x = draw.uniform(-2, 2, (chains, dim))
    while not (there := np.isfinite(np.asarray(jax.vmap(f)(jnp.asarray(x))))).all():
        x = np.where(there[:, None], x, draw.uniform(-2, 2, (chains, dim)))
    return x


def nuts(f: F, dim: int, chains: int, warm_up: int, steps: int, dense: bool) -> beside.Runner:
    """BlackJAX's NUTS and its warm-up, compiled."""
    runner = beside.Runner("nuts", Target(lambda _, x: f(x), dim, 1.0, ""), warm_up, 0, dense)
    runner.compile(chains, steps)
    return runner

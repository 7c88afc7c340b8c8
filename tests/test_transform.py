"""Named parameters with constraints: their density on the free scale, and draws under their names."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Beta,
    Dirichlet,
    Distribution,
    Exponential,
    Gamma,
    HalfCauchy,
    HalfNormal,
    Independent,
    InverseGamma,
    LKJCholesky,
    MultivariateNormal,
    Normal,
    Poisson,
    PowerTransform,
    TransformedDistribution,
    Uniform,
)
from torch.distributions.constraints import corr_cholesky, interval, less_than, positive, real, simplex

from anila import anisotropic_mala, mala, rng, sample, transform, tune
from anila.density.log_density import value_and_grad
from anila.samplers.flat import filled
from exact import as_users_run_it

EFFECT = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0], dtype=torch.float64)
ERROR = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0], dtype=torch.float64)


def schools(mu: Tensor, tau: Tensor, theta: Tensor) -> Tensor:
    return Normal(mu, tau).log_prob(theta).sum() + Normal(theta, ERROR).log_prob(EFFECT).sum()


EIGHT = transform(schools, mu=Normal(0.0, 5.0), tau=HalfCauchy(5.0), theta=(real, 8))


def points(f: Any, n: int = 6) -> Tensor:
    return torch.randn(n, f.dim, generator=rng(0, "points"), dtype=torch.float64)


PRIORS = {
    "real": Normal(0.5, 2.0),
    "positive": Gamma(2.0, 3.0),
    "half a line": Exponential(0.7),
    "interval": Uniform(-1.0, 3.0),
    "unit": Beta(2.0, 3.0),
    "two": Independent(HalfNormal(torch.tensor([1.0, 2.0])), 1),
    "simplex": Dirichlet(torch.tensor([1.5, 2.0, 3.0])),
    "correlation": LKJCholesky(2, 1.5),
}


@pytest.mark.parametrize("name", PRIORS)
def test_the_density_keeps_its_mass(name: str):
    """Sees a Jacobian that is missing, of the wrong sign, or counted twice: ∫ exp f dx would not be 1."""
    f = transform(theta=PRIORS[name])
    t = torch.linspace(-40, 40, 801, dtype=torch.float64) if f.dim == 1 else torch.linspace(-12, 12, 241).double()
    mass = f(torch.cartesian_prod(*[t] * f.dim).view(-1, f.dim)).exp().view([len(t)] * f.dim)
    for _ in range(f.dim):
        mass = torch.trapezoid(mass, t)
    assert mass.item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("prior", [
    lambda one: Gamma(2 * one, 4 * one), lambda one: HalfCauchy(0.5 * one), lambda one: Uniform(-2 * one, 2 * one),
    lambda one: InverseGamma(2 * one, 4 * one), lambda one: Independent(Beta(torch.stack([one, 2 * one]), 3 * one), 1),
    lambda one: TransformedDistribution(Gamma(2 * one, one), [PowerTransform(2 * one)]),
    lambda one: Gamma(2 * one, one).expand([2, 3]),
    lambda one: MultivariateNormal(one.new_zeros(2), one.expand(2).diag()),
])  # fmt: skip
def test_a_prior_counts_in_the_precision_of_the_chains(prior: Callable[[Tensor], Distribution]):
    """Sees chains in double slide over steps of 1e-7: torch rounds what `Gamma` in single precision is asked."""
    one = torch.tensor(1.0)
    f, exact = transform(theta=prior(one)), transform(theta=prior(one.double()))
    x = points(f)
    assert f(x).dtype == torch.float64
    torch.testing.assert_close(f(x) - f(x)[0], exact(x) - exact(x)[0], rtol=1e-13, atol=1e-13)


def test_a_prior_that_torch_has_in_single_precision_alone_stays_so():
    prior = getattr(torch.distributions, "GeneralizedPareto", None)
    if prior is None:
        pytest.skip("this torch has no GeneralizedPareto")
    f = transform(theta=prior(0.0, 1.0, 0.5))
    assert f(points(f)).dtype == torch.float64


def test_a_model_of_one_draw_is_that_of_all_chains():
    """Sees parameters that are mixed up, a prior that is lost, and chains that see each other."""
    x = points(EIGHT, 8)
    mu, log_tau, theta = x[:, :1], x[:, 1:2], x[:, 2:]
    hierarchy = -((theta - mu) ** 2) / (2 * (2 * log_tau).exp()) - log_tau
    likelihood = -((EFFECT - theta) ** 2) / (2 * ERROR**2)
    prior = -(mu**2) / 50 - (1 + (2 * log_tau).exp() / 25).log() + log_tau
    difference = EIGHT(x) - (hierarchy + likelihood).sum(1) - prior[:, 0]
    torch.testing.assert_close(difference, difference[:1].expand(8))


MIXED = transform(
    lambda a, b, L, w, low: 0 * (a + b.sum() + L.sum() + w.sum() + low), a=real, b=(interval(-1.0, 2.0), 2, 3),
    L=(corr_cholesky, 3, 3), w=(simplex, 2, 3), low=less_than(0.0),
)  # fmt: skip


def test_one_point_is_told_as_many_are():
    """Sees a point alone refused for what is a single number in it, and a page of bijections where f is shown."""
    x = torch.arange(10.0)
    alone, many = EIGHT.constrain(x), EIGHT.constrain(x[None])
    assert all(torch.equal(alone[name], many[name][0]) for name in alone)
    assert torch.allclose(EIGHT.unconstrain(alone), x)
    assert repr(EIGHT) == "log-density of 10 numbers: mu (1), tau (1), theta (8)"


@pytest.mark.parametrize(
    ("x0", "message"),
    [
        (np.zeros(10), r"^x0 must be a .* of shape \(10,\); x0\[None\] is one chain"),
        (np.zeros((4, 3)), r"^x must be \(chains, 10\), for mu \(1\), tau \(1\), theta \(8\); got shape \(4, 3\)"),
        ({"mu": 0.0, "tau": [-1.0, 1.0], "theta": np.zeros(8)}, "^tau must lie strictly inside"),
        ({"mu": 0.0, "tau": 1.0}, r"^expected values for mu .*; got mu, tau$"),
    ],
)
def test_wrong_starts_are_what_tune_speaks_of(x0: Any, message: str):
    """Sees the log-density blamed, in the words for what is none."""
    with pytest.raises(ValueError, match=message):
        tune(EIGHT, x0, 100, 0)


def test_names_line_up():
    """Sees an order in which names, numbers and coordinates of x do not agree, or a way back to other points."""
    x = points(MIXED)
    values = MIXED.constrain(x)
    numbers = dict(zip(MIXED.names, MIXED.numbers(x).T, strict=True))
    assert torch.equal(numbers["b[1,2]"], values["b"][:, 1, 2])
    assert torch.equal(numbers["L[2,1]"], values["L"][:, 2, 1])
    assert len(MIXED.free_names) == MIXED.dim
    assert MIXED.free_names[MIXED.free_names.index("b[0,0]")] == MIXED.names[1]
    assert "free w[1,0]" in MIXED.free_names
    torch.testing.assert_close(MIXED.unconstrain(values), x)
    assert bool((values["low"] < 0).all() and (values["b"].abs() <= 2).all())


def test_a_point_where_rounding_leaves_the_support_is_rejected_and_not_an_error():
    """Sees a run that dies of a scale that became 0 or infinite, and validation that is switched off for good."""
    far = torch.tensor([[800.0, -800.0], [0.0, 0.0]], dtype=torch.float64)
    f = transform(lambda sd, p: Normal(0.0, sd).log_prob(p), sd=HalfNormal(1.0), p=Exponential(1.0))
    assert torch.isfinite(f(torch.cat([far, far.flip(1)]))).tolist()[1] is True
    sample(mala(f, 500.0), torch.zeros(8, 2, dtype=torch.float64), 20, rng(0, "chains"))
    with pytest.raises(ValueError, match="within the support"):
        Exponential(1.0).log_prob(torch.tensor(-1.0))


THREE: Any = 3.0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: transform(schools, mu=real, tau=positive), "must take mu, tau by name: missing.*theta"),
        (lambda: transform(a=THREE), "a must be a constraint.*got 3.0"),
        (lambda: transform(a=Poisson(3.0)), "a: torch has no bijection onto"),
        (lambda: transform(a=simplex), r"a: Simplex\(\) needs another shape than \(\)"),
        (lambda: transform(), "needs parameters"),
        (lambda: transform(lambda a: a * 2, a=(real, 3))(torch.zeros(2, 3)), r"got shape \(3,\): add .sum\(\)"),
        (lambda: transform(lambda a: a if a > 0 else -a, a=real)(torch.zeros(2, 1)), "use torch.where in place of if"),
        (lambda: transform(lambda a: a + torch.randn(()), a=real)(torch.zeros(2, 1)), "or draw"),
        (lambda: EIGHT(torch.zeros(4, 3)), r"x must be \(chains, 10\), for mu \(1\), tau \(1\), theta \(8\); got"),
        (lambda: EIGHT.unconstrain({"mu": 0.0}), "expected values for mu .*; got mu"),
        (lambda: EIGHT.unconstrain({"mu": 0.0, "tau": -1.0, "theta": torch.zeros(8)}), "tau must lie strictly inside"),
        (lambda: EIGHT.unconstrain({"mu": 0.0, "tau": 1.0, "theta": torch.zeros(7)}), r"theta must be of shape \(8,\)"),
    ],
)
def test_a_mistake_is_named(wrong: Callable[[], object], message: str):
    """Sees a mistake that is told in torch's words alone, or not at all."""
    with as_users_run_it(), pytest.raises((ValueError, TypeError), match=message):
        wrong()


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (
            lambda x: Exponential(1.0).log_prob(x).sum(-1),
            r"left the support of Exponential in f, .*anila.transform\(log_density, x=Exponential\(",
        ),
        (lambda x: Uniform(0.0, 1.0).log_prob(x).sum(-1), "If f is flat, as Uniform is.*anila.transform"),
    ],
    ids=["outside", "flat"],
)
def test_a_density_with_an_edge_names_the_remedy(f: Callable[[Tensor], Tensor], message: str):
    """Sees a reason that leads nowhere; the remedy it gives runs."""
    with pytest.raises(ValueError, match=message):
        sample(mala(f, 4.0), torch.full((4, 1), 0.5), 50, rng(0, "chains"))
    for law in (Exponential(1.0), Uniform(0.0, 1.0)):
        sample(mala(transform(x=law.expand([1])), 1.0), torch.zeros(4, 1), 5, rng(0, "chains"))


def run() -> Any:
    """A short run of the eight schools, and its trace."""
    kernel = anisotropic_mala(EIGHT, threshold=1.0, step_size=0.2)
    return sample(kernel, points(EIGHT, 4), 40, rng(0, "chains"), keep_every=3)[1]


def test_draws_have_their_names():
    """Sees draws on the free scale, parameters that a summary leaves out, and a trace that forgets names."""
    trace = run()
    draws = trace.draws()
    assert {name: tuple(value.shape) for name, value in draws.items()} == {
        "mu": (13, 4), "tau": (13, 4), "theta": (13, 4, 8),
    }  # fmt: skip
    assert torch.equal(draws["tau"], trace["x"][..., 1].exp())
    table = trace.summary()
    assert [line.split()[0] for line in table.splitlines()[6:-1]] == EIGHT.names
    assert f"{draws['tau'].mean():.4g}" in next(line for line in table.splitlines() if line.startswith("tau"))
    assert list(type(trace).beside([trace, trace]).draws()) == ["mu", "tau", "theta"]


def test_arviz_gets_names_and_what_the_kernel_reported():
    """Sees axes that are swapped, infos of other steps than the draws', and an energy that is not that of the draw."""
    pytest.importorskip("arviz_base", reason="needs the extra arviz")
    trace = run()
    tree: Any = trace.to_arviz(dims={"theta": ["school"]}, coords={"school": list("ABCDEFGH")})
    posterior, stats = tree["posterior"], tree["sample_stats"]
    assert posterior["theta"].dims == ("chain", "draw", "school")
    assert np.array_equal(posterior["theta"].sel(school="C")[1], trace["x"][:, 1, 4])
    assert np.allclose(stats["lp"][2], EIGHT(trace["x"][:, 2]))
    assert np.array_equal(stats["energy"], -stats["lp"])
    assert np.allclose(stats["acceptance_rate"][3, 5], trace["accept_prob"][15:18, 3].mean())
    assert not stats["diverging"].any()


def test_arviz_gets_the_warm_up():
    """Sees windows that are lost, or in which settings stand beside another window's acceptance."""
    pytest.importorskip("arviz_base", reason="needs the extra arviz")
    tuned = tune(lambda **kw: mala(EIGHT, **kw), points(EIGHT, 4), 80, 0)
    stats = run().to_arviz(warm_up=tuned.history)["warmup_sample_stats"]
    assert stats["step_size"].shape == stats["acceptance_rate"].shape == (4, 8)
    first, second = stats["step_size"][0, :2].values
    assert second == pytest.approx(first * np.exp(3 * (stats["acceptance_rate"][:, 0].mean() - 0.57)))


def test_a_proposal_that_is_not_finite_is_a_divergence():
    """Sees divergences that ArviZ is not told of, or is told at other draws."""
    pytest.importorskip("arviz_base", reason="needs the extra arviz")

    def wall(x: Tensor) -> Tensor:
        return torch.where(x > 0, -x, -math.inf).sum(-1)

    _, trace = sample(mala(wall, 0.3), torch.ones(4, 1), 30, rng(0, "chains"), keep_every=5)
    wrong = (trace["accept_prob"] == 0).unflatten(0, (6, 5)).any(1).T
    assert 0 < int(wrong.sum()) < wrong.numel()
    assert np.array_equal(trace.to_arviz()["sample_stats"]["diverging"], wrong)


def test_nothing_kept_is_said():
    """Sees an empty data tree."""
    pytest.importorskip("arviz_base", reason="needs the extra arviz")
    _, trace = sample(mala(EIGHT, 0.1), points(EIGHT), 3, rng(0, "chains"))
    with pytest.raises(ValueError, match="none were kept: sample"):
        trace.to_arviz()


def test_a_missing_arviz_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    """Sees an error that does not say how to get it."""
    monkeypatch.setitem(__import__("sys").modules, "arviz_base", None)
    with pytest.raises(ImportError, match=r"pip install 'anila\[arviz\]'"):
        run().to_arviz()


def test_a_proposal_that_is_no_number_is_rejected_and_ends_no_run():
    """Sees a prior with checks of its own, or a covariance without a factor, that raises for all chains."""

    def process(scale: Tensor, z: Tensor) -> Tensor:
        cov = scale * torch.ones(3, 3) + (scale < 1e6) * torch.eye(3)
        return MultivariateNormal(torch.zeros(3), cov).log_prob(z)

    prior = Independent(Normal(torch.zeros(3), 1.0, validate_args=True), 1, validate_args=True)
    f = transform(process, scale=positive, z=prior)
    x = torch.zeros(4, 4)
    x[1], x[2, 0] = math.nan, 80.0
    alone = f(x[:1])
    found = f(x)
    assert found.isnan().tolist() == [False, True, True, False]
    torch.testing.assert_close(found[[0, 3]], alone.expand(2))
    slopes = value_and_grad(f, x)[1]
    assert bool(slopes[[0, 3]].isfinite().all())


@pytest.mark.filterwarnings("ignore:torch.cholesky is deprecated")
@pytest.mark.parametrize(
    "factor",
    [
        torch.linalg.cholesky,
        lambda A: torch.linalg.cholesky(A, upper=True),
        lambda A: torch.linalg.cholesky(input=A),
        lambda A: torch.cholesky(A, True),
    ],
)
def test_a_factor_is_the_one_that_was_asked_for(factor: Callable[[Tensor], Tensor]):
    """Sees a lower factor in the place of an upper one, and arguments by name that end the run."""
    A = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    f = transform(lambda scale: (factor(scale * A) * torch.tensor([[1.0, 2.0], [4.0, 8.0]])).sum(), scale=real)
    expected = (factor(A) * torch.tensor([[1.0, 2.0], [4.0, 8.0]])).sum()
    found = f(torch.tensor([[1.0], [-1.0]]))
    torch.testing.assert_close(found[0], expected)
    assert bool(found[1].isnan())


def test_a_law_that_fills_the_floats_is_named_and_a_wide_one_is_not():
    """Sees 1/s on s > 0, between the smallest float and the largest, called good, and a wide law called improper."""
    u = (torch.rand(200, 8, 3, generator=rng(0, "draws")) - 0.5).clamp(-0.499, 0.499)
    numbers = torch.stack([(176 * u[..., 0]).exp(), (torch.pi * u[..., 1]).tan(), (u[..., 2] + 0.5) ** 10], -1)
    found = filled(numbers, ["s", "cauchy", "gamma"])
    assert found is not None
    assert found.startswith("s (")
    assert "cauchy" not in found
    assert "gamma" not in found

"""Steps as C++: every operation that is translated gives torch's numbers, and what mixes chains is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch import distributions as D
from torch.distributions import Exponential, Independent, StudentT
from torch.nn import functional

from anila.density import targets
from anila.density.log_density import LogDensity
from anila.density.networks import mlp, toy
from anila.density.transform import transform
from anila.rng import rng
from anila.samplers import anisotropic, anisotropic_ghmc, anisotropic_mala, barker, ghmc, hmc, langevin, mala, sample
from anila.samplers.compiled.graphs import GRAPHS, REPLACED
from anila.samplers.compiled.lanes import FLAGS, Lanes
from anila.samplers.compiled.torch_internals import simple_operations, trace
from anila.samplers.compiled.variables import Unsupported
from anila.samplers.compiled.vocabulary import ARITHMETIC, POWERS
from compilers import compiling

pytestmark = compiling

aten = torch.ops.aten
SPECIAL = [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1.0, -1.0, 1e-40, 1e-7, -1e-7, 0.3, -0.3, 20.0, -20.0]
SPECIAL += [90.0, -90.0, -104.0, 3e4, -3e4, 1e30, 0.5, 2.0, 100.0, -100.0]


def lanes_of(f: Callable[..., Any], x: Tensor, *constants: Tensor, of_one: bool = False) -> Any:
    """The C++ that computes f(x, *constants) as an info of a step that moves x by its noise.

    Args:
        of_one: Whether a step of one chain is traced.
    """
    x = x[:1] if of_one else x

    def step(x: Tensor, noise: Tensor, *constants: Tensor) -> tuple[Tensor, ...]:
        found = f(x, *constants)
        return (x + noise, *(found if isinstance(found, tuple) else (found,)))

    pure = torch.func.functionalize(step, remove="mutations")
    graph = trace(pure, [x, x.clone(), *constants], {**simple_operations(), **REPLACED})
    return Lanes(graph, 1, 1, len(x))


def found_by(f: Callable[..., Any], x: Tensor, *constants: Tensor, of_one: bool = False) -> list[Tensor]:
    """f at x and at x + 1 by C++: (2, chains, ...) of each of its results."""
    lanes, steps = lanes_of(f, x, *constants, of_one=of_one), torch.ones(2, *x.shape, dtype=x.dtype)
    last, *infos, _ = lanes([x, steps], list(constants), 0)
    torch.testing.assert_close(last, x + 2, equal_nan=True)
    return infos


def assert_same(f: Callable[..., Any], x: Tensor, *constants: Tensor, of_one: bool = False) -> None:
    """The numbers of torch, NaN and infinities too."""
    expected = [f(x, *constants), f(x + 1, *constants)]
    columns = zip(*(e if isinstance(e, tuple) else (e,) for e in expected), strict=True)
    for found, column in zip(found_by(f, x, *constants, of_one=of_one), columns, strict=True):
        torch.testing.assert_close(found, torch.stack(column), rtol=1e-6, atol=3e-7, equal_nan=True)


def arguments(op: Any, x: Tensor) -> list[Any]:
    """x; for every further tensor its first column, for every number 0.3."""
    found, schema = [], [a for a in op._schema.arguments if not a.kwarg_only and not a.has_default_value()]
    for k, argument in enumerate(schema):
        is_tensor = str(argument.type) == "Tensor"
        found.append((x[:, :1] if k else x) if is_tensor else 0.3)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_arithmetic_gives_the_numbers_of_torch(dtype: torch.dtype):
    """Every operation of the table, at special values and each combination of two; in one function, to compile once."""
    ops = [op for op in ARITHMETIC if op is not aten.where.self]
    logical = {op for op in ops if op.name().split("::")[1].startswith(("bitwise", "logical"))}
    values = torch.tensor(SPECIAL, dtype=dtype)
    x = torch.stack([values, *(values.roll(k) for k in range(1, len(values)))], 1)

    def one(op: Any, x: Tensor) -> Tensor:
        given = arguments(op, x > 0 if op in logical else x)
        found = op(*given)
        return found.to(x) if found.dtype is torch.bool else found

    def all_of_them(x: Tensor) -> tuple[Tensor, ...]:
        more = [functional.leaky_relu(x, 0.05), torch.where(x > 0.3, x, -x), x.clamp(max=1.0), x.clamp(-1, 1)]
        more += [x**p for p in POWERS] + [(x > 0).to(x), x.add(x[:, 1:2], alpha=1), 1 / x.abs()]
        return (*(one(op, x) for op in ops), *more)

    names = [*map(str, ops), "leaky", "where", "clamp", "clamp", *map(str, POWERS), "to", "add", "1 / abs"]
    lanes = lanes_of(all_of_them, x)
    _, *infos, _ = lanes([x, torch.zeros(1, *x.shape, dtype=dtype)], [], 0)
    for name, found, expected in zip(names, infos, all_of_them(x), strict=True):
        torch.testing.assert_close(
            found[0], expected, rtol=1e-6, atol=3e-7, equal_nan=True, msg=lambda m, name=name: f"{name}: {m}"
        )


W, B, ONES = torch.randn(7, 3, generator=rng(0, "w")), torch.randn(7, generator=rng(0, "b")), torch.ones(5, 1)
CASES: dict[str, tuple[tuple[int, ...], Callable[..., Any], list[Tensor]]] = {
    "axes of an event": ((5, 3, 4), lambda x: (x.sum(2), x.mean(1), x.mean((1, 2)), x.amax(1, True), x.amin(2)), []),
    "all of an event": ((5, 3), lambda x: ((x > 0).any(1).to(x), (x > 0).all(1).to(x), x.norm(dim=1)), []),
    "log-sum-exp": ((5, 3), lambda x: (x.logsumexp(1), x.softmax(1), functional.logsigmoid(x)), []),
    "truths as numbers": ((5, 3), lambda x: (x * (x > 0) + (x > 1), (x > 0) / x), []),
    "views": ((5, 3, 4), lambda x: (x[:, 1], x[:, :, 1:3], x.mT, x.mT * 1, x[:, None] * 2, x.flatten(1)), []),
    "an expanded view": ((5, 3, 4), lambda x: x[:, :1].expand(5, 3, 4), []),
    "a number as an axis": ((5, 3), lambda x: (x * x[:, 0].view(-1, 1), x[:, 1].reshape(5, 1, 1) * x[:, None]), []),
    "views as rows": ((5, 6), lambda x, w: (x[:, 1:4] @ w.T, x[:, ::2] @ w.T, x[:, :1].expand(5, 3) @ w.T), [W]),
    "pieces": ((5, 3), lambda x: (torch.cat([x, -x[:, :1]], 1), torch.stack([x, x * 2], 1)), []),
    "slices written": ((5, 3), lambda x: x.slice_scatter(x[:, :1] * 2, 1, 1, 2).select_scatter(x[:, 0] - 1, 1, 2), []),
    "products": ((5, 3), lambda x, w, b: (functional.linear(x, w, b), x @ w.T, x @ w[0]), [W, B]),
    "the same for all chains": ((5, 3), lambda x, w, b: x * w[:1] * b[1] + w[0] - w.sum(), [W, B]),
    "a row for each chain": ((5, 3), lambda x, w, o: x * w[:5] + o * w[:5, :1], [W, ONES]),
    "truth for all chains": ((5, 3), lambda x, w: torch.where(w[0] > 0, x, -x), [W]),
    "truths": ((5, 3), lambda x: torch.where(((x > 0) == (x > 0.5)) & ~((x > 1) != (x < 2)), x, -x), []),
    "copies": ((5, 3), lambda x: torch.zeros(5, 3).copy_(x[:, :1]), []),
    "gelu, silu": ((5, 3), lambda x: (functional.gelu(x), functional.silu(x)), []),
    "softplus, elu": ((5, 3), lambda x: (functional.softplus(x), functional.elu(x)), []),
    "nothing": ((5, 3), lambda x: (torch.cat([x, x[:, :0]], 1), x[:, 3:].sum(1)), []),
    "one chain": ((1, 3), lambda x, w: (x @ w.T, x.sum(1), x * w[:1]), [W]),
}


@pytest.fixture
def hastily(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled in half the time, where it is the translation that is tested."""
    monkeypatch.setattr("anila.samplers.compiled.lanes.FLAGS", ("-O1", *FLAGS[1:]))


@pytest.mark.usefixtures("hastily")
@pytest.mark.parametrize("case", CASES)
def test_a_translated_step_gives_the_numbers_of_torch(case: str):
    """Sees a view indexed wrongly, a broadcast along the wrong axis, or weights in another order."""
    shape, f, constants = CASES[case]
    assert_same(f, torch.randn(shape, generator=rng(0, case)), *constants)


EYE, LIST, PAIR = torch.eye(4), torch.tensor([3, 0, -1, 2, 3]), torch.tensor([[0, 1], [2, 0]])


def factors(x: Tensor, eye: Tensor, lower: Tensor) -> tuple[Tensor, ...]:
    """Triangular systems every way round, and a Cholesky factor of every chain."""
    solve, own = torch.linalg.solve_triangular, x.tril() + 3 * eye
    factor, failed = torch.linalg.cholesky_ex(x @ x.mT + eye - 3 * x[:, :1, :1].relu())
    return (
        solve(own, x, upper=False), solve(own.mT, x, upper=True), solve(own, x, upper=False, left=False),
        solve(own.mT, x, upper=True, left=False), solve(lower[None], x, upper=False), x @ x.mT, lower @ x,
        solve(own[:, None], lower[None], upper=False), solve(lower, x[:, None], upper=False),
        solve(own / 3, x, upper=False, unitriangular=True), solve(own.mT / 3, x, upper=True, unitriangular=True),
        torch.where((failed == 0)[:, None, None], factor.tril(), 7.0),
    )  # fmt: skip


def elements(x: Tensor, some: Tensor, pair: Tensor) -> tuple[Tensor, ...]:
    """Listed, turned round, padded and added up."""
    listed, zero = x[:, some], torch.zeros(len(x), 4, 4)
    return (
        listed, x[:, :, some], x[:, pair, pair], x[:, :, None, pair], x.flip(1), x.flip((1, 2)), x.cumsum(2),
        x[:, some[:, None], pair[0]],
        torch.ops.aten.index_put(zero, [None, some], listed, True),
        x.gather(1, pair.expand(len(x), 2, 2)), x.scatter_add(1, pair.expand(len(x), 2, 2), x[:, :2, :2]),
        functional.pad(x, (1, 2, -1, 0), value=0.5), x.prod(1), x.permute(2, 1, 0).reshape(16, -1).T * 1,
    )  # fmt: skip


@pytest.mark.parametrize(("f", "constants"), [(elements, (LIST, PAIR)), (factors, (EYE, EYE.cumsum(1).mT))])
def test_a_step_of_one_chain_stands_for_that_of_each(f: Callable[..., Any], constants: tuple[Tensor, ...]):
    """Sees an element read from elsewhere, a system solved from the wrong end, or a factor of what has none."""
    assert_same(f, torch.randn(5, 4, 4, generator=rng(0, "matrices")), *constants, of_one=True)


@pytest.mark.parametrize("chains", [1, 7, 8, 9, 16, 17, 24, 25, 40, 100])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_chain_goes_the_same_way_beside_however_many_in_however_many_threads(chains: int, threads: int):
    """To the bit. Sees lanes without a chain read or written, and chains that no thread has."""

    def f(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        return (x @ w).exp().logsumexp(1), x + x[:, :1]

    w, x = torch.randn(3, 5, generator=rng(0)), torch.randn(100, 3, generator=rng(1))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        some = found_by(f, x[:chains].contiguous(), w)
        assert_same(f, x[:chains].contiguous(), w)
    finally:
        torch.set_num_threads(before)
    for a, b in zip(some, found_by(f, x, w), strict=True):
        assert torch.equal(a, b[:, :chains])


@pytest.mark.parametrize("f", [
    lambda x: x - x.mean(0), lambda x: x @ x.T, lambda x: x.T * 1, lambda x: x.reshape(1, -1).expand(5, 25),
    lambda x: x + x.sum(1), lambda x: torch.cat([x, x])[:5], lambda x: x.flip(0), lambda x: x.cumsum(0),
    lambda x: x + torch.rand(5, 5), lambda x: x.norm(p=3, dim=1), lambda x: x.roll(1, 0), lambda x: x.int() * x,
    lambda x: torch.where((x > 0) > (x > 1), x, -x), lambda x: torch.where(torch.maximum(x > 0, x < 1), x, -x),
    lambda x: torch.where((x > 0) + (x > 1), x, -x), lambda x: torch.add(x, x[:, :1], alpha=2),
    lambda x: x @ torch.zeros(5, 2**20), lambda x: (x * 1j).real, lambda x: x.sort(1)[0],
])  # fmt: skip
def test_what_is_not_row_by_row_or_not_small_is_refused(f: Callable[[Tensor], Tensor]):
    """Sees chains mixed, noise drawn once for many steps, and nets that no cache holds."""
    with pytest.raises(Unsupported):
        lanes_of(f, torch.randn(5, 5))


def test_a_chain_that_is_lost_stays_alone():
    """Sees a NaN reach the chains beside it."""
    w = torch.randn(2, 2, generator=rng(1))
    lanes = lanes_of(lambda x, w: torch.tanh(x @ w).sum(1), torch.zeros(20, 2), w)
    x = torch.randn(20, 2, generator=rng(0))
    ill = x.index_fill(0, torch.tensor(3), torch.nan)
    (x_clean, f_clean, _), (x_lost, f_lost, _) = (lanes([z, torch.zeros(1, 20, 2)], [w], 0) for z in (x, ill))
    others = torch.arange(20) != 3
    assert torch.equal(x_clean[others], x_lost[others])
    assert torch.equal(f_clean[:, others], f_lost[:, others])
    assert torch.isnan(f_lost[0, 3])


def test_weights_are_read_anew_at_every_call_in_whatever_layout():
    w = torch.randn(3, 7, generator=rng(0))
    x = torch.randn(5, 3, generator=rng(1))
    lanes, noise = lanes_of(lambda x, w: x @ w, x, w), torch.zeros(1, 5, 3)
    for now in (w, 2 * w, w.T.contiguous().T):
        torch.testing.assert_close(lanes([x, noise], [now], 0)[1][0], x @ now)


with torch.random.fork_rng():
    torch.manual_seed(0)
    LOG_DENSITIES: dict[str, LogDensity] = {
        "toy": toy(2),
        "silu": mlp(2, (8,), "silu"),
        "gelu": mlp(2, (8,), "gelu"),
        "leaky": nn.Sequential(nn.Linear(2, 4), nn.LeakyReLU(), nn.Linear(4, 1), nn.Flatten(0)),
        "fourier": mlp(2, (8,), fourier=4),
        "banana": targets.banana(),
        "funnel": targets.funnel(),
        "mixture": targets.mixture(),
        "rings": targets.rings(),
        "gaussian": targets.gaussian(1.0, 2),
        "torch.distributions": Independent(StudentT(torch.tensor([3.0, 5.0])), 1).log_prob,
    }


def test_a_distribution_with_a_boundary_keeps_its_check():
    """Sees an f without its edge sampled beyond it in silence: f of `Exponential` is a line."""
    kernel = langevin(Independent(Exponential(torch.ones(2)), 1).log_prob, 1.0)
    with pytest.raises(ValueError, match="support"):
        sample(kernel, torch.ones(20, 2), 50, rng(0), compile=True)
    (graphs,) = GRAPHS[kernel.step].values()
    assert graphs
    assert graphs.lanes, graphs.why_not


A = torch.randn(30, 5, generator=rng(0, "features"))
Y, ONE = torch.randn(30, generator=rng(0, "y")), torch.randint(2, (30,), generator=rng(0, "one"))
COUNT, COV = torch.randint(8, (30,), generator=rng(0, "count")), torch.eye(5) + 0.3


prior = D.MultivariateNormal(torch.zeros(5), COV).log_prob


LIKELIHOODS: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": lambda w: D.Normal(w @ A.T, w[:, :1].exp()).log_prob(Y),
    "student": lambda w: D.StudentT(w[:, 1:2].exp(), w @ A.T, w[:, :1].exp()).log_prob(Y),
    "laplace": lambda w: D.Laplace(w @ A.T, w[:, :1].exp()).log_prob(Y),
    "cauchy": lambda w: D.Cauchy(w @ A.T, w[:, :1].exp()).log_prob(Y),
    "logsigmoid": lambda w: functional.logsigmoid((w @ A.T) * (2 * ONE - 1)),
    "bernoulli": lambda w: D.Bernoulli(logits=w @ A.T).log_prob(ONE.float()),
    "binomial": lambda w: D.Binomial(10, logits=w @ A.T).log_prob(COUNT.float()),
    "poisson": lambda w: D.Poisson((w @ A.T).exp()).log_prob(COUNT.float()),
    "negative binomial": lambda w: D.NegativeBinomial(w[:, :1].exp(), logits=w @ A.T).log_prob(COUNT.float()),
    "gamma": lambda w: D.Gamma(w[:, :1].exp(), (w @ A.T).exp()).log_prob(Y.exp()),
    "beta": lambda w: D.Beta(w[:, :1].exp(), w[:, 1:2].exp()).log_prob(Y.sigmoid()),
    "log-normal": lambda w: D.LogNormal(w @ A.T, w[:, :1].exp()).log_prob(Y.exp()),
    "weibull": lambda w: D.Weibull((w @ A.T).exp(), w[:, :1].exp()).log_prob(Y.exp()),
    "gumbel": lambda w: D.Gumbel(w @ A.T, w[:, :1].exp()).log_prob(Y),
    "exponential": lambda w: D.Exponential((w @ A.T).exp()).log_prob(Y.exp()),
    "categorical": lambda w: D.Categorical(logits=w[:, None, :3] * A[:, :3]).log_prob(COUNT % 3),
    "softmax": lambda w: (
        -functional.cross_entropy((w[:, None, :3] * A[:, :3]).mT, (COUNT % 3).expand(len(w), -1), reduction="none")
    ),
    "groups": lambda w: D.Normal(w[:, COUNT % 4], w[:, 4:].exp()).log_prob(Y),
    "mixture": lambda w: D.MixtureSameFamily(
        D.Categorical(logits=w[:, None, :2]), D.Normal(w[:, None, 2:4], 1.0)
    ).log_prob(Y),
    "zeros": lambda w: torch.where(
        COUNT == 0, functional.logsigmoid(w[:, :1]), D.Poisson(w[:, 1:2].exp()).log_prob(COUNT.float())
    ),
}
SHOWN = ("normal", "logsigmoid", "poisson", "groups", "softmax")


def assert_fast_and_right(f: LogDensity, x0: Tensor) -> None:
    kernel = anisotropic_mala(f, 1.0, 0.01)
    a, b = (sample(kernel, x0, 2, rng(0), compile=compile) for compile in (True, False))
    assert a[1].how == "in C++"
    torch.testing.assert_close(a[0], b[0], rtol=0, atol=2e-5)


def test_a_posterior_of_common_likelihoods_becomes_lanes():
    """Sees the README's own example sent the slower way: a normal law of several numbers, labels, counts, groups."""
    assert_fast_and_right(
        lambda w: prior(w) + sum(LIKELIHOODS[name](w).sum(1) for name in SHOWN),
        0.3 * torch.randn(9, 5, generator=rng(0, "start")),
    )


def test_a_model_of_named_parameters_becomes_lanes():
    """Sees parameters taken out of x in a way that no C++ is made of."""

    def model(mu: Tensor, tau: Tensor, z: Tensor) -> Tensor:
        return D.Normal(mu + tau * z, 1.0).log_prob(Y[:3]).sum()

    f = transform(model, mu=D.Normal(0.0, 5.0), tau=D.HalfNormal(5.0), z=D.Normal(0.0, 1.0).expand([3]))
    assert_fast_and_right(f, 0.3 * torch.randn(9, 5, generator=rng(0, "start")))


@pytest.mark.slow
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_so_does_each(name: str):
    x0 = 0.3 * torch.randn(9, 5, generator=rng(0, "start"))
    assert_fast_and_right(lambda w: prior(w) + LIKELIHOODS[name](w).sum(1), x0)


DISTRIBUTIONS: dict[str, D.Distribution] = {
    "normal": D.MultivariateNormal(torch.zeros(5), COV),
    "precision": D.MultivariateNormal(torch.zeros(5), precision_matrix=COV),
    "low rank": D.LowRankMultivariateNormal(torch.zeros(5), A[:5, :1], torch.ones(5)),
    "mixture": D.MixtureSameFamily(D.Categorical(torch.ones(3)), D.MultivariateNormal(A[:3], COV)),
    "student": D.Independent(D.StudentT(torch.arange(1.0, 6.0)), 1),
    "laplace": D.Independent(D.Laplace(torch.zeros(5), 1.0), 1),
    "logistic": D.TransformedDistribution(
        D.Uniform(torch.zeros(5), 1.0), [D.SigmoidTransform().inv, D.AffineTransform(torch.ones(5), 2.0)]
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions_become_lanes(name: str):
    law = DISTRIBUTIONS[name]
    x0 = 0.3 * torch.randn(9, 5, generator=rng(0, "start"))
    assert_fast_and_right(lambda x: law.log_prob(x) if law.event_shape else law.log_prob(x).sum(1), x0)


@pytest.mark.usefixtures("hastily")
def test_a_prior_in_single_precision_goes_beside_chains_in_double():
    """Sees `Uniform(−2, 2)`, whose truth values torch makes numbers of 32 bits, send them the slower way."""
    prior = D.Uniform(-2.0, 2.0, validate_args=False)
    x0 = 0.3 * torch.randn(9, 3, generator=rng(0, "start"), dtype=torch.float64)
    assert_fast_and_right(lambda x: (prior.log_prob(x) - x.square()).sum(1), x0)


def test_numbers_that_torch_rounds_are_refused():
    """Sees chains that become other ones where f rounds what they have."""
    x = torch.randn(5, 5, dtype=torch.float64)
    for f in (lambda x: (x.float() * 2).double(), lambda x: x.long() * x):
        with pytest.raises(Unsupported, match="rounds"):
            lanes_of(f, x)


@pytest.mark.usefixtures("hastily")
def test_a_long_step_is_cut_into_functions():
    """Sees a variable of one function read as another's. The compiler takes longer than in proportion."""

    def f(x: Tensor) -> Tensor:
        for k in range(20):
            x = x + 0.01 * (x.cumsum(1) * x[:, k % 3 : k % 3 + 1]).tanh()
        return x.sum(1) - x.square().sum(1)

    assert_fast_and_right(f, torch.randn(9, 3, generator=rng(0, "start")))


@pytest.mark.usefixtures("hastily")
@pytest.mark.parametrize("name", LOG_DENSITIES)
def test_nets_and_densities_become_lanes(name: str):
    """Sees a change to a net, a density or a kernel that sends it the slower way."""
    kernel = anisotropic_mala(LOG_DENSITIES[name], 1.0, 0.05)
    x0 = torch.randn(20, 3, generator=rng(0, "start"))[:, :2]
    how: dict[str, Any] = {"steps": 4, "keep_every": 2}
    a, b = (sample(kernel, x0, generator=rng(0), compile=compile, **how) for compile in (True, False))
    (graphs,) = GRAPHS[kernel.step].values()
    assert graphs
    assert graphs.lanes, graphs.why_not
    torch.testing.assert_close(a[0], b[0], rtol=0, atol=2e-5)
    for field in b[1]:
        torch.testing.assert_close(a[1][field], b[1][field], rtol=1e-4, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("make", [
    lambda f: langevin(f, 0.1), lambda f: mala(f, 0.1), lambda f: barker(f, 0.5), lambda f: hmc(f, 0.2, 3),
    lambda f: ghmc(f, 0.1), lambda f: anisotropic_ghmc(f, 1.0, 0.1),
    lambda f: anisotropic(f, 1.0, 0.1, refresh="iteration"), lambda f: anisotropic_mala(f, 1.0, 0.1),
    lambda f: mala(f, 0.1, preconditioner=torch.tensor([1.0, 2.0])),
    lambda f: mala(f, 0.1, preconditioner=torch.tensor([[1.0, 0.0], [0.5, 1.0]])),
])  # fmt: skip
def test_every_kernel_of_tensors_becomes_lanes(make: Callable[[nn.Module], Any]):
    kernel = make(toy(2))
    sample(kernel, torch.zeros(3, 2), 2, rng(0), compile=True)
    (graphs,) = GRAPHS[kernel.step].values()
    assert graphs
    assert graphs.lanes, graphs.why_not

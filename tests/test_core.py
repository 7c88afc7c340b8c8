"""Laws of f and of randomness: one number a row, one gradient, one named stream."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from beartype import beartype
from jaxtyping import Float, TypeCheckError, jaxtyped
from torch import Tensor, nn

from anila import hmc, langevin, load, mala, replica_exchange, sample, tune
from anila.density.check import check_log_density
from anila.density.log_density import from_energy, from_numpy, value_and_grad
from anila.evaluation.chains import total_variation
from anila.rng import rng
from exact import as_users_run_it


def banana(x: Tensor) -> Tensor:
    return -x[:, 0].square() / 2 - (x[:, 1] - x[:, 0].square()).square() / 2


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0))


def test_a_stream_is_its_seed_and_names():
    """Sees a generator that forgets the seed, a name or their order, and streams that repeat each other."""
    keys = [(0,), (1,), (0, "a"), (0, "b"), (0, "a", 1), (0, "a", "1"), (0, "a", 2), (0, "b", "a"), (-1, "a")]
    first = torch.stack([torch.randn(4, generator=rng(*key)) for key in keys])
    again = torch.stack([torch.randn(4, generator=rng(*key)) for key in keys])
    assert torch.equal(first, again)
    assert len(first.flatten().unique()) == first.numel()


def test_a_stream_is_that_of_its_number_in_any_type():
    """Sees another stream for NumPy's 3, as loops over arrays give it, and a seed of 2.5 that is taken for 2."""
    stream: Any = rng
    first = rng(3, "a", 3).initial_seed()
    with as_users_run_it():
        assert stream(np.int64(3), np.str_("a"), np.int32(3)).initial_seed() == first
        assert stream(torch.tensor(3), "a", torch.tensor(3)).initial_seed() == first
    for wrong in (2.5, "3", None):
        with as_users_run_it(), pytest.raises(TypeError, match="seed must be a whole number.*; got"):
            stream(wrong)


def test_streams_are_uncorrelated():
    """Sees neighbouring iterations that share numbers: correlations stay within 5 standard errors."""
    streams = torch.stack([torch.randn(10_000, generator=rng(0, "chains", k)) for k in range(8)])
    assert (torch.corrcoef(streams) - torch.eye(8)).abs().max() < 0.05


def test_value_and_grad_is_f_and_its_derivative():
    """Sees a gradient of another f, of the mean, or with the wrong sign."""
    x = torch.randn(7, 2, generator=rng(0), dtype=torch.float64)
    value, grad = value_and_grad(banana, x)
    a, r = x[:, 0], x[:, 1] - x[:, 0].square()
    torch.testing.assert_close(value, banana(x))
    torch.testing.assert_close(grad, torch.stack([-a + 2 * a * r, -r], 1))
    assert (value.dtype, grad.dtype) == (torch.float64, torch.float64)


def test_value_and_grad_leaves_no_trace():
    """Sees gradients that land on parameters or on x, and results that keep the graph alive."""
    f, x = net(), torch.randn(3, 2, generator=rng(0), requires_grad=True)
    value, grad = value_and_grad(f, x)
    assert x.grad is None
    assert all(p.grad is None and p.requires_grad for p in f.parameters())
    assert not value.requires_grad
    assert not grad.requires_grad


def test_value_and_grad_works_under_no_grad():
    """Sees chains that cannot run where a caller switched gradients off."""
    x = torch.randn(3, 2, generator=rng(0))
    expected = value_and_grad(banana, x)[1]
    with torch.no_grad():
        assert torch.equal(value_and_grad(banana, x)[1], expected)


BAD_F = {
    "column": (lambda x: banana(x)[:, None], r"expected shape \(4,\).*got \(4, 1\); add \.squeeze\(-1\)"),
    "scalar": (lambda x: banana(x).sum(), r"expected shape \(4,\).*got \(\)"),
    "number": (lambda x: 1.0, r"shape \(4,\); got float"),  # noqa: ARG005
    "detached": (lambda x: banana(x).detach(), "does not depend on x"),
    "net of a detached x": (lambda x: net()(x.detach()), "does not depend on x"),
    "rounded": (lambda x: banana(x).bfloat16(), "float32 or float64; got torch.bfloat16"),
    "complex": (lambda x: banana(x) * 1j, "float32 or float64; got torch.complex64"),
    "writes into x": (lambda x: banana(x.mul_(2.0)), r"begin with x = x\.clone\(\)"),
    "requires_grad": (lambda x: banana(x.requires_grad_(False)), r"no \.detach\(\), \.requires_grad_\(False\)"),
    "requires_grad, of a net": (lambda x: net()(x.requires_grad_(False)), r"\.requires_grad_\(False\)"),
    "sparse": (lambda x: banana(x).to_sparse(), r"a dense tensor; got torch\.sparse_coo: add \.to_dense\(\)"),
    "without numbers": (lambda x: banana(x).to("meta"), r"on cpu, where x is; got one on meta: load the weights"),
    "whole numbers": (lambda x: banana(x).long(), r"float32 or float64; got torch\.int64"),
    "of one point": (lambda x: -(x[0] ** 2) - x[1] ** 2, r"got \(2,\); f gets all chains at once.*torch\.vmap\(f\)"),
    "of one point, by a product": (lambda x: -x.dot(x), r"not accept x of shape \(4, 2\): .*torch\.vmap\(f\)"),
    "numpy": (lambda x: -np.square(x).sum(1), r"anila\.from_numpy takes NumPy code"),
    "numpy of what is detached": (lambda x: -np.square(x.detach().numpy()).sum(1), r"got ndarray: anila\.from_numpy"),
}


@pytest.mark.parametrize("case", BAD_F)
def test_a_wrong_f_is_refused(case: str):
    """Sees an f that would be broadcast, or silently give no gradient."""
    f, message = BAD_F[case]
    with pytest.raises(ValueError, match=message):
        value_and_grad(f, torch.zeros(4, 2))


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (nn.Sequential(nn.BatchNorm1d(2), net()), "couples the rows"),
        (lambda x: banana(x) / len(x), "couples the rows"),
        (lambda x: banana(x - x.mean(0)), "couples the rows"),
        (lambda x: banana(x) * torch.nan, "not finite"),
        (lambda x: banana(x.sqrt()), "not finite"),
    ],
)
def test_check_refuses_what_would_go_wrong_in_a_chain(f, message: str):
    """Sees chains that talk through f (batch norm, a batch mean), and starts where f is not finite."""
    with pytest.raises(ValueError, match=message):
        check_log_density(f, torch.tensor([[-0.5, 0.3], [1.2, -0.7], [0.1, 0.2]]))


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_check_passes_a_good_f(rows: int):
    """Sees a check that refuses everything."""
    check_log_density(nn.Sequential(nn.BatchNorm1d(2), net()).eval(), torch.randn(rows, 2, generator=rng(0)))


def test_check_passes_an_f_that_is_finite_somewhere():
    """Sees an f refused that ends between the starts, from where a warm-up moves chains."""

    def half(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x[:, 0] > 0, -x.square().sum(1), -torch.inf)

    check_log_density(half, torch.tensor([[-1.0, 0.0], [-2.0, 0.0], [1.0, 0.0], [2.0, 0.0]]))
    with pytest.raises(ValueError, match="not finite at the start"):
        check_log_density(half, -torch.ones(4, 2))


def test_an_f_that_is_nowhere_finite_is_moved_as_the_refusal_says():
    """Sees a remedy that does not work when typed."""

    def f(x: torch.Tensor) -> torch.Tensor:
        return torch.where(((x - 15).abs() < 6).all(1), -(x - 15).square().sum(1) / 18, -torch.inf)

    x = torch.randn(50, 2, generator=rng(0))
    with pytest.raises(ValueError) as refusal:
        check_log_density(f, x)
    said = re.search(r"g = (lambda x: f\(15 \+ 3 \* x\))", str(refusal.value))
    assert said
    check_log_density(eval(said[1], {"f": f}), x)


@pytest.mark.parametrize("case", BAD_F)
def test_check_refuses_what_no_chain_could_use(case: str):
    """Two points are enough to see a column, a number, or a cut gradient: sees a dry run that lets them through."""
    f, message = BAD_F[case]
    with pytest.raises(ValueError, match=message.replace("4", r"\d")):
        check_log_density(f, torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("f", "x", "message"),
    [
        (
            net(),
            torch.zeros(2, 2, dtype=torch.float64),
            r"float64 on cpu, its parameter 0\.weight is torch\.float32 on cpu",
        ),
        (net().double(), torch.zeros(2, 2), r"float32 on cpu, its parameter 0\.weight is torch\.float64 on cpu"),
        (net().to("meta"), torch.zeros(2, 2), r"on cpu, its parameter 0\.weight is torch\.float32 on meta.*\.to\(\)"),
        (
            lambda x: banana(x @ torch.eye(3)),
            torch.zeros(2, 2),
            r"does not accept x of shape \(2, 2\): .*shapes",
        ),
    ],
    ids=["double x", "double f", "device", "shape"],
)
def test_an_f_of_another_kind_is_named(f, x: Tensor, message: str):
    """Sees the bare words of a matrix product: the parameter that does not fit is named."""
    with pytest.raises(ValueError, match=message):
        check_log_density(f, x)


@pytest.mark.parametrize("case", BAD_F)
def test_sample_and_tune_say_the_same_of_a_wrong_f(case: str):
    """Sees torch's words, or how to make kernels, where a check of f says what is wrong with it."""
    f, message = BAD_F[case]
    message = message.replace("4", r"\d+")
    with as_users_run_it(), pytest.raises(ValueError, match=message):
        sample(mala(f, 0.1), torch.zeros(4, 2), 5, 0)
    with as_users_run_it(), pytest.raises(ValueError, match=message):
        tune(f, torch.zeros(4, 2), 40, 0)


def test_an_f_of_one_point_runs_as_it_is_told():
    """Sees a remedy that does not work when typed."""
    x0 = torch.randn(4, 2, generator=rng(0))
    x, _ = sample(mala(torch.vmap(lambda x: -x @ x / 2), 0.1), x0, 5, 0)
    assert torch.equal(x, sample(mala(lambda x: -(x * x).sum(1) / 2, 0.1), x0, 5, 0)[0])


def test_whole_numbers_as_starts_are_told_what_makes_them_floats():
    """Sees a refusal without the way out."""
    with as_users_run_it(), pytest.raises(ValueError, match=r"got torch\.int64 of shape \(4, 2\); use x0\.float\(\)"):
        sample(mala(banana, 0.1), torch.zeros(4, 2, dtype=torch.long), 5, 0)


def test_what_numpy_code_must_return_is_said():
    """Sees Python's words about unpacking."""
    f: Any = from_numpy(lambda x: -np.square(x).sum(1))  # pyright: ignore[reportArgumentType]
    with as_users_run_it(), pytest.raises(ValueError, match="expected a value and a gradient.*got ndarray"):
        sample(mala(f, 0.1), torch.zeros(4, 2), 5, 0)


def test_energy_is_minus_f():
    """Sees a lost sign."""
    x = torch.randn(5, 2, generator=rng(0))
    assert torch.equal(from_energy(banana)(x), -banana(x))


def numpy_banana(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, r = x[:, 0], x[:, 1] - x[:, 0] ** 2
    return -(a**2) / 2 - r**2 / 2, np.stack([-a + 2 * a * r, -r], 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_numpy_code_is_a_log_density(dtype: torch.dtype):
    """Sees a gradient lost, transposed or not multiplied by what comes from above, and another precision."""
    x = torch.randn(7, 2, generator=rng(0), dtype=dtype)
    for got, expected in zip(value_and_grad(from_numpy(numpy_banana), x), value_and_grad(banana, x), strict=True):
        torch.testing.assert_close(got, expected)
    tripled = value_and_grad(lambda x: 3 * from_numpy(numpy_banana)(x), x)[1]
    torch.testing.assert_close(tripled, 3 * value_and_grad(banana, x)[1])


@pytest.mark.parametrize("value_rows", [True, False])
def test_numpy_code_of_another_shape_is_refused(value_rows: bool):
    """Sees a value or a gradient that would be broadcast against the chains."""

    def wrong(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, grad = numpy_banana(x)
        return (value[:, None], grad) if value_rows else (value, grad[0])

    with pytest.raises(
        ValueError, match=r"from_numpy: expected a value of shape \(7,\) and a gradient of shape \(7, 2\)"
    ):
        value_and_grad(from_numpy(wrong), torch.zeros(7, 2))


@jaxtyped(typechecker=beartype)
def column(x: Float[Tensor, "n d"], d: int = 0) -> Float[Tensor, "n"]:
    """A column, or with d = −1 the first row."""
    return x[:, d] if d >= 0 else x[0]


@pytest.mark.parametrize(
    "call",
    [
        lambda: column(torch.zeros(2)),
        lambda: column(torch.zeros(2, 3, dtype=torch.int64)),
        lambda: column(torch.zeros(2, 3), "0"),  # pyright: ignore[reportArgumentType]
        lambda: column(torch.zeros(2, 3), d=-1),
        lambda: total_variation(torch.zeros(1), torch.zeros(3)),
    ],
    ids=["rank", "dtype", "type", "what is returned", "one name for two sizes"],
)
def test_shapes_are_checked_while_tests_run(call):
    """Sees every other test blind to shapes; with the checks off the same calls are made."""
    with pytest.raises(TypeCheckError):
        call()
    assert column(torch.zeros(2, 3), 1).shape == (2,)
    with as_users_run_it():
        assert column(torch.zeros(2, 3), d=-1).shape == (3,)
        total_variation(torch.zeros(1), torch.zeros(3))


STUDENT = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))


@pytest.mark.parametrize(
    "give",
    [
        lambda law, _: mala(law, 0.1),
        lambda law, _: hmc(law, 0.1),
        lambda law, _: replica_exchange(lambda f: mala(f, 0.1), law, (1.0, 2.0)),
        lambda law, x: tune(law, x, 40, 0),
        check_log_density,
    ],
)
def test_a_distribution_in_place_of_a_function_is_told_what_to_give(give: Any):
    """Sees "object is not callable", which does not say that its log_prob is wanted."""
    with as_users_run_it(), pytest.raises(TypeError, match="got MultivariateNormal: give its log_prob"):
        give(STUDENT, torch.zeros(4, 2))


@pytest.mark.parametrize("run", [lambda f, x: sample(mala(f, 0.1), x, 5, 0), lambda f, x: tune(f, x, 40, 0)])
def test_data_of_another_precision_than_the_starts_are_said(run: Any):
    """Sees a bare error of torch, or advice on how to make kernels, where NumPy's float64 meets float32 starts."""
    data = torch.ones(3, 2, dtype=torch.float64)
    with pytest.raises(
        (TypeError, ValueError), match="f does not accept x of torch.float32 on cpu; convert what f reads"
    ):
        run(lambda x: -(x @ data.T).square().sum(1), [[0.0, 1.0], [1.0, 0.0]])


def test_a_distribution_of_each_coordinate_is_told_to_be_made_one():
    """Sees a wrong shape without a word of what makes it right."""
    law = torch.distributions.Normal(torch.zeros(2), 1.0)
    with pytest.raises(ValueError, match=r"add \.sum\(-1\), or .* torch.distributions.Independent"):
        sample(mala(law.log_prob, 0.1), torch.zeros(4, 2), 5, 0)


def test_what_is_given_for_a_kernel_and_the_reverse_is_named():
    """Sees a kernel given to tune, and what tune returns given to sample, without the way out."""
    kernel: Any = mala(STUDENT.log_prob, 0.1)
    tuned: Any = tune(STUDENT.log_prob, torch.randn(4, 2, generator=rng(0)), 40, 0)
    with as_users_run_it(), pytest.raises(TypeError, match="tune makes the kernel: give f"):
        tune(kernel, torch.zeros(4, 2), 40, 0)
    with as_users_run_it(), pytest.raises(TypeError, match=r"got Tuned: give its \.sampler"):
        sample(tuned, torch.zeros(4, 2), 5, 0)


def test_kernels_and_models_print_what_they_are():
    """Sees addresses of functions and objects, which tell nothing."""
    f = STUDENT.log_prob
    shown = repr(hmc(f, 0.1, leapfrog_steps=3, preconditioner=torch.ones(2)))
    assert shown == "<Sampler: accepts or rejects, so exact for exp f; gradients a step: 3; preconditioner (2,)>"
    assert repr(langevin(f, 0.1)) == "<Sampler: takes every proposal; gradients a step: 1>"
    lines = repr(load("pretrained:iris")).splitlines()
    assert lines[0] == "Model"
    assert lines[1].split(maxsplit=1) == ["data", "iris.csv, points of shape (4,)"]


def test_starts_that_are_no_points_are_refused_before_f_is_blamed():
    """Sees advice on f where x0 is a dictionary, or a number."""
    with pytest.raises(ValueError, match="x0 must be numbers"):
        tune(STUDENT.log_prob, {"mu": [0.0]}, 40, 0)
    with pytest.raises(ValueError, match=r"\[\[0.5\]\] is one chain"):
        tune(STUDENT.log_prob, 0.5, 40, 0)

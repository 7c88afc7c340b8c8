"""What user code may do to a chain, and what is said of an f that no chain can follow: at once, with the reason."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import anila
from anila import Learner, Persistent, check_log_density, from_numpy, rng, sample, tune
from anila.density.networks import mlp
from anila.samplers import SAMPLERS, Sampler, hmc, langevin, mala, replica_exchange
from exact import as_users_run_it

MADE: dict[str, Callable[[Any], Sampler]] = {
    "langevin": lambda f: langevin(f, 0.1),
    "anisotropic": lambda f: SAMPLERS["anisotropic"](f, 1.0, 0.1),
    "mala": lambda f: mala(f, 0.1),
    "anisotropic_corrected": lambda f: SAMPLERS["anisotropic_corrected"](f, 1.0, 0.1),
    "barker": lambda f: SAMPLERS["barker"](f, 0.1),
    "hmc": lambda f: hmc(f, 0.1, 3),
    "ghmc": lambda f: SAMPLERS["ghmc"](f, 0.1),
    "replica": lambda f: replica_exchange(lambda f: mala(f, 0.1), f, (1.0, 2.0)),
}
UNADJUSTED = ("langevin", "anisotropic")


def normal(x: Tensor) -> Tensor:
    return -x.square().sum(1) / 2


def start(n: int = 20, dim: int = 2) -> Tensor:
    return torch.randn(n, dim, generator=rng(0, "start"))


# The chain's own memory (FAULTS 52)


@pytest.mark.parametrize("name", MADE)
def test_user_code_cannot_move_a_chain(name: str):
    """Sees a callback, an f that writes into x, or the caller's x0 share memory with the chain."""

    def writes(x: Tensor) -> Tensor:
        value = normal(1 * x)
        x.data.mul_(7)
        return value

    x0 = start()
    expected, trace = sample(MADE[name](normal), x0, 12, rng(0), keep_every=3)
    seen: list[Tensor] = []

    def callback(_: int, x: Tensor) -> None:
        seen.append(x.clone())
        x.mul_(10).add_(170)

    for f in (normal, writes):
        assert torch.equal(sample(MADE[name](f), x0, 12, rng(0), keep_every=3, callback=callback)[0], expected)
    assert torch.equal(torch.stack(seen[:4]), trace["x"])
    assert torch.equal(x0, start())


@pytest.mark.parametrize("precision", [None, "bf16"])
def test_an_f_that_writes_into_x_moves_nothing_where_gradients_are_rounded(precision: Any):
    """Sees f evaluated without a graph, where autograd does not notice that x is written to."""

    def clamps(x: Tensor) -> Tensor:
        if not x.requires_grad:
            x.clamp_(-0.1, 0.1)
        return -x.square().sum(1) / 2

    found = [sample(mala(f, 0.1), start(), 9, rng(0), precision=precision)[0] for f in (normal, clamps)]
    assert bool((found[1].abs() > 0.1).any())
    assert precision or torch.equal(*found)


def test_no_steps_give_a_copy_of_x0():
    """Sees the caller's own tensor come back as the result."""
    x0 = start()
    sample(mala(normal, 0.1), x0, 0, rng(0))[0].zero_()
    assert torch.equal(x0, start())


def test_numpy_code_may_write_into_its_arrays():
    """Sees a chain whose value and gradient change after they were computed: NumPy's `out=`, and x itself."""
    value, grad = np.zeros(20, np.float32), np.zeros((20, 2), np.float32)

    def reuses(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        out = value[: len(x)], grad[: len(x)]
        np.negative(x, out=out[1])
        np.multiply(np.square(x).sum(1), -0.5, out=out[0])
        x[:] = 99
        return out

    found, expected = (sample(mala(f, 0.5), start(), 30, rng(0))[0] for f in (from_numpy(reuses), normal))
    assert torch.allclose(found, expected, atol=1e-5)


# Outside the support (FAULTS 53)


def half_line(x: Tensor) -> Tensor:
    return torch.where(x[:, 0] > 0, -x[:, 0].square() / 2, -math.inf)


@pytest.mark.parametrize("name", MADE)
def test_starts_where_f_is_minus_infinity_are_said_at_once(name: str):
    """Sees draws from outside the support handed over in silence."""
    x0 = torch.tensor([[-1.0]] * 3 + [[1.0]] * 5)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        sample(MADE[name](half_line), x0, 1, rng(0))
    assert "f is -inf at 3 of 8 starts: these chains do not sample exp f" in str(said[0].message)


@pytest.mark.parametrize("name", UNADJUSTED)
@pytest.mark.parametrize("outside", [-math.inf, math.nan])
def test_an_unadjusted_chain_that_walks_outside_is_said(name: str, outside: float):
    """Sees a chain walk where f is not finite and back, or stay there, as if nothing was."""

    def slab(x: Tensor) -> Tensor:
        return torch.where(x[:, 0].abs() < 0.3, 0 * x[:, 0], outside)

    with pytest.warns(RuntimeWarning, match="of 50 chains (passed through points where f is NaN or infinite|ran away)"):
        sample(MADE[name](slab), torch.zeros(50, 1), 20, rng(0))


@pytest.mark.parametrize("name", MADE)
def test_a_proper_f_is_not_warned_of(name: str):
    """Sees an alarm at every run."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sample(MADE[name](normal), start(), 20, rng(0))


def test_tune_names_the_start_and_not_the_steps():
    """Sees a warm-up that can find nothing blame its length."""
    with pytest.raises(
        ValueError, match="starts where f and its gradient are finite; they are finite at none of the 20"
    ):
        tune(lambda **kw: mala(half_line, **kw), -torch.ones(20, 1), 100, rng(0))


# An f that is no function of its row


class Net(nn.Module):
    """A small f with a layer between that may talk or roll dice in training mode."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(2, 16), layer, nn.Tanh(), nn.Linear(16, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze(1) - x.square().sum(1) / 2


def centred(x: Tensor) -> Tensor:
    return normal(x - x.mean(0))


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "batch norm": (lambda: Net(nn.BatchNorm1d(16)), r"couples the rows of a batch: .*call model\.eval\(\)"),
    "coupled rows": (lambda: centred, "couples the rows of a batch"),
    "dropout": (lambda: Net(nn.Dropout(0.5)), r"f is random: .*call model\.eval\(\)"),
}


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("what", WRONG)
def test_an_f_of_more_than_its_row_is_refused(what: str, name: str):
    """Sees chains that talk, or an acceptance of two different f, run in silence."""
    f, says = WRONG[what][0](), WRONG[what][1]
    if what == "dropout" and not MADE[name](f).exact:
        with pytest.warns(RuntimeWarning, match=says):
            sample(MADE[name](f), start(), 1, rng(0))
    else:
        with pytest.raises(ValueError, match=says):
            sample(MADE[name](f), start(), 1, rng(0))
    if isinstance(f, nn.Module):
        sample(MADE[name](f.eval()), start(), 1, rng(0))


def rolls(x: Tensor) -> Tensor:
    return normal(x) + 0.1 * torch.randn(len(x))


def shifted(x: Tensor) -> Tensor:
    return normal(x) - normal(x).mean().detach()


@pytest.mark.parametrize("name", [name for name in MADE if MADE[name](normal).exact])
@pytest.mark.parametrize(("f", "says"), [(rolls, "f is random: f at"), (shifted, "couples the rows of a batch: f at")])
def test_an_f_of_which_the_slope_alone_is_right_is_refused(name: str, f: Any, says: str):
    """Sees acceptances of an f whose values are random, or those of its batch, while its gradient tells nothing."""
    with pytest.raises(ValueError, match=says):
        sample(MADE[name](f), start(), 1, rng(0))
    with pytest.raises(ValueError, match=says):
        tune(lambda **kw: mala(f, **kw), start(), 100, rng(0))


@pytest.mark.parametrize("what", WRONG)
def test_tune_learner_and_check_refuse_it_too(what: str):
    """Sees one of the ways to a chain left unguarded."""
    f, says = WRONG[what][0](), WRONG[what][1]
    with pytest.raises(ValueError, match=says):
        tune(lambda **kw: mala(f, **kw), start(), 100, rng(0))
    with pytest.raises(ValueError, match=says):
        check_log_density(f, start())
    if isinstance(f, nn.Module):
        optimizer = torch.optim.SGD(f.parameters(), 0.1)
        with pytest.raises(ValueError, match=says):
            Learner(f, mala(f, 0.1), Persistent(start()), optimizer, steps=2).update(start())


@pytest.mark.parametrize("n", [1, 2, 3, 4, 9])
def test_an_f_with_data_for_each_chain_is_fine(n: int):
    """Sees chains that each follow a law of their own refused, or taken for others."""
    y = torch.arange(2.0 * n).view(n, 2)

    def f(x: Tensor) -> Tensor:
        return -(x - y.repeat_interleave(len(x) // n, 0)).square().sum(1) * 50

    x, _ = sample(mala(f, 0.02), y.repeat_interleave(3, 0), 50, rng(0))
    assert bool(((x - y.repeat_interleave(3, 0)).abs() < 1).all())


def test_one_chain_and_a_flat_f_are_fine():
    """Sees the look itself fail where there is no second chain, or no slope."""
    for f in (normal, lambda x: 0 * x.sum(1)):
        sample(mala(f, 0.1), torch.zeros(1, 2), 3, rng(0))


# Autocast


@pytest.mark.parametrize("name", MADE)
def test_autocast_around_a_call_changes_nothing(name: str):
    """Sees energies rounded to eight bits inside an acceptance."""
    f = mlp(2, hidden=(16,)).eval()
    expected = sample(MADE[name](f), start(), 10, rng(0))[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(sample(MADE[name](f), start(), 10, rng(0))[0], expected)


AROUND: dict[str, Callable[[], Any]] = {
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "default device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("name", MADE)
def test_what_torch_is_set_to_changes_no_chain(name: str, around: str):
    """Sees a block for evaluation, or a default device, reach the gradients of a chain or what is said of it."""
    x0, whole = start(), sample(MADE[name](normal), start(), 12, rng(0), keep_every=3)[1]["x"]
    with AROUND[around]():
        assert torch.equal(sample(MADE[name](normal), 1 * x0, 12, rng(0), keep_every=3)[1]["x"], whole)


def test_tune_does_not_ask_whether_gradients_are_on():
    """Sees a warm-up end where its starts, or the call, are those of a block for evaluation."""
    tuned = tune(normal, start(), 80, rng(0))
    with torch.inference_mode():
        assert torch.equal(tune(normal, 1 * start(), 80, rng(0)).x, tuned.x)


# Arguments of another kind

lax: Any = anila
"""Without types, as users have it."""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lax.sample(lax.mala(normal, 0.1), start(), 4.0, 0), "steps must be a whole number; got 4.0"),
        (lambda: lax.sample(lax.mala(normal, 0.1), start(), "4", 0), "steps must be a whole number; got '4'"),
        (lambda: lax.sample(lax.mala(normal, 0.1), start(), True, 0), "steps must be a whole number; got True"),
        (
            lambda: lax.sample(lax.mala(normal, 0.1), start(), 4, 0, keep_every=0.5),
            "keep_every must be a whole number",
        ),
        (
            lambda: lax.tune(lambda **kw: lax.mala(normal, **kw), start(), 400.0, 0),
            "steps must be a whole number",
        ),
        (lambda: lax.hmc(normal, 0.1, leapfrog_steps=2.5), r"leapfrog_steps must be a whole number; got 2\.5"),
        (lambda: lax.replica_exchange(lambda f: mala(f, 0.1), normal, (1.0, 2.0), every=1.5), "every must be a whole"),
        (
            lambda: lax.with_global_moves(mala(normal, 0.1), lax.kernel_density(start()), every=2.5),
            r"every must be a whole number; got 2\.5",
        ),
        (lambda: lax.sample(normal, start(), 4, 0), r"sampler must be a kernel, e\.g\. mala.*got function"),
        (lambda: lax.sample(mala, start(), 4, 0), "sampler must be a kernel"),
        (lambda: lax.mala(normal, "0.1"), "step_size must be a positive number; got '0.1'"),
        (lambda: lax.mala(normal, torch.ones(2)), "step_size must be a positive number; got tensor"),
        (lambda: SAMPLERS["anisotropic"](normal, None), "threshold must be a positive number; got None"),
        (lambda: lax.langevin(normal, 0.1, temperature="1"), "temperature must be a number of at least 0; got '1'"),
        (
            lambda: lax.sample(lax.mala(normal, 0.1), start().half(), 4, 0),
            r"float32 or float64; got torch\.float16",
        ),
    ],
)
def test_an_argument_of_another_kind_is_named(call: Callable[[], Any], message: str):
    """Sees Python's own words for it, in which nothing says what was wrong; and chains whose moves are rounded."""
    with as_users_run_it(), pytest.raises((TypeError, ValueError), match=message):
        call()


@pytest.mark.parametrize("whole", [np.int64, torch.tensor])
def test_whole_numbers_may_be_numpys_or_torchs(whole: Callable[[int], Any]):
    """Sees `keep_every` from an array refused."""
    expected = sample(mala(normal, 0.1), start(), 6, 0, keep_every=2)[1]["x"]
    with as_users_run_it():
        assert torch.equal(sample(mala(normal, 0.1), start(), whole(6), 0, keep_every=whole(2))[1]["x"], expected)

"""What `sample` says and streams: stuck chains with their numbers, positions to a callback in place of the trace."""

import math
import re
import warnings
from typing import Any, SupportsIndex

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import HalfNormal, Normal
from torch.distributions.constraints import real

from anila.density.targets import banana
from anila.density.transform import transform
from anila.evaluation.chains import ess, mcse, rhat
from anila.rng import rng
from anila.samplers import SAMPLERS, Sampler, anisotropic_mala, barker, hmc, langevin, mala, sample
from anila.samplers.kernel import PointState, accept
from anila.samplers.sample import transitions
from anila.samplers.trace import Trace
from anila.samplers.warm_up import tune
from exact import as_users_run_it


def cliff(x: Tensor) -> Tensor:
    """−|x|²/2, but −1e8 |x|²/2 where x₀ > 5: any step of size 1 from there is rejected, or thrown back."""
    return -torch.where(x[:, :1] > 5, 1e8, 1.0).mul(x.square()).sum(1) / 2


def start(stuck: int, n: int = 8) -> Tensor:
    x = torch.zeros(n, 2)
    x[:stuck, 0] = 10.0
    return x


@pytest.mark.parametrize("steps", [50, 120])
def test_stuck_chains_are_said_once_with_their_numbers(steps: int):
    """Sees chains that stand still in silence, the wrong count, or the gradients of the wrong chains."""
    with pytest.warns(RuntimeWarning) as caught:
        x, _ = sample(mala(cliff, 0.5), start(3), steps, rng(0))
    assert len(caught) == 1
    message = str(caught[0].message)
    assert "3 of 8 chains are stuck: no proposal accepted in 50 steps" in message
    assert "step_size 0.5" in message
    assert "10% 1e+09, median 1e+09, 90% 1e+09" in message
    assert bool((x[:3] == start(3)[:3]).all())


@pytest.mark.parametrize(
    ("sampler", "stuck", "steps"),
    [
        (mala(cliff, 0.5), 3, 49),
        (mala(cliff, 0.5), 0, 100),
        (hmc(cliff, 0.5, 3), 0, 60),
        (barker(cliff, 1e-6), 0, 60),
        (anisotropic_mala(banana(), 1.0), 0, 60),
        (langevin(banana(), 1e-4), 0, 60),
    ],
    ids=["too few steps", "none", "hmc", "tiny steps", "anisotropic", "unadjusted"],
)
def test_moving_chains_are_not_called_stuck(sampler, stuck: int, steps: int):
    """Sees an alarm at chains that move, at kernels that always do, and before 50 steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sample(sampler, start(stuck), steps, rng(0))


@pytest.mark.parametrize(("n", "said"), [(1000, True), (1001, False)])
def test_one_chain_of_more_than_a_thousand_may_be_stuck(n: int, said: bool):
    """Sees a warning for one of 100,000 chains in a steep tail, where the law is whole."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sample(mala(cliff, 0.5), start(1, n), 60, rng(0))
    assert [str(w.message).startswith(f"1 of {n:,} chains is stuck") for w in caught] == [True] * said


def test_a_chain_that_gets_stuck_on_the_way_is_said():
    """Sees a criterion on the whole run, which early acceptances would satisfy for ever."""
    calls = []

    def f(x: Tensor) -> Tensor:
        calls.append(1)
        return -x.square().sum(1) / 2 if len(calls) < 40 else x.sum(1) * math.nan

    with pytest.warns(RuntimeWarning, match="4 of 4 chains are stuck"):
        sample(mala(f, 0.5), torch.zeros(4, 2), 100, rng(0))


def test_a_callback_gets_the_positions_in_place_of_the_trace():
    """Sees other positions, steps counted from 0, and a trace that grows all the same."""
    x0, seen = start(0), []
    x, trace = sample(mala(cliff, 0.5), x0, 10, rng(0), keep_every=3, callback=lambda step, x: seen.append((step, x)))
    expected_x, expected = sample(mala(cliff, 0.5), x0, 10, rng(0), keep_every=3)
    assert [step for step, _ in seen] == [3, 6, 9]
    assert torch.equal(torch.stack([x for _, x in seen]), expected["x"])
    assert torch.equal(x, expected_x)
    assert trace["x"].shape == (0, 8, 2)
    assert torch.equal(trace["accept_prob"], expected["accept_prob"])


def test_a_callback_without_a_frequency_is_refused():
    """Sees a run to disk that writes nothing."""
    with pytest.raises(ValueError, match="callback needs keep_every.*got 0"):
        sample(mala(cliff, 0.5), start(0), 10, rng(0), callback=lambda step, x: None)  # noqa: ARG005


def walled(x: Tensor) -> Tensor:
    """−|x|²/2, and no density at all where x₀ > 1."""
    return torch.where(x[:, 0] > 1, -math.inf, -x.square().sum(1) / 2)


def test_non_finite_proposals_are_counted_at_every_step():
    """Sees rejections that are not told apart: a proposal beyond the wall is counted, a merely bad one is not."""
    seen: list[Tensor] = []

    def f(x: Tensor) -> Tensor:
        seen.append(x[:, 0].detach() > 1)
        return walled(x)

    _, trace = transitions(mala(f, 1.0), start(0, 64), 20, rng(0))
    beyond = torch.stack(seen[1:])
    assert torch.equal(trace["accept_prob"] == 0, beyond)
    assert trace.non_finite() == int(beyond.sum()) > 0
    assert f"{int(beyond.sum())} of 1,280 proposals rejected outright: f is not finite" in trace.summary()
    _, trace = sample(mala(lambda x: 1e6 * banana()(x), 10.0), start(0, 64), 20, rng(0))
    assert trace["accept_prob"].max() < 1e-30
    assert trace.non_finite() == 0
    assert "not finite" not in trace.summary()


def test_a_hopeless_proposal_is_told_from_none_and_never_taken():
    """Sees the smallest probability that is told taken for one: a uniform of 0 does not accept exp(−1e6)."""
    here, there = (PointState(torch.full((2, 1), c), torch.zeros(2), torch.zeros(2, 1)) for c in (0.0, 1.0))
    new, prob = accept(here, there, torch.tensor([-1e6, math.nan]), torch.zeros(2))
    assert torch.equal(new.x, here.x)
    assert prob[0] > 0 == prob[1]


def test_estimates_stand_beside_their_errors():
    """Sees a mean without its R̂ and ESS, those of another coordinate, or chains that have not mixed in a calm voice."""
    _, trace = sample(mala(lambda x: -x.square().sum(1) / 2, 1.0), torch.randn(32, 3, generator=rng(0)), 400, rng(1), 4)
    *_, line, verdict = trace.summary().splitlines()
    name, *numbers = line.split()
    x = trace["x"][..., 2:]
    draws = x.double().flatten(0, 1)
    expected = [draws.mean(), mcse(x), draws.std(), rhat(x), ess(x), ess(x, "tail")]
    assert name == "x2"
    assert [float(n) for n in numbers] == pytest.approx([float(e) for e in expected], rel=0.05)
    assert verdict.endswith("good enough")


@pytest.mark.parametrize("size", [1e-3, 1e9])
def test_chains_that_have_not_mixed_are_said_in_the_summary(size: float):
    """Sees R̂ above 1.01, or chains that never moved, pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        x0 = torch.randn(16, 2, generator=rng(0))
        _, trace = sample(mala(lambda x: -x.square().sum(1) / 2, size), x0, 60, rng(1), 4)
    assert "NOT CONVERGED" in trace.summary().splitlines()[-1]


def funnel(x: Tensor) -> Tensor:
    """v = x₀ ~ N(0, 9), xⱼ ~ N(0, exp v)."""
    return -x[:, 0].square() / 18 - (x[:, 1:].square() * (-x[:, :1]).exp() + x[:, :1]).sum(1) / 2


def two_modes(x: Tensor) -> Tensor:
    return torch.logaddexp(-(x - 8).square().sum(1) / 2, -(x + 8).square().sum(1) / 2)


def stretched(x: Tensor) -> Tensor:
    return -(x * torch.tensor([1.0, 0.01])).square().sum(1) / 2


def standard(x: Tensor) -> Tensor:
    return -x.square().sum(1) / 2


FAULTS: dict[str, tuple[Sampler, int, str]] = {
    "biased": (langevin(standard, 1.5), 400, "mixed, but NOT exp f: temperature 1.6"),
    "funnel": (anisotropic_mala(funnel, 2.0, 0.5), 400, "NOT CONVERGED: a funnel: x0 sets"),
    "modes": (mala(two_modes, 1.0), 400, "move between modes"),
    "slow": (mala(stretched, 1.0), 400, "NOT CONVERGED: let tune find a preconditioner: the narrowest"),
    "short": (mala(standard, 1.0), 40, r"NOT CONVERGED: run \d+ times as long"),
    "timid": (mala(standard, 1e-3), 400, "NOT CONVERGED: raise step_size"),
    "stuck": (mala(standard, 30.0), 400, "chains are stuck: lower step_size"),
}


@pytest.mark.filterwarnings("ignore:.*stuck")
@pytest.mark.parametrize("fault", FAULTS)
def test_the_advice_fits_the_fault(fault: str):
    """Sees a law that is not exp f called good enough, a funnel told to move between modes, or "run longer" for all."""
    kernel, steps, said = FAULTS[fault]
    x0 = 3 * torch.randn(32, 5 if fault == "funnel" else 2, generator=rng(0, "start"))
    x0[:, 1] *= 30 if fault == "slow" else 1
    _, trace = sample(kernel, x0, steps, rng(1), 4)
    assert re.search(said, trace.summary().splitlines()[-1])


def test_a_summary_needs_no_positions():
    """Sees a summary that fails where nothing or too little was kept."""
    for keep_every in (0, 5):
        _, trace = sample(mala(cliff, 0.5), start(0), 10, rng(0), keep_every)
        assert "R̂" not in trace.summary()
        assert "accept_prob" in trace.summary()


@pytest.mark.parametrize(
    ("chains", "steps", "keep_every", "why"),
    [
        (64, 40, 0, "no positions were kept: sample(..., keep_every=10) keeps some"),
        (64, 40, 50, "no positions were kept: keep_every=50 is more than the 40 steps; lower it, or make more steps"),
        (64, 30, 10, "3 positions of each chain were kept, and it takes 4; make more steps"),
        (1, 40, 2, "one chain can only agree with itself; start several, far apart"),
    ],
)
def test_a_summary_says_why_it_does_not_judge(chains: int, steps: int, keep_every: int, why: str):
    """Sees draws of one chain, or none at all, passed over in silence."""
    _, trace = sample(mala(banana(), 0.5), start(0, chains), steps, rng(0), keep_every)
    assert trace.summary().splitlines()[-1] == f"not judged: {why}"


def test_positions_that_a_callback_got_are_not_said_to_need_keep_every():
    """Sees advice to set what is already set."""
    _, trace = sample(mala(banana(), 0.5), start(0), 40, rng(0), 10, callback=lambda *_: None)
    assert "callback got them" in trace.summary()
    assert "callback got them" in repr(trace)


def test_a_table_shows_the_worst_of_many_coordinates():
    """Sees a summary as long as an image, or that leaves the slowest coordinate out."""
    scale = torch.ones(50)
    scale[31] = 30.0
    x0 = scale * torch.randn(16, 50, generator=rng(0))
    _, trace = sample(mala(lambda x: -(x / scale).square().sum(1) / 2, 0.3), x0, 100, rng(1), 5)
    lines = trace.summary().splitlines()
    assert len(lines) < 15
    assert any(line.startswith("x31 ") for line in lines)


FAR_SETTINGS = {
    "mala": {"step_size": 1e-9},
    "anisotropic_mala": {"threshold": 1.0, "step_size": 1.0},
    "barker": {"step_size": 1.0},
    "hmc": {"step_size": 1e-9, "leapfrog_steps": 3},
    "ghmc": {"step_size": 1e-9},
    "anisotropic_ghmc": {"threshold": 8.0, "step_size": 0.25},
}


@pytest.mark.parametrize("far", [100.0, 1e4])
@pytest.mark.parametrize("name", FAR_SETTINGS)
def test_numbers_stay_finite_far_out_in_float32(name: str, far: float):
    """−x⁴ from |x| = 100 and 10⁴, where f is 10¹⁶: sees a ratio that overflows, a NaN that is told, a chain thrown."""
    x0 = far * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(20, 1)
    sampler = SAMPLERS[name](lambda x: -x.pow(4).sum(1), **FAR_SETTINGS[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        x, trace = sample(sampler, x0, 150, rng(0), keep_every=1)
    assert all(bool(torch.isfinite(trace[field]).all()) for field in trace)
    assert x.abs().max() <= far * 1.01
    assert trace.non_finite() == 0


def test_barker_comes_back_from_far_out_in_float32():
    """Sees a lean that overflows, or one that points outwards: from |x| = 100 all are back in 300 steps."""
    x0 = torch.tensor([[100.0], [-100.0]]).repeat(50, 1)
    x, _ = sample(barker(lambda x: -x.pow(4).sum(1), 1.0), x0, 300, rng(0))
    assert x.abs().max() < 3


def network(x: Tensor) -> Tensor:
    return -x.square().sum(1)


STARTS: dict[str, tuple[Any, torch.dtype]] = {
    "a list": ([[1.0, 2.0], [3.0, 4.0]], torch.float32),
    "whole numbers": (np.array([[1, 2], [3, 4]]), torch.float32),
    "an array of float64": (np.array([[1.0, 2.0], [3.0, 4.0]]), torch.float64),
    "an array that can't be written to": (np.broadcast_to(np.array([1, 2], np.float32), (2, 2)), torch.float32),
}


@pytest.mark.parametrize("name", STARTS)
def test_starts_are_taken_as_people_have_them(name: str):
    """Sees arrays that are refused, lose their precision, or are moved along with the chains."""
    x0, dtype = STARTS[name]
    before = np.array(x0)
    x, _ = sample(mala(network, 0.1), x0, 2, 0)
    assert x.dtype == dtype
    assert torch.equal(x, sample(mala(network, 0.1), torch.as_tensor(before).to(dtype), 2, rng(0, "sample"))[0])
    assert np.array_equal(before, x0)


NO_STARTS: dict[str, tuple[Any, str]] = {
    "text": ("a", "x0 must be numbers.*; got str$"),
    "text in lists": ([["a", "b"]], "x0 must be numbers.*; got list$"),
    "names": ({"x": [1.0, 2.0]}, "got dict; names need an f = anila.transform"),
    "uneven lists": ([[1.0, 2.0], [3.0]], "lists of equal length; got rows of different lengths$"),
    "complex numbers": ([[1j, 2.0]], "got torch.complex128"),
}


@pytest.mark.parametrize("name", NO_STARTS)
def test_what_are_no_starts_are_refused_in_plain_words(name: str):
    """Sees a list of NumPy's dtypes, or imaginary parts that are dropped."""
    x0, said = NO_STARTS[name]
    with pytest.raises(ValueError, match=said) as error:
        sample(mala(network, 0.1), x0, 2, 0)
    assert "supported types" not in str(error.value)


def test_arrays_become_what_a_network_computes_with():
    """Sees NumPy's float64 met by a network's float32."""
    net = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Flatten(0))
    assert sample(mala(net, 0.1), np.zeros((3, 2)), 2, 0)[0].dtype == torch.float32


def test_named_starts_are_taken():
    """Sees a dictionary of parameters that does not become the point it names."""
    f = transform(sd=HalfNormal(1.0), mean=Normal(0.0, 1.0))
    x, _ = sample(mala(f, 0.1), {"sd": [1.0, 2.0], "mean": np.array([3, 4])}, 0, 0)
    assert torch.allclose(x, torch.tensor([[0.0, 3.0], [math.log(2), 4.0]]))


@pytest.mark.parametrize("seed", [3, np.int64(3), np.uint8(3)])
def test_a_seed_is_a_generator(seed: SupportsIndex):
    """Sees seeds of NumPy that give other draws, and one that makes a warm-up share its noise with the draws after."""
    x0 = torch.zeros(4, 2)
    assert torch.equal(sample(mala(network, 0.1), x0, 2, seed)[0], sample(mala(network, 0.1), x0, 2, 3)[0])
    assert not torch.equal(sample(mala(network, 0.1), x0, 2, seed)[0], sample(mala(network, 0.1), x0, 2, 4)[0])
    a, b = (tune(lambda **kw: mala(network, **kw), x0.numpy(), 40, g) for g in (seed, rng(3, "tune")))
    assert torch.equal(a.x, b.x)


def test_a_generator_of_numpy_moves_on():
    """Sees a NumPy generator that gives the same noise twice."""
    g = np.random.default_rng(0)
    first, second = (sample(mala(network, 0.1), torch.zeros(4, 2), 2, g)[0] for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, sample(mala(network, 0.1), torch.zeros(4, 2), 2, np.random.default_rng(0))[0])


@pytest.mark.parametrize("wrong", [None, 1.5, True, "0"])
def test_what_is_no_generator_says_what_is(wrong: object):
    """Sees a seed that is guessed at."""
    with as_users_run_it(), pytest.raises(TypeError, match="generator must be a torch.Generator.*or a seed"):
        sample(mala(network, 0.1), torch.zeros(4, 2), 2, wrong)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("steps", [20, 27])
def test_steepness_is_that_of_the_kept_positions(steps: int):
    """Sees ‖∇f‖ of other steps where the last ones keep nothing: a funnel goes unseen then."""
    _, trace = sample(mala(standard, 0.5), start(0), steps, rng(0), keep_every=10)
    found = trace.steepness()
    assert found is not None
    torch.testing.assert_close(found, trace["x"][: len(found)].norm(dim=2))
    assert len(found) == (1 if steps == 20 else 2)


def test_a_trace_says_what_it_is():
    """Sees a trace that prints as the address of an object, and one whose repr fails or lies where little was kept."""
    x0 = start(0, 64)
    _, trace = sample(mala(banana(), 0.5), x0, 400, rng(0), keep_every=10)
    assert repr(trace) == (
        "Trace of 400 steps of 64 chains\n"
        "  made        uncompiled\n"
        f"  acceptance  {trace.means()['accept_prob']:.3g}\n"
        "  infos       accept_prob, step_size, grad_norm, clipped\n"
        "  kept        x (40, 64, 2), after every 10 steps\n"
        "  .summary()  says whether the draws are good enough"
    )
    f = transform(lambda mu, theta: -(theta - mu).square().sum(), mu=Normal(0.0, 1.0), theta=(real, 3))
    named = sample(mala(f, 0.1), torch.zeros(2, 4), 3, rng(0), keep_every=1)[1]
    assert "x (3, 2, 4), after every 1 step; .draws(): mu (3, 2), theta (3, 2, 3)\n" in repr(named)
    nothing = sample(langevin(banana(), 0.5), x0, 5, rng(0))[1]
    assert "no positions: sample(..., keep_every=10)" in repr(nothing)
    assert "acceptance" not in repr(nothing)
    assert repr(sample(mala(banana(), 0.5), x0, 0, rng(0))[1]).startswith("Trace of 0 steps of 64 chains\n")
    assert repr(Trace({})).startswith("Trace of 0 steps of 0 chains\n")

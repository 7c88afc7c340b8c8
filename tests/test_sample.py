"""What `sample` says and streams: stuck chains with their numbers, positions to a callback in place of the trace."""

import math
import warnings

import pytest
import torch
from torch import Tensor

from anila.core import rng
from anila.densities import banana
from anila.samplers import anisotropic_mala, barker, hmc, langevin, mala, sample


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

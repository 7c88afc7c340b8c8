"""What a warm-up gives trajectories, and where it says that they diverge."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal
from torch.distributions.constraints import positive

from anila.density.targets import gaussian
from anila.density.transform import transform
from anila.rng import rng
from anila.samplers import hmc
from anila.samplers.divergence import began, divergences_told
from anila.samplers.phase import WINDOW, Point, Window, run_phase
from anila.samplers.trajectory import best_length, persistence
from anila.samplers.warm_up import tune


def start(n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=rng(0, "start"), dtype=torch.float64)


@pytest.mark.parametrize("sd", [0.1, 1.0])
@pytest.mark.parametrize("step", [0.1, 0.3])
def test_trajectories_are_as_long_as_theory_says(sd: float, step: float):
    """|x|² of a normal law changes by sin(t / sd) after a time t, so sin² t / √t is best at 1.39 sd.

    Sees a criterion that does not count gradients (1.57: six steps of 0.3), or that knows no unit.
    """

    def make(**settings: Any) -> Any:
        return hmc(gaussian(sd, 4), (step * sd) ** 2, **settings)

    found = best_length(make, {}, sd * start(300, 4), torch.zeros(4), rng(0, "lengths"))
    assert 0.8 < found * step < 1.7


def test_lengths_do_not_depend_on_where_the_law_is():
    """Sees |x|² in the place of |x − m|²."""

    def make(**settings: Any) -> Any:
        return hmc(lambda x: gaussian(1.0, 4)(x - 100), 0.01, **settings)

    there, here = torch.full((4,), 100.0, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    lengths = [
        best_length(make, {}, there + start(300, 4), there, rng(0, "lengths")),
        best_length(lambda **kw: hmc(gaussian(1.0, 4), 0.01, **kw), {}, start(300, 4), here, rng(0, "lengths")),
    ]
    assert lengths[0] == lengths[1]


def test_a_preconditioner_is_taken_out():
    """Sees lengths and widths in the units of x where the kernel's are those of u."""
    L = torch.tensor([[3.0, 0.0], [2.0, 0.5]], dtype=torch.float64)
    points = start(4000, 2) @ L.T
    assert persistence(L, points) == pytest.approx(2, rel=0.1)
    widest = 2 * torch.linalg.svdvals(L)[0].item()
    assert persistence(None, points) == pytest.approx(widest, rel=0.1)
    assert persistence(torch.tensor([1.0, 1.0]), points) == pytest.approx(widest, rel=0.1)


def test_a_warm_up_chooses_the_length_and_leaves_a_given_one():
    """Sees ten gradients a step where two are better, and a setting of the user's overwritten."""
    f, x0 = gaussian(1.0, 10), start(32, 10)
    free = tune(lambda **kw: hmc(f, **kw), x0, 80, rng(0, "tune"))
    given = tune(lambda **kw: hmc(f, leapfrog_steps=5, **kw), x0, 40, rng(0, "tune"))
    assert free.settings["leapfrog_steps"] in (1, 2, 3)
    assert free.sampler.gradients == free.settings["leapfrog_steps"]
    assert "leapfrog_steps" not in given.settings
    assert given.sampler.gradients == 5


def test_divergences_are_told_where_they_began():
    """Sees the point proposed, or the one after, in place of the one left; and the wrong coordinate."""
    x, visited = torch.zeros(2, 3), torch.ones(2, 2, 3)
    visited[0, 1] = torch.tensor([1.0, 9.0, 1.0])
    prob = torch.tensor([[1.0, 0.5], [1.0, 1e-31]])
    left = began(x, visited, prob)
    assert left.tolist() == [[1.0, 9.0, 1.0]]
    assert "1 of 4 proposals, mostly where x1 is about 9" in divergences_told(left, 4, start(100, 3), None)
    assert divergences_told(left[:0], 4, start(100, 3), None) == "none of 4 proposals"
    named = transform(mean=Normal(torch.zeros(2), 1.0), sd=positive)
    told = divergences_told(torch.tensor([[0.0, 0.0, 5.0]]), 4, start(100, 3), named)
    assert "mostly where sd is about 148" in told


def test_divergences_at_the_end_of_a_support_are_not_put_down_to_long_steps():
    """Sees "steps are too long" of a law that ends, whose remedy is another: shorter steps lead outside as well."""

    def gamma(x: Tensor) -> Tensor:
        return torch.where(x > 0, x.abs().log() - x, -torch.inf).sum(1)

    report = tune(gamma, 1 + torch.rand(16, 1, generator=rng(0)), 80, rng(0)).report
    assert re.search("divergences .*beyond the end of a support: anila.transform keeps chains inside", report)


def test_a_divergence_in_the_first_step_of_a_window_began_where_the_window_did():
    """Sees it put where the whole phase started: chains go on by 1 a step, and each window's first one diverges."""

    def walk(_: Any, here: Point, __: torch.Generator) -> Window:
        x = here.x + torch.arange(1.0, WINDOW + 1)[:, None, None]
        accept_prob = torch.ones(x.shape[:2])
        accept_prob[0] = 0
        return Window(x, x.sum(2), x, accept_prob)

    phase = run_phase(walk, torch.zeros(2, 1), {"step_size": 1.0}, 4, 0.5, 0.5, False, rng(0))
    assert phase.diverged.flatten().tolist() == [2 * WINDOW, 2 * WINDOW, 3 * WINDOW, 3 * WINDOW]


def test_a_warm_up_names_the_coordinate_of_its_divergences():
    """Sees a report that counts none where f ends in a cliff along one coordinate."""

    def f(x: Tensor) -> Tensor:
        return -x.square().sum(1) / 2 - 1e6 * (x[:, 2] - 1).relu().square()

    tuned = tune(lambda step_size: hmc(f, step_size, 3), 0.3 * start(32, 3), 40, rng(0, "tune"), accept=0.5)
    assert "proposals, mostly where x2" in tuned.report

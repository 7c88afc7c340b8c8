"""Laws of global moves: chains change mode, in the right proportion, and the move says when it is of no use.

That exp f stays invariant is a law of test_target.
"""

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from anila.density.targets import gaussian, mixture
from anila.rng import rng
from anila.samplers import (
    Proposal,
    Sampler,
    anisotropic,
    anisotropic_mala,
    kernel_density,
    langevin,
    mala,
    replica_exchange,
    sample,
    with_global_moves,
)
from anila.samplers import mixture as random_scan
from exact import as_users_run_it, cell_cdf, distance, distance_at, mutant

CHAINS = 4000
FAR = mixture(modes=2, radius=4.0, sd=0.4)


def in_one_mode(n: int = CHAINS) -> Tensor:
    x = FAR.draw(n, rng(0, "start"))
    return torch.cat([x[:, :1].abs(), x[:, 1:]], 1)


def lopsided(points: int = 40) -> Tensor:
    """Centres of which 9 in 10 are in the mode on the left."""
    x = FAR.draw(points, rng(0, "points"))
    side = torch.where(torch.arange(points) % 10 == 0, 1.0, -1.0)
    return torch.stack([x[:, 0].abs() * side, x[:, 1]], 1)


def test_masses_of_far_modes_equalise():
    """Sees a move without its q ratio: candidates are 1 : 9, chains become 1 : 1 (5 standard errors)."""
    sampler = with_global_moves(anisotropic_mala(FAR, threshold=5.0, step_size=0.1), kernel_density(lopsided(), 0.4))
    x, trace = sample(sampler, in_one_mode(), 60, rng(0, "chains"))
    share = (x[:, 0] < 0).double().mean().item()
    assert abs(share - 0.5) < 5 * 0.5 / math.sqrt(CHAINS)
    assert 0.05 < trace.means()["global_accept"] < 0.95


def test_a_local_kernel_stays_in_its_mode():
    """Sees a test above that the local kernel alone would pass."""
    x, _ = sample(anisotropic_mala(FAR, threshold=5.0, step_size=0.1), in_one_mode(), 60, rng(0, "chains"))
    assert (x[:, 0] > 0).all()


@pytest.mark.parametrize("every", [1, 2, 3, 5])
def test_acceptance_is_traced_where_a_move_was_made(every: int):
    """Sees moves at other steps than every so many, and steps without a move that count as rejections."""
    sampler = with_global_moves(mala(FAR, 0.1), kernel_density(lopsided()), every)
    _, trace = sample(sampler, in_one_mode(50), 7, rng(0))
    made = (torch.arange(7) + 1) % every == 0
    assert torch.equal(~trace["global_accept"].isnan(), made[:, None].expand(7, 50))
    assert bool((trace["global_accept"][made] >= 0).all())
    assert trace.means()["global_accept"] == pytest.approx(trace["global_accept"][made].double().mean().item())


def test_acceptance_is_the_ratio_of_weights():
    """Sees another probability than min(1, exp(f(y) − f(x)) q(x)/q(y)) where the local step led."""
    proposal = kernel_density(lopsided())
    local, sampler = mala(FAR, 0.1), with_global_moves(mala(FAR, 0.1), proposal)
    state = sampler.init(in_one_mode(200))
    noise = sampler.draw_noise(state.x, rng(0))
    moved = local.step(state.local, noise.local)[0].x
    y = noise.candidate
    weight = FAR(y) - proposal.log_prob(y) - FAR(moved) + proposal.log_prob(moved)
    after, info = sampler.step(state, noise)
    torch.testing.assert_close(info.global_accept, weight.clamp(max=0).exp())
    taken = noise.uniform < info.global_accept
    torch.testing.assert_close(after.x, torch.where(taken[:, None], y, moved))
    assert 0 < taken.sum() < 200


@pytest.mark.parametrize(
    ("value", "slope"),
    [(math.nan, 0.0), (math.inf, 0.0), (-math.inf, 0.0), (0.0, math.inf), (0.0, math.nan)],
)
def test_a_candidate_where_f_is_not_finite_is_a_rejection(value: float, slope: float):
    """Sees chains thrown to where f or ∇f is not finite: here, the mode on the left."""

    def f(x: Tensor) -> Tensor:
        bad = x[:, 0] < 0
        x.register_hook(lambda grad: torch.where(bad[:, None], slope, grad))
        return torch.where(bad, value, FAR(x))

    sampler = with_global_moves(mala(f, 0.05), kernel_density(lopsided()))
    x, trace = sample(sampler, in_one_mode(100), 5, rng(0))
    assert (x[:, 0] > 0).all()
    assert (trace["global_accept"] == 0).any()
    assert (trace["global_accept"] > 0).any()


@pytest.mark.parametrize("local", [langevin(FAR, 0.1), anisotropic(FAR, 1.0)], ids=["langevin", "anisotropic"])
def test_an_unadjusted_kernel_is_refused(local: Sampler):
    """Sees a mixture that samples neither law."""
    with pytest.raises(ValueError, match="need a Metropolis kernel"):
        sample(with_global_moves(local, kernel_density(lopsided())), in_one_mode(10), 2, rng(0))


@pytest.mark.parametrize("several", [
    random_scan([mala(FAR, 0.1), mala(FAR, 0.5)], [1.0, 1.0]), replica_exchange(lambda f: mala(f, 0.1), FAR, (1.0, 2.0))
])  # fmt: skip
def test_a_kernel_of_several_is_refused(several: Sampler):
    """Sees a kernel that counts fail in the arithmetic of an acceptance; a mixture may hold one with global moves."""
    with pytest.raises(ValueError, match="wrap one local kernel"):
        sample(with_global_moves(several, kernel_density(lopsided())), in_one_mode(10), 2, rng(0))


A_KERNEL: Any = mala(gaussian(1.0), 0.5)
POINTS: Any = torch.zeros(5, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replica_exchange(A_KERNEL, gaussian(1.0), (1, 2)), "as in lambda f: mala.*got a kernel"),
        (lambda: with_global_moves(A_KERNEL, POINTS), r"e.g. kernel_density\(points\); got Tensor"),
        (lambda: kernel_density(POINTS[0]), r"points must be \(n, d\); got \(2,\)"),
    ],
)
def test_what_is_given_in_the_place_of_another_thing_is_named(make: Any, message: str):
    """Sees Python's words about an attribute or a call."""
    with as_users_run_it(), pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize("every", [0, -1])
def test_an_impossible_frequency_is_refused(every: int):
    """Sees a division by zero at the first step."""
    with pytest.raises(ValueError, match=f"at least 1; got {every}"):
        with_global_moves(mala(FAR, 0.1), kernel_density(lopsided()), every)


WIDE = gaussian(dim=200)


def hopeless() -> tuple[Sampler, Sampler, Tensor]:
    local = mala(WIDE, 0.1)
    proposal = kernel_density(WIDE.draw(20, rng(0, "points")), sd=0.3, uniform=0.1)
    return local, with_global_moves(local, proposal, every=2), WIDE.draw(30, rng(0, "start"))


def test_hopeless_moves_switch_themselves_off():
    """Sees moves that go on for nothing, or stop without a word: 10 rounds, then none."""
    _, sampler, x0 = hopeless()
    with pytest.warns(UserWarning, match="switched off: no candidate was accepted in 10 rounds"):
        _, trace = sample(sampler, x0, 26, rng(0))
    made = ~trace["global_accept"][:, 0].isnan()
    assert made.nonzero().flatten().tolist() == list(range(1, 20, 2))


def test_without_patience_no_chain_waits_for_another():
    """Sees moves switched off by those who run beside: then chains shared by processes would differ."""
    local, _, x0 = hopeless()
    proposal = kernel_density(WIDE.draw(20, rng(0, "points")), sd=0.3, uniform=0.1)
    _, trace = sample(with_global_moves(local, proposal, every=2, patience=None), x0, 26, rng(0))
    assert int((~trace["global_accept"][:, 0].isnan()).sum()) == 13


def test_hopeless_moves_leave_the_local_kernel():
    """Sees a state or an info that a rejected or an idle move changes."""
    local, sampler, x0 = hopeless()
    state, alone, generator = sampler.init(x0), local.init(x0), rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for _ in range(25):
            noise = sampler.draw_noise(state.x, generator)
            state, info = sampler.step(state, noise)
            alone, expected = local.step(alone, noise.local)
            assert all(map(torch.equal, info[: len(expected)], expected))
    assert all(map(torch.equal, state.local, alone))
    assert sampler.local is local


@pytest.mark.parametrize(("taken_every", "stays"), [(10, True), (11, False)])
def test_moves_that_are_sometimes_taken_stay_on(taken_every: int, stays: bool):
    """Sees idle rounds that one chain's acceptance does not reset, or that are counted wrongly."""
    sampler = with_global_moves(mala(FAR, 0.1), kernel_density(lopsided()))
    state, generator = sampler.init(in_one_mode(20)), rng(0)
    accepts = []
    with warnings.catch_warnings():
        warnings.simplefilter("error" if stays else "ignore", UserWarning)
        for k in range(1, 34):
            uniform = torch.ones(20)
            uniform[7] = 0.0 if k % taken_every == 0 else 1.0
            noise = sampler.draw_noise(state.x, generator)
            state, info = sampler.step(state, noise._replace(uniform=uniform))
            accepts.append(info.global_accept)
    assert bool(torch.stack(accepts).isnan().any()) != stays


@pytest.mark.parametrize("held", [True, False], ids=["as it is", "γ of the candidate"])
def test_held_gamma_survives_a_global_move(held: bool):
    """Sees a held γ that follows the chain: looked up at each candidate, the law is not exp f."""
    broken = mutant("anila.samplers.langevin", 'held=("gamma",)', "held=()")
    make = anisotropic_mala if held else broken.anisotropic_mala
    skewed = Proposal(lambda n, g: 2 * torch.randn(n, 1, generator=g).double(), lambda x: -x[:, 0].square() / 8)
    local = make(lambda x: (x - x.exp()).sum(1), 0.3, 6.0, refresh="iteration")
    sampler = with_global_moves(local, skewed, every=3)
    x, _ = sample(sampler, torch.zeros(100_000, 1, dtype=torch.float64), 59, rng(0))
    assert (distance(-torch.expm1(-x[:, 0].exp())) < 0.55) == held


PROPOSALS = {
    "two modes": (lopsided(), 0.4, 0.1),
    "narrow": (torch.tensor([[0.0, 0.0], [1.0, 3.0]]), 0.1, 0.3),
    "uniform": (torch.tensor([[0.0, 0.0], [1.0, 3.0]]), 0.3, 1.0),
    "far from the origin": (lopsided() + 1000, 0.4, 0.1),
}


@pytest.mark.parametrize("case", PROPOSALS)
def test_kernel_density_is_normalised_and_draws_itself(case: str):
    """Sees a constant, a volume or a weight that is wrong, which a ratio of weights would hide or not."""
    points, sd, uniform = PROPOSALS[case]
    proposal = kernel_density(points, sd, uniform)
    x = proposal.draw(100_000, rng(0, "draws"))
    low, high = (points.amin(0) - 3 * sd).double().numpy(), (points.amax(0) + 3 * sd).double().numpy()
    pad = (high - low) / 2  # so that the edges of the uniform part fall between cells
    edges = [np.linspace(a, b, 801) for a, b in zip(low - pad, high + pad, strict=True)]
    log_z, cdfs = cell_cdf(lambda y: proposal.log_prob(y).double(), edges)
    assert log_z == pytest.approx(0, abs=1e-3)
    assert max(distance_at(edges[i][1:], cdfs[i], x[:, i]) for i in (0, 1)) < 0.55


@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_kernel_density_is_its_formula(shift: float):
    """Sees an expansion of |x − p|² that cancels in float32, far from the origin too."""
    points = lopsided() + shift
    x = points[:7] + 0.1
    near = torch.distributions.Normal(points.double(), 0.4).log_prob(x[:, None].double()).sum(-1).exp().mean(1)
    volume = (points.amax(0) - points.amin(0) + 6 * 0.4).double().prod()
    expected = (0.8 * near + 0.2 / volume).log()
    for y in (x, x.double()):
        got = kernel_density(points, 0.4, 0.2).log_prob(y)
        torch.testing.assert_close(got.double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("sd", "uniform"), [(0.0, 0.1), (-1.0, 0.1), (0.3, 0.0), (0.3, 1.1), (0.3, math.nan)])
def test_an_impossible_kernel_density_is_refused(sd: float, uniform: float):
    """Sees tails thinner than a chain can reach, and a density that is none."""
    with pytest.raises(ValueError, match=f"got {sd} and {uniform}"):
        kernel_density(lopsided(), sd, uniform)


@pytest.mark.parametrize(("every", "steps", "said"), [(11, 10, True), (10, 10, False), (3, 10, False)])
@pytest.mark.parametrize("what", ["global move", "swap"])
def test_global_moves_and_swaps_that_never_come_are_said(what: str, every: int, steps: int, said: bool):
    """Sees `every` above the steps of a call: moves are counted from its first step, so none is made."""
    f = gaussian(dim=2)
    if what == "swap":
        sampler = replica_exchange(lambda f: mala(f, 0.5), f, (1.0, 2.0), every)
    else:
        sampler = with_global_moves(mala(f, 0.5), kernel_density(torch.zeros(4, 2)), every)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sample(sampler, torch.zeros(8, 2), steps, rng(0))
    assert [f"no {what} was made in {steps} steps" in str(w.message) for w in caught] == [True] * said

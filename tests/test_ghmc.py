"""Momentum that lasts: exp f, N(0, I) of p and U(−1, 1) of v stay, a fault shows, and chains come back from far out.

The method of `test_target`, here with the momentum and v beside the position: exact draws take 2 and 20 steps, and the
CDFs of functionals of all three are compared with uniform ones.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from anila import samplers
from anila.density.targets import gaussian
from anila.rng import rng
from anila.samplers import Sampler, anisotropic_ghmc, ghmc, kernel_density, sample, with_global_moves
from anila.samplers.ghmc import TO_DRAW
from anila.samplers.warm_up import tune
from exact import distance, mutant
from test_target import TARGETS, Target

DRAWS, CORRECT = 30_000, 0.7


def both(module: Any, target: Target) -> Sampler:
    """The kernel that clips kicks; with a threshold out of reach it is `ghmc`."""
    return module.anisotropic_ghmc(target.f, 1.5, target.plain["step_size"], 1.5)


KERNELS: dict[str, Callable[[Target], Sampler]] = {
    "ghmc": lambda t: ghmc(t.f, t.plain["step_size"], 1.5),
    "anisotropic_ghmc": lambda t: both(samplers, t),
    "ghmc, dense": lambda t: ghmc(t.f, t.plain["step_size"], preconditioner=torch.tensor([[1.0, 0.0], [0.5, 0.8]])),
}


def farthest(kernel: Sampler, target: Target) -> float:
    """The largest distance of a functional of (x, p, v) after 2 and 20 steps from exact draws, over the limit."""
    state, generator, worst = kernel.init(target.draw(DRAWS, rng(3, "draws"))), rng(3, "noise"), 0.0
    for k in range(1, 21):
        state, _ = kernel.step(state, kernel.draw_noise(state.x, generator))
        worst = max(worst, off(target, state)) if k in (2, 20) else worst
    return worst


def off(target: Target, state: Any) -> float:
    """The largest distance of a functional, over the limit."""
    xs = target.cdfs(state.x)
    p, v = torch.special.ndtr(state.momentum).numpy(), (state.slice.numpy() + 1) / 2
    ours = {"p0": p[:, 0], "p1": p[:, 1], "v": v, "p0 + v": (p[:, 0] + v) % 1, "x0 + v": (xs["x0"] + v) % 1}
    ours |= {"x0 + p0": (xs["x0"] + p[:, 0]) % 1, "|p|": 1 - np.exp(-state.momentum.square().sum(1).numpy() / 2)}
    return max(distance(u) for u in (xs | ours).values())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", KERNELS)
def test_positions_momenta_and_slices_keep_their_law(name: str, target: str):
    """Sees every fault below."""
    assert farthest(KERNELS[name](TARGETS[target]), TARGETS[target]) < CORRECT


RATIO = "log_ratio = value - start.value + kinetic(start.momentum) - kinetic(q)"
FAULTS: dict[str, tuple[str, str]] = {
    "p kept where it turns": ("momentum=-start.momentum", "momentum=start.momentum"),
    "v kept where it goes on": ("start.slice * (-log_ratio).exp()", "start.slice"),
    "v multiplied by r": ("start.slice * (-log_ratio).exp()", "start.slice * log_ratio.exp()"),
    "no kinetic energy": (RATIO, "log_ratio = value - start.value"),
    "energy of the old momentum": (RATIO, RATIO.replace("kinetic(start", "kinetic(state")),
    "clipped at one end only": ("q = q + eps / 2 * kick(grad)", "q = q + eps / 2 * grad"),
    "first half kick missing": ("q = start.momentum + eps / 2 * kick(start.grad)", "q = start.momentum"),
    "noise 1 − a² for its root": ("new**0.5 * noise.normal", "new * noise.normal"),
    "v falls out at 1": ("v - 2, v", "v - 1, v"),
    "v moves by where it is": ("new * noise.turn", "new * (state.slice > 0)"),
    "v of a start is positive": ("slice=2 * noise.turn - 1", "slice=noise.turn"),
    "∇f(x) kept": ("GhmcState(y, value, grad, q,", "GhmcState(y, value, start.grad, q,"),
    "accepts by fresh v": ("start.slice.abs())\n", "noise.turn)\n"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(fault: str):
    """Sees the laws above gone blind."""
    broken = mutant("anila.samplers.ghmc", *FAULTS[fault])
    assert any(farthest(both(broken, law), law) > 1 for law in TARGETS.values())


def test_a_chain_stopped_and_resumed_goes_on_to_the_bit():
    """Sees something that the next step needs and the state does not hold."""
    x0 = torch.randn(5, 2, generator=rng(0, "start"))
    make = lambda: anisotropic_ghmc(gaussian(1.0, 2), 1.0, 0.5)  # noqa: E731
    kernel, generator, states = make(), rng(0, "noise"), []
    state = kernel.init(x0)
    for _ in range(12):
        state, _ = kernel.step(state, kernel.draw_noise(state.x, generator))
        states.append(state)
    kernel, generator = make(), rng(0, "noise")
    for _ in range(6):
        kernel.draw_noise(x0, generator)
    state = type(state)(*(field.clone() for field in states[5]))
    for expected in states[6:]:
        state, _ = kernel.step(state, kernel.draw_noise(state.x, generator))
        assert all(map(torch.equal, state, expected))


def test_a_global_move_keeps_the_momentum_of_those_who_stay():
    """Sees chains that lose their momentum beside one that moved, and one that brings momentum to another place."""
    kernel = with_global_moves(ghmc(gaussian(1.0, 2), 0.5), kernel_density(torch.randn(9, 2, generator=rng(1))))
    state = kernel.init(torch.randn(200, 2, generator=rng(0, "start")))
    state, _ = kernel.step(state, kernel.draw_noise(state.x, rng(0)))
    fresh = state.local.slice == TO_DRAW
    assert 0.1 < fresh.float().mean() < 0.9
    assert bool((state.local.momentum[~fresh] != 0).all())


def far_in(kernel: Sampler) -> Tensor:
    """|x| of 32 chains of −x⁴ that began at |x| = 100, after 100 steps."""
    start = torch.randn(32, 2, generator=rng(0, "start"), dtype=torch.float64)
    x, _ = sample(kernel, 100 * start / start.norm(dim=1, keepdim=True), 100, rng(0, "far"))
    return x.norm(dim=1)


@pytest.mark.filterwarnings("ignore:.* chains (is|are) stuck")
def test_bounded_kicks_bring_chains_back_from_far_out():
    """Sees a kick that is not clipped: there every proposal is thrown to the other side and rejected."""

    def f(x: Tensor) -> Tensor:
        return -x.pow(4).sum(1)

    assert far_in(anisotropic_ghmc(f, 8.0, 0.25)).max() < 3
    assert far_in(ghmc(f, 0.25)).min() > 90


def test_a_warm_up_makes_momentum_last_for_two_widths():
    """Sees persistence in other units than the kernel's, with and without a preconditioner; and kicks clipped often."""
    sd = torch.tensor([1.0, 5.0])
    x0 = sd * torch.randn(64, 2, generator=rng(0, "start"))
    f = gaussian(sd)
    tuned = tune(lambda **kw: anisotropic_ghmc(f, **kw), x0, 120, rng(0, "tune"))
    plain = tune(lambda step_size, persistence: ghmc(f, step_size, persistence), x0, 40, rng(0, "tune"))
    assert tuned.settings["persistence"] == pytest.approx(2, rel=0.3)
    assert tuned.settings["threshold"] == pytest.approx(2.58, rel=0.2)
    assert plain.settings["persistence"] == pytest.approx(10, rel=0.3)
    _, trace = sample(tuned.sampler, tuned.x, 60, rng(0, "chains"))
    assert trace.means()["accept_prob"] == pytest.approx(0.8, abs=0.08)

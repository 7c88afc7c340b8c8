"""Barker, HMC, preconditioners, mixtures and replicas leave exp f invariant; with a fault they do not.

By the method and the limits of `test_target`: exact draws take 20 and 21 steps and are compared with exact CDFs; 40,000
of them see every fault planted here. Beside it, laws of one step.
"""

import itertools
import math
import sys
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from anila import samplers
from anila.density.targets import banana
from anila.density.targets import mixture as modes
from anila.rng import rng
from anila.samplers import (
    Noise,
    Sampler,
    anisotropic,
    anisotropic_corrected,
    anisotropic_ghmc,
    anisotropic_mala,
    barker,
    ghmc,
    hmc,
    langevin,
    mala,
    mixture,
    replica_exchange,
    sample,
    scales,
    with_global_moves,
)
from anila.samplers.precondition import DENSE_LIMIT, preconditioned
from anila.samplers.replica import fold, ladder
from anila.samplers.sample import transitions
from exact import as_users_run_it, distance, moments, mutant, stationary
from test_target import CORRECT, DRAWS, FEW, SHAPES, TARGETS, Target, farthest, seen

DENSE = torch.tensor([[1.0, 0.0], [0.5, 0.8]], dtype=torch.float64)
DIAGONAL = torch.tensor([1.3, 0.8], dtype=torch.float64)


def step_size(target: Target) -> float:
    return target.plain["step_size"]


def all_kinds(target: Target) -> Sampler:
    gamma = step_size(target)
    return mixture([mala(target.f, gamma), barker(target.f, gamma), hmc(target.f, gamma, 2)], [1.0, 2.0, 1.0])


def dense_mala(target: Target, module: Any = None) -> Sampler:
    around = module.preconditioned if module else preconditioned
    return around(target.f, DENSE, lambda f: mala(f, step_size(target)))


KERNELS: dict[str, Callable[[Target], Sampler]] = {
    "barker": lambda t: barker(t.f, 2 * step_size(t)),
    "hmc": lambda t: hmc(t.f, 0.8 * step_size(t), 3),
    "hmc, spread": lambda t: hmc(t.f, 3 * step_size(t), 3, spread=10.0),
    "mala, dense": dense_mala,
    "anisotropic_mala, diagonal": lambda t: anisotropic_mala(t.f, **t.anisotropic, preconditioner=DIAGONAL),
    "mixture": all_kinds,
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", KERNELS)
def test_exp_f_is_invariant(name: str, target: str):
    """Sees every fault below, at moderate acceptance."""
    worst, means = farthest(KERNELS[name], TARGETS[target], seed=0)
    assert worst < CORRECT
    assert 0.4 < means["accept_prob"] < 0.8


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* chains are stuck")  # some of 100,000, for a while: the law is whole
@pytest.mark.parametrize("seed", range(2, 5))
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", KERNELS)
def test_exp_f_stays_invariant_for_many_steps(name: str, target: str, seed: int):
    """Sees a bias too slow for 21 steps; held to the limit itself, so that chance fails none."""
    law = TARGETS[target]
    x, _ = sample(KERNELS[name](law), law.draw(100_000, rng(seed, "draws")), 101, rng(seed, "noise"))
    assert max(distance(u) for u in law.cdfs(x).values()) < 1


LEANS = " + log_lean(-move, proposed.grad) - log_lean(move, state.grad)"
KICK = "p = p + eps / 2 * point.grad\n            "
MOVED, AROUND = "state.x + stretch(new.x)", 'f(here["x"] + stretch(u))'
FAULTS: dict[str, tuple[str, str, str, Callable[[Any, Target], Sampler]]] = {
    f"{kind}: {name}": (f"anila.samplers.{kind}", old, new, make)
    for kind, make, faults in [
        (
            "barker",
            lambda module, t: module.barker(t.f, 2 * step_size(t)),
            {
                "ratio without q": (LEANS, ""),
                "sign reversed": ("noise.sign < ", "noise.sign > "),
                "leans at another σ than it moves": ("size * state.grad", "0.7 * size * state.grad"),
                "reverse lean at x": ("log_lean(-move, proposed.grad)", "log_lean(-move, state.grad)"),
                "ratio reversed": (LEANS, LEANS.replace("+", "~").replace(" - ", " + ").replace("~", "-")),
                "signs share the accept uniform": ("noise.sign <", "noise.uniform[:, None] <"),
                "∇f(x) kept": ("accept(state, proposed,", "accept(state, proposed._replace(grad=state.grad),"),
            },
        ),
        (
            "hmc",
            lambda module, t: module.hmc(t.f, 0.8 * step_size(t), 3),
            {
                "no kinetic energy": (" + kinetic(noise.normal) - kinetic(p)", ""),
                "kinetic energy reversed": ("kinetic(noise.normal) - kinetic(p)", "kinetic(p) - kinetic(noise.normal)"),
                "first half kick missing": (f"{KICK}point =", "point ="),
                "last half kick missing": (f"eps * p)\n            {KICK.strip()}", "eps * p)"),
                "jitter by where the chain stands": ("noise.jitter", "state.x[:, 0].sigmoid()"),
                "drift ε for ε/2": (f"{KICK}point =", f"{KICK.replace('/ 2', '/ 1.3')}point ="),
            },
        ),
        (
            "precondition",
            lambda module, t: dense_mala(t, module),
            {
                "x moved by u": (MOVED, "state.x + new.x"),
                "x moved by Lᵀu": (MOVED, "state.x + new.x @ torch.tensor([[1.0, 0.0], [0.5, 0.8]]).to(new.x)"),
                "f at x + u": (AROUND, AROUND.replace("stretch(u)", "u")),
                "f at x + L u / 2": (AROUND, AROUND.replace("stretch(u)", "stretch(u) / 2")),
            },
        ),
    ]
    for name, (old, new) in faults.items()
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(fault: str):
    """Sees an invariance test gone blind: each planted fault pushes a functional over the limit."""
    module, old, new, make = FAULTS[fault]
    broken = mutant(module, old, new)
    assert seen(lambda t: make(broken, t), seed=0)


TEMPERATURES = (1.0, 2.0, 4.0)


def rungs(target: str, n: int) -> Tensor:
    """Exact draws of exp(f/T) at each temperature, (n, rungs, 2): again log-gammas and a banana."""
    generator = np.random.default_rng(0)
    if target == "skewed":
        draws = [np.log(t * generator.gamma(SHAPES.numpy() / t, size=(n, 2))) for t in TEMPERATURES]
    else:
        normals = [math.sqrt(t) * generator.standard_normal((n, 2)) for t in TEMPERATURES]
        draws = [np.stack([a[:, 0], a[:, 0] ** 2 - 1 + a[:, 1]], 1) for a in normals]
    return torch.from_numpy(np.stack(draws, 1))


def farthest_of_replicas(module: Any, target: str, n: int = DRAWS) -> tuple[float, float]:
    """Largest distance of the cold rung after 20 and 21 steps from exact draws on every rung; mean swap acceptance."""
    law = TARGETS[target]

    def make(f: Any) -> Sampler:
        return mala(f, 2 * step_size(law))

    sampler = module.replica_exchange(make, law.f, TEMPERATURES)
    z = rungs(target, n)
    local = fold(ladder(make, law.f, TEMPERATURES).init(z.flatten(0, 1)), len(TEMPERATURES))
    state, generator, distances, swaps = sampler.init(z[:, 0])._replace(local=local), rng(0, "noise"), [], []
    for k in range(21):
        state, info = sampler.step(state, sampler.draw_noise(state.x, generator))
        swaps.append(info.swap_accept.mean())
        if k >= 19:
            distances += [distance(u) for u in law.cdfs(state.x).values()]
    return max(distances), torch.stack(swaps).mean().item()


@pytest.mark.parametrize("target", TARGETS)
def test_replicas_leave_exp_f_invariant(target: str):
    """Sees every fault of `SWAP_FAULTS`, at moderate swap acceptance, with pairs of both parities."""
    worst, swaps = farthest_of_replicas(samplers, target)
    assert worst < CORRECT
    assert 0.3 < swaps < 0.9


GAP = "(1 / t[:-1] - 1 / t[1:])"
SWAP_FAULTS = {
    "ratio reversed": (GAP, "(1 / t[1:] - 1 / t[:-1])"),
    "values at their temperature": ("f = value * t", "f = value"),
    "half the ratio": (GAP, f"0.5 * {GAP}"),
    "always swapped": ("noise.uniform < prob", "noise.uniform < 2 * tried"),
    "f and ∇f left behind": ("fold(new, rungs), MoveInfo", "local._replace(x=x), MoveInfo"),
    "f in the units of the other rung": ("swapped(local.value, taken, ratio)", "swapped(local.value, taken, ratio**0)"),
    "∇f in the units of the other rung": ("ratio.sqrt()", "ratio"),
    "one way only": ("[never, taken]", "[never, taken & False]"),
}


@pytest.mark.parametrize("fault", SWAP_FAULTS)
def test_a_faulty_exchange_is_seen(fault: str):
    """Sees an invariance test gone blind, for replica exchange."""
    broken = mutant("anila.samplers.replica", *SWAP_FAULTS[fault])
    assert any(farthest_of_replicas(broken, target, n)[0] > 1 for n in (FEW, DRAWS) for target in TARGETS)


def test_replicas_cross_between_modes():
    """Sees hot rungs that do not reach the cold one: chains from one mode become half and half (5 standard errors)."""
    far = modes(modes=2, radius=2.5, sd=0.4)
    x0 = far.draw(500, rng(0, "start"))
    x0 = torch.cat([x0[:, :1].abs(), x0[:, 1:]], 1)
    sampler = replica_exchange(lambda f: mala(f, 0.15), far, (1.0, 3.0, 9.0, 27.0))
    x, trace = sample(sampler, x0, 200, rng(0, "chains"))
    assert abs((x[:, 0] > 0).double().mean().item() - 0.5) < 5 * 0.5 / math.sqrt(500)
    assert 0.2 < trace.means()["swap_accept"] < 0.8
    alone, _ = sample(mala(far, 0.15), x0, 200, rng(0, "chains"))
    assert bool((alone[:, 0] > 0).all())


@pytest.mark.parametrize(("temperatures", "every", "tried"), [((1.0, 2.0), 2, [2, 4, 6]), ((1.0, 2.0, 4.0), 3, [3, 6])])
def test_swaps_are_tried_every_so_many_steps(temperatures: tuple[float, ...], every: int, tried: list[int]):
    """Sees swaps at other steps, and a step without one that counts as a rejection."""
    sampler = replica_exchange(lambda f: mala(f, 0.5), banana(), temperatures, every)
    _, trace = sample(sampler, torch.zeros(5, 2), 7, rng(0))
    assert ((~trace["swap_accept"].isnan()).all(1).nonzero().flatten() + 1).tolist() == tried


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "ladder from 2": (lambda: replica_exchange(lambda f: mala(f, 1.0), banana(), (2.0, 3.0)), r"rise from 1.*got \(2"),
    "one rung": (lambda: replica_exchange(lambda f: mala(f, 1.0), banana(), (1.0,)), "rise from 1"),
    "falling": (lambda: replica_exchange(lambda f: mala(f, 1.0), banana(), (1.0, 3.0, 2.0)), "rise from 1"),
    "every 0": (lambda: replica_exchange(lambda f: mala(f, 1.0), banana(), (1.0, 2.0), 0), "at least 1; got 0"),
    "unadjusted rungs": (lambda: replica_exchange(lambda f: langevin(f, 1.0), banana(), (1.0, 2.0)), "unadjusted"),
    "held γ on rungs": (
        lambda: replica_exchange(lambda f: anisotropic_mala(f, 1.0, 1.0, "iteration"), banana(), (1.0, 2.0)),
        "does not allow",
    ),
    "mixture on rungs": (
        lambda: replica_exchange(lambda f: mixture([mala(f, 1.0)], [1]), banana(), (1.0, 2.0)).init(torch.zeros(2, 2)),
        "one local kernel.*MixtureState",
    ),
    "no kernels": (lambda: mixture([], []), "positive weight"),
    "one kernel": (lambda: mixture(cast(Any, mala(banana(), 1.0)), [1.0]), "mixture takes lists"),
    "one weight": (lambda: mixture([mala(banana(), 1.0)], cast(Any, 1.0)), "mixture takes lists"),
    "no weight": (lambda: mixture([mala(banana(), 1.0)], [math.inf]), r"got \[inf\]"),
    "too few weights": (lambda: mixture([mala(banana(), 1.0)], [1.0, 2.0]), "a positive weight for 1 kernel;"),
    "weight 0": (lambda: mixture([mala(banana(), 1.0)] * 2, [1.0, 0.0]), r"got \[1.0, 0.0\]"),
    "unadjusted part": (lambda: mixture([mala(banana(), 1.0), langevin(banana(), 1.0)], [1.0, 2.0]), "unadjusted"),
    "held γ in a part": (lambda: mixture([anisotropic_mala(banana(), 1.0, 1.0, "iteration")], [1.0]), "does not allow"),
    "scale of NaN": (lambda: mala(banana(), 1.0, torch.tensor([1.0, math.nan])), "must be finite"),
    "scale of 0": (lambda: mala(banana(), 1.0, torch.tensor([1.0, 0.0])).init(torch.zeros(2, 2)), "positive scales"),
    "upper factor": (lambda: mala(banana(), 1.0, DENSE.T).init(torch.zeros(2, 2)), "not lower triangular"),
    "wrong shape": (lambda: mala(banana(), 1.0, torch.ones(3)).init(torch.zeros(2, 2)), r"of shape \(2,\).*got.*\(3,"),
    "too dense": (
        lambda: mala(banana(), 1.0, torch.eye(DENSE_LIMIT + 1)).init(torch.zeros(2, DENSE_LIMIT + 1)),
        "at most 500 rows",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_be_wrong_is_refused(case: str):
    """Sees a combination that runs and samples another law, or fails without saying what to do."""
    make, message = REFUSED[case]
    with as_users_run_it(), pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("event", [(3,), (1, 2, 2)], ids=str)
def test_one_leapfrog_step_is_mala(event: tuple[int, ...]):
    """γ = ε²: sees another convention of step_size, jitter that is not U(0.8, 1.2) on ε, and another spread."""
    x = torch.randn(6, *event, generator=rng(0), dtype=torch.float64)

    def f(x: Tensor) -> Tensor:
        return -x.flatten(1).square().sum(1).square() / 4 + x.flatten(1).sum(1)

    plain, spread = hmc(f, 0.3, 1), hmc(f, 0.3, 1, spread=4.0)
    noise = plain.draw_noise(x, rng(0, "noise"))
    cases = [(plain, 0.0, 0.8), (plain, 0.5, 1.0), (plain, 1.0, 1.2), (spread, 0.0, 0.2), (spread, 0.5, 0.5)]
    for sampler, jitter, factor in cases:
        here = noise._replace(jitter=torch.full((6,), jitter, dtype=torch.float64))
        state, info = sampler.step(sampler.init(x), here)
        reference = mala(f, 0.3 * factor**2)
        expected, expected_info = reference.step(reference.init(x), Noise(here.normal, here.uniform))
        torch.testing.assert_close(state.x, expected.x)
        torch.testing.assert_close(info.accept_prob, expected_info.accept_prob)
        torch.testing.assert_close(info.step_size, expected_info.step_size)


def test_the_error_of_a_trajectory_is_of_second_order():
    """Sees kicks that are not halves at both ends: over a fixed time, error in energy falls 4-fold when ε is halved."""
    x = torch.randn(2000, 2, generator=rng(0), dtype=torch.float64)
    errors = []
    for gamma, steps in [(0.01, 10), (0.0025, 20)]:
        sampler = hmc(banana(), gamma, steps)
        noise = sampler.draw_noise(x, rng(0, "noise"))._replace(jitter=torch.full((2000,), 0.5, dtype=torch.float64))
        errors.append(1 - sampler.step(sampler.init(x), noise)[1].accept_prob.mean().item())
    assert 3.5 < errors[0] / errors[1] < 4.5


@pytest.mark.parametrize("slope", [-3.0, 0.0, 0.4, 30.0])
def test_barker_draws_its_law(slope: float):
    """Sees moves that are not 2 N(w; 0, γ) sigmoid(w ∂f), the law that the ratio assumes."""
    n, gamma = 100_000, 0.5
    sampler = barker(lambda x: slope * x[:, 0], gamma)
    noise = sampler.draw_noise(torch.zeros(n, 1, dtype=torch.float64), rng(0))
    zeros = torch.zeros(n, dtype=torch.float64)
    w = sampler.step(sampler.init(zeros[:, None]), noise._replace(uniform=zeros))[0].x[:, 0].numpy()
    grid = np.linspace(-8 * math.sqrt(gamma), 8 * math.sqrt(gamma), 20_001)
    density = 2 * stats.norm.pdf(grid, scale=math.sqrt(gamma)) / (1 + np.exp(-np.clip(grid * slope, -500, 500)))
    cdf = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(grid))])
    assert cdf[-1] == pytest.approx(1, abs=1e-6)
    assert distance(np.interp(w, grid, cdf)) < 0.55


LOCAL: dict[str, Callable[..., Sampler]] = {
    "langevin": lambda f, **kw: langevin(f, 0.1, **kw),
    "anisotropic": lambda f, **kw: anisotropic(f, 0.7, 0.3, **kw),
    "corrected": lambda f, **kw: anisotropic_corrected(f, 0.7, 0.1, **kw),
    "mala": lambda f, **kw: mala(f, 0.3, **kw),
    "anisotropic_mala": lambda f, **kw: anisotropic_mala(f, 0.7, 0.3, **kw),
    "held": lambda f, **kw: anisotropic_mala(f, 0.7, 0.3, "iteration", **kw),
    "barker": lambda f, **kw: barker(f, 0.3, **kw),
    "hmc": lambda f, **kw: hmc(f, 0.1, 3, **kw),
    "ghmc": lambda f, **kw: ghmc(f, 0.3, **kw),
    "anisotropic_ghmc": lambda f, **kw: anisotropic_ghmc(f, 0.7, 0.3, **kw),
}


def apart(make: Callable[..., Sampler], L: Tensor) -> float:
    """Largest distance of 5 preconditioned steps from L times the same steps on u ↦ f(L u)."""
    dense = L.ndim == 2
    u = torch.randn(50, 2, generator=rng(0), dtype=torch.float64)

    def to_x(u: Tensor) -> Tensor:
        return u @ L.T if dense else u * L

    x, _ = sample(make(banana(), preconditioner=L), to_x(u), 5, rng(0, "noise"))
    v, _ = sample(make(lambda u: banana()(to_x(u))), u, 5, rng(0, "noise"))
    return (x - to_x(v)).abs().max().item()


@pytest.mark.parametrize("L", [DIAGONAL, DENSE], ids=["diagonal", "dense"])
@pytest.mark.parametrize("name", LOCAL)
def test_a_preconditioner_is_a_change_of_variables(name: str, L: Tensor):
    """Sees a kernel that uses more than differences of positions, or a preconditioner that it ignores."""
    assert apart(LOCAL[name], L) < 1e-9
    assert apart(lambda f, preconditioner=None: LOCAL[name](f), L) > 1e-2  # noqa: ARG005


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(u.flatten(1) @ L.T)", "((u @ L.T).detach() + u @ L - (u @ L).detach())"),
        (MOVED, "state.x + new.x"),
        (AROUND, AROUND.replace("stretch(u)", "u")),
    ],
    ids=["L for Lᵀ in the gradient", "x moved by u", "f at x + u"],
)  # fmt: skip
def test_a_wrong_change_of_variables_is_seen(old: str, new: str):
    """Sees the law above gone blind; L ∇f for Lᵀ∇f leaves exp f invariant, so only this law can see it."""
    broken = mutant("anila.samplers.precondition", old, new)
    assert apart(lambda f, preconditioner=None: broken.preconditioned(f, preconditioner, LOCAL["mala"]), DENSE) > 1e-2


def test_a_dense_image_preconditioner_acts_on_flattened_events():
    """Sees a factor applied along one axis: an image is a vector of its numbers."""
    d = 12
    L = torch.eye(d, dtype=torch.float64) + 0.3 * torch.ones(d, d, dtype=torch.float64).tril(-1)
    x = torch.randn(4, d, generator=rng(0), dtype=torch.float64)

    def f(x: Tensor) -> Tensor:
        return -x.flatten(1).pow(4).sum(1)

    flat, _ = sample(mala(f, 0.01, L), x, 5, rng(0))
    image, _ = sample(mala(f, 0.01, L), x.view(4, 1, 3, 4), 5, rng(0))
    torch.testing.assert_close(image.flatten(1), flat)


def test_global_moves_go_around_a_preconditioner():
    """Sees a move that leaves the preconditioned state behind: the chain afterwards is that of a fresh start."""
    proposal = samplers.kernel_density(banana().draw(20, rng(0)), 0.5)
    sampler = with_global_moves(mala(banana(), 0.5, torch.tensor([1.5, 0.5])), proposal)
    x0 = banana().draw(50, rng(0, "start"))
    once, _ = sample(sampler, x0, 6, generator := rng(0, "noise"))
    twice, _ = sample(sampler, sample(sampler, x0, 3, rng(0, "noise"))[0], 0, generator)
    assert torch.equal(twice, sample(sampler, x0, 3, rng(0, "noise"))[0])
    generator = rng(0, "noise")
    x, _ = sample(sampler, x0, 3, generator)
    assert torch.equal(sample(sampler, x, 3, generator)[0], once)


def test_a_mixture_chooses_by_weight():
    """Sees weights that are ignored, reversed or off by one (5 standard errors), and a choice a chain."""
    kernels = [mala(banana(), 0.1), mala(banana(), 0.2), mala(banana(), 0.4)]
    _, trace = sample(mixture(kernels, [1.0, 5.0, 2.0]), torch.zeros(3, 2), 800, rng(0))
    which = trace["kernel"][:, 0]
    for k, share in enumerate((1 / 8, 5 / 8, 2 / 8)):
        assert abs((which == k).double().mean().item() - share) < 5 * math.sqrt(share * (1 - share) / 800)
        assert bool((trace["step_size"][which == k] == torch.tensor((0.1, 0.2, 0.4)[k])).all())
    assert bool((trace["kernel"] == which[:, None]).all())


SCALES = torch.tensor([0.5, 2.0])
MIXED: dict[str, Callable[[Any], list[Sampler]]] = {
    "one f": lambda f: [mala(f, 0.1), anisotropic_mala(f, 1.0, 1.0)],
    "other coordinates": lambda f: [mala(f, 0.1), mala(f, 0.1, preconditioner=SCALES)],
    "momentum": lambda f: [mala(f, 0.1), ghmc(f, 0.1)],
    "f not told": lambda f: [mala(f, 0.1)._replace(f=None), mala(f, 0.5)._replace(f=None)],
}


@pytest.mark.parametrize("kind", ["one f", "other coordinates"])
@pytest.mark.parametrize("stale", [False, True], ids=["as it is", "the other kernel's state"])
def test_a_step_of_a_mixture_is_a_step_of_its_kernel(stale: bool, kind: str):
    """Sees a kernel that goes on from another one's state: from the same x it would have made another step."""
    fresh = "state.local if noise.choice == state.choice else arrived(kernels[noise.choice], state)"
    module = mutant("anila.samplers.mixture", fresh, "state.local") if stale else samplers
    kernels = MIXED[kind](banana())
    sampler, generator = module.mixture(kernels, [1.0, 1.0]), rng(0)
    state, same = sampler.init(torch.zeros(50, 2)), []
    for _ in range(20):
        noise = sampler.draw_noise(state.x, generator)
        kernel = kernels[noise.choice]
        expected, _ = kernel.step(kernel.init(state.x), noise.local)
        state, _ = sampler.step(state, noise)
        same.append(torch.equal(state.x, expected.x))
    assert all(same) != stale


@pytest.mark.parametrize(
    ("kind", "more"), [("one f", 0.0), ("other coordinates", 0.5), ("momentum", 0.5), ("f not told", 0.5)]
)
def test_what_a_step_of_a_mixture_costs(kind: str, more: float):
    """Sees gradients that are computed anew where f and ∇f are known, and a cost that is not what steps cost."""
    f, evaluations = banana(), itertools.count()

    def counted(x: Tensor) -> Tensor:
        next(evaluations)
        return f(x)

    sampler = mixture(MIXED[kind](counted), [1.0, 1.0])
    transitions(sampler, torch.zeros(3, 2), 400, rng(0))
    found = (next(evaluations) - sampler.ahead) / 400
    assert abs(sampler.gradients - 1 - more) < 1e-9
    assert abs(found - sampler.gradients) < 4 * math.sqrt(0.25 / 400)


def test_the_probe_estimates_the_divergence():
    """Sees a slope that is not (∂ᵢγᵢ)ᵢ on average over probes, in two coupled dimensions."""
    x = banana().draw64(5, rng(0))
    scale = scales.threshold(0.6, 0.8)

    def gamma(z: Tensor) -> Tensor:
        (grad,) = torch.autograd.grad(banana()(z[None]).sum(), z, create_graph=True)
        return scale(grad)

    def jacobian(z: Tensor) -> Tensor:
        z = z.clone().requires_grad_(True)
        return torch.stack([torch.autograd.grad(gamma(z)[i], z)[0] for i in range(2)])

    expected = torch.stack([jacobian(z).diagonal() for z in x])
    probes = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    module = sys.modules["anila.samplers.corrected"]
    slopes = [module.with_slope(banana(), scale, x, v.expand(5, 2))[2] for v in probes]
    torch.testing.assert_close(torch.stack(slopes).mean(0), expected)
    assert expected.abs().max() > 0.1


def law(make: Callable[[Any], Sampler], low: float = 12.0, cells: int = 1201) -> tuple[float, float]:
    """Variance and kurtosis of the stationary law, on a grid, of a kernel on N(0, 1): its mean and sd from the code."""
    grid = np.linspace(-low, low, cells)
    x = torch.from_numpy(grid)[:, None]
    sampler = make(lambda x: -x.square().sum(1) / 2)
    noise = sampler.draw_noise(x, rng(0))
    at = [sampler.step(sampler.init(x), noise._replace(normal=torch.full_like(x, xi)))[0].x[:, 0] for xi in (0.0, 1.0)]
    return moments(stationary(at[0].numpy(), (at[1] - at[0]).numpy(), grid), grid)


def test_the_corrected_drift_has_no_bias_at_small_steps():
    """Sees a divergence with another factor or sign; the uncorrected kernel keeps the bias at any step."""
    variance, kurtosis = law(lambda f: anisotropic_corrected(f, 1.0, 0.05), 8.0)
    assert variance == pytest.approx(1, abs=0.02)
    assert kurtosis == pytest.approx(3, abs=0.1)
    assert law(lambda f: anisotropic(f, 1.0, 0.05), 8.0)[0] > 1.3


@pytest.mark.parametrize(
    ("old", "new"), [("+ slope) / 2", "- slope) / 2"), ("+ slope) / 2", ") / 2"), ("+ slope) / 2", ") / 2 + slope")]
)
def test_a_wrong_correction_is_seen(old: str, new: str):
    """Sees the law above gone blind."""
    broken = mutant("anila.samplers.corrected", old, new)
    assert abs(law(lambda f: broken.anisotropic_corrected(f, 1.0, 0.05), 8.0)[0] - 1) > 0.1


def test_the_corrected_drift_fails_at_large_steps():
    """Expects what the module's page says of step_size 1: variance 1.4 at b = 1, 4.8 at b = 0.1, where exp f has 1."""
    assert law(lambda f: anisotropic_corrected(f, 1.0, 1.0))[0] == pytest.approx(1.435, abs=0.005)
    assert 4.5 < law(lambda f: anisotropic_corrected(f, 0.1, 1.0), 60.0, 2401)[0] < 5.2

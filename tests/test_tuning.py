"""Laws of the warm-up: it reaches its acceptance, undoes bad scales, says what it dropped, and repeats itself."""

import math
import re
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from anila.density.log_density import value_and_grad
from anila.density.targets import banana, double_well, funnel, gaussian
from anila.rng import rng
from anila.samplers import (
    Sampler,
    anisotropic_mala,
    barker,
    descent,
    ghmc,
    hmc,
    kernel_density,
    langevin,
    mala,
    mixture,
    replica_exchange,
    sample,
    with_global_moves,
)
from anila.samplers.adaptation import OneKernel
from anila.samplers.metric import preconditioner
from anila.samplers.pathfinder import Point as Uphill
from anila.samplers.pathfinder import searched, starts
from anila.samplers.phase import Point, Settings, Window, run_phase, window
from anila.samplers.warm_up import SPREAD, Tuned, tune
from compilers import compiling
from exact import mutant

D = 100
VARIANCES = torch.logspace(-2, 2, D)
ROTATION = torch.linalg.qr(torch.randn(D, D, generator=rng(0, "rotation"), dtype=torch.float64))[0].float()


def stretched(x: Tensor) -> Tensor:
    """A Gaussian of condition 1e4 along the axes."""
    return -(x.square() / VARIANCES).sum(1) / 2


def rotated(x: Tensor) -> Tensor:
    """The same, along no axis."""
    return stretched(x @ ROTATION)


MAKES: dict[str, Callable[..., Callable[..., Sampler]]] = {
    "mala": lambda f: lambda **kw: mala(f, **kw),
    "anisotropic_mala": lambda f: lambda **kw: anisotropic_mala(f, **kw),
    "barker": lambda f: lambda **kw: barker(f, **kw),
    "ghmc": lambda f: lambda **kw: ghmc(f, **kw),
    "hmc": lambda f: lambda **kw: hmc(f, leapfrog_steps=5, **kw),
}
FREE = MAKES | {"hmc": lambda f: lambda **kw: hmc(f, **kw)}
"""All of their settings to be found."""


def tuned_from(f: Any, name: str, x0: Tensor, steps: int = 200, seed: int = 0) -> Tuned:
    return tune(MAKES[name](f), x0, steps, rng(seed, "tune"))


def start(n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=rng(0, "start"))


TARGETS = {"banana": banana(), "double well": double_well(), "narrow": gaussian(1e-2, 2), "wide": gaussian(1e3, 2)}
CASES = [(name, target) for name in MAKES for target in TARGETS if (name == "mala") != (target == "banana")]


@pytest.mark.parametrize(("name", "target"), CASES)
def test_the_frozen_kernel_accepts_as_aimed(name: str, target: str):
    """Sees a step_size that is not the last one's mean, adapted the wrong way, or by another aim than the kernel's."""
    tuned = tuned_from(TARGETS[target], name, start(64, TARGETS[target].dim))
    _, trace = sample(tuned.sampler, tuned.x, 45, rng(0, "chains"))
    aim = 0.9 if "careful" in tuned.report else {"hmc": 0.7, "ghmc": 0.8}.get(name, 0.57)
    assert trace.means()["accept_prob"] == pytest.approx(aim, abs=0.08)


def test_tuning_is_a_function_of_its_generator():
    """Sees hidden randomness, and a generator that is ignored."""
    one, again, other = (tuned_from(banana(), "anisotropic_mala", start(32, 2), 80, seed) for seed in (0, 0, 1))
    assert torch.equal(one.x, again.x)
    assert one.report == again.report
    assert one.settings["step_size"] == again.settings["step_size"] != other.settings["step_size"]


def variance_error(f: Any, name: str, back: Tensor | None = None) -> tuple[Tuned, float]:
    """Largest relative error of a variance after tuning, from 400 chains that start at N(0, 1)."""
    tuned = tuned_from(f, name, start(400, D), 400)
    _, trace = sample(tuned.sampler, tuned.x, 600, rng(0, "chains"), keep_every=10)
    x = trace["x"].flatten(0, 1)
    x = x @ back if back is not None else x
    return tuned, (x.var(0) / VARIANCES - 1).abs().max().item()


@pytest.mark.parametrize(
    ("f", "back"),
    [pytest.param(stretched, None, marks=pytest.mark.slow), (rotated, ROTATION)],
    ids=["axes", "rotated"],
)
def test_an_ill_conditioned_gaussian_is_sampled(f: Any, back: Tensor | None):
    """d = 100, condition 1e4: sees a variance off by 5%, along the axes and rotated by a dense matrix."""
    tuned, error = variance_error(f, "mala", back)
    assert error < 0.05
    assert re.search("preconditioner  dense, .*, kept", tuned.report)


@pytest.mark.slow
@pytest.mark.parametrize(("f", "back"), [(stretched, None), (rotated, ROTATION)], ids=["axes", "rotated"])
def test_an_ill_conditioned_gaussian_is_sampled_anisotropically(f: Any, back: Tensor | None):
    """The same with a threshold, whose steps are shorter in 100 dimensions: over three times the steps."""
    tuned = tuned_from(f, "anisotropic_mala", start(400, D), 1000)
    _, trace = sample(tuned.sampler, tuned.x, 2000, rng(0, "chains"), keep_every=10)
    x = trace["x"].flatten(0, 1)
    x = x @ back if back is not None else x
    assert (x.var(0) / VARIANCES - 1).abs().max().item() < 0.05


def test_hmc_keeps_a_good_preconditioner_in_few_dimensions():
    """Sees trajectories of the warm-up that end where they began, with which every good preconditioner seems bad."""
    factor = torch.tensor([[1.0, 0, 0, 0], [1.0, 1.0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 2.0]])
    tuned = tune(lambda x: gaussian(1.0, 4)(x @ factor), start(32, 4), 400, rng(0, "tune"))
    assert "kept" in tuned.report


def test_without_a_preconditioner_it_is_not_sampled():
    """Sees a law above that needs no preconditioner."""
    plain = tune(lambda step_size: mala(stretched, step_size), start(400, D), 400, rng(0, "tune"))
    _, trace = sample(plain.sampler, plain.x, 300, rng(0, "chains"), keep_every=10)
    assert (trace["x"].flatten(0, 1).var(0) / VARIANCES - 1).abs().max() > 0.5
    assert "takes none" in plain.report


@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("shape", ["dense", "diagonal"])
def test_a_gaussian_is_known_from_points_of_any_spread(shape: str, spread: float):
    """L Lᵀ = Σ exactly: sees an estimate that waits for chains to have mixed."""
    L = torch.tensor([[2.0, 0.0, 0.0], [0.5, 0.1, 0.0], [-3.0, 0.2, 30.0]], dtype=torch.float64)
    sigma = L @ L.T if shape == "dense" else (L @ L.T).diag().diag()
    x = spread * torch.randn(400 if shape == "dense" else 14, 3, generator=rng(0), dtype=torch.float64)
    found = preconditioner(x, -x @ torch.linalg.inv(sigma))
    found = found @ found.T if shape == "dense" else found.square().diag()
    torch.testing.assert_close(found, sigma, rtol=1e-4, atol=1e-4)


def test_a_harmful_preconditioner_is_dropped_loudly():
    """Sees a scale that is kept although the chain is slower with it, or dropped without a word."""
    wrong = mutant(
        "anila.samplers.warm_up",
        "L, grads = improved(old, phase.points, phase.grads)",
        "L, grads = 10 ** torch.arange(8.0), phase.grads",
    )

    def f(x: Tensor) -> Tensor:
        return -x.square().sum(1) / 2

    with pytest.warns(UserWarning, match="preconditioner diagonal, .*, dropped: .*acceptance was"):
        tuned = wrong.tune(MAKES["mala"](f), start(2, 8), 400, rng(0))
    assert tuned.settings["preconditioner"] is None
    assert "dropped" in tuned.report
    _, trace = sample(tuned.sampler, tuned.x, 200, rng(0, "chains"))
    assert trace.means()["accept_prob"] == pytest.approx(0.57, abs=0.1)


@pytest.mark.parametrize("chains", [4, 100])
def test_a_rotated_target_with_few_points_is_not_a_stall(chains: int):
    """A diagonal of a rotated target: sees a report that hides what was kept, and chains that stopped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        tuned = tuned_from(rotated, "mala", start(chains, D), 200)
    assert re.search(r"preconditioner  (diagonal|dense), .*, (kept|dropped)", tuned.report)
    _, trace = sample(tuned.sampler, tuned.x, 100, rng(0, "chains"))
    assert trace.means()["accept_prob"] > 0.2


def test_the_threshold_is_a_quantile_of_the_gradients():
    """Sees a threshold in other units than the kernel's gradients, or far from 1-3 over the scale."""
    tuned = tuned_from(gaussian(100.0, 2), "anisotropic_mala", start(64, 2))
    assert tuned.settings["threshold"] == pytest.approx(1.44, abs=0.25)  # of N(0, 1), in units of Lᵀ∇f
    plain = tune(
        lambda step_size, threshold: anisotropic_mala(gaussian(100.0, 2), threshold, step_size),
        100 * start(64, 2),
        290,
        rng(0),
    )
    assert plain.settings["threshold"] == pytest.approx(0.0144, abs=0.003)


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (MAKES["mala"](banana()), {"step_size", "preconditioner"}),
        (MAKES["anisotropic_mala"](banana()), {"step_size", "threshold", "preconditioner"}),
        (lambda step_size: mala(banana(), step_size), {"step_size"}),
        (lambda step_size, threshold: anisotropic_mala(banana(), threshold, step_size), {"step_size", "threshold"}),
        (lambda **kw: anisotropic_mala(banana(), threshold=2.0, **kw), {"step_size", "preconditioner"}),
        (
            lambda **kw: with_global_moves(mala(banana(), **kw), kernel_density(start(9, 2))),
            {"step_size", "preconditioner"},
        ),
        (lambda **kw: replica_exchange(lambda f: mala(f, **kw), banana(), (1.0, 2.0)), {"step_size", "preconditioner"}),
        (lambda step_size: mixture([mala(banana(), step_size), mala(banana(), 0.5)], [1.0, 1.0]), {"step_size"}),
    ],
    ids=["mala", "anisotropic", "step only", "no preconditioner", "own threshold", "global", "replicas", "mixture"],
)  # fmt: skip
def test_what_make_takes_is_what_is_tuned(make: Callable[..., Sampler], settings: set[str]):
    """Sees a setting that the user chose overwritten, and kernels around kernels that cannot be tuned."""
    tuned = tune(make, start(32, 2), 80, rng(0))
    assert set(tuned.settings) == settings
    _, trace = sample(tuned.sampler, tuned.x, 20, rng(0, "chains"))
    assert trace.means()["accept_prob"] == pytest.approx(0.57, abs=0.2)


class Net(torch.nn.Module):
    """A log-density with weights."""

    def __init__(self):
        super().__init__()
        self.centre = torch.nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return -(x - self.centre).square().sum(1)


@pytest.mark.parametrize("f", [torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2)).log_prob, Net()])
def test_a_log_density_alone_is_given_to_hmc(f: Any):
    """Sees f taken for what makes a kernel, and settings that the default kernel has but its own call has not."""
    alone, named = tune(f, start(32, 2), 80, rng(0)), tune(lambda **kw: hmc(f, **kw), start(32, 2), 80, rng(0))
    assert alone.report == named.report
    assert torch.equal(alone.x, named.x)


@pytest.mark.parametrize(
    ("make", "steps", "error", "message"),
    [
        (lambda **kw: langevin(banana(), **kw), 100, ValueError, "needs a Metropolis kernel"),
        (lambda **kw: descent(banana(), **kw), 100, ValueError, "needs a Metropolis kernel"),
        (lambda step_size: mala(banana(), step_size), 39, ValueError, "at least 40; got 39"),
        (lambda gamma: mala(banana(), gamma), 100, TypeError, "a function of step_size.*it said: step_size must be"),
        (lambda x: x.undefined, 100, TypeError, "give a log-density.*it said: 'Tensor' object has no attribute"),
        (lambda x: x.numpy(), 100, ValueError, "anila.from_numpy takes NumPy code"),
    ],
)
def test_what_cannot_be_tuned_is_refused(make: Any, steps: int, error: type[Exception], message: str):
    """Sees a warm-up that has nothing to aim at, or too little to measure it with."""
    with pytest.raises(error, match=message):
        tune(make, start(8, 2), steps, rng(0))


@pytest.mark.parametrize("accept", [-0.2, 0.0, 1.0, 1.5])
def test_an_acceptance_that_cannot_be_reached_is_refused(accept: float):
    """Sees steps that shrink or grow without end, and a warm-up that takes 0 for its own choice."""
    with pytest.raises(ValueError, match=f"accept must lie between 0 and 1, the acceptance to aim at; got {accept}"):
        tune(banana(), start(8, 2), 40, rng(0), accept=accept)


def test_a_hopeless_warm_up_says_so():
    """Sees a report of acceptance 0 in a calm voice."""

    def f(x: Tensor) -> Tensor:  # finite where the chains start and nowhere else
        return torch.where(x.abs().sum(1) == 2.0, 0.0, -math.inf) + 0 * x.sum(1)

    with pytest.warns(UserWarning, match="acceptance is far below its target"):
        tuned = tune(lambda step_size: mala(f, step_size), torch.ones(8, 2), 60, rng(0))
    assert "acceptance      0.000" in tuned.report


ILL = torch.linalg.qr(torch.randn(5, 5, generator=rng(0, "ill"), dtype=torch.float64))[0]
ILL = ILL * 63 ** -torch.arange(0, 1.1, 0.25)
"""Columns as long as the standard deviations along them, 1 to 1/63: condition 3,969."""


def ill(x: Tensor) -> Tensor:
    """N(1, ILL ILLᵀ)."""
    return -(torch.linalg.solve(ILL, (x - 1).T)).square().sum(0) / 2


CAUCHY = torch.distributions.Cauchy(0.0, 1.0).icdf(torch.rand(32, 5, generator=rng(0, "start")))
BAD_STARTS = {
    "ten": 10 * torch.randn(32, 5, generator=rng(0, "start")),
    "hundred": 100 * torch.randn(32, 5, generator=rng(0, "start")),
    "zero": torch.zeros(32, 5),
    "Cauchy": CAUCHY,
}


@pytest.mark.parametrize("name", BAD_STARTS)
def test_bad_starts_come_home(name: str):
    """Sees settings poisoned by chains far out, and chains that never come home: 100 steps, default settings."""
    tuned = tune(MAKES["anisotropic_mala"](ill), BAD_STARTS[name].double(), 100, rng(0, "tune"))
    assert "were far out and moved along the best" in tuned.report
    u = torch.linalg.solve(ILL, (tuned.x - 1).T)
    assert u.square().sum(0).max() < 30  # χ² of 5: one chain of 32 in 2,000 such tests
    _, trace = sample(tuned.sampler, tuned.x, 200, rng(0, "chains"))
    assert trace.means()["accept_prob"] == pytest.approx(0.57, abs=0.1)


def test_good_starts_stay_where_they_are():
    """Sees an optimiser that moves chains into a mode of its own: two modes of one mass keep their chains."""

    def two(x: Tensor) -> Tensor:
        return torch.logsumexp(-(x[:, None] - torch.tensor([[-8.0], [8.0]])).square().sum(2) / 2, 1)

    x0 = torch.cat([start(16, 2) - 8, start(16, 2) + 8])
    tuned = tune(MAKES["mala"](two), x0, 80, rng(0))
    assert "as given: none is far" in tuned.report
    assert torch.equal(tuned.x.mean(1) > 0, x0.mean(1) > 0)


def test_a_mode_without_mass_is_left():
    """Sees chains kept in a mode that holds e⁻¹⁰⁰ of the mass, where the highest f alone is no reason to go."""

    def f(x: Tensor) -> Tensor:
        wide, narrow = -(x + 60).square().sum(1) / 2, 5 - 100 - (x - 60).square().sum(1) / 2
        return torch.logaddexp(wide, narrow)

    x0 = torch.cat([start(16, 2) - 75, start(16, 2) + 75])
    tuned = tune(MAKES["mala"](f), x0, 80, rng(0))
    assert bool((tuned.x < 0).all())
    assert "along the best 16 of 32 uphill paths" in tuned.report


def test_a_path_into_a_neck_without_mass_ends():
    """Sees an optimiser that climbs for as long as it may where f rises for ever: 2,700 calls of f."""
    asked = 0

    def neck(x: Tensor) -> Tensor:
        v, rest = x[:, 0], x[:, 1:]
        narrow = rest.square().sum(1) * (-2 * v).exp() / 2
        return -2 * v - narrow - (2 * v).exp() / 2 - (rest - 1).square().sum(1) / 8

    def at(x: Tensor) -> Uphill:
        nonlocal asked
        asked += 1
        return Uphill(x, *value_and_grad(neck, x))

    starts(at, 10 * start(8, 4).double(), 400, rng(0, "tune"))
    assert asked < 1200


@pytest.mark.filterwarnings("ignore:preconditioner dense, .*, dropped")
def test_chains_whose_f_is_their_own_stay_apart():
    """Sees a chain put in the place of another that has another f: row k looks at its own observation, 100 k."""
    y = 100 * torch.arange(8.0)[:, None]

    def f(x: Tensor) -> Tensor:
        return -(x - y.repeat_interleave(len(x) // 8, 0)).square().sum(1) / 2

    tuned = tune(MAKES["mala"](f), (y + start(8, 2))[:, :2], 80, rng(0))
    assert "f differs from row to row" in tuned.report
    assert (tuned.x - y).abs().max() < 8


@pytest.mark.parametrize(("slope", "most"), [(1e-11, 0), (1.0, 11)])
def test_a_search_ends_where_no_number_shows_a_rise(slope: float, most: int):
    """Sees thirty evaluations spent beside the top of a hill, where rounding of f is all that moves."""
    tried = []

    def lower(x: Tensor) -> Uphill:
        tried.append(len(x))
        return Uphill(x, torch.full_like(x[:, 0], 1e6 - 1), torch.full_like(x, slope))

    start = Uphill(torch.zeros(2, 1).double(), torch.full((2,), 1e6).double(), torch.full((2, 1), slope).double())
    reached = searched(lower, start, torch.ones(2, 1).double())
    assert torch.equal(reached.value, start.value)
    assert len(tried) == most


def test_starts_without_a_value_are_refused_or_replaced():
    """Sees chains that stand at f = −∞ for ever, and a warm-up of nothing but such chains."""

    def f(x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > 0, x[:, 0].clamp(min=1e-9).log(), -math.inf) - x.square().sum(1) / 2

    tuned = tune(MAKES["mala"](f), start(32, 2), 80, rng(0))
    assert bool((tuned.x[:, 0] > 0).all())
    assert re.search(r"starts +1\d of 32 were far out", tuned.report)
    with pytest.raises(ValueError, match="at none of the 8: start nearer"):
        tune(MAKES["mala"](f), -start(8, 2).abs(), 80, rng(0))


@pytest.mark.parametrize("inside", [0, 1])
@pytest.mark.parametrize("outside", [math.nan, -math.inf])
def test_paths_begin_where_f_is_finite(inside: int, outside: float):
    """A ball far smaller than the starts: sees none of them good refused, or one path for all where one is good."""

    def ball(x: Tensor) -> Tensor:
        return torch.where(x.norm(dim=1) < 3, -x.square().sum(1) / 2, outside)

    x0 = 30 * start(32, 4)
    x0[:inside] /= 100
    assert int(ball(x0 - x0.mean(0)).isfinite().sum()) <= 1
    tuned = tune(MAKES["mala"](ball), x0 - (1 - inside) * x0.mean(0), 80, rng(0))
    assert re.search(f"starts +{32 - inside} of 32 were far out and moved along .* of 32 uphill paths", tuned.report)


def bordered(inside: Callable[[Tensor], Tensor], f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.where(inside(x), f(x), -math.inf)


BORDERS = {
    "a tail": bordered(lambda x: x[:, 0] > 1, lambda x: -x.square().sum(1) / 2),
    "a corner of slopes": bordered(lambda x: (x > 0).all(1), lambda x: -x @ torch.tensor([1.0, 3.0, 10.0]).double()),
    "a wedge": bordered(lambda x: (x[:, 0] > 0) & (x[:, 1] > x[:, 0]), lambda x: -2 * (x + 1).square().sum(1)),
}


@pytest.mark.parametrize("name", BORDERS)
def test_chains_come_home_to_a_border(name: str):
    """Sees paths that end where a border stops them, and no normal law chosen where each has a draw outside.

    f was 10³ to 10⁵ below the mass.
    """
    f = BORDERS[name]
    found = starts(lambda x: Uphill(x, *value_and_grad(f, x)), 100 * start(32, 3).double(), 300, rng(0, "tune"))
    assert found.far >= 31
    assert found.kept > 20
    assert f(found.x).min() > -30


@pytest.mark.filterwarnings("ignore:acceptance is far above")
def test_stranded_chains_are_moved_in_the_warm_up_and_never_after():
    """Sees a chain left 10⁶ nats below the others, where there are too many numbers for an optimiser."""
    x0 = start(8, 501)
    x0[3] += 100
    tuned = tune(MAKES["mala"](gaussian(1.0, 501)), x0, 120, rng(0))
    assert re.search("starts +as given.*stranded +moved onto other chains [1-9]", tuned.report, re.DOTALL)
    assert tuned.x[3].abs().max() < 10
    assert "at most 500" in tuned.report


@pytest.mark.parametrize(("dim", "chains"), [(31, 32), (100, 8), pytest.param(100, 32, marks=pytest.mark.slow)])
def test_a_short_warm_up_conditions_rotated_targets(dim: int, chains: int):
    """300 steps: sees a preconditioner that is diagonal without a word, or that knows too little."""
    Q = torch.linalg.qr(torch.randn(dim, dim, generator=rng(dim), dtype=torch.float64))[0]
    L = Q * torch.logspace(-1, 1, dim, dtype=torch.float64)

    def f(x: Tensor) -> Tensor:
        return -(torch.linalg.solve(L, x.T)).square().sum(0) / 2

    tuned = tune(MAKES["anisotropic_mala"](f), start(chains, dim).double(), 300, rng(0))
    condition = torch.linalg.cond(torch.linalg.solve(L, tuned.settings["preconditioner"])) ** 2
    assert condition < 1.5
    assert f"points of {dim} numbers" in tuned.report


def test_acceptance_that_is_too_high_is_said():
    """Sees a step_size that was still growing in a calm voice."""
    with pytest.warns(UserWarning, match="acceptance is far above its target"):
        tune(lambda step_size: mala(gaussian(1.0, 2), 1e-9 * step_size), start(32, 2), 40, rng(0))


def quartic(x: Tensor) -> Tensor:
    return -x.pow(4).sum(1)


@pytest.mark.parametrize("threshold", [1.0, 2.0, 5.0, 10.0])
def test_chains_come_back_from_far_out(threshold: float):
    """From |x| = 100 on −x⁴ in 16 to 218 steps: sees a clipped chain that is slower, or rejected out there."""
    x0 = torch.tensor([[100.0], [-100.0]]).repeat(50, 1)
    _, trace = sample(anisotropic_mala(quartic, threshold), x0, 218, rng(0), keep_every=1)
    back = (trace["x"].abs() < 2).all((1, 2)).nonzero()
    assert 16 <= back[0].item() + 1 <= 218


def test_a_long_warm_up_is_bolder_where_it_pays():
    """Ten normals are crossed faster with less clipped: sees the bolder phase dropped, or made though not asked for."""
    tuned = tuned_from(gaussian(1.0, 10), "anisotropic_mala", start(32, 10), 500)
    assert "(target 0.53)" in tuned.report
    assert tuned.settings["threshold"] == pytest.approx(2.6, abs=0.4)  # the 99% quantile of |N(0, 1)|
    held = tune(MAKES["anisotropic_mala"](gaussian(1.0, 10)), start(32, 10), 500, rng(0, "tune"), accept=0.57)
    assert "(target 0.57)" in held.report
    assert held.settings["threshold"] == pytest.approx(1.44, abs=0.25)


def test_a_bolder_phase_that_does_not_pay_is_dropped():
    """Sees longer steps kept whatever they cost, on light tails, or given to a kernel that gets stuck with them."""
    aims = [tuned_from(quartic, "anisotropic_mala", start(32, 2), 500, seed).report for seed in range(2)]
    assert all("(target 0.57)" in report for report in aims)
    assert "(target 0.57)" in tuned_from(gaussian(1.0, 10), "mala", start(32, 10), 500).report


def test_momentum_takes_careful_steps_where_chains_stand_still():
    """Sees chains left standing in the neck of a funnel, or shorter steps where none stands or against one's wish."""
    report = tuned_from(funnel(2), "hmc", start(64, 2), 240).report
    assert "(target 0.90)" in report
    assert re.search(r"careful +chains stood still for 10 steps in \d.\d% of cases .*at target acceptance 0.70", report)
    even = tuned_from(gaussian(1.0, 2), "hmc", start(32, 2), 160).report
    held = tune(MAKES["hmc"](funnel(2)), start(64, 2), 240, rng(0, "tune"), accept=0.7).report
    assert all("(target 0.70)" in said and "careful" not in said for said in (even, held))


def test_steps_are_of_many_lengths_where_proposals_diverge():
    """Sees one length in neck and mouth of a funnel, and many where they are not called for, or against one's wish."""
    found = tuned_from(funnel(9), "hmc", start(64, 10), 240)
    assert found.settings["spread"] == SPREAD
    assert re.search(r"careful +.*\d.\d% of proposals diverged .*at target acceptance 0.70", found.report)
    even = tuned_from(gaussian(1.0, 2), "hmc", start(32, 2), 160)
    held = tune(MAKES["hmc"](funnel(9)), start(64, 10), 240, rng(0, "tune"), accept=0.7)
    assert all(tuned.settings["spread"] == 1 and "spread" not in tuned.report for tuned in (even, held))


def test_divergences_that_another_momentum_mends_call_for_no_care():
    """Sees short steps of many lengths, at five times the gradients, where f ends at a border or falls steeply."""

    def bordered(x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > -1.5, -x.square().sum(1) / 2, -math.inf)

    for f, d in ((bordered, 4), (lambda x: (x - x.exp()).sum(1), 1)):
        tuned = tune(partial(hmc, f, leapfrog_steps=1), 0.1 * start(64, d), 400, rng(0, "tune"))
        assert re.search(r"divergences +[1-9][\d,]* of", tuned.report)
        assert "careful" not in tuned.report
        assert tuned.settings["spread"] == 1


def test_the_end_of_a_support_calls_for_no_care():
    """A cube, from whose corners most directions lead out. Sees steps so short that chains hardly move."""

    def cube(x: Tensor) -> Tensor:
        return torch.where(((x > 0) & (x < 1)).all(1), 0 * x.sum(1), -math.inf)

    x0 = torch.rand(32, 5, generator=rng(0, "start"), dtype=torch.float64)
    tuned = tune(partial(hmc, cube), x0, 200, rng(0, "tune"))
    assert "careful" not in tuned.report
    assert "f is not finite where" in tuned.report


@pytest.mark.parametrize("name", ["mala", "anisotropic_mala", "barker"])
@pytest.mark.parametrize("chains", [1, 40])
def test_points_without_a_spread_give_a_diagonal(name: str, chains: int):
    """Sees a Cholesky factor of nothing: from 10⁴ on −x⁴ in float32, chains have hardly moved when L is made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuned = tuned_from(quartic, name, torch.full((chains, 3), 1e4), 80)
    assert bool(torch.isfinite(tuned.x).all())
    assert "preconditioner  d" in tuned.report
    x = torch.ones(40, 3)
    assert torch.equal(preconditioner(x, -4 * x**3), torch.ones(3))


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("name", ["anisotropic_mala", "mala"])
def test_tuning_comes_back_from_far_out(name: str, dim: int):
    """Sees a warm-up that is lost where f is a million times steeper than where it belongs."""
    tuned = tuned_from(quartic, name, torch.full((200, dim), 100.0), 200)
    assert tuned.x.abs().max() < 2.5
    _, trace = sample(tuned.sampler, tuned.x, 200, rng(0, "chains"), keep_every=4)
    assert trace["x"].var().item() == pytest.approx(math.gamma(0.75) / math.gamma(0.25), rel=0.05)


@pytest.mark.filterwarnings("ignore:preconditioner dense, .*, dropped")
@pytest.mark.parametrize("dim", [1, 3])
def test_tuning_brings_barker_back_from_far_out_in_float32(dim: int):
    """Sees a first step so short that the rounding of f = 10⁸ rejects it for ever."""
    tuned = tuned_from(quartic, "barker", torch.full((200, dim), 100.0), 400)
    assert tuned.x.abs().max() < 2.5


class Bare(NamedTuple):
    """A state that remembers nothing."""

    x: Tensor


def test_a_state_that_does_not_keep_f_is_named():
    """Sees an AttributeError out of the warm-up for a kernel of one's own."""

    def make(step_size: float) -> Sampler:
        kernel = mala(lambda x: -x.square().sum(1), step_size)
        return kernel._replace(init=lambda x: Bare(x))

    with pytest.raises(TypeError, match="has no value and no grad"):
        tune(make, torch.zeros(8, 2), 100, rng(0, "tune"))


@compiling
@pytest.mark.parametrize("name", ["anisotropic_mala", "barker", "ghmc", "hmc"])
def test_a_compiled_warm_up_finds_what_an_uncompiled_one_does_and_sampling_takes_its_code(name: str):
    """Sees noise in another order, a state that keeps the settings of the window before, or a second compilation."""
    from anila.samplers.compiled.graphs import GRAPHS

    f, x0 = gaussian(0.1, 2), 3 * start(16, 2)
    plain, quick = (tune(FREE[name](f), x0, 80, rng(0, "tune"), compile=compile) for compile in (False, True))
    torch.testing.assert_close(quick.x, plain.x, rtol=1e-3, atol=1e-3)
    for setting, value in plain.settings.items():
        torch.testing.assert_close(quick.settings[setting], value, rtol=1e-3, atol=1e-3)
    (made,) = GRAPHS[quick.sampler.step].values()
    _, trace = sample(quick.sampler, quick.x, 2, rng(0), compile=True)
    assert trace.how == "in C++"
    assert [*GRAPHS[quick.sampler.step].values()] == [made]


@pytest.mark.parametrize("name", ["anisotropic_mala", "mala", "barker", "hmc"])
def test_a_state_where_f_is_known_is_that_of_the_point(name: str):
    """Sees a step of the window before kept in the state: a chain that is stuck would keep it for ever."""
    more = {"threshold": 1.0} if name == "anisotropic_mala" else {}
    kernel = MAKES[name](gaussian(0.1, 2))(step_size=0.3, **more)
    state = kernel.init(start(4, 2))
    assert kernel.at
    for a, b in zip(kernel.at(state.x, state.value, state.grad), state, strict=True):
        assert torch.equal(a, b)


def test_a_chain_that_is_moved_onto_another_has_its_f():
    """Sees f or ∇f of the place that it left, from which a compiled warm-up would go on."""
    f, x = gaussian(1.0, 2), start(8, 2)
    x[3] = 1e3

    def walk(settings: Settings, here: Point, generator: torch.Generator) -> Window:
        if here.value is not None and here.grad is not None:
            torch.testing.assert_close(here.value, f(here.x))
            torch.testing.assert_close(here.grad, -here.x)
        kernel = mala(f, **settings)
        return window(kernel, kernel.init(here.x), generator)

    assert run_phase(walk, x, {"step_size": 0.1}, 2, 0.85, 0.57, True, rng(0, "phase")).moved


@pytest.mark.parametrize("L", [None, torch.tensor([1.0, 3.0]), torch.tensor([[1.0, 0.0], [0.5, 2.0]])])
def test_one_kernel_serves_every_preconditioner(L: Tensor | None):
    """Sees settings of an earlier call kept, or a scale a coordinate spread over a factor wrongly."""
    x = start(4, 2)
    one = OneKernel(
        lambda **kw: mala(gaussian(0.1, 2), **kw), {"step_size": torch.ones(()), "preconditioner": torch.eye(2)}
    )
    one.now({"step_size": 5.0, "preconditioner": torch.tensor([[2.0, 0.0], [1.0, 1.0]])})
    kernel, plain = one.now({"step_size": 0.1, "preconditioner": L}), mala(gaussian(0.1, 2), 0.1, preconditioner=L)
    noise = plain.draw_noise(x, rng(0))
    for a, b in zip(kernel.step(kernel.init(x), noise)[0], plain.step(plain.init(x), noise)[0], strict=True):
        torch.testing.assert_close(a, b)


def test_what_was_found_reads_as_its_report():
    """Sees functions and tensors printed, hundreds of lines of them, where somebody looks at what was tuned."""
    tuned = tune(lambda x: -x.square().sum(1), torch.zeros(8, 2), 200, rng(0))
    head, *lines = repr(tuned).splitlines()
    assert head == "Tuned in 200 steps of 8 chains"
    assert [line[2:] for line in lines] == tuned.report.splitlines()

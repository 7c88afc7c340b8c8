"""What every kernel of `SAMPLERS` promises, whatever its law: purity, rows apart, shapes, loud mistakes.

And what the Langevin family promises of one step: γ∇f = step_size · clip(∇f, −b, b), noise of sd
√(temperature · γ), and the published parametrisations as special cases.
"""

import inspect
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from anila.density.log_density import gradient
from anila.rng import rng
from anila.samplers import (
    SAMPLERS,
    Info,
    Noise,
    Proposal,
    Sampler,
    anisotropic,
    anisotropic_corrected,
    anisotropic_mala,
    barker,
    descent,
    ghmc,
    hmc,
    langevin,
    mala,
    mixture,
    replica_exchange,
    sample,
    with_global_moves,
)  # fmt: skip
from anila.samplers.kernel import among, draw_block
from anila.samplers.trace import Trace
from exact import as_users_run_it

SETTINGS: dict[str, dict[str, Any]] = {
    "langevin": {"step_size": 0.3, "temperature": 0.5},
    "anisotropic": {"threshold": 0.7, "step_size": 0.5},
    "anisotropic_corrected": {"threshold": 0.7, "step_size": 0.3},
    "mala": {"step_size": 0.6},
    "anisotropic_mala": {"threshold": 0.7, "step_size": 0.8},
    "barker": {"step_size": 0.6},
    "hmc": {"step_size": 0.3, "leapfrog_steps": 3},
    "ghmc": {"step_size": 0.3, "persistence": 2.0},
    "anisotropic_ghmc": {"threshold": 0.7, "step_size": 0.3},
    "descent": {"step_size": 0.3},
}
"""One row a sampler: a new one is enrolled in these tests by a row here."""

EVENTS = [(3,), (1, 4, 4), (2, 3)]
EVENT = EVENTS[0]
METROPOLIS = ["mala", "anisotropic_mala", "barker", "hmc", "ghmc", "anisotropic_ghmc"]
LASTS = [name for name in METROPOLIS if "ghmc" in name]
"""Kernels whose momentum outlasts a step."""
UNADJUSTED = [name for name in SETTINGS if name not in METROPOLIS]


def bowl(x: Tensor) -> Tensor:
    """Quartic, tilted, and with every coordinate in the gradient of every other."""
    z = x.flatten(1)
    return -z.square().sum(1).square() / (4 * z.shape[1]) + z.sum(1)


def diagonal(event: tuple[int, ...]) -> Tensor:
    return torch.linspace(0.5, 1.5, math.prod(event), dtype=torch.float64).view(event)


def dense(event: tuple[int, ...]) -> Tensor:
    d = math.prod(event)
    return torch.eye(d, dtype=torch.float64) + torch.full((d, d), 0.2, dtype=torch.float64).tril(-1)


def normal_proposal(event: tuple[int, ...]) -> Proposal:
    return Proposal(
        lambda n, g: torch.randn(n, *event, generator=g),
        lambda x: -x.flatten(1).square().sum(1) / 2,
    )


KERNELS: dict[str, Callable[..., Sampler]] = {
    **{name: lambda f, _, name=name: SAMPLERS[name](f, **SETTINGS[name]) for name in SETTINGS},
    "anisotropic, γ held": lambda f, _: anisotropic(f, 0.7, 0.5, refresh="iteration"),
    "anisotropic_mala, γ held": lambda f, _: anisotropic_mala(f, 0.7, 0.8, refresh="iteration"),
    "global moves": lambda f, event: with_global_moves(mala(f, 0.6), normal_proposal(event), every=2),
    "langevin, diagonal": lambda f, event: langevin(f, 0.3, preconditioner=diagonal(event)),
    "corrected, dense": lambda f, event: anisotropic_corrected(f, 0.7, 0.3, preconditioner=dense(event)),
    "hmc, diagonal": lambda f, event: hmc(f, 0.3, 3, preconditioner=diagonal(event)),
    "ghmc, dense": lambda f, event: ghmc(f, 0.3, preconditioner=dense(event)),
    "barker, dense": lambda f, event: barker(f, 0.3, preconditioner=dense(event)),
    "anisotropic_mala, dense, γ held": lambda f, event: anisotropic_mala(f, 1.0, 0.8, "iteration", dense(event)),
    "mixture": lambda f, _: mixture([mala(f, 0.6), hmc(f, 0.3, 2), barker(f, 0.6)], [0.3, 0.3, 0.4]),
    "replicas": lambda f, _: replica_exchange(lambda f: anisotropic_mala(f, 0.7, 0.8), f, (1.0, 2.0, 5.0), every=2),
}
PLAIN = [*(name for name in SETTINGS if name != "hmc"), *(name for name in KERNELS if name[-4:] in ("held", "oves"))]
PLAIN = [name for name in PLAIN if "dense" not in name]
"""Kernels whose info is told in the coordinates of x, at the step_size given."""
every_kernel = pytest.mark.parametrize("name", KERNELS)
every_event = pytest.mark.parametrize("event", EVENTS, ids=str)


def points(n: int, event: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, *event, generator=rng(0, "points"), dtype=dtype)


def noises(sampler: Sampler, x: Tensor, steps: int = 4) -> list[Any]:
    generator = rng(0, "noise")
    return [sampler.draw_noise(x, generator) for _ in range(steps)]


def run(sampler: Sampler, x: Tensor, noise: Iterable[Any]) -> list[tuple[Any, Any]]:
    """(state, info) after each step."""
    state, visited = sampler.init(x), []
    for one in noise:
        state, info = sampler.step(state, one)
        visited.append((state, info))
    return visited


def tensors(tree: Any) -> list[Tensor]:
    """The tensors in nested tuples, in order."""
    if isinstance(tree, Tensor):
        return [tree]
    return [t for branch in tree for t in tensors(branch)] if isinstance(tree, tuple | list) else []


def rows(tree: Any, index: list[int]) -> Any:
    """The tree with these rows of every tensor in it."""
    if isinstance(tree, Tensor):
        return tree[index]
    return type(tree)(*(rows(branch, index) for branch in tree)) if isinstance(tree, tuple) else tree


def test_every_sampler_is_enrolled():
    """Sees a row of `SAMPLERS` that no law below is asked of."""
    assert set(SETTINGS) == set(SAMPLERS), "give the new sampler a row in SETTINGS"


@every_event
@every_kernel
def test_a_step_is_a_pure_function(name: str, event: tuple[int, ...]):
    """Sees hidden state, hidden randomness, and inputs changed in place."""
    sampler, x = KERNELS[name](bowl, event), points(6, event)
    visited = run(sampler, x, noises(sampler, x, 3))
    inputs = visited[0][0], noises(sampler, x, 1)[0]
    before = [t.clone() for t in tensors(inputs)]
    first = tensors(sampler.step(*inputs))
    torch.manual_seed(1)
    assert all(map(torch.equal, first, tensors(sampler.step(*inputs))))
    assert all(map(torch.equal, before, tensors(inputs)))
    assert torch.equal(x, points(6, event))


@every_kernel
def test_the_global_generator_is_left_alone(name: str):
    """Sees randomness that is not an argument."""
    before = torch.get_rng_state()
    sample(KERNELS[name](bowl, EVENT), points(6, EVENT), 4, rng(0))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("index", [[5, 3, 0, 1, 4, 2], [4, 0], [2]], ids=["permuted", "two", "alone"])
@every_event
@every_kernel
def test_rows_do_not_talk(name: str, event: tuple[int, ...], index: list[int]):
    """Sees a mean, a norm or an acceptance taken over the chains: rows alone go where they went together."""
    sampler, x = KERNELS[name](bowl, event), points(6, event)
    noise = noises(sampler, x)
    together = run(sampler, x, noise)
    apart = run(sampler, x[index], [rows(one, index) for one in noise])
    for left, right in zip(tensors(together), tensors(apart), strict=True):
        torch.testing.assert_close(left[index], right, rtol=1e-10, atol=1e-12, equal_nan=True)


@every_kernel
def test_a_lost_chain_is_alone(name: str):
    """Sees a NaN that spreads: one chain that cannot move leaves the others as they were."""

    def f(x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > 50, torch.nan, bowl(x))

    sampler, x = KERNELS[name](f, EVENT), points(6, EVENT)
    noise = noises(sampler, x)
    lost = x.clone()
    lost[3] = 100.0
    others = [0, 1, 2, 4, 5]
    assert torch.equal(run(sampler, lost, noise)[-1][0].x[others], run(sampler, x, noise)[-1][0].x[others])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@every_event
@every_kernel
def test_shapes_and_dtypes_are_kept(name: str, event: tuple[int, ...], dtype: torch.dtype):
    """Sees a step that broadcasts, flattens, or changes precision."""
    sampler, x = KERNELS[name](bowl, event), points(6, event, dtype)
    for state, info in run(sampler, x, noises(sampler, x)):
        assert (state.x.shape, state.x.dtype) == (x.shape, dtype)
        assert {field.shape for field in info} == {(6,)}
        assert {field.dtype for field in info} == {dtype}
        assert info._fields[: len(Info._fields)] == Info._fields


@pytest.mark.parametrize("name", PLAIN)
def test_info_tells_of_the_point_left(name: str):
    """Sees a norm, a γ or a fraction of the point reached, or averaged over the chains."""
    sampler, x = KERNELS[name](bowl, EVENT), points(6, EVENT)
    (_, info), *_ = run(sampler, x, noises(sampler, x, 1))
    z = x.clone().requires_grad_(True)
    (grad,) = torch.autograd.grad(bowl(z).sum(), z)
    b = 0.7 if "anisotropic" in name else math.inf
    shortens = math.inf if name in LASTS else b
    step_size = SETTINGS.get(name, {}).get("step_size") or {
        "anisotropic, γ held": 0.5,
        "global moves": 0.6,
    }.get(name, 0.8)
    gamma = step_size * (grad.abs() / shortens).clamp(min=1).reciprocal()
    torch.testing.assert_close(info.grad_norm, grad.square().sum(1).sqrt())
    torch.testing.assert_close(info.step_size, gamma.mean(1))
    torch.testing.assert_close(info.clipped, (grad.abs() > b).double().mean(1))


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True")
@pytest.mark.parametrize("setting", ["step_size", "threshold", "temperature", "persistence"])
@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_holds_the_graphs_of_all_steps(name: str, setting: str):
    """Sees memory that grows from step to step, and a gradient of draws that leaves out that of ∇f."""
    if setting not in SETTINGS[name]:
        return
    wants = torch.tensor(SETTINGS[name][setting], requires_grad=True)
    kernel = SAMPLERS[name](lambda x: -x.square().sum(1) / 2, **SETTINGS[name] | {setting: wants})
    with suppress(ValueError):
        x, trace = sample(kernel, torch.zeros(4, 3), 2, rng(0))
        assert not any(value.requires_grad for value in (x, *trace.values()))


@every_kernel
def test_sample_is_a_loop_of_steps(name: str):
    """Sees a loop that keeps the wrong positions, skips an info, or draws noise in another order."""
    sampler, x0 = KERNELS[name](bowl, EVENT), points(6, EVENT)
    x, trace = sample(sampler, x0, 7, rng(0, "noise"), keep_every=3)
    visited = run(sampler, x0, noises(sampler, x0, 7))
    assert torch.equal(x, visited[-1][0].x)
    assert torch.equal(trace["x"], torch.stack([visited[2][0].x, visited[5][0].x]))
    for field in visited[0][1]._fields:
        expected = torch.stack([getattr(info, field) for _, info in visited])
        torch.testing.assert_close(trace[field], expected, rtol=0, atol=0, equal_nan=True)


@every_kernel
def test_noise_drawn_in_bulk_is_that_of_single_steps(name: str):
    """Sees compiled chains go another way than uncompiled ones: a field drawn in another order, or of another law."""
    sampler, x = KERNELS[name](bowl, EVENT), points(6, EVENT)
    block, singles = draw_block(sampler, x, 3, rng(0, "noise")), noises(sampler, x, 3)
    if not isinstance(block, list):
        singles = [torch.stack(column) for column in zip(*singles, strict=True)]
    assert all(map(torch.equal, tensors(block), tensors(singles)))


@pytest.mark.parametrize(("steps", "keep_every", "kept"), [(6, 0, 0), (6, 1, 6), (6, 6, 1), (6, 7, 0), (0, 2, 0)])
def test_trace_keeps_every_so_many(steps: int, keep_every: int, kept: int):
    """Sees the start kept, the end left out, or a partial stride kept."""
    x0 = points(4, (2, 3))
    x, trace = sample(mala(bowl, 0.5), x0, steps, rng(0), keep_every)
    assert trace["x"].shape == (kept, 4, 2, 3)
    assert {trace[name].shape for name in trace if name != "x"} <= {(steps, 4)}
    assert torch.equal(x, trace["x"][-1] if kept and steps % keep_every == 0 else x)
    assert steps > 0 or torch.equal(x, x0)


@every_kernel
def test_the_same_generator_gives_the_same_chains(name: str):
    """Sees results that are not a function of (f, start, seed), and a seed that is ignored."""
    sampler, x0 = KERNELS[name](bowl, EVENT), points(6, EVENT)
    x, trace = sample(sampler, x0, 5, rng(0, "chains"), keep_every=1)
    again, other_trace = sample(sampler, x0, 5, rng(0, "chains"), keep_every=1)
    assert torch.equal(x, again)
    assert torch.equal(trace["x"], other_trace["x"])
    other, _ = sample(sampler, x0, 5, rng(1, "chains"))
    assert torch.equal(other, x) == (name == "descent")


@every_kernel
def test_chains_run_apart_as_they_run_together(name: str):
    """Sees noise that depends on who else runs, in which process or micro-batch."""
    sampler, x0 = KERNELS[name](bowl, EVENT), points(7, EVENT)
    x, trace = sample(sampler, x0, 5, rng(0, "chains"), keep_every=2)
    parts = [slice(0, 3), slice(3, 4), slice(4, 7)]
    apart = [sample(among(sampler, p, 7), x0[p], 5, rng(0, "chains"), keep_every=2) for p in parts]
    torch.testing.assert_close(torch.cat([end for end, _ in apart]), x)
    beside = Trace.beside([trace for _, trace in apart])
    assert list(beside) == list(trace)
    for field in trace:
        torch.testing.assert_close(beside[field], trace[field], equal_nan=True)


@every_kernel
def test_positions_are_all_that_a_chain_remembers(name: str):
    """Sees a state that outlives its positions: 4 + 4 steps are 8, unless γ, a ladder or momentum is kept."""
    sampler, x0, generator = KERNELS[name](bowl, EVENT), points(6, EVENT), rng(0)
    x = sample(sampler, sample(sampler, x0, 4, generator)[0], 4, generator)[0]
    assert torch.equal(x, sample(sampler, x0, 8, rng(0))[0]) == (
        "held" not in name and "ghmc" not in name and name != "replicas"
    )


@every_kernel
def test_no_gradient_lands_on_parameters(name: str):
    """Sees θ moved by its own chains, a flag that does not survive, and chains that drag a graph along."""
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)).double()
    net[0].bias.requires_grad_(False)
    flags = [p.requires_grad for p in net.parameters()]
    sampler = KERNELS[name](net, EVENT)
    x, trace = sample(sampler, points(6, EVENT).requires_grad_(True), 4, rng(0), keep_every=2)
    assert all(p.grad is None for p in net.parameters())
    assert [p.requires_grad for p in net.parameters()] == flags
    assert not x.requires_grad
    assert not any(trace[field].requires_grad for field in trace)


@pytest.mark.parametrize("gone", ["no_grad", "enable_grad"])
@every_kernel
def test_chains_run_in_any_gradient_mode(name: str, gone: str):
    """Sees chains that need the caller to switch gradients on."""
    sampler, x0 = KERNELS[name](bowl, EVENT), points(6, EVENT)
    with getattr(torch, gone)():
        assert torch.equal(sample(sampler, x0, 4, rng(0))[0], sample(sampler, x0, 4, rng(0))[0])


@every_kernel
def test_a_kernel_tells_its_log_density(name: str):
    """Sees a wrapper around f, or around a kernel, that forgets f: draws would lose their names."""
    assert KERNELS[name](bowl, EVENT).f is bowl


BAD_STARTS = {
    "integers": (torch.zeros(4, 3, dtype=torch.int64), r"floating-point.*got torch\.int64 of shape \(4, 3\)"),
    "one axis": (torch.zeros(4), r"of shape \(4,\); x0\[None\] is one chain of 4 numbers, x0\[:, None\] 4 chains"),
    "ragged": ([[1.0, 2.0], [3.0]], "x0 must be numbers.*lengths"),
    "words": (["a", "b"], "x0 must be numbers"),
    "nobody": (torch.zeros(0, 3), r"of shape \(0, 3\)"),
    "NaN": (
        torch.tensor([[0.0], [torch.nan], [torch.inf]]),
        "2 of 3 chains start at a NaN or infinite point",
    ),
}


@pytest.mark.parametrize("case", BAD_STARTS)
def test_a_bad_start_is_refused(case: str):
    """Sees chains that run from where no chain can."""
    x0, message = BAD_STARTS[case]
    with as_users_run_it(), pytest.raises(ValueError, match=message):
        sample(mala(bowl, 0.5), x0, 2, rng(0))


@pytest.mark.parametrize(("steps", "keep_every"), [(-1, 0), (3, -2)])
def test_a_negative_count_is_refused(steps: int, keep_every: int):
    """Sees a loop that silently does nothing."""
    with pytest.raises(ValueError, match=f"got {steps} and {keep_every}"):
        sample(mala(bowl, 0.5), points(4, EVENT), steps, rng(0), keep_every)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: bowl(x)[:, None], r"expected shape \(\d+,\).*got \(\d+, 1\)"),
        (lambda x: bowl(x).sum(), r"expected shape \(\d+,\).*got \(\)"),
        (lambda x: bowl(x).detach(), "does not depend on x"),
    ],
    ids=["column", "scalar", "detached"],
)
@every_kernel
def test_a_wrong_f_is_refused(name: str, f: Callable[[Tensor], Tensor], message: str):
    """Sees an f that would be broadcast against the chains, or has no gradient."""
    with pytest.raises(ValueError, match=message):
        sample(KERNELS[name](f, EVENT), points(6, EVENT), 2, rng(0))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("step_size", v) for v in (0.0, -0.1, math.nan, math.inf)),
        *(("threshold", v) for v in (0.0, -1.0, math.nan)),
        *(("persistence", v) for v in (0.0, -1.0, math.nan)),
        *(("temperature", v) for v in (-1.0, math.nan, math.inf)),
        ("refresh", "sometimes"),
        *(("leapfrog_steps", v) for v in (0, -1)),
    ],
)
@pytest.mark.parametrize("name", SETTINGS)
def test_an_impossible_setting_is_refused(name: str, setting: str, value: Any):
    """Sees a setting that runs and means nothing; one that a kernel does not have is a TypeError."""
    make = SAMPLERS[name]
    known = setting in inspect.signature(make).parameters
    expected = ValueError if known else TypeError
    with as_users_run_it(), pytest.raises(expected, match=setting) as refusal:
        make(bowl, **{**SETTINGS[name], setting: value})
    assert not known or repr(value) in str(refusal.value)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_kernel_says_what_it_is(name: str):
    """Sees a fact that is not so: on a flat f a step's mean square is γ T; what counts as clipped is above b."""
    settings = SETTINGS[name] | ({"leapfrog_steps": 1} if name == "hmc" else {})
    kernel = SAMPLERS[name](lambda x: 0 * x.sum(1), **settings)
    x = torch.zeros(20_000, 1, dtype=torch.float64)
    (state, _), *_ = run(kernel, x, noises(kernel, x, 1))
    assert state.x.square().mean().item() == pytest.approx(settings["step_size"] * kernel.temperature, rel=0.05)
    assert kernel.exact == (name in METROPOLIS)
    x = points(500, EVENT)
    kernel = SAMPLERS[name](bowl, **SETTINGS[name])
    (_, info), *_ = run(kernel, x, noises(kernel, x, 1))
    torch.testing.assert_close(info.clipped, (gradient(bowl, x).abs() > kernel.threshold).double().mean(1))


@pytest.mark.parametrize("name", METROPOLIS)
def test_a_metropolis_kernel_has_no_temperature(name: str):
    """Sees an acceptance at one temperature of a proposal at another."""
    with pytest.raises(TypeError, match="temperature"):
        SAMPLERS[name](bowl, **SETTINGS[name], temperature=0.5)


def poisoned(value: float, slope: float) -> Callable[[Tensor], Tensor]:
    """−|x|²/2, but with this value and this gradient where x₀ > 1."""

    def f(x: Tensor) -> Tensor:
        bad = x[:, 0] > 1
        x.register_hook(lambda grad: torch.where(bad[:, None], slope, grad))
        return torch.where(bad, value, -x.square().sum(1) / 2)

    return f


@pytest.mark.parametrize(
    ("value", "slope"),
    [
        (math.nan, math.nan),
        (-math.inf, 0.0),
        (math.inf, 0.0),
        (0.0, math.inf),
        (0.0, -math.inf),
        (0.0, math.nan),
    ],
)
@pytest.mark.parametrize("name", [*METROPOLIS, "anisotropic_mala, γ held"])
def test_a_non_finite_proposal_is_a_rejection(name: str, value: float, slope: float):
    """Sees a NaN accepted, zeroed, or counted as something else than an acceptance probability of 0."""
    sampler = KERNELS[name](poisoned(value, slope), EVENT)
    before = sampler.init(torch.full((2, 3), 0.5))
    normal = torch.tensor([[9.0, 0.1, 0.1], [-0.1, 0.1, 0.1]])
    noise = sampler.draw_noise(before.x, rng(0))
    willing = {"turn": torch.full((2,), 0.5)} if name in LASTS else {"uniform": torch.zeros(2)}
    upwards = {"sign": torch.zeros(2, 3)} if name == "barker" else {}
    after, info = sampler.step(before, noise._replace(normal=normal, **willing, **upwards))
    assert all(torch.equal(getattr(after, name)[0], getattr(before, name)[0]) for name in ("x", "value", "grad"))
    assert info.accept_prob[0] == 0
    assert info.accept_prob[1] > 0
    assert not torch.equal(after.x[1], before.x[1])


@pytest.mark.parametrize("name", UNADJUSTED)
def test_a_chain_that_runs_away_is_said(name: str):
    """Sees NaN hidden: positions stay as they are, and a warning counts the chains."""
    x0 = torch.tensor([[0.2, 0.2, 0.2], [1e6, 1e6, 1e6]])
    with pytest.warns(RuntimeWarning, match=r"1 of 2 chains ran away"):
        x, _ = sample(KERNELS[name](lambda x: -x.sqrt().sum(1), EVENT), x0, 60, rng(0))
    assert not torch.isfinite(x[0]).all()
    assert torch.isfinite(x[1]).all()


def linear(grad: Tensor) -> Callable[[Tensor], Tensor]:
    """f with this gradient everywhere."""
    return lambda x: (grad * x).sum(1)


def one_step(sampler: Sampler, x: Tensor, xi: float | Tensor) -> Tensor:
    """Where a step with this normal leads; a uniform of 0 accepts whatever is possible."""
    noise = Noise(torch.zeros_like(x) + xi, torch.zeros(len(x), dtype=x.dtype))
    return sampler.step(sampler.init(x), noise)[0].x


ratios = st.lists(st.floats(-3, 3) | st.floats(-1e6, 1e6), min_size=1, max_size=6).map(
    lambda r: torch.tensor([r], dtype=torch.float64)
)
positive = st.floats(1e-3, 1e3)


@given(ratios, positive, positive)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_gamma_times_gradient_is_a_clipped_gradient(ratio: Tensor, b: float, step_size: float):
    """γ∇f = step_size · clip(∇f, −b, b): sees a γ by norm, a wrong half, a threshold on the wrong side."""
    grad = b * ratio
    for make in (anisotropic, anisotropic_mala):
        drift = one_step(make(linear(grad), b, step_size), torch.zeros_like(grad), 0.0)
        torch.testing.assert_close(drift, step_size / 2 * grad.clamp(-b, b), rtol=1e-12, atol=1e-300)


@given(ratios, positive, positive, st.floats(0, 10))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_noise_has_variance_temperature_gamma(ratio: Tensor, b: float, step_size: float, temperature: float):
    """Sees noise of sd γ, noise that is not shortened where it is steep, and a temperature on the drift."""
    grad = b * ratio
    gamma = step_size * b / grad.abs().clamp(min=b)
    sampler, x = anisotropic(linear(grad), b, step_size, temperature), torch.zeros_like(grad)
    spread = one_step(sampler, x, 1.0) - one_step(sampler, x, -1.0)
    scale = float(step_size * (b + 1)) * 1e-14
    torch.testing.assert_close(spread / 2, (temperature * gamma).sqrt(), rtol=1e-9, atol=scale)


@pytest.mark.parametrize("slope", [1.0, 1e3, 1e8])
def test_drift_reaches_no_farther_than_the_threshold_lets_it(slope: float):
    """Sees a reach beyond K · step_size · b / 2, which is attained where f is steep all the way."""
    b, step_size, K = 0.5, 0.3, 40
    x = points(8, EVENT)
    sampler = anisotropic(lambda x: slope * (x.sum(1) - x.square().sum(1).square()), b, step_size, temperature=0.0)
    z, _ = sample(sampler, x, K, rng(0))
    limit = K * step_size * b / 2
    assert (z - x).abs().max() <= limit * (1 + 1e-12)
    far, _ = sample(anisotropic(linear(torch.full((1, 3), slope)), b, step_size, temperature=0.0), x, K, rng(0))
    torch.testing.assert_close(far - x, torch.full_like(x, limit))


def derivative(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.clone().requires_grad_(True)
    return torch.autograd.grad(f(x).sum(), x)[0]


def test_the_printed_algorithm_is_a_case():
    """Algorithm 1: γ = b / max(b, |∇f|), z ← z + γ/2 ∇f + √γ ε ξ, is step_size 1 and temperature ε²."""
    b, eps, z = 0.4, 0.01, points(5, EVENT)
    sampler = anisotropic(bowl, threshold=b, step_size=1.0, temperature=eps**2)
    noise = noises(sampler, z, 1)[0]
    grad = derivative(bowl, z)
    gamma = b / grad.abs().clamp(min=b)
    printed = z + gamma / 2 * grad + gamma.sqrt() * eps * noise.normal
    torch.testing.assert_close(sampler.step(sampler.init(z), noise)[0].x, printed)


def test_the_anatomy_settings_are_a_case():
    """x ← x − ∂F + ε z is step_size ε², temperature 1 and f = −2F/ε²."""
    eps, x = 0.125, points(5, EVENT)

    def energy(x: Tensor) -> Tensor:
        return -bowl(x)

    sampler = langevin(lambda x: -2 * energy(x) / eps**2, step_size=eps**2)
    noise = noises(sampler, x, 1)[0]
    torch.testing.assert_close(
        sampler.step(sampler.init(x), noise)[0].x, x - derivative(energy, x) + eps * noise.normal
    )


def test_the_jem_settings_are_a_case():
    """x ← x + 1 · ∂f + 0.01 z is step_size 2 and temperature 5e-5."""
    x = points(5, EVENT)
    sampler = langevin(bowl, step_size=2.0, temperature=5e-5)
    noise = noises(sampler, x, 1)[0]
    torch.testing.assert_close(sampler.step(sampler.init(x), noise)[0].x, x + derivative(bowl, x) + 0.01 * noise.normal)


def test_descent_is_langevin_without_noise():
    """Sees noise left in, or another step."""
    x = points(5, EVENT)
    expected, _ = sample(langevin(bowl, 0.3, temperature=0.0), x, 6, rng(0))
    assert torch.equal(sample(descent(bowl, 0.3), x, 6, rng(1))[0], expected)
    torch.testing.assert_close(sample(descent(bowl, 0.3), x, 1, rng(0))[0], x + 0.15 * derivative(bowl, x))


def test_held_gamma_is_that_of_the_start():
    """refresh="iteration": sees γ looked up again within the K transitions, or looked up nowhere."""
    b, step_size, K = 0.4, 0.7, 5
    sampler, z = anisotropic(bowl, b, step_size, refresh="iteration"), points(5, EVENT)
    noise = noises(sampler, z, K)
    gamma = step_size * b / derivative(bowl, z).abs().clamp(min=b)
    x = z
    for one in noise:
        x = x + gamma / 2 * derivative(bowl, x) + gamma.sqrt() * one.normal
    torch.testing.assert_close(run(sampler, z, noise)[-1][0].x, x)
    adjusted = anisotropic_mala(bowl, b, step_size, refresh="iteration")
    for state, info in run(adjusted, z, noise):
        torch.testing.assert_close(state.gamma, gamma)
        torch.testing.assert_close(info.step_size, gamma.mean(1))


@pytest.mark.parametrize("refresh", ["step", "iteration"])
def test_an_infinite_threshold_is_the_plain_kernel(refresh: Any):
    """Sees a limit b → ∞ that is NaN, or a plain kernel with another step."""
    x, far = points(5, EVENT), math.inf
    plain = sample(langevin(bowl, 0.3, 0.5), x, 6, rng(0))[0]
    assert torch.equal(sample(anisotropic(bowl, far, 0.3, 0.5, refresh), x, 6, rng(0))[0], plain)
    adjusted = sample(mala(bowl, 0.3), x, 6, rng(0))[0]
    assert torch.equal(sample(anisotropic_mala(bowl, far, 0.3, refresh), x, 6, rng(0))[0], adjusted)
    assert not torch.equal(plain, adjusted)

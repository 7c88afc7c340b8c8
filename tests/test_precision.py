"""Rounded gradients: exact kernels stay exact for f, f is never rounded where it counts, and nothing leaks out."""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from anila.density import log_density
from anila.density.log_density import gradient, value_and_grad
from anila.density.networks import mlp
from anila.density.precision import gradients_in, is_rounded
from anila.learning.distributed import Ranks
from anila.learning.learner import Learner
from anila.learning.starts import FromNoise, Persistent
from anila.rng import rng
from anila.runs.experiment import PRESETS, SettingsError, build_data, build_learner, resolve
from anila.samplers import (
    Proposal,
    Sampler,
    anisotropic_corrected,
    anisotropic_mala,
    barker,
    hmc,
    langevin,
    mala,
    mixture,
    replica_exchange,
    sample,
    with_global_moves,
)
from anila.samplers.sample import transitions
from exact import as_users_run_it, distance, mutant

DRAWS = 40_000
ROUNDED: list[Any] = ["bf16", "fp16"]
EVERY: list[Any] = [*ROUNDED, "tf32"]


class Far(nn.Module):
    """A x ~ N(c, I) with c so large that bfloat16 rounds A x to halves: ∇f is coarse, and a rounded f useless."""

    def __init__(self) -> None:
        super().__init__()
        self.A = nn.Linear(2, 2, bias=False)
        self.A.weight.data = torch.tensor([[1.0, 0.5], [-0.3, 1.0]])
        self.c = torch.tensor([100.0, 60.0])

    def forward(self, x: Tensor) -> Tensor:
        return -(self.A(x) - self.c).square().sum(1) / 2

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        x = self.c.double() + torch.randn(n, 2, generator=generator, dtype=torch.float64)
        return torch.linalg.solve(self.A.weight.detach().double(), x.T).T.float()

    def cdfs(self, x: Tensor) -> list[np.ndarray]:
        """The coordinates of A x − c are independent standard normals: so are radius and sum known."""
        z = (x.double() @ self.A.weight.detach().double().T - self.c.double()).numpy()
        return [
            *stats.norm.cdf(z).T,
            stats.norm.cdf(z.sum(1) / math.sqrt(2)),
            stats.chi2(2).cdf((z**2).sum(1)),
        ]


FAR = Far()
L = torch.tensor([[1.0, 0.0], [-0.4, 0.8]])


def near() -> Proposal:
    """N(x*, 2 I) about the mean x* of `Far`, with a log-density that rounding would ruin."""
    mean = torch.linalg.solve(FAR.A.weight.detach(), FAR.c)
    return Proposal(
        lambda n, g: mean + math.sqrt(2) * torch.randn(n, 2, generator=g),
        lambda x: -((x - mean) @ torch.eye(2)).square().sum(1) / 4,
    )


KERNELS: dict[str, Callable[[Callable[[Tensor], Tensor]], Sampler]] = {
    "mala": lambda f: mala(f, 0.8),
    "anisotropic_mala": lambda f: anisotropic_mala(f, 1.0, 1.0),
    "barker": lambda f: barker(f, 0.8),
    "hmc": lambda f: hmc(f, 0.3, 3),
    "dense": lambda f: anisotropic_mala(f, 1.0, 1.0, preconditioner=L),
    "global moves": lambda f: with_global_moves(anisotropic_mala(f, 1.0, 1.0), near(), every=2),
    "mixture": lambda f: mixture([mala(f, 0.3), barker(f, 0.8)], [1.0, 1.0]),
    "replicas": lambda f: replica_exchange(lambda f: anisotropic_mala(f, 1.0, 1.0), f, (1.0, 2.0)),
}


def net(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return mlp(3, hidden=(32, 32))


def points(n: int = 64, d: int = 3) -> Tensor:
    return torch.randn(n, d, generator=rng(0, "points"))


def farthest(make: Callable[..., Sampler], precision: Any) -> float:
    """The largest distance after 20 steps from exact draws."""
    x, _ = sample(make(FAR), FAR.draw(DRAWS, rng(3, "draws")), 20, rng(3, "noise"), precision=precision)
    return max(distance(u) for u in FAR.cdfs(x))


@pytest.mark.parametrize("name", [name for name in KERNELS if name != "replicas"])
def test_exact_kernels_stay_exact_in_bfloat16(name: str):
    """At the limit of Dvoretzky, Kiefer and Wolfowitz for 1e-6: sees an acceptance with a rounded f or proposal."""
    assert farthest(KERNELS[name], "bf16") < 0.55


@pytest.mark.parametrize("precision", ["fp16", "tf32"])
def test_anisotropic_mala_stays_exact_at_every_precision(precision: Any):
    assert farthest(KERNELS["anisotropic_mala"], precision) < 0.55


def rounded_value(f: Any, x: Tensor) -> Tensor:
    return log_density.differentiate(f, x.detach().requires_grad_(True))[0].detach().float()


def test_a_rounded_acceptance_is_seen(monkeypatch: pytest.MonkeyPatch):
    """Sees the law above gone blind: f from the rounded forward samples another law."""
    monkeypatch.setattr(log_density, "exact_value", rounded_value)
    assert farthest(KERNELS["anisotropic_mala"], "bf16") > 1


def test_a_gradient_drawn_anew_is_seen():
    """Sees the law above gone blind: a reverse proposal with another rounding than the next forward one's."""
    broken = mutant(
        "anila.samplers.langevin",
        "new, prob = accept(state, proposed, log_ratio, noise.uniform)",
        "new, prob = accept(state, proposed._replace(grad=2 * (grad / 2).round()), log_ratio, noise.uniform)",
    )
    assert farthest(lambda f: broken.anisotropic_mala(f, 1.0, 1.0), "bf16") > 1


@pytest.mark.parametrize("precision", EVERY)
def test_f_is_never_rounded_and_its_gradient_is(precision: Any):
    """Sees values from the rounded forward, a precision that is ignored, and gradients in another dtype."""
    f, x = net(), points()
    value, grad = value_and_grad(f, x)
    with gradients_in(precision):
        found, coarse = value_and_grad(f, x)
        assert torch.equal(gradient(f, x), coarse)
    assert torch.equal(found, value)
    assert (found.dtype, coarse.dtype) == (torch.float32, torch.float32)
    error = ((coarse - grad).norm() / grad.norm()).item()
    assert error < {"bf16": 2e-2, "fp16": 2e-3, "tf32": 2e-3}[precision]
    assert precision == "tf32" or error > 1e-5


@pytest.mark.parametrize("precision", ROUNDED)
@pytest.mark.parametrize("name", [name for name in KERNELS if name != "mixture"])
def test_the_gradient_kept_is_that_of_the_point(name: str, precision: Any):
    """Sees a proposal's gradient taken beside the point proposed (a rounded L u), or that knows where it is from."""
    sampler, x = KERNELS[name](FAR), FAR.draw(64, rng(0, "draws"))
    with gradients_in(precision):
        state = sampler.init(x)
        for k in range(3):
            state, _ = sampler.step(state, sampler.draw_noise(x, rng(0, "noise", k)))
        again = sampler.init(state.x)
    assert torch.equal(state.grad, again.grad)


@pytest.mark.parametrize(("precision", "limit"), [("bf16", 0.05), ("fp16", 0.005), ("tf32", 0.005)])
@pytest.mark.parametrize("name", ["mala", "anisotropic_mala", "barker", "hmc"])
def test_acceptance_agrees_step_by_step(name: str, precision: Any, limit: float):
    """Sees a ratio of rounded numbers: from the same points with the same noise, probabilities are close."""
    sampler = KERNELS[name](net())
    x, generator = points(), rng(0, "noise")
    for _ in range(5):
        noise = sampler.draw_noise(x, generator)
        state, info = sampler.step(sampler.init(x), noise)
        with gradients_in(precision):
            _, rounded = sampler.step(sampler.init(x), noise)
        assert (info.accept_prob - rounded.accept_prob).abs().max() < limit
        x = state.x


@pytest.mark.parametrize("precision", ROUNDED)
def test_the_drift_of_langevin_is_near(precision: Any):
    """Sees a rounded position or noise: only the drift differs, by the rounding of ∇f."""
    f, x, size = net(), points(), 0.5
    plain, rounded = (sample(langevin(f, size), x, 1, rng(0, "noise"), precision=p)[0] for p in (None, precision))
    exact = value_and_grad(f, x)[1]
    with gradients_in(precision):
        coarse = gradient(f, x)
    torch.testing.assert_close(rounded - plain, size / 2 * (coarse - exact), rtol=0, atol=1e-6)
    assert 0 < (rounded - plain).norm() < 0.02 * size / 2 * exact.norm()


def test_the_corrected_kernel_runs_rounded():
    """Sees a second derivative through a rounded graph that fails."""
    x, _ = sample(anisotropic_corrected(net(), 1.0, 0.01), points(), 3, rng(0), precision="bf16")
    assert x.dtype == torch.float32
    assert bool(torch.isfinite(x).all())


@pytest.mark.parametrize("size", [1e-7, 1.0, 1e4])
def test_fp16_gradients_are_scaled_to_fit(size: float):
    """Sees gradients lost below 6e-8 or above 65504, and a steep row that costs the flat ones their digits."""
    inner = net()

    def f(x: Tensor) -> Tensor:
        return torch.where(x[:, 0] > 0, size, 1e-7) * inner(x)

    x = points()
    expected = value_and_grad(f, x)[1]
    with gradients_in("fp16"):
        found = gradient(f, x)
    error = (found - expected).norm(dim=1) / expected.norm(dim=1)
    assert error.max() < 0.02


def recorded(seen: list[tuple[bool, str, bool]]) -> Callable[[Tensor], Tensor]:
    """−|x|²/2 that notes: is its gradient wanted, the precision of products, and whether autocast is on."""

    def f(x: Tensor) -> Tensor:
        seen.append((x.requires_grad, torch.get_float32_matmul_precision(), torch.is_autocast_enabled("cpu")))
        return -x.square().sum(1) / 2

    return f


@pytest.fixture
def products() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("products")
@pytest.mark.parametrize("outside", ["highest", "high"])
def test_tf32_is_set_for_gradients_and_taken_back(outside: str):
    """Sees a setting of the process that outlives the call, on an error too, or that reaches f itself."""
    torch.set_float32_matmul_precision(outside)
    seen = []
    transitions(mala(recorded(seen), 0.5), points(), 2, rng(0), precision="tf32")
    assert {products for wanted, products, _ in seen if wanted} == {"high"}
    assert {products for wanted, products, _ in seen if not wanted} == {outside}
    assert torch.get_float32_matmul_precision() == outside
    with pytest.raises(ValueError, match="does not depend"):
        transitions(mala(lambda x: recorded(seen)(x).detach(), 0.5), points(), 2, rng(0), precision="tf32")
    assert torch.get_float32_matmul_precision() == outside
    assert not is_rounded()


def test_f_is_exact_inside_a_users_autocast_too():
    """Sees an acceptance that takes its rounding from around `sample`; unadjusted kernels evaluate f once."""
    seen, alone = [], []
    with torch.autocast("cpu", torch.bfloat16):
        transitions(mala(recorded(seen), 0.5), points(), 2, rng(0), precision="bf16")
    assert {autocast for wanted, _, autocast in seen if not wanted} == {False}
    assert {autocast for wanted, _, autocast in seen if wanted} == {True}
    transitions(langevin(recorded(alone), 0.5), points(), 4, rng(0), precision="bf16")
    assert len(alone) == 4
    assert all(wanted for wanted, _, _ in alone)


def test_rounding_ends_with_the_call():
    """Sees a precision that reaches a callback, the caller, or the next call."""
    seen: list[bool] = []
    f, x = net(), points()
    sample(mala(f, 0.5), x, 2, rng(0), keep_every=1, callback=lambda *_: seen.append(is_rounded()), precision="bf16")
    assert seen == [False, False]
    plain = sample(mala(f, 0.5), x, 3, rng(0))[0]
    assert torch.equal(sample(mala(f, 0.5), x, 3, rng(0), precision=None)[0], plain)
    assert not torch.equal(sample(mala(f, 0.5), x, 3, rng(0), precision="bf16")[0], plain)


@pytest.mark.parametrize("name", ["half", "float32", "", torch.bfloat16])
def test_an_unknown_precision_is_refused(name: Any):
    """Sees a precision that is silently none."""
    with as_users_run_it(), pytest.raises(ValueError, match='must be "bf16", "fp16", "tf32" or None; got'):
        sample(mala(net(), 0.5), points(), 1, rng(0), precision=name)


def test_double_precision_chains_are_not_rounded_in_silence():
    """Sees a precision that does nothing: autocast leaves float64 alone."""
    with pytest.raises(ValueError, match=r"rounds float32 arithmetic; x0 is torch\.float64"):
        sample(mala(net().double(), 0.5), points().double(), 1, rng(0), precision="bf16")


def learner(precision: Any, seen: dict[str, set[torch.dtype]] | None = None) -> Learner:
    model = net()

    def note(_m: Any, _x: Any, value: Tensor) -> None:
        learns = next(model.parameters()).requires_grad
        what = "value" if not torch.is_grad_enabled() else "θ" if learns else "chains"
        if seen is not None:
            seen.setdefault(what, set()).add(value.dtype)

    model.register_forward_hook(note)
    optimizer = torch.optim.SGD(model.parameters(), 1e-9)
    return Learner(model, mala(model, 0.1), Persistent(points()), optimizer, steps=2, precision=precision)


@pytest.mark.parametrize("precision", EVERY)
def test_learning_takes_the_same_precision(precision: Any):
    """Sees chains or a θ-gradient that are not rounded, a gap that is, and a gradient far from the float32 one."""
    seen: dict[str, set[torch.dtype]] = {}
    exact, rounded = learner(None), learner(precision, seen)
    data = points() + 1
    plain, coarse = exact.update(data), rounded.update(data)
    low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    assert seen == {"chains": {low}, "θ": {low}, "value": {torch.float32}}
    assert rounded.chains
    z = rounded.chains.start.draw(64, rng(0))
    gap = (rounded.model(data).mean() - rounded.model(z).mean()).item()
    assert coarse["energy_gap"] == pytest.approx(gap, abs=1e-6)
    assert coarse["energy_gap"] == pytest.approx(plain["energy_gap"], abs=1e-3)
    assert coarse["accept_prob"] == pytest.approx(plain["accept_prob"], abs=1e-2)
    for p, q in zip(exact.model.parameters(), rounded.model.parameters(), strict=True):
        assert p.grad is not None
        assert q.grad is not None
        torch.testing.assert_close(q.grad, p.grad, rtol=0.05, atol=0.02 * p.grad.abs().max().item())


class Steep(nn.Module):
    """10⁴ times a network."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = net()

    def forward(self, x: Tensor) -> Tensor:
        return 1e4 * self.inner(x)


def test_a_steep_f_is_learned_in_fp16():
    """Sees a θ-gradient that overflows at the first scale, given up or kept: 10⁴ f needs a smaller one."""
    grads = []
    for precision in (None, "fp16"):
        model = Steep()
        optimizer = torch.optim.SGD(model.parameters(), 1e-12)
        start = Persistent(points())
        Learner(model, mala(model, 1e-9), start, optimizer, steps=1, precision=precision).update(points() + 1)
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert (grads[1] - grads[0]).norm() < 0.02 * grads[0].norm()


def test_the_setting_reaches_the_learner():
    """Sees training.precision dropped on the way, and another word."""
    rings = PRESETS["rings"].experiment
    config = resolve(rings, ["training.precision=bf16", "network.hidden=[8]"])
    assert build_learner(config, build_data(config.data)).precision == "bf16"
    with pytest.raises(SettingsError, match=r"training\.precision"):
        resolve(rings, ["training.precision=half"])


def test_no_warning_on_the_way():
    """Sees a deprecated call inside."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for precision in EVERY:
            sample(mala(net(), 0.5), points(), 2, rng(0), precision=precision)


def test_fp16_is_refused_where_each_process_would_scale_by_another_number():
    model = torch.nn.Linear(2, 1)
    two = Ranks(rank=0, size=2)
    with pytest.raises(ValueError, match="use bf16 or tf32"):
        Learner(
            model, langevin(model, 0.1), FromNoise((2,)), torch.optim.SGD(model.parameters(), 0.1), 1, chains=4,
            precision="fp16", ranks=two,
        )  # fmt: skip

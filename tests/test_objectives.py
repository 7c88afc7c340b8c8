"""Objectives: where f goes up and where down, with the gradients of closed forms."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anila.density.networks import mlp
from anila.evaluation.training.metric import THETA_GRAD_NORM
from anila.learning.learner import Learner
from anila.learning.objectives import OBJECTIVES, Contrast, Objective, denoising, likelihood, recovery, transport
from anila.learning.objectives.transport import CHUNK, paired
from anila.learning.requirements import require_kinds
from anila.learning.starts import Persistent
from anila.rng import rng
from anila.runs.training.guard import Guard
from anila.samplers import langevin, mala
from exact import distance, dkw_limit
from levels import BlurredMixture, BlurredNormal, Levelled, Perceptron

CASES: dict[str, Callable[[], Objective]] = {**OBJECTIVES, "denoising, a range": lambda: denoising(sd=(0.05, 2.0))}


def net(seed: int = 0, objective: Objective | None = None) -> nn.Module:
    """An f of four coordinates that fits the objective."""
    torch.manual_seed(seed)
    return Perceptron(4) if objective and objective.needs_levels else mlp(4, hidden=(32, 32))


def at_levels() -> nn.Module:
    return net(objective=denoising(sd=(0.05, 2.0)))


def points(n: int = 64, dim: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(n, dim, generator=rng(seed, "points"))


def learner_of(model: nn.Module, objective: Objective, rate: float = 0.1, **options: Any) -> Learner:
    optimizer = torch.optim.SGD(model.parameters(), rate)
    if not objective.needs_chains:
        return Learner(model, optimizer=optimizer, objective=objective, **options)
    start = Persistent(points(32, seed=1))
    return Learner(model, langevin(model, 0.01), start, optimizer, 2, objective=objective, chains=32, **options)


def slope_of(learner: Learner, x: Tensor) -> Tensor:
    """Minus the gradient in θ that an iteration leaves, flat."""
    learner.update(x)
    return torch.cat([-p.grad.flatten() for p in learner.model.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", CASES)
class TestEveryObjective:
    def test_it_reports_what_it_lists(self, name: str):
        """Sees a metric that the guard or a plot would look for in vain."""
        objective = CASES[name]()
        found = learner_of(net(objective=objective), objective).update(points())
        assert {*objective.series} <= found.keys()
        assert {metric.name for metric in objective.watched} - {"global_accept"} <= found.keys()
        guard = Guard(objective.watched)
        assert guard.look(found) is None

    @pytest.mark.parametrize("micro_batch", [3, 50])
    def test_micro_batches_change_nothing(self, name: str, micro_batch: int):
        """Sees a mean of means, or noise that depends on who is evaluated together."""
        objective = CASES[name]()
        whole = learner_of(net(objective=objective), objective)
        parts = learner_of(net(objective=objective), objective, micro_batch=micro_batch)
        for t in range(2):
            x = points(45, seed=t)
            assert parts.update(x) == pytest.approx(whole.update(x), rel=1e-4, abs=1e-6)
        for p, q in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-5)

    def test_it_goes_on_bit_for_bit(self, name: str):
        """Sees noise that is not a function of seed and iteration."""
        objective = CASES[name]()
        there, back = (learner_of(net(seed, objective), objective) for seed in (0, 1))
        there.update(points())
        back.load_state_dict(there.state_dict())
        assert there.update(points(seed=2)) == back.update(points(seed=2))
        for p, q in zip(there.model.parameters(), back.model.parameters(), strict=True):
            assert torch.equal(p, q)

    def test_no_gradient_reaches_theta_but_through_the_contrast(self, name: str):
        """Sees points up or down that still hang on θ."""
        objective, x = CASES[name](), points()
        model = net(objective=objective)
        contrast = objective.contrast(model, x, points(seed=1), objective.draw_noise(x, rng(0)))
        assert not any(side.requires_grad for side in contrast[:2])


def slope_of_matching(model: nn.Module, x_t: Tensor, target: Tensor, weight: Tensor | float, *s: Tensor):
    """Mean ½ w |∇f(x_t) − u|², and minus its gradient in θ by double backward, flat."""
    x_t = x_t.requires_grad_(True)
    (grad,) = torch.autograd.grad(model(x_t, *s).sum(), x_t, create_graph=True)
    loss = (weight * (grad - target).square().sum(1) / 2).mean()
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    rows = zip(model.parameters(), found, strict=True)
    return loss.item(), torch.cat([(torch.zeros_like(p) if g is None else -g).flatten() for p, g in rows])


def assert_same_slope(found: Tensor, exact: Tensor) -> None:
    assert torch.cosine_similarity(found, exact, dim=0) > 0.9999
    assert (found.norm() / exact.norm()).item() == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize("sd", [0.05, 0.3, 2.0])
def test_the_contrast_has_the_gradient_of_score_matching(sd: float):
    """Sees a wrong sign, weight or side: ∇θ ½ s² mean |∇f(x_t) + ξ/s|² by double backward, in float32."""
    learner, x = learner_of(net(), denoising(sd)), points()
    xi = torch.randn(x.shape, generator=rng(0, "chains", 0))
    loss, exact = slope_of_matching(net(), x + sd * xi, -xi / sd, sd**2)
    assert_same_slope(slope_of(learner, x), exact)
    metrics = learner_of(net(), denoising(sd)).update(x)
    assert metrics["matching_loss"] == pytest.approx(loss / 4, rel=1e-4)


def test_at_every_level_the_contrast_has_the_gradient_of_score_matching():
    """Sees levels that reach the wrong rows of f, and a weight that is not s² + s⁴ / σ²."""
    objective, x = denoising(sd=(0.05, 2.0), data_sd=0.8), points()
    xi, s = objective.draw_noise(x, rng(0, "chains", 0))
    weight = s**2 * (1 + s**2 / 0.8**2)
    loss, exact = slope_of_matching(at_levels(), x + s[:, None] * xi, -xi / s[:, None], weight, s)
    learner = learner_of(at_levels(), objective)
    assert_same_slope(slope_of(learner, x), exact)
    metrics = learner_of(at_levels(), objective).update(x)
    assert metrics["matching_loss"] == pytest.approx(loss / 4, rel=1e-4)


def test_the_contrast_has_the_gradient_of_flow_matching():
    """Sees a wrong target or point on the way: u = (x₁ − x₀) min(1, (1 − t) / 0.2) at (1 − t) x₀ + t x₁."""
    learner, x = learner_of(net(), transport()), points()
    x0, t = transport().draw_noise(x, rng(0, "chains", 0))
    t = t[:, None]
    target = (x - x0) * ((1 - t) / 0.2).clamp(max=1)
    loss, exact = slope_of_matching(net(), (1 - t) * x0 + t * x, target, 1.0)
    assert_same_slope(slope_of(learner, x), exact)
    assert learner_of(net(), transport()).update(x)["matching_loss"] == pytest.approx(loss / 4, rel=1e-4)


def test_noise_is_paired_with_data_by_optimal_transport():
    """Sees the pairing of a row with another's partner: on a line the best pairing sorts both, chunk by chunk."""
    x = points(CHUNK + 40, 1)
    x0, t = transport().draw_noise(x, rng(3))
    plain = torch.randn(x.shape, generator=rng(3))
    for rows in (slice(0, CHUNK), slice(CHUNK, None)):
        assert torch.equal(x0[rows][x[rows, 0].argsort()], plain[rows].sort(0).values)
    assert bool(((t >= 0) & (t <= 1)).all())
    images = points(20, 12).view(20, 3, 2, 2)
    noise = points(20, 12, seed=1).view(20, 3, 2, 2)
    cost = [(images - pairing).square().sum() for pairing in (paired(noise, images), noise)]
    assert cost[0] < 0.9 * cost[1]


def test_levels_are_spread_over_their_law():
    """Sees levels in the order of the rows, outside of the range, or not log-normal: sd of ln s is a quarter of it."""
    x = points(4000)
    s = denoising(sd=(0.04, 2.4)).draw_noise(x, rng(0)).s
    assert bool(((s > 0.04) & (s < 2.4)).all())
    z = (s.log() - math.log(0.04 * 2.4) / 2) / (math.log(2.4 / 0.04) / 4)
    exact = (torch.special.ndtr(z) - torch.special.ndtr(torch.tensor(-2.0))) / math.erf(math.sqrt(2))
    assert distance(exact) * dkw_limit(4000) < 2 / 4000
    assert abs(torch.corrcoef(torch.stack([s.log(), torch.arange(4000.0)]))[0, 1]) < 0.1


class Quadratic(nn.Module):
    """f(x) = b·x − ½ xᵀ A x."""

    def __init__(self, dim: int):
        super().__init__()
        self.A, self.b = nn.Parameter(torch.eye(dim).double()), nn.Parameter(torch.zeros(dim).double())

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.b - (x @ self.A * x).sum(1) / 2


def test_on_gaussian_data_it_learns_the_blurred_gaussian():
    """The optimum in closed form: A = (Σ + s² I)⁻¹ and b = A m. Sees the score of the data themselves, or another s."""
    sd, m = 0.5, torch.tensor([1.0, -0.5]).double()
    root = torch.tensor([[1.0, 0.0], [0.6, 0.5]]).double()
    f = Quadratic(2)
    optimizer = torch.optim.Adam(f.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.5 * (1 + math.cos(math.pi * t / 300)))
    learner = Learner(f, optimizer=optimizer, objective=denoising(sd), schedule=schedule, ema=0.95)
    for t in range(300):
        learner.update(m + torch.randn(2000, 2, generator=rng(t, "data")).double() @ root.T)
    best: Any = learner.best_model
    A = torch.linalg.inv(root @ root.T + sd**2 * torch.eye(2))
    torch.testing.assert_close((best.A + best.A.T).detach() / 2, A, rtol=0.03, atol=0.01)
    torch.testing.assert_close(best.b.detach(), A @ m, rtol=0.03, atol=0.01)


def test_at_every_level_it_learns_the_gaussian_of_the_data():
    """One Gaussian explains all levels: m and Σ are those of the data, without noise. Sees a level counted twice."""
    m, root = torch.tensor([1.0, -0.5]).double(), torch.tensor([[1.0, 0.0], [0.6, 0.5]]).double()
    f = BlurredNormal(2)
    optimizer = torch.optim.Adam(f.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.5 * (1 + math.cos(math.pi * t / 200)))
    learner = Learner(f, optimizer=optimizer, objective=denoising((0.1, 2.0)), schedule=schedule, ema=0.95)
    for t in range(200):
        learner.update(m + torch.randn(1000, 2, generator=rng(t, "data")).double() @ root.T)
    best: Any = learner.best_model
    torch.testing.assert_close(best.m.detach(), m, rtol=0.03, atol=0.02)
    torch.testing.assert_close((best.L @ best.L.T).detach(), root @ root.T, rtol=0.05, atol=0.02)


def test_at_the_score_of_a_mixture_the_contrast_pulls_nowhere():
    """At the optimum mean w (x − y) φ(x_t, s) is 0 for any φ. Sees the s, score or weight of another row."""
    f, objective = BlurredMixture(), denoising((0.05, 2.0))
    x = f.draw(100_000, rng(0, "data"))
    noise = objective.draw_noise(x, rng(1))
    up, down, weight, _, _, _, s, _ = objective.contrast(f, x, None, noise)
    assert s is not None
    pull, x_t = (weight * (up - down)[:, 0] / 2).double(), ((up + down) / 2)[:, 0].double()
    for phi in (torch.ones_like(x_t), x_t, (3 * x_t).cos(), (x_t > 0) * s, (s < 0.3) * x_t**2, (s < 0.1) * x_t):
        z = pull * phi
        assert abs(z.mean() / z.std() * math.sqrt(len(z))) < 5


def test_transport_learns_the_slope_that_carries_noise_to_data():
    """Of data N(0, σ²) on a line x₁ = σ x₀, and u regressed on x_t is −k x_t. Sees other pairs, another t or target."""
    sd, t = 0.3, torch.linspace(0, 1, 10_001).double()
    spread = 1 - t + t * sd
    k = (1 - sd) * (((1 - t) / 0.2).clamp(max=1) * spread).mean() / spread.square().mean()
    f = Quadratic(1)
    learner = learner_of(f, transport(), rate=0.5, ema=0.9)
    for t in range(40):
        learner.update(sd * torch.randn(1000, 1, generator=rng(t, "data")).double())
    best: Any = learner.best_model
    assert best.A.item() == pytest.approx(k.item(), rel=0.05)


def test_for_a_quadratic_f_the_contrast_is_exact():
    """∇θ of Σ w f(up) − Σ w f(down) is −∇θ of the loss to rounding, whatever η."""
    f, sd, x = Quadratic(2), 0.7, points(50, 2).double()
    noise = torch.randn(50, 2, generator=rng(3)).double()
    up, down, up_weight, down_weight, *_ = denoising(sd).contrast(f, x, None, noise)
    value = (up_weight * f(up)).mean() - (down_weight * f(down)).mean()
    x_t = x + sd * noise
    loss = sd**2 / 2 * (f.b - x_t @ f.A.T / 2 - x_t @ f.A / 2 + noise / sd).square().sum(1).mean()
    for a, b in zip(torch.autograd.grad(value, [f.A, f.b]), torch.autograd.grad(loss, [f.A, f.b]), strict=True):
        torch.testing.assert_close(a if a.ndim == 1 else a + a.T, -b if b.ndim == 1 else -b - b.T)


@pytest.mark.parametrize("seed", [0, 1])
def test_at_the_law_of_the_data_recovery_pulls_nowhere(seed: int):
    """Exact chains given y have the law of x given y. Sees another level in f, or a Δ² that is not the noise of y."""
    f, objective = BlurredMixture(), recovery((0.2, 0.25, 0.3), lambda f: mala(f, 2.0), steps=25)
    x = f.draw(20_000, rng(seed, "data"))
    up, down, t, _, metrics, _, s, _ = objective.contrast(f, x, None, objective.draw_noise(x, rng(seed)))
    assert s is not None
    torch.testing.assert_close(s.unique(), torch.tensor([0.2, 0.25]).double())
    assert 0.7 < metrics["accept_prob"].mean() < 0.95
    for phi in (lambda x: x, lambda x: x**2, lambda x: (5 * x).cos(), lambda x: x.abs()):
        z = t * (phi(up) - phi(down))[:, 0]
        assert abs(z.mean() / z.std() * math.sqrt(len(z))) < 5


class Shifted(Levelled):
    """f(x, s) = −(x − m)² / (2 (0.3² + s²)), with m to be learned."""

    def __init__(self):
        super().__init__()
        self.m = nn.Parameter(torch.zeros(()).double())

    def forward(self, x: Tensor, s: Tensor) -> Tensor:
        return -(x[:, 0] - self.m).square() / (2 * (0.09 + s.square()))


def test_the_slope_of_recovery_is_that_of_the_conditional_likelihood():
    """In closed form, of data of mean 1. Sees a wrong sign, weight or Δ²."""
    levels = torch.tensor([0.1, 0.3, 1.0]).double()
    t, T = levels[:-1], levels[1:]
    exact = (t * (T**2 - t**2) / ((0.09 + T**2) * (0.09 + t**2))).mean().item()
    x = 1 + 0.3 * points(20_000, 1).double()
    learner = learner_of(Shifted(), recovery(levels.tolist(), lambda f: mala(f, 0.7), steps=30))
    assert slope_of(learner, x).item() == pytest.approx(exact, rel=0.03)


def test_rounding_does_not_touch_the_f_that_is_reported():
    """Sees f of the lowest level, or a rounded one, where f of each point's own level is meant."""
    x, objective = points(), recovery(steps=2)
    exact, rounded = (learner_of(at_levels(), objective, precision=p).update(x) for p in (None, "bf16"))
    assert rounded["energy_gap"] == pytest.approx(exact["energy_gap"], rel=1e-5)
    assert rounded["theta_grad_norm"] != exact["theta_grad_norm"]


def test_weights_count():
    """Sees the weights of points left out: f = θ · x moves by mean w x(up) − mean w x(down)."""
    up, down = torch.tensor([[1.0], [2.0]]), torch.tensor([[5.0], [7.0], [0.0]])
    w_up, w_down = torch.tensor([1.0, 3.0]), torch.tensor([0.5, 0.0, 1.0])

    def contrast(f: Any, x_data: Tensor, x_model: Tensor | None, noise: None) -> Contrast:  # noqa: ARG001
        return Contrast(up, down, w_up, w_down)

    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Flatten(0))
    before = model[0].weight.item()  # pyright: ignore[reportCallIssue]
    learner_of(model, Objective(contrast, ()), rate=1.0).update(torch.zeros(2, 1))
    moved = model[0].weight.item() - before  # pyright: ignore[reportCallIssue]
    assert moved == pytest.approx((1 + 6) / 2 - (2.5 + 0 + 0) / 3)


def test_what_would_run_and_be_wrong_is_refused():
    f = net()
    optimizer = torch.optim.SGD(f.parameters(), 0.1)
    with pytest.raises(ValueError, match="rounds away the small differences"):
        Learner(f, optimizer=optimizer, objective=denoising(), precision="bf16")
    with pytest.raises(ValueError, match="runs no chains"):
        Learner(f, langevin(f, 0.1), Persistent(points()), optimizer, 2, objective=denoising())
    with pytest.raises(ValueError, match="needs chains"):
        Learner(f, optimizer=optimizer, objective=likelihood())
    with pytest.raises(ValueError, match="runs no chains"):
        Learner(f, optimizer=optimizer, objective=denoising(), chains=5)
    with pytest.raises(TypeError, match="expected an Objective"):
        require_kinds(denoising, None, None, None)
    with pytest.raises(TypeError, match="expected a kernel bound to the model"):
        require_kinds(denoising(), langevin, None, None)
    with pytest.raises(TypeError, match="expected where chains start"):
        require_kinds(likelihood(), langevin(f, 0.1), points(), None)
    with pytest.raises(ValueError, match="micro_batch must be at least 1"):
        Learner(f, optimizer=optimizer, objective=denoising(), micro_batch=0)
    with pytest.raises(ValueError, match="sd must be positive"):
        denoising(0.0)
    with pytest.raises(ValueError, match=r"range of positive levels, the lowest first; got \(2.0, 0.1\)"):
        denoising((2.0, 0.1))
    with pytest.raises(ValueError, match="data_sd must be positive"):
        denoising((0.1, 2.0), data_sd=0.0)
    with pytest.raises(ValueError, match="expected a NoiseConditional model .* got a Sequential"):
        Learner(f, optimizer=optimizer, objective=denoising((0.1, 2.0)))
    with pytest.raises(ValueError, match="levels must be at least two, positive and ascending"):
        recovery((1.0, 0.5))
    with pytest.raises(ValueError, match="steps must be at least 1; got 0"):
        recovery(steps=0)
    with pytest.raises(ValueError, match="penalty must be at least 0"):
        likelihood(-1.0)


def test_the_guard_watches_what_the_objective_reports():
    """Sees rules of chains applied without any, and a loss that grows unseen."""
    objective = denoising()
    guard = Guard(objective.watched)
    calm = {"matching_loss": 0.5, "grad_norm": 1.0, "theta_grad_norm": 1.0}
    assert guard.look(calm) is None
    learned = calm | {"grad_norm": 4.0}
    assert all(guard.look(learned) is None for _ in range(130))
    seen = [guard.look(learned | {"matching_loss": 50.0}) for _ in range(10)]
    troubles = [trouble for trouble in seen if trouble]
    assert troubles
    assert "the matching loss grew" in troubles[0].what


def test_the_guard_needs_no_metric_but_those_reported():
    """Sees a name that the guard asks every objective for."""
    guard = Guard((THETA_GRAD_NORM,))
    assert all(guard.look({"theta_grad_norm": 1.0}) is None for _ in range(130))
    seen = [guard.look({"theta_grad_norm": 50.0}) for _ in range(10)]
    assert any(trouble and "the gradient in θ grew" in trouble.what for trouble in seen)

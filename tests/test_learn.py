"""Laws of one update: the gradient of Algorithm 1, what changes, what is loud."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anila.density.networks import Conditional, mlp
from anila.evaluation.training.metric import THETA_GRAD_NORM
from anila.learning.learner import Learner, NotFinite
from anila.learning.objectives import Contrast, Objective, classes, denoising, likelihood, recovery
from anila.learning.requirements import require_anchor
from anila.learning.starts import FromData, FromNoise, Persistent
from anila.rng import rng
from anila.samplers import anisotropic, anisotropic_mala, descent, kernel_density, langevin, mala, with_global_moves
from anila.samplers.adaptation import AdaptiveSampler
from exact import as_users_run_it
from levels import Perceptron


class Tilted(nn.Module):
    """f(x) = θ·x − |x|²/2: the maximum-likelihood θ is the mean of the data."""

    def __init__(self, dim: int = 2):
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.theta - x.square().sum(-1) / 2


def learner_of(seed: int = 0, **options) -> Learner:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = mlp(2, hidden=(16,))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + t))
    start = Persistent(torch.randn(32, 2, generator=rng(1, "x0")))
    return Learner(model, mala(model, 0.1), start, optimizer, 4, seed, schedule=schedule, ema=0.9, **options)


def data(iteration: int, n: int = 32) -> Tensor:
    return torch.randn(n, 2, generator=rng(7, "data", iteration))


def tensors(state: object) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    children = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else []
    return [t for child in children for t in tensors(child)]


def test_theta_moves_by_the_difference_of_means():
    """Sees a wrong sign, a missing mean, and samples and data exchanged: ∇θ f = x for this f."""
    model, x, z = Tilted(), data(0), data(1)
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    learner = Learner(model, descent(model, 1e-12), FromData(z), optimizer, steps=1)
    picked = FromData(z).draw(32, rng(0, "chains", 0))
    learner.update(x)
    torch.testing.assert_close(model.theta.data, 0.5 * (x.mean(0) - picked.mean(0)))


def test_printed_algorithm_line_by_line():
    """Sees any departure from Algorithm 1: the loop is written out here with the same noise."""
    model, reference = Tilted(), Tilted()
    b, epsilon, eta, K = 0.05, 0.01, 0.1, 6
    sampler = anisotropic(model, threshold=b, temperature=epsilon**2, refresh="iteration")
    learner = Learner(model, sampler, Persistent(data(9)), torch.optim.SGD(model.parameters(), eta), steps=K)
    z = data(9)
    for t in range(3):
        learner.update(data(t))
        generator = rng(0, "chains", t)
        gamma = b / (reference.theta.detach() - z).abs().clamp(min=b)
        for _ in range(K):
            noise = epsilon * torch.randn(z.shape, generator=generator)
            torch.rand(len(z), generator=generator)
            z = z + gamma / 2 * (reference.theta.detach() - z) + gamma.sqrt() * noise
        reference.theta.data += eta * (data(t).mean(0) - z.mean(0))
    torch.testing.assert_close(model.theta.data, reference.theta.data, rtol=1e-5, atol=1e-6)


def test_exact_chains_find_the_maximum_likelihood():
    """Sees a biased gradient: with exact chains θ settles at the data's mean."""
    model = Tilted(1)
    sampler = anisotropic_mala(model, threshold=1.0, step_size=1.0)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    learner = Learner(model, sampler, Persistent(torch.zeros(2000, 1)), optimizer, 3)
    shift = 1 + torch.randn(2000, 1, generator=rng(3, "data"))
    path = []
    for _ in range(150):
        learner.update(shift)
        path.append(model.theta.item())
    settled = sum(path[50:]) / 100
    assert abs(settled - shift.mean().item()) < 0.01


def test_persistent_chains_go_on_from_where_they_stood():
    """Sees chains that restart: after t iterations they have made t · K transitions."""
    model = Tilted()
    start = Persistent(torch.full((32, 2), 5.0))
    learner = Learner(model, descent(model, 0.1), start, torch.optim.SGD(model.parameters(), 1e-12), steps=3)
    for t in range(4):
        learner.update(data(t))
    torch.testing.assert_close(start.x, torch.full((32, 2), 5.0 * 0.95**12))


def test_state_dict_restores_everything_that_changes():
    """Sees any part of the state left out: 3 + 4 updates equal 7, bit for bit."""
    whole, first = learner_of(), learner_of()
    for t in range(7):
        whole.update(data(t))
    for t in range(3):
        first.update(data(t))
    second = learner_of()
    second.load_state_dict(first.state_dict())
    metrics = [second.update(data(t)) for t in range(3, 7)]
    assert all(
        torch.equal(a, b) for a, b in zip(tensors(whole.state_dict()), tensors(second.state_dict()), strict=True)
    )
    assert second.iteration == 7
    assert math.isfinite(metrics[-1]["energy_gap"])


@pytest.mark.parametrize("micro_batch", [3, 5, 100])
def test_micro_batches_change_nothing(micro_batch: int):
    """Sees noise that depends on who runs together, or a mean of means where the parts are uneven."""
    how: dict[str, Any] = {"objective": likelihood(penalty=0.1), "data_noise": 0.1, "chains": 32}
    whole, parts = learner_of(**how), learner_of(micro_batch=micro_batch, **how)
    for t in range(3):
        assert parts.update(data(t, 45)) == pytest.approx(whole.update(data(t, 45)), rel=1e-4, abs=1e-6)
    for a, b in zip(tensors(whole.state_dict()), tensors(parts.state_dict()), strict=True):
        if a.numel() > 1:  # the constant of f has no gradient but rounding
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_micro_batches_are_small():
    """Sees f evaluated on more rows at once than the memory was set for."""
    seen: list[int] = []

    class Watched(Tilted):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return super().forward(x)

    model = Watched()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    Learner(model, langevin(model, 0.1), FromData(data(1)), optimizer, steps=2, micro_batch=5).update(data(0))
    assert max(seen) <= 2 * 5


@pytest.mark.parametrize("fault", ["value", "gradient"])
def test_not_finite_is_loud_before_theta_moves(fault: str):
    """Sees a NaN that reaches the optimiser: θ stays and the message says when."""

    class Faulty(Tilted):
        def forward(self, x: Tensor) -> Tensor:
            f = super().forward(x)
            if not self.theta.requires_grad:
                return f
            return f * math.nan if fault == "value" else f + (self.theta.sum() * 0).sqrt() * 0

    model = Faulty()
    learner = Learner(model, langevin(model, 0.1), FromNoise((2,)), torch.optim.SGD(model.parameters(), 0.1), steps=2)
    with pytest.raises(NotFinite, match="iteration 0.*θ was not moved"):
        learner.update(data(0))
    assert torch.equal(model.theta.data, torch.zeros(2))


@pytest.mark.parametrize(("lost", "cause"), [("chains", "chains"), ("all", "learning")])
def test_f_that_is_not_finite_on_chains_alone_is_their_trouble(lost: str, cause: str):
    """Sees a step size far too large for which the guard lowers the learning rate until no return is left."""

    class Bounded(Tilted):
        def forward(self, x: Tensor) -> Tensor:
            far = x.abs().amax(1) > (10.0 if lost == "chains" else 0.0)
            return super().forward(x) - torch.where(far & self.theta.requires_grad, torch.inf, 0.0)

    model = Bounded()
    start = FromNoise((2,), "normal", 20.0)
    learner = Learner(model, langevin(model, 0.1), start, torch.optim.SGD(model.parameters(), 0.1), steps=1)
    with pytest.raises(NotFinite) as loss:
        learner.update(data(0))
    assert loss.value.cause == cause


def test_a_chain_that_runs_away_is_loud():
    class Explosive(Tilted):
        def forward(self, x: Tensor) -> Tensor:
            return x.pow(4).sum(-1) + self.theta.sum()

    model = Explosive()
    start = FromNoise((2,), "normal", 10.0)
    learner = Learner(model, langevin(model, 1.0), start, torch.optim.SGD(model.parameters(), 0.1), steps=20)
    with pytest.warns(RuntimeWarning, match="ran away"), pytest.raises(NotFinite, match="a chain became non-finite"):
        learner.update(data(0))


@pytest.mark.parametrize(("ema", "decay"), [(0.1, 0.1), (0.75, 2 / 11)])
def test_average_follows_its_formula(ema: float, decay: float):
    """Sees a decay applied the wrong way round, θ̄ ← decay θ̄ + (1 − decay) θ, or one that keeps the first θ for long."""
    model = Tilted()
    sampler = descent(model, 1e-12)
    learner = Learner(model, sampler, FromData(data(5)), torch.optim.SGD(model.parameters(), 1.0), steps=1, ema=ema)
    learner.update(data(0))
    first = model.theta.data.clone()
    learner.update(data(1))
    averaged = dict(learner.best_model.named_parameters())["theta"]
    torch.testing.assert_close(averaged.data, decay * first + (1 - decay) * model.theta.data)


def test_gradient_norm_is_limited():
    model = Tilted()
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    learner = Learner(model, descent(model, 1e-12), FromData(data(5)), optimizer, steps=1, max_grad_norm=1e-3)
    learner.update(data(0) + 10)
    assert model.theta.norm().item() == pytest.approx(1e-3, rel=1e-4)


def test_data_noise_has_its_standard_deviation():
    """Sees noise left out or scaled twice: f = −|x|² sees E|x + σξ|² = |x|² + dσ²."""
    model = Tilted(1)
    optimizer, start = torch.optim.SGD(model.parameters(), 1e-9), FromData(torch.zeros(1, 1))
    learner = Learner(model, descent(model, 1e-12), start, optimizer, steps=1, data_noise=0.5, chains=10)
    gap = learner.update(torch.zeros(100_000, 1))["energy_gap"]
    assert gap == pytest.approx(-0.5 * 0.25, rel=0.02)


def test_metrics_are_those_of_the_chains():
    model = Tilted()
    sampler = anisotropic(model, threshold=1e-6)
    learner = Learner(model, sampler, Persistent(data(3)), torch.optim.SGD(model.parameters(), 0.1), steps=1)
    metrics = learner.update(data(0))
    assert metrics["clipped"] == 1.0
    assert metrics["accept_prob"] == 1.0
    assert metrics["grad_norm"] == pytest.approx(data(3).norm(dim=1).mean().item(), rel=1e-5)


def test_idle_global_moves_are_switched_off_across_iterations():
    """Sees evaluations wasted for ever on candidates that are never accepted."""
    model = Tilted(40)
    far = kernel_density(torch.full((4, 40), 30.0), sd=0.01, uniform=1e-6)
    start = Persistent(torch.zeros(8, 40))
    sampler = with_global_moves(mala(model, 0.1), far)
    learner = Learner(model, sampler, start, torch.optim.SGD(model.parameters(), 1e-6), steps=1)
    x = torch.zeros(8, 40)
    assert all("global_accept" in learner.update(x) for _ in range(20))
    assert "global_accept" not in learner.update(x)


def test_step_size_follows_acceptance_between_iterations_and_resumes():
    """Sees a step that grows when all is rejected, moves within an iteration, or is lost on resume."""
    model = Tilted()

    def learner(adaptive: AdaptiveSampler) -> Learner:
        return Learner(model, adaptive, Persistent(data(3)), torch.optim.SGD(model.parameters(), 1e-9), steps=2)

    large, small = (AdaptiveSampler(lambda s: mala(model, s), first) for first in (50.0, 1e-4))
    one, other = learner(large), learner(small)
    first = one.update(data(0))
    assert first["accept_prob"] < 0.2
    assert first["step_size"] == pytest.approx(50.0)
    for t in range(60):
        metrics = one.update(data(t))
        other.update(data(t))
        assert t < 40 or 0.3 < metrics["accept_prob"] < 0.85
    assert large.step_size < 10
    assert small.step_size > 1e-3
    other.load_state_dict(one.state_dict())
    assert small.step_size == large.step_size


def up_on(points: Callable[[Tensor], Tensor]) -> Objective:
    """f goes up on points made of the data, and down at 0: of `Tilted` the gradient is the mean of those."""
    return Objective(lambda _f, x, _z, _noise: Contrast(points(x), 0 * x), (THETA_GRAD_NORM,))


def test_two_gradients_are_limited_apart():
    """Sees the sum limited, in which the larger drowns the other, and noise on the data of an anchor."""
    model, x, seen = Tilted(), data(0), []

    def anchor(x: Tensor) -> Tensor:
        seen.append(x)
        return torch.tensor([[0.0, 0.25]]).expand(len(x), 2)

    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    options: dict[str, Any] = {"max_grad_norm": 1.0, "data_noise": 0.3}
    learner = Learner(
        model, optimizer=optimizer, objective=up_on(lambda x: 0 * x + 80), anchor=up_on(anchor), **options
    )
    metrics = learner.update(x)
    torch.testing.assert_close(model.theta.data, torch.tensor([math.sqrt(0.5), math.sqrt(0.5) + 0.25]))
    assert metrics == pytest.approx({"theta_grad_norm": 80 * math.sqrt(2), "anchor_grad_norm": 0.25}, rel=1e-4)
    assert torch.equal(torch.cat(seen), x)


def anchored(**options: Any) -> Learner:
    """Algorithm 1 on the lowest level of an f(x, s), with all levels beside it."""
    torch.manual_seed(0)
    model = Perceptron(2)
    start = Persistent(torch.randn(24, 2, generator=rng(1, "x0")))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    anchor = denoising(sd=(0.1, 2.0))
    return Learner(model, mala(model, 0.1), start, optimizer, 3, anchor=anchor, max_grad_norm=0.5, **options)


@pytest.mark.parametrize("micro_batch", [5, 13])
def test_micro_batches_change_no_anchor(micro_batch: int):
    """Sees a mean of means, and levels that depend on who is evaluated together."""
    whole, parts = anchored(), anchored(micro_batch=micro_batch)
    for t in range(2):
        assert parts.update(data(t, 24)) == pytest.approx(whole.update(data(t, 24)), rel=1e-3, abs=1e-5)
    for p, q in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-5)


def test_an_anchor_reports_beside_the_objective():
    """Sees a metric of the objective overwritten, and one of the anchor that nothing follows."""
    learner = anchored()
    metrics = learner.update(data(0, 24))
    bare = learner_of()
    assert metrics.keys() - bare.update(data(0)).keys() == {"matching_loss", "anchor_grad_norm"}
    assert [m.name for m in learner.watched] == [m.name for m in learner.objective.watched] + ["matching_loss"]
    assert bare.watched == bare.objective.watched


def test_an_anchor_changes_no_number_of_the_objective():
    """Sees noise of the chains that an anchor draws away: all that is reported before θ moves is the same."""
    alone, beside = anchored(), anchored()
    alone.anchor = None
    one, other = (learner.update(data(0, 24)) for learner in (alone, beside))
    assert one.items() <= other.items()


@pytest.mark.parametrize(
    ("anchor", "options", "message"),
    [
        (likelihood(), {}, "an anchor sees data only, and this one needs chains"),
        (denoising(sd=(0.1, 1.0)), {}, "this objective learns levels of noise"),
        (recovery(), {}, "this objective learns levels of noise"),
        (denoising(sd=0.1), {"precision": "bf16"}, "rounds away the small differences"),
    ],
)
def test_an_anchor_that_does_not_fit_is_refused(anchor: Objective, options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        learner_of(anchor=anchor, **options)


def test_an_anchor_is_an_objective():
    with pytest.raises(TypeError, match="anchor: expected an Objective"):
        require_anchor(denoising)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"steps": 0}, "and steps for K"),
        ({"steps": 2.0}, r"steps must be a whole number; got 2\.0"),
        ({"ema": 1.5}, r"ema must be in \[0, 1\).*got 1\.5"),
        ({"max_grad_norm": -1.0}, r"max_grad_norm must be positive; got -1\.0"),
    ],
)
def test_numbers_that_would_learn_something_else_are_refused(more: dict[str, Any], message: str):
    """Sees chains that never move, an average that runs away, and a limit that turns the gradient round."""
    f = mlp(2, (4,))
    settings = {"steps": 1, "optimizer": torch.optim.SGD(f.parameters(), 0.1)} | more
    with as_users_run_it(), pytest.raises((TypeError, ValueError), match=message):
        Learner(f, mala(f, 0.1), Persistent(torch.zeros(6, 2)), **settings)


def of_three_classes() -> Learner:
    net = Conditional(mlp(2, (4,), out=3))
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    return Learner(net, mala(net, 0.1), Persistent(torch.zeros(6, 2)), optimizer, steps=1, objective=classes())


def test_classes_are_one_whole_number_a_point():
    """Sees three classes for six points learned as if they were all, and PyTorch's words for other numbers."""
    x, y = data(0, 6), torch.tensor([0, 1, 2, 0, 1, 2])
    for wrong in (y[:3], y.float(), y[:, None]):
        with as_users_run_it(), pytest.raises(ValueError, match="a whole number for each of 6 data points; got torch"):
            of_three_classes().update(x, wrong)
    assert of_three_classes().update(x, y.int())["accuracy"] >= 0

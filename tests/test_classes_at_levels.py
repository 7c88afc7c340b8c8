"""Laws of classes at every level of noise: the joint f(x, s)[y], what it is far out, and how it is learned."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from anila.applications.on_runs.draws import cleaning, completion
from anila.applications.on_runs.levels import descended
from anila.applications.on_runs.observed import Observed
from anila.density.log_density import HasClasses, HasLevels, value_and_grad
from anila.density.networks import BlurredGaussian, ClassesAtLevels, NoiseConditional, UNet
from anila.learning.learner import Learner
from anila.learning.objectives import Objective, classes, denoising, likelihood, of_classes, recovery
from anila.learning.starts import Persistent
from anila.rng import rng
from anila.runs.experiment import settings
from anila.samplers import langevin
from anila.samplers.annealed import draw_annealed, sample_annealed

LEVELS = (0.05, 0.3, 2.0)


def images(n: int, size: int = 8) -> Tensor:
    return 2 * torch.rand(n, 1, size, size, generator=rng(0, "images")) - 1


def energy(factor: float = 1.0) -> ClassesAtLevels:
    """Three classes of images, with weights away from their special values, and so many times larger."""
    torch.manual_seed(0)
    nets = UNet(1, 8, (4, 8)), UNet(1, 8, (4,))
    f = ClassesAtLevels(nets[0], BlurredGaussian.of(images(200), 20), 0.1, adapter=nets[1], classes=3)
    with torch.no_grad():
        for p in f.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=rng(0, "shake"))).mul_(factor)
    return f


class Tiny(nn.Module):
    """U and its features, of four coordinates."""

    pooled = 6

    def __init__(self):
        super().__init__()
        self.features, self.points = nn.Linear(5, 6), nn.Linear(6, 4)

    def forward(self, u: Tensor, s: Tensor, pooled: bool = False) -> Any:
        h = self.features(torch.cat([u, s.log()[:, None]], 1)).tanh()
        return (self.points(h), h) if pooled else self.points(h)


def tiny(seed: int = 0) -> ClassesAtLevels:
    torch.manual_seed(seed)
    f = ClassesAtLevels(Tiny(), BlurredGaussian((4,)), 0.1, classes=3)
    nn.init.normal_(f.embedding)
    return f


def rows(n: int = 45, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points of four coordinates, and a class of each."""
    generator = rng(seed, "rows")
    return torch.randn(n, 4, generator=generator) / 2, torch.randint(3, (n,), generator=generator)


class TestClassesAtLevels:
    def test_f_is_the_sum_over_classes_at_every_level(self):
        """Sees a class left out, a level that classes do not get, or base and box counted once a class."""
        f, x = energy().double(), images(4).double()
        for s in (*LEVELS, None):
            level = [] if s is None else [torch.full((4,), s).double()]
            by_class = f(x, *level, by_class=True)
            torch.testing.assert_close(f(x, *level), by_class.logsumexp(1))
            each = torch.stack([f.given(y)(x, *level) for y in range(3)], 1)
            torch.testing.assert_close(each, by_class)
        torch.testing.assert_close(f.logits(x), f(x, by_class=True))
        assert not torch.allclose(f(x), f(x, torch.full((4,), 0.1).double())), "f(x) has the adapter"
        assert isinstance(f, HasClasses)
        assert isinstance(f, HasLevels)

    def test_every_row_may_have_its_own_class_and_level(self):
        """Sees classes or levels of another row; and the gradient of a class is that of its logit."""
        f, x = energy().double(), images(3).double()
        y, s = torch.tensor([2, 0, 1]), torch.tensor(LEVELS).double()
        values, grads = value_and_grad(f.given(y).at(s), x)
        for k in range(3):
            one, grad = value_and_grad(lambda x, k=k: f(x, s[k : k + 1], by_class=True)[:, y[k]], x[k : k + 1])
            torch.testing.assert_close(values[k], one[0])
            torch.testing.assert_close(grads[k], grad[0])

    def test_without_classes_there_are_none(self):
        assert not isinstance(NoiseConditional(UNet(1, 8, (4,)), BlurredGaussian((1, 8, 8)), 0.1), HasClasses)
        assert isinstance(energy().given(1), HasLevels)
        assert not isinstance(energy().given(1), HasClasses)

    def test_at_first_classes_are_alike(self):
        f = ClassesAtLevels(UNet(1, 8, (4, 8)), BlurredGaussian((1, 8, 8)), 0.1, classes=3)
        assert bool((f.logits(images(2)).diff(dim=1) == 0).all())

    @pytest.mark.parametrize("factor", [0.0, 1.0, -5.0])
    def test_far_out_every_class_is_the_gaussian_whatever_the_weights(self, factor: float):
        """Sees features of x where those of the saturated x are meant: along rays f falls at least as |x|²."""
        f, ways = energy(factor).double(), images(16).double()
        ways = ways.sign() * ways.abs().clamp(min=0.1)
        ways = ways / ways.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        for s in LEVELS:
            slowest = 1 / (2 * (f.base.variances.max() + s**2)).item()
            level = torch.full((16,), s).double()
            near, far = (f(radius * ways, level, by_class=True) for radius in (1e5, 1e6))
            assert bool((far - near < -0.98 * slowest * 1e12).all())
            near, far = (f.learned_by_class(radius * ways, level) for radius in (1e5, 1e6))
            torch.testing.assert_close(near, far, rtol=1e-4, atol=1e-4)
            _, grad = value_and_grad(f.given(1).at(s), 1e6 * ways)
            assert bool(((grad * ways).flatten(1).sum(1) < -0.98 * 2 * slowest * 1e6).all())

    def test_every_parameter_learns_classes(self):
        """Sees a block of the way down that features do not come from; the way up tells no classes apart."""
        f = energy().double()
        cross_entropy(f.logits(images(4).double()), torch.tensor([0, 1, 2, 0])).backward()
        theta = [*f.net.named_parameters(), ("embedding", f.embedding)]
        still = {name.split(".")[0] for name, p in theta if p.grad is None or p.grad.abs().max() < 1e-6}
        assert still == {"enlarge", "up", "head"}

    def test_a_class_is_annealed_as_any_f_of_levels(self):
        """Data of class y are at y − 1: draws of a class are there. Sees the class lost on the way down."""
        f = ClassesAtLevels(Tiny(), BlurredGaussian((4,)), 0.1, classes=3)
        f.learned_by_class = at_centres  # pyright: ignore[reportAttributeAccessIssue]
        levels = [2.0, 1.0, 0.5, 0.2, 0.1]
        for y in range(3):
            of_class = f.given(y)
            x, _ = sample_annealed(of_class, of_class.base.draw(20, 2.0, rng(0, "x0")), levels, rng(0, "draw"))
            torch.testing.assert_close(x, torch.full_like(x, y - 1.0), atol=1e-4, rtol=0)


def at_centres(x: Tensor, s: Tensor, adapted: bool) -> Tensor:  # noqa: ARG001
    """log N(x; y − 1, s²) less the Gaussian N(0, 1 + s²), (n, 3)."""
    offset = (x[:, None] - torch.arange(-1.0, 2.0)[:, None]).square().sum(2)
    return x.square().sum(1, keepdim=True) / (2 * (1 + s.square()))[:, None] - offset / (2 * s.square())[:, None]


WITHOUT_CHAINS: dict[str, Callable[[], Objective]] = {
    "one level": lambda: of_classes(denoising(0.3), 0.7),
    "levels": lambda: of_classes(denoising((0.05, 2.0)), 0.7),
    "recovery": lambda: of_classes(recovery((0.1, 0.5, 1.0), steps=2), 0.7),
}


def learner_of(model: nn.Module, objective: Objective, **options: Any) -> Learner:
    return Learner(model, optimizer=torch.optim.SGD(model.parameters(), 0.01), objective=objective, **options)


@pytest.mark.parametrize("name", WITHOUT_CHAINS)
class TestOfClasses:
    def test_micro_batches_change_nothing(self, name: str):
        """Sees classes or levels parted from their rows, and a mean of means."""
        whole = learner_of(tiny(), WITHOUT_CHAINS[name]())
        parts = learner_of(tiny(), WITHOUT_CHAINS[name](), micro_batch=7)
        for t in range(2):
            found, again = whole.update(*rows(seed=t)), parts.update(*rows(seed=t))
            assert again == pytest.approx(found, rel=1e-4, abs=1e-6)
            assert {"accuracy", "theta_grad_norm"} < found.keys()
        for p, q in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-5)

    def test_it_goes_on_bit_for_bit(self, name: str):
        there, back = (learner_of(tiny(seed), WITHOUT_CHAINS[name](), ema=0.5) for seed in (0, 1))
        there.update(*rows())
        back.load_state_dict(there.state_dict())
        assert there.update(*rows(seed=1)) == back.update(*rows(seed=1))
        for p, q in zip(there.best_model.parameters(), back.best_model.parameters(), strict=True):
            assert torch.equal(p, q)


def test_the_contrast_has_the_gradient_of_score_matching_of_each_class_and_of_cross_entropy():
    """Sees f of another class, or of all; a wrong weight; and logits that give the class away (of the points up)."""
    x, y = rows(200)
    model, objective = tiny(), of_classes(denoising((0.05, 2.0), data_sd=0.8), 50.0)
    xi, s = objective.draw_noise(x, rng(0, "chains", 0))
    x_t = (x + s[:, None] * xi).requires_grad_(True)
    logits = model(x_t, s, by_class=True)
    (grad,) = torch.autograd.grad(logits.gather(1, y[:, None]).sum(), x_t, create_graph=True)
    loss = (s**2 * (1 + s**2 / 0.8**2) * (grad + xi / s[:, None]).square().sum(1) / 2).mean()
    theta = list(model.parameters())
    exact = torch.autograd.grad(loss + 50.0 * cross_entropy(logits, y), theta, retain_graph=True)
    learner_of(model, objective).update(x, y)
    found = torch.cat([p.grad.flatten() for p in theta if p.grad is not None])
    expected = torch.cat([g.flatten() for g in exact])
    assert torch.cosine_similarity(found, expected, dim=0) > 0.9999
    assert (found.norm() / expected.norm()).item() == pytest.approx(1, abs=1e-2)


def with_chains(model: nn.Module, z: Tensor, **options: Any) -> Learner:
    """Algorithm 1 with chains that stay at z."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return Learner(model, langevin(model, 1e-12), Persistent(z), optimizer, 1, chains=len(z), **options)


def test_the_likelihood_of_the_final_law_learns_classes_too():
    """Sees levels that `classes` cannot learn from: minus θ-gradient of f(data) − f(chains) + log p(y | data)."""
    (x, y), (z, _) = rows(), rows(20, 1)
    model = tiny()
    loss = model(z).mean() - model(x).mean() + cross_entropy(model.logits(x), y)
    exact = torch.autograd.grad(loss, list(model.parameters()))
    with_chains(model, z, objective=classes()).update(x, y)
    for p, g in zip(model.parameters(), exact, strict=True):
        torch.testing.assert_close(p.grad, g, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("objective", [likelihood(), classes()])
def test_an_anchor_learns_classes_beside_any_objective(objective: Objective):
    """Sees labels that an anchor does not get, those of other rows, and labels for an objective without classes."""
    (x, y), (z, _) = rows(), rows(20, 1)
    anchor, grads = of_classes(denoising((0.05, 2.0))), []
    alone = {"objective": objective}
    for options in (alone, alone | {"anchor": anchor}, alone | {"anchor": anchor, "micro_batch": 7}):
        learner = with_chains(tiny(), z, **options)
        metrics = learner.update(x, y if learner.needs_classes else None)
        grads.append(torch.cat([p.grad.flatten() for p in learner.model.parameters() if p.grad is not None]))
    model = tiny()
    learner_of(model, anchor).hold(anchor, x, y)
    held = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(grads[1] - grads[0], held, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(grads[2], grads[1], rtol=1e-3, atol=1e-4)
    assert metrics["anchor_grad_norm"] == pytest.approx(held.norm().item(), rel=1e-3)


def test_guidance_raises_the_power_of_the_class():
    """Sees guidance of another class, or that is not 1 + w of log p(y | x)."""
    f, w = energy(), 1.5
    x, y, s = images(6), torch.tensor([0, 1, 2, 0, 1, 2]), torch.full((6,), 0.3)
    logits = f(x, s, by_class=True)
    own = logits.gather(1, y[:, None]).squeeze(1)
    torch.testing.assert_close(f.given(y, w)(x, s), (1 + w) * own - w * logits.logsumexp(1))


def test_guided_classes_together_are_their_sum():
    """Sees what comes down without a class guided as one of them, or not at all; a class keeps to itself."""
    f, x, s = energy(), images(6), torch.full((6,), 0.3)
    each = torch.stack([f.given(y, 1.5)(x, s) for y in range(3)], 1)
    torch.testing.assert_close(f.guided(1.5)(x, s), each.logsumexp(1))
    torch.testing.assert_close(f.guided(0.0)(x, s), f(x, s))
    torch.testing.assert_close(f.given(1).guided(1.5)(x, s), each[:, 1])


def test_what_is_hidden_comes_down_guided_and_what_is_noisy_does_not(monkeypatch: pytest.MonkeyPatch):
    """Sees settings that completions do not go by, and a clean image that is more like its class than it was."""
    monkeypatch.setattr("anila.applications.on_runs.levels.STEPS", 1)
    f, x, asked = energy(), images(2), []
    f.guided = lambda w: asked.append(w) or f  # pyright: ignore[reportAttributeAccessIssue]
    sampler = settings.Sampler(name="langevin", step_size=0.003, guidance=4.0)
    for observed, law in ((Observed(x, hidden=x[0] > 0), completion), (Observed(x, sd=0.2), cleaning)):
        descended(f, sampler, observed, law, 1, rng(0, "down"))
    assert asked == [4.0]


def test_guidance_ends_where_noise_is_many_times_the_data():
    """Sees guidance at levels where it takes contrast away, and rows of one batch that share the level of the first."""
    f, x, y = energy(), images(2), torch.tensor([0, 1])
    s = f.data_sd * torch.tensor([4.9, 5.1])
    plain, guided = f.given(y)(x, s), f.given(y, 2.0)(x, s)
    assert guided[0] != plain[0]
    assert guided[1] == plain[1]


def test_a_draw_goes_down_as_one_of_a_class_that_it_may_be():
    """Sees classes drawn evenly, or of another row: here p(y | x) is 1 for the class that the first coordinate says."""

    class Split(nn.Module):
        """Points at -1 or 1, of class 0 or 1."""

        lowest, highest, finest = 0.1, 2.0, 0.1
        taken: Tensor

        def draw_highest(self, n: int, generator: torch.Generator) -> Tensor:
            return 2 * torch.randint(2, (n, 1), generator=generator) - 1.0

        def forward(self, x: Tensor, s: Tensor, by_class: bool = False) -> Tensor:
            logits = torch.cat([-1e3 * x, 1e3 * x], 1) - x.square() / (2 * s[:, None] ** 2)
            return logits if by_class else logits.logsumexp(1)

        def logits(self, x: Tensor) -> Tensor:
            return self(x, torch.full((len(x),), self.lowest), by_class=True)

        def at(self, s: float | Tensor) -> Any:
            return lambda x: self(x, torch.as_tensor(s).expand(len(x)))

        def given(self, y: Tensor, guidance: float) -> Any:
            self.taken = y
            assert guidance == 0.5
            return NoiseConditional(Still(), BlurredGaussian((1,)), 0.1)

    class Still(nn.Module):
        def forward(self, u: Tensor, s: Tensor) -> Tensor:  # noqa: ARG002
            return 0 * u

    f, generator = Split(), rng(0, "split")
    came = f.draw_highest(40, rng(0, "split"))
    draw_annealed(f, 40, generator, lambda g: langevin(g, 0.003), levels=3, steps=0, guidance=0.5)
    assert torch.equal(f.taken, (came[:, 0] > 0).long())

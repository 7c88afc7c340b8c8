"""What follows the chains or the iteration: thresholds, temperatures, data noise; and what keeps f from growing."""

import math

import pytest
import torch

from anila.learning.learner import Learner
from anila.learning.objectives import likelihood
from anila.learning.starts import Persistent
from anila.rng import rng
from anila.runs.experiment import PRESETS, SettingsError, build, build_data, build_learner, resolve
from anila.runs.experiment.settings import Sampler, Training
from anila.samplers import anisotropic, anisotropic_mala, langevin, sample
from anila.samplers.adaptation import AdaptiveSampler
from test_learn import Tilted


def normal(x: torch.Tensor) -> torch.Tensor:
    return -x.square().sum(-1) / 2


@pytest.mark.parametrize("first", [0.1, 4.0])
@pytest.mark.parametrize("clipped", [0.1, 0.5])
def test_the_threshold_becomes_the_quantile_of_the_gradient(first: float, clipped: float):
    """For N(0, 1), |∂f| = |x| and P(|x| > b) = clipped: b is known. Sees a wrong sign and a wrong fraction."""
    adaptive = AdaptiveSampler(
        lambda s, **kw: anisotropic_mala(normal, step_size=s, **kw), 0.5, None, threshold=first, clipped=clipped
    )
    x, generator = torch.randn(500, 2, generator=rng(0, "x")), rng(0, "chains")
    for i in range(130):
        x, trace = sample(adaptive.kernel(i), x, 2, generator)
        adaptive.adapt(trace.means())
    b = torch.distributions.Normal(0, 1).icdf(torch.tensor(1 - clipped / 2)).item()
    assert adaptive.threshold == pytest.approx(b, rel=0.05)


def test_what_follows_nothing_stays_as_it_was_given():
    """Sees a changed setting undone by a checkpoint, and an adapted one forgotten."""
    there = AdaptiveSampler(
        lambda s, **kw: anisotropic(normal, step_size=s, **kw), 0.5, None, threshold=1.0, clipped=0.1
    )
    there.adapt({"clipped": 0.9})
    back = AdaptiveSampler(there.make, 0.1, None, threshold=7.0, clipped=0.1)
    back.load_state_dict(there.state_dict())
    assert (back.step_size, back.threshold) == (0.1, there.threshold)


def test_temperature_anneals_along_a_geometric_course():
    config = resolve(
        PRESETS["flowers-chains"].experiment, ["sampler.temperature=1", "sampler.final_temperature=0.01"]
    ).sampler
    assert [build.temperature(config, 10, i) for i in (0, 5, 10, 20)] == pytest.approx([1, 0.1, 0.01, 0.01])


def test_the_kernel_of_an_iteration_has_its_temperature():
    """Flat f: chains move by noise alone, variance γ T. Sees the first temperature kept."""
    config = resolve(
        PRESETS["rings"].experiment,
        ["sampler=langevin", "sampler.step_size=1", "sampler.final_temperature=0.01", "training.iterations=10"],
    )
    chains = build_learner(config, build_data(config.data)).chains
    assert chains
    adaptive = chains.sampler
    assert isinstance(adaptive, AdaptiveSampler)
    adaptive.make = lambda s, **kw: langevin(lambda x: 0 * x.sum(-1), s, **kw)
    for i, temperature in ((0, 1.0), (10, 0.01)):
        x, _ = sample(adaptive.kernel(i), torch.zeros(20_000, 1), 1, rng(0, "chains"))
        assert x.var().item() == pytest.approx(temperature, rel=0.05)


def test_data_noise_anneals_along_a_line():
    t = Training(data_noise=1.0, final_data_noise=0.0, iterations=10)
    assert [build.data_noise(t, i) for i in (0, 5, 10)] == pytest.approx([1, 0.5, 0])
    config = resolve(PRESETS["rings"].experiment, ["training.data_noise=1", "training.final_data_noise=0.2",
                                                  "training.iterations=10"])  # fmt: skip
    learner = build_learner(config, build_data(config.data))
    for i, sd in ((0, 1.0), (5, 0.6), (10, 0.2)):
        learner.iteration = i
        assert learner.noisy(torch.zeros(20_000, 2), rng(0, "noise")).std().item() == pytest.approx(sd, rel=0.03)


def test_the_regulariser_has_its_gradient():
    """θ descends α (mean f(x)² + mean f(z)²) too, whose gradient for this f is 2α (mean f(x) x + mean f(z) z)."""
    model, rate, alpha = Tilted(), 0.5, 0.3
    x, z0 = (torch.randn(32, 2, generator=rng(0, name)) for name in ("x", "z"))
    start = Persistent(z0)
    with torch.no_grad():
        f_x = model(x)
    optimizer, objective = torch.optim.SGD(model.parameters(), rate), likelihood(penalty=alpha)
    learner = Learner(model, langevin(model, 0.1), start, optimizer, 3, objective=objective)
    learner.update(x)
    z = start.x
    f_z = -z.square().sum(-1) / 2
    contrast = x.mean(0) - z.mean(0)
    growth = 2 * alpha * ((f_x[:, None] * x).mean(0) + (f_z[:, None] * z).mean(0))
    torch.testing.assert_close(model.theta.data, rate * (contrast - growth))


def test_range_and_spread_are_what_they_say():
    model = Tilted()
    start = Persistent(torch.full((4, 2), 6.0))
    learner = Learner(model, langevin(model, 1e-12), start, torch.optim.SGD(model.parameters(), 0.1), 1)
    x = torch.tensor([[1.0, 0.0], [-3.0, 0.0]])
    metrics = learner.update(x)
    assert metrics["chain_range"] == pytest.approx(2.0, rel=1e-4)
    assert metrics["energy_sd"] == pytest.approx(math.sqrt(4 / 2), rel=1e-4), "f(x) is −0.5 and −4.5, f(z) all alike"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sampler=langevin", "sampler.clipped=0.1"], "langevin has no threshold to steer"),
        (["sampler=mala", "sampler.temperature=1", "sampler.final_temperature=0.1"], "needs langevin or anisotropic"),
        (["sampler=descent", "sampler.final_temperature=0.1"], "got descent"),
        (["sampler.clipped=1.5"], "sampler.clipped: "),
    ],
)
def test_what_cannot_be_adapted_is_refused(overrides: list[str], message: str):
    with pytest.raises(SettingsError, match=message):
        resolve(PRESETS["flowers-chains"].experiment, overrides)


def test_another_sampler_drops_what_it_does_not_have():
    assert resolve(PRESETS["flowers-chains"].experiment, ["sampler=langevin"]).sampler.clipped is None
    assert Sampler(name="anisotropic", threshold=1.0, clipped=0.1).clipped == 0.1

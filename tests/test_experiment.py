"""Laws of settings: the papers' numbers are in the presets, and every mistake is named."""

import copy
import inspect
import json
import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from anila.density.networks import WideResNet, is_normalised
from anila.density.networks.spectral import normalised
from anila.rng import rng
from anila.runs.experiment import PRESETS, Experiment, SettingsError, build_network, build_sampler, resolve
from anila.runs.experiment.build import build_learner, choose_device, course
from anila.runs.experiment.changes import CHOICES
from anila.runs.experiment.choice import Choice
from anila.runs.experiment.choose import choose
from anila.runs.experiment.overrides import GROUPS, fields_of
from anila.runs.experiment.saved import current
from anila.runs.experiment.settings import Anchor, Network, Objective, Optimizer, Sampler
from anila.samplers import SAMPLERS
from anila.samplers.kernel import draw_noise

RINGS = PRESETS["rings"].experiment


def preset(name: str) -> Experiment:
    return PRESETS[name].experiment


def test_every_preset_survives_being_written_down():
    for name, entry in PRESETS.items():
        again = TypeAdapter(Experiment).validate_python(asdict(entry.experiment))
        assert again == entry.experiment, name


@pytest.mark.parametrize(
    ("name", "K", "b", "temperature", "chains", "optimizer", "rate", "T"),
    [
        ("rings-stanley", 100, 0.01, 0.125**2, 100, "sgd", 1e-4, 10_000),
        ("flowers-stanley", 50, 1e-4, 1e-4, 100, "sgd", 1e-3, 100_000),
        ("cifar10-stanley", 100, 2e-4, 1e-4, 64, "adam", 1e-4, 100_000),
    ],
)
def test_stanley_presets_are_as_printed(name, K, b, temperature, chains, optimizer, rate, T):
    config = preset(name)
    s, o, t = config.sampler, config.optimizer, config.training
    assert (s.name, s.steps, s.threshold, s.step_size) == ("anisotropic", K, b, 1.0)
    assert s.temperature == pytest.approx(temperature)
    assert (t.chains or t.batch, o.name, o.learning_rate, t.iterations) == (chains, optimizer, rate, T)


def test_stanley_cifar10_net_has_five_convolutions():
    net = build_network(preset("cifar10-stanley").network, (3, 32, 32), 0)
    convolutions = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    slopes = {m.negative_slope for m in net.modules() if isinstance(m, torch.nn.LeakyReLU)}
    assert (len(convolutions), convolutions[0].out_channels, slopes) == (5, 64, {0.2})


@pytest.mark.parametrize(
    ("name", "K", "epsilon", "start", "size", "optimizer", "rate", "T", "noise"),
    [
        ("rings-anatomy", 500, 0.125, "persistent", 10_000, "sgd", 0.1 * 0.125**2 / 2, 200_000, 0),
        ("mixture-anatomy", 500, 0.125, "persistent", 10_000, "sgd", 0.1 * 0.125**2 / 2, 200_000, 0),
        ("rings-anatomy-shortrun", 100, 0.01, "noise", None, "adam", 1e-4, 100_000, 0),
        ("flowers-anatomy", 500, 0.0075, "persistent", 8189, "sgd", 0.1 * 0.0075**2 / 2, 200_000, 0.015),
        ("cifar10-anatomy", 150, 0.01, "noise", None, "adam", 1e-4, 100_000, 0.03),
    ],
)
def test_anatomy_presets_are_as_printed(name, K, epsilon, start, size, optimizer, rate, T, noise):
    config = preset(name)
    s, o, t = config.sampler, config.optimizer, config.training
    assert (s.name, s.steps, s.step_size, s.temperature) == ("langevin", K, epsilon**2, 1.0)
    assert config.network.temperature == pytest.approx(epsilon**2 / 2)
    assert (config.start.name, config.start.size) == (start, size)
    assert (o.name, o.learning_rate, t.iterations, t.data_noise) == (optimizer, pytest.approx(rate), T, noise)


def test_anatomy_step_is_theirs():
    """Sees a wrong power of ε: the preset's transition is x ← x − ∂F + εz with F = −net."""
    config = preset("rings-anatomy-shortrun")
    f = build_network(config.network, (2,), 0).double()
    net = f.net
    sampler = build_sampler(config.sampler, f)
    x = torch.randn(50, 2, dtype=torch.float64, generator=rng(0, "x"))
    noise = draw_noise(x, rng(0, "noise"))
    moved = sampler.step(sampler.init(x), noise)[0].x
    x_ = x.clone().requires_grad_(True)
    (uphill,) = torch.autograd.grad(net(x_).sum(), x_)  # pyright: ignore[reportCallIssue]
    torch.testing.assert_close(moved, x + uphill + 0.01 * noise.normal)


def test_our_presets_confine_or_start_where_reach_suffices():
    for name in ("rings", "mixture", "table"):
        assert preset(name).network.confine
    for name in ("mnist-chains", "flowers-chains", "cifar10-chains"):
        s = preset(name).sampler
        assert s.threshold is not None
        assert s.steps * s.step_size * s.threshold / 2 >= 0.99


def test_overrides_are_typed():
    config = resolve(
        RINGS, ["sampler.threshold=0.5", "sampler.steps=3", "training.iterations=7", "network.hidden=[8, 9]"]
    )
    assert (config.sampler.steps, config.sampler.threshold, config.training.iterations) == (3, 0.5, 7)
    assert config.network.hidden == (8, 9)
    assert resolve(RINGS, ["network.confine=none"]).network.confine is None
    assert resolve(RINGS, ["data.flip=true"]).data.flip is True


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "optimizer.lerning_rate=1",
            "unknown setting 'optimizer.lerning_rate'; did you mean 'optimizer.learning_rate'",
        ),
        ("lerning_rate=1", "unknown setting 'lerning_rate'; did you mean 'optimizer.learning_rate'"),
        ("smapler=mala", "unknown setting 'smapler'; did you mean 'sampler'"),
        ("sampler=mal", "sampler.name: no sampler 'mal'; did you mean 'mala'"),
        ("network=toi", "network.name: no network 'toi'; did you mean 'toy'"),
        ("sampler.leapfrog_steps=3", "anisotropic_mala has no leapfrog_steps, which is a setting of hmc"),
        ("network.width=3", "mlp has no width, which is a setting of vanilla and resnet"),
        ("sampler.leapfrog_step=3", "unknown setting 'sampler.leapfrog_step'"),
        ("data.missing=NA", "data.missing: expected a list; got 'NA'; give 'data.missing=[NA]'"),
        ("training.batch=0", "training.batch: input should be greater than or equal to 1; got '0'"),
        ("sampler.step_size=-1", "sampler.step_size: input should be greater than 0; got '-1'"),
        ("sampler.step_size=1e-3x", "sampler.step_size: input should be a valid number"),
        ("sampler.step_size=nan", "sampler.step_size"),
        ("training.iterations=1.5", "training.iterations: input should be a valid integer"),
        ("stages.1.stages.x=1", "a stage has no stages of its own; got stages.1.stages.x"),
        ("data.size=1000000000", "data.size: input should be less than or equal to 8192"),
        ("training.threads=1000000000", "training.threads: input should be less than or equal to 1024"),
        ("training", "expected key=value, got 'training'"),
        ("sampler.temperature=0.5", "anisotropic_mala is exact at temperature 1 only"),
        ("network.fourier=3", "network.fourier: input should be a multiple of 2"),
        ("start.size=3", "start.size=3 keeps fewer chains than the 500 that run"),
        ("start=paired", "start=paired pairs each chain with a data point, and training.chains=500 is not"),
        ("optimizer.decay=exponential", "needs optimizer.final_rate above 0"),
    ],
)
def test_a_mistake_is_named(override: str, message: str):
    with pytest.raises(SettingsError) as error:
        resolve(RINGS, [override])
    assert message in str(error.value)


@pytest.mark.parametrize("group", GROUPS)
def test_no_count_is_beyond_64_bits(group: str):
    """Sees a number that torch cannot take pass as a setting, to end in a traceback."""
    for name in fields_of(group, list(getattr(CHOICES.get(group), "TABLE", {}))):
        for value in ("9" * 30, f"[{'9' * 30}]"):
            with suppress(SettingsError):
                found = getattr(getattr(resolve(RINGS, [f"{group}.{name}={value}"]), group), name)
                assert not (isinstance(found, int | tuple)) or name in ("seed", "missing")


def test_all_mistakes_are_named_at_once():
    with pytest.raises(SettingsError) as error:
        resolve(RINGS, ["training.batch=0", "sampler.step_size=x", "dat.size=3", "nonsense"])
    assert len(str(error.value).splitlines()) == 4


@pytest.mark.parametrize("setting", ["sampler.global_every=1", "sampler.accept=0.5"])
def test_unadjusted_samplers_refuse_what_needs_rejections(setting: str):
    with pytest.raises(SettingsError, match="langevin never rejects"):
        resolve(RINGS, ["sampler=langevin", setting])


def test_changing_to_an_unadjusted_sampler_drops_global_moves():
    assert resolve(RINGS, ["sampler=anisotropic"]).sampler.global_every == 0


def test_another_sampler_keeps_what_it_has_too_and_its_law():
    """Sees a setting carried to a sampler that has none, lost on one that has it, or a temperature dropped unsaid."""
    anisotropic = preset("rings-stanley")
    kept = resolve(anisotropic, ["sampler=anisotropic_mala", "sampler.temperature=1"]).sampler
    assert (kept.threshold, "temperature" in kept.own) == (anisotropic.sampler.threshold, False)
    assert resolve(anisotropic, ["sampler=langevin"]).sampler.temperature == anisotropic.sampler.temperature
    with pytest.raises(SettingsError, match="mala is exact at temperature 1 only, and got temperature 0.015625"):
        resolve(anisotropic, ["sampler=mala"])


def test_the_options_of_a_choice_are_those_of_its_constructor():
    """Sees a sampler or a network whose signature and settings differ."""
    for name, make in SAMPLERS.items():
        takes = {*inspect.signature(make).parameters} - {"f", "step_size", "preconditioner"}
        assert {*Sampler.kind(name).own} == takes, name
    assert Sampler(name="hmc", leapfrog_steps=3).options == {"leapfrog_steps": 3, "spread": 1.0}
    assert Network(name="wrn").options == {"depth": 10, "widen": 1, "nonlinearity": "silu", "slope": 0.05}
    with pytest.raises(ValidationError, match="leapfrog_steps"):
        Sampler(name="mala", leapfrog_steps=3)


@pytest.mark.parametrize("group", [Anchor, Network, Objective, Sampler])
def test_every_option_can_be_saved(group: type[Choice]):
    """Sees an argument that is a function taken for a setting, which ends the run at its first checkpoint."""
    for name in group.TABLE:
        kind = group.kind(name)
        json.dumps(asdict(kind(**dict.fromkeys(kind.needed, 1))))


def test_settings_of_version_0_1_0_are_read():
    """Sees a run refused for options of other samplers and networks, which it wrote down too; or a wrong one."""
    every = {"leapfrog_steps": 10, "threshold": 10.0, "temperature": 1.0, "refresh": "step"}
    nets = {"hidden": [8], "fourier": 0, "fourier_scale": 0.5, "width": 32, "depth": 10, "widen": 1, "slope": 0.05}
    saved = {"sampler": {"name": "mala", "steps": 3, **every}, "network": {"name": "mlp", **nets}}
    found = TypeAdapter(Experiment).validate_python(current(saved))
    assert found.sampler == Sampler(name="mala", steps=3)
    assert found.network == Network(name="mlp", hidden=(8,))
    saved["sampler"] |= {"name": "anisotropic", "temperature": 0.5}
    assert TypeAdapter(Experiment).validate_python(current(saved)).sampler.temperature == 0.5
    saved["sampler"]["temprature"] = 1.0
    with pytest.raises(ValidationError, match="temprature"):
        TypeAdapter(Experiment).validate_python(current(saved))


@pytest.mark.parametrize("again", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_settings_reach_other_processes(again: Callable[[Sampler], Sampler]):
    """Sees a class made on the way that cannot be found again."""
    s = Sampler(name="hmc", leapfrog_steps=3)
    assert s.kind("langevin") is Sampler.kind("langevin")
    assert again(s) == s
    assert type(again(s)) is type(s)


def test_anisotropic_without_threshold_is_refused():
    with pytest.raises(SettingsError, match="needs a threshold"):
        resolve(RINGS, ["sampler.threshold=none"])


@pytest.mark.parametrize("name", ["mnist-chains", "flowers-chains", "cifar10-chains"])
@pytest.mark.parametrize("sampler", ["mala", "anisotropic_mala"])
def test_exact_chains_of_images_bring_their_recipe(name: str, sampler: str):
    """Sees a Metropolis sampler at the temperature of the unadjusted recipe, where nothing would be accepted."""
    config = choose(name, [f"sampler={sampler}", "sampler.step_size=0.5"])[1]
    assert (config.sampler.target_temperature, config.sampler.accept, config.network.confine) == (1.0, 0.57, 1.0)
    assert (config.start.name, config.start.size, config.sampler.step_size) == ("persistent", None, 0.5)
    assert choose(name, ["sampler=langevin"])[1].sampler.temperature == preset(name).sampler.temperature


def test_toml_files(tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text('preset = "rings"\nsampler = "mala"\n[training]\niterations = 5\n')
    name, config = choose(str(file), ["training.batch=9"])
    assert (name, config.sampler.name, config.training.iterations, config.training.batch) == ("mine", "mala", 5, 9)


def test_a_mistake_in_a_file_has_its_line(tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text("[training]\niterations = 5\n\n[optimizer]\nlerning_rate = 1.0\n")
    with pytest.raises(SettingsError, match=r"mine\.toml:5: unknown setting 'optimizer.lerning_rate'"):
        choose(str(file), [])
    file.write_text('preset = "rinks"\n')
    with pytest.raises(SettingsError, match="did you mean 'rings'"):
        choose(str(file), [])
    file.write_text("preset = \n")
    with pytest.raises(SettingsError, match="not valid TOML"):
        choose(str(file), [])


def test_unknown_presets_and_paths():
    with pytest.raises(SettingsError, match="did you mean 'rings'"):
        choose("ringz", [])
    with pytest.raises(FileNotFoundError, match="no file or folder /nowhere/at/all"):
        choose("/nowhere/at/all", [])


def test_a_learner_is_a_function_of_the_seed():
    config = resolve(RINGS, ["network.hidden=[8]", "training.chains=10", "training.batch=10"])
    from anila.runs.experiment import build_data

    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(weights))
        one = resolve(config, [f"training.seed={seed}"])
        weights.append(torch.cat([p.flatten() for p in build_learner(one, build_data(one.data)).model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_networks_refuse_points_they_do_not_take():
    with pytest.raises(ValueError, match="takes square images"):
        build_network(Network(name="vanilla"), (2,), 0)


def test_courses_of_the_learning_rate():
    cosine = Optimizer(learning_rate=1.0, decay="cosine", final_rate=0.2)
    assert [round(course(cosine, t, 10), 6) for t in (0, 5, 10)] == [1.0, 0.6, 0.2]
    exponential = Optimizer(learning_rate=1.0, decay="exponential", final_rate=0.01)
    assert course(exponential, 5, 10) == pytest.approx(0.1)
    assert [course(Optimizer(warmup=4), t, 10) for t in (0, 1, 3, 9)] == [0.25, 0.5, 1.0, 1.0]


def test_sampler_defaults_are_valid():
    assert Sampler(threshold=1.0).target_temperature == 1.0


def test_data_starts_and_noise_of_one_seed_are_apart():
    """Sees streams that repeat each other: one seed for all, and no correlation above 5 standard errors."""
    n = 4000
    wide = ["network.hidden=[8]", f"training.chains={n}", f"training.batch={n}", f"start.size={n}", "start.kind=normal"]
    config = resolve(RINGS, wide)
    from anila.runs.experiment import build_data

    data = build_data(config.data)
    learner = build_learner(config, data)
    seed = config.training.seed
    assert learner.chains
    x0 = learner.chains.start.state_dict()["x"]
    noise = [draw_noise(x0, rng(seed, "chains", t)).normal for t in range(2)]
    streams = torch.stack([x.flatten() for x in (x0, data.batch(n, seed, 0), data.batch(n, seed, 1), *noise)])
    correlation = torch.corrcoef(streams) - torch.eye(len(streams))
    assert correlation.abs().max() < 5 / (2 * n) ** 0.5


@pytest.mark.parametrize("name", ["mlp", "toy", "vanilla", "resnet", "wrn"])
def test_every_network_can_be_normalised_and_conditional(name: Literal["mlp", "toy", "vanilla", "resnet", "wrn"]):
    """Sees a network whose outputs or weights the settings do not reach."""
    shape = (2,) if name in ("mlp", "toy") else (1, 8, 8)
    width = {"width": 4} if name in ("vanilla", "resnet") else {}
    config = Network(name=name, **width, spectral=True, classes=3, confine=1.0, temperature=0.5)
    f = build_network(config, shape, 0)
    assert f(torch.zeros(2, *shape)).shape == (2,)
    assert f(torch.zeros(2, *shape), by_class=True).shape == (2, 3)
    layers = [m for m in f.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len(list(normalised(f))) == len(layers) > 0
    assert not is_normalised(build_network(replace(config, spectral=False), shape, 0))


def test_depth_and_widen_are_those_of_the_wide_residual_network():
    config = Network(name="wrn", depth=16, widen=2)
    theirs, ours = WideResNet(3, 8, 16, 2), build_network(config, (3, 8, 8), 0)
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]
    with pytest.raises(ValueError, match="network wrn: a wide residual network has depth 6 n"):
        build_network(Network(name="wrn", depth=12), (3, 8, 8), 0)


def test_images_take_a_wider_net_where_they_learn_on_a_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    wide, small = (choose("cifar10", [f"training.device={device}"])[1] for device in ("auto", "cpu"))
    assert (wide.network.options["widths"], wide.training.batch) == ((96, 192, 256), 128)
    assert small.training.batch == PRESETS["cifar10"].experiment.training.batch
    assert choose("cifar10", ["training.batch=9"])[1].training.batch == 9
    assert choose("cifar10", ["network=vanilla", "stages=none", "objective=likelihood"])[1].network.name == "vanilla"


@pytest.mark.parametrize(
    ("typed", "meant"), [("objective.penalty=1", "training.penalty"), ("training.step_size=1", "sampler.step_size")]
)
def test_a_setting_of_another_group_is_named(typed: str, meant: str):
    with pytest.raises(SettingsError, match=f"did you mean '{meant}'"):
        resolve(RINGS, [typed])


def test_a_network_is_drawn_without_a_generator_of_the_callers(monkeypatch: pytest.MonkeyPatch):
    """Sees the generators of a GPU set anew, or the one of the CPU left elsewhere."""
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("a GPU's generator was set"))
    before = torch.get_rng_state()
    build_network(Network(name="toy"), (2,), 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_device_without_double_precision_is_refused(monkeypatch: pytest.MonkeyPatch):
    """Sees a run on Apple's GPU that ends at its first iteration, when numbers of its chains are averaged."""

    def empty(_: int, dtype: torch.dtype = torch.float32, **__: object) -> torch.Tensor:
        if dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return torch.zeros(1)

    monkeypatch.setattr(torch, "empty", empty)
    with pytest.raises(ValueError, match="training.device=mps cannot be used: Cannot convert .* use auto or cpu"):
        choose_device("mps")

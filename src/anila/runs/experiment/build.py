"""From settings to things: data, network, sampler, start, optimiser, learner."""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from anila.data import DataSet, Elsewhere, Labelled, Rows, load
from anila.data.dataset import rows_for
from anila.density.log_density import HasClasses, HasLevels
from anila.density.networks import Conditional, Confined, NoiseConditional, Tempered, Whitened, fitted, see, spectral
from anila.learning.distributed import ALONE, Ranks
from anila.learning.learner import Learner
from anila.learning.objectives import Objective, of_classes
from anila.messages import counted
from anila.rng import rng
from anila.runs.experiment import settings
from anila.runs.experiment.build_sampler import build_proposal, build_sampler
from anila.runs.experiment.build_starts import build_start
from anila.runs.experiment.experiment import Experiment
from anila.samplers import Sampler
from anila.samplers.adaptation import AdaptiveSampler

OWN = ("name", "held_out")
"""Settings of data that are not arguments of `load`."""


def build_data(config: settings.Data) -> DataSet:
    """The data set. Settings left at their defaults are not passed on, so a toy or table refuses only explicit ones.

    Raises:
        FileNotFoundError, ValueError: As in `anila.data.load`.
    """
    default = settings.Data()
    given = {field.name: getattr(config, field.name) for field in fields(settings.Data) if field.name not in OWN}
    return load(config.name, **{k: v for k, v in given.items() if v != getattr(default, k)})


def divided(data: DataSet, config: settings.Data, seed: int) -> tuple[DataSet, Rows | None]:
    """The training data, and the rows held out by `data.held_out`, as a function of the seed.

    A toy has no rows to hold out: its rows are always new.
    """
    apart = round(config.held_out * len(data)) if isinstance(data, Rows) else 0
    if not isinstance(data, Rows) or not apart:
        return data, None
    order = torch.randperm(len(data), generator=rng(seed, "held out")).numpy()
    return data.part(order[apart:]), data.part(order[:apart])


def build_network(config: settings.Network, event_shape: tuple[int, ...], seed: int) -> nn.Module:
    """f = net / temperature − |x|²/(2 confine²), or its logsumexp over classes, with parameters drawn from the seed.

    Raises:
        ValueError: If the network does not take points of this shape, classes is auto (see `with_classes`), noise
            levels would be hidden, or points that are not rows would be whitened.
    """
    if config.classes == "auto":
        raise ValueError("network.classes=auto takes the number from the data; without data, give a number")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(rng(seed, "network").initial_seed())
        net = bare_network(config, event_shape, config.classes or 1)
        net = spectral(net) if config.spectral else net
    if config.whitened and len(event_shape) > 1:
        raise ValueError(f"network.whitened is for rows of numbers (d,); the data are {event_shape}: leave it out")
    if isinstance(net, HasLevels) and (config.temperature != 1 or config.confine or config.whitened):
        raise ValueError(
            f"network {config.name} has levels of noise and its own Gaussian, which network.temperature="
            f"{config.temperature:g}, network.confine={config.confine or 'none'} and network.whitened="
            f"{str(config.whitened).lower()} would hide: set network.temperature=1, network.confine=none and "
            "network.whitened=false"
        )
    if len(event_shape) == 3:
        net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if config.temperature != 1:
        net = Tempered(net, config.temperature)
    if config.confine:
        net = Confined(net, config.confine)
    if config.whitened:
        net = Whitened(net, math.prod(event_shape))
    return Conditional(net) if config.classes and not isinstance(net, HasClasses) else net


def with_classes(config: settings.Network, data: DataSet) -> settings.Network:
    """The settings with the number of classes in the data, if classes are asked for.

    Raises:
        ValueError: If the data have no classes, another number of them, or rows without a label.
    """
    if config.classes is None:
        return config
    classes = data.classes if isinstance(data, Labelled) else ()
    if len(classes) < 2:
        raise ValueError(
            f"network.classes={config.classes} needs data of two classes or more; {data.name} has {len(classes)}: put "
            "images into a folder a class, name the label column of a table with data.label=…, or leave classes out"
        )
    if config.classes not in ("auto", len(classes)):
        raise ValueError(f"network.classes={config.classes}, but {data.name} has {len(classes)} classes; use auto")
    unknown = int((data.labels < 0).sum()) if isinstance(data, Rows) else 0
    if unknown:
        raise ValueError(f"{counted(unknown, 'row')} of {data.name} without a label; give them one or leave them out")
    return replace(config, classes=len(classes))


def bare_network(config: settings.Network, event_shape: tuple[int, ...], out: int) -> nn.Module:
    """The constructor's network.

    Raises:
        ValueError: If it does not take points of this shape, or does not return a module.
    """
    try:
        net = fitted(config.make, event_shape, out, **config.options)
    except ValueError as error:
        raise ValueError(f"network {config.name}: {error}") from None
    if not isinstance(net, nn.Module):
        raise ValueError(f"network {config.name}: expected a torch.nn.Module, got a {type(net).__name__}")
    return net


def build_optimizer(config: Experiment, model: nn.Module) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """The optimiser and its learning-rate schedule."""
    o = config.optimizer
    if o.name == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), o.learning_rate)
    else:
        optimizer = torch.optim.Adam(model.parameters(), o.learning_rate, betas=(o.momentum, 0.999))
    return optimizer, LambdaLR(optimizer, lambda t: course(o, t, config.training.iterations))


def choose_learned(model: nn.Module, objective: Objective, anchor: Objective | None) -> None:
    """If f has an adapter, train only it with chains on f(x), and everything but it with any other objective.

    Raises:
        ValueError: If the anchor trains levels in which the adapter has no part.
    """
    if not isinstance(model, NoiseConditional) or model.adapter is None:
        return
    of_adapter = objective.needs_chains and not objective.needs_levels
    if of_adapter and anchor and anchor.needs_levels:
        raise ValueError(
            "an adapter acts in f(x) alone, and an anchor over levels of noise would not hold it: set "
            f"anchor.sd={model.lowest:g}, or network.adapter=none"
        )
    adapter = {*model.adapter.parameters()}
    for p in model.parameters():
        p.requires_grad_((p in adapter) == of_adapter)


def set_learning_rate(learner: Learner, rate: float) -> None:
    """Continue the learning-rate schedule from this iteration on as if it had begun at this rate."""
    schedule = learner.schedule
    assert isinstance(schedule, LambdaLR)
    schedule.base_lrs = [rate] * len(schedule.base_lrs)
    for group, factor in zip(learner.optimizer.param_groups, schedule.lr_lambdas, strict=True):
        group["initial_lr"], group["lr"] = rate, rate * factor(schedule.last_epoch)


def course(config: settings.Optimizer, t: int, iterations: int) -> float:
    """Learning rate of iteration t relative to `learning_rate`."""
    warm = min(1.0, (t + 1) / config.warmup) if config.warmup else 1.0
    end, done = config.final_rate / config.learning_rate, min(1.0, t / iterations)
    match config.decay:
        case "constant":
            return warm
        case "cosine":
            return warm * (end + (1 - end) * (1 + math.cos(math.pi * done)) / 2)
        case "exponential":
            return warm * end**done


def build_learner(
    config: Experiment,
    data: DataSet,
    device: torch.device | str = "cpu",
    ranks: Ranks = ALONE,
    begin: int = 0,
    after: Mapping[str, Any] | None = None,
    anew: bool = True,
) -> Learner:
    """The learner of an experiment, at its first iteration.

    Args:
        config: Settings of one stage.
        data: The data set.
        device: Where f is computed.
        ranks: The processes that share the work.
        begin: Iterations done before this stage; its schedules count from there.
        after: State of the learner that made them, whose averaged θ this one begins with.
        anew: Whether f sees the data; False if its state is loaded afterwards.
    """
    t, s = config.training, config.sampler
    model = build_network(with_classes(config.network, data), data.event_shape, t.seed).to(device)
    if after:
        model.load_state_dict(best_of(after))
    elif anew:
        see(model, lambda n: rows_for("seen", data, n, t.seed), len(data) if isinstance(data, Rows) else math.inf)
    objective, anchor = build_objective(config), build_anchor(config)
    choose_learned(model, objective, anchor)
    optimizer, schedule = build_optimizer(config, model)
    here = not isinstance(data, Elsewhere)
    proposal = build_proposal(config.sampler, data, t.seed) if here else None

    def kernel(step_size: float | Tensor, **more: float | Tensor) -> Sampler:
        return build_sampler(s, model, proposal, patience=None, step_size=step_size, **more)

    of_chains: dict[str, Any] = {}
    if objective.needs_chains:
        start = build_start(config if here else unfilled(config), data, model)
        of_chains = {"sampler": adaptive(config, kernel, begin), "start": start, "steps": s.steps}
        of_chains |= {"chains": t.chains or t.batch, "compile": t.compile}
    learner = Learner(
        model,
        optimizer=optimizer,
        seed=t.seed,
        objective=objective,
        anchor=anchor,
        schedule=schedule,
        ema=t.ema,
        data_noise=lambda iteration: data_noise(t, iteration - begin),
        max_grad_norm=t.max_grad_norm or math.inf,
        precision=None if t.precision == "auto" else t.precision,
        micro_batch=t.micro_batch,
        ranks=ranks,
        sharded=t.shard,
        **of_chains,
    )
    learner.iteration = begin
    if after:
        learner.go_on_averaging(after)
    return learner


def unfilled(config: Experiment) -> Experiment:
    """The settings with a bank of noise in place of data, which are not here; its chains are loaded later."""
    start = config.start
    fills = start.kind == "data" and start.name in ("persistent", "replay")
    return replace(config, start=replace(start, kind="normal")) if fills else config


def best_of(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The θ of a learner's `state_dict()` that is sampled: the average if there is one."""
    average = {k.removeprefix("module."): v for k, v in state["ema"].items() if k != "n_averaged"}
    return average or state["model"]


def build_anchor(config: Experiment) -> Objective | None:
    """The second objective, if there is one; it learns classes if the first does.

    Raises:
        ValueError: If the constructor does not return an objective.
    """
    chosen = config.anchor
    anchor = chosen.make(**chosen.options)
    if not isinstance(anchor, Objective | None):
        raise ValueError(f"anchor {chosen.name}: expected an Objective, got a {type(anchor).__name__}")
    return anchor and with_classifier(config, anchor)


def build_objective(config: Experiment) -> Objective:
    """The objective that θ ascends.

    Raises:
        ValueError: If the constructor does not return an objective.
    """
    chosen, t = config.objective, config.training
    objective = chosen.make(**chosen.options, **({"penalty": t.penalty} if chosen.takes_penalty else {}))
    if not isinstance(objective, Objective):
        raise ValueError(f"objective {chosen.name}: expected an Objective, got a {type(objective).__name__}")
    return with_classifier(config, objective)


def with_classifier(config: Experiment, objective: Objective) -> Objective:
    """The objective, extended by the classes of f unless `training.classify` is 0."""
    weight = config.training.classify
    if not (config.network.classes and weight):
        return objective
    return of_classes(objective, weight, config.sampler.target_temperature if objective.needs_chains else 1.0)


def adaptive(config: Experiment, make: Callable[..., Sampler], begin: int) -> Sampler | AdaptiveSampler:
    """The kernel of a stage, adaptive if the settings say so; schedules count from `begin`."""
    s, iterations = config.sampler, config.training.iterations
    if s.accept is None and s.clipped is None and s.final_temperature is None:
        return make(s.step_size)
    return AdaptiveSampler(
        make,
        s.step_size,
        s.accept,
        threshold=None if s.clipped is None else s.threshold,
        clipped=s.clipped,
        temperature=None if s.final_temperature is None else lambda t: temperature(s, iterations, t - begin),
    )


def data_noise(config: settings.Training, iteration: int) -> float:
    """σ₀ + s (σ₁ − σ₀) with s = iteration / iterations."""
    end = config.data_noise if config.final_data_noise is None else config.final_data_noise
    return config.data_noise + min(1.0, iteration / config.iterations) * (end - config.data_noise)


def temperature(config: settings.Sampler, iterations: int, iteration: int) -> float:
    """T₀^(1−s) T₁^s with s = iteration / iterations."""
    done = min(1.0, iteration / iterations)
    return config.temperature ** (1 - done) * (config.final_temperature or config.temperature) ** done


def choose_device(name: str) -> torch.device:
    """The device of a name; auto takes a GPU if there is one.

    Raises:
        ValueError: If the name is unknown, or the device does not exist or has no float64, which chain diagnostics
            need.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, dtype=torch.float64, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"training.device={name} cannot be used: {reason}; use auto or cpu") from None
    return device

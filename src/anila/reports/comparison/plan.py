"""What is compared: a trial for each sampler and seed, all with the same net, data, learner and gradients.

A gradient evaluation is one ∇f of all chains. A budget of G buys a sampler

    iterations = G / (gradients an iteration),   K for unadjusted kernels, K + 1 for Metropolis kernels, K L + 1 for hmc

and K is divided by what a transition costs, L leapfrog steps of hmc, so that an iteration costs all samplers the same.
Where training has stages, those without chains are the same for all, and the budget is that of the others.
A trial is looked at in as many points, evenly spaced; every point is a checkpoint. The divergence guard is off, as its
remedies would differ from sampler to sampler: training that runs away is seen to.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from anila.messages import counted
from anila.runs.experiment import Experiment
from anila.runs.experiment.build import build_objective
from anila.runs.experiment.choose import choose
from anila.runs.experiment.code import is_code
from anila.runs.experiment.settings import Sampler
from anila.samplers import SAMPLERS

LOCAL = ["sampler.global_every=0"]
IN_PLANE = [
    "sampler.steps=20", "sampler.step_size=0.02", "sampler.threshold=5", "training.batch=500", "training.chains=200",
    "optimizer.learning_rate=0.001",
]  # fmt: skip
SETTINGS: dict[str, list[str]] = {"rings": IN_PLANE, "mixture": IN_PLANE}
"""Preset -> what is changed for a comparison: settings with which no local kernel runs away."""
BUDGETS = {"rings": 20_000, "mixture": 20_000}
"""Preset -> gradient evaluations; else those of the preset."""


class Trial(NamedTuple):
    """One run of a comparison."""

    sampler: str
    seed: int
    config: Experiment
    path: Path
    every: int
    """Iterations between points."""
    samples: int
    """Samples that a point's score is of."""

    @property
    def points(self) -> range:
        """The iterations that are looked at."""
        return range(self.every, self.config.iterations + 1, self.every)

    def gradients(self, iteration: int) -> int:
        """Evaluations of ∇f by a chain until then."""
        begins = [0, *self.config.ends]
        done = [min(max(iteration - begin, 0), n) for begin, n in zip(begins, self.config.lengths, strict=False)]
        return sum(n * each for n, each in zip(done, gradients_an_iteration(self.config), strict=True))


class Plan(NamedTuple):
    """A comparison."""

    name: str
    folder: Path
    trials: tuple[Trial, ...]

    @property
    def samplers(self) -> list[str]:
        """Their names, in the order asked for."""
        return list(dict.fromkeys(trial.sampler for trial in self.trials))


def plan(
    what: str,
    overrides: list[str],
    samplers: list[str],
    seeds: int,
    budget: int | None,
    folder: Path,
    points: int = 10,
    samples: int = 1000,
) -> Plan:
    """A comparison at equal gradient evaluations.

    Args:
        what: Preset, TOML file or data, as for `anila train`.
        overrides: key=value, for every sampler that has this setting.
        samplers: Names, or FILE.py:NAME.
        seeds: How many: 0, 1, ….
        budget: Gradient evaluations a trial; by default those of the preset.
        folder: Where the runs go.
        points: How often each is looked at.
        samples: Samples that a score is of.

    Raises:
        SettingsError: As `choose`.
        ValueError: If a sampler is unknown or comes twice, or the budget is too small for the points.
    """
    require_samplers(samplers, overrides)
    require_owners(samplers, overrides)
    settings = [*SETTINGS.get(what, []), *overrides]
    name, base = choose(what, [text for text in settings if not text.startswith("sampler.")])
    base = choose(what, fitting(settings, base.sampler.name, samplers))[1]
    budget = budget or BUDGETS.get(what, gradients_in_all(base))
    settings = [*SETTINGS.get(what, []), *LOCAL, *overrides]
    configs = {label(s): affordable(with_sampler(what, settings, s, samplers), budget, points) for s in samplers}
    return plan_of(name, configs, seeds, folder, points, samples)


def plan_of(
    name: str, configs: dict[str, Experiment], seeds: int, folder: Path, points: int, samples: int = 1000
) -> Plan:
    """A comparison of settings by name, each with its own iterations.

    Raises:
        ValueError: If there are fewer iterations than points.
    """
    trials = []
    for sampler, config in configs.items():
        every, left = divmod(config.iterations, points)
        if not every or config.lengths[-1] <= left:
            raise ValueError(
                f"{sampler}: {counted(config.lengths[-1], 'iteration')}, fewer than the {points} points at which they "
                "are looked at; raise the budget or lower --points"
            )
        config = looked_at(config.of_lengths([*config.lengths[:-1], config.lengths[-1] - left]), every)
        trials += [
            Trial(sampler, s, replace(config, training=replace(config.training, seed=s)), folder / f"{sampler}-{s}",
                  every, samples)
            for s in range(seeds)
        ]  # fmt: skip
    return Plan(name, folder, tuple(sorted(trials, key=lambda trial: trial.seed)))


def looked_at(config: Experiment, every: int) -> Experiment:
    """The same with a checkpoint at every point, in all stages, and without the guard."""
    own = {"minutes": None, "rollbacks": None, "checkpoint_every": every, "picture_every": config.iterations}
    own["log_every"] = max(1, every // 10)
    stages = tuple(
        replace(stage, changes={
            group: {name: value for name, value in fields.items() if group != "training" or name not in own}
            for group, fields in stage.changes.items()
        })
        for stage in config.stages
    )  # fmt: skip
    return replace(config, training=replace(config.training, **own), stages=stages)


def gradients_an_iteration(config: Experiment) -> list[int]:
    """Evaluations of ∇f by a chain in an iteration of each stage; 0 where there are no chains."""
    return [flat.sampler.gradients if build_objective(flat).needs_chains else 0 for flat in config.flat]


def gradients_in_all(config: Experiment) -> int:
    """Those of the run."""
    return sum(n * each for n, each in zip(lengths_without_clock(config), gradients_an_iteration(config), strict=True))


def lengths_without_clock(config: Experiment) -> list[int]:
    """Iterations of each stage; those planned from minutes share `training.iterations` as they share the minutes."""
    whole = sum(stage.share for stage in config.stages)
    n = config.training.iterations
    return [stage.iterations or max(1, round(n * stage.share / whole)) for stage in config.stages] or [n]


def require_samplers(samplers: list[str], overrides: list[str]) -> None:
    """Refuse what is no sampler, or one twice."""
    labels = [label(s) for s in samplers]
    if twice := sorted({s for s in labels if labels.count(s) > 1}):
        raise ValueError(f"--samplers names {twice[0]} twice; each is compared once")
    if any(text.partition("=")[0].strip() in ("sampler", "sampler.name", "training.seed") for text in overrides):
        raise ValueError("samplers and seeds are compared: give them by --samplers and --seeds, not as a setting")
    if not samplers:
        raise ValueError(f"--samplers names none; known: {', '.join(SAMPLERS)}")


def label(sampler: str) -> str:
    """What a sampler is called: the NAME of FILE.py:NAME."""
    return sampler.rpartition(":")[2] if is_code(sampler) else sampler


def require_owners(samplers: list[str], overrides: list[str]) -> None:
    """Refuse a setting that none of the samplers has."""
    for text in overrides:
        if not any(fitting([text], s, samplers) for s in samplers):
            raise ValueError(f"{text.partition('=')[0].strip()} is a setting of none of {', '.join(samplers)}")


def fitting(settings: list[str], sampler: str, compared: list[str]) -> list[str]:
    """Those of the settings that are not of other samplers; an exact one is told its temperature, as it may refuse."""
    options = {option for s in (*SAMPLERS, *compared) for option in Sampler.kind(s).own}
    has = {*Sampler.kind(sampler).own} | ({"temperature"} if Sampler.typical(sampler).exact else set())
    foreign = (options | {*Sampler.switched_off(sampler)}) - has
    keys = {f"sampler.{option}" for option in foreign}
    return [text for text in settings if text.partition("=")[0].strip() not in keys]


def with_sampler(what: str, settings: list[str], sampler: str, compared: list[str] | None = None) -> Experiment:
    """The settings that this sampler has, with it; costly transitions are fewer, for as many gradients."""
    config = choose(what, [*fitting(settings, sampler, compared or []), f"sampler={sampler}"])[1]
    s = config.sampler
    return replace(config, sampler=replace(s, steps=max(1, round(s.steps / s.kernel.gradients))))


def affordable(config: Experiment, budget: int, points: int) -> Experiment:
    """As many iterations with chains as the budget buys."""
    lengths, each = lengths_without_clock(config), gradients_an_iteration(config)
    with_chains = sum(n for n, cost in zip(lengths, each, strict=True) if cost)
    if not with_chains:
        raise ValueError(
            f"samplers are compared in training with chains, and objective={config.objective.name} has none: "
            "set objective=likelihood"
        )
    bought = [budget * n // (with_chains * cost) if cost else n for n, cost in zip(lengths, each, strict=True)]
    if (fewest := min(n for n, cost in zip(bought, each, strict=True) if cost)) < points:
        raise ValueError(
            f"--budget {budget:,} buys {counted(fewest, 'iteration')} of {config.sampler.name}, "
            f"{counted(max(each), 'gradient')} each: expected at least {points}, the points at which they are scored"
        )
    return config.of_lengths(bought)

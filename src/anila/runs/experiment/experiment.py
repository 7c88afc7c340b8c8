"""An experiment is everything a run depends on, and its stages are the experiment with some settings changed.

A run goes through its stages one after another. Each begins with the final θ and average of the previous one; its
optimiser, schedules, guard and chains start afresh. Without stages the run is one stage.
"""

from dataclasses import asdict, field
from functools import cache, partial
from itertools import accumulate
from typing import Annotated, Any

from pydantic import PlainValidator, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from anila.density.ranges import Count, Positive
from anila.runs.experiment.changes import Changes, apply, lay_over
from anila.runs.experiment.choice import STRICT, chosen, reasons
from anila.runs.experiment.settings import Anchor, Data, Network, Objective, Optimizer, Sampler, Start, Training

OF_THE_WHOLE = {
    "data": None, "network": None, "stages": None,
    "training": ("iterations", "minutes", "seed", "threads", "device", "shard", "timeout", "log_to"),
}  # fmt: skip
"""Groups, or fields, that no stage may change."""


@dataclass(frozen=True, config=STRICT)
class Stage:
    """Some iterations of a run, with their own settings."""

    iterations: Count | None = None
    """Number of iterations; None for `training.iterations`."""
    share: Positive = 1.0
    """Its part of `training.minutes`, relative to those of the other stages."""
    changes: Changes = field(default_factory=dict)
    """Group -> field -> value, for settings that differ from the experiment's."""


@dataclass(frozen=True, config=STRICT)
class Experiment:
    """Everything a run depends on."""

    data: Data = Data()
    network: Annotated[Network, PlainValidator(partial(chosen, Network))] = Network()
    objective: Annotated[Objective, PlainValidator(partial(chosen, Objective))] = Objective()
    anchor: Annotated[Anchor, PlainValidator(partial(chosen, Anchor))] = Anchor()
    sampler: Annotated[Sampler, PlainValidator(partial(chosen, Sampler))] = Sampler(threshold=1.0)
    start: Start = Start()
    optimizer: Optimizer = Optimizer()
    training: Training = Training()
    stages: tuple[Stage, ...] = ()
    """The stages; empty for a run of one stage."""

    @property
    def lengths(self) -> list[int]:
        """Iterations of each stage."""
        return [stage.iterations or self.training.iterations for stage in self.stages] or [self.training.iterations]

    @property
    def ends(self) -> list[int]:
        """Iterations done in the run at the end of each stage."""
        return list(accumulate(self.lengths))

    @property
    def iterations(self) -> int:
        """Iterations of the run."""
        return self.ends[-1]

    @property
    def flat(self) -> list["Experiment"]:
        """The experiment of each stage."""
        return [self.stage(number) for number in range(1, len(self.lengths) + 1)]

    def stage(self, number: int) -> "Experiment":
        """The experiment of a stage, which itself has no stages; stages are numbered from 1.

        Raises:
            ValidationError: If its settings are refused.
        """
        return schema().validate_python(stage_settings(asdict(self), number)) if self.stages else self

    def of_lengths(self, lengths: list[int]) -> "Experiment":
        """The same experiment with these numbers of iterations in its stages."""
        if not self.stages:
            return self.changed(training={"iterations": lengths[0]})
        stages = [asdict(stage) | {"iterations": n} for stage, n in zip(self.stages, lengths, strict=True)]
        return schema().validate_python(asdict(self) | {"stages": stages})

    def changed(self, **changes: dict[str, Any]) -> "Experiment":
        """The same experiment with some settings changed."""
        return schema().validate_python(lay_over(asdict(self), changes))

    @model_validator(mode="after")
    def check(self) -> "Experiment":
        for number, stage in enumerate(self.stages, 1):
            require_own(number, stage.changes)
            try:
                self.stage(number)
            except ValidationError as error:
                raise ValueError(f"stage {number}: {reasons(error)}") from None
        if not self.stages:
            require_fit(self)
        return self


@cache
def schema() -> Any:
    """The schema that checks the settings of an experiment."""
    return TypeAdapter(Experiment)


def stage_settings(settings: dict[str, Any], number: int) -> dict[str, Any]:
    """The settings of a stage, unchecked."""
    stage = settings["stages"][number - 1]
    own = {"minutes": None} | ({} if stage.get("iterations") is None else {"iterations": stage["iterations"]})
    return apply(settings | {"stages": ()}, lay_over(stage.get("changes", {}), {"training": own}), {})


def require_own(number: int, changes: Changes) -> None:
    """Refuse a stage that changes what all stages share.

    Raises:
        ValueError: Saying where to set it.
    """
    if "stages" in changes:
        raise ValueError(f"stage {number}: a stage has no stages of its own")
    if "iterations" in changes.get("training", {}):
        raise ValueError(f"stage {number}: a stage has its iterations of its own: set stages.{number}.iterations")
    for group, fields in OF_THE_WHOLE.items():
        shared = [name for name in changes.get(group, {}) if fields is None or name in fields]
        if shared:
            raise ValueError(
                f"stage {number}: {group}.{shared[0]} applies to the whole run and cannot change in a stage: set "
                f"{group}.{shared[0]} outside the stages"
            )


def require_fit(config: Experiment) -> None:
    """Refuse groups that do not fit together.

    Raises:
        ValueError: Saying what fits.
    """
    t, start, objective, sampler = config.training, config.start, config.objective, config.sampler
    require_seeing(config)
    chains, bank = t.chains or t.batch, start.size
    if bank is not None and bank < chains:
        raise ValueError(f"start.size={bank} keeps fewer chains than the {chains} that run; raise start.size")
    if start.name == "paired" and chains != t.batch:
        raise ValueError(
            f"start=paired pairs each chain with a data point, and training.chains={chains} is not training.batch="
            f"{t.batch}: leave training.chains out"
        )
    if t.penalty and not objective.takes_penalty:
        raise ValueError(f"objective={objective.name} has no penalty: leave out training.penalty")
    if t.compile and t.shard:
        raise ValueError("training.compile needs θ whole, and training.shard splits it: leave one out")
    if start.storage != "float32" and sampler.kernel.exact:
        raise ValueError(
            f"{sampler.name} is exact, and chains rounded to {start.storage} between iterations are not: "
            "use start.storage=float32, or langevin or anisotropic"
        )


def require_seeing(config: Experiment) -> None:
    """Refuse to train a network that seeing the data determines, and not to train any other.

    Raises:
        ValueError: Saying what to set.
    """
    network, t = config.network, config.training
    if not network.by_seeing:
        if config.objective.name == "none":
            raise ValueError(
                f"objective=none learns nothing, and network {network.name} must learn: choose an objective"
            )
        return
    wanted = {
        "objective": (config.objective.name, "none"),
        "anchor": (config.anchor.name, "none"),
        "training.iterations": (t.iterations, 1),
        "network.temperature": (network.temperature, 1.0),
        "network.confine": (network.confine, None),
        "network.spectral": (network.spectral, False),
        "network.whitened": (network.whitened, False),
        "network.classes": (network.classes, None),
    }
    wrong = [f"{key}={str(value).lower()}" for key, (given, value) in wanted.items() if given != value]
    if wrong:
        raise ValueError(
            f"network {network.name} is fitted to the data in closed form: leave out, or set {', '.join(wrong)}"
        )

"""A trained model from a run folder: f, the sampler with which it was trained, and the chains it kept."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from anila.data import DataSet, Elsewhere, Images, Labelled, Rows
from anila.data.dataset import rows_for
from anila.density.log_density import Anneals
from anila.density.networks import NoiseConditional
from anila.density.noisy_data import noised
from anila.density.precision import own_defaults
from anila.density.targets import DENSITIES
from anila.evaluation.likelihood.grid import in_plane, kl, plane_grid
from anila.learning.chains import frozen
from anila.learning.distributed import ALONE, Ranks, whole
from anila.learning.learner import Learner
from anila.learning.starts import Start
from anila.rng import rng
from anila.runs.experiment import Experiment, build_data, build_learner, choose_device, resolve, settings
from anila.runs.experiment.build import divided, set_learning_rate, with_classes
from anila.runs.experiment.build_sampler import build_proposal
from anila.runs.experiment.build_starts import build_fresh
from anila.runs.experiment.changes import CHOICES
from anila.runs.experiment.choice import chosen, reasons
from anila.runs.experiment.overrides import GROUPS
from anila.runs.experiment.saved import current
from anila.runs.folder import checkpoint
from anila.runs.folder.run import Run, RunError
from anila.runs.model.model import Calibration, HeldOut, Model
from anila.runs.model.remembered import digests, recalled
from anila.samplers import Proposal
from anila.samplers.adaptation import AdaptiveSampler
from anila.samplers.widening import measure_widening

CHANGEABLE = ("training.log_every", "training.checkpoint_every", "training.picture_every", "training.threads",
              "training.micro_batch", "training.shard", "training.timeout", "training.log_to",
              "training.device", "training.compile")  # fmt: skip
"""Settings that may differ on resume: they do not change what is computed, or only its rounding."""
LATER = ("data.name", "training.iterations", "training.minutes")
"""Settings that may differ from those of a checkpoint: where the data lie now, and how long to train."""
CHANGED_BY_GUARD: tuple[str, ...] = ("optimizer.learning_rate", "sampler.step_size", "sampler.steps")
"""Settings that may differ between a checkpoint and config.json."""


@dataclass
class Trained(Model):
    """A learner with the data and settings from which it was made.

    Attributes:
        config: The settings of the current stage, as the guard left them.
        whole: The settings of the whole run.
        number: The stage, from 1.
        apart: Held-out rows.
        judged: f of ordinary rows, as stored in the checkpoint from which it was restored.
    """

    config: Experiment
    data: DataSet
    learner: Learner
    notices: list[str]
    whole: Experiment
    number: int = 1
    apart: Rows | None = None
    judged: Calibration | None = None

    @classmethod
    @own_defaults()
    def load(cls, run: Run) -> "Trained":
        """The trained model of a run: its best checkpoint if one is marked, else the newest sound one.

        Raises:
            RunError: If the run has no sound checkpoint.
        """
        config = config_of(run)
        trained = cls.untrained(config, anew=False, known=recalled(run, config.data))
        best = checkpoint.best_of(run.checkpoints)
        if best:
            try:
                trained.restore(best)
            except checkpoint.Damaged as damage:
                trained.notices += [f"checkpoint {damage}"] if best.is_dir() else []
            else:
                return trained
        path, notices = checkpoint.newest(run.checkpoints, trained.restore)
        trained.notices += [notice for notice in notices if notice not in trained.notices]
        if path is None:
            never = "it was stopped before it had one; the command that began it continues it"
            raise RunError("; ".join([f"{run.path.absolute()} has no sound checkpoint", *(trained.notices or [never])]))
        return trained

    @classmethod
    def untrained(
        cls,
        config: Experiment,
        ranks: Ranks = ALONE,
        anew: bool = True,
        known: tuple[DataSet, list[str]] | None = None,
    ) -> "Trained":
        """An experiment at iteration 0, on this one of its processes.

        Args:
            config: All settings.
            ranks: The processes.
            anew: As in `build_learner`.
            known: The data, and notices about them; by default read as the settings say.

        Raises:
            ValueError, FileNotFoundError: If data or settings are refused.
        """
        device = ranks.device(choose_device(config.training.device))
        with ranks.machine_first():
            data, said = known or (build_data(config.data), [])
        first = config.stage(1)
        chosen = [group for stage in config.flat for group in (stage.network, stage.sampler)]
        own = dict.fromkeys(group.name for group in chosen if group.has_changed)
        notices = [*said, *(f"{name} is not the file that the run began with" for name in own)]
        data, apart = divided(data, config.data, config.training.seed)
        learner = build_learner(first, data, device, ranks, anew=anew)
        return cls(first, data, learner, notices, config, apart=apart)

    def restore(self, path: Path) -> dict[str, Any]:
        """Return to the state of a checkpoint, with the settings that the guard had changed until then.

        Returns:
            The state of the guard at that time.

        Raises:
            Damaged: As in `checkpoint.load`, or if it does not fit the settings; then nothing of it is kept.
            RunError: If the settings differ from those with which it was made.
        """
        iteration, parts = checkpoint.load(path, "learner", "guard", "recipe")
        try:
            self.number = stage_in(parts["learner"], self.whole)
            self.config = resolve(self.whole.stage(self.number), remedies_in(parts["guard"]))
            edited = differing(self, parts["recipe"])
            if edited:
                raise RunError(
                    f"{(path.parents[1] / 'config.json').absolute()} has changed since checkpoint {path.name} was "
                    "written:\n  "
                    + "\n  ".join(edited)
                    + "\nput back what was there; for other settings start a new run"
                )
            self.rebuild(anew=False)
            self.learner.load_state_dict(parts["learner"])
            require_fit(self.learner, iteration)
            self.judged = calibration_in(path)
        except (torch.OutOfMemoryError, RunError):
            raise
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            self.restart()
            raise checkpoint.Damaged(
                f"{path.name} does not fit the settings of this run: {type(error).__name__}: {error}"
            ) from None
        return parts["guard"]

    def recipe(self) -> dict[str, Any]:
        """What a checkpoint is made with: the settings of its stage, and digests of what is known of the data."""
        groups = {name: asdict(getattr(self.config, name)) for name in GROUPS}
        return groups | {"network": asdict(with_classes(self.config.network, self.data)), "known": digests(self.data)}

    def change(self, remedies: list[str]) -> None:
        """Continue from this iteration with these settings changed, as `key=value`."""
        state = self.learner.state_dict()
        self.config = resolve(self.config, remedies)
        self.rebuild(anew=False)
        self.learner.load_state_dict(state)
        set_learning_rate(self.learner, self.config.optimizer.learning_rate)

    def restart(self) -> None:
        """Return to iteration 0."""
        self.number, self.config = 1, self.whole.stage(1)
        self.rebuild()

    @own_defaults()
    def widen(self) -> None:
        """Measure the widening of an f with levels of noise, for draws by the settings of the last stage."""
        f, model, last = self.f, self.learner.model, self.whole.flat[-1]
        if isinstance(f, NoiseConditional) and isinstance(model, NoiseConditional):
            with whole(f), frozen(f):
                generator = rng(last.training.seed, "widening", device=self.device)
                measure_widening(f, generator, last.sampler.guidance)
            model.widening.copy_(f.widening)  # the average takes it from there

    def enter_next_stage(self) -> None:
        """Continue in the next stage, with the same θ, average and iteration, and everything else new."""
        after = self.learner.state_dict()
        self.number, self.config = self.number + 1, self.whole.stage(self.number + 1)
        self.rebuild(after)

    def rebuild(self, after: dict[str, Any] | None = None, anew: bool = True) -> None:
        """Rebuild the learner of this stage, at its first iteration."""
        self.learner = build_learner(self.config, self.data, self.device, self.learner.ranks, self.begin, after, anew)

    @property
    def begin(self) -> int:
        """Number of iterations done before this stage."""
        return self.end - self.whole.lengths[self.number - 1]

    @property
    def end(self) -> int:
        """Number of iterations done at the end of this stage."""
        return self.whole.ends[self.number - 1]

    @property
    def f(self) -> nn.Module:
        """The log-density to sample and evaluate, with averaged parameters if there are any."""
        return self.learner.best_model

    @property
    def sampler(self) -> settings.Sampler:
        """The sampler's settings as training left them."""
        adaptive = self.learner.chains.sampler if self.learner.chains else None
        now = adaptive.settings(self.learner.iteration) if isinstance(adaptive, AdaptiveSampler) else {}
        return replace(self.config.sampler, **now)

    @property
    def start(self) -> Start:
        """Kept chains, or the source of new ones."""
        return self.learner.chains.start if self.learner.chains else build_fresh(self.config, self.data, self.f)

    @property
    def iteration(self) -> int:
        """Number of iterations done."""
        return self.learner.iteration

    def batch(self) -> tuple[Tensor, ...]:
        """The data of this iteration, and their classes if these are learned."""
        t, i = self.config.training, self.learner.iteration
        x = self.data.batch(t.batch, t.seed, i).to(self.device)
        if not (self.learner.needs_classes and isinstance(self.data, Labelled)):
            return (x,)
        return x, self.data.batch_labels(t.batch, t.seed, i).to(self.device)

    @own_defaults()
    def reference_data(self, n: int) -> Tensor:
        """Up to n rows of data in another order than in training, (n, *event), for frames and scores."""
        if isinstance(self.data, Elsewhere):
            return self.chains_as_data(n)
        return rows_for("reference", self.data, n, self.config.training.seed)

    def noisy(self, x_data: Tensor, generator: torch.Generator) -> Tensor:
        """Data as points of the law that f models: with the noise of its lowest level, else with that of training."""
        if isinstance(self.f, Anneals):
            return noised(self.f, x_data, generator)
        return self.learner.noisy(x_data, generator)

    def proposal(self) -> Proposal | None:
        """A kernel density of data points."""
        if isinstance(self.data, Elsewhere):
            return self.proposal_of_chains()
        return build_proposal(self.sampler, self.data, self.config.training.seed)

    def calibration(self, n: int) -> Calibration:
        """As in `Model.calibration`; if the data are not here, as stored when the run was saved."""
        if isinstance(self.data, Elsewhere) and self.judged:
            return self.judged._replace(f=self.judged.f[:n])
        return super().calibration(n)

    def require_data(self) -> None:
        """Refuse uses that need the data themselves.

        Raises:
            ValueError: If the data are not here.
        """
        if isinstance(self.data, Elsewhere):
            self.data.batch(1, 0, 0)

    @own_defaults()
    def held_out(self, n: int) -> HeldOut:
        """Up to n rows that training did not see, in random order, if there are any.

        These are held-out rows of a table, fresh draws of a toy, or the test images of a set if its train images were
        learned; else the training rows.
        """
        if self.apart:
            rows = self.apart.rows(range(min(n, len(self.apart))))
            return HeldOut(rows, f"rows of {self.data.name} that were kept out of training", True)
        data = test_split(self.config.data, self.data) or self.data
        unseen = data is not self.data or not isinstance(data, Rows)
        rows = rows_for("held out", data, n, self.config.training.seed)
        return HeldOut(rows, f"{data.name}{', test' if data is not self.data else ''}", unseen)


def calibration_in(path: Path) -> Calibration | None:
    """f of ordinary rows stored in a checkpoint; None if it has none."""
    if not (path / "calibration.json").is_file():
        return None
    kept = checkpoint.load(path, "calibration")[1]["calibration"]
    return Calibration(kept["f"], str(kept["source"]), bool(kept["unseen"]))


def test_split(config: settings.Data, data: DataSet) -> Rows | None:
    """The test images of the training set's source, in the model's channels; None if there are none."""
    if not isinstance(data, Images) or config.split != "train":
        return None
    try:
        found = build_data(replace(config, split="test", flip=False))
    except ValueError:
        return None
    return found if isinstance(found, Rows) and found.event_shape == data.event_shape else None


def remedies_in(guard: dict[str, Any]) -> list[str]:
    """The settings that the guard had changed, as `key=value`.

    Raises:
        ValueError: If the guard never changes such a setting.
    """
    remedies = [str(remedy) for remedy in guard["remedies"]]
    if foreign := [r for r in remedies if r.partition("=")[0] not in CHANGED_BY_GUARD]:
        raise ValueError(f"the guard never sets {foreign[0]}")
    return remedies


def differing(trained: Trained, saved: dict[str, Any]) -> list[str]:
    """Settings, and what is known of the data, that differ from those of a checkpoint, in words.

    Args:
        trained: The run as its config.json says.
        saved: The recipe of the checkpoint; those of earlier versions have fewer entries.

    Raises:
        ValueError, KeyError: If the recipe is not valid.
    """
    saved, now, found = current(saved), trained.recipe(), list[str]()
    for group in (name for name in GROUPS if name in saved):
        before, after = asdict(of_group(group, saved[group])), now[group]
        found += [
            f"{group}.{name} was {before.get(name)} and is {after.get(name)}"
            for name in dict.fromkeys([*before, *after])
            if before.get(name) != after.get(name) and name != "code" and f"{group}.{name}" not in CHANGEABLE + LATER
        ]
    known = saved.get("known", {})
    return found + [f"data.{name} is not that of the checkpoint" for name in known if known[name] != now["known"][name]]


def of_group(name: str, values: Any) -> Any:
    """The checked settings of a group."""
    return chosen(CHOICES[name], values) if name in CHOICES else TypeAdapter(GROUPS[name]).validate_python(values)


def stage_in(learner: dict[str, Any], config: Experiment) -> int:
    """The stage to which a learner's state belongs; runs of version 0.1.0 had one and did not store it.

    Raises:
        ValueError: If there is no such stage.
    """
    number = learner.get("stage", 1)
    if number not in range(1, len(config.lengths) + 1):
        raise ValueError(f"it is of stage {number!r}, and the run has {len(config.lengths)}")
    return number


def require_fit(learner: Learner, iteration: int) -> None:
    """Refuse errors that `load_state_dict` does not notice.

    Raises:
        ValueError: If a moment of the optimiser has another shape than its parameter, or the iteration is another.
    """
    for parameter, state in learner.optimizer.state.items():
        for name, moment in state.items():
            if isinstance(moment, Tensor) and moment.ndim and moment.shape != parameter.shape:
                raise ValueError(f"{name} of shape {tuple(moment.shape)} for a parameter of {tuple(parameter.shape)}")
    if learner.iteration != iteration:
        raise ValueError(f"it holds iteration {learner.iteration!r} and is called {iteration}")


def config_of(run: Run) -> Experiment:
    """The settings in config.json.

    Raises:
        RunError: If this version does not know these settings.
    """
    saved: dict[str, Any] = run.config() or {}
    try:
        return TypeAdapter(Experiment).validate_python(current(saved.get("experiment")))
    except ValidationError as error:
        where = (run.path / "config.json").absolute()
        raise RunError(
            f"{where} does not hold settings that can be used: {reasons(error)}; put back what was there"
        ) from None


def is_known(trained: Trained) -> bool:
    """Whether the data's density is known on a grid."""
    return in_plane(trained.data.event_shape) and trained.config.data.name in DENSITIES


def exact_kl(trained: Trained, x_data: Tensor, heat: float = 1.0) -> float | None:
    """KL(data ‖ exp(f/heat)) on a grid, in nats; None if the data's density is unknown."""
    if not is_known(trained):
        return None
    truth = DENSITIES[trained.config.data.name]()
    return kl(lambda x: trained.f(x) / heat, truth.log_prob, plane_grid(x_data.to(trained.device)))

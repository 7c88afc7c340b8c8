"""A trained model: what a run folder gives back. f, the sampler it was trained with, and the chains it kept."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from anila import checkpoint
from anila.chains import Persistent
from anila.core import LogDensity, did_you_mean, rng
from anila.data import DataSet, Labelled, Rows
from anila.diagnostics import Convergence, convergence
from anila.experiment import Experiment, build_data, build_learner, choose_device, resolve, settings
from anila.experiment.build import build_proposal, build_sampler, set_learning_rate
from anila.guard import Guard
from anila.learn import Learner
from anila.networks import Conditional
from anila.ranks import ALONE, Ranks
from anila.run import Run, RunError
from anila.samplers import sample
from anila.steering import Steered

BATCH = 1000
"""Chains that run together when samples are drawn."""
JUDGED, KEPT = 64, 20
"""Chains whose convergence is judged, and positions of each."""


@dataclass
class Trained:
    """A learner with the data and the settings it was made from."""

    config: Experiment
    data: DataSet
    learner: Learner
    notices: list[str]

    @classmethod
    def load(cls, run: Run) -> "Trained":
        """The trained model of a run: its best checkpoint where one is marked, else the newest sound one.

        Raises:
            RunError: If the run has no sound checkpoint.
        """
        trained, best = cls.untrained(config_of(run)), checkpoint.best_of(run.checkpoints)
        if best:
            try:
                trained.restore(best)
            except checkpoint.Damaged as damage:
                trained.notices.append(f"checkpoint {damage}")
            else:
                return trained
        path, notices = checkpoint.newest(run.checkpoints, trained.restore)
        trained.notices += [notice for notice in notices if notice not in trained.notices]
        if path is None:
            raise RunError("; ".join([f"{run.path.absolute()} has no sound checkpoint", *trained.notices]))
        return trained

    @classmethod
    def untrained(cls, config: Experiment, ranks: Ranks = ALONE) -> "Trained":
        """An experiment at iteration 0, on this one of its processes.

        Raises:
            ValueError, FileNotFoundError: If data or settings are refused.
        """
        device = ranks.device(choose_device(config.training.device))
        with ranks.machine_first():
            data = build_data(config.data)
        return cls(config, data, build_learner(config, data, device, ranks), [])

    def restore(self, path: Path) -> Guard:
        """Be where a checkpoint was written, with the settings that the guard had changed until then.

        Returns:
            The guard of that moment.

        Raises:
            Damaged: As `checkpoint.load`, or if it does not fit the settings; then nothing of it is kept.
        """
        iteration, parts = checkpoint.load(path, "learner", "guard")
        guard, config = Guard(), self.config
        try:
            guard.load_state_dict(parts["guard"])
            self.change(guard.remedies)
            self.learner.load_state_dict(parts["learner"])
            require_fit(self.learner, iteration)
        except torch.OutOfMemoryError:
            raise
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            self.config = config
            self.restart()
            raise checkpoint.Damaged(
                f"{path.name} does not fit the settings of this run: {type(error).__name__}: {error}"
            ) from None
        return guard

    def change(self, remedies: list[str]) -> None:
        """Go on from this iteration with these settings changed, as `key=value`."""
        state = self.learner.state_dict()
        self.config = resolve(self.config, remedies)
        self.restart()
        self.learner.load_state_dict(state)
        set_learning_rate(self.learner, self.config.optimizer.learning_rate)

    def restart(self) -> None:
        """Be at iteration 0."""
        self.learner = build_learner(self.config, self.data, self.device, self.learner.ranks)

    @property
    def device(self) -> torch.device:
        """Where f is computed."""
        return next(self.f.parameters()).device

    @property
    def f(self) -> nn.Module:
        """The log-density to sample and evaluate: averaged parameters where there are some."""
        return self.learner.best_model

    @property
    def sampler(self) -> settings.Sampler:
        """The sampler's settings where training left them."""
        steered = self.learner.sampler
        now = steered.settings(self.learner.iteration) if isinstance(steered, Steered) else {}
        return replace(self.config.sampler, **now)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that f tells apart; none unless `network.classes` were asked for."""
        return self.data.classes if isinstance(self.f, Conditional) and isinstance(self.data, Labelled) else ()

    def given(self, label: int | str) -> LogDensity:
        """The log-density x -> f(x)[label] of a class.

        Args:
            label: Its index as a number; its name, or else its index, as text.

        Raises:
            ValueError: If f tells no classes apart, or not this one.
        """
        if not isinstance(self.f, Conditional):
            raise ValueError(f"no class {label!r}: the run has no classes; train one with network.classes=auto")
        by_index = {key: i for i in range(len(self.classes)) for key in (i, str(i))}
        known = by_index | {name: i for i, name in enumerate(self.classes)}
        if label not in known:
            near = did_you_mean(str(label), self.classes)
            raise ValueError(f"no class {label!r}{near}; the classes are {', '.join(self.classes)}")
        return self.f.given(known[label])

    def batch(self) -> tuple[Tensor, ...]:
        """The data of this iteration, and their classes where they are learned."""
        t, i = self.config.training, self.learner.iteration
        x = self.data.batch(t.batch, t.seed, i).to(self.device)
        if not (self.learner.classify and isinstance(self.data, Labelled)):
            return (x,)
        return x, self.data.batch_labels(t.batch, t.seed, i).to(self.device)

    def reference_data(self, n: int) -> Tensor:
        """Up to n rows of data in an order apart from that of training, (n, *event): for frames and scores."""
        n = min(n, len(self.data)) if isinstance(self.data, Rows) else n
        return self.data.batch(n, rng(self.config.training.seed, "reference").initial_seed() % 2**31, 0)

    def draw(self, count: int, seed: int = 0, steps: int | None = None, label: int | str | None = None) -> Tensor:
        """Samples: the sampler run from kept chains, or from new starts where none are kept.

        Args:
            count: How many; more than chains are kept start several from the same one.
            seed: Seed of the choice of chains and of the noise.
            steps: Transitions; by default the settings' draw_steps, else K.
            label: Only of this class, by name or index.

        Raises:
            ValueError: As `given`.
        """
        s, f = self.sampler, self.f if label is None else self.given(label)
        sampler = build_sampler(s, f, build_proposal(s, self.data, self.config.training.seed))
        drawn = []
        for first in range(0, count, BATCH):
            generator = rng(seed, "draw", first, device=self.device)
            n = min(BATCH, count - first)
            x = (self.starts(n, generator) if label is None else self.starts_of(f, n, generator)).to(self.device)
            x, _ = sample(sampler, x, steps or s.draw_steps or s.steps, generator, compile=self.config.training.compile)
            drawn.append(x.cpu())
        return torch.cat(drawn)

    def convergence(self, seed: int = 0) -> Convergence | None:
        """What chains that run as `draw` runs them say about themselves; None for fewer than 4 transitions."""
        s = self.sampler
        steps = s.draw_steps or s.steps
        if steps < 4:
            return None
        sampler = build_sampler(s, self.f, build_proposal(s, self.data, self.config.training.seed))
        device = next(self.f.parameters()).device
        generator = rng(seed, "convergence", device=device)
        x = self.starts(JUDGED, generator).to(device)
        return convergence(self.f, sample(sampler, x, steps, generator, keep_every=max(1, steps // KEPT))[1])

    def starts(self, n: int, generator: torch.Generator) -> Tensor:
        """n kept chains in random order, each again where fewer are kept; new ones where none are."""
        start = self.learner.start
        if not isinstance(start, Persistent):
            return start.draw(n, generator)
        order = torch.randperm(len(start.bank), generator=generator, device=generator.device)
        return start.chains(order.repeat(n // len(order) + 1)[:n])

    def starts_of(self, given: LogDensity, n: int, generator: torch.Generator) -> Tensor:
        """n kept chains, which follow p(x), each picked with probability p(y | x) of the class; else new ones."""
        start = self.learner.start
        if not isinstance(start, Persistent):
            return start.draw(n, generator)
        parts = [x.to(self.device) for x in start.x.split(BATCH)]
        with torch.no_grad():
            log_posterior = torch.cat([given(x) - self.f(x) for x in parts])
        return start.chains(torch.multinomial(log_posterior.softmax(0), n, replacement=True, generator=generator))


def require_fit(learner: Learner, iteration: int) -> None:
    """Refuse what `load_state_dict` takes unseen.

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
    """The settings that config.json holds.

    Raises:
        RunError: If they are not settings this version knows.
    """
    saved: dict[str, Any] = run.config() or {}
    try:
        return TypeAdapter(Experiment).validate_python(saved.get("experiment"))
    except ValidationError as error:
        raise RunError(f"{Path(run.path / 'config.json').absolute()} does not hold settings: {error}") from None

"""A trained model: what a run folder gives back. f, the sampler it was trained with, and the chains it kept."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from anila import checkpoint
from anila.chains import Persistent
from anila.core import rng
from anila.data import DataSet, Rows
from anila.experiment import Experiment, build_data, build_learner, choose_device, settings
from anila.experiment.build import build_proposal, build_sampler
from anila.learn import Learner
from anila.run import Run, RunError
from anila.samplers import sample
from anila.steering import Steered

BATCH = 1000
"""Chains that run together when samples are drawn."""


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
        config = config_of(run)
        data = build_data(config.data)
        learner = build_learner(config, data, choose_device(config.training.device))
        path, notices = checkpoint.newest(run.checkpoints)
        for candidate in [p for p in (checkpoint.best_of(run.checkpoints), path) if p]:
            try:
                _, parts = checkpoint.load(candidate, "learner")
            except checkpoint.Damaged as damage:
                notices.append(f"checkpoint {damage}")
            else:
                learner.load_state_dict(parts["learner"])
                return cls(config, data, learner, notices)
        raise RunError("; ".join([f"{run.path.absolute()} has no sound checkpoint", *notices]))

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

    def reference_data(self, n: int) -> Tensor:
        """Up to n rows of data in an order apart from that of training, (n, *event): for frames and scores."""
        n = min(n, len(self.data)) if isinstance(self.data, Rows) else n
        return self.data.batch(n, rng(self.config.training.seed, "reference").initial_seed() % 2**31, 0)

    def draw(self, count: int, seed: int = 0, steps: int | None = None) -> Tensor:
        """Samples: the sampler run from kept chains, or from new starts where none are kept.

        Args:
            count: How many; more than chains are kept start several from the same one.
            seed: Seed of the choice of chains and of the noise.
            steps: Transitions; by default the settings' draw_steps, else K.
        """
        s = self.sampler
        sampler = build_sampler(s, self.f, build_proposal(s, self.data, self.config.training.seed))
        device = next(self.f.parameters()).device
        drawn = []
        for first in range(0, count, BATCH):
            generator = rng(seed, "draw", first, device=device)
            x = self.starts(min(BATCH, count - first), generator).to(device)
            drawn.append(sample(sampler, x, steps or s.draw_steps or s.steps, generator)[0].cpu())
        return torch.cat(drawn)

    def starts(self, n: int, generator: torch.Generator) -> Tensor:
        """n kept chains in random order, each again where fewer are kept; new ones where none are."""
        start = self.learner.start
        if not isinstance(start, Persistent):
            return start.draw(n, generator)
        order = torch.randperm(len(start.x), generator=generator, device=generator.device)
        return start.x[order.repeat(n // len(order) + 1)[:n].to(start.x.device)]


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

"""What a model that knows classes is used for: classes of rows, and every other job within one class."""

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from anila.applications.files.inputs import Named
from anila.data.frequent import Near
from anila.density.log_density import BATCH, HasClasses
from anila.learning.starts import Persistent, Start
from anila.rng import rng
from anila.runs.experiment import settings
from anila.runs.model.model import HeldOut, Model
from anila.samplers import Proposal


class Classified(NamedTuple):
    """Rows with the probability of each class."""

    rows: Named
    classes: tuple[str, ...]
    probability: Float[Tensor, "n classes"]

    @property
    def best(self) -> list[str]:
        """The likeliest class of each row."""
        return [self.classes[i] for i in self.probability.argmax(1).tolist()]

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """What is joined to the file: the class, its probability, and those of all."""
        values = [np.array(self.best), self.probability.amax(1).numpy(), *self.probability.numpy().T]
        return dict(zip(names(self.classes), values, strict=True))

    def summary(self) -> dict[str, Any]:
        """How many rows are of each class, and which class each row is of."""
        best, sure = self.best, self.probability.amax(1).tolist()
        return {
            "rows": len(best),
            "counts": {name: best.count(name) for name in self.classes},
            "classes": [
                {"name": name, "class": label, "probability": p}
                for name, label, p in zip(self.rows.names, best, sure, strict=True)
            ],
        }


def names(classes: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that the classes of a table are written to."""
    return ("class", "probability", *(f"p({name})" for name in classes))


def require_classes(model: Model) -> HasClasses:
    """f as a density of each class.

    Raises:
        ValueError: If it tells no classes apart.
    """
    if not isinstance(model.f, HasClasses):
        raise ValueError("the run has no classes; train one with network.classes=auto")
    return model.f


def classified(model: Model, rows: Named) -> Classified:
    """p(y | x) = softmax f(x) / T of each row, T the temperature of the model's chains.

    Raises:
        ValueError: If the model tells no classes apart.
    """
    f, T = require_classes(model), model.sampler.target_temperature
    with torch.no_grad():
        parts = [(f.logits(x.to(model.device)).double() / T).softmax(1).cpu() for x in rows.x.split(BATCH)]
    return Classified(rows, model.classes, torch.cat(parts))


class OfClass(Model):
    """A model within one class: f is f(x)[y], and chains start from kept ones, each with probability p(y | x).

    Args:
        model: A model that tells classes apart.
        label: Name of the class, or its index.

    Raises:
        ValueError: As `Model.given`.
    """

    def __init__(self, model: Model, label: str):
        self.net = model.given(label)
        self.whole, self.config, self.data, self.notices = model, model.config, model.data, model.notices
        self.kept = model.start
        if isinstance(self.kept, Persistent):
            generator = rng(model.config.training.seed, "class", model.index_of(label), device=model.device)
            self.kept = Persistent(model.starts_of(self.net, len(self.kept.bank), generator))

    @property
    def f(self) -> nn.Module:
        """The log-density of the class."""
        return self.net

    @property
    def sampler(self) -> settings.Sampler:
        """As of the whole."""
        return self.whole.sampler

    @property
    def start(self) -> Start:
        """Kept chains of the class, or where new ones come from."""
        return self.kept

    @property
    def iteration(self) -> int:
        """As of the whole."""
        return self.whole.iteration

    def near_frequent(self) -> list[Near]:
        """As of the whole: how often a class has a value is not known."""
        return self.whole.near_frequent()

    def proposal(self) -> Proposal | None:
        """As of the whole."""
        return self.whole.proposal()

    def reference_data(self, n: int) -> Tensor:
        """As of the whole."""
        return self.whole.reference_data(n)

    def held_out(self, n: int) -> HeldOut:
        """As of the whole."""
        return self.whole.held_out(n)

"""Likelihood of points and of their classes at once: JEM (Grathwohl et al. 2020, eq. 9).

    log p(x) + w log p(y | x)

The first is Algorithm 1; the second needs no chains: f(x)[y] of every class gives it in closed form. Chains at a
temperature T aim at exp(f / T). Then p(y | x) is the softmax of f(x) / T, and T log p(y | x) is ascended, which asks f
to tell classes apart by a few T, not by a few units.
"""

from typing import Any

from torch import Tensor
from torch.nn.functional import cross_entropy

from anila.density.log_density import LogDensity
from anila.evaluation.training.metric import ACCURACY
from anila.learning.objectives.base import Objective, Values
from anila.learning.objectives.likelihood import likelihood


def classes(weight: float = 1.0, temperature: float = 1.0, penalty: float = 0.0) -> Objective:
    """θ ascends what `likelihood` does, and w T mean log p(y | x).

    Args:
        weight: w.
        temperature: T of the law exp(f / T) that chains aim at.
        penalty: As of `likelihood`.

    Raises:
        ValueError: If weight or temperature is not positive, or penalty is negative.
    """
    if not (weight > 0 and temperature > 0):
        raise ValueError(f"weight and temperature must be positive; got {weight!r} and {temperature!r}")
    of_points = likelihood(penalty)

    def contrast(f: LogDensity, x_data: Tensor, x_model: Tensor, noise: Any = None, classes: Tensor | None = None):
        return of_points.contrast(f, x_data, x_model, noise)._replace(classes=classes)

    def term(values: Values) -> tuple[Tensor, dict[str, Tensor]]:
        assert values.logits is not None
        assert values.classes is not None
        wrong = cross_entropy(values.logits / temperature, values.classes, reduction="sum") / values.ups
        right = (values.logits.argmax(1) == values.classes).sum() / values.ups
        rest = of_points.term(values)[0] if of_points.term else 0.0
        return weight * temperature * wrong + rest, {"accuracy": right}

    return of_points._replace(contrast=contrast, term=term, needs_classes=True, watched=(*of_points.watched, ACCURACY))

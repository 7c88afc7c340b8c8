"""Learning points and their classes at once: any objective together with a classifier.

    log p(x) + w log p(y | x)        with chains (JEM: Grathwohl et al. 2020, eq. 9)
    log p(x | y) + w log p(y | x)    without

Chains have no class, so with them the objective acts on f(x). Without chains it acts on f(·)[y], the f of each point's
class. The classifier needs no chains: the values f(x)[y] of all classes give it in closed form. With chains it learns
from data. Without, the points up and down have the same class, and it learns from both: in gradient matching they lie
on either side of a noisy point, and the point up, being nearer to the truth, would by itself give the class away.

Chains at temperature T sample exp(f / T). Then p(y | x) is the softmax of f(x) / T, and θ ascends T log p(y | x), for
which f must separate classes by a few T, not by a few units.
"""

from typing import Any

from torch import Tensor
from torch.nn.functional import cross_entropy

from anila.density.log_density import LogDensity
from anila.evaluation.training.metric import ACCURACY
from anila.learning.objectives.base import Contrast, Objective, Values
from anila.learning.objectives.likelihood import likelihood


def classes(weight: float = 1.0, temperature: float = 1.0, penalty: float = 0.0) -> Objective:
    """θ ascends the objective of `likelihood` plus w T mean log p(y | x).

    Args:
        weight: w.
        temperature: T of the law exp(f / T) that chains aim at.
        penalty: As in `likelihood`.

    Raises:
        ValueError: If weight or temperature is not positive, or penalty is negative.
    """
    return of_classes(likelihood(penalty), weight, temperature)


def of_classes(objective: Objective, weight: float = 1.0, temperature: float = 1.0) -> Objective:
    """θ ascends the objective, of f given the class if it needs no chains, plus w T mean log p(y | x).

    Args:
        objective: An objective of f(x) or of f(x, s).
        weight: w.
        temperature: T of the law exp(f / T) that chains aim at.

    Raises:
        ValueError: If weight or temperature is not positive.
    """
    if not (weight > 0 and temperature > 0):
        raise ValueError(f"weight and temperature must be positive; got {weight!r} and {temperature!r}")
    given = not objective.needs_chains

    def contrast(f: Any, x_data: Tensor, x_model: Tensor | None, noise: Any = None, *, classes: Tensor) -> Contrast:
        of: LogDensity = f.given(classes) if given else f
        return objective.contrast(of, x_data, x_model, noise)._replace(classes=classes, given=given)

    def term(values: Values) -> tuple[Tensor, dict[str, Tensor]]:
        assert values.logits is not None
        assert values.classes is not None
        y, n = (values.classes.repeat(2), values.ups + values.downs) if given else (values.classes, values.ups)
        logits = values.logits[: len(y)]
        wrong = cross_entropy(logits / temperature, y, reduction="sum") / n
        right = (logits.argmax(1) == y).sum() / n
        rest, more = objective.term(values) if objective.term else (0.0, {})
        return weight * temperature * wrong + rest, {**more, "accuracy": right}

    return objective._replace(contrast=contrast, term=term, needs_classes=True, watched=(*objective.watched, ACCURACY))

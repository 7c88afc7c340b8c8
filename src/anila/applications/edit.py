"""Counterfactual edits: chains move from y towards larger f and a goal, with a penalty on the distance.

    g(x) = f(x) − T |x − y|² / (2 sd²) + T · goal(x)

Reference: Wachter, Mittelstadt & Russell 2018 (counterfactuals as a goal and a distance).
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from anila.applications.posterior import Posterior, beside, in_place, log_normal, require_observations, require_sd
from anila.density.log_density import LogDensity


def edit(
    f: LogDensity,
    y: Float[Tensor, "n *event"],
    sd: float | Tensor,
    goal: Callable[[Tensor], Tensor] | None = None,
    temperature: float = 1.0,
) -> Posterior:
    """The law of points near y that are likelier, and nearer a goal.

    Args:
        f: Log-density, (rows, *event) -> (rows,).
        y: Where the walk begins, (n, *event).
        sd: How far it may go in each coordinate, in units of x; one for all, or one per row.
        goal: Log-probability of the goal, (rows, *event) -> (rows,), e.g. that of another class under a classifier.
        temperature: Temperature of the kernel that will sample.

    Raises:
        ValueError: If sd is not positive or y is not finite.
    """
    require_observations(y)
    spread = require_sd(sd, len(y))

    def log_likelihood(x: Tensor) -> Tensor:
        near = log_normal(x - beside(y, x), spread)
        return near if goal is None else near + goal(x)

    return in_place(f, log_likelihood, len(y), temperature)

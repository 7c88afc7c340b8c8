"""Where the time of an iteration goes: its measured parts, and the share of ∇f in the transitions."""

from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from anila.density.log_density import gradient
from anila.density.precision import gradients_in
from anila.learning.chains import frozen
from anila.runs.experiment import Experiment
from anila.runs.model.trained import Trained
from anila.runs.training.machine import set_threads
from anila.runs.training.timing import timed

WARM, MEASURED = 2, 5
"""Iterations before timing starts (compiling, first allocations), and timed ones."""
OF_LEARNER = {
    "noisy": "noise on the data",
    "contrasts": "where f goes up and down",
    "gradient": "gradient in θ",
    "limit": "norm of the gradient",
    "ascend": "step and average of θ",
}
OF_CHAINS = {"draw": "chains from the bank", "run": "transitions", "report": "numbers of the chains"}
"""Methods of `Learner` and its `Chains`, and what they do."""


def profile(config: Experiment) -> dict[str, float]:
    """Seconds per iteration of each part, medians over a few iterations; nothing is written.

    Returns:
        The parts, which add up to `iteration` except for the time between them; and `∇f × K`, the time of the bare
        gradients of f that the transitions need: the floor of `transitions` (unless these are compiled).
    """
    set_threads(config)
    trained = Trained.untrained(config)
    learner, found = trained.learner, {}
    if not learner.objective.moves:
        raise ValueError(f"network {config.network.name} learns nothing: there are no iterations to time")

    def measure(name: str, action: Callable[..., Any]) -> Callable[..., Any]:
        seconds = found.setdefault(name, [])

        def measured(*arguments: Any) -> Any:
            results: list[Any] = []
            seconds.append(timed(lambda: results.append(action(*arguments))))
            return results[0]

        return measured

    for part, methods in ((learner, OF_LEARNER), (learner.chains, OF_CHAINS if learner.chains else {})):
        for method, words in methods.items():
            setattr(part, method, measure(words, getattr(part, method)))
    if learner.chains:
        learner.chains.start.store = measure("chains to the bank", learner.chains.start.store)
    batch = measure("data", trained.batch)
    update = measure("iteration", lambda: learner.update(*batch()))
    for _ in range(WARM + MEASURED):
        update()
    x = trained.start.draw(config.training.chains or config.training.batch, torch.Generator(trained.device))
    with frozen(learner.model), gradients_in(learner.precision):
        bare = [timed(lambda: gradient(learner.model, x)) for _ in range(WARM + MEASURED)]
    parts = {name: median(each_iteration(seconds)[WARM:]) for name, seconds in found.items()}
    return parts | ({"∇f × K": config.sampler.steps * median(bare[WARM:])} if learner.chains else {})


def each_iteration(seconds: list[float]) -> list[float]:
    """Sums over the calls of each iteration, whose number is the same in all."""
    calls = len(seconds) // (WARM + MEASURED)
    return [sum(seconds[k * calls : (k + 1) * calls]) for k in range(WARM + MEASURED)]

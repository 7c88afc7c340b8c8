"""The time of an iteration: estimated from its parts, or measured with a learner that is thrown away."""

import math
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import Tensor

from anila.density.log_density import gradient
from anila.density.networks import NoiseConditional
from anila.density.networks.noise_conditional import KNOTS
from anila.learning.chains import Chains, NotFinite, frozen
from anila.learning.distributed import whole
from anila.learning.learner import Learner
from anila.learning.objectives import Objective
from anila.learning.paired import Paired
from anila.rng import rng
from anila.runs.experiment.build import build_learner
from anila.runs.model.trained import Trained
from anila.samplers.sample import transitions
from anila.samplers.widening import CHAINS

WARM, MEASURED, ENOUGH = 2, 9, 3.0
"""Iterations before timing starts; most iterations timed; seconds after which fewer are enough."""
LONG = 5.0
"""Seconds per iteration above which the estimate is used."""


class Pace(NamedTuple):
    """Seconds per iteration, and seconds of a stage beside them: to build the learner, fill its chains, and widen f."""

    iteration: float
    beside: float


def pace(trained: Trained, number: int) -> Pace:
    """The pace of a stage, agreed among all processes; nothing in the experiment moves."""
    made: list[Trained] = []
    beside = timed(lambda: made.append(begun(trained, number))) + seconds_to_widen(made[0])
    return Pace(*trained.learner.ranks.gather([seconds_an_iteration(made[0]), beside])[0].tolist())


def begun(trained: Trained, number: int) -> Trained:
    """The same with its chains filled, if it has chains."""
    stage = in_stage(trained, number)
    if stage.learner.chains:
        start_of_chains(stage)
    return stage


def seconds_to_widen(stage: Trained) -> float:
    """Seconds that `Trained.widen` takes at the end of a stage, estimated from one of its gradients."""
    f = stage.f
    if stage.learner.chains or not isinstance(f, NoiseConditional):
        return 0.0
    with whole(f), frozen(f):
        x = f.draw_highest(CHAINS, rng(0, "timing", device=stage.device))
        return KNOTS * timed(lambda: gradient(f.at(f.highest), x))


def in_stage(trained: Trained, number: int) -> Trained:
    """The experiment at the first iteration of a stage, with a learner of its own whose f is untrained."""
    config, ranks = trained.whole.stage(number), trained.learner.ranks
    begin = sum(trained.whole.lengths[: number - 1])
    learner = build_learner(config, trained.data, trained.device, ranks, begin)
    return replace(trained, config=config, learner=learner, number=number)


def seconds_an_iteration(trained: Trained) -> float:
    """Median time of whole updates, which move θ; a quick estimate if they are long."""
    ranks = trained.learner.ranks
    guess = ranks.gather([estimate(trained)])[0].item()
    if guess > LONG:
        return guess
    seconds: list[float] = []

    def update() -> None:
        with suppress(NotFinite):
            trained.learner.update(*trained.batch())

    for _ in range(WARM + MEASURED):
        seconds.append(timed(update))
        spent = ranks.gather([math.fsum(seconds)])[0].item()
        if len(seconds) > WARM and spent > ENOUGH:
            break
    return median(seconds[WARM:])


def estimate(trained: Trained) -> float:
    """Seconds per iteration, estimated from its parts."""
    learner, x, micro = trained.learner, own_data(trained), trained.config.training.micro_batch
    chain_free = ([] if learner.chains else [learner.objective]) + ([learner.anchor] if learner.anchor else [])
    seconds = math.fsum(seconds_of_matching(trained, each) for each in chain_free) * len(x) / len(x[:micro])
    if not learner.chains:
        return seconds
    x0 = start_of_chains(trained)
    of_chains = seconds_per_iteration(learner, learner.chains, x[:micro], x0[:micro])
    return seconds + of_chains * len(x0) / len(x0[:micro])


def own_data(trained: Trained) -> Tensor:
    """This process's data of the first iteration."""
    t = trained.config.training
    return trained.data.batch(t.batch, t.seed, 0)[trained.learner.ranks.share(t.batch)].to(trained.device)


def start_of_chains(trained: Trained) -> Tensor:
    """Possible starts of this process's chains in the first iteration."""
    t, ranks, device = trained.config.training, trained.learner.ranks, trained.device
    if isinstance(trained.start, Paired):
        return trained.noisy(own_data(trained), rng(t.seed, "preflight"))
    chains = t.chains or t.batch
    return trained.start.draw(chains, rng(t.seed, "preflight", device=device), ranks.share(chains)).to(device)


def seconds_per_iteration(learner: Learner, chains: Chains, x_data: Tensor, x0: Tensor) -> float:
    """Time of K transitions, extrapolated from the first few, plus that of one gradient in θ."""
    steps = chains.steps if chains.compile else min(chains.steps, 5)
    generator = rng(0, "timing", device=x0.device)
    both = torch.cat([x_data, x0])

    def run(k: int) -> None:
        kernel = chains.kernel(learner.iteration, x0.device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a few steps may not include a global move
            transitions(kernel, x0, k, generator, precision=chains.precision, compile=chains.compile)

    def ascent() -> None:
        torch.autograd.grad(learner.model(both).sum(), [p for p in learner.model.parameters() if p.requires_grad])

    run(steps if chains.compile else 1)
    return chains.steps / steps * timed(lambda: run(steps)) + min(timed(ascent), timed(ascent))


def seconds_of_matching(trained: Trained, objective: Objective) -> float:
    """Time of one iteration of an objective without chains, on one micro-batch."""
    learner, t = trained.learner, trained.config.training
    x, *y = (rows[: t.micro_batch] for rows in trained.batch())
    noise = objective.draw_noise(x, rng(0, "timing", device=x.device))

    def match() -> None:
        learner.gradient(objective, learner.contrasts(objective, x, None, noise, *y))

    seconds = min(timed(match), timed(match))
    learner.optimizer.zero_grad()
    return seconds


def timed(action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began

"""Before anything runs: how large the network is, how far chains reach, what it takes of memory and time."""

import ctypes
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from anila.data import Rows
from anila.density.log_density import value_and_grad
from anila.evaluation import training
from anila.learning.chains import Chains
from anila.learning.distributed import whole
from anila.learning.learner import Learner
from anila.learning.objectives import Contrast, Objective
from anila.learning.starts import Persistent
from anila.rng import rng
from anila.runs.experiment import Experiment
from anila.runs.model.trained import Trained
from anila.samplers import sample
from anila.samplers.warm_up import quantile

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of mallopt(3)."""


@dataclass(frozen=True)
class Preflight:
    """What is known before anything runs."""

    parameters: int
    warnings: list[str]
    seconds_per_iteration: float
    description: list[str]


def look_ahead(config: Experiment) -> Preflight:
    """What `train` would do, how far chains reach and how long it takes; nothing is written."""
    set_threads(config)
    return preflight(Trained.untrained(config))


def preflight(trained: Trained) -> Preflight:
    """Size, reach and time, found out without moving anything."""
    config, data, learner = trained.config, trained.data, trained.learner
    t, ranks, device = config.training, learner.ranks, trained.device
    x_data = data.batch(t.batch, t.seed, 0)[ranks.share(t.batch)].to(device)
    parameters = sum(p.numel() for p in learner.model.parameters())
    head = [
        f"data      {data.name}: points of shape {data.event_shape}"
        + (f", {len(data):,} rows" if isinstance(data, Rows) else ", drawn afresh"),
        *([f"taken     {data.description}"] if isinstance(data, Rows) else []),
        f"network   {config.network.name}, {parameters:,} parameters, on {device}"
        + (f", {ranks.size} processes" if ranks.size > 1 else ""),
    ]
    x, warned = x_data[: t.micro_batch], []
    if learner.chains:
        x0 = start_of_chains(trained)
        z = x0[: t.micro_batch]
        seconds = seconds_per_iteration(learner, learner.chains, x, z) * len(x0) / len(z)
        seconds += seconds_of_matching(trained, learner.anchor) * len(x_data) / len(x) if learner.anchor else 0.0
        lines, warned = about_chains(trained, x_data, x0, z)
        both = torch.cat([x, z])
    else:
        objectives = (learner.objective, *([learner.anchor] if learner.anchor else []))
        seconds = sum(seconds_of_matching(trained, each) for each in objectives) * len(x_data) / len(x)
        lines, both = [f"objective {config.objective.name}, without chains"], torch.cat([x, x])
    time = f"time      about {seconds:.3g} s an iteration, {duration(seconds * t.iterations)} for {t.iterations:,}"
    return Preflight(parameters, warned, seconds, [*head, *lines, memory(learner, both), time])


def try_objective(trained: Trained) -> None:
    """Ask the objective once where f goes up and where down; what f itself does wrong its own check says.

    Raises:
        ValueError: If it cannot be asked, or answers something else.
    """
    learner, name = trained.learner, trained.config.objective.name
    x = trained.batch()[0][:2]
    more = {"classes": torch.zeros(len(x), dtype=torch.int64)} if learner.objective.needs_classes else {}
    expected = f"objective {name}: expected contrast(f, x_data, x_model, noise) to return a Contrast"
    try:
        noise = learner.objective.draw_noise(x, rng(0, "try", device=x.device))
        with whole(learner.model):
            found = learner.objective.contrast(
                learner.model, x, x if learner.objective.needs_chains else None, noise, **more
            )
    except TypeError as error:
        raise ValueError(f"{expected}; calling it said: {error}") from error
    except (RuntimeError, ValueError):
        return
    if not isinstance(found, Contrast):
        raise ValueError(f"{expected}; got a {type(found).__name__}")


def start_of_chains(trained: Trained) -> Tensor:
    """Where this process's chains of the first iteration may start."""
    t, ranks, device = trained.config.training, trained.learner.ranks, trained.device
    chains = t.chains or t.batch
    return trained.start.draw(chains, rng(t.seed, "preflight", device=device), ranks.share(chains)).to(device)


def about_chains(trained: Trained, x_data: Tensor, x0: Tensor, z: Tensor) -> tuple[list[str], list[str]]:
    """How far chains reach and how steep f is where they start; and a warning where they do not reach the data."""
    config = trained.config
    s, chains = config.sampler, config.training.chains or config.training.batch
    kernel = s.kernel
    threshold, temperature = float(kernel.threshold), float(kernel.temperature)
    n = min(len(x0), len(x_data))
    gap = 0.0 if config.start.kind == "data" else training.distance(x0[:n], x_data[:n])
    keeps = config.start.name in ("persistent", "replay")
    warning = training.reach_warning(s.steps, s.step_size, threshold, temperature, gap, keeps)
    grad = value_and_grad(trained.learner.model, z)[1].flatten()
    median, high = quantile(grad, 0.5), quantile(grad, 0.99)
    reach = training.reach(s.steps, s.step_size, threshold)
    lines = [
        f"sampler   {s.name}, K = {s.steps}, {chains} chains from {config.start.name}"
        + ("; exact (Metropolis)" if kernel.exact else "; unadjusted: biased"),
        f"reach     drift {reach:.3g}, noise {training.diffusion(s.steps, s.step_size, temperature):.3g} a "
        f"coordinate an iteration; starts and data {gap:.3g} apart",
        f"gradient  |∂f| where chains start: median {median:.2g}, 99% below {high:.2g}"
        + (f"; threshold {threshold:g}" if threshold < math.inf else ""),
    ]
    return lines, [warning] if warning else []


def memory(learner: Learner, both: Tensor) -> str:
    """What lives at once: θ with its gradient, averages and momenta; kept chains; what one gradient of f keeps."""
    model, start = learner.model, learner.chains.start if learner.chains else None
    state = [*model.parameters(), *model.buffers()]
    copies = 2 + bool(learner.ema) + 2 * isinstance(learner.optimizer, torch.optim.Adam)
    kept = size([start.bank]) if isinstance(start, Persistent) else 0
    graph: dict[int, Tensor] = {}

    def note(x: Tensor) -> Tensor:
        graph[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        learner.model(both)
    for x in state:
        graph.pop(x.untyped_storage().data_ptr(), None)
    parts = [copies * size(state), kept, size(list(graph.values()))]
    total, *each = (f"{bytes_ / 2**20:.3g}" for bytes_ in [sum(parts), *parts])
    return (
        f"memory    about {total} MiB: θ and its optimiser {each[0]}, kept chains {each[1]}, a gradient of f {each[2]}"
    )


@contextmanager
def memory_explained(trained: Trained) -> Iterator[None]:
    """Say what takes the memory where there is not enough.

    Raises:
        MemoryError: With the sizes that decide, the peak on a GPU, and what to lower.
    """
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        t, device = trained.config.training, trained.device
        peak = f" (peak {torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB)" if device.type == "cuda" else ""
        raise MemoryError(
            f"not enough memory on {device}{peak} for training.batch={t.batch} and training.chains="
            f"{t.chains or t.batch}; lower them, or network.width or network.hidden; checkpoints are as they were. "
            + str(error).splitlines()[0]
        ) from None


def size(tensors: list[Tensor]) -> int:
    """Bytes."""
    return sum(x.numel() * x.element_size() for x in tensors)


def seconds_per_iteration(learner: Learner, chains: Chains, x_data: Tensor, x0: Tensor) -> float:
    """Time of K transitions, from the first few, plus that of one gradient in θ."""
    steps = chains.steps if chains.compile else min(chains.steps, 5)
    generator = rng(0, "timing", device=x0.device)
    both = torch.cat([x_data, x0])

    def run(k: int) -> None:
        kernel = chains.kernel(learner.iteration, x0.device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a few steps need not come to a global move
            sample(kernel, x0, k, generator, precision=chains.precision, compile=chains.compile)

    def ascent() -> None:
        torch.autograd.grad(learner.model(both).sum(), list(learner.model.parameters()))

    run(steps if chains.compile else 1)
    return chains.steps / steps * timed(lambda: run(steps)) + min(timed(ascent), timed(ascent))


def seconds_of_matching(trained: Trained, objective: Objective) -> float:
    """Time of one iteration of an objective without chains, on one micro-batch."""
    learner, t = trained.learner, trained.config.training
    x = trained.batch()[0][: t.micro_batch]
    noise = objective.draw_noise(x, rng(0, "timing", device=x.device))

    def match() -> None:
        learner.gradient(objective, learner.contrasts(objective, x, None, noise, None))

    seconds = min(timed(match), timed(match))
    learner.optimizer.zero_grad()
    return seconds


def keep_freed_memory() -> None:
    """What is freed stays with this process (glibc): activations are asked for again at the next step.

    Given back to the system and touched anew each time, they cost a tenth of a step of images.
    """
    with suppress(OSError, AttributeError):
        for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            ctypes.CDLL("libc.so.6").mallopt(option, 2**30)


def timed(action: Callable[[], Any]) -> float:
    began = time.perf_counter()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(75.0), duration(3 * 3600.0 + 120), duration(40 * 3600.0)
    ('1 min 15 s', '3 h 2 min', '40 h 0 min')
    """
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours} h {m} min" if hours else f"{m} min {s} s" if m else f"{s} s"


def set_threads(config: Experiment, processes: int = 1) -> None:
    """Small networks run fastest on one thread, convolutions on all cores, shared by the processes of a machine."""
    keep_freed_memory()
    small = config.network.is_of_vectors
    torch.set_num_threads(config.training.threads or (1 if small else max(1, (os.cpu_count() or 1) // processes)))

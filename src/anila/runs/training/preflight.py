"""Before anything runs: the size of the network, the reach of chains, and the memory and time that training takes."""

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from anila.data import TOYS, Rows
from anila.density.log_density import value_and_grad
from anila.density.networks import Kernel
from anila.evaluation import training
from anila.learning.distributed import whole
from anila.learning.learner import Learner
from anila.learning.objectives import Contrast
from anila.learning.starts import Persistent
from anila.messages import counted, duration, lacks_memory
from anila.rng import rng
from anila.runs.experiment import Experiment
from anila.runs.experiment.build_sampler import known_shape
from anila.runs.folder.checkpoint import KEPT
from anila.runs.model.trained import Trained
from anila.runs.training.machine import set_threads
from anila.runs.training.plan import lengths_in
from anila.runs.training.timing import estimate, in_stage, own_data, pace, start_of_chains
from anila.samplers.phase import quantile

CHECKPOINTS = KEPT + 4
"""Checkpoints on disk at once: the newest, the best, that of a stage, one proved good, and the one being written."""


@dataclass(frozen=True)
class Preflight:
    """Findings before anything runs."""

    parameters: int
    warnings: list[str]
    seconds_per_iteration: float
    description: list[str]


class AboutStage(NamedTuple):
    """Findings about a stage before it begins: lines, warnings, seconds per iteration."""

    lines: list[str]
    warnings: list[str]
    seconds: float

    @property
    def said(self) -> list[str]:
        """The lines and warnings to report."""
        return [*self.lines, *(f"warning: {text}" for text in self.warnings)]


def look_ahead(config: Experiment) -> Preflight:
    """What `train` would do, how far chains reach and how long it takes, stage by stage; nothing is written."""
    set_threads(config)
    trained = Trained.untrained(config)
    if config.training.minutes is not None:
        paces = [pace(trained, number) for number in range(1, len(config.lengths) + 1)]
        config = config.of_lengths(lengths_in(paces, config))
    return preflight(trained, [in_stage(replace(trained, whole=config), k) for k in range(1, len(config.lengths) + 1)])


def preflight(trained: Trained, stages: Sequence[Trained] = ()) -> Preflight:
    """Size, reach and time, determined without moving anything.

    Args:
        trained: The experiment.
        stages: The same in each of its stages; by default in the current one.
    """
    data, learner, whole = trained.data, trained.learner, (stages or [trained])[0].whole
    config, parameters = trained.config, sum(p.numel() for p in learner.model.parameters())
    head = [
        f"data      {data.name}: points of shape {data.event_shape}"
        + (f", {counted(len(data), 'row')}" if isinstance(data, Rows) else ", drawn afresh")
        + (f", and {len(trained.apart):,} held out" if trained.apart else ""),
        *([f"taken     {data.description}"] if isinstance(data, Rows) else []),
        *([about_label(data, config)] if isinstance(data, Rows) and config.data.label else []),
        f"network   {trained.config.network.name}, {size_in_words(learner.model)}, on {trained.device}"
        + (f", {counted(learner.ranks.size, 'process', 'processes')}" if learner.ranks.size > 1 else ""),
        *([about_tables(trained)] if len(data.event_shape) == 1 and config.data.name not in TOYS else []),
    ]
    about = [about_stage(stage) for stage in stages or [trained]]
    lines = [line for found in about for line in found.lines]
    warned = list(dict.fromkeys(text for found in about for text in found.warnings))
    seconds = math.fsum(found.seconds * n for found, n in zip(about, whole.lengths, strict=False))
    iterations = sum(whole.lengths[: len(about)])
    if len(about) > 1:
        lines.append(f"in all    {duration(seconds)} for {counted(iterations, 'iteration')}")
    return Preflight(parameters, warned, seconds / iterations, [*head, *lines])


def size_in_words(model: nn.Module) -> str:
    """The number of parameters of a network; the centres of one in closed form, and their width."""
    if isinstance(model, Kernel):
        return (
            f"{counted(len(model.energy.centres), 'centre')} of width {model.energy.bandwidth:.2g} sd, in closed form"
        )
    return f"{counted(sum(p.numel() for p in model.parameters()), 'parameter')}"


def about_label(data: Rows, config: Experiment) -> str:
    """What becomes of the label column, and how it is learned."""
    label = f"label     {config.data.label}, {counted(len(data.classes), 'class', 'classes')}"
    if config.network.classes:
        return label
    net = "network=mlp " if config.network.by_seeing else ""
    return f"{label}: not a column of the rows, and not learned; {net}network.classes=auto learns it"


def about_tables(trained: Trained) -> str:
    """What this network is good for on a table, and which one suits the rest."""
    if trained.config.network.by_seeing:
        return "good for  odd rows, at once; network=mlp does new rows and missing cells better, in 20 seconds"
    return "good for  new rows and missing cells; network=kernel finds odd rows better, and at once"


def about_stage(trained: Trained) -> AboutStage:
    """Reach, memory and time of the current stage of an experiment."""
    config, learner, t = trained.config, trained.learner, trained.config.training
    if not learner.objective.moves:
        return AboutStage([], [], 0.0)
    x, warned = own_data(trained), list[str]()
    if learner.chains:
        x0 = start_of_chains(trained)
        lines, warned = about_chains(trained, x, x0, x0[: t.micro_batch])
        both = torch.cat([x[: t.micro_batch], x0[: t.micro_batch]])
    else:
        lines = [f"objective {config.objective.name}, without chains"]
        both = torch.cat([x[: t.micro_batch], x[: t.micro_batch]])
    seconds = estimate(trained)
    time = f"time      about {seconds:.3g} s per iteration, {duration(seconds * t.iterations)} for {t.iterations:,}"
    return AboutStage([*stage_line(trained), *lines, memory(learner, both), time], warned, seconds)


def stage_line(trained: Trained) -> list[str]:
    """The current stage, if there are several."""
    whole, name, first = trained.whole, trained.config.objective.name, trained.begin + 1
    if not whole.stages:
        return []
    return [f"stage     {trained.number}/{len(whole.stages)}: {name}, iterations {first:,} to {trained.end:,}"]


def try_objective(trained: Trained) -> None:
    """Evaluate the objective's contrast once; errors of f itself are reported by its own check.

    Raises:
        ValueError: If that fails, or does not return a contrast.
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


def about_chains(trained: Trained, x_data: Tensor, x0: Tensor, z: Tensor) -> tuple[list[str], list[str]]:
    """How far chains reach and how steep f is where they start; and a warning if they do not reach the data."""
    config = trained.config
    s, chains = config.sampler, config.training.chains or config.training.batch
    kernel = s.kernel
    threshold, temperature = float(kernel.threshold), float(kernel.temperature)
    n = min(len(x0), len(x_data))
    gap = 0.0 if config.start.kind == "data" else training.distance(x0[:n], x_data[:n])
    keeps = config.start.name in ("persistent", "replay", "paired")
    warning = training.reach_warning(s.steps, s.step_size, threshold, temperature, gap, keeps)
    grad = value_and_grad(trained.learner.model, z)[1].flatten(1)
    factor = known_shape(s, trained.learner.model).get("preconditioner")
    grad = (grad if factor is None else grad @ factor).flatten()
    median, high = quantile(grad, 0.5), quantile(grad, 0.99)
    reach = training.reach(s.steps, s.step_size, threshold)
    drift = f"drift {reach:.3g}, " if reach < math.inf else ""
    lines = [
        f"sampler   {s.name}, K = {s.steps}, {counted(chains, 'chain')} from {config.start.name}"
        + ("; exact (Metropolis)" if kernel.exact else "; unadjusted: biased"),
        f"reach     {drift}noise {training.diffusion(s.steps, s.step_size, temperature):.3g} per "
        f"coordinate and iteration; starts and data {gap:.3g} apart",
        f"gradient  |∂f| where chains start: median {median:.2g}, 99% below {high:.2g}"
        + (f"; threshold {threshold:g}" if threshold < math.inf else ""),
    ]
    return lines, [warning] if warning else []


def memory(learner: Learner, both: Tensor) -> str:
    """What is in memory at once: θ with its gradient, averages and momenta; kept chains; a gradient's activations."""
    model = learner.model
    graph: dict[int, Tensor] = {}

    def note(x: Tensor) -> Tensor:
        graph[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        learner.model(both)
    for x in (*model.parameters(), *model.buffers()):
        graph.pop(x.untyped_storage().data_ptr(), None)
    parts = [*held(learner), size(list(graph.values()))]
    total, *each = (f"{bytes_ / 2**20:.3g}" for bytes_ in [sum(parts), *parts])
    return (
        f"memory    about {total} MiB: θ and its optimiser {each[0]}, kept chains {each[1]}, a gradient of f {each[2]}"
    )


def held(learner: Learner) -> tuple[int, int]:
    """Bytes of θ with its gradient, averages and momenta, and of kept chains."""
    start = learner.chains.start if learner.chains else None
    copies = 2 + bool(learner.ema) + 2 * isinstance(learner.optimizer, torch.optim.Adam)
    theta = copies * size([*learner.model.parameters(), *learner.model.buffers()])
    return theta, size([start.bank]) if isinstance(start, Persistent) else 0


def disk_warning(learner: Learner, folder: Path) -> list[str]:
    """A warning if a run's checkpoints may not fit: each holds θ, its averages and momenta, and kept chains."""
    most = CHECKPOINTS * sum(held(learner))
    free = shutil.disk_usage(folder).free
    if most < free:
        return []
    return [
        f"checkpoints take up to {most / 2**20:,.0f} MiB, and {folder.absolute()} has {free / 2**20:,.0f} MiB free: "
        "make room, or choose another --run"
    ]


@contextmanager
def memory_explained(config: Experiment) -> Iterator[None]:
    """Explain what takes the memory if there is not enough.

    Raises:
        MemoryError: With the sizes that decide, the peak on a GPU, and what to lower.
    """
    try:
        yield
    except RuntimeError as error:
        if not lacks_memory(error):
            raise
        t = config.training
        peak = f" (peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB)" if torch.cuda.is_initialized() else ""
        raise MemoryError(
            f"not enough memory{peak} for training.batch={t.batch} and training.chains="
            f"{t.chains or t.batch}; lower them, or start.size, or network.width or network.hidden; checkpoints are "
            f"unchanged. {str(error).splitlines()[0]}"
        ) from None


def size(tensors: list[Tensor]) -> int:
    """Bytes of these tensors."""
    return sum(x.numel() * x.element_size() for x in tensors)

"""Long chains of a run under the trained f, judged with its series and drawn.

Chains start where the run's own stand, from data and from noise, and make 100 times the K transitions of an iteration
with the run's sampler under the averaged parameters. What that costs is said before.

Of an f with levels of noise they start from data and from its own draws, both with the noise of the lowest level, whose
law f is. They are shown, and measured beside the data, without it.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from anila.density.log_density import Anneals
from anila.evaluation import pictures, training
from anila.evaluation.chains import Verdict
from anila.evaluation.samples import KernelDistance, anila_features, mmd_of_few
from anila.evaluation.training import LongChains, Regime
from anila.learning.chains import frozen
from anila.learning.starts import FromData, FromNoise, Persistent, Start
from anila.messages import counted, duration
from anila.rng import rng
from anila.runs.experiment import settings
from anila.runs.experiment.build_sampler import build_proposal, build_sampler
from anila.runs.folder.run import Run
from anila.runs.model.trained import Trained
from anila.runs.training.machine import set_threads
from anila.runs.training.timing import timed
from anila.samplers import Sampler, sample

IMAGES, POINTS = 16, 256
"""Chains from each start: of images, and of other points."""
OF_LEVELS = 64
"""Chains from each start of an f with levels of noise."""
ROWS = 512
"""Rows of data that chains are compared with."""
LONG = 100
"""Longest chains, in K."""
SECONDS = 10.0
"""Between lines of progress."""


@dataclass(frozen=True)
class LongRun:
    """The regime of a run, with what is needed to draw it."""

    regime: Regime
    series: dict[str, list[float]]
    long_chains: LongChains

    @property
    def verdict(self) -> Verdict:
        """In plain words, with the numbers."""
        return self.regime.verdict()

    def save(self, folder: Path) -> list[Path]:
        """Write the figures into a folder; which they are."""
        drawn: dict[str, Figure | Image.Image] = {"long_chains": pictures.long_chains(self.long_chains)}
        if isinstance(self.regime.course, training.CourseOfChains):
            drawn["course"] = pictures.training_course(self.series, self.regime.course)
        if self.long_chains.x_data.ndim == 4:
            drawn["ladder"] = pictures.long_chain_images(self.long_chains)
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in drawn.items():
            pictures.save(picture, folder / f"{name}.png")
        return [folder / f"{name}.png" for name in drawn]


def long_run(
    trained: Trained,
    run: Run,
    sampler: settings.Sampler,
    steps: int | None,
    seed: int,
    say: Callable[[str], None],
) -> LongRun:
    """Run the long chains of a run, and judge them with its series.

    Args:
        trained: The run's model.
        run: Where its series and the returns of its guard are.
        sampler: Settings of the kernel.
        steps: Transitions of the longest chains; 100 K by default.
        seed: Seed of everything drawn here.
        say: Takes a line about what it costs and how far it is.
    """
    set_threads(trained.config)
    K, device = sampler.steps, trained.device
    steps = max(K, steps or LONG * K)
    x_data, groups = starts(trained, seed)
    distance = distance_from(trained.reference_data(ROWS))
    x_data, groups = x_data.to(device), {name: x.to(device) for name, x in groups.items()}
    kernel = build_sampler(sampler, trained.f, build_proposal(sampler, trained.data, trained.config.training.seed))
    with frozen(trained.f):
        watch = announced(kernel, torch.cat(list(groups.values())), steps, say)
        generator = rng(seed, "ladder", device=device)
        long = training.run_long_chains(
            kernel, trained.f, groups, own(trained), x_data, K, steps, generator, watch, trained.clean, distance
        )
    series = run.series(after=trained.begin)
    course = training.course(series, trained.learner.watched)
    regime = training.regime(course, long, run.returns())
    return LongRun(regime, series, long)


def starts(trained: Trained, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Data to compare with, and where long chains start: the run's kept ones if it keeps some, other data, noise.

    Of an f with levels of noise: its draws, and other data. Data carry the noise of the law that f is to hold.
    """
    levels = isinstance(trained.f, Anneals)
    n = OF_LEVELS if levels else IMAGES if len(trained.data.event_shape) == 3 else POINTS
    x = trained.noisy(trained.reference_data(ROWS + n), rng(seed, "data noise"))
    x_data = x[:-n] if len(x) > 2 * n else x
    if levels:
        return x_data, {"draws": trained.origins(n, rng(seed, "draws", device=trained.device)), "data": x[-n:]}
    found = {"data": x[-n:], "noise": noise(trained, x_data).draw(n, rng(seed, "noise"))}
    kept = {"kept": trained.starts(n, rng(seed, "kept"))} if own(trained) == "kept" else {}
    return x_data, kept | found


def distance_from(x_data: Tensor) -> Callable[[Tensor], KernelDistance] | None:
    """The kernel distance of images from these, on features; none of other points."""
    if x_data.ndim != 4 or x_data.shape[1] not in (1, 3):
        return None
    extractor = anila_features()
    y = extractor.features(x_data)
    return lambda x: mmd_of_few(extractor.features(x.clamp(-1, 1).cpu()), y)


def own(trained: Trained) -> str:
    """The group that starts where the run's chains do."""
    start = trained.start
    if isinstance(trained.f, Anneals):
        return "draws"
    return "kept" if isinstance(start, Persistent) else "data" if isinstance(start, FromData) else "noise"


def noise(trained: Trained, x_data: Tensor) -> Start:
    """The run's noise, or uniform noise as wide as the data where its chains do not start from noise."""
    s = trained.config.start
    if s.name != "data" and s.kind in ("uniform", "normal"):
        return FromNoise(trained.data.event_shape, s.kind, s.scale)
    return FromNoise(trained.data.event_shape, "uniform", x_data.abs().max().item())


def announced(kernel: Sampler, x0: Tensor, steps: int, say: Callable[[str], None]) -> Callable[[int], None]:
    """Say what so many transitions of these chains will cost, from a few; returns what says how far they are."""

    def few() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a few steps may not include a global move
            sample(kernel, x0, 3, rng(0, "timing", device=x0.device))

    few()
    cost = timed(few) / 3 * steps
    chains = f"{counted(len(x0), 'long chain')} of {counted(steps, 'transition')}"
    say(f"{chains}: about {duration(cost)}; --steps N runs fewer")
    began = last = time.perf_counter()

    def watch(done: int) -> None:
        nonlocal last
        now = time.perf_counter()
        if now - last >= SECONDS:
            last = now
            say(f"{done:,} of {counted(steps, 'transition')}, {duration((now - began) / done * (steps - done))} left")

    return watch

"""A trained model from a user's view: f, the sampler's recipe, chains to start from, and the meaning of its points.

A run gives one (see `trained`), an exported folder another (see `export`); `anila.load` returns either:

    model = anila.load("runs/digits")
    model(x)                  f of points, (n, *event) -> (n,)
    model.draw(64)            samples, (64, *event)
"""

import io
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from anila import notebook
from anila.data import DataSet, Elsewhere, Labelled, Table, Units
from anila.data.frequent import Near, at_frequent, near_frequent
from anila.density.log_density import Anneals, ClosedForm, HasClasses, LogDensity, values
from anila.density.noisy_data import denoised
from anila.density.precision import own_defaults
from anila.evaluation.pictures.images import image_grid
from anila.learning.starts import Persistent, Start
from anila.messages import counted, did_you_mean
from anila.rng import rng
from anila.runs.experiment import Experiment, settings
from anila.runs.experiment.build_sampler import CENTRES, build_sampler
from anila.runs.experiment.build_starts import annealed
from anila.samplers import Proposal, kernel_density, sample

BATCH = 1000
"""Number of chains that run together when samples are drawn."""
OF_ARRAYS, OF_TABLES = 4, 24
"""Bytes per number of a sample until it is written; in a table, each number also exists in its column's type."""
ENOUGH = 200
"""Number of kept chains that tell how far draws lie from a frequent value."""
SEEN, PASSING = 64, 20
"""Number of chains that a visitor sees, and of times that it sees them."""
LOOKED_AT, IN_A_ROW = 400, 8
"""Number of kept chains that a notebook shows: points of the plane, and images."""


def batches(count: int) -> Iterator[tuple[int, int]]:
    """The first index and the size of each batch of samples that are drawn together.

    >>> list(batches(2500))
    [(0, 1000), (1000, 1000), (2000, 500)]
    """
    return ((first, min(BATCH, count - first)) for first in range(0, count, BATCH))


def on_the_way(watch: Callable[[int], None], first: int, levels: int) -> Callable[[float, Tensor], None]:
    """A watcher that counts samples from `first` on while they pass `levels` levels, fractionally at each."""
    passed = 0

    def at_level(_: float, x: Tensor) -> None:
        nonlocal passed
        watch(first + passed // (levels + 1))
        passed += len(x)

    return at_level


def require_memory(count: int, model: "Model") -> None:
    """Refuse samples that do not fit into memory, before the first is drawn.

    Raises:
        MemoryError: Saying how many fit.
    """
    free, each = free_memory(), math.prod(model.data.event_shape) * (OF_TABLES if model.units.encoding else OF_ARRAYS)
    if free is not None and count * each > free:
        raise MemoryError(
            f"{counted(count, 'sample')} take {count * each / 2**30:,.1f} GiB of memory, and {free / 2**30:,.1f} GiB "
            f"are free: ask for at most {free // each:,} at a time, each with its own seed"
        )


def free_memory() -> int | None:
    """Bytes of memory that are free here and allowed to a container; None if the system does not tell."""
    found = list[int]()
    with suppress(OSError, ValueError, IndexError):
        found.append(1024 * int(Path("/proc/meminfo").read_text().partition("MemAvailable:")[2].split()[0]))
    with suppress(OSError, ValueError):
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found, default=None)


class HeldOut(NamedTuple):
    """Rows to show or to calibrate on, with notices about them."""

    x: Tensor
    source: str
    unseen: bool
    """Whether the model was not trained on these rows."""


class Calibration(NamedTuple):
    """`Model.usual` of ordinary rows, (n,) float64, in random order, with notices about them."""

    f: Tensor
    source: str
    unseen: bool
    """Whether the f that scored them was not trained on them."""


@runtime_checkable
class Model(Protocol):
    """A log-density with everything needed to use it: call it like any f.

    Attributes:
        config: The settings with which it was trained.
        data: The data on which it was trained, possibly without their rows.
        notices: Notices about how it was loaded.
    """

    config: Experiment
    data: DataSet
    notices: list[str]

    @property
    def f(self) -> nn.Module:
        """The log-density to sample and evaluate, with averaged parameters if there are any."""
        ...

    @property
    def sampler(self) -> settings.Sampler:
        """The sampler's settings as training left them."""
        ...

    @property
    def start(self) -> Start:
        """Kept chains, or the source of new ones."""
        ...

    @property
    def iteration(self) -> int:
        """Number of iterations of training."""
        ...

    def proposal(self) -> Proposal | None:
        """Source of candidates for global moves, if the sampler makes any."""
        ...

    def reference_data(self, n: int) -> Tensor:
        """Up to n rows of data, or chains in their place, (n, *event), for frames and proposals."""
        ...

    def proposal_of_chains(self) -> Proposal | None:
        """A kernel density of kept chains, if the sampler makes global moves."""
        if not (self.sampler.global_every and isinstance(self.start, Persistent)):
            return None
        return kernel_density(self.chains_as_data(CENTRES), self.sampler.global_sd)

    def chains_as_data(self, n: int) -> Tensor:
        """Up to n kept chains in place of data that are not here; samples if none are kept."""
        return self.start.x[:n] if isinstance(self.start, Persistent) else self.draw(n)

    def held_out(self, n: int) -> HeldOut:
        """Up to n rows that training did not see, in random order, if there are any.

        Raises:
            ValueError: If the data are not here.
        """
        ...

    @own_defaults()
    def calibration(self, n: int) -> Calibration:
        """f of `held_out` rows; for an f in closed form, its own scores of rows that it did not see."""
        if isinstance(self.f, ClosedForm):
            return Calibration(-self.f.ordinary.cpu()[:n], f"rows of {self.data.name}, each judged by others", True)
        x, source, unseen = self.held_out(n)
        return Calibration(values(self.f, x.to(self.device)), source, unseen)

    def usual(self, x: Tensor) -> Tensor:
        """How usual points are, (n,): f, or minus the oddness that an f in closed form gives."""
        return -self.f.oddness(x) if isinstance(self.f, ClosedForm) else self.f(x)

    def __call__(self, x: Tensor) -> Tensor:
        """f(x), (n, *event) -> (n,)."""
        return self.f(x)

    def clean(self, x: Tensor) -> Tensor:
        """Points of the law of f, (n, *event), without the noise that is part of it, as shown to people."""
        return denoised(self.f, x)

    def __repr__(self) -> str:
        """What it is, a line for each fact."""
        return "\n".join(["Model", *(f"  {name:12} {text}" for name, text in self._about().items())])

    def _repr_html_(self) -> str:
        """A description of the model, and a picture of some of its kept chains if they can be shown."""
        return notebook.table(self._about()) + self._drawn()

    def _about(self) -> dict[str, str]:
        shape, whole = tuple(self.data.event_shape), isinstance(self.f, ClosedForm)
        size, steps = sum(p.numel() for p in self.f.parameters()), self.sampler.draw_steps or self.sampler.steps
        about = {
            "data": f"{self.data.name}, points of shape {shape}",
            "columns": ", ".join(self.units.columns) if len(shape) == 1 else "",
            "f": f"{self.config.network.name}, " + ("in closed form" if whole else f"{counted(size, 'parameter')}"),
            "trained for": "" if whole else f"{counted(self.iteration, 'iteration')}",
            "sampler": "" if whole else f"{self.sampler.name}, {counted(steps, 'transition')} per sample",
            "classes": ", ".join(self.classes),
        }
        return {name: text for name, text in about.items() if text}

    @own_defaults()
    def _drawn(self) -> str:
        if not isinstance(self.start, Persistent):
            return ""
        x = self.start.x[:LOOKED_AT].cpu()
        if self.data.event_shape == (2,):
            return notebook.points(x.tolist(), f"{counted(len(x), 'kept chain')}")
        if len(self.data.event_shape) != 3:
            return ""
        drawn = io.BytesIO()
        image_grid(self.clean(x[:IN_A_ROW].to(self.device)).cpu(), IN_A_ROW).save(drawn, "PNG")
        return notebook.image(drawn.getvalue(), f"{counted(len(x[:IN_A_ROW]), 'kept chain')}")

    @property
    def device(self) -> torch.device:
        """The device on which f is computed."""
        return next(self.f.parameters()).device

    @property
    def units(self) -> Units:
        """Names and units of the columns of a table; x0, x1, ... without units for other rows."""
        data = self.data
        return data.units if isinstance(data, Table | Elsewhere) else Units.plain(data.event_shape)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that f tells apart; empty unless `network.classes` was set."""
        return self.data.classes if isinstance(self.f, HasClasses) and isinstance(self.data, Labelled) else ()

    def given(self, label: int | str) -> nn.Module:
        """The log-density x -> f(x)[label] of a class; it has noise levels if f has.

        Args:
            label: Its index as a number; its name, or else its index, as text.

        Raises:
            ValueError: If f has no classes, or not this one.
        """
        y, f = self.index_of(label), self.f
        assert isinstance(f, HasClasses)
        return f.given(y)

    def index_of(self, label: int | str) -> int:
        """The index of a class.

        Raises:
            ValueError: As `given`.
        """
        if not isinstance(self.f, HasClasses):
            raise ValueError(f"no class {label!r}: the run has no classes; train one with network.classes=auto")
        by_index = {key: i for i in range(len(self.classes)) for key in (i, str(i))}
        known = by_index | {name: i for i, name in enumerate(self.classes)}
        if label not in known:
            near = did_you_mean(str(label), self.classes)
            raise ValueError(f"no class {label!r}{near}; the classes are {', '.join(self.classes)}")
        return known[label]

    @own_defaults()
    def draw(
        self,
        count: int,
        seed: int = 0,
        steps: int | None = None,
        label: int | str | None = None,
        watch: Callable[[int], None] = lambda _: None,
        visit: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Samples: the sampler runs from kept chains, or from new starts if none are kept.

        If f has noise levels, each sample is annealed, and its noise is removed at the end. Frequent values of a column
        of a table are drawn as often as they occur (`anila.data.frequent`).

        Args:
            count: Number of samples; if more than the kept chains, several start from the same chain.
            seed: Seed of the choice of chains and of the noise.
            steps: Transitions; by default the settings' draw_steps, else K.
            label: Draw only from this class, by name or index.
            watch: Called with the number made so far; samples on their way down the levels count fractionally.
            visit: Called some 20 times with the positions of the first 64 chains while the sampler moves them at f(x).

        Raises:
            ValueError: As in `given`, or if steps are asked of an f in closed form, whose draws are exact.
            MemoryError: If they do not fit into memory.
        """
        f = self.f if label is None else self.given(label)
        require_memory(count, self)
        if not isinstance(f, ClosedForm):
            return at_frequent(self.simulated(f, count, seed, steps, label, watch, visit), self.near_frequent())
        if steps is not None:
            raise ValueError(f"draws of network {self.config.network.name} are exact: leave out --steps")
        return f.draw(count, rng(seed, "draw", device=self.device)).cpu()

    def near_frequent(self) -> list[Near]:
        """The widths within which draws of a net are set to frequent values of a column."""
        encoding, start = self.units.encoding, self.start
        if isinstance(self.f, ClosedForm) or not encoding or not any(column.shares for column in encoding.columns):
            return []
        if isinstance(start, Persistent) and len(start.x) >= ENOUGH and not isinstance(self.f, Anneals):
            return near_frequent(encoding, start.x.cpu())
        return near_frequent(encoding, self.simulated(self.f, BATCH))

    def simulated(
        self,
        f: LogDensity,
        count: int,
        seed: int = 0,
        steps: int | None = None,
        label: int | str | None = None,
        watch: Callable[[int], None] = lambda _: None,
        visit: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Final positions of chains that the sampler moves, without their noise."""
        s = self.sampler
        sampler, steps = build_sampler(s, f, self.proposal()), steps or s.draw_steps or s.steps
        drawn = torch.empty(0)
        for first, n in batches(count):
            generator = rng(seed, "draw", first, device=self.device)
            x = self.origins(n, generator, label, on_the_way(watch, first, s.levels)).to(self.device)
            show = (lambda _, x: visit(x[:SEEN].clone())) if visit and first == 0 else None
            every = max(1, steps // PASSING) if show else 0
            x, _ = sample(sampler, x, steps, generator, every, callback=show, compile=self.config.training.compile)
            part = denoised(f, x).cpu()
            drawn = drawn if first else part.new_empty(count, *part.shape[1:])
            drawn[first : first + n] = part
            watch(first + n)
        return drawn

    def origins(
        self,
        n: int,
        generator: torch.Generator,
        label: int | str | None = None,
        watch: Callable[[float, Tensor], None] = lambda *_: None,
    ) -> Tensor:
        """Starts of the chains of n samples, of a class: annealed draws of f if possible, else kept chains.

        `watch` is called with the chains at each level.
        """
        if isinstance(self.f, Anneals):
            y = None if label is None else self.index_of(label)
            return annealed(self.sampler, self.f, n, generator, y, watch)
        return self.starts(n, generator) if label is None else self.starts_of(self.given(label), n, generator)

    @own_defaults()
    def starts(self, n: int, generator: torch.Generator) -> Tensor:
        """n kept chains in random order, repeated if fewer are kept; new ones if none are."""
        start = self.start
        if not isinstance(start, Persistent):
            return self.origins(n, generator) if isinstance(self.f, Anneals) else start.draw(n, generator)
        order = torch.randperm(len(start.bank), generator=generator, device=generator.device)
        return start.chains(order.repeat(n // len(order) + 1)[:n])

    def starts_of(self, given: LogDensity, n: int, generator: torch.Generator) -> Tensor:
        """n kept chains, which follow p(x), resampled with probability p(y | x) of the class; else new ones."""
        start = self.start
        if not isinstance(start, Persistent):
            return start.draw(n, generator)
        assert isinstance(self.f, HasClasses)
        T, logs = self.sampler.target_temperature, []
        for x in (x.to(self.device) for x in start.x.split(BATCH)):
            with torch.no_grad():
                logs.append(given(x).double() / T - (self.f.logits(x).double() / T).logsumexp(1))
        log_posterior = torch.cat(logs)
        return start.chains(torch.multinomial(log_posterior.softmax(0), n, replacement=True, generator=generator))

"""What a trained model is to those who use it: f, the sampler's recipe, chains to start from, what its points are.

A run gives one (see `trained`), an exported folder another (see `export`); `anila.load` gives whichever is there:

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
from anila.evaluation.chains import Convergence, convergence
from anila.evaluation.pictures.images import image_grid
from anila.learning.starts import Persistent, Start
from anila.messages import counted, did_you_mean
from anila.rng import rng
from anila.runs.experiment import Experiment, settings
from anila.runs.experiment.build_sampler import CENTRES, build_sampler
from anila.runs.experiment.build_starts import annealed
from anila.samplers import Proposal, kernel_density, sample

BATCH = 1000
"""Chains that run together when samples are drawn."""
OF_ARRAYS, OF_TABLES = 4, 24
"""Bytes that a number of a sample takes until it is written; in a table it is also one of its column's kind."""
ENOUGH = 200
"""Kept chains that tell how far draws lie from a frequent value."""
JUDGED, KEPT = 64, 20
"""Chains whose convergence is judged, and positions of each."""
LOOKED_AT, IN_A_ROW = 400, 8
"""Kept chains that a notebook shows: points of the plane, and images."""


def batches(count: int) -> Iterator[tuple[int, int]]:
    """The first of the samples that are drawn together, and how many these are.

    >>> list(batches(2500))
    [(0, 1000), (1000, 1000), (2000, 500)]
    """
    return ((first, min(BATCH, count - first)) for first in range(0, count, BATCH))


def on_the_way(watch: Callable[[int], None], first: int, levels: int) -> Callable[[float, Tensor], None]:
    """What counts samples from `first` on that pass so many levels, in part at each."""
    passed = 0

    def at_level(_: float, x: Tensor) -> None:
        nonlocal passed
        watch(first + passed // (levels + 1))
        passed += len(x)

    return at_level


def require_memory(count: int, model: "Model") -> None:
    """Refuse samples that find no room, before the first is drawn.

    Raises:
        MemoryError: Saying how many do.
    """
    free, each = free_memory(), math.prod(model.data.event_shape) * (OF_TABLES if model.units.encoding else OF_ARRAYS)
    if free is not None and count * each > free:
        raise MemoryError(
            f"{counted(count, 'sample')} take {count * each / 2**30:,.1f} GiB of memory, and {free / 2**30:,.1f} GiB "
            f"are free: ask for at most {free // each:,} at a time, of another seed each"
        )


def free_memory() -> int | None:
    """Bytes that are free here, and that a container may take at all; None where the system does not say it."""
    found = list[int]()
    with suppress(OSError, ValueError, IndexError):
        found.append(1024 * int(Path("/proc/meminfo").read_text().partition("MemAvailable:")[2].split()[0]))
    with suppress(OSError, ValueError):
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found, default=None)


class HeldOut(NamedTuple):
    """Rows to show or to calibrate on, and what must be said of them."""

    x: Tensor
    source: str
    unseen: bool
    """Whether the model was not trained on them."""


class Calibration(NamedTuple):
    """What `Model.usual` gives of ordinary rows, (n,) float64, in random order, and what must be said of them."""

    f: Tensor
    source: str
    unseen: bool
    """Whether what judged them was not trained on them."""


@runtime_checkable
class Model(Protocol):
    """A log-density with all it takes to use it: call it like any f.

    Attributes:
        config: The settings it was trained with.
        data: What it was trained on, or that without its rows.
        notices: What must be said about how it was loaded.
    """

    config: Experiment
    data: DataSet
    notices: list[str]

    @property
    def f(self) -> nn.Module:
        """The log-density to sample and evaluate: averaged parameters where there are some."""
        ...

    @property
    def sampler(self) -> settings.Sampler:
        """The sampler's settings where training left them."""
        ...

    @property
    def start(self) -> Start:
        """Kept chains, or where new ones come from."""
        ...

    @property
    def iteration(self) -> int:
        """Iterations it was trained for."""
        ...

    def proposal(self) -> Proposal | None:
        """Where candidates of global moves come from, if the sampler makes some."""
        ...

    def reference_data(self, n: int) -> Tensor:
        """Up to n rows of data, or chains in their place, (n, *event): for frames and proposals."""
        ...

    def proposal_of_chains(self) -> Proposal | None:
        """A kernel density of kept chains, if the sampler makes global moves."""
        if not (self.sampler.global_every and isinstance(self.start, Persistent)):
            return None
        return kernel_density(self.chains_as_data(CENTRES), self.sampler.global_sd)

    def chains_as_data(self, n: int) -> Tensor:
        """Up to n kept chains in the place of data that are not here; samples where none are kept."""
        return self.start.x[:n] if isinstance(self.start, Persistent) else self.draw(n)

    def held_out(self, n: int) -> HeldOut:
        """Up to n rows in random order that training did not see, where there are some.

        Raises:
            ValueError: If the data are not here.
        """
        ...

    @own_defaults()
    def calibration(self, n: int) -> Calibration:
        """f of `held_out` rows; what an f in closed form says of rows that it did not see."""
        if isinstance(self.f, ClosedForm):
            return Calibration(-self.f.ordinary.cpu()[:n], f"rows of {self.data.name}, each judged by others", True)
        x, source, unseen = self.held_out(n)
        return Calibration(values(self.f, x.to(self.device)), source, unseen)

    def usual(self, x: Tensor) -> Tensor:
        """How usual points are, (n,): f, or what an f in closed form says of it."""
        return -self.f.oddness(x) if isinstance(self.f, ClosedForm) else self.f(x)

    def __call__(self, x: Tensor) -> Tensor:
        """f(x), (n, *event) -> (n,)."""
        return self.f(x)

    def clean(self, x: Tensor) -> Tensor:
        """Points of the law of f, (n, *event), without the noise that is part of it: as people look at them."""
        return denoised(self.f, x)

    def _repr_html_(self) -> str:
        """What it is, and some of its kept chains where they can be looked at."""
        shape, whole = tuple(self.data.event_shape), isinstance(self.f, ClosedForm)
        size, steps = sum(p.numel() for p in self.f.parameters()), self.sampler.draw_steps or self.sampler.steps
        about = {
            "data": f"{self.data.name}, points of shape {shape}",
            "columns": ", ".join(self.units.columns) if len(shape) == 1 else "",
            "f": f"{self.config.network.name}, " + ("in closed form" if whole else f"{counted(size, 'parameter')}"),
            "trained for": "" if whole else f"{counted(self.iteration, 'iteration')}",
            "sampler": "" if whole else f"{self.sampler.name}, {counted(steps, 'transition')} a sample",
            "classes": ", ".join(self.classes),
        }
        return notebook.table({name: text for name, text in about.items() if text}) + self._drawn()

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
        """Where f is computed."""
        return next(self.f.parameters()).device

    @property
    def units(self) -> Units:
        """Names and units of the columns of a table; x0, x1, ... as they are for other rows."""
        data = self.data
        return data.units if isinstance(data, Table | Elsewhere) else Units.plain(data.event_shape)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that f tells apart; none unless `network.classes` were asked for."""
        return self.data.classes if isinstance(self.f, HasClasses) and isinstance(self.data, Labelled) else ()

    def given(self, label: int | str) -> nn.Module:
        """The log-density x -> f(x)[label] of a class; that of an f with levels of noise has them too.

        Args:
            label: Its index as a number; its name, or else its index, as text.

        Raises:
            ValueError: If f tells no classes apart, or not this one.
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
    ) -> Tensor:
        """Samples: the sampler run from kept chains, or from new starts where none are kept.

        Of an f with levels of noise each is annealed, and its noise taken away at the end. Values that are frequent in
        a column of a table are drawn as often (`anila.data.frequent`).

        Args:
            count: How many; more than chains are kept start several from the same one.
            seed: Seed of the choice of chains and of the noise.
            steps: Transitions; by default the settings' draw_steps, else K.
            label: Only of this class, by name or index.
            watch: Called with how many there are, now and then; samples on their way down the levels count in part.

        Raises:
            ValueError: As `given`, or if an f in closed form, whose draws are exact, is to make transitions.
            MemoryError: If they find no room.
        """
        f = self.f if label is None else self.given(label)
        require_memory(count, self)
        if not isinstance(f, ClosedForm):
            return at_frequent(self.simulated(f, count, seed, steps, label, watch), self.near_frequent())
        if steps is not None:
            raise ValueError(f"draws of network {self.config.network.name} are exact: leave out --steps")
        return f.draw(count, rng(seed, "draw", device=self.device)).cpu()

    def near_frequent(self) -> list[Near]:
        """How near to a frequent value of a column a draw of a net gets it."""
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
    ) -> Tensor:
        """Where the sampler takes chains, without their noise."""
        s = self.sampler
        sampler = build_sampler(s, f, self.proposal())
        drawn = torch.empty(0)
        for first, n in batches(count):
            generator = rng(seed, "draw", first, device=self.device)
            x = self.origins(n, generator, label, on_the_way(watch, first, s.levels)).to(self.device)
            x, _ = sample(sampler, x, steps or s.draw_steps or s.steps, generator, compile=self.config.training.compile)
            part = denoised(f, x).cpu()
            drawn = drawn if first else part.new_empty(count, *part.shape[1:])
            drawn[first : first + n] = part
            watch(first + n)
        return drawn

    @own_defaults()
    def convergence(self, seed: int = 0) -> Convergence | None:
        """What chains that run as `draw` runs them say about themselves; None without any, or for fewer than 4
        transitions.
        """
        s = self.sampler
        steps = s.draw_steps or s.steps
        if steps < 4 or isinstance(self.f, ClosedForm):
            return None
        sampler = build_sampler(s, self.f, self.proposal())
        generator = rng(seed, "convergence", device=self.device)
        x = self.origins(JUDGED, generator).to(self.device)
        return convergence(self.f, sample(sampler, x, steps, generator, keep_every=max(1, steps // KEPT))[1])

    def origins(
        self,
        n: int,
        generator: torch.Generator,
        label: int | str | None = None,
        watch: Callable[[float, Tensor], None] = lambda *_: None,
    ) -> Tensor:
        """Where the chains of n samples, of a class, start: where f, annealed, or else kept chains, say.

        Chains at each level on their way are shown to `watch`.
        """
        if isinstance(self.f, Anneals):
            y = None if label is None else self.index_of(label)
            return annealed(self.sampler, self.f, n, generator, y, watch)
        return self.starts(n, generator) if label is None else self.starts_of(self.given(label), n, generator)

    @own_defaults()
    def starts(self, n: int, generator: torch.Generator) -> Tensor:
        """n kept chains in random order, each again where fewer are kept; new ones where none are."""
        start = self.start
        if not isinstance(start, Persistent):
            return self.origins(n, generator) if isinstance(self.f, Anneals) else start.draw(n, generator)
        order = torch.randperm(len(start.bank), generator=generator, device=generator.device)
        return start.chains(order.repeat(n // len(order) + 1)[:n])

    def starts_of(self, given: LogDensity, n: int, generator: torch.Generator) -> Tensor:
        """n kept chains, which follow p(x), each picked with probability p(y | x) of the class; else new ones."""
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

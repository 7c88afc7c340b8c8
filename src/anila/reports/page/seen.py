"""What is seen when the model of a run is asked: energies, chains, the columns of a table.

All randomness is of generators made here, after training: a run is the same with a report and without.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from anila.data import Elsewhere, Rows
from anila.density.log_density import values
from anila.density.networks import Kernel
from anila.evaluation.likelihood.grid import in_plane
from anila.evaluation.pictures.ergodicity import rank_shares
from anila.learning.chains import frozen
from anila.learning.starts import Persistent
from anila.messages import counted, warnings_to
from anila.reports.fit import judge_fit
from anila.reports.page.chart import Chart, Line, edges_of, histogram
from anila.reports.page.columns import SHOWN, Odd, marginals, oddest
from anila.reports.page.pictures import Picture, strips
from anila.reports.page.plane import Film, film_over
from anila.reports.page.walk import FEWEST, Walk, film, quantities, said_of, walk
from anila.rng import rng
from anila.runs.folder.run import Run
from anila.runs.model.trained import Trained
from anila.runs.training.machine import set_threads

POINTS, IMAGES, BINS = 500, 64, 36
"""Points, or images, of each histogram of energies; its bins."""
GROUPS, QUANTITIES = 4, 4
"""Groups of chains whose traces and ranks are shown; coordinates that are."""
FRAMES, CHAINS = 9, 6
"""Moments and chains of a strip."""


@dataclass
class Seen:
    """What the page shows of a model."""

    iteration: int | None = None
    parameters: int = 0
    rows: int | None = None
    columns: tuple[str, ...] = ()
    """Of a table, as many as are shown."""
    left_out: int = 0
    """Columns that are not."""
    energies: Chart | None = None
    film: Film | None = None
    strips: list[Picture] = field(default_factory=list)
    comes_down: bool = False
    """Whether the strips come down levels of noise."""
    marginals: list[Chart] = field(default_factory=list)
    oddest: list[Odd] = field(default_factory=list)
    score: str = "energy"
    """What the oddest have most of."""
    traces: list[Chart] = field(default_factory=list)
    ranks: list[Chart] = field(default_factory=list)
    chains: list[str] = field(default_factory=list)
    """A verdict on the chains."""
    walked: str = ""
    """What the chains did."""
    fit: list[str] = field(default_factory=list)
    """A verdict on a fit in closed form, which has no chains."""
    notes: list[str] = field(default_factory=list)
    """What must be said: what is missing and why, and what was warned of."""


def seen_of(run: Run) -> Seen:
    """Ask the model of a run; where there is none, the notes say why."""
    seen = Seen()
    try:
        with warnings_to(seen.notes.append):
            trained = Trained.load(run)
            set_threads(trained.config)
            with frozen(trained.f):
                ask(trained, seen)
    except (ValueError, OSError, ImportError, ArithmeticError, RuntimeError) as error:
        seen.notes.append(f"The model cannot be shown: {error}")
    return seen


def ask(trained: Trained, seen: Seen) -> None:
    """Everything there is to see."""
    seen.notes += trained.notices
    seen.iteration = trained.iteration
    seen.parameters = sum(p.numel() for p in trained.f.parameters())
    seen.rows = len(trained.data) if isinstance(trained.data, Rows) else None
    if isinstance(trained.f, Kernel):
        seen.fit = list(judge_fit(trained.f).verdict.lines)
        show_table(trained, seen, trained.draw(POINTS))
        return
    chains = walk(trained)
    x_model = samples(trained, chains)
    seen.energies = energies(trained, x_model)
    seen.chains = said_of(trained, chains)
    seen.walked = walked(chains, bool(seen.chains))
    seen.traces, seen.ranks = traces(trained, chains), ranks(trained, chains)
    if in_plane(trained.data.event_shape):
        seen.film = film_over(trained, chains)
    if len(trained.data.event_shape) == 3:
        seen.strips = strips(film(trained, chains, FRAMES), CHAINS)
        seen.comes_down = bool(chains.way_down)
    elif isinstance(trained.data, Rows):
        show_table(trained, seen, x_model)


def show_table(trained: Trained, seen: Seen, x_model: Tensor) -> None:
    """The columns and the oddest rows."""
    names = trained.units.rows.names
    seen.columns, seen.left_out = names[:SHOWN], len(names[SHOWN:])
    seen.marginals = marginals(trained, trained.reference_data(10 * POINTS), x_model)
    if isinstance(trained.data, Elsewhere):
        seen.notes.append(f"The oddest rows cannot be shown: {trained.data.why}")
    else:
        seen.oddest = oddest(trained)
    seen.score = "denoising error" if isinstance(trained.f, Kernel) else "energy"


def samples(trained: Trained, chains: Walk) -> Tensor:
    """Points of the law of f: drawn, or those that training kept where a draw is long."""
    if len(trained.data.event_shape) == 1:
        return trained.draw(POINTS)
    if isinstance(trained.start, Persistent):
        kept = rng(0, "report samples", device=trained.device)
        return trained.starts(min(IMAGES, len(trained.start.bank)), kept).cpu()
    return chains.x[-1]


def walked(chains: Walk, judged: bool) -> str:
    """What the chains did, and which part of it was judged."""
    start = "the lowest level of noise" if chains.way_down else "noise"
    said = f"{counted(chains.x.shape[1], 'chain')} made {counted(chains.transitions, 'transition')} from {start}."
    return f"{said} The verdict is on the second half of them; anila diagnose judges longer chains." if judged else said


def energies(trained: Trained, x_model: Tensor) -> Chart | None:
    """Histograms of −f: data, samples, and rows that were held out where there are some; None where f has no values."""
    n = POINTS if len(trained.data.event_shape) == 1 else 4 * IMAGES
    noise, held = rng(0, "report noise"), trained.held_out(n)
    points = {"data": trained.noisy(trained.reference_data(n), noise), "samples": x_model}
    if held.unseen:
        points["held out"] = trained.noisy(held.x, noise)
    columns = {name: energy(trained, x) for name, x in points.items()}
    edges = edges_of(list(columns.values()), BINS)
    looks = {"data": "data", "samples": "model", "held out": "held-out"}
    lines = [
        histogram(f"{name} ({len(e):,})", e, edges, looks[name], name == "data")
        for name, e in columns.items()
        if len(e)
    ]
    note = "" if held.unseen else "No rows were held out of training."
    return Chart("energy −f, share of points", lines, "energy −f, nats", note=note) if lines else None


def energy(trained: Trained, x: Tensor) -> np.ndarray:
    """−f of the points at which it is finite."""
    e = -values(trained.f, x.to(trained.device)).numpy(force=True)
    return e[np.isfinite(e)]


def groups_of(chains: Walk) -> Tensor:
    """Which chains are in which group, one beside the other."""
    n = chains.x.shape[1]
    return torch.arange(n) * min(GROUPS, n) // n


def traces(trained: Trained, chains: Walk) -> list[Chart]:
    """A chart for each quantity, with one chain of each group."""
    groups = groups_of(chains)
    firsts = [int((groups == g).nonzero()[0]) for g in groups.unique()]
    steps = list(range(chains.transitions + 1))

    def lines(x: Tensor) -> list[Line]:
        return [Line(f"chain {k + 1}", steps, x[:, c].tolist(), f"s{k}") for k, c in enumerate(firsts)]

    return per_quantity(trained, chains, lambda name, x: Chart(name, lines(x), "transition", link="traces"))


def ranks(trained: Trained, chains: Walk) -> list[Chart]:
    """A chart for each quantity: how the later draws of each group rank among those of all."""
    if not chains.finite or chains.transitions < FEWEST:
        return []
    groups = groups_of(chains)

    def lines(x: Tensor) -> list[Line]:
        shares = rank_shares(x[1 + chains.transitions // 2 :], groups)
        edges = np.repeat(np.linspace(0, 1, shares.shape[1] + 1), 2)[1:-1].tolist()
        return [Line(f"group {k + 1}", edges, np.repeat(s, 2).tolist(), f"s{k}") for k, s in enumerate(shares)]

    def chart(name: str, x: Tensor) -> Chart:
        return Chart(name, lines(x), "rank among all draws", link="ranks", level=1.0)

    return per_quantity(trained, chains, chart)


def per_quantity(trained: Trained, chains: Walk, draw: Callable[[str, Tensor], Chart]) -> list[Chart]:
    """A chart each, of those that have something to show."""
    charts = [draw(name, x) for name, x in quantities(trained, chains, QUANTITIES).items()]
    return [chart for chart in charts if chart.shown]

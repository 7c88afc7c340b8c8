"""Is it any good: a run by its regime, and chains of a density or of a run in the plane by what they do.

The regime of a run is judged by `long_run`; a fit in closed form by `fit`, unless a sampler is asked about. Where exact
draws are known, chains start in groups, each group at one point of a normal law twice as wide as the target. After a
warm-up as long as what is kept, `anila.evaluation.chains` is asked everything it knows; figures show what it found.
"""

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from anila.density.log_density import LogDensity, value_and_grad
from anila.density.networks import Kernel
from anila.density.targets import DENSITIES
from anila.evaluation import chains, pictures
from anila.evaluation.chains import DriftInequality, Meetings, Verdict
from anila.evaluation.likelihood.grid import in_plane
from anila.reports.fit import FitDiagnosis, judge_fit
from anila.reports.long_run import LongRun, long_run
from anila.reports.own_density import doubled, grid_draws, own_density
from anila.rng import rng
from anila.runs.catalogue import unknown_density
from anila.runs.experiment import Experiment, resolve, settings
from anila.runs.experiment.build_sampler import build_proposal, build_sampler
from anila.runs.experiment.code import is_code
from anila.runs.folder import checkpoint
from anila.runs.folder.run import Run
from anila.runs.model.trained import Trained
from anila.samplers import Proposal, Sampler, Trace, sample
from anila.samplers.estimates import coordinates
from anila.samplers.warm_up import tune

GROUPS, CHAINS = 8, 32
"""Groups of chains, and chains in each."""
KEPT = 200
"""Positions kept of each chain."""
DRAWS = 20_000
"""Exact draws that take steps of the kernel, and as many to compare with."""
DRIFT_STEPS = 20
STEPS = 1000
"""Transitions after the warm-up."""
PAIRS, LAG = 500, 100
WIDER = 2.0
"""Standard deviation of the starts, in those of the target."""
WARM_UP = 300
"""Steps in which a density's kernel is tuned."""
AFFORDED = 20_000_000
"""Draws, times centres of a kernel."""
SIDES = {1: 600, 2: 48}
"""Cells along an axis where the decay is computed by grid."""


@dataclass(frozen=True)
class Subject:
    """What is judged: f in double precision, the kernel's settings, exact draws, and other θ to compare with."""

    f: LogDensity
    sampler: settings.Sampler
    proposal: Proposal | None
    draws: Tensor
    """(2 × DRAWS, d), of exp f."""
    exact: bool
    """Whether the draws are exact; else they are where long chains came to."""
    thetas: list[LogDensity]
    columns: tuple[str, ...] = ()
    """Names of the coordinates, if they have any."""

    def make(self, f: LogDensity) -> Sampler:
        """The kernel bound to f."""
        return build_sampler(self.sampler, f, self.proposal)

    def starts(self, n: int, generator: torch.Generator) -> Tensor:
        """n points of the start law N(mean, (2 sd)²) of each coordinate, (n, d)."""
        noise = torch.randn(n, self.draws.shape[1], generator=generator, dtype=self.draws.dtype)
        return self.draws.mean(0) + WIDER * self.draws.std(0) * noise


@dataclass(frozen=True)
class Diagnosis:
    """The verdict on a subject, with what is needed to draw it."""

    verdict: Verdict
    trace: Trace
    groups: Tensor
    steps_between: int
    meetings: Meetings | None
    exact: Tensor | None
    """Total variation after each step by grid, from the same starts."""
    inequality: DriftInequality
    columns: tuple[str, ...]

    def save(self, folder: Path) -> list[Path]:
        """Write the figures into a folder; which they are."""
        worst = self.verdict.numbers["convergence"]["worst"]
        names, columns = coordinates(self.trace["x"], self.trace.f)
        shown = names.index(worst) if worst in names else 0
        x = columns[:, :, shown]
        name = self.columns[int(names[shown].removeprefix("x"))] if self.columns else names[shown]
        drawn = {"chains": pictures.chain_overview(x, self.groups, self.steps_between, name)}
        drawn["drift"] = pictures.drift_ratio(self.inequality)
        if self.meetings is not None and not self.meetings.unmet:
            drawn["coupling"] = pictures.coupling_bound(self.meetings, self.exact)
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in drawn.items():
            pictures.save(figure, folder / f"{name}.png")
        return [folder / f"{name}.png" for name in drawn]


@dataclass(frozen=True)
class RunDiagnosis:
    """The regime of a run and, in the plane, what chains of its trained f do."""

    regime: LongRun
    chains: Diagnosis | None
    iteration: int
    """Of the checkpoint."""

    @property
    def verdict(self) -> Verdict:
        """Both verdicts, one after the other."""
        first = self.regime.verdict
        if self.chains is None:
            return first
        then = self.chains.verdict
        return Verdict(first.ok and then.ok, first.lines + then.lines, first.numbers | then.numbers)

    def save(self, folder: Path) -> list[Path]:
        """Write the figures into a folder; which they are."""
        return self.regime.save(folder) + (self.chains.save(folder) if self.chains else [])

    def write(self, run: Run) -> None:
        """Write RUN/diagnosis.json: the verdict on the run, and that on its chains in the plane."""
        long = self.regime.long_chains
        about = {"iteration": self.iteration, "transitions": long.groups[long.own][-1].steps}
        chains = {"chains": self.chains.verdict.as_dict()} if self.chains else {}
        run.write_diagnosis(about | self.regime.verdict.as_dict() | chains)


def diagnose(
    what: str,
    sampler: str | None = None,
    overrides: list[str] | None = None,
    steps: int | None = None,
    seed: int = 0,
    dim: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Diagnosis | RunDiagnosis | FitDiagnosis:
    """Judge the chains of a density, or a run.

    Args:
        what: A name in DENSITIES, a run folder, or FILE.py:NAME, a log-density or a distribution of torch.
        sampler: Name of a sampler; a run's own, or anisotropic_mala on a density, by default.
        overrides: key=value settings of it, e.g. ["step_size=0.1"].
        steps: Transitions of a run's long chains, 100 K by default; in the plane also those after a warm-up of as
            many, 1,000 by default.
        seed: Seed of everything drawn here.
        dim: Numbers in a point of a log-density in a file.
        say: Takes a line about damaged checkpoints, what long chains cost and how far they are.

    Raises:
        ValueError: If nothing is known by that name, the run has no sound checkpoint, or a setting is refused.
    """
    words = [*([f"sampler.name={sampler}"] if sampler else []), *map(full_key, overrides or [])]
    if dim is not None and not is_code(what):
        raise ValueError(f"--dim is for a log-density in FILE.py:NAME; {what} has its own")
    if what in DENSITIES:
        return judge(of_density(what, words, seed), steps or STEPS, seed)
    if is_code(what):
        return judge(of_code(what, dim, words, seed), steps or STEPS, seed)
    if not Path(what).exists():
        raise ValueError(unknown_density(what, DENSITIES, "density or run"))
    run = Run.existing(what)
    trained = Trained.load(run)
    for notice in trained.notices:
        say(notice)
    if isinstance(trained.f, Kernel):
        return (
            judge(of_kernel(trained, trained.f, words, seed), steps or STEPS, seed)
            if words or steps
            else judge_fit(trained.f)
        )
    trained.require_data()
    kernel = kernel_settings(trained, words)
    regime = long_run(trained, run, kernel, steps, seed, say)
    plane = in_plane(trained.data.event_shape)
    chains = judge(of_run(trained, run, kernel, seed), steps or STEPS, seed) if plane else None
    return RunDiagnosis(regime, chains, trained.iteration)


def full_key(text: str) -> str:
    """`step_size=1` as `sampler.step_size=1`."""
    return text if "." in text.partition("=")[0] else f"sampler.{text}"


def of_density(name: str, overrides: list[str], seed: int) -> Subject:
    """An exact target with a kernel whose threshold and step suit it, where they are not given."""
    f = DENSITIES[name]()
    return with_kernel(f, f.draw(2 * DRAWS, rng(seed, "draws"), torch.float64), True, overrides, seed)


def of_kernel(trained: Trained, f: Kernel, overrides: list[str], seed: int) -> Subject:
    """A run whose f has exact draws, fewer of them where f has many centres."""
    draws = min(DRAWS, max(500, AFFORDED // len(f.energy.centres)))
    exact = f.draw(2 * draws, rng(seed, "draws")).double()
    return replace(with_kernel(doubled(f), exact, True, overrides, seed), columns=trained.units.columns)


def with_kernel(f: LogDensity, draws: Tensor, exact: bool, overrides: list[str], seed: int) -> Subject:
    """A density with a kernel whose threshold and step suit it, where they are not given."""
    slope = value_and_grad(f, draws)[1].abs().flatten()
    if not (steep := slope.quantile(0.8).item() or slope.max().item()):
        raise ValueError("f is flat at all draws: no gradient says where exp f is")
    base = settings.Sampler(name="anisotropic_mala", threshold=steep)
    config = resolve(replace(Experiment(), sampler=base), overrides).sampler
    subject = Subject(f, config, None, draws, exact, [f])
    if config.kernel.exact and not any(text.startswith("sampler.step_size=") for text in overrides):
        subject = replace(subject, sampler=with_suitable_step(subject, rng(seed, "warm-up")))
    return subject


def of_code(word: str, dim: int | None, overrides: list[str], seed: int) -> Subject:
    """A density that a file defines: its own draws are exact, and so are those from a grid of the plane."""
    f, draws, exact = own_density(word, "diagnose", dim, 2 * DRAWS, seed)
    return with_kernel(f, draws, exact, overrides, seed)


def with_suitable_step(subject: Subject, generator: torch.Generator) -> settings.Sampler:
    """The settings with the step_size that `tune` finds from exact draws."""
    config, f = subject.sampler, subject.f

    def make(step_size: float) -> Sampler:
        return build_sampler(replace(config, step_size=step_size), f)

    return replace(config, step_size=tune(make, subject.draws[:500], WARM_UP, generator).settings["step_size"])


def of_run(trained: Trained, run: Run, kernel: settings.Sampler, seed: int) -> Subject:
    """A run in the plane with a kernel; exact draws come from its density on a grid."""
    f, x_data = doubled(trained.f), trained.reference_data(DRAWS)
    proposal = build_proposal(kernel, trained.data, trained.config.training.seed)
    draws, columns = grid_draws(f, x_data.double(), 2 * DRAWS, seed), trained.units.columns
    return Subject(f, kernel, proposal, draws, True, thetas_of(trained, run), columns)


def kernel_settings(trained: Trained, overrides: list[str]) -> settings.Sampler:
    """The run's sampler with what is overridden; where training left it if nothing is."""
    return resolve(trained.config, overrides).sampler if overrides else trained.sampler


def thetas_of(trained: Trained, run: Run) -> list[LogDensity]:
    """f at every checkpoint of the run that is sound, oldest first."""
    found: list[LogDensity] = []
    then = replace(trained)  # of whichever stage a checkpoint is
    for folder in checkpoint.listed(run.checkpoints):
        with suppress(checkpoint.Damaged):
            then.restore(folder)
            found.append(doubled(then.f))
    return found


def judge(subject: Subject, steps: int, seed: int) -> Diagnosis:
    """Run everything that can be known about the subject's kernel, and weigh it."""
    f, kernel, every = subject.f, subject.make(subject.f), max(1, steps // KEPT)
    groups = torch.arange(GROUPS).repeat_interleave(CHAINS)
    x0 = subject.starts(GROUPS, rng(seed, "start"))[groups]
    x, _ = sample(kernel, x0, steps, rng(seed, "warm-up chains"))
    _, trace = sample(kernel, x, steps, rng(seed, "chains"), keep_every=every)
    threshold = float(kernel.threshold) if kernel.threshold < math.inf else None
    meetings = coupled(subject, kernel, 2 * steps, seed)
    half, centre, scale = len(subject.draws) // 2, subject.draws.mean(0), subject.draws.std(0).norm().item()
    radii = scale * torch.logspace(-0.6, 2, 20, dtype=torch.float64)
    inequality = chains.drift_inequality(subject.make, subject.thetas, centre, radii, rng(seed, "drift"))
    verdict = chains.verdict(
        chains.convergence(f, trace, groups, threshold),
        chains.drift(kernel, f, subject.draws[:half], subject.draws[half:], DRIFT_STEPS, rng(seed, "moved"))
        if subject.exact
        else None,
        meetings,
        chains.rays(f, centre, scale, rng(seed, "rays")),
        inequality,
    ).named(subject.columns)
    exact = exact_decay(subject, kernel, meetings)
    return Diagnosis(verdict, trace, groups, every, meetings, exact, inequality, subject.columns)


def coupled(subject: Subject, kernel: Sampler, steps: int, seed: int) -> Meetings | None:
    """Meeting times of pairs from the start law; None for kernels that cannot be coupled."""
    generator = rng(seed, "pairs")
    x0, y0 = subject.starts(2 * PAIRS, generator).split(PAIRS)
    if not chains.can_be_coupled(kernel, x0):
        return None
    return chains.meeting_times(kernel, x0, y0, LAG, max(steps, LAG + 1), generator)


def exact_decay(subject: Subject, kernel: Sampler, meetings: Meetings | None) -> Tensor | None:
    """Total variation from exp f after each step by grid; None where a grid cannot hold it or nothing is beside it."""
    draws = subject.draws
    if meetings is None or meetings.unmet or draws.shape[1] not in SIDES or subject.proposal is not None:
        return None
    mean, sd = draws.mean(0), WIDER * draws.std(0)
    reach = torch.maximum((draws - mean).abs().amax(0), 4 * sd)
    low, high = (mean - reach).min().item(), (mean + reach).max().item()
    points, volume = chains.lattice(low, high, SIDES[draws.shape[1]], draws.shape[1])
    try:
        matrix = chains.transition(kernel, subject.f, points, volume)
    except ValueError:
        return None
    start = (-((points - mean) / sd).square().sum(1) / 2).softmax(0)
    target = value_and_grad(subject.f, points)[0].softmax(0)
    return chains.decay(matrix, start, target, int(meetings.times.max()) - meetings.lag)

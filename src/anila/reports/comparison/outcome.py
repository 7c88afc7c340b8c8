"""What a comparison shows: mean and standard error over seeds, and where two samplers differ by more than chance.

Runs of one seed share net, data and noise of the learner, so samplers are compared in pairs: with d_s the difference of
their scores for seed s, n seeds, the difference is

    mean d ± sd(d)/√n,   and separates where |mean d| > t √n⁻¹ sd(d),   t the 97.5% quantile of Student's law, n − 1

so one pair of equals in twenty is said to differ by chance, for each point looked at. A run that ran away has no score;
pairs without both scores are left out, and how many ran away is said.

Reference: Student 1908.
"""

import math
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import torch
from scipy import stats
from torch import Tensor

from anila.messages import as_json
from anila.reports.comparison.measure import measure_of
from anila.reports.comparison.plan import Plan
from anila.reports.comparison.trial import Curve
from anila.runs.folder.whole import write_atomically
from anila.runs.model.trained import Trained


class Line(NamedTuple):
    """A sampler's curve, each (points,): mean over the seeds that have a score, and its standard error."""

    gradients: Tensor
    seconds: Tensor
    mean: Tensor
    error: Tensor
    """NaN for one seed."""
    runs: int
    ran_away: int


class Pair(NamedTuple):
    """Score of one sampler minus that of another, over seeds, at each point."""

    first: str
    second: str
    mean: list[float]
    error: list[float]
    separates: list[bool]


class Outcome(NamedTuple):
    """A comparison's numbers."""

    score: str
    lines: dict[str, Line]
    pairs: list[Pair]
    protocol: dict[str, Any]

    def table(self) -> list[str]:
        """Rows of the table at the end of the budget, in Markdown."""
        rows = [
            f"| sampler | {self.score} | runs | ran away | gradients | seconds |",
            "|---|---|---|---|---|---|",
        ]
        for name, line in self.lines.items():
            rows.append(
                f"| {name} | {value_and_error(float(line.mean[-1]), float(line.error[-1]))} | {line.runs} | "
                f"{line.ran_away} | {int(line.gradients[-1]):,} | {float(line.seconds[-1]):.0f} |"
            )
        return rows

    def verdicts(self) -> list[str]:
        """A line a pair: which is better, and at which gradients that is more than chance."""
        if len(self.protocol["seeds"]) == 1:
            return ["one run per sampler: no error bars, so none can be told apart"]
        return [verdict(pair, self.lines[pair.first].gradients) for pair in self.pairs]

    def as_dict(self) -> dict[str, Any]:
        """Everything, in numbers and lists."""
        lines = {
            name: {key: x.tolist() if isinstance(x, Tensor) else x for key, x in line._asdict().items()}
            for name, line in self.lines.items()
        }
        pairs = [pair._asdict() for pair in self.pairs]
        return {"score": self.score, "samplers": lines, "pairs": pairs, "protocol": self.protocol}

    def save(self, plan: Plan) -> None:
        """Write comparison.json."""
        write_atomically(plan.folder / "comparison.json", as_json(self.as_dict(), indent=1))


def outcome_of(plan: Plan) -> Outcome:
    """Read what the trials of a plan left, complete or not.

    Raises:
        ValueError: If no point was reached by all samplers.
    """
    trial = plan.trials[0]
    curves = {s: {t.seed: Curve(t).points() for t in plan.trials if t.sampler == s} for s in plan.samplers}
    shared = min((len(points) for runs in curves.values() for points in runs.values()), default=0)
    if not shared:
        raise ValueError(f"{plan.folder}: no run has reached its first point yet; run the same command again")
    scores = {
        s: torch.tensor([[p.score for p in runs[k][:shared]] for k in sorted(runs)], dtype=torch.float64)
        for s, runs in curves.items()
    }
    lines = {}
    for s, runs in curves.items():
        points = list(runs.values())
        seconds = torch.tensor([[p.seconds for p in run[:shared]] for run in points], dtype=torch.float64)
        gradients = torch.tensor([float(p.gradients) for p in points[0][:shared]], dtype=torch.float64)
        away = sum(Curve(t).ran_away is not None for t in plan.trials if t.sampler == s)
        lines[s] = Line(gradients, seconds.nanmean(0), *mean_and_error(scores[s]), len(points), away)
    pairs = [pair_of(a, b, scores[a], scores[b]) for a, b in combinations(plan.samplers, 2)]
    return Outcome(measure_of(Trained.untrained(trial.config), trial.samples).name, lines, pairs, protocol_of(plan))


def mean_and_error(score: Tensor) -> tuple[Tensor, Tensor]:
    """Over seeds that are finite: mean and standard error of (seeds, points), each (points,); NaN of fewer than one and
    two.
    """
    known = torch.isfinite(score)
    n = known.sum(0).double()
    mean = torch.where(known, score, 0).sum(0) / n
    square = torch.where(known, (score - mean).square(), 0).sum(0)
    return mean, (square / (n - 1) / n).sqrt().where(n > 1, torch.nan)


def pair_of(first: str, second: str, a: Tensor, b: Tensor) -> Pair:
    """The paired difference of scores (seeds, points)."""
    d = a - b
    n = torch.isfinite(d).sum(0)
    mean, error = mean_and_error(d)
    t = torch.tensor([stats.t.ppf(0.975, k - 1) if k > 1 else math.inf for k in n.tolist()], dtype=torch.float64)
    separates = (mean.abs() > t * error).tolist()
    return Pair(first, second, mean.tolist(), error.tolist(), separates)


def verdict(pair: Pair, gradients: Tensor) -> str:
    """In words, from the points where the difference, first minus second, separates.

    >>> pair = Pair("a", "b", [-1.0, -1.0, 2.0], [0.1, 0.2, 5.0], [True, True, False])
    >>> verdict(pair, torch.tensor([1000.0, 2000.0, 3000.0]))
    'a and b: a better at 1,000-2,000 gradients; not told apart at 3,000; difference at the end 2.0 ± 5.0'
    """
    if all(math.isnan(error) for error in pair.error):
        return f"{pair.first} and {pair.second}: too few runs for an error bar, so they cannot be told apart"
    words = [
        f"{pair.first if mean < 0 else pair.second} better" if sure else "not told apart"
        for mean, sure in zip(pair.mean, pair.separates, strict=True)
    ]
    edges = [0, *(k for k, (x, y) in enumerate(pairwise(words), 1) if x != y), len(words)]
    parts = [f"{words[i]} at {span(gradients[i], gradients[j - 1])}" for i, j in pairwise(edges)]
    parts[0] += " gradients"
    end = value_and_error(pair.mean[-1], pair.error[-1])
    return f"{pair.first} and {pair.second}: {'; '.join(parts)}; difference at the end {end}"


def span(first: Tensor, last: Tensor) -> str:
    return f"{int(first):,}" if first == last else f"{int(first):,}-{int(last):,}"


def value_and_error(value: float, error: float) -> str:
    """A number to as many digits as its error has two.

    >>> value_and_error(0.30412, 0.0283), value_and_error(12.3, float("nan")), value_and_error(4.2e5, 1.1e5)
    ('0.304 ± 0.028', '12.3', '4.2e+05 ± 1.1e+05')
    """
    if math.isnan(error) or error == 0:
        return f"{value:.3g}"
    digits = 1 - math.floor(math.log10(error))
    if abs(value) >= 1e4 or digits > 6:
        return f"{value:.2g} ± {error:.2g}"
    return f"{value:.{max(0, digits)}f} ± {error:.{max(0, digits)}f}"


def protocol_of(plan: Plan) -> dict[str, Any]:
    """How the comparison was made."""
    t = plan.trials[0]
    return {
        "name": plan.name,
        "seeds": sorted({trial.seed for trial in plan.trials}),
        "settings": {s: next(describe(x) for x in plan.trials if x.sampler == s) for s in plan.samplers},
        "samples_a_score": t.samples,
        "error": "standard error over seeds; pairs over the same seeds, Student's t at 95%, not corrected for several",
        "seconds": "CPU seconds of the process on a CPU, else of the clock; scoring left out",
        "machine": platform.machine(),
        "torch": torch.__version__,
        "anila": version("anila"),
        "date": datetime.now(UTC).date().isoformat(),
    }


def describe(trial: Any) -> dict[str, Any]:
    """A sampler's settings, and how long it trained."""
    last = trial.config.flat[-1]
    s, t = last.sampler, last.training
    return asdict(s) | {
        "gradients_an_iteration": s.gradients,
        "iterations": trial.config.iterations,
        "chains": t.chains or t.batch,
    }

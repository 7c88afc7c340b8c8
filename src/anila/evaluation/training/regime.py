"""The regime of a training run in plain words, from its course and, if they were run, its long chains.

running away         r_t, |d_t| or ‖∇θ‖ left their range of the middle of the run, or chains are far out or cannot
                     follow f
nothing learned      r_t fell to nothing, or f does not tell data from noise
short-run            samples after K transitions differ from those after 100 K, or long chains are lost: exp f is not
                     the law that was sampled
convergent           long chains keep the look of short ones, and chains from data that of data; f is level along both
undecided            chains stand still, so that unchanged looks prove nothing; or f still rises or falls along them
steady               the series are sound; only long chains can tell which of the two regimes it is

Reference: Nijkamp et al. 2020 (arXiv 1903.12370), section 3: stability and convergence are separate questions, and
short runs give good images from an f whose density is nothing like the data.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from anila.evaluation.chains.verdict import Verdict
from anila.evaluation.training.curves import FEWEST, Course, CourseOfChains
from anila.evaluation.training.level import ERRORS
from anila.evaluation.training.long_chains import LOST, LongChains, Shift, Snapshot, median, spread

CONVERGENT, SHORT_RUN, AWAY = "convergent", "short-run (non-convergent)", "running away"
NOTHING, UNDECIDED, STEADY, UNKNOWN = "nothing learned", "undecided", "steady", "too short to say"

ORDER = 1.0
"""Orders of magnitude by which r_t, |d_t| and ‖∇θ‖ may vary."""
FAR = 10.0
"""Multiple of the data's largest coordinate beyond which chains are far out."""
FULL = 0.6
"""Fraction clipped above which chains cannot follow f, if f(data) also stays above f(chains)."""
OFF = 0.5
"""|mean d_t| up to this many standard deviations of d_t, or within three standard errors, counts as around 0."""
WEAK = 0.2
"""Autocorrelations of d_t up to this size are weak, whatever the number of iterations."""
HALF = 0.5
"""Fraction of their diversity below which chains have collapsed."""
STILL = 0.05
"""Fraction of the distance between data below which chains stand still."""


@dataclass(frozen=True)
class Regime:
    """The regime of a run, the reasons, and what to do."""

    name: str
    because: tuple[str, ...]
    remedies: tuple[str, ...]
    notes: tuple[str, ...]
    course: Course | None
    long_chains: LongChains | None

    @property
    def ok(self) -> bool:
        """Whether there is nothing to do: convergent, or steady without long chains."""
        return self.name in (CONVERGENT, STEADY)

    @property
    def lines(self) -> tuple[str, ...]:
        """The name, the reasons, the remedies, and other findings."""
        head = [f"{self.name}: {self.because[0]}"] if len(self.because) == 1 else [f"{self.name}, because"]
        more = [] if len(self.because) == 1 else [f"  {reason}" for reason in self.because]
        return (*head, *more, *(f"do this: {remedy}" for remedy in self.remedies), *self.notes)

    def verdict(self) -> Verdict:
        """The same as a verdict, with the numbers on which it is based."""
        numbers: dict[str, Any] = {"regime": self.name}
        if self.course is not None:
            numbers["course"] = asdict(self.course)
        if self.long_chains is not None:
            numbers["ladder"] = long_chain_numbers(self.long_chains)
        return Verdict(self.ok, self.lines, numbers)


def regime(course: Course | None, long: LongChains | None = None, returns: Sequence[str] = ()) -> Regime:
    """Judge a run.

    Args:
        course: What its series show; None if they are too short.
        long: Its long chains; None if none were run.
        returns: Interventions of the divergence guard, in words.
    """
    if because := running_away(course):
        name, remedies = AWAY, AWAY_REMEDIES
    elif because := nothing_learned(course, long):
        name, remedies = NOTHING, NOTHING_REMEDIES
    else:
        name, because, remedies = by_chains(long, course) if long else without_chains(course)
        remedies += course_remedies(course) if course else ()
    notes = (course_notes(course) if course else []) + (long_chain_notes(long) if long else [])
    notes += [f"the divergence guard went back: {words}" for words in returns]
    return Regime(name, tuple(because), remedies, tuple(notes), course, long)


AWAY_REMEDIES = (
    "lower optimizer.learning_rate tenfold, or set training.max_grad_norm=1; if the sampler clips, sampler.threshold "
    "can also be raised, until fewer than a tenth of the coordinates are clipped",
    "use an earlier checkpoint rather than the last one",
)
NOTHING_REMEDIES = (
    "raise optimizer.learning_rate or training.iterations, let chains move (sampler.step_size, sampler.threshold, "
    "sampler.steps), and weaken what holds f down (network.confine)",
)
SHORT_REMEDIES = (
    "to keep it as it is, draw with K transitions from the run's own start, and do not read exp f as a density",
    "for a convergent model, raise sampler.temperature towards 1 with a smaller sampler.step_size (or use "
    "sampler=anisotropic_mala), keep chains (start=persistent), raise sampler.steps, and let the learning rate fall "
    "(optimizer.decay=cosine, a lower optimizer.learning_rate)",
)
LEVELS_REMEDIES = (
    "finish training with chains on f at its lowest level (objective=likelihood): only they see what f rates too high",
)
LONGER_REMEDIES = (
    "train longer with chains at the lowest level (training.minutes, or iterations of the last stage): f has yet to "
    "learn where they go",
)
RESTLESS_REMEDIES = (
    "run longer (--steps); if f keeps doing this, train longer: f has yet to learn where its chains go "
    "(training.iterations)",
)
LOST_REMEDY = "hold f down far from the data (network.confine)"


def running_away(c: Course | None) -> list[str]:
    """Signs in the series that the run is running away."""
    if c is None:
        return []
    found = [
        f"{words} rose from {c.before(metric):.3g} to {c.end(metric):.3g}, {c.rise(metric):.1f} orders of magnitude"
        for metric, words in c.growing.items()
        if c.rise(metric) > ORDER
    ]
    if not isinstance(c, CourseOfChains):
        return found
    if c.end("chain_range") > FAR:
        found.append(f"chains are {c.end('chain_range'):.3g} times as far out as the data")
    if c.end("clipped") > FULL and off_centre(c) and c.gap_mean > 0:
        found.append(
            f"{c.end('clipped'):.0%} of the coordinates are clipped ({c.before('clipped'):.0%} before) while f(data) "
            f"stays {c.gap_mean:.3g} above f(chains): chains cannot follow f"
        )
    return found


def nothing_learned(course: Course | None, long: LongChains | None) -> list[str]:
    """Reasons why nothing was learned; empty if something was."""
    found = []
    if course and "grad_norm" in course.sizes and course.fall("grad_norm") > ORDER:
        found.append(
            f"r_t fell from {max(course.sizes['grad_norm']):.3g} to {course.end('grad_norm'):.3g}, "
            f"{course.fall('grad_norm'):.1f} orders of magnitude: f has become flat"
        )
    if long and "noise" in long.groups and strays(long.shifts(long.short())):
        told = next(s for s in long.shifts(long.groups["noise"][0]) if s.look == "f")
        if not told.counts:
            found.append(f"f does not tell data from noise: {told.reference:.3g} on data, {told.value:.3g} on noise")
    return found


def without_chains(course: Course | None) -> tuple[str, list[str], tuple[str, ...]]:
    """The judgement that the series alone allow."""
    if course is None:
        return UNKNOWN, [f"training is judged only from {FEWEST} iterations on, each stage by itself"], ()
    return STEADY, ["nothing is running away; only long chains can tell whether f is convergent"], ()


def by_chains(long: LongChains, course: Course | None) -> tuple[str, list[str], tuple[str, ...]]:
    """The judgement by long chains: convergent, short-run or undecided."""
    lost, reasons = losses(long), drift_reasons(long)
    if lost or reasons:
        at_last = LONGER_REMEDIES if isinstance(course, CourseOfChains) else LEVELS_REMEDIES
        remedies = at_last if long.own == "draws" else SHORT_REMEDIES
        return SHORT_RUN, lost + reasons, (*((LOST_REMEDY,) if lost else ()), *remedies)
    moved = {name: snapshots[-1].moved for name, snapshots in long.groups.items()}
    steps = long.groups[long.own][-1].steps
    if max(moved[long.own], moved["data"]) < STILL:
        because = f"in {steps:,} transitions chains from data moved {moved['data']:.1%} of the distance between data"
        return UNDECIDED, [because], ("run longer (--steps), or raise sampler.step_size or sampler.threshold",)
    if restless := unsettled(long):
        return UNDECIDED, restless, RESTLESS_REMEDIES
    because = f"after {steps:,} transitions chains look as they do after K = {long.K}, and those from data like data"
    return CONVERGENT, [because], ()


def losses(long: LongChains) -> list[str]:
    """How many long chains are lost, in words; empty if none is."""
    ends = [snapshots[-1] for snapshots in long.groups.values()]
    lost, chains = sum(snapshot.lost for snapshot in ends), sum(len(snapshot.x) for snapshot in ends)
    away = f"{LOST:g} times the data's range away, or at infinity"
    return [f"{lost} of {chains} chains lost in {ends[0].steps:,} transitions: {away}"] if lost else []


def unsettled(long: LongChains) -> list[str]:
    """Where f is not level along chains that should be in equilibrium, or depends on where they started."""
    levels = {name: level for name in dict.fromkeys((long.own, "data")) if (level := long.level(name))}
    unit = spread(long.data["f"])
    found = [
        f"{who(name)}: f {'rises' if level.rise > 0 else 'falls'} by {abs(level.rise):.3g} ± {level.rise_error:.2g} "
        "over the last half of the transitions, so there is no equilibrium yet"
        for name, level in levels.items()
        if not level.steady(unit)
    ]
    if found or len(levels) < 2 or levels[long.own].equals(levels["data"], unit):
        return found
    own, data = levels[long.own], levels["data"]
    return [
        f"f still depends on the start: {own.value:.4g} ± {own.error:.2g} along {who(long.own)}, {data.value:.4g} ± "
        f"{data.error:.2g} along those from data"
    ]


def drift_reasons(long: LongChains) -> list[str]:
    """How long chains changed though they should not have, the largest change first, each look once."""
    largest: dict[str, tuple[float, str]] = {}
    for name, snapshot, looks, before in comparisons(long):
        found = {
            s.look: (abs(s.size), words(s, name, snapshot.steps)) for s in long.shifts(snapshot, looks) if s.counts
        }
        if snapshot.diversity < HALF * before.diversity:
            found["diversity"] = (math.inf, collapse(snapshot, name, before.diversity))
        away = receding(snapshot, before)
        if away and away[0] > ERRORS:
            found["distance"] = (away[0], f"{who(name)}, in {snapshot.steps:,} transitions: {away[1]}")
        for look, (size, text) in found.items():
            largest[look] = max((size, text), largest.get(look, (0.0, "")))
    return [text for _, text in sorted(largest.values(), reverse=True)]


def comparisons(long: LongChains) -> list[tuple[str, Snapshot, dict[str, Tensor], Snapshot]]:
    """Which long chains, from data and own ones, should look like what reference and like which earlier snapshot."""
    first, short = long.groups["data"][0], long.short()
    pairs = [
        ("data", long.groups["data"][-1], long.data, first),
        (long.own, long.groups[long.own][-1], short.looks, short),
    ]
    return [pair for pair in pairs if len(pair[1].looks["f"])]


def receding(snapshot: Snapshot, before: Snapshot) -> tuple[float, str] | None:
    """By how many standard errors chains moved away from data, and that in words; None if it is unknown."""
    now, then = snapshot.distance, before.distance
    if now is None or then is None:
        return None
    errors = (now.value - then.value) / max(math.hypot(now.error, then.error), 1e-12)
    value = f"{now.value:.2g} ± {now.error:.1g}, {then.value:.2g} ± {then.error:.1g} before"
    return errors, f"kernel distance from data {value}"


CHANGES = {
    "f": ("f rises", "f falls"),
    "mean": ("the mean rises", "the mean falls"),
    "contrast": ("contrast grows", "contrast fades"),
    "outside": ("they saturate, the share of coordinates outside the data's range goes", "the share outside falls"),
    "sharpness": ("they roughen, total variation goes", "they smooth out, total variation goes"),
}
"""Words for a shift up and for a shift down."""


def words(s: Shift, group: str, steps: int) -> str:
    """A shift in words."""
    size = "" if s.look == "outside" else f", {abs(s.size):.1f} spreads of the data"
    change = f"{CHANGES[s.look][s.size < 0]} from {s.reference:.3g} to {s.value:.3g}"
    return f"{who(group)}, in {steps:,} transitions: {change}{size}"


def who(group: str) -> str:
    """A group of chains, named by its start."""
    return "kept chains" if group == "kept" else f"chains from {group}"


def collapse(snapshot: Snapshot, group: str, before: float) -> str:
    """A loss of diversity in words."""
    return (
        f"{who(group)}, in {snapshot.steps:,} transitions: they collapse, the distance between them goes from "
        f"{before:.2f} to {snapshot.diversity:.2f} of that between data"
    )


def course_notes(c: Course) -> list[str]:
    """Notes on the series."""
    if not isinstance(c, CourseOfChains):
        return [f"{words} {c.end(name):.3g}, {c.before(name):.3g} mid-run" for name, words in c.growing.items()]
    lag, strongest = c.strongest
    memory = (
        f"autocorrelation {strongest:.2f} at lag {lag}, where chance gives {c.chance:.2f}"
        if remembers(c)
        else f"no autocorrelation beyond {max(WEAK, c.chance):.2f}"
    )
    error = float(f"{c.gap_error:.1g}")
    notes = [
        f"d_t = {c.gap_mean:.3g} ± {error:g}, sd {c.gap_sd:.2g}, over the last {c.window:,} iterations: "
        f"{'off centre' if off_centre(c) else 'around 0'}, {memory}",
        f"r_t = {c.end('grad_norm'):.3g}, varying {'within' if c.grad_orders <= ORDER else 'over'} {c.grad_orders:.1f} "
        "orders of magnitude since the warm-up",
    ]
    if c.end("clipped") > max(0.2, 1.5 * c.before("clipped")):
        notes.append(
            f"the fraction clipped rises from {c.before('clipped'):.0%} to {c.end('clipped'):.0%}, as it does before a "
            "run runs away: raise sampler.threshold"
        )
    return notes


def course_remedies(c: Course) -> tuple[str, ...]:
    """What to do about a steady course that is not healthy."""
    if not isinstance(c, CourseOfChains):
        return ()
    if off_centre(c) and c.gap_mean > 0:
        return ("d_t stays above 0, as f is still learning or chains lag behind: train longer, or raise sampler.steps",)
    if off_centre(c):
        return (
            "d_t stays below 0, as chains climb above the data faster than f learns to come down there: train "
            "longer, or lower sampler.step_size or sampler.steps",
        )
    if remembers(c):
        return (
            "d_t is correlated in time, because f and chains chase each other: lower optimizer.learning_rate or "
            "optimizer.momentum, or raise sampler.steps",
        )
    return ()


def off_centre(c: CourseOfChains) -> bool:
    """Whether d_t stays away from 0, by more than half its standard deviation and more than chance."""
    return abs(c.gap_mean) > max(OFF * c.gap_sd, 3 * c.gap_error)


def remembers(c: CourseOfChains) -> bool:
    """Whether d_t is autocorrelated, more than weakly and more than by chance."""
    return abs(c.strongest[1]) > max(WEAK, c.chance)


def long_chain_notes(long: LongChains) -> list[str]:
    """Whether short chains look like data, and whether those from noise get there."""
    notes = []
    if missed := strays(long.shifts(long.short())):
        notes.append(
            f"samples after K = {long.K} transitions do not look like data yet; train longer (training.iterations): "
            f"{', '.join(missed)}"
        )
    notes += equilibrium_notes(long)
    if "noise" not in long.groups:
        return notes
    snapshots = long.groups["noise"]
    arrived = next((snapshot.steps for snapshot in snapshots[1:] if not strays(long.shifts(snapshot))), None)
    notes.append(
        f"from noise, chains look like data after {arrived:,} transitions"
        if arrived
        else f"from noise, chains do not look like data after {snapshots[-1].steps:,} transitions"
    )
    return notes


def equilibrium_notes(long: LongChains) -> list[str]:
    """Notes on chains from data and own ones: their distance from data, f along them, and their acceptance rate."""
    notes = []
    for name in dict.fromkeys(("data", long.own)):
        snapshots, level = long.groups[name], long.level(name)
        if away := receding(snapshots[-1], snapshots[0]):
            notes.append(f"{who(name)}: {away[1]}")
        if level:
            notes.append(
                f"{who(name)}: f is {level.value:.4g} ± {level.error:.2g} over the last half of the transitions, and "
                f"changes by {level.rise:.2g} ± {level.rise_error:.2g} there"
            )
    if long.acceptance is not None:
        notes.append(f"{long.acceptance:.0%} of the proposals are accepted")
    return notes


def strays(shifts: list[Shift]) -> list[str]:
    """The looks that differ from the data's, with numbers."""
    return [f"{s.look} {s.value:.3g} (data {s.reference:.3g})" for s in shifts if s.counts]


def long_chain_numbers(long: LongChains) -> dict[str, Any]:
    """The looks of data and of every snapshot: medians, and the numbers for all chains together."""
    groups = {
        name: [
            {look: median(value) for look, value in snapshot.looks.items()}
            | {"steps": snapshot.steps, "chains": len(snapshot.x), "lost": snapshot.lost}
            | {"diversity": snapshot.diversity, "moved": snapshot.moved}
            | ({} if snapshot.distance is None else {"distance": list(snapshot.distance)})
            for snapshot in snapshots
        ]
        for name, snapshots in long.groups.items()
    }
    data = {look: {"median": median(value), "spread": spread(value)} for look, value in long.data.items()}
    levels = {name: asdict(level) for name in long.groups if (level := long.level(name))}
    found = {"K": long.K, "own": long.own, "data": data, "groups": groups, "levels": levels}
    return found | ({} if long.acceptance is None else {"acceptance": long.acceptance})

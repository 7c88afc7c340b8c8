"""The divergence guard: detects training that runs away, and decides which setting to change when it returns.

Let d = gap / sd, with sd the spread of f within the data and within the chains. Windows are 10 iterations, and "before"
means the largest window of the previous 100 iterations:

    not finite    a chain, f or a gradient is NaN or infinite; detected before θ moves
    range         chains are 10 times as far out as the data
    rejection     nothing is accepted for 50 iterations
    clipping      over half the coordinates are clipped, after under a quarter were: the gap follows (see `adaptation`)
    overshoot     d < −1: f rates its own chains far above the data, because steps in θ are too long
    separation    d > 3, after chains had once caught up: they no longer do
    growth        |gap|, r_t or ‖∇θ‖ is 5 times what it was before

Training starts with a separation that is no fault: f learns to tell data from noise before chains respond. So overshoot
and separation count once f has learned something, i.e. r_t is three times that of the first iteration, and clipping and
growth from 100 iterations later.

Each stage has its own guard. After the first stage f has already learned something, so those 100 iterations are the
first of the stage, and no return leads out of it. Only growth of r_t counts from the beginning: an f that has learned
does not become five times as steep in 10 iterations unless it runs away. An f that was learned without chains may rate
them far above the data, until training with chains brings that down. So overshoot counts once the two have met,
|d| < 1, and means d < −3.

A rule applies if the objective reports its metrics: without chains, only growth and values that are not finite.

Each return changes one setting, taking turns among those for troubles of the chains (range, rejection) or those for
troubles of learning. But a value that is not finite may be a hardware fault: the first return from one changes nothing,
and training, a function of its settings and seed, then ends as if nothing had happened. If it was no such fault, it
recurs in the same iteration, and that return and all later ones change a setting. It is a trouble of the chains if f
and its θ-gradient are finite on the data, or if chains were far out in the previous iteration.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from anila.evaluation.training.metric import GRAD_NORM, OF_CHAINS, Metric
from anila.learning.chains import NotFinite
from anila.messages import in_a_sentence
from anila.runs.experiment.experiment import Experiment
from anila.runs.model.trained import CHANGED_BY_GUARD, Trained

WINDOW, MEMORY, PATIENCE = 10, 100, 50
"""Iterations in a window, iterations remembered before it, and iterations without an accepted move."""
FAR, CLIPPED, OVERSHOOT, SEPARATION, GROWTH, LEARNED = 10.0, 0.5, -1.0, 3.0, 5.0, 3.0
"""Thresholds of the symptoms; see above."""
CHANGES = dict(zip(CHANGED_BY_GUARD, (0.2, 0.2, 2), strict=True))
"""Setting -> factor of one change."""
ORDER = {
    "learning": ("optimizer.learning_rate", "optimizer.learning_rate", "sampler.steps", "sampler.step_size"),
    "chains": ("sampler.step_size", "sampler.step_size", "sampler.step_size", "optimizer.learning_rate"),
}
"""The settings changed the first, second, … time, cyclically."""


class Diverged(ArithmeticError):
    """Training ran away, and no change that the guard may make helped."""


class Trouble(NamedTuple):
    """A symptom in words, whether it belongs to `chains` or `learning`, and whether all values are finite."""

    cause: str
    what: str
    finite: bool = True


class Guard:
    """Watches the metrics that an objective lists, and remembers changed settings.

    Args:
        watched: Those metrics; by default those of Algorithm 1.
        knows: Whether f has learned something before the first iteration.

    >>> guard, healthy = Guard(), {metric.name: 1.0 for metric in OF_CHAINS}
    >>> [guard.look(healthy) for _ in range(WINDOW)] == [None] * WINDOW
    True
    >>> guard.look(healthy | {"chain_range": 1000.0}).what
    'the chains are 101 times as far out as the data'
    """

    def __init__(self, watched: Sequence[Metric] = OF_CHAINS, knows: bool = False) -> None:
        self.watched = watched
        self.rows: list[dict[str, float]] = []
        self.flat = 0.0
        """r_t of the first iteration, before f has learned anything."""
        self.knew = knows
        """Whether f had learned something before the first iteration."""
        self.learned = int(knows)
        """Iterations since f learned something."""
        self.least_clipped = 1.0
        """Smallest fraction clipped in a window, from 100 iterations after that on."""
        self.met = False
        """Whether chains have once caught up with the data."""
        self.remedies: list[str] = []
        """Settings changed so far, as `key=value`."""
        self.repeated: list[int] = []
        """Iterations with a value that was not finite, from which a return changed nothing."""
        self.returned = 0
        """Iteration to which the last return that changed something led: that checkpoint was good then."""

    def look(self, metrics: Mapping[str, float]) -> Trouble | None:
        """Record the metrics of an iteration.

        Returns:
            The symptom found; None if training is in order.
        """
        if not self.rows:
            self.flat = metrics.get("grad_norm", 0.0)
        seen = {m.name: metrics[m.name] for m in self.watched if m.name in metrics}
        self.rows = [*self.rows[1 - MEMORY - WINDOW :], seen]
        if len(self.rows) < WINDOW:
            return None
        return self.chains() or self.learning()

    def not_finite(self, error: NotFinite) -> Trouble:
        """The symptom for an iteration that ended with this error."""
        far = bool(self.rows) and self.rows[-1].get("chain_range", 0.0) > FAR
        return Trouble("chains" if far else error.cause, error.what, finite=False)

    def chains(self) -> Trouble | None:
        """A symptom of the chains."""
        if "chain_range" not in self.rows[-1]:
            return None
        if self.mean("chain_range") > FAR:
            return Trouble("chains", f"the chains are {self.mean('chain_range'):,.0f} times as far out as the data")
        if len(self.rows) > PATIENCE and max(r["accept_prob"] for r in self.rows[-PATIENCE:]) < 0.001:
            return Trouble("chains", f"nothing was accepted in {PATIENCE} iterations")
        return None

    def learning(self) -> Trouble | None:
        """A symptom of θ outrunning the chains."""
        self.learned += bool(self.learned) or self.has_learned()
        if not self.learned:
            return None
        if self.rows[-1].keys() >= {"energy_gap", "energy_sd"} and (trouble := self.outrun()):
            return trouble
        return self.steepening() if self.settling else self.growth()

    def has_learned(self) -> bool:
        """Whether f is no longer flat, if the objective reports how steep it is."""
        return "grad_norm" not in self.rows[-1] or self.mean("grad_norm") > LEARNED * self.flat

    def outrun(self) -> Trouble | None:
        """A symptom if f rates chains far above the data, or has left them behind."""
        d = self.separation()
        if d < (-SEPARATION if self.knew else OVERSHOOT) and (self.met or not self.knew):
            return Trouble("learning", f"f rates its chains {-d:.2g} sd above the data: steps in θ are too long")
        if self.met and d > SEPARATION:
            return Trouble("learning", f"f rates the data {d:.2g} sd above the chains, which can no longer catch up")
        self.met = self.met or abs(d) < 1
        return None

    @property
    def settling(self) -> bool:
        """Whether f has begun to learn and chains have not had time to follow: no state to return to."""
        return 0 < self.learned <= MEMORY

    def growth(self) -> Trouble | None:
        """A symptom if coordinates are clipped that were not, or a metric has grown."""
        clipped = self.mean("clipped") if "clipped" in self.rows[-1] else 0.0
        self.least_clipped = min(self.least_clipped, clipped)
        if clipped > CLIPPED > 2 * self.least_clipped:
            return Trouble(
                "learning", f"{clipped:.0%} of the coordinates are clipped, up from {self.least_clipped:.0%}"
            )
        return next(filter(None, (self.grown(m) for m in self.watched if not m.may_grow)), None)

    def steepening(self) -> Trouble | None:
        """The symptom of growth that counts while f settles, if it had learned something before."""
        reported = self.knew and len(self.rows) >= 2 * WINDOW and GRAD_NORM.name in self.rows[-1]
        return self.grown(GRAD_NORM) if reported else None

    def grown(self, metric: Metric) -> Trouble | None:
        """The symptom if a metric is far above its largest window before."""
        now, was = self.mean(metric.name), self.before(metric.name)
        if 0 < GROWTH * was < now:
            return Trouble("learning", f"{metric.words} grew from {was:.3g} to {now:.3g} within {WINDOW} iterations")
        return None

    def mean(self, name: str) -> float:
        """Mean size of a metric in the last window."""
        return sum(abs(r[name]) for r in self.rows[-WINDOW:]) / WINDOW

    def before(self, name: str) -> float:
        """The largest such mean of the windows before the last."""
        sizes = [abs(r[name]) for r in self.rows[:-WINDOW]]
        return max(sum(sizes[i : i + WINDOW]) for i in range(len(sizes) - WINDOW + 1)) / WINDOW

    def separation(self) -> float:
        """Mean over the window of gap / sd, with single values limited to ±5; 0 if f has no spread."""
        ratios = [r["energy_gap"] / r["energy_sd"] if r["energy_sd"] else 0.0 for r in self.rows[-WINDOW:]]
        return sum(max(-5.0, min(5.0, ratio)) for ratio in ratios) / WINDOW

    @property
    def returns(self) -> int:
        """Number of returns."""
        return len(self.remedies) + len(self.repeated)

    def may_be_chance(self, trouble: Trouble, iteration: int) -> bool:
        """Whether repeating the iteration may go well."""
        return not (trouble.finite or iteration in self.repeated or self.remedies)

    def remedy(self, trouble: Trouble, config: Experiment) -> str:
        """The next change as `key=value`."""
        order = [key for key in ORDER[trouble.cause] if self.may_change(key, config)]
        key = order[len(self.remedies) % len(order)]
        group, field = key.split(".")
        return f"{key}={getattr(getattr(config, group), field) * CHANGES[key]:.6g}"

    def may_change(self, key: str, config: Experiment) -> bool:
        """Whether changing a setting has an effect: not for chains if there are none, nor for an adapted step_size."""
        if key.startswith("sampler."):
            return "chain_range" in self.names and not (key == "sampler.step_size" and config.sampler.accept)
        return True

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the watched metrics."""
        return tuple(metric.name for metric in self.watched)

    def state_dict(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "watched"}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rows = [{name: float(row[name]) for name in self.names if name in row} for row in state["rows"]]
        self.flat, self.least_clipped = float(state["flat"]), float(state["least_clipped"])
        self.learned, self.returned = int(state["learned"]), int(state["returned"])
        self.met = bool(state["met"])
        self.repeated = [int(i) for i in state.get("repeated", ())]
        self.remedies = [str(remedy) for remedy in state["remedies"]]


def guard_of(trained: Trained) -> Guard:
    """The guard of a stage, before its first iteration."""
    return Guard(trained.learner.watched, knows=trained.number > 1)


def what_to_change(config: Experiment, needs_chains: bool) -> str:
    """Advice that may keep training from running away and is not followed yet.

    Args:
        config: The settings with which it ran away.
        needs_chains: Whether the objective moves chains.
    """
    limited, steered = config.training.max_grad_norm is not None, config.sampler.accept is not None
    lower = ["optimizer.learning_rate"]
    lower += ["sampler.step_size"] if needs_chains and not steered else []
    lower += ["training.max_grad_norm"] if limited else []
    ways = [f"Lower {in_a_sentence(lower, 'or')}"]
    ways += [] if limited else ["set training.max_grad_norm"]
    ways += ["use a Metropolis sampler"] if needs_chains and not config.sampler.kernel.exact else []
    return ", or ".join(ways)

"""The divergence guard: sees training run away, and says which setting to change when it goes back.

With d = gap / sd, sd the spread of f within the data and within the chains, windows of 10 iterations, and "before" the
largest window of the 100 iterations before:

    not finite    a chain, f or a gradient is NaN or infinite; seen before θ moves
    range         chains are 10 times as far out as the data
    rejection     nothing is accepted for 50 iterations
    clipping      over half the coordinates are clipped, once under a quarter: the gap follows (see `adaptation`)
    overshoot     d < −1: f rates its own chains far above the data, as steps in θ that are too long make it
    separation    d > 3, after chains had caught up once: they no longer do
    growth        |gap|, r_t or ‖∇θ‖ is 5 times what it was before

Training starts with a separation that is no fault: f learns to tell data from noise before chains respond. So overshoot
and separation count from when f has learned something, r_t three times that of the first iteration, and clipping and
growth from 100 iterations later.

Each stage has a guard of its own. After the first one f knows something already, so those 100 iterations are the first
of the stage, and no return leads out of it. What was learned without chains may rate them far above the data; they are
what brings it down. So overshoot counts from when the two have met, |d| < 1, and is d < −3.

A rule counts where the objective reports the metrics that it looks at: without chains, only growth and what is not
finite.

Each return changes one setting: what the chains' troubles (range, rejection) or those of learning call for in turn. But
a value that is not finite may be a fault of the machine: the first return from one changes nothing, and training, a
function of its settings and seed, then ends as if it had not been. If it was no such fault, it comes again in the same
iteration, and that return and all after it change something. It is the chains' trouble where f is finite on the data,
and so is its gradient in θ, or where chains were far out in the iteration before.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from anila.evaluation.training.metric import OF_CHAINS, Metric
from anila.learning.chains import NotFinite
from anila.runs.experiment.choice import listed
from anila.runs.experiment.experiment import Experiment
from anila.runs.model.trained import CHANGED_BY_GUARD, Trained

WINDOW, MEMORY, PATIENCE = 10, 100, 50
"""Iterations: averaged, remembered before those, without an accepted move."""
FAR, CLIPPED, OVERSHOOT, SEPARATION, GROWTH, LEARNED = 10.0, 0.5, -1.0, 3.0, 5.0, 3.0
"""Where each symptom begins; see above."""
CHANGES = dict(zip(CHANGED_BY_GUARD, (0.2, 0.2, 2), strict=True))
"""Setting -> factor of one change."""
ORDER = {
    "learning": ("optimizer.learning_rate", "optimizer.learning_rate", "sampler.steps", "sampler.step_size"),
    "chains": ("sampler.step_size", "sampler.step_size", "sampler.step_size", "optimizer.learning_rate"),
}
"""What is changed the first, second, … time, and again from the first."""


class Diverged(ArithmeticError):
    """Training ran away and no change that the guard may make helped."""


class Trouble(NamedTuple):
    """A symptom in words, whether it is one of `chains` or of `learning`, and whether all values are finite."""

    cause: str
    what: str
    finite: bool = True


class Guard:
    """Watches the metrics that an objective lists, and remembers what was changed.

    Args:
        watched: Those metrics; what Algorithm 1 reports, by default.
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
        """Iterations since f has learned something."""
        self.least_clipped = 1.0
        """Least fraction clipped in a window, since 100 iterations after that."""
        self.met = False
        """Whether chains have caught up with the data once."""
        self.remedies: list[str] = []
        """Settings changed so far, as `key=value`."""
        self.repeated: list[int] = []
        """Iterations whose value that was not finite was gone back from with nothing changed."""
        self.returned = 0
        """Iteration of the last return that changed something: that checkpoint is as good as it was then."""

    def look(self, metrics: Mapping[str, float]) -> Trouble | None:
        """Take in the metrics of an iteration.

        Returns:
            The symptom seen, None if training is in order.
        """
        if not self.rows:
            self.flat = metrics.get("grad_norm", 0.0)
        seen = {m.name: metrics[m.name] for m in self.watched if m.name in metrics}
        self.rows = [*self.rows[1 - MEMORY - WINDOW :], seen]
        if len(self.rows) < WINDOW:
            return None
        return self.chains() or self.learning()

    def not_finite(self, error: NotFinite) -> Trouble:
        """The symptom that an iteration ended with."""
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
        return None if self.settling else self.growth()

    def has_learned(self) -> bool:
        """Whether f is no longer flat, as far as the objective says how steep it is."""
        return "grad_norm" not in self.rows[-1] or self.mean("grad_norm") > LEARNED * self.flat

    def outrun(self) -> Trouble | None:
        """The chains are where f does not want them, or where it left them behind."""
        d = self.separation()
        if d < (-SEPARATION if self.knew else OVERSHOOT) and (self.met or not self.knew):
            return Trouble("learning", f"f rates its chains {-d:.2g} sd above the data: steps in θ are too long")
        if self.met and d > SEPARATION:
            return Trouble("learning", f"f rates the data {d:.2g} sd above the chains, which no longer catch up")
        self.met = self.met or abs(d) < 1
        return None

    @property
    def settling(self) -> bool:
        """Whether f has begun to learn and the chains have not had time to follow: no place to go back to."""
        return 0 < self.learned <= MEMORY

    def growth(self) -> Trouble | None:
        """A metric far above the largest window before."""
        clipped = self.mean("clipped") if "clipped" in self.rows[-1] else 0.0
        self.least_clipped = min(self.least_clipped, clipped)
        if clipped > CLIPPED > 2 * self.least_clipped:
            return Trouble(
                "learning", f"{clipped:.0%} of the coordinates are clipped, once {self.least_clipped:.0%} were"
            )
        for metric in (m for m in self.watched if not m.may_grow):
            now, was = self.mean(metric.name), self.before(metric.name)
            if now > GROWTH * was:
                return Trouble(
                    "learning", f"{metric.words} grew from {was:.3g} to {now:.3g} within {WINDOW} iterations"
                )
        return None

    def mean(self, name: str) -> float:
        """Mean size of a metric in the last window."""
        return sum(abs(r[name]) for r in self.rows[-WINDOW:]) / WINDOW

    def before(self, name: str) -> float:
        """The largest such mean of the windows before the last."""
        sizes = [abs(r[name]) for r in self.rows[:-WINDOW]]
        return max(sum(sizes[i : i + WINDOW]) for i in range(len(sizes) - WINDOW + 1)) / WINDOW

    def separation(self) -> float:
        """Mean over the window of gap / sd, single values limited to ±5; 0 where f has no spread."""
        ratios = [r["energy_gap"] / r["energy_sd"] if r["energy_sd"] else 0.0 for r in self.rows[-WINDOW:]]
        return sum(max(-5.0, min(5.0, ratio)) for ratio in ratios) / WINDOW

    @property
    def returns(self) -> int:
        """How often training went back."""
        return len(self.remedies) + len(self.repeated)

    def may_be_chance(self, trouble: Trouble, iteration: int) -> bool:
        """Whether the iteration may go well if it is made again."""
        return not (trouble.finite or iteration in self.repeated or self.remedies)

    def remedy(self, trouble: Trouble, config: Experiment) -> str:
        """The next change as `key=value`."""
        order = [key for key in ORDER[trouble.cause] if self.may_change(key, config)]
        key = order[len(self.remedies) % len(order)]
        group, field = key.split(".")
        return f"{key}={getattr(getattr(config, group), field) * CHANGES[key]:.6g}"

    def may_change(self, key: str, config: Experiment) -> bool:
        """Whether a setting has a say: none of chains without any, nor a step that follows an acceptance."""
        if key.startswith("sampler."):
            return "chain_range" in self.names and not (key == "sampler.step_size" and config.sampler.accept)
        return True

    @property
    def names(self) -> tuple[str, ...]:
        """The watched metrics' names."""
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
    """What may keep training from running away that is not done yet.

    Args:
        config: The settings with which it did.
        needs_chains: Whether the objective moves chains.
    """
    limited, steered = config.training.max_grad_norm is not None, config.sampler.accept is not None
    lower = ["optimizer.learning_rate"]
    lower += ["sampler.step_size"] if needs_chains and not steered else []
    lower += ["training.max_grad_norm"] if limited else []
    ways = [f"Lower {listed(lower, 'or')}"]
    ways += [] if limited else ["set training.max_grad_norm"]
    ways += ["use a Metropolis sampler"] if needs_chains and not config.sampler.kernel.exact else []
    return ", or ".join(ways)

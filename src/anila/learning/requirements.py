"""What a learner refuses: things in the place of others, and what would run and be wrong."""

from torch import nn

from anila.density.log_density import HasClasses, HasLevels
from anila.density.precision import Precision
from anila.learning.distributed import Ranks
from anila.learning.objectives import Objective
from anila.learning.starts import Start
from anila.samplers import Sampler
from anila.samplers.adaptation import AdaptiveSampler


def require_kinds(objective: object, sampler: object, start: object, micro_batch: int | None) -> None:
    """Refuse what is passed in the place of another thing.

    Raises:
        TypeError: Saying what was expected.
        ValueError: If a micro-batch would be empty.
    """
    if not isinstance(objective, Objective):
        raise TypeError(f"objective: expected an Objective, e.g. denoising(sd=0.3); got {objective!r}")
    if not isinstance(sampler, Sampler | AdaptiveSampler | None):
        raise TypeError(f"sampler: expected a kernel bound to the model, e.g. mala(model, 0.1); got {sampler!r}")
    if not isinstance(start, Start | None):
        raise TypeError(f"start: expected where chains start, e.g. Persistent(x0); got a {type(start).__name__}")
    if micro_batch is not None and micro_batch < 1:
        raise ValueError(f"micro_batch must be at least 1; got {micro_batch}")


def require_anchor(anchor: object) -> None:
    """Refuse an anchor that is none.

    Raises:
        TypeError: Saying what was expected.
        ValueError: If it needs chains.
    """
    if not isinstance(anchor, Objective):
        raise TypeError(f"anchor: expected an Objective, e.g. denoising(sd=0.3); got {anchor!r}")
    if anchor.needs_chains:
        raise ValueError("an anchor sees data only, and this one needs chains: give one without, or no anchor")


def require_fit(objective: Objective, model: nn.Module, precision: Precision | None, ranks: Ranks) -> None:
    """Refuse what would run and be wrong.

    Raises:
        ValueError: As `Learner`.
    """
    if objective.needs_classes and not isinstance(model, HasClasses):
        raise ValueError(
            "this objective learns classes: expected a Conditional model or an f with logits(x) and given(y), got a "
            f"{type(model).__name__}"
        )
    if objective.needs_levels and not isinstance(model, HasLevels):
        raise ValueError(
            "this objective learns levels of noise: expected a NoiseConditional model or an f(x, s) with at(s), got a "
            f"{type(model).__name__}"
        )
    if precision and not objective.may_round:
        raise ValueError(
            f"precision={precision!r} rounds away the small differences of f that this objective learns from: leave "
            "precision out"
        )
    if precision == "fp16" and ranks.size > 1:
        raise ValueError("fp16 scales gradients process by process; for several processes use bf16 or tf32")

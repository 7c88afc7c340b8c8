"""What a learner refuses: arguments of the wrong kind, and combinations that would run and be wrong."""

from torch import Tensor, nn

from anila.density.log_density import HasClasses, HasLevels
from anila.density.precision import Precision
from anila.learning.distributed import Ranks
from anila.learning.objectives import Objective
from anila.learning.starts import Start
from anila.messages import counted, whole_number
from anila.samplers import Sampler
from anila.samplers.adaptation import AdaptiveSampler


def require_kinds(objective: object, sampler: object, start: object, micro_batch: int | None) -> None:
    """Refuse arguments of the wrong kind.

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


def require_ranges(steps: object, ema: float, max_grad_norm: float) -> None:
    """Refuse half a step, an average that grows, and a limit that would reverse the gradient.

    Raises:
        TypeError: If steps is not a whole number.
        ValueError: If ema or max_grad_norm is out of range.
    """
    whole_number("steps", steps)
    if not 0 <= ema < 1:
        raise ValueError(f"ema must be in [0, 1): the decay of the average of θ; got {ema!r}")
    if not max_grad_norm > 0:
        raise ValueError(f"max_grad_norm must be positive; got {max_grad_norm!r}")


def labels_of(x_data: Tensor, y_data: Tensor | None, needed: bool) -> Tensor | None:
    """The classes of data points, as 64-bit integers.

    Raises:
        ValueError: If they are missing, are given but not learned, or are not one whole number per point.
    """
    if (y_data is None) == needed:
        needs, got = "needs" if y_data is None else "takes no", "none" if y_data is None else "some"
        raise ValueError(f"update: this objective {needs} classes y_data; got {got}")
    if y_data is None:
        return None
    if y_data.shape != x_data.shape[:1] or y_data.is_floating_point():
        raise ValueError(
            f"update: expected classes y_data, a whole number for each of {counted(len(x_data), 'data point')}; got "
            f"{y_data.dtype} of shape {tuple(y_data.shape)}"
        )
    return y_data.long()


def require_anchor(anchor: object) -> None:
    """Refuse an anchor that is not an objective without chains.

    Raises:
        TypeError: Saying what was expected.
        ValueError: If it needs chains.
    """
    if not isinstance(anchor, Objective):
        raise TypeError(f"anchor: expected an Objective, e.g. denoising(sd=0.3); got {anchor!r}")
    if anchor.needs_chains:
        raise ValueError("an anchor sees data only, and this one needs chains: give one without, or no anchor")


def require_fit(objective: Objective, model: nn.Module, precision: Precision | None, ranks: Ranks) -> None:
    """Refuse combinations that would run and be wrong.

    Raises:
        ValueError: As in `Learner`.
    """
    if objective.needs_classes and not isinstance(model, HasClasses):
        raise ValueError(
            "this objective learns classes: expected a Conditional model or an f with logits(x) and given(y) "
            f"(network.classes=auto in a run), got a {type(model).__name__}"
        )
    if objective.needs_levels and not isinstance(model, HasLevels):
        raise ValueError(
            "this objective learns levels of noise: expected a NoiseConditional model or an f(x, s) with at(s) "
            f"(network=unet in a run on images), got a {type(model).__name__}"
        )
    if precision and not objective.may_round:
        raise ValueError(
            f"precision={precision!r} rounds away the small differences of f that this objective learns from: leave "
            "precision out"
        )
    if precision == "fp16" and ranks.size > 1:
        raise ValueError("fp16 scales gradients process by process; for several processes use bf16 or tf32")

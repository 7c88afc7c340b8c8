"""All settings of an experiment in groups: typed, with ranges, frozen.

The meaning of each field, its unit and its range stand beside it; `anila train --dry-run` prints the resolved values.
"""

from collections import ChainMap
from functools import cache
from inspect import signature
from typing import Any, Literal

import torch
from pydantic import ValidationError, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from anila.density.networks import NETWORKS, is_of_vectors
from anila.density.networks.fit import SHAPE
from anila.density.ranges import Count, CountOrZero, Fraction, NonNegative, Positive, Several
from anila.learning.objectives import OBJECTIVES, nothing
from anila.messages import in_a_sentence
from anila.runs.experiment.choice import Choice, reasons
from anila.runs.plain import STRICT, Data, Optimizer, Start, Training
from anila.samplers import SAMPLERS
from anila.samplers import Sampler as Kernel

__all__ = ["STRICT", "Anchor", "Data", "Network", "Objective", "Optimizer", "Sampler", "Start", "Training"]


@dataclass(frozen=True, config=STRICT, init=False)
class Network(Choice):
    """f, the log-density: net(x) / temperature − |x|² / (2 confine²), or the logsumexp of one such function per class;
    for rows of a table optionally with C^(−1/2) (x − m) in place of x, with m and C their mean and covariance.

    The options of the net are the arguments of its constructor in `NETWORKS`, or in FILE.py:NAME.
    """

    GROUP, TABLE, GIVEN = "network", NETWORKS, SHAPE
    FORMER = ("hidden", "fourier", "fourier_scale", "width", "depth", "widen", "nonlinearity", "slope")

    name: str = "mlp"
    spectral: bool = False
    """Divide every weight by its largest singular value, so that no layer stretches distances."""
    whitened: bool = False
    """Whether it sees rows of a table, and is confined, in whitened coordinates."""
    classes: Literal["auto"] | Several | None = None
    """Number of outputs, one per class of the data: auto counts them; None for no classes."""
    confine: Positive | None = None
    """Scale of the Gaussian base measure that makes Z finite, in units of the net's input; None for none."""
    temperature: Positive = 1.0
    """Divides the net's output. ε²/2 gives the anatomy study's f = −2F/ε²."""

    @property
    def is_of_vectors(self) -> bool:
        """Whether it takes a point as a vector of coordinates."""
        return is_of_vectors(self.make)

    @property
    def by_seeing(self) -> bool:
        """Whether seeing the data determines it, without further learning."""
        return bool(getattr(self.make, "by_seeing", False))


MAKES_A_KERNEL = "expected a function of (f, step_size, …) that returns an anila.Sampler"


@dataclass(frozen=True, config=STRICT, init=False)
class Sampler(Choice):
    """How chains move along f.

    The options of the kernel are the arguments of its constructor in `SAMPLERS`, or in FILE.py:NAME, besides f and
    step_size.
    """

    GROUP, TABLE, GIVEN = "sampler", SAMPLERS, ("f", "step_size")
    FORMER = ("leapfrog_steps", "threshold", "temperature", "refresh")

    name: str = "anisotropic_mala"
    steps: Count = 40
    """K, transitions per iteration."""
    step_size: Positive = 1.0
    """γ where the landscape is flat, in squared units of x."""
    clipped: Fraction | None = None
    """Fraction of coordinates above the threshold to which it is adapted between iterations; None keeps it fixed."""
    final_temperature: Positive | None = None
    """Temperature at the end of training, reached geometrically; None keeps it constant."""
    accept: Fraction | None = None
    """Metropolis samplers: acceptance rate to which step_size is adapted between iterations; None keeps it fixed."""
    global_every: CountOrZero = 0
    """Transitions between global moves of a Metropolis sampler; 0 for none."""
    global_sd: Positive = 0.3
    """Kernel width of the global proposal, in units of x."""
    draw_steps: Count | None = None
    """Transitions from the stored chains, or after annealing, when samples are drawn; None for `steps`."""
    levels: Several = 24
    """Number of noise levels of an annealed draw, if f has levels."""
    level_steps: CountOrZero = 2
    """Transitions at each level, in units of its noise, besides the step down."""
    guidance: NonNegative = 0.0
    """w of the laws p(x | y) p(y | x)^w of annealed draws if f has classes; 0 for the laws of f."""

    @property
    def kernel(self) -> Kernel:
        """The kernel bound to a dummy f, for the facts that follow from these settings.

        Raises:
            ValueError: If the named constructor does not return a kernel.
        """
        try:
            kernel = self.make(nowhere, step_size=self.step_size, **self.options)
        except TypeError as error:
            raise ValueError(f"sampler {self.name}: {MAKES_A_KERNEL}; calling it said: {error}") from error
        if not isinstance(kernel, Kernel):
            raise ValueError(f"sampler {self.name}: {MAKES_A_KERNEL}; got a {type(kernel).__name__}")
        return kernel

    @property
    def target_temperature(self) -> float:
        """T of the law exp(f / T) that chains sample; 1 for chains without noise, which have no law."""
        return float(self.kernel.temperature) or 1.0

    @property
    def gradients(self) -> int:
        """Evaluations of ∇f per chain and iteration: those of its steps, and one for every round of global moves."""
        kernel, rounds = self.kernel, self.steps // self.global_every if self.global_every else 0
        return round(self.steps * kernel.gradients) + kernel.ahead + rounds

    @classmethod
    def typical(cls, name: str) -> Kernel:
        """The kernel of this name with default settings, for the facts that do not depend on settings."""
        return typical(cls.kind(name))

    @classmethod
    def switched_off(cls, name: str) -> dict[str, Any]:
        """Values that switch off the settings that a sampler of this name does not have."""
        own = cls.kind(name).own
        off: dict[str, Any] = {} if cls.typical(name).exact else {"global_every": 0, "accept": None}
        off |= {} if "threshold" in own else {"clipped": None}
        return off | ({} if "temperature" in own else {"final_temperature": None})

    @classmethod
    def refusal(cls, name: str, option: str, value: Any) -> str:
        """Why a setting that this name does not have is refused; empty if no name has it."""
        if option == "temperature" and cls.typical(name).exact:
            return (
                f"{name} is exact at temperature 1 only, and got temperature {value}: its accept step would sample "
                f"another law than its proposal aims at; temper f instead with network.temperature={value}, or use "
                + in_a_sentence(cls.owners("temperature"), "or")
            )
        return super().refusal(name, option, value)

    @model_validator(mode="after")
    def check(self) -> "Sampler":
        if self.clipped is not None and "threshold" not in self.own:
            steered = in_a_sentence(self.owners("threshold"), "or")
            raise ValueError(f"{self.name} has no threshold to steer: sampler.clipped needs {steered}")
        if self.final_temperature is not None and ("temperature" not in self.own or self.temperature == 0):
            heated = in_a_sentence(self.owners("temperature"), "or")
            raise ValueError(
                f"sampler.final_temperature needs {heated} with a temperature above 0; got {self.name}"
                + (f" with {self.temperature:g}" if "temperature" in self.own else "")
            )
        if not self.kernel.exact and (self.global_every or self.accept is not None):
            wants = "sampler.global_every and sampler.accept need a Metropolis sampler"
            raise ValueError(f"{self.name} never rejects: {wants}")
        return self


def nowhere(x: Tensor) -> Tensor:
    """A dummy f for a kernel that is only asked for its facts."""
    return torch.zeros(len(x))


@cache
def typical(kind: type[Sampler]) -> Kernel:
    """The kernel with default settings; 1 stands for a number without a default.

    Raises:
        ValueError: As in `Sampler.kernel`.
    """
    try:
        return kind(**dict.fromkeys(kind.needed, 1)).kernel
    except ValidationError as error:
        raise ValueError(reasons(error)) from None


@dataclass(frozen=True, config=STRICT, init=False)
class Objective(Choice):
    """The objective that θ ascends.

    The options of the objective are the arguments of its constructor in `OBJECTIVES`, or in FILE.py:NAME; its penalty
    is `training.penalty`.
    """

    GROUP, TABLE, GIVEN = "objective", ChainMap(OBJECTIVES, {"none": nothing}), ("penalty",)
    FORMER = ()

    name: str = "likelihood"

    @property
    def takes_penalty(self) -> bool:
        """Whether it has a penalty."""
        return "penalty" in signature(self.make).parameters


def none() -> None:
    """No anchor."""


@dataclass(frozen=True, config=STRICT, init=False)
class Anchor(Choice):
    """A second objective, without chains, whose gradient is limited separately and added.

    Its options are the arguments of its constructor in `OBJECTIVES`, or in FILE.py:NAME.
    """

    GROUP, TABLE, GIVEN = "anchor", {"none": none, **OBJECTIVES}, ("penalty",)
    FORMER = ()

    name: str = "none"

"""Every setting of an experiment, typed, ranged and frozen, in groups.

What a field means, its unit and its range stand beside it; `anila train --dry-run` prints the resolved values.
"""

from collections import ChainMap
from functools import cache
from inspect import signature
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor

from anila.density.networks import NETWORKS, is_of_vectors
from anila.density.networks.fit import SHAPE
from anila.density.ranges import Count, CountOrZero, Fraction, NonNegative, Positive
from anila.learning.objectives import OBJECTIVES, nothing
from anila.runs.experiment.choice import STRICT, Choice, listed, reasons
from anila.samplers import SAMPLERS
from anila.samplers import Sampler as Kernel

Classes = Annotated[int, Field(ge=2)]
Names = BeforeValidator(lambda value: (value,) if isinstance(value, str) else () if value is None else value)
"""One name is a list of one, none an empty one."""


@dataclass(frozen=True, config=STRICT)
class Data:
    """What is learned."""

    name: str = "rings"
    """A toy, a known image set, or the path of a folder, a zip or a table."""
    size: Count | None = None
    """Height and width that images are brought to; None keeps theirs."""
    channels: Literal[1, 3] | None = None
    """Grey or colour; None lets the images decide."""
    split: Literal["train", "test", "all"] = "train"
    """Which part of an image set that has parts."""
    flip: bool = False
    """Mirror images left to right at random."""
    on_error: Literal["error", "skip"] = "error"
    """What to do about images that cannot be decoded."""
    columns: tuple[str, ...] | None = None
    """Columns of a table; None takes all."""
    label: str | None = None
    """Column of a table, or array of an .npz, that holds the classes."""
    missing: tuple[float | str, ...] = ()
    """Values and texts that stand for a missing cell of a table, beside empty cells and NaN."""
    dependent: bool = False
    """Whether columns of a table that follow from others, copies and totals, have coordinates of their own."""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the rows of a table that is not learned from: it says which scores of rows are odd."""


@dataclass(frozen=True, config=STRICT, init=False)
class Network(Choice):
    """f, the log-density: net(x) / temperature − |x|² / (2 confine²), or logsumexp over classes of as many of them.

    The options of the net are the arguments of its constructor in `NETWORKS`, or in FILE.py:NAME.
    """

    GROUP, TABLE, GIVEN = "network", NETWORKS, SHAPE
    FORMER = ("hidden", "fourier", "fourier_scale", "width", "depth", "widen", "nonlinearity", "slope")

    name: str = "mlp"
    spectral: bool = False
    """Divide every weight by its largest singular value, so that no layer stretches a distance."""
    classes: Literal["auto"] | Classes | None = None
    """Outputs, one a class of the data: auto for as many as they have, or their number; None for no classes."""
    confine: Positive | None = None
    """Scale of the Gaussian base measure that makes Z finite, in units of x; None for none."""
    temperature: Positive = 1.0
    """Divides the net's output. ε²/2 writes down the anatomy study's f = −2F/ε²."""

    @property
    def is_of_vectors(self) -> bool:
        """Whether it sees a point as a list of coordinates."""
        return is_of_vectors(self.make)

    @property
    def by_seeing(self) -> bool:
        """Whether it is found when it sees the data, and learns nothing afterwards."""
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
    """K, transitions an iteration."""
    step_size: Positive = 1.0
    """γ where the landscape is flat, in squared units of x."""
    clipped: Fraction | None = None
    """Fraction of coordinates above the threshold that it is adapted to between iterations; None keeps it."""
    final_temperature: Positive | None = None
    """Temperature at the end of training, reached along a geometric course; None keeps it."""
    accept: Fraction | None = None
    """Metropolis samplers: acceptance that step_size is adapted to between iterations; None keeps step_size."""
    global_every: CountOrZero = 0
    """Transitions between global moves of a Metropolis sampler; 0 for none."""
    global_sd: Positive = 0.3
    """Kernel width of the global proposal, in units of x."""
    draw_steps: Count | None = None
    """Transitions from the stored chains, or after annealing, when samples are drawn; None for `steps`."""
    levels: Annotated[int, Field(ge=2)] = 24
    """Levels of noise of an annealed draw, of an f that has some."""
    level_steps: CountOrZero = 2
    """Transitions at each of them, in units of its noise, besides the step down."""
    guidance: NonNegative = 0.0
    """w of the laws p(x | y) p(y | x)^w that an annealed draw of an f of classes goes down; 0 for those of f."""

    @property
    def kernel(self) -> Kernel:
        """The kernel bound to no f in particular: it says the facts that follow from these settings.

        Raises:
            ValueError: If what the name stands for makes no kernel.
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
        """T of the law exp(f / T) that chains aim at; that of exp f for chains without noise, which have no law."""
        return float(self.kernel.temperature) or 1.0

    @property
    def gradients(self) -> int:
        """Evaluations of ∇f a chain in an iteration: those of its steps, and one for every round of global moves."""
        kernel, rounds = self.kernel, self.steps // self.global_every if self.global_every else 0
        return round(self.steps * kernel.gradients) + kernel.ahead + rounds

    @classmethod
    def typical(cls, name: str) -> Kernel:
        """The kernel of this name at its defaults, for the facts that do not depend on settings."""
        return typical(cls.kind(name))

    @classmethod
    def switched_off(cls, name: str) -> dict[str, Any]:
        """The settings switched off that a sampler of this name does not have."""
        own = cls.kind(name).own
        off: dict[str, Any] = {} if cls.typical(name).exact else {"global_every": 0, "accept": None}
        off |= {} if "threshold" in own else {"clipped": None}
        return off | ({} if "temperature" in own else {"final_temperature": None})

    @classmethod
    def refusal(cls, name: str, option: str, value: Any) -> str:
        """Why a setting is refused that something of this name does not have; empty where nothing has it."""
        if option == "temperature" and cls.typical(name).exact:
            return (
                f"{name} is exact at temperature 1 only, and got temperature {value}: its accept step would sample "
                f"another law than its proposal aims at; temper f instead with network.temperature={value}, or use "
                + listed(cls.owners("temperature"), "or")
            )
        return super().refusal(name, option, value)

    @model_validator(mode="after")
    def check(self) -> "Sampler":
        if self.clipped is not None and "threshold" not in self.own:
            raise ValueError(
                f"{self.name} has no threshold to steer: sampler.clipped needs {listed(self.owners('threshold'), 'or')}"
            )
        if self.final_temperature is not None and ("temperature" not in self.own or self.temperature == 0):
            raise ValueError(
                f"sampler.final_temperature needs {listed(self.owners('temperature'), 'or')} with a temperature above "
                f"0; got {self.name}" + (f" with {self.temperature:g}" if "temperature" in self.own else "")
            )
        if not self.kernel.exact and (self.global_every or self.accept is not None):
            wants = "sampler.global_every and sampler.accept need a Metropolis sampler"
            raise ValueError(f"{self.name} never rejects: {wants}")
        return self


def nowhere(x: Tensor) -> Tensor:
    """The f of a kernel that is only asked for its facts."""
    return torch.zeros(len(x))


@cache
def typical(kind: type[Sampler]) -> Kernel:
    """The kernel at its defaults; 1 stands for a number that has none.

    Raises:
        ValueError: As `Sampler.kernel`.
    """
    try:
        return kind(**dict.fromkeys(kind.needed, 1)).kernel
    except ValidationError as error:
        raise ValueError(reasons(error)) from None


@dataclass(frozen=True, config=STRICT, init=False)
class Objective(Choice):
    """What θ ascends.

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
    """A second objective, without chains, whose gradient is limited apart and added.

    Its options are the arguments of its constructor in `OBJECTIVES`, or in FILE.py:NAME.
    """

    GROUP, TABLE, GIVEN = "anchor", {"none": none, **OBJECTIVES}, ("penalty",)
    FORMER = ()

    name: str = "none"


@dataclass(frozen=True, config=STRICT)
class Start:
    """Where chains start, and whether they are kept."""

    name: Literal["noise", "data", "persistent", "replay"] = "persistent"
    kind: Literal["uniform", "normal", "data", "annealed"] = "uniform"
    """What new chains are: uniform or normal noise, data points, or annealed draws of an f with levels of noise."""
    scale: Positive = 1.0
    """Half width or sd of the noise, in units of x."""
    size: Count | None = None
    """persistent, replay: chains kept; None keeps as many as run."""
    fresh: Fraction = 0.05
    """replay: fraction of chains that restart each iteration."""
    shift: CountOrZero = 0
    """replay: pixels by which images of the bank are shifted, and mirrored where the data are, before they go on."""
    storage: Literal["float32", "bf16", "uint8"] = "float32"
    """persistent, replay: what chains at rest are kept as; uint8 is for images in [−1, 1]."""


@dataclass(frozen=True, config=STRICT)
class Optimizer:
    """How θ moves."""

    name: Literal["sgd", "adam"] = "adam"
    learning_rate: Positive = 1e-3
    momentum: Fraction = 0.9
    """adam: decay of the mean gradient. sgd as printed has none and ignores it."""
    decay: Literal["constant", "cosine", "exponential"] = "constant"
    """Course of the learning rate from `learning_rate` to `final_rate` over the run."""
    final_rate: NonNegative = 0.0
    """Learning rate at the end of a decaying course; positive for an exponential one."""
    warmup: CountOrZero = 0
    """Iterations over which the learning rate rises from 0."""

    @model_validator(mode="after")
    def check(self) -> "Optimizer":
        if self.decay == "exponential" and self.final_rate == 0:
            raise ValueError("an exponential decay needs optimizer.final_rate above 0")
        return self


@dataclass(frozen=True, config=STRICT)
class Training:
    """How long, with how much, and what is written down."""

    iterations: Count = 1000
    minutes: Positive | None = None
    """Minutes on this machine, by the clock, from which `iterations` are planned when a run begins; None plans none."""
    batch: Count = 100
    """Data points an iteration."""
    chains: Count | None = None
    """Chains M; None runs as many as `batch`."""
    seed: CountOrZero = 0
    data_noise: NonNegative = 0.0
    """sd of normal noise added to data, in units of x."""
    final_data_noise: NonNegative | None = None
    """The same at the end of training, reached along a straight line; None keeps it."""
    max_grad_norm: Positive | None = None
    """Gradients in θ are scaled down to this norm; None never."""
    penalty: NonNegative = 0.0
    """Weight of mean f² over data and chains, which keeps f from growing."""
    classify: NonNegative = 1.0
    """Weight of the cross-entropy of classes, where `network.classes` are asked for; 0 learns none."""
    precision: Literal["bf16", "fp16", "tf32", "auto"] | None = None
    """Rounds matrix products and convolutions in the gradients of chains and of θ; None rounds nothing, auto rounds to
    bf16 where that is faster, which is measured before a run begins."""
    compile: bool = False
    """Compile the transitions of an iteration into graphs: quicker for small nets, after seconds of compiling."""
    rollbacks: CountOrZero | None = 5
    """How often training that runs away goes back to a good checkpoint and changes one setting before it gives up;
    None: only what is not finite stops it."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the average of θ that is sampled and evaluated, smaller at first; 0 for none."""
    log_every: Count = 10
    """Iterations between lines of stats.jsonl."""
    log_to: Annotated[tuple[Literal["tensorboard", "wandb"], ...], Names] = ()
    """Where the same lines and the pictures go besides; each needs the extra of its name."""
    checkpoint_every: Count = 500
    picture_every: Count = 500
    threads: Count | None = None
    """CPU threads; None takes 1 for points in few dimensions and all cores for images."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, mps."""
    micro_batch: Count | None = None
    """Chains, and as many data points, that a process evaluates at once; None all. Saves memory, changes no result."""
    shard: bool = False
    """Several processes: keep θ, its average and the optimiser's state in pieces (FSDP2); else whole on each (DDP)."""
    timeout: Positive = 600.0
    """Several processes: seconds without an answer after which one counts as lost."""

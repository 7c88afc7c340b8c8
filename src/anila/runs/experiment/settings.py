"""Every setting of an experiment, typed, ranged and frozen: the noun between a command line and a run.

An `Experiment` is seven groups of settings. What a field means, its unit and its range stand beside it; `anila train
--dry-run` prints the resolved values.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

METROPOLIS = ("mala", "anisotropic_mala", "hmc")
"""The samplers that accept or reject, hence are exact at temperature 1."""
WITH_THRESHOLD = ("anisotropic", "anisotropic_mala")
"""The samplers that have a threshold."""
TEMPERED = ("langevin", "anisotropic")
"""The samplers that have a temperature."""

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
CountOrZero = Annotated[int, Field(ge=0)]
Classes = Annotated[int, Field(ge=2)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Names = BeforeValidator(lambda value: (value,) if isinstance(value, str) else () if value is None else value)
"""One name is a list of one, none an empty one."""

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


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


@dataclass(frozen=True, config=STRICT)
class Network:
    """f, the log-density: net(x) / temperature − |x|² / (2 confine²), or logsumexp over classes of as many of them."""

    name: Literal["mlp", "toy", "vanilla", "nonlocal", "resnet", "wrn"] = "mlp"
    hidden: tuple[Count, ...] = (128, 128)
    """mlp: width of each hidden layer."""
    fourier: CountOrZero = 0
    """mlp: number of random Fourier features (even), 0 for none."""
    fourier_scale: Positive = 0.5
    """mlp: sd of their frequencies, in periods per unit of x."""
    width: Count = 32
    """vanilla, resnet: channels of the first layer."""
    depth: Count = 10
    """wrn: convolutions along the longest way, 6 n + 4; JEM has 28."""
    widen: Count = 1
    """wrn: k, times the widths 16, 32, 64; JEM has 10."""
    spectral: bool = False
    """Divide every weight by its largest singular value, so that no layer stretches a distance."""
    classes: Literal["auto"] | Classes | None = None
    """Outputs, one a class of the data: auto for as many as they have, or their number; None for no classes."""
    nonlinearity: Literal["silu", "gelu", "leaky_relu", "relu"] = "silu"
    slope: NonNegative = 0.05
    """Negative slope of leaky ReLU."""
    confine: Positive | None = None
    """Scale of the Gaussian base measure that makes Z finite, in units of x; None for none."""
    temperature: Positive = 1.0
    """Divides the net's output. ε²/2 writes down the anatomy study's f = −2F/ε²."""

    @model_validator(mode="after")
    def check(self) -> "Network":
        if self.fourier % 2:
            raise ValueError(f"fourier must be even (sines and cosines come in pairs); got {self.fourier}")
        if self.name == "wrn" and (self.depth < 10 or (self.depth - 4) % 6):
            raise ValueError(f"wrn has depth 6 n + 4 (10, 16, 22, 28, …); got {self.depth}")
        return self


@dataclass(frozen=True, config=STRICT)
class Sampler:
    """How chains move along f."""

    name: Literal["langevin", "anisotropic", "mala", "anisotropic_mala", "hmc", "descent"] = "anisotropic_mala"
    steps: Count = 40
    """K, transitions an iteration."""
    step_size: Positive = 1.0
    """γ where the landscape is flat, in squared units of x."""
    leapfrog_steps: Count = 10
    """hmc: gradients a transition."""
    threshold: Positive | None = None
    """b, in units of ∂f; only the anisotropic samplers have it."""
    clipped: Fraction | None = None
    """Fraction of coordinates above the threshold that it is adapted to between iterations; None keeps it."""
    temperature: NonNegative = 1.0
    """Variance of the noise relative to γ (the papers' ε²); exact samplers have 1."""
    final_temperature: Positive | None = None
    """Temperature at the end of training, reached along a geometric course; None keeps it."""
    refresh: Literal["step", "iteration"] = "step"
    """When γ is looked up: every transition, or where the chain starts."""
    accept: Fraction | None = None
    """Metropolis samplers: acceptance that step_size is adapted to between iterations; None keeps step_size."""
    global_every: CountOrZero = 0
    """Transitions between global moves of a Metropolis sampler; 0 for none."""
    global_sd: Positive = 0.3
    """Kernel width of the global proposal, in units of x."""
    draw_steps: Count | None = None
    """Transitions from the stored chains when samples are drawn; None for `steps`."""

    @property
    def target_temperature(self) -> float:
        """T of the law exp(f / T) that chains aim at."""
        return self.temperature if self.name in TEMPERED and self.temperature > 0 else 1.0

    @property
    def gradients(self) -> int:
        """Evaluations of ∇f a chain in an iteration: one a transition, `leapfrog_steps` of hmc; one ahead where the
        kernel keeps it; one for every round of global moves.
        """
        ahead = self.name in METROPOLIS or (self.name == "anisotropic" and self.refresh == "iteration")
        rounds = self.steps // self.global_every if self.global_every else 0
        return self.steps * (self.leapfrog_steps if self.name == "hmc" else 1) + ahead + rounds

    @model_validator(mode="after")
    def check(self) -> "Sampler":
        if self.name in WITH_THRESHOLD and self.threshold is None:
            raise ValueError(f"{self.name} needs a threshold: give sampler.threshold=…")
        if self.name in METROPOLIS and self.temperature != 1:
            raise ValueError(
                f"{self.name} is exact at temperature 1 only, and got temperature {self.temperature:g}: its accept "
                f"step would sample another law than its proposal aims at; temper f instead with "
                f"network.temperature={self.temperature:g}, or use langevin or anisotropic"
            )
        if self.clipped is not None and self.name not in WITH_THRESHOLD:
            raise ValueError(
                f"{self.name} has no threshold to steer: sampler.clipped needs {' or '.join(WITH_THRESHOLD)}"
            )
        if self.final_temperature is not None and (self.name not in TEMPERED or self.temperature == 0):
            raise ValueError(
                f"sampler.final_temperature needs {' or '.join(TEMPERED)} with a temperature above 0; got {self.name} "
                f"with {self.temperature:g}"
            )
        if self.name not in METROPOLIS and (self.global_every or self.accept is not None):
            wants = "sampler.global_every and sampler.accept need a Metropolis sampler"
            raise ValueError(f"{self.name} never rejects: {wants}")
        return self


@dataclass(frozen=True, config=STRICT)
class Objective:
    """What θ ascends."""

    name: Literal["likelihood", "denoising"] = "likelihood"
    """Algorithm 1, with chains; or score matching, without."""
    sd: Positive = 0.3
    """denoising: standard deviation of the noise, in units of x."""


@dataclass(frozen=True, config=STRICT)
class Start:
    """Where chains start, and whether they are kept."""

    name: Literal["noise", "data", "persistent", "replay"] = "persistent"
    kind: Literal["uniform", "normal", "data"] = "uniform"
    """What new chains are: uniform or normal noise, or data points."""
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
    precision: Literal["bf16", "fp16", "tf32"] | None = None
    """Rounds matrix products and convolutions in the gradients of chains and of θ; None rounds nothing."""
    compile: bool = False
    """Compile the transitions of an iteration into graphs: quicker for small nets, after seconds of compiling."""
    rollbacks: CountOrZero | None = 5
    """How often training that runs away goes back to a good checkpoint and changes one setting before it gives up;
    None: only what is not finite stops it."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the average of θ that is sampled and evaluated; 0 for none."""
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


@dataclass(frozen=True, config=STRICT)
class Experiment:
    """All that a run is a function of."""

    data: Data = Data()
    network: Network = Network()
    objective: Objective = Objective()
    sampler: Sampler = Sampler(threshold=1.0)
    start: Start = Start()
    optimizer: Optimizer = Optimizer()
    training: Training = Training()

    @model_validator(mode="after")
    def check(self) -> "Experiment":
        chains, bank = self.training.chains or self.training.batch, self.start.size
        if bank is not None and bank < chains:
            raise ValueError(f"start.size={bank} keeps fewer chains than the {chains} that run; raise start.size")
        if self.objective.name != "likelihood" and (self.network.classes or self.training.penalty):
            raise ValueError(
                f"objective={self.objective.name} learns no classes and has no penalty: leave out network.classes and "
                "training.penalty, or use objective=likelihood"
            )
        if self.training.compile and self.training.shard:
            raise ValueError("training.compile needs θ whole, and training.shard takes it to pieces: leave one out")
        if self.start.storage != "float32" and self.sampler.name in METROPOLIS:
            raise ValueError(
                f"{self.sampler.name} is exact, and chains rounded to {self.start.storage} between iterations are not: "
                "use start.storage=float32, or langevin or anisotropic"
            )
        return self

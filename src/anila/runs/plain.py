"""Settings that do not depend on any choice, and how values are typed: read without torch, which imports slowly.

The meaning of each field, its unit and its range stand beside it.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from anila.density.ranges import Count, CountOrZero, Fraction, NonNegative, Positive, Side, Threads

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
Names = BeforeValidator(lambda value: (value,) if isinstance(value, str) else () if value is None else value)
"""One name is a list of one, none an empty one."""


@dataclass(frozen=True, config=STRICT)
class Data:
    """The data to learn."""

    name: str = "rings"
    """A toy, a known image set, or the path of a folder, a zip or a table."""
    size: Side | None = None
    """Height and width to which images are resized; None keeps theirs."""
    channels: Literal[1, 3] | None = None
    """Grey or colour; None lets the images decide."""
    split: Literal["train", "test", "all"] = "train"
    """Which split of an image set that has splits."""
    flip: bool = False
    """Mirror images left to right at random."""
    on_error: Literal["error", "skip"] = "error"
    """What to do about images that cannot be decoded."""
    columns: tuple[str, ...] | None = None
    """Columns of a table; None takes all."""
    label: str | None = None
    """Column of a table, or array of an .npz, that holds the classes."""
    missing: tuple[float | str, ...] = ()
    """Values and texts that stand for a missing cell of a table, besides empty cells and NaN."""
    dependent: bool = False
    """Whether columns of a table that follow from others, copies and totals, have coordinates of their own."""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of rows or images kept out of training, to calibrate outlier scores and to evaluate drawn images."""


@dataclass(frozen=True, config=STRICT)
class Start:
    """Where chains start, and whether they are kept."""

    name: Literal["noise", "data", "persistent", "replay", "paired"] = "persistent"
    """paired: each chain begins at a data point, and is compared with it until it restarts."""
    kind: Literal["uniform", "normal", "data", "annealed"] = "uniform"
    """Source of new chains, unless paired: uniform or normal noise, data, or annealed draws of an f with levels."""
    scale: Positive = 1.0
    """Half width or sd of the noise, in units of x."""
    size: Count | None = None
    """persistent, replay: number of chains kept; None keeps as many as run."""
    fresh: Fraction = 0.05
    """replay, paired: fraction of chains that restart each iteration."""
    shift: CountOrZero = 0
    """replay: most pixels by which images of the bank are shifted (and mirrored if data are) before they continue."""
    storage: Literal["float32", "bf16", "uint8"] = "float32"
    """persistent, replay: format of stored chains; uint8 is for images in [−1, 1]."""


@dataclass(frozen=True, config=STRICT)
class Optimizer:
    """How θ moves."""

    name: Literal["sgd", "adam"] = "adam"
    learning_rate: Positive = 1e-3
    momentum: Fraction = 0.9
    """adam: decay of the mean gradient. sgd, as in the paper, has none and ignores it."""
    decay: Literal["constant", "cosine", "exponential"] = "constant"
    """Schedule of the learning rate from `learning_rate` to `final_rate` over the run."""
    final_rate: NonNegative = 0.0
    """Learning rate at the end of a decaying schedule; positive for an exponential one."""
    warmup: CountOrZero = 0
    """Iterations over which the learning rate rises from 0."""

    @model_validator(mode="after")
    def check(self) -> "Optimizer":
        if self.decay == "exponential" and self.final_rate == 0:
            raise ValueError("an exponential decay needs optimizer.final_rate above 0")
        return self


@dataclass(frozen=True, config=STRICT)
class Training:
    """Length and size of training, and what is logged."""

    iterations: Count = 1000
    minutes: Positive | None = None
    """Wall-clock minutes on this machine, from which `iterations` are planned when a run begins; None plans none."""
    batch: Count = 100
    """Data points per iteration."""
    chains: Count | None = None
    """Chains M; None runs as many as `batch`."""
    seed: Annotated[int, Field(ge=0)] = 0
    data_noise: NonNegative = 0.0
    """sd of normal noise added to data, in units of x."""
    final_data_noise: NonNegative | None = None
    """The same at the end of training, reached linearly; None keeps it constant."""
    max_grad_norm: Positive | None = None
    """Gradients in θ are scaled down to this norm; None never scales them."""
    penalty: NonNegative = 0.0
    """Weight of mean f² over data and chains, which keeps f from growing."""
    classify: NonNegative = 1.0
    """Weight of the cross-entropy of classes if `network.classes` is set; 0 learns no classes."""
    precision: Literal["bf16", "fp16", "tf32", "auto"] | None = None
    """Rounds matrix products and convolutions in the gradients of chains and of θ; None rounds nothing, auto rounds to
    bf16 if that is faster, as measured before a run begins."""
    compile: bool = False
    """Compile the transitions of an iteration into graphs: quicker for small nets, after seconds of compiling."""
    rollbacks: CountOrZero | None = 5
    """How often training that runs away returns to a good checkpoint and changes one setting before it gives up; None:
    only a value that is not finite stops it."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of the moving average of θ that is sampled and evaluated, smaller at first; 0 for none."""
    log_every: Count = 10
    """Iterations between lines of stats.jsonl."""
    log_to: Annotated[tuple[Literal["tensorboard", "wandb"], ...], Names] = ()
    """Further destinations of these lines and the pictures; each needs the extra of its name."""
    checkpoint_every: Count = 500
    picture_every: Count = 500
    threads: Threads | None = None
    """CPU threads; None takes 1 for points in few dimensions and all cores for images."""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1."""
    micro_batch: Count | None = None
    """Chains, and as many data points, that a process evaluates at once; None: all. Saves memory, changes no result."""
    shard: bool = False
    """Several processes: shard θ, its average and the optimiser's state (FSDP2); else replicate them (DDP)."""
    timeout: Positive = 600.0
    """Several processes: seconds without an answer after which one counts as lost."""


PLAIN = {"data": Data, "start": Start, "optimizer": Optimizer, "training": Training}


def wrong_value(group: str, field: str, text: str) -> str | None:
    """What is wrong with a value by itself, in the words of `worded`; None if nothing is, or other settings decide."""
    if group not in PLAIN:
        return None
    value = text if field == "name" else parse(text)
    try:
        TypeAdapter(PLAIN[group]).validate_python({field: value})
    except ValidationError as error:
        own = [e for e in error.errors() if e["loc"] == (field,)]
        return worded(f"{group}.{field}", own[0]) if own else None
    return None


def worded(key: str, error: Any) -> str:
    """One error of pydantic in words: what was expected and what was given."""
    if error["type"] == "tuple_type":
        return f"{key}: expected a list; got {error['input']!r}; give '{key}=[{error['input']}]'"
    return f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}; got {error['input']!r}"


def parse(value: str) -> Any:
    """The value of an override: a JSON list, `none`, or the text itself (typed by the schema)."""
    if value.lower() in ("none", "null"):
        return None
    if value.startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value.strip("[]").split(",")
    return value

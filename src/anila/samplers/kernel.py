"""A sampler is a Markov kernel bound to one f: `init` makes a state, `step` moves it.

A step is a pure function of (state, noise). Everything random about it is drawn outside, by the sampler's own
`draw_noise`, so equal noise gives equal chains. This makes resuming bitwise, couplings possible and compiled graphs
simple. Row i of a step depends on row i of the state and of the noise only.

Words: *chains* are the rows of x; *State* is what the next step needs (always with `.x`); *Info* is what a
diagnostic wants to know about the step just made.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from anila.density.log_density import LogDensity
from anila.density.rows import across, finite_rows


class State(Protocol):
    """What the next step needs; a NamedTuple of per-chain tensors, always with the positions `x`."""

    @property
    def x(self) -> Tensor: ...

    def _asdict(self) -> dict[str, Any]: ...

    def _replace(self, **changes: Any) -> Any: ...


class Noise(NamedTuple):
    """Everything random about one step."""

    normal: Float[Tensor, "chains *event"]
    uniform: Float[Tensor, "chains"]


class Info(NamedTuple):
    """What a diagnostic wants to know about one step; every field is (chains,)."""

    accept_prob: Float[Tensor, "chains"]
    """Metropolis acceptance probability; 1 for kernels that always move, 0 for a non-finite proposal and no other."""
    step_size: Float[Tensor, "chains"]
    """γ of the step, averaged over coordinates."""
    grad_norm: Float[Tensor, "chains"]
    """‖∇f‖₂ at the point the step left."""
    clipped: Float[Tensor, "chains"]
    """Fraction of coordinates with |∂ᵢf| above the threshold there."""


class MoveInfo(NamedTuple):
    """What a move other than a local step reports."""

    accept_prob: Float[Tensor, "chains"]


class PointState(NamedTuple):
    """Positions with f and ∇f there: all that a Metropolis kernel with one gradient per step remembers."""

    x: Float[Tensor, "chains *event"]
    value: Float[Tensor, "chains"]
    grad: Float[Tensor, "chains *event"]


class DrawNoise:
    """Draws noise whose fields are tensors: "normal" is N(0, 1), all others are U(0, 1).

    Args:
        noise: The NamedTuple to draw.
        fields: For each of its fields, in order, whether every "coordinate" or every "chain" gets its own number.
    """

    def __init__(self, noise: type[Any], **fields: Literal["coordinate", "chain"]):
        self.noise, self.fields = noise, fields

    def __call__(self, x: Tensor, generator: torch.Generator) -> Any:
        """The noise of one step of chains at x, drawn on the generator's device."""
        one = self.empty(x, (), generator.device)
        self.fill(one, generator)
        return self.noise(*(field.to(x.device) for field in one))

    def block(self, x: Tensor, steps: int, generator: torch.Generator) -> Any:
        """The same numbers as `steps` calls give, every field (steps, chains, ...), without the cost of the calls."""
        drawn = self.empty(x, (steps,), generator.device)
        for one in zip(*drawn, strict=True):
            self.fill(one, generator)
        return self.noise(*(field.to(x.device) for field in drawn))

    def empty(self, x: Tensor, steps: tuple[int, ...], device: torch.device) -> list[Tensor]:
        shapes = [x.shape if own == "coordinate" else x.shape[:1] for own in self.fields.values()]
        return [x.new_empty(*steps, *shape, device=device) for shape in shapes]

    def fill(self, one: Iterable[Tensor], generator: torch.Generator) -> None:
        for name, field in zip(self.fields, one, strict=True):
            (field.normal_ if name == "normal" else field.uniform_)(generator=generator)


draw_noise = DrawNoise(Noise, normal="coordinate", uniform="chain")


Move = Callable[[Any, Any], tuple[Any, Any]]
"""(state, noise) -> (state, info), with tensors only, so that it can be compiled."""


class Scheduled:
    """The step of a kernel that counts or chooses: plain Python decides which of its moves to make, and when.

    Args:
        schedule: (state, noise, *moves) -> (state, info).
        moves: What it chooses from.
    """

    def __init__(self, schedule: Callable[..., tuple[Any, Any]], *moves: Move):
        self.schedule, self.moves = schedule, moves

    def __call__(self, state: Any, noise: Any) -> tuple[Any, Any]:
        """One step."""
        return self.schedule(state, noise, *self.moves)


class Sampler(NamedTuple):
    """A Markov kernel bound to one f, with the facts about it that other code relies on.

    `init` maps positions (chains, *event) to a state, `step` maps (state, noise) to (state, info), and
    `draw_noise` maps (positions, generator) to the noise of one step.
    """

    init: Callable[[Tensor], Any]
    step: Callable[[Any, Any], tuple[Any, Any]]
    draw_noise: Callable[[Tensor, torch.Generator], Any] = draw_noise
    local: "Sampler | None" = None
    """The kernel without its global moves, if it has any."""
    at: Callable[[Tensor, Tensor, Tensor], Any] | None = None
    """The state at points whose f and ∇f are known, (x, f, ∇f) -> state; None if the kernel remembers more."""
    held: tuple[str, ...] = ()
    """Fields of the state that belong to the run and not to the point, so that a global move keeps them."""
    target_accept: float | None = None
    """The acceptance that `tune` aims at; None for kernels that always move."""
    careful_accept: float | None = None
    """The acceptance that `tune` aims at if chains get stuck now and then; None keeps `target_accept`."""
    temperature: float | Tensor = 1.0
    """T of the law exp(f / T) that the chains aim at; 0 for a kernel without noise, which has no law."""
    threshold: float | Tensor = math.inf
    """b, the slope above which a coordinate counts as clipped, in units of ∂f; infinite for kernels without one."""
    quantile: float = 0.85
    """The quantile of |∂f| at which `tune` puts the threshold."""
    gradients: float = 1
    """Cost of a step, in evaluations of ∇f."""
    ahead: int = 0
    """Evaluations of ∇f that `init` makes."""
    f: LogDensity | None = None
    """The log-density that the kernel is bound to; None if unknown."""
    preconditioner: Tensor | None = None
    """L of the coordinates in which the state holds ∇f; None for those of x."""
    began: Tensor | None = None
    """Where the chains of its warm-up started, (chains, *event), so that narrow starts can be noticed."""

    @property
    def clips(self) -> bool:
        """Whether the kernel has a threshold."""
        return float(self.threshold) < math.inf

    @property
    def exact(self) -> bool:
        """Whether the kernel accepts or rejects, and so leaves exp f invariant."""
        return self.target_accept is not None

    def __repr__(self) -> str:
        """Its facts in a line, and not the addresses of its functions.

        >>> from anila import mala
        >>> mala(lambda x: -x.square().sum(1) / 2, 0.1)
        <Sampler: accepts or rejects, so exact for exp f; gradients a step: 1>
        """
        law = "accepts or rejects, so exact for exp f" if self.exact else "takes every proposal"
        stretched = "" if self.preconditioner is None else f"; preconditioner {tuple(self.preconditioner.shape)}"
        return f"<Sampler: {law}; gradients a step: {self.gradients:g}{stretched}>"


def draw_block(sampler: Sampler, x: Tensor, steps: int, generator: torch.Generator) -> Any:
    """The noise of `steps` calls of `draw_noise`: its fields stacked, or a list if they are not tensors."""
    if isinstance(sampler.draw_noise, DrawNoise):
        return sampler.draw_noise.block(x, steps, generator)
    drawn = [sampler.draw_noise(x, generator) for _ in range(steps)]
    if any(not isinstance(field, Tensor) for field in drawn[0]):
        return drawn
    return type(drawn[0])(*(torch.stack(column) for column in zip(*drawn, strict=True)))


def among(sampler: Sampler, rows: slice, chains: int) -> Sampler:
    """The kernel for some of the chains, each with the noise that it gets when all run together."""
    if rows == slice(0, chains):
        return sampler

    def draw_noise(x: Tensor, generator: torch.Generator) -> Any:
        return rows_of(sampler.draw_noise(x[:1].expand(chains, *x.shape[1:]), generator), rows)

    return sampler._replace(draw_noise=draw_noise)


def rows_of(noise: Any, rows: slice) -> Any:
    """These rows of every tensor of the noise; what all chains share is kept."""
    if isinstance(noise, Tensor):
        return noise[rows]
    return type(noise)(*(rows_of(part, rows) for part in noise)) if isinstance(noise, tuple) else noise


def require_metropolis(kernel: Sampler, what: str) -> None:
    """Refuse kernels that do not leave exp f invariant, or whose law depends on where their chains started."""
    if not kernel.exact:
        raise ValueError(
            f"{what} needs Metropolis kernels: an unadjusted one does not leave exp f invariant; use mala, "
            "anisotropic_mala, ghmc, barker or hmc"
        )
    if kernel.held:
        raise ValueError(f'{what} restarts kernels on the way, which refresh="iteration" does not allow: use "step"')


def where_chain(chosen: Bool[Tensor, "chains"], yes: Any, no: Any) -> Any:
    """The state that is `yes` in the chosen chains and `no` in the others, field by field."""

    def pick(a: Tensor, b: Tensor) -> Tensor:
        return torch.where(across(chosen, a), a, b)

    return type(no)(*(pick(a, b) for a, b in zip(yes, no, strict=True)))


def accept(state: Any, proposed: Any, log_ratio: Float[Tensor, "chains"], uniform: Float[Tensor, "chains"]) -> Any:
    """Metropolis: take the proposed state with probability min(1, exp log_ratio); a non-finite proposal is rejected.

    Args:
        state: The current state.
        proposed: The proposed state.
        log_ratio: log π(y) q(x|y) − log π(x) q(y|x), (chains,).
        uniform: U(0, 1), (chains,).

    Returns:
        The new state and the acceptance probability (chains,), which is 0 only for a non-finite proposal.
    """
    finite = torch.isfinite(log_ratio) & finite_rows(proposed.grad)
    prob = torch.where(finite, log_ratio.clamp(max=0).exp(), torch.zeros_like(log_ratio))
    told = torch.where(finite, prob.clamp(min=torch.finfo(prob.dtype).tiny), prob)
    return where_chain(uniform < prob, proposed, state), told

"""Global moves: mix a local kernel with an independence proposal, so that chains can change mode.

Every `every` local steps each chain is offered a candidate y ~ q that does not depend on its position, and accepts it
with probability min(1, exp(f(y) − f(x)) q(x) / q(y)). Both kernels leave exp f invariant, so their mixture does too. In
two dimensions and on tables, a kernel density of data points is a good q; in image space no candidate is ever accepted,
and the moves switch themselves off.

Reference: Tierney 1994, "Markov chains for exploring posterior distributions" (independence kernels, cycles).
"""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from anila.messages import whole_number
from anila.rng import uniform
from anila.samplers.kernel import Move, MoveInfo, Sampler, Scheduled, accept

IDLE_ROUNDS = 10
"""Global moves stop after this many rounds in a row without an acceptance in any chain."""


class Proposal(NamedTuple):
    """A normalised distribution that can be sampled and evaluated."""

    draw: Callable[[int, torch.Generator], Tensor]
    log_prob: Callable[[Tensor], Tensor]

    def __repr__(self) -> str:
        return "<Proposal: draws points and knows their log-density>"


class GlobalNoise(NamedTuple):
    """The local kernel's noise, and the candidate and the accept uniform of the global move."""

    local: Any
    candidate: Float[Tensor, "chains *event"]
    uniform: Float[Tensor, "chains"]


class Offer(NamedTuple):
    """A candidate for each chain, and the uniform that decides on it."""

    candidate: Float[Tensor, "chains *event"]
    uniform: Float[Tensor, "chains"]


class GlobalState(NamedTuple):
    """The local kernel's state, the number of steps made, and the number of rounds since the last acceptance."""

    x: Float[Tensor, "chains *event"]
    local: Any
    steps: int
    idle: int

    @property
    def grad(self) -> Tensor:
        """∇f where the chains stand."""
        return self.local.grad

    @property
    def value(self) -> Tensor:
        """f where the chains stand."""
        return self.local.value


class GlobalInfo(NamedTuple):
    """The local kernel's info, and the acceptance probability of the global move (NaN where none was made)."""

    accept_prob: Float[Tensor, "chains"]
    step_size: Float[Tensor, "chains"]
    grad_norm: Float[Tensor, "chains"]
    clipped: Float[Tensor, "chains"]
    global_accept: Float[Tensor, "chains"]


def with_global_moves(
    kernel: Sampler, proposal: Proposal, every: int = 1, patience: int | None = IDLE_ROUNDS
) -> Sampler:
    """A kernel that offers each chain a candidate from `proposal` after every `every` steps of `kernel`.

    Those steps cost one more gradient. `trace["global_accept"]` reports the acceptance.

    Args:
        kernel: A Metropolis kernel (one whose state holds f(x) and ∇f(x)).
        proposal: Where candidates come from, e.g. `kernel_density(data)`.
        every: Local steps between global moves.
        patience: Rounds without any acceptance after which the moves stop, with a warning. None never stops them: then
            no chain depends on which others run beside it.

    Raises:
        ValueError: If every is below 1, or (at `init`) the kernel is not a local Metropolis kernel.
        TypeError: If every is not a whole number, or proposal is nothing to draw from.
    """
    whole_number("every", every, least=1)
    if not hasattr(proposal, "draw"):
        kind = type(proposal).__name__
        raise TypeError(f"proposal must be a law to draw from, e.g. kernel_density(points); got {kind}")

    def init(x: Tensor) -> GlobalState:
        local = kernel.init(x)
        if not hasattr(local, "value"):
            raise ValueError(
                "global moves need a Metropolis kernel: an unadjusted one does not leave exp f invariant, so the "
                "mixture would sample neither law; use mala or anisotropic_mala"
            )
        if any(not isinstance(field, Tensor | None) for field in local):
            raise ValueError(
                f"global moves wrap one local kernel; got one with a {type(local).__name__}: give a mixture a "
                "kernel that has global moves, and leave them out of replica exchange"
            )
        return GlobalState(x, local, 0, 0)

    def draw_noise(x: Tensor, generator: torch.Generator) -> GlobalNoise:
        local = kernel.draw_noise(x, generator)
        u = uniform(x.shape[:1], x, generator)
        return GlobalNoise(local, proposal.draw(len(x), generator).to(x), u)

    def step(
        state: GlobalState, noise: GlobalNoise, local_step: Move, global_move: Move
    ) -> tuple[GlobalState, GlobalInfo]:
        local, info = local_step(state.local, noise.local)
        steps, idle, prob = state.steps + 1, state.idle, torch.full_like(noise.uniform, math.nan)
        if steps % every == 0 and (patience is None or idle < patience):
            local, (prob,) = global_move(local, Offer(noise.candidate, noise.uniform))
            idle = 0 if bool((noise.uniform < prob).any()) else idle + 1
            if idle == patience:
                warnings.warn(
                    f"global moves switched off: no candidate was accepted in {idle} rounds; draw candidates from a "
                    "law nearer to exp f, or keep the moves with patience=None",
                    stacklevel=3,
                )
        return GlobalState(local.x, local, steps, idle), GlobalInfo(*info, global_accept=prob)

    def global_move(local: Any, offer: Offer) -> tuple[Any, MoveInfo]:
        proposed = kernel.init(offer.candidate)._replace(**{name: getattr(local, name) for name in kernel.held})
        log_weight_x = local.value - proposal.log_prob(local.x)
        log_weight_y = proposed.value - proposal.log_prob(offer.candidate)
        local, prob = accept(local, proposed, log_weight_y - log_weight_x, offer.uniform)
        return local, MoveInfo(prob)

    return Sampler(
        init, Scheduled(step, kernel.step, global_move), draw_noise, local=kernel, target_accept=kernel.target_accept,
        threshold=kernel.threshold, gradients=kernel.gradients + kernel.ahead / every, ahead=kernel.ahead, f=kernel.f,
    )  # fmt: skip


def kernel_density(points: Float[Tensor, "n d"], sd: float = 0.3, uniform: float = 0.1) -> Proposal:
    """A Gaussian kernel density of the points, mixed with a uniform law on their bounding box.

    q(y) = (1 − uniform) · mean_i N(y; pointᵢ, sd² I) + uniform / volume on the box widened by 3 sd.

    Args:
        points: Centres, (n, d).
        sd: Standard deviation of each kernel, in the units of the points.
        uniform: Weight of the uniform part, in (0, 1]; it keeps the tails of q heavier than a chain can reach.

    Raises:
        ValueError: If points are not (n, d), or sd or uniform is out of range.
    """
    if points.ndim != 2:
        raise ValueError(f"points must be (n, d); got {tuple(points.shape)}")
    if not (sd > 0 and 0 < uniform <= 1):
        raise ValueError(f"sd must be positive and uniform in (0, 1]; got {sd} and {uniform}")
    n, d = points.shape
    low, high = points.amin(0) - 3 * sd, points.amax(0) + 3 * sd
    log_kernel = math.log((1 - uniform) / n) - d * math.log(sd * math.sqrt(2 * math.pi)) if uniform < 1 else -math.inf
    log_box = math.log(uniform) - (high - low).log().sum()
    middle = points.mean(0)  # distances are from here, so that float32 does not cancel for data far from the origin
    p = (points - middle) / sd
    offset = -p.square().sum(1) / 2  # |x − p|² expanded: one matrix product

    def draw(count: int, generator: torch.Generator) -> Tensor:
        like = {"generator": generator, "dtype": points.dtype, "device": generator.device}
        centre = points[torch.randint(n, (count,), generator=generator, device=generator.device).to(points.device)]
        near = centre + sd * torch.randn(count, d, **like).to(points.device)
        anywhere = low + (high - low) * torch.rand(count, d, **like).to(points.device)
        choice = torch.rand(count, 1, **like).to(points.device)
        return torch.where(choice < uniform, anywhere, near)

    def log_prob(given: Tensor) -> Tensor:
        x = given.to(points)
        z = (x - middle) / sd
        near = torch.addmm(offset, z, p.T).logsumexp(1) - z.square().sum(1) / 2 + log_kernel
        inside = ((x >= low) & (x <= high)).all(1)
        return torch.where(inside, torch.logaddexp(near, log_box), near).to(given.device)

    return Proposal(draw, log_prob)

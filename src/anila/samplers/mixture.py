"""A mixture of kernels: each step is made by one of them, chosen at random (random scan).

    P = Σⱼ wⱼ Pⱼ,   wⱼ ≥ 0, Σⱼ wⱼ = 1:   if every Pⱼ leaves exp f invariant, so does P

e.g. a small and a large step, or a kernel for the bulk and one for the tails. All chains make the same choice, so only
the chosen kernel is evaluated, and a mixture costs no more than its parts. Each chain by itself is a random scan, but
the chains are dependent through the choices.

Reference: Tierney 1994, section 2.4.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from anila.messages import counted
from anila.samplers.kernel import Move, Sampler, Scheduled, require_metropolis


class MixtureNoise(NamedTuple):
    """Which kernel makes the step, and its noise."""

    choice: int
    local: Any


class MixtureState(NamedTuple):
    """The state of the kernel that moved last, and its index."""

    x: Float[Tensor, "chains *event"]
    local: Any
    choice: int

    @property
    def grad(self) -> Tensor:
        """∇f where the chains stand."""
        return self.local.grad

    @property
    def value(self) -> Tensor:
        """f where the chains stand."""
        return self.local.value


class MixtureInfo(NamedTuple):
    """The info of the kernel that made the step, and its index."""

    accept_prob: Float[Tensor, "chains"]
    step_size: Float[Tensor, "chains"]
    grad_norm: Float[Tensor, "chains"]
    clipped: Float[Tensor, "chains"]
    kernel: Float[Tensor, "chains"]


def mixture(kernels: Sequence[Sampler], weights: Sequence[float]) -> Sampler:
    """The kernel that makes each step with one of `kernels`, chosen with probability proportional to its weight.

    A change of kernel costs one more gradient, unless all kernels share f and the preconditioner and remember nothing
    but f and ∇f.

    Args:
        kernels: Metropolis kernels bound to the same f.
        weights: One positive number per kernel.

    Raises:
        ValueError: If there is a single kernel and not a sequence, the weights do not fit, or a kernel is not a
            Metropolis kernel or holds γ from its start.
    """
    if isinstance(kernels, Sampler) or isinstance(weights, int | float):
        raise ValueError("mixture takes lists, e.g. mixture([mala(f, 0.5), mala(f, 0.01)], [1, 1]); got a single one")
    if len(kernels) != len(weights) or not kernels or not all(0 < w < math.inf for w in weights):
        raise ValueError(f"give a positive weight for {counted(len(kernels), 'kernel')}; got {list(weights)}")
    for kernel in kernels:
        require_metropolis(kernel, "a mixture")
    edges = torch.tensor(weights, dtype=torch.float64, device="cpu").cumsum(0)

    def init(x: Tensor) -> MixtureState:
        return MixtureState(x, kernels[0].init(x), 0)

    def draw_noise(x: Tensor, generator: torch.Generator) -> MixtureNoise:
        u = torch.rand((), generator=generator, dtype=torch.float64, device=generator.device).cpu()
        choice = int(torch.searchsorted(edges, u * edges[-1], right=True).clamp(max=len(kernels) - 1))
        return MixtureNoise(choice, kernels[choice].draw_noise(x, generator))

    def step(state: MixtureState, noise: MixtureNoise, *steps: Move) -> tuple[MixtureState, MixtureInfo]:
        local = state.local if noise.choice == state.choice else arrived(kernels[noise.choice], state)
        local, info = steps[noise.choice](local, noise.local)
        which = torch.full_like(info.accept_prob, noise.choice)
        return MixtureState(local.x, local, noise.choice), MixtureInfo(*info[:4], kernel=which)

    def arrived(kernel: Sampler, state: MixtureState) -> Any:
        return kernel.at(state.x, state.value, state.grad) if shared and kernel.at else kernel.init(state.x)

    first = kernels[0]
    alike = all(k.at and k.f is first.f and k.preconditioner is first.preconditioner for k in kernels)
    shared = alike and first.f is not None
    shares = [w / sum(weights) for w in weights]
    arrivals = [0 if shared else (1 - p) * k.ahead for p, k in zip(shares, kernels, strict=True)]
    gradients = sum(p * (k.gradients + more) for p, k, more in zip(shares, kernels, arrivals, strict=True))
    return Sampler(
        init, Scheduled(step, *(k.step for k in kernels)), draw_noise, target_accept=kernels[0].target_accept,
        gradients=gradients, ahead=kernels[0].ahead, f=kernels[0].f,
    )  # fmt: skip

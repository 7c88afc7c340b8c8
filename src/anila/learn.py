"""Learning moves f along points: Algorithm 1 of Karimi, Xie & Li 2023.

The log-likelihood gradient is ∇θ log p_θ(x) = ∇θ f_θ(x) − E_{z ~ p_θ} ∇θ f_θ(z). The expectation is replaced by M
chains that made K transitions, so one iteration is

    z ← K transitions of the sampler from the start        (line: transitions)
    g = mean_i ∇θ f(xᵢ) − mean_m ∇θ f(z^m)                 (line: gradient)
    θ ← θ + η g                                            (line: ascent; any optimiser)
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from anila.chains import Start
from anila.core import LogDensity, require_one_number_a_row, rng
from anila.samplers import Sampler, Trace, sample

IDLE_ITERATIONS = 20
"""After so many iterations in a row without an accepted global move, no more are made."""


class NotFinite(ArithmeticError):
    """A chain, f or its gradient was NaN or infinite; θ was not moved."""


class Steered:
    """A Metropolis sampler whose step_size follows its acceptance from one iteration to the next.

    As f sharpens under training, a fixed step would come to be rejected always. Within an iteration the kernel is
    fixed; after it, log step_size ← log step_size + rate · (acceptance − accept).

    Args:
        make: step_size -> Sampler.
        step_size: The first one.
        accept: Acceptance aimed at; 0.57 is the optimum of Langevin proposals (Roberts & Rosenthal 1998).
        rate: How fast it follows.
    """

    def __init__(self, make: Callable[[float], Sampler], step_size: float, accept: float = 0.57, rate: float = 0.2):
        self.make, self.step_size, self.accept, self.rate = make, step_size, accept, rate

    def kernel(self) -> Sampler:
        """The sampler of this iteration."""
        return self.make(self.step_size)

    def follow(self, accept_prob: float) -> None:
        """Adjust step_size after an iteration with this mean acceptance."""
        self.step_size *= math.exp(self.rate * (accept_prob - self.accept))


def contrast(
    f: LogDensity, x_data: Float[Tensor, "n *event"], x_model: Float[Tensor, "m *event"]
) -> tuple[Tensor, Tensor]:
    """mean f(x_data) and mean f(x_model); θ ascends their difference (Algorithm 1, line: gradient)."""
    values = f(torch.cat([x_data, x_model]))
    require_one_number_a_row(values, torch.cat([x_data, x_model]))
    return values[: len(x_data)].mean(), values[len(x_data) :].mean()


class Learner:
    """One update of θ at a time, with everything that changes in `state_dict()`.

    Args:
        model: f as a module, (n, *event) -> (n,).
        sampler: Kernel bound to this model, or a `Steered` one.
        start: Where the chains start and are stored: `FromNoise`, `FromData`, `Persistent` or `Replay`.
        optimizer: Any torch optimiser over the model's parameters; it descends −(likelihood).
        steps: Transitions K an iteration.
        seed: With the iteration's number, determines all the noise of an iteration.
        chains: Number of chains M; as many as data points by default.
        schedule: A torch learning-rate schedule, stepped once an iteration.
        ema: Decay of the exponential moving average of θ; 0 keeps none.
        data_noise: Standard deviation of normal noise added to the data, in its units.
        max_grad_norm: The gradient in θ is scaled down to this norm where it exceeds it.

    >>> from anila.networks import mlp
    >>> from anila.chains import Persistent
    >>> from anila.samplers import mala
    >>> model = mlp(2, hidden=(8,))
    >>> optimizer = torch.optim.SGD(model.parameters(), 0.1)
    >>> learner = Learner(model, mala(model, 0.1), Persistent(torch.zeros(16, 2)), optimizer, steps=5)
    >>> sorted(learner.update(torch.ones(16, 2)))
    ['accept_prob', 'clipped', 'energy_gap', 'grad_norm', 'step_size']
    """

    def __init__(
        self,
        model: nn.Module,
        sampler: Sampler | Steered,
        start: Start,
        optimizer: torch.optim.Optimizer,
        steps: int,
        seed: int = 0,
        *,
        chains: int | None = None,
        schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
        ema: float = 0.0,
        data_noise: float = 0.0,
        max_grad_norm: float = math.inf,
    ):
        self.model, self.sampler, self.start, self.optimizer = model, sampler, start, optimizer
        self.steps, self.seed, self.chains, self.schedule = steps, seed, chains, schedule
        self.data_noise, self.max_grad_norm = data_noise, max_grad_norm
        self.ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema), use_buffers=True) if ema else None
        self.iteration = 0
        self.global_idle = 0

    def update(self, x_data: Float[Tensor, "n *event"]) -> dict[str, float]:
        """One iteration of Algorithm 1.

        Returns:
            energy_gap: d_t = mean f(x_data) − mean f(x_model), the quantity θ ascends.
            grad_norm: r_t, mean over steps and chains of ‖∇f‖₂.
            accept_prob, step_size, clipped (and global_accept): means over steps and chains.

        Raises:
            NotFinite: Before θ moves, if a chain, f or the gradient is not finite.
        """
        generator = rng(self.seed, "chains", self.iteration, device=x_data.device)
        z0 = self.start.draw(self.chains or len(x_data), generator).to(x_data)
        if self.data_noise:
            noise = torch.randn(x_data.shape, generator=generator, device=x_data.device, dtype=x_data.dtype)
            x_data = x_data + self.data_noise * noise
        z, trace = self.run_chains(z0, generator)
        gap = self.ascend(x_data, z)
        self.start.store(z)
        self.iteration += 1
        return {"energy_gap": gap, **trace.means()}

    def run_chains(self, z: Tensor, generator: torch.Generator) -> tuple[Tensor, Trace]:
        """K transitions from z (Algorithm 1, line: transitions), parameters frozen."""
        sampler = self.kernel
        if sampler.local and self.global_idle >= IDLE_ITERATIONS:
            sampler = sampler.local
        with frozen(self.model):
            z, trace = sample(sampler, z, self.steps, generator)
        if not bool(torch.isfinite(z).all()):
            raise NotFinite(f"iteration {self.iteration}: a chain became non-finite")
        if "global_accept" in trace:
            self.global_idle = 0 if bool((trace["global_accept"] > 0).any()) else self.global_idle + 1
        if isinstance(self.sampler, Steered):
            self.sampler.follow(trace["accept_prob"].double().mean().item())
        return z, trace

    def ascend(self, x_data: Tensor, z: Tensor) -> float:
        """θ ← θ + η (mean ∇θ f(x_data) − mean ∇θ f(z)) (Algorithm 1, lines: gradient, ascent)."""
        f_data, f_model = contrast(self.model, x_data, z)
        self.optimizer.zero_grad()
        (f_model - f_data).backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        gap = (f_data - f_model).item()
        if not math.isfinite(gap) or not bool(torch.isfinite(norm)):
            raise NotFinite(
                f"iteration {self.iteration}: f(data) = {f_data.item():.4g}, f(chains) = {f_model.item():.4g}, "
                f"‖∇θ‖ = {norm.item():.4g}; θ was not moved"
            )
        self.optimizer.step()
        if self.schedule:
            self.schedule.step()
        if self.ema:
            self.ema.update_parameters(self.model)
        return gap

    @property
    def kernel(self) -> Sampler:
        """The sampler of this iteration."""
        return self.sampler.kernel() if isinstance(self.sampler, Steered) else self.sampler

    @property
    def best_model(self) -> nn.Module:
        """The averaged model where there is one, else the model: what to sample and to evaluate."""
        return self.ema.module if self.ema else self.model

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes: model, EMA, optimiser, schedule, chains, iteration."""
        return {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict() if self.ema else {},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else {},
            "start": self.start.state_dict(),
            "iteration": self.iteration,
            "global_idle": self.global_idle,
            "step_size": self.sampler.step_size if isinstance(self.sampler, Steered) else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state_dict()` was taken."""
        self.model.load_state_dict(state["model"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule:
            self.schedule.load_state_dict(state["schedule"])
        self.start.load_state_dict(state["start"])
        self.iteration, self.global_idle = state["iteration"], state["global_idle"]
        if isinstance(self.sampler, Steered):
            self.sampler.step_size = state["step_size"]


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No graph is built for the parameters while chains run."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    for p in trainable:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trainable:
            p.requires_grad_(True)

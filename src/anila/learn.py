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
from anila.core import LogDensity, exact_value, require_one_number_a_row, rng
from anila.precision import Precision, backward, both_ways, forward, gradients_in, is_rounded
from anila.samplers import Sampler, Trace, sample
from anila.steering import Steered

IDLE_ITERATIONS = 20
"""After so many iterations in a row without an accepted global move, no more are made."""
HOPELESS = 1e-9
"""Mean acceptance of global moves up to which none counts as accepted."""


class NotFinite(ArithmeticError):
    """A chain, f or its gradient was NaN or infinite; θ was not moved."""

    def __init__(self, iteration: int, what: str, cause: str):
        super().__init__(f"iteration {iteration}: {what}; θ was not moved")
        self.what, self.cause = what, cause
        """In words; and where: in the `chains`, or in `learning`, f or its gradient in θ."""


def contrast(
    f: LogDensity, x_data: Float[Tensor, "n *event"], x_model: Float[Tensor, "m *event"]
) -> tuple[Tensor, Tensor]:
    """f(x_data), (n,), and f(x_model), (m,), in one forward; θ ascends the difference of their means."""
    both = torch.cat([x_data, x_model])
    values = f(both)
    require_one_number_a_row(values, both)
    return values[: len(x_data)], values[len(x_data) :]


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
        data_noise: Standard deviation of normal noise added to the data, in its units; or that of each iteration.
        max_grad_norm: The gradient in θ is scaled down to this norm where it exceeds it.
        penalty: Weight of mean f(x_data)² + mean f(z)², which keeps f from growing (Du & Mordatch 2019).
        precision: "bf16", "fp16" or "tf32" rounds the gradients of chains (see `sample`) and of θ; None rounds nothing.

    >>> from anila.networks import mlp
    >>> from anila.chains import Persistent
    >>> from anila.samplers import mala
    >>> model = mlp(2, hidden=(8,))
    >>> optimizer = torch.optim.SGD(model.parameters(), 0.1)
    >>> learner = Learner(model, mala(model, 0.1), Persistent(torch.zeros(16, 2)), optimizer, steps=5)
    >>> sorted(learner.update(torch.ones(16, 2)))
    ['accept_prob', 'chain_range', 'clipped', 'energy_gap', 'energy_sd', 'grad_norm', 'step_size', 'theta_grad_norm']
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
        data_noise: float | Callable[[int], float] = 0.0,
        max_grad_norm: float = math.inf,
        penalty: float = 0.0,
        precision: Precision | None = None,
    ):
        self.model, self.sampler, self.start, self.optimizer = model, sampler, start, optimizer
        self.steps, self.seed, self.chains, self.schedule = steps, seed, chains, schedule
        self.data_noise, self.max_grad_norm, self.penalty = data_noise, max_grad_norm, penalty
        self.precision: Precision | None = precision
        self.ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema), use_buffers=True) if ema else None
        self.iteration = 0
        self.global_idle = 0

    def update(self, x_data: Float[Tensor, "n *event"]) -> dict[str, float]:
        """One iteration of Algorithm 1.

        Returns:
            energy_gap: d_t = mean f(x_data) − mean f(x_model), the quantity θ ascends.
            energy_sd: Spread of f within the data and within the chains, pooled.
            grad_norm: r_t, mean over steps and chains of ‖∇f‖₂.
            theta_grad_norm: Norm of the gradient in θ, before it is limited.
            chain_range: Largest |coordinate| of a chain, in that of the data.
            accept_prob, step_size, clipped (and global_accept): means over steps and chains.

        Raises:
            NotFinite: Before θ moves, if a chain, f or the gradient is not finite.
        """
        generator = rng(self.seed, "chains", self.iteration, device=x_data.device)
        z0 = self.start.draw(self.chains or len(x_data), generator).to(x_data)
        x_data = self.noisy(x_data, generator)
        z, trace = self.run_chains(z0, generator)
        metrics = self.ascend(x_data, z)
        metrics |= {"chain_range": relative_range(z, x_data), **trace.means()}
        self.start.store(z)
        self.follow(metrics)
        self.iteration += 1
        return metrics

    def noisy(self, x_data: Tensor, generator: torch.Generator) -> Tensor:
        """The data with this iteration's noise."""
        sd = self.data_noise(self.iteration) if callable(self.data_noise) else self.data_noise
        if sd == 0:
            return x_data
        noise = torch.randn(x_data.shape, generator=generator, device=x_data.device, dtype=x_data.dtype)
        return x_data + sd * noise

    def run_chains(self, z: Tensor, generator: torch.Generator) -> tuple[Tensor, Trace]:
        """K transitions from z (Algorithm 1, line: transitions), parameters frozen."""
        sampler = self.kernel
        if sampler.local and self.global_idle >= IDLE_ITERATIONS:
            sampler = sampler.local
        with frozen(self.model):
            z, trace = sample(sampler, z, self.steps, generator, precision=self.precision)
        if not bool(torch.isfinite(z).all()):
            raise NotFinite(self.iteration, "a chain became non-finite", "chains")
        return z, trace

    def ascend(self, x_data: Tensor, z: Tensor) -> dict[str, float]:
        """θ ← θ + η (mean ∇θ f(x_data) − mean ∇θ f(z)) (Algorithm 1, lines: gradient, ascent)."""
        self.optimizer.zero_grad()
        with gradients_in(self.precision), both_ways():
            f_data, f_model = self.differentiate(x_data, z)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm).item()
        gap = (f_data.mean() - f_model.mean()).item()
        if not math.isfinite(gap + norm):
            values = f"f(data) = {f_data.mean().item():.4g}, f(chains) = {f_model.mean().item():.4g}, ‖∇θ‖ = {norm:.4g}"
            raise NotFinite(self.iteration, values, "learning")
        self.optimizer.step()
        if self.schedule:
            self.schedule.step()
        if self.ema:
            self.ema.update_parameters(self.model)
        return {"energy_gap": gap, "energy_sd": pooled_sd(f_data, f_model), "theta_grad_norm": norm}

    def differentiate(self, x_data: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """θ.grad ← ∇θ of the loss; f(x_data) and f(z), never rounded."""
        with forward(x_data.device):
            f_data, f_model = (f.to(x_data) for f in contrast(self.model, x_data, z))
        loss = f_model.mean() - f_data.mean()
        if self.penalty:
            loss = loss + self.penalty * (f_data.square().mean() + f_model.square().mean())
        backward(loss, self.model.parameters())
        if not is_rounded():
            return f_data, f_model
        return exact_value(self.model, x_data), exact_value(self.model, z)

    def follow(self, metrics: dict[str, float]) -> None:
        """What changes with what the chains reported: steered settings, and whether global moves go on."""
        if "global_accept" in metrics:
            self.global_idle = 0 if metrics["global_accept"] > HOPELESS else self.global_idle + 1
        if isinstance(self.sampler, Steered):
            self.sampler.follow(metrics)

    @property
    def kernel(self) -> Sampler:
        """The sampler of this iteration."""
        return self.sampler.kernel(self.iteration) if isinstance(self.sampler, Steered) else self.sampler

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
            "sampler": self.sampler.state_dict() if isinstance(self.sampler, Steered) else {},
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
            self.sampler.load_state_dict(state["sampler"])


def pooled_sd(a: Tensor, b: Tensor) -> float:
    """√((var a + var b) / 2)."""
    return ((a.var(correction=0) + b.var(correction=0)) / 2).sqrt().item()


def relative_range(z: Tensor, x_data: Tensor) -> float:
    """Largest |coordinate| of z, in that of the data."""
    return (z.abs().max() / x_data.abs().max().clamp(min=torch.finfo(z.dtype).tiny)).item()


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

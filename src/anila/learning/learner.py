"""Learning moves f along points: Algorithm 1 of Karimi, Xie & Li 2023.

The log-likelihood gradient is ∇θ log p_θ(x) = ∇θ f_θ(x) − E_{z ~ p_θ} ∇θ f_θ(z). The expectation is replaced by M
chains that made K transitions, so one iteration is

    z ← K transitions of the sampler from the start        (line: transitions)
    g = mean_i ∇θ f(xᵢ) − mean_m ∇θ f(z^m)                 (line: gradient)
    θ ← θ + η g                                            (line: ascent; any optimiser)

Where f is of classes, log p(x) + w log p(y | x) is ascended (JEM, Grathwohl et al. 2020, eq. 9): w mean_i ∇θ log
p_θ(yᵢ | xᵢ), which needs no chains, is added to g. Chains at a temperature T aim at exp(f / T): then p(y | x) is the
softmax of f(x) / T, and T log p(y | x) is ascended, which asks f to tell classes apart by a few T, not by a few units.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from anila.density.log_density import LogDensity, exact_value, require_one_number_a_row
from anila.density.networks import Conditional, is_normalised, power_iteration
from anila.density.precision import Precision, backward, both_ways, forward, gradients_in, is_rounded
from anila.learning.distributed import ALONE, Ranks, assembled, cut_like, piece, replicate, shard, talking, whole
from anila.learning.starts import Persistent, Start
from anila.rng import rng
from anila.samplers import Sampler, Trace, sample
from anila.samplers.adaptation import Steered
from anila.samplers.kernel import among

IDLE_ITERATIONS = 20
"""After so many iterations in a row without an accepted global move, no more are made."""
HOPELESS = 1e-9
"""Mean acceptance of global moves up to which none counts as accepted."""


class NotFinite(ArithmeticError):
    """A chain, f or its gradient was NaN or infinite, on any process; θ was not moved."""

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


def contrast_and_logits(
    f: Callable[..., Tensor], x_data: Float[Tensor, "n *event"], x_model: Float[Tensor, "m *event"]
) -> tuple[Tensor, Tensor, Tensor]:
    """The contrast of a `Conditional` f, and its f(x_data)[y] of every class, (n, classes)."""
    both = torch.cat([x_data, x_model])
    logits = f(both, by_class=True).to(both)
    values = logits.logsumexp(1)
    return values[: len(x_data)], values[len(x_data) :], logits[: len(x_data)]


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
        classify: Weight w of log p(y | x) for a model that is a `Conditional`; `update` then takes labels.
        temperature: T of the law exp(f / T) that chains aim at, with which classes are told apart.
        precision: "bf16", "fp16" or "tf32" rounds the gradients of chains (see `sample`) and of θ; None rounds nothing.
        compile: Whether transitions are compiled (see `sample`).
        micro_batch: Chains, or data points, evaluated at once by a process; None all. Changes memory, not results.
        ranks: The processes that share data and chains; every one calls `update` with the same data.
        sharded: Whether θ and all that belongs to it are in pieces over the ranks.

    Raises:
        ValueError: If several ranks are to share a number of chains that is not given, or gradients in fp16, which each
            would scale by another number; or if a model without classes is to classify.

    >>> from anila.density.networks import mlp
    >>> from anila.learning.starts import Persistent
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
        classify: float = 0.0,
        temperature: float = 1.0,
        precision: Precision | None = None,
        compile: bool = False,
        micro_batch: int | None = None,
        ranks: Ranks = ALONE,
        sharded: bool = False,
    ):
        if classify and not isinstance(model, Conditional):
            raise ValueError(f"classify={classify} needs a Conditional model, got a {type(model).__name__}")
        self.model, self.sampler, self.start, self.optimizer = model, sampler, start, optimizer
        self.steps, self.seed, self.chains, self.schedule = steps, seed, chains, schedule
        self.data_noise, self.max_grad_norm, self.penalty = data_noise, max_grad_norm, penalty
        self.classify, self.temperature = classify, temperature
        self.precision: Precision | None = precision
        self.ema = AveragedModel(model, multi_avg_fn=averaging(ema), use_buffers=True) if ema else None
        self.compile, self.micro_batch, self.ranks = compile, micro_batch, ranks
        self.iteration = 0
        self.global_idle = 0
        if ranks.size > 1:
            self.take_share(sharded)
        self.replica = replicate(model, ranks)

    def take_share(self, sharded: bool) -> None:
        """Keep this rank's part of the bank of chains, and of θ, its average and the optimiser's state."""
        if self.chains is None:
            raise ValueError(f"{self.ranks.size} processes share the chains: say how many there are with chains=…")
        if self.precision == "fp16":
            raise ValueError("fp16 scales gradients process by process; for several processes use bf16 or tf32")
        if isinstance(self.start, Persistent):
            self.start.keep(self.ranks.share(self.chains), self.chains)
        if sharded:
            shard(self.model, self.ranks, self.optimizer)
            if self.ema:
                shard(self.ema.module, self.ranks)

    def update(self, x_data: Float[Tensor, "n *event"], y_data: Int[Tensor, "n"] | None = None) -> dict[str, float]:
        """One iteration of Algorithm 1.

        Args:
            x_data: Data points.
            y_data: Their classes, where the learner is to `classify`.

        Returns:
            energy_gap: d_t = mean f(x_data) − mean f(x_model), the quantity θ ascends.
            energy_sd: Spread of f within the data and within the chains, pooled.
            grad_norm: r_t, mean over steps and chains of ‖∇f‖₂.
            theta_grad_norm: Norm of the gradient in θ, before it is limited.
            chain_range: Largest |coordinate| of a chain, in that of the data.
            accept_prob, step_size, clipped (and global_accept): means over steps and chains.
            accuracy: Fraction of the data points whose class f rates highest (where there are classes).

        Raises:
            ValueError: If labels are missing, or are given and not learned.
            NotFinite: Before θ moves, if a chain, f or the gradient is not finite.
        """
        if (y_data is None) == bool(self.classify):
            got = "none" if y_data is None else "some"
            raise ValueError(f"update: expected labels exactly where classify is above 0: it is {self.classify}, {got}")
        chains, n = self.chains or len(x_data), len(x_data)
        mine = self.ranks.share(chains)
        generator = rng(self.seed, "chains", self.iteration, device=x_data.device)
        z0 = self.start.draw(chains, generator, mine).to(x_data)
        x_data = self.noisy(x_data, generator)[self.ranks.share(n)]
        y_data = y_data if y_data is None else y_data[self.ranks.share(n)]
        with whole(self.model):
            z, trace = self.run_chains(z0, generator, mine, chains)
            metrics = self.overall(x_data, z, trace, chains)
            found = self.gradient(x_data, z, n, chains, y_data)
        metrics = self.ascend(found) | metrics
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

    def run_chains(self, z: Tensor, generator: torch.Generator, rows: slice, chains: int) -> tuple[Tensor, Trace]:
        """K transitions from z, these rows of all chains (Algorithm 1, line: transitions), parameters frozen."""
        sampler = self.kernel
        if sampler.local and self.global_idle >= IDLE_ITERATIONS:
            sampler = sampler.local
        noise, size, done = generator.get_state(), self.micro_batch or len(z), []
        how: dict[str, Any] = {"precision": self.precision, "compile": self.compile}
        with frozen(self.model):
            for part in z.split(size):
                first = rows.start + size * len(done)
                generator.set_state(noise)
                part_of = among(sampler, slice(first, first + len(part)), chains)
                done.append(sample(part_of, part, self.steps, generator, **how))
        ends, traces = zip(*done, strict=True)
        return torch.cat(ends), Trace.beside(traces)

    def overall(self, x_data: Tensor, z: Tensor, trace: Trace, chains: int) -> dict[str, float]:
        """What the chains of all ranks report together; they go on together only if every one is finite."""
        means = trace.means()
        lost = float((~torch.isfinite(z).flatten(1).all(1)).sum())
        ranges = z.abs().max().item(), x_data.abs().max().item()
        rows = self.ranks.gather([lost, *ranges, *(m * (len(z) / chains) for m in means.values())])
        if rows[:, 0].any():
            where = f" on process {rows[:, 0].nonzero().flatten().tolist()}" if self.ranks.size > 1 else ""
            raise NotFinite(self.iteration, f"a chain became non-finite{where}", "chains")
        z_range, x_range = rows[:, 1:3].amax(0).tolist()
        found = {"chain_range": z_range / max(x_range, torch.finfo(z.dtype).tiny)}
        return found | dict(zip(means, rows[:, 3:].sum(0).tolist(), strict=True))

    def gradient(self, x_data: Tensor, z: Tensor, n: int, chains: int, y_data: Tensor | None = None) -> Tensor:
        """Minus g = mean ∇θ f(x_data) − mean ∇θ f(z) over all ranks (Algorithm 1, line: gradient), left in θ's .grad.

        Returns:
            This rank's part of the means of f and f² over the data, and over the chains, and of the accuracy where
            there are labels, (4,) or (5,).
        """
        self.optimizer.zero_grad()
        most = max(len(x_data), len(z))
        parts = -(-most // (self.micro_batch or most))
        labels = [None] * parts if y_data is None else y_data.tensor_split(parts)
        found = []
        for x, y, z_part in zip(x_data.tensor_split(parts), labels, z.tensor_split(parts), strict=True):
            with talking(self.replica, now=len(found) == parts - 1), gradients_in(self.precision), both_ways():
                f_data, f_model, right = self.differentiate(x, z_part, n, chains, y)
            found.append(torch.cat([moments(f_data, n), moments(f_model, chains), right / n]))
        return torch.stack(found).sum(0)

    def differentiate(
        self, x_data: Tensor, z: Tensor, n: int, chains: int, y_data: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Add to θ's .grad what these of n data points and of all chains contribute.

        Returns:
            f of them, never rounded; and how many classes are right, (1,), or (0,) without labels.
        """
        terms = contrast if y_data is None else contrast_and_logits
        with forward(x_data.device):
            f_data, f_model, *logits = (f.to(x_data) for f in terms(self.replica, x_data, z))
        loss = f_model.sum() / chains - f_data.sum() / n
        right = torch.zeros(0, dtype=torch.float64)
        if y_data is not None:
            T = self.temperature
            loss = loss + self.classify * T * cross_entropy(logits[0] / T, y_data, reduction="sum") / n
            right = (logits[0].argmax(1) == y_data).sum().cpu().double()[None]
        if self.penalty:
            loss = loss + self.penalty * (f_data.square().sum() / n + f_model.square().sum() / chains)
        backward(self.ranks.size * loss, self.model.parameters())  # what is averaged over ranks is a sum
        if not is_rounded():
            return f_data, f_model, right
        return exact_value(self.model, x_data), exact_value(self.model, z), right

    def ascend(self, moments: Tensor) -> dict[str, float]:
        """θ ← θ + η g (Algorithm 1, line: ascent), given this rank's part of the moments of f."""
        norm = assembled(nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)).item()
        rows = self.ranks.gather([norm, *moments.tolist()])
        norm, means = rows[:, 0].max().item(), rows[:, 1:].sum(0).tolist()
        f_data, square_data, f_model, square_model, *right = means
        if not math.isfinite(f_data + f_model + norm):
            values = f"f(data) = {f_data:.4g}, f(chains) = {f_model:.4g}, ‖∇θ‖ = {norm:.4g}"
            raise NotFinite(self.iteration, values, "learning")
        variance = (square_data - f_data**2 + square_model - f_model**2) / 2
        self.optimizer.step()
        if self.schedule:
            self.schedule.step()
        if self.ema:
            self.ema.update_parameters(self.model)
        self.iterate_norms()
        found = {"energy_gap": f_data - f_model, "energy_sd": math.sqrt(max(0.0, variance)), "theta_grad_norm": norm}
        return found | ({"accuracy": right[0]} if right else {})

    def iterate_norms(self) -> None:
        """Spectral norms follow θ: once an iteration, and never while chains run."""
        for net in [self.model, *([self.ema.module] if self.ema else [])]:
            if is_normalised(net):
                with whole(net):
                    power_iteration(net)

    def follow(self, metrics: dict[str, float]) -> None:
        """What changes with what the chains reported: steered settings, and whether global moves go on."""
        if "global_accept" in metrics:
            self.global_idle = 0 if metrics["global_accept"] > HOPELESS else self.global_idle + 1
        if isinstance(self.sampler, Steered):
            self.sampler.follow(metrics)

    @property
    def kernel(self) -> Sampler:
        """The sampler of this iteration."""
        if not isinstance(self.sampler, Steered):
            return self.sampler
        if self.compile:
            return self.sampler.compiled_kernel(self.iteration, next(self.model.parameters()).device)
        return self.sampler.kernel(self.iteration)

    @property
    def best_model(self) -> nn.Module:
        """The averaged model where there is one, else the model: what to sample and to evaluate."""
        return self.ema.module if self.ema else self.model

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes: model, EMA, optimiser, schedule, chains, iteration.

        Every rank must call it, and each gets the whole, so it does not depend on how many they are.
        """
        start = self.start.state_dict()
        return {
            "model": assembled(self.model.state_dict()),
            "ema": assembled(self.ema.state_dict()) if self.ema else {},
            "optimizer": assembled(self.optimizer.state_dict()),
            "schedule": self.schedule.state_dict() if self.schedule else {},
            "start": {k: self.ranks.join(x) for k, x in start.items()} if isinstance(self.start, Persistent) else start,
            "iteration": self.iteration,
            "global_idle": self.global_idle,
            "sampler": self.sampler.state_dict() if isinstance(self.sampler, Steered) else {},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on exactly where `state_dict()` was taken."""
        load(self.model, state["model"])
        if self.ema:
            load(self.ema, state["ema"])
        theta = [p for group in self.optimizer.param_groups for p in group["params"]]
        moments = {i: {k: cut_like(v, theta[i]) for k, v in s.items()} for i, s in state["optimizer"]["state"].items()}
        self.optimizer.load_state_dict(state["optimizer"] | {"state": moments})
        if self.schedule:
            self.schedule.load_state_dict(state["schedule"])
        self.start.load_state_dict(state["start"])
        self.iteration, self.global_idle = state["iteration"], state["global_idle"]
        if isinstance(self.sampler, Steered):
            self.sampler.load_state_dict(state["sampler"])


def moments(f: Tensor, n: int) -> Tensor:
    """Σ f / n and Σ f² / n in double precision, (2,)."""
    f = f.detach().cpu().double()
    return torch.stack([f.sum(), f.square().sum()]) / n


def averaging(decay: float) -> Callable[..., None]:
    """θ̄ ← decay θ̄ + (1 − decay) θ on what this process holds of every tensor."""
    average = get_ema_multi_avg_fn(decay)

    def update(mean: list[Tensor], theta: list[Tensor], count: Tensor | int) -> None:
        average([piece(m) for m in mean], [piece(p) for p in theta], count)

    return update


def load(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load whole tensors into a model that may be in pieces."""
    own = model.state_dict()
    model.load_state_dict({name: cut_like(value, own.get(name)) for name, value in state.items()})


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

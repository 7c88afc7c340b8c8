"""Learning: one update of θ by an objective, of which Algorithm 1 is the first.

z ← K transitions of the sampler from the start        (line: transitions; only if the objective needs chains)
up, down ← the objective's contrast                    (data and chains, in Algorithm 1)
g = mean_i w ∇θ f(upᵢ) − mean_m w ∇θ f(down_m)         (line: gradient; plus that of an anchor, if any)
θ ← θ + η g                                            (line: ascent; any optimiser)

The lines are those of Algorithm 1 of Karimi, Xie & Li 2023.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from anila.density.check import require_rows_apart
from anila.density.log_density import exact_value
from anila.density.networks import is_normalised, power_iteration
from anila.density.precision import Precision, backward, both_ways, forward, gradients_in, is_rounded
from anila.density.wrong_f import require_one_number_a_row
from anila.evaluation.training.metric import Metric
from anila.learning.chains import Chains, NotFinite, frozen
from anila.learning.distributed import ALONE, Ranks, assembled, cut_like, piece, replicate, shard, talking, whole
from anila.learning.objectives import Contrast, Objective, likelihood
from anila.learning.objectives.base import Moments, Term, Values
from anila.learning.paired import Paired
from anila.learning.requirements import labels_of, require_anchor, require_fit, require_kinds, require_ranges
from anila.learning.starts import Start
from anila.rng import normal, rng
from anila.samplers import Sampler
from anila.samplers.adaptation import AdaptiveSampler
from anila.samplers.kernel import rows_of


class Totals(NamedTuple):
    """Numbers of points up and down, over all micro-batches and ranks."""

    ups: int
    downs: int


class Learner:
    """Makes one update of θ at a time; `state_dict()` holds everything that changes.

    Args:
        model: f as a module, (n, *event) -> (n,).
        sampler: Kernel bound to this model, or an `AdaptiveSampler`; None for an objective without chains.
        start: Where the chains start and are stored: `FromNoise`, `FromData`, `Persistent` or `Replay`; None as for
            sampler.
        optimizer: Any torch optimiser over the model's parameters; it minimises minus what the objective ascends.
        steps: Transitions K per iteration.
        seed: Determines all the noise of an iteration, together with its number.
        objective: Where f goes up and where down; by default `likelihood()`, which is Algorithm 1.
        anchor: A second objective on the same data, without chains. It sees them without `data_noise`, and the norms of
            both gradients are limited separately before they are added.
        chains: Number of chains M; by default the number of data points.
        schedule: A torch learning-rate schedule, stepped once per iteration.
        ema: Decay of the exponential moving average of θ, smaller at first; 0 keeps none.
        data_noise: Standard deviation of normal noise added to the data, in its units; or a function of the iteration.
        max_grad_norm: The gradient in θ is scaled down to this norm if it is larger; so is that of an anchor.
        precision: "bf16", "fp16" or "tf32" rounds the gradients of chains (see `sample`) and of θ; None rounds nothing.
        compile: Whether transitions are compiled (see `sample`).
        micro_batch: Chains, or data points, that a process evaluates at once; None evaluates all. Changes memory, not
            results.
        ranks: The processes that share data and chains; each calls `update` with the same data.
        sharded: Whether θ, its gradient and the optimiser's state are sharded over the ranks.

    Raises:
        TypeError: If objective, anchor, sampler, start or steps has the wrong type.
        ValueError: If ema is not in [0, 1) or max_grad_norm not positive; if the objective needs chains but sampler,
            start or steps is missing, or the other way round, or an anchor needs chains; if an objective cannot use
            rounded gradients, or needs classes or levels that the model does not have; if several ranks share chains
            whose number is not given, or use fp16 gradients, which each would scale differently.

    >>> from anila.density.networks import mlp
    >>> from anila.learning.objectives import denoising
    >>> from anila.learning.starts import Persistent
    >>> from anila.samplers import mala
    >>> model = mlp(2, hidden=(8,))
    >>> optimizer = torch.optim.SGD(model.parameters(), 0.1)
    >>> learner = Learner(model, mala(model, 0.1), Persistent(torch.zeros(16, 2)), optimizer, steps=5)
    >>> sorted(learner.update(torch.ones(16, 2)))
    ['accept_prob', 'chain_range', 'clipped', 'energy_gap', 'energy_sd', 'grad_norm', 'step_size', 'theta_grad_norm']
    >>> sorted(Learner(model, optimizer=optimizer, objective=denoising(sd=0.3)).update(torch.ones(16, 2)))
    ['grad_norm', 'matching_loss', 'theta_grad_norm']
    """

    def __init__(
        self,
        model: nn.Module,
        sampler: Sampler | AdaptiveSampler | None = None,
        start: Start | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        steps: int = 0,
        seed: int = 0,
        *,
        objective: Objective | None = None,
        anchor: Objective | None = None,
        chains: int | None = None,
        schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
        ema: float = 0.0,
        data_noise: float | Callable[[int], float] = 0.0,
        max_grad_norm: float = math.inf,
        precision: Precision | None = None,
        compile: bool = False,
        micro_batch: int | None = None,
        ranks: Ranks = ALONE,
        sharded: bool = False,
    ):
        if optimizer is None:
            raise ValueError("Learner needs an optimizer over the model's parameters: optimizer=torch.optim.Adam(…)")
        self.model, self.optimizer, self.objective = model, optimizer, objective or likelihood()
        self.anchor, self.micro_batch = anchor, micro_batch
        self.seed, self.schedule, self.ranks = seed, schedule, ranks
        self.data_noise, self.max_grad_norm = data_noise, max_grad_norm
        self.precision: Precision | None = precision
        self.ema = AveragedModel(model, multi_avg_fn=averaging(ema), use_buffers=True) if ema else None
        self.iteration, self.chains = 0, None
        require_kinds(self.objective, sampler, start, micro_batch)
        require_ranges(steps, ema, max_grad_norm)
        if anchor is not None:
            require_anchor(anchor)
            require_fit(anchor, model, precision, ranks)
        if self.objective.needs_chains:
            if sampler is None or start is None or steps < 1:
                raise ValueError("this objective needs chains: give a sampler and a start, and steps for K")
            self.chains = Chains(sampler, start, steps, chains, precision, compile, micro_batch, ranks)
        elif sampler is not None or start is not None or steps or chains or compile:
            raise ValueError("this objective runs no chains: leave out sampler, start, steps, chains and compile")
        require_fit(self.objective, model, precision, ranks)
        if ranks.size > 1 and sharded:
            shard(model, ranks, optimizer)
            if self.ema:
                shard(self.ema.module, ranks)
        self.replica = replicate(model, ranks)

    def __repr__(self) -> str:
        return f"<Learner: {type(self.model).__name__} at iteration {self.iteration}, {self.objective!r}>"

    @torch.inference_mode(False)
    @torch.enable_grad()
    def update(self, x_data: Float[Tensor, "n *event"], y_data: Int[Tensor, "n"] | None = None) -> dict[str, float]:
        """One iteration.

        Args:
            x_data: Data points.
            y_data: Their classes, if these are learned (`needs_classes`).

        Returns:
            theta_grad_norm: Norm of the gradient in θ before it is limited.
            What the objective reports; for `likelihood`:
            energy_gap: d_t = mean f(x_data) − mean f(x_model), the quantity θ ascends.
            energy_sd: Spread of f within the data and within the chains, pooled.
            If there are chains:
            grad_norm: r_t, mean over steps and chains of ‖∇f‖₂.
            chain_range: Largest |coordinate| of a chain, relative to that of the data.
            accept_prob, step_size, clipped (and global_accept): means over steps and chains.
            If there is an anchor, what it reports under other names, and anchor_grad_norm: the norm of its gradient.

        Raises:
            ValueError: If classes are missing, are given but not learned, or are not one whole number per data point;
                at the first iteration, if chains run and the model is random or couples the rows of a batch.
            NotFinite: Before θ moves, if a chain, f or the gradient is not finite.
        """
        if not self.objective.moves:
            self.iteration += 1
            return {}
        n, reported, y_data = len(x_data), {}, labels_of(x_data, y_data, self.needs_classes)
        generator = rng(self.seed, "chains", self.iteration, device=x_data.device)
        z, count, clean, y = None, self.chains.count or n if self.chains else 0, x_data, y_data
        with whole(self.model):
            if self.chains:
                if self.iteration == 0 and n > 1:
                    require_rows_apart(self.model, x_data[:2])
                if isinstance(self.chains.start, Paired):
                    x_data, y = self.chains.start.meet(x_data, y, partial(self.noisy, generator=generator), generator)
                z = self.chains.draw(count, generator).to(x_data)
            x_data = self.noisy(x_data, generator)
            noise, mine = self.objective.draw_noise(x_data, generator), self.ranks.share(n)
            x_data, noise = x_data[mine], rows_of(noise, mine)
            if self.chains and z is not None:
                z, trace = self.chains.run(self.model, z, generator, count, self.iteration)
                reported = self.chains.report(x_data, z, trace, count, self.iteration)
            contrasts = self.contrasts(self.objective, x_data, z, noise, rows_of(y, mine))
            found = self.gradient(self.objective, contrasts)
        metrics = self.limit(self.objective, found) | reported
        if self.anchor:
            metrics = self.hold(self.anchor, clean, y_data) | metrics
        self.ascend()
        if self.chains and z is not None:
            self.chains.start.store(z)
            self.chains.follow(metrics)
        self.iteration += 1
        return metrics

    def noisy(self, x_data: Tensor, generator: torch.Generator) -> Tensor:
        """The data with this iteration's noise."""
        sd = self.data_noise(self.iteration) if callable(self.data_noise) else self.data_noise
        if sd == 0:
            return x_data
        return x_data + sd * normal(x_data.shape, x_data, generator)

    def hold(self, anchor: Objective, x_data: Tensor, y_data: Tensor | None) -> dict[str, float]:
        """Add the anchor's gradient, limited separately, to θ's .grad; returns what the anchor reports."""
        theta = list(self.model.parameters())
        grads = [p.grad for p in theta]
        noise = anchor.draw_noise(x_data, rng(self.seed, "anchor", self.iteration, device=x_data.device))
        mine = self.ranks.share(len(x_data))
        x_data, noise, y_data = (rows_of(rows, mine) for rows in (x_data, noise, y_data))
        with whole(self.model):
            found = self.gradient(anchor, self.contrasts(anchor, x_data, None, noise, y_data))
        metrics = self.limit(anchor, found)
        for p, grad in zip(theta, grads, strict=True):
            if p.grad is None:
                p.grad = grad
            elif grad is not None:
                p.grad += grad
        return metrics | {"anchor_grad_norm": metrics["theta_grad_norm"]}

    def contrasts(
        self, objective: Objective, x_data: Tensor, z: Tensor | None, noise: Any, y_data: Tensor | None = None
    ) -> list[Contrast]:
        """Where f goes up and where down, in micro-batches."""
        most = max(len(x_data), 0 if z is None else len(z))
        parts = -(-most // (self.micro_batch or most))
        found = []
        with frozen(self.model):
            for k in range(parts):
                x, x_model, part_of_noise, y = (part(rows, k, parts) for rows in (x_data, z, noise, y_data))
                more = {"classes": y} if objective.needs_classes else {}
                found.append(objective.contrast(self.model, x, x_model, part_of_noise, **more))
        return found

    def gradient(self, objective: Objective, contrasts: list[Contrast]) -> dict[str, float]:
        """Put minus g of an objective, over all ranks (Algorithm 1, line: gradient), into θ's .grad.

        Returns:
            This rank's contribution to the means of f and f² over the points up and down, and to every metric.
        """
        self.optimizer.zero_grad()
        sizes = [float(sum(len(side) for side in sides)) for sides in zip(*(c[:2] for c in contrasts), strict=True)]
        totals = Totals(*(int(n) for n in self.ranks.gather(sizes).sum(0).tolist()))
        found: dict[str, float] = {}
        for k, contrast in enumerate(contrasts):
            with talking(self.replica, now=k == len(contrasts) - 1), gradients_in(self.precision), both_ways():
                for name, value in self.differentiate(contrast, totals, objective.term).items():
                    found[name] = found.get(name, 0.0) + value
        return found

    def differentiate(self, contrast: Contrast, totals: Totals, term: Term | None = None) -> dict[str, float]:
        """Add the contribution of these points to θ's .grad; returns their part of all means, with f never rounded."""
        both, ups = torch.cat([contrast.up, contrast.down]), len(contrast.up)
        with forward(both.device):
            f, logits = evaluated(self.replica, contrast, both)
        values = Values(f[:ups], f[ups:], logits, contrast.classes, *totals)
        loss = (contrast.down_weight * values.down).sum() / totals.downs
        loss = loss - (contrast.up_weight * values.up).sum() / totals.ups
        added, more = term(values) if term else (0.0, {})
        backward(self.ranks.size * (loss + added), self.model.parameters())  # DDP averages over ranks; this is a sum
        if is_rounded():
            f = torch.cat([exact_value(contrast.density(self.model), side) for side in contrast[:2]])
        up, down = moments(f[:ups], totals.ups), moments(f[ups:], totals.downs)
        found = dict(zip(Moments._fields, [*up.tolist(), *down.tolist()], strict=True))
        found |= {name: (rows.detach().double().sum() / totals.ups).item() for name, rows in contrast.metrics.items()}
        return found | {name: value.detach().item() for name, value in more.items()}

    def limit(self, objective: Objective, found: dict[str, float]) -> dict[str, float]:
        """Scale g down if it is too long; returns what the objective reports, given this rank's part of all means.

        Raises:
            NotFinite: If f or g is not finite.
        """
        norm = assembled(nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)).item()
        rows = self.ranks.gather([norm, *found.values()])
        norm, means = rows[:, 0].max().item(), dict(zip(found, rows[:, 1:].sum(0).tolist(), strict=True))
        f = Moments(*(means.pop(name) for name in Moments._fields))
        if not math.isfinite(f.up + f.down + norm):
            up, down = objective.sides
            values = f"f({up}) = {f.up:.4g}, f({down}) = {f.down:.4g}, ‖∇θ‖ = {norm:.4g}"
            of_chains = objective.needs_chains and math.isfinite(f.up + norm)
            raise NotFinite(self.iteration, values, "chains" if of_chains else "learning")
        return objective.report(f) | {"theta_grad_norm": norm} | means

    def ascend(self) -> None:
        """θ ← θ + η g (Algorithm 1, line: ascent), and then update the average of θ."""
        self.optimizer.step()
        if self.schedule:
            self.schedule.step()
        if self.ema:
            self.ema.update_parameters(self.model)
        self.iterate_norms()

    def iterate_norms(self) -> None:
        """Let spectral norms follow θ: once per iteration, never while chains run."""
        for net in [self.model, *([self.ema.module] if self.ema else [])]:
            if is_normalised(net):
                with whole(net):
                    power_iteration(net)

    @property
    def needs_classes(self) -> bool:
        """Whether `update` needs the classes of the data."""
        return self.objective.needs_classes or (self.anchor is not None and self.anchor.needs_classes)

    @property
    def watched(self) -> tuple[Metric, ...]:
        """The reported metrics that the guard and the plots follow."""
        of_anchor = self.anchor.watched if self.anchor else ()
        return tuple({metric.name: metric for metric in (*self.objective.watched, *of_anchor)}.values())

    @property
    def best_model(self) -> nn.Module:
        """The model to sample and evaluate: the averaged one if there is one."""
        return self.ema.module if self.ema else self.model

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes: model, EMA, optimiser, schedule, chains, iteration.

        Every rank must call it and receives the whole state, which does not depend on the number of ranks.
        """
        return {
            "model": assembled(self.model.state_dict()),
            "ema": assembled(self.ema.state_dict()) if self.ema else {},
            "optimizer": assembled(self.optimizer.state_dict()),
            "schedule": self.schedule.state_dict() if self.schedule else {},
            "iteration": self.iteration,
            **(self.chains.state_dict() if self.chains else {}),
        }

    def go_on_averaging(self, state: Mapping[str, Any]) -> None:
        """Take over the average of θ from another learner's `state_dict()`, if both keep one."""
        if self.ema and state["ema"]:
            load(self.ema, state["ema"])

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume exactly where `state_dict()` was taken."""
        load(self.model, state["model"])
        if self.ema:
            load(self.ema, state["ema"])
        theta = [p for group in self.optimizer.param_groups for p in group["params"]]
        moments = {i: {k: cut_like(v, theta[i]) for k, v in s.items()} for i, s in state["optimizer"]["state"].items()}
        self.optimizer.load_state_dict(state["optimizer"] | {"state": moments})
        if self.schedule:
            self.schedule.load_state_dict(state["schedule"])
        if self.chains:
            self.chains.load_state_dict(state)
        self.iteration = state["iteration"]


def part(rows: Any, k: int, parts: int) -> Any:
    """The k-th of `parts` micro-batches of rows, which may be a tensor, a tuple of tensors, or None."""
    if isinstance(rows, Tensor):
        return rows.tensor_split(parts)[k]
    return type(rows)(*(part(field, k, parts) for field in rows)) if isinstance(rows, tuple) else rows


def evaluated(f: nn.Module, contrast: Contrast, both: Tensor) -> tuple[Tensor, Tensor | None]:
    """f of the points up, then down; and f[y] of every class if f has classes."""
    levels = () if contrast.levels is None else (contrast.levels.repeat(2),)
    if contrast.classes is None:
        values = f(both, *levels)
        require_one_number_a_row(values, both)
        return values.to(both), None
    logits = f(both, *levels, by_class=True).to(both)
    if contrast.given:
        return logits.gather(1, contrast.classes.repeat(2)[:, None]).squeeze(1), logits
    return logits.logsumexp(1), logits


def moments(f: Tensor, n: int) -> Tensor:
    """Σ f / n and Σ f² / n in double precision, (2,)."""
    f = f.detach().cpu().double()
    return torch.stack([f.sum(), f.square().sum()]) / n


def averaging(decay: float) -> Callable[..., None]:
    """θ̄ ← d θ̄ + (1 − d) θ, for the part of every tensor that this process holds.

    d = min(decay, (1 + n) / (10 + n)) after n averages, so that the untrained first θ are soon forgotten.
    """

    def update(mean: list[Tensor], theta: list[Tensor], count: Tensor | int) -> None:
        n = int(count)
        average = get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))
        average([piece(m) for m in mean], [piece(p) for p in theta], count)

    return update


def load(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load whole tensors into a model that may be sharded."""
    own = model.state_dict()
    model.load_state_dict({name: cut_like(value, own.get(name)) for name, value in state.items()})

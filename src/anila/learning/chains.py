"""The chains of one iteration: K transitions from the start (Algorithm 1, line: transitions), and what they report."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from anila.density.precision import Precision
from anila.density.rows import finite_rows
from anila.learning.distributed import Ranks
from anila.learning.paired import Paired
from anila.learning.starts import Persistent, Start
from anila.samplers import Sampler, Trace
from anila.samplers.adaptation import AdaptiveSampler
from anila.samplers.kernel import among
from anila.samplers.sample import transitions

IDLE_ITERATIONS = 20
"""Global moves stop after this many iterations in a row without an accepted one."""
HOPELESS = 1e-9
"""Mean acceptance of global moves up to which they count as never accepted."""


class NotFinite(ArithmeticError):
    """A chain, f or its gradient was NaN or infinite, on any process; θ was not moved."""

    def __init__(self, iteration: int, what: str, cause: str):
        super().__init__(f"iteration {iteration}: {what}; θ was not moved")
        self.what, self.cause = what, cause
        """What was not finite, in words; and whether in the `chains` or in `learning` (f or its θ-gradient)."""


class Chains:
    """The chains of a learner: where they start, how they move, and the settings that adapt to them.

    Args:
        sampler: Kernel bound to the learner's model, or an `AdaptiveSampler`.
        start: Where the chains start and are stored.
        steps: Transitions K per iteration.
        count: Number of chains M; None runs as many as data points.
        precision: Precision of the chains' gradients.
        compile: Whether transitions are compiled.
        micro_batch: Chains that a process moves at once; None moves all.
        ranks: The processes that share the chains.

    Raises:
        ValueError: If several ranks share the chains and count is None.
    """

    def __init__(
        self,
        sampler: Sampler | AdaptiveSampler,
        start: Start,
        steps: int,
        count: int | None,
        precision: Precision | None,
        compile: bool,
        micro_batch: int | None,
        ranks: Ranks,
    ):
        self.sampler, self.start, self.steps, self.count = sampler, start, steps, count
        self.precision: Precision | None = precision
        self.compile, self.micro_batch, self.ranks = compile, micro_batch, ranks
        self.global_idle = 0
        if ranks.size > 1:
            if count is None:
                raise ValueError(f"{ranks.size} processes share the chains: say how many there are with chains=…")
            if isinstance(start, Persistent | Paired):
                start.keep(ranks.share(count), count)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Starting points of this process's share of `count` chains."""
        return self.start.draw(count, generator, self.ranks.share(count))

    def run(
        self, model: nn.Module, z: Tensor, generator: torch.Generator, count: int, iteration: int
    ) -> tuple[Tensor, Trace]:
        """K transitions from z of this process's share of `count` chains, with the model's parameters frozen."""
        sampler, rows = self.kernel(iteration, z.device), self.ranks.share(count)
        if sampler.local and self.global_idle >= IDLE_ITERATIONS:
            sampler = sampler.local
        noise, size, done = generator.get_state(), self.micro_batch or len(z), []
        how: dict[str, Any] = {"precision": self.precision, "compile": self.compile}
        with frozen(model):
            for part in z.split(size):
                first = rows.start + size * len(done)
                generator.set_state(noise)
                part_of = among(sampler, slice(first, first + len(part)), count)
                done.append(transitions(part_of, part, self.steps, generator, **how))
        ends, traces = zip(*done, strict=True)
        return torch.cat(ends), Trace.beside(traces)

    def report(self, x_data: Tensor, z: Tensor, trace: Trace, count: int, iteration: int) -> dict[str, float]:
        """Metrics of the chains of all ranks; all ranks stop if any chain is not finite.

        Raises:
            NotFinite: If any chain is not.
        """
        means = trace.means()
        lost = float((~finite_rows(z)).sum())
        ranges = z.abs().max().item(), x_data.abs().max().item()
        rows = self.ranks.gather([lost, *ranges, *(m * (len(z) / count) for m in means.values())])
        if rows[:, 0].any():
            where = f" on process {rows[:, 0].nonzero().flatten().tolist()}" if self.ranks.size > 1 else ""
            raise NotFinite(iteration, f"a chain became non-finite{where}", "chains")
        z_range, x_range = rows[:, 1:3].amax(0).tolist()
        found = {"chain_range": z_range / max(x_range, torch.finfo(z.dtype).tiny)}
        return found | dict(zip(means, rows[:, 3:].sum(0).tolist(), strict=True))

    def follow(self, metrics: Mapping[str, float]) -> None:
        """Adapt settings to what the chains reported, and stop global moves that are never accepted."""
        if "global_accept" in metrics:
            self.global_idle = 0 if metrics["global_accept"] > HOPELESS else self.global_idle + 1
        if isinstance(self.sampler, AdaptiveSampler):
            self.sampler.adapt(metrics)

    def kernel(self, iteration: int, device: torch.device) -> Sampler:
        """The sampler of an iteration."""
        if not isinstance(self.sampler, AdaptiveSampler):
            return self.sampler
        if self.compile:
            return self.sampler.compiled_kernel(iteration, device)
        return self.sampler.kernel(iteration)

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes. Every rank must call it and receives the chains of all."""
        start, kept = self.start.state_dict(), isinstance(self.start, Persistent | Paired)
        return {
            "start": {k: self.ranks.join(x) for k, x in start.items()} if kept else start,
            "global_idle": self.global_idle,
            "sampler": self.sampler.state_dict() if isinstance(self.sampler, AdaptiveSampler) else {},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume exactly where `state_dict()` was taken."""
        self.start.load_state_dict(state["start"])
        self.global_idle = state["global_idle"]
        if isinstance(self.sampler, AdaptiveSampler):
            self.sampler.load_state_dict(state["sampler"])


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Freeze the parameters, so that no graph is built for them while chains run."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    for p in trainable:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trainable:
            p.requires_grad_(True)

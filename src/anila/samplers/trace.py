"""What is kept of a run of `sample`: positions, and what each step reported."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from anila.samplers.estimates import estimates


class Trace(Mapping[str, Tensor]):
    """What happened along a run of `sample`.

    `trace["x"]` holds the kept positions, (kept, chains, *event); every field of the kernel's info is
    (steps, chains), e.g. `trace["accept_prob"]`.
    """

    def __init__(self, fields: dict[str, Tensor], exact: bool | None = None):
        self._fields = fields
        self.exact = exact
        """Whether the kernel leaves exp f invariant; None where that is not known."""

    def __getitem__(self, name: str) -> Tensor:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def means(self) -> dict[str, float]:
        """Every info averaged over steps and chains, in float64; steps on which it was not measured (NaN) left out."""
        return {name: self[name].double().nanmean().item() for name in self if name != "x"}

    def non_finite(self) -> int:
        """Proposals at which f or ∇f was not finite: they were rejected. `trace["accept_prob"] == 0` says which."""
        return int((self["accept_prob"] == 0).sum()) if "accept_prob" in self else 0

    def summary(self) -> str:
        """A line for each info: mean, and the range over chains of the mean along each chain.

        Then, where positions were kept, the coordinates with the fewest effective samples: mean over all draws, its
        standard error, standard deviation, R̂ and ESS, and whether they are good enough, and for exp f; else what to do.
        """

        lines = [f"{'':12}{'mean':>12}{'lowest chain':>14}{'highest chain':>14}"]
        for name in (n for n in self if n != "x" and len(self[n])):
            chains = self[name].double().nanmean(0)
            lines.append(f"{name:12}{chains.mean():12.4g}{chains.min():14.4g}{chains.max():14.4g}")
        if count := self.non_finite():
            lines.append(f"{count} of {self['accept_prob'].numel()} proposals were not finite, hence rejected")
        accept_prob = self.means().get("accept_prob")
        return "\n".join([*lines, *estimates(self["x"], accept_prob, self.steepness(), self.exact)])

    def steepness(self) -> Tensor | None:
        """‖∇f‖ where kept positions are, but for the last, (kept − 1, chains); None where nothing tells."""
        if "grad_norm" not in self or not len(self["x"]):
            return None
        every = len(self["grad_norm"]) // len(self["x"])
        return self["grad_norm"][every::every][: len(self["x"])]

    @classmethod
    def beside(cls, traces: Sequence["Trace"]) -> "Trace":
        """The traces of different chains over the same steps as one."""
        return cls({name: torch.cat([trace[name] for trace in traces], 1) for name in traces[0]}, traces[0].exact)

    def to_arviz(self) -> Any:
        """The kept positions and infos as an ArviZ data tree (extra `arviz`), chains first, draws second."""
        from arviz_base import from_dict

        infos = {n: self[n].T.numpy(force=True) for n in self if n != "x"}
        return from_dict({"posterior": {"x": self["x"].transpose(0, 1).numpy(force=True)}, "sample_stats": infos})

"""What is kept of a run of `sample`: positions, and what each step reported."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from anila import notebook
from anila.density.log_density import LogDensity, exact_value
from anila.density.transform import Transformed
from anila.messages import counted
from anila.samplers.estimates import can_be_judged, estimates, symptoms
from anila.samplers.heat import Heat
from anila.samplers.remedy import remedy, shorter

DRAWN, POINTS = 8, 200
"""Chains, and positions of each, that a notebook draws."""


class Trace(Mapping[str, Tensor]):
    """What happened along a run of `sample`.

    `trace["x"]` holds the kept positions, (kept, chains, *event); every field of the kernel's info is
    (steps, chains), e.g. `trace["accept_prob"]`.
    """

    def __init__(
        self,
        fields: dict[str, Tensor],
        exact: bool | None = None,
        f: LogDensity | None = None,
        keep_every: int = 1,
        how: str = "uncompiled",
    ):
        self._fields = fields
        self.exact = exact
        """Whether the kernel leaves exp f invariant; None if unknown."""
        self.f = f
        """The log-density; None if unknown."""
        self.keep_every = keep_every
        """Steps between kept positions."""
        self.starts: Tensor | None = None
        """Where the chains, or those of the kernel's warm-up, started; None if unknown."""
        self.tuned = False
        """Whether `tune` made the kernel."""
        self.heat: Heat | None = None
        """What ∇f says about the law of the kept positions, for a kernel that accepts every proposal."""
        self.how = how
        """How the steps were made: compiled, or uncompiled and why."""

    def __getitem__(self, name: str) -> Tensor:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        """Steps and chains, what was kept, and how to get more. No verdict, as that takes a while."""
        infos, x = [name for name in self if name != "x"], self.get("x")
        steps, chains = self[infos[0]].shape if infos else (0, 0 if x is None else x.shape[1])
        kept = f"no positions: {self.none_kept}"
        if x is not None and len(x):
            kept = f"x {tuple(x.shape)}, after every {counted(self.keep_every, 'step')}"
            if isinstance(self.f, Transformed):
                named = {name: (len(x), *value.shape[1:]) for name, value in self.f.constrain(x[:1]).items()}
                kept += f"; .draws(): {', '.join(f'{name} {shape}' for name, shape in named.items())}"
        lines = [f"Trace of {counted(steps, 'step')} of {counted(chains, 'chain')}", f"  made        {self.how}"]
        if steps and "accept_prob" in self and self.exact is not False:
            lines.append(f"  acceptance  {self['accept_prob'].double().nanmean():.3g}")
        lines += [f"  infos       {', '.join(infos) or 'none'}", f"  kept        {kept}"]
        return "\n".join([*lines, "  .summary()  says whether the draws are good enough"])

    @property
    def none_kept(self) -> str:
        """Why no positions were kept, or what to do."""
        steps = next((len(self[name]) for name in self if name != "x"), 0)
        if self.keep_every > steps:
            return (
                f"keep_every={self.keep_every} is more than the {counted(steps, 'step')}; lower it, or make more steps"
            )
        return "callback got them" if self.keep_every else "sample(..., keep_every=10) keeps some"

    def means(self) -> dict[str, float]:
        """Every info averaged over steps and chains, in float64, without the steps where it was not measured (NaN)."""
        return {name: self[name].double().nanmean().item() for name in self if name != "x"}

    def non_finite(self) -> int:
        """Number of proposals rejected outright: f or ∇f was not finite there, or f hopelessly low.

        `trace["accept_prob"] == 0` marks them.
        """
        return int((self["accept_prob"] == 0).sum()) if "accept_prob" in self else 0

    def summary(self) -> str:
        """A line for each info: mean, and the range over chains of the mean along each chain.

        If positions were kept, a table of the coordinates with the fewest effective samples follows: mean, its standard
        error, standard deviation, R̂ and ESS. Then: whether draws are good enough and follow exp f, or what to do.
        """

        lines = [f"{'':12}{'mean':>12}{'lowest chain':>14}{'highest chain':>14}"]
        for name in (n for n in self if n != "x" and len(self[n])):
            chains = self[name].double().nanmean(0)
            lines.append(f"{name:12}{chains.mean():12.4g}{chains.min():14.4g}{chains.max():14.4g}")
        if count := self.non_finite():
            proposals = counted(self["accept_prob"].numel(), "proposal")
            lines.append(f"{count:,} of {proposals} rejected outright: f is not finite there, or hopelessly low")
        return "\n".join([*lines, *estimates(self)])

    def remedy(self) -> str:
        """What to do about chains that have not mixed, in words; shorter steps if nothing else is known."""
        return remedy(symptoms(self)) if can_be_judged(self["x"]) else shorter(self.tuned)

    def _repr_html_(self) -> str:
        """The summary, and a picture of the first coordinate of a few chains along their kept positions."""
        return self._drawn() + notebook.lines(self.summary())

    def _drawn(self) -> str:
        x = self["x"].flatten(2)[:, :DRAWN] if self["x"].ndim > 2 else self["x"][:0]
        if len(x) < 2 or not bool(torch.isfinite(x[..., 0]).all()):
            return ""
        every = -(-len(x) // POINTS)
        return notebook.curves(
            x[::every, :, 0].T.tolist(), f"x0 of {counted(x.shape[1], 'chain')}, at each of the kept positions"
        )

    def steepness(self) -> Tensor | None:
        """‖∇f‖ at the kept positions that a later step left, (kept or kept − 1, chains); None if not recorded."""
        if "grad_norm" not in self or not len(self["x"]):
            return None
        return self["grad_norm"][self.keep_every :: self.keep_every]

    @classmethod
    def beside(cls, traces: Sequence["Trace"]) -> "Trace":
        """One trace from the traces of different chains over the same steps."""
        first, starts = traces[0], [trace.starts for trace in traces if trace.starts is not None]
        fields = {name: torch.cat([trace[name] for trace in traces], 1) for name in first}
        whole = cls(fields, first.exact, first.f, first.keep_every, first.how)
        whole.starts, whole.tuned = torch.cat(starts) if len(starts) == len(traces) else None, first.tuned
        return whole

    def draws(self) -> dict[str, Tensor]:
        """The kept positions as named parameters, each (kept, chains, *shape); as x if f has no names."""
        return self.f.constrain(self["x"]) if isinstance(self.f, Transformed) else {"x": self["x"]}

    def to_arviz(
        self,
        dims: dict[str, list[str]] | None = None,
        coords: dict[str, Any] | None = None,
        warm_up: Mapping[str, Tensor] | None = None,
    ) -> Any:
        """The draws as an ArviZ data tree (extra `arviz`): parameters by name, and what the kernel reported.

        `posterior` holds the parameters. `sample_stats` holds the infos, each averaged over the steps since the
        previous draw, `acceptance_rate` (`accept_prob` in ArviZ's words), `diverging` (a proposal of these steps was
        not finite) and, where f is known, `lp` and `energy`, f and −f of the draw.

        Args:
            dims: Names for the axes of a parameter, e.g. `{"theta": ["school"]}`.
            coords: Labels along such an axis, e.g. `{"school": ["A", "B", "C"]}`.
            warm_up: `tuned.history`, for the group `warmup_sample_stats`.

        Raises:
            ImportError: If ArviZ is not installed.
            ValueError: If no positions were kept.
        """
        try:
            from arviz_base import from_dict
        except ImportError:
            raise ImportError("to_arviz needs ArviZ: pip install 'anila[arviz]'") from None
        if not len(self["x"]):
            raise ValueError(f"to_arviz needs draws, and none were kept: {self.none_kept}")
        groups = {"posterior": self.draws(), "sample_stats": self.sample_stats()}
        if warm_up is not None:
            groups["warmup_sample_stats"] = dict(warm_up)
        arrays = {
            group: {name: value.transpose(0, 1).numpy(force=True) for name, value in values.items()}
            for group, values in groups.items()
        }
        return from_dict(arrays, dims=dims, coords=coords, save_warmup=True)

    def sample_stats(self) -> dict[str, Tensor]:
        """Statistics of the steps that led to each draw, under ArviZ's names, (kept, chains)."""
        kept = len(self["x"])
        steps = {n: self[n][: kept * self.keep_every].unflatten(0, (kept, -1)) for n in self if n != "x"}
        stats = {NAMES_OF_ARVIZ.get(name, name): value.nanmean(1) for name, value in steps.items()}
        if "accept_prob" in steps:
            stats["diverging"] = (steps["accept_prob"] == 0).any(1)
        if self.f is not None:
            stats["lp"] = torch.stack([exact_value(self.f, x) for x in self["x"]])
            stats["energy"] = -stats["lp"]
        return stats


NAMES_OF_ARVIZ = {"accept_prob": "acceptance_rate"}

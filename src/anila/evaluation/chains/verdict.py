"""A verdict on chains in plain words: have they mixed, is their law exp f, why, and what to do.

The thresholds are those of Stan and ArviZ: R̂ (nested, if chains start in groups) at most 1.01, and at least 400
effective samples in bulk and tail (Vehtari et al. 2021, section 4).
"""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from anila import notebook
from anila.evaluation.chains.bias import Drift
from anila.evaluation.chains.convergence import Convergence
from anila.evaluation.chains.coupling import Meetings
from anila.evaluation.chains.ergodicity import DriftInequality, Rays
from anila.messages import are, counted
from anila.samplers.remedy import ESS, RHAT, another_law, doubts, nearly, notes, remedy, unproven

CLOSE = 0.01
"""Total variation at which chains count as converged."""


@dataclass(frozen=True)
class Verdict:
    """A verdict on chains.

    `ok` means that they have mixed, that nothing speaks against exp f as their law, and that they seem to have missed
    none of it.
    """

    ok: bool
    lines: tuple[str, ...]
    """The verdict, then one line for each reason or remedy."""
    numbers: dict[str, Any]
    """The numbers on which the verdict is based."""

    def named(self, columns: Sequence[str]) -> "Verdict":
        """With coordinates called by the names of their columns, if they have any.

        >>> Verdict(False, ("only 70 effective samples of x1",), {}).named(["height", "weight"]).lines
        ('only 70 effective samples of weight',)
        """
        if not columns:
            return self
        return replace(self, lines=tuple(re.sub(r"\bx(\d+)\b", lambda x: columns[int(x[1])], s) for s in self.lines))

    def as_dict(self) -> dict[str, Any]:
        """Everything, in JSON's types; numbers that are not finite are None."""
        return {"ok": self.ok, "lines": list(self.lines), **finite(self.numbers)}

    def _repr_html_(self) -> str:
        """The verdict and its reasons, as a notebook shows them."""
        return notebook.verdict(self.ok, self.lines)


def verdict(
    convergence: Convergence,
    drift: Drift | None = None,
    meetings: Meetings | None = None,
    rays: Rays | None = None,
    inequality: DriftInequality | None = None,
) -> Verdict:
    """Weigh what is known about chains; diagnostics that were not computed are left out.

    Args:
        convergence: Diagnostics from the chains themselves.
        drift: How the kernel moves exact draws.
        meetings: Meeting times of coupled pairs.
        rays: The assumption H1.
        inequality: The drift inequality.
    """
    symptoms = convergence.symptoms._replace(rhat=r_hat(convergence)[1], ess=fewest(convergence))
    against, missed = reasons(convergence), doubts(symptoms)
    foreign = moved(drift, symptoms.exact) + another_law(symptoms)
    foreign = foreign or ([] if drift else unproven(symptoms))
    theory = [part.line for part in (rays, inequality) if part is not None]
    if against:
        head = [
            "these chains have NOT mixed, because",
            *(f"  {reason}" for reason in against),
            f"do this: {remedy(symptoms)}",
        ]
    else:
        but = ", but not to exp f" if foreign else " where they went, with doubts" if missed else ""
        head = [f"these chains have mixed{but}: {grounds(convergence)}", *missed]
        head += ([] if foreign else nearly(symptoms)) + notes(symptoms)
    lines = [*head, *foreign, *coupled(meetings), *theory]
    ok = not against and not foreign and not missed
    return Verdict(ok, tuple(lines), numbers(convergence, drift, meetings, rays, inequality))


def reasons(c: Convergence) -> list[str]:
    """Reasons why the chains have not mixed; empty if they have."""
    name, value = r_hat(c)
    found = []
    if not value <= RHAT:
        found.append(f"chains from different starts disagree: {name} = {value:.3f}, above {RHAT}")
    for where, value in (("bulk", c.ess_bulk), ("tail", c.ess_tail)):
        if not value >= ESS:
            found.append(f"only {value:,.0f} effective samples of {c.worst} in the {where}, below {ESS}")
    if stuck := c.symptoms.stuck:
        found.append(f"{stuck} of {counted(c.chains, 'chain')} {are(stuck)} stuck")
    return found


def fewest(c: Convergence) -> float:
    return min(c.ess_bulk, c.ess_tail)


def moved(drift: Drift | None, exact: bool | None) -> list[str]:
    """Whether exact draws moved, and what to do that is not done already."""
    if drift is None or not drift.found:
        return []
    name, distance = drift.largest
    do = "check that f and its draw have one distribution" if exact else "use mala or anisotropic_mala"
    return [
        f"the kernel does not sample exp f: in {drift.steps} steps exact draws moved by {distance:.3f} in the CDF "
        f"of {name}, above {drift.limit:.3f}; {do}"
    ]


def coupled(meetings: Meetings | None) -> list[str]:
    """What coupled pairs of chains show."""
    if meetings is None:
        return []
    pairs = len(meetings.times)
    if meetings.unmet:
        return [
            f"{meetings.unmet} of {counted(pairs, 'coupled pair')} did not meet in {counted(meetings.steps, 'step')}: "
            "no bound on the distance from exp f"
        ]
    rate, error = meetings.rate()
    return [
        f"from these starts the chains are within {CLOSE} of exp f in total variation after "
        f"{meetings.mixing_steps(CLOSE):,} steps; after that the bound falls by a factor {rate:.4f} ± "
        f"{error:.2g} per step ({counted(pairs, 'coupled pair')}, lag {meetings.lag})"
    ]


def grounds(c: Convergence) -> str:
    """The grounds on which the chains count as mixed."""
    name, value = r_hat(c)
    return f"{name} = {value:.3f}, {c.ess_bulk:,.0f} effective samples in the bulk and {c.ess_tail:,.0f} in the tail"


def r_hat(c: Convergence) -> tuple[str, float]:
    """The R̂ that counts: the nested one if chains start in groups."""
    return ("R̂", c.rhat) if c.nested_rhat is None else ("nested R̂", c.nested_rhat)


def numbers(
    c: Convergence,
    drift: Drift | None,
    meetings: Meetings | None,
    rays: Rays | None,
    inequality: DriftInequality | None,
) -> dict[str, Any]:
    """The numbers on which the verdict is based, by diagnostic."""
    found: dict[str, Any] = {"convergence": asdict(c)}
    if drift is not None:
        found["drift"] = asdict(drift) | {"found": drift.found}
    if meetings is not None:
        rate, error = meetings.rate()
        found["coupling"] = {
            "pairs": len(meetings.times), "lag": meetings.lag, "unmet": meetings.unmet, "rate": rate,
            "rate_error": error, "steps_to_one_percent": meetings.mixing_steps(CLOSE),
        }  # fmt: skip
    if rays is not None:
        found["h1"] = {"ok": rays.ok, "farthest": rays.radii[-1].item(), "growth": rays.growth.min().item()}
    if inequality is not None:
        found["drift_inequality"] = {
            "ok": inequality.ok, "mu": inequality.mu, "radius": inequality.radius, "log_delta": inequality.log_delta,
            "beta": inequality.beta, "thetas": len(inequality.ratio), "level": inequality.level,
        }  # fmt: skip
    return found


def finite(value: Any) -> Any:
    """The value with None for every number that JSON does not have."""
    if hasattr(value, "_asdict"):
        return finite(value._asdict())
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""Is a verdict right? 30 wrong set-ups and 30 right ones, and what the summary of their draws says.

    python benchmarks/verdicts.py --seed 4 --out runs/verdicts               (docs/diagnostics.md)

A verdict on a wrong set-up is right if it is not "good enough" and names the fault. A verdict on a right one is right
if it is "good enough" and doubts nothing. 32 chains in float64 unless something else is said, no compilation. Limits
are those of the literature, or follow from a rate of false alarms (`samplers.remedy`, `samplers.heat`). That for rings
(`samplers.estimates`) was chosen on these set-ups.
"""

import argparse
import json
import math
import platform
import re
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from textwrap import shorten
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from anila import (
    Sampler,
    anisotropic,
    anisotropic_corrected,
    anisotropic_mala,
    barker,
    descent,
    from_numpy,
    hmc,
    kernel_density,
    langevin,
    mala,
    mixture,
    replica_exchange,
    rng,
    sample,
    tune,
    with_global_moves,
)  # fmt: skip

CHAINS, STEPS, WARM_UP, KEEP = 32, 2000, 500, 4
F = Callable[[Tensor], Tensor]
Bind = Callable[..., Sampler]

# -- densities ---------------------------------------------------------------------------------------------------------


def standard(x: Tensor) -> Tensor:
    return -x.square().sum(1) / 2


def rotated(dim: int, condition: float) -> F:
    """A normal law whose variances along rotated axes run from 1/condition to 1."""
    Q = torch.linalg.qr(torch.randn(dim, dim, generator=rng(dim, "rotation"), dtype=torch.float64))[0]
    sd = torch.logspace(-math.log10(condition) / 2, 0, dim, dtype=torch.float64)
    return lambda x: -(x @ Q / sd).square().sum(1) / 2


def mode_grid(x: Tensor) -> Tensor:
    """20 modes of sd 0.5, 6 apart."""
    at = 6.0 * torch.cartesian_prod(torch.arange(5.0), torch.arange(4.0)).to(x)
    return torch.logsumexp(-(x[:, None] - at).square().sum(2) / 0.5, 1)


def two_modes(x: Tensor) -> Tensor:
    return torch.logaddexp(-(x - 6).square().sum(1) / 2, -(x + 6).square().sum(1) / 2)


def near_modes(x: Tensor) -> Tensor:
    return torch.logaddexp(-(x - 1.2).square().sum(1) / 2, -(x + 1.2).square().sum(1) / 2)


def thin_rings(x: Tensor) -> Tensor:
    return torch.logsumexp(-(x.norm(dim=1)[:, None] - x.new_tensor([2.0, 6.0, 10.0])).square() / 0.08, 1)


def funnel(sd: float) -> F:
    """v ~ N(0, sd²), the others N(0, exp v) (Neal 2003)."""
    return lambda x: -((x[:, 0] / sd) ** 2 + (x[:, 1:] ** 2 * (-x[:, :1]).exp() + x[:, :1]).sum(1)) / 2


def gumbel(x: Tensor) -> Tensor:
    """The logarithm of a gamma law of shape 3."""
    return (3 * x - x.exp()).sum(1)


def students(freedom: float) -> F:
    return lambda x: -(freedom + 1) / 2 * torch.log1p(x.square() / freedom).sum(1)


def quartic(x: Tensor) -> Tensor:
    return -x.pow(4).sum(1)


def laplace(x: Tensor) -> Tensor:
    return -x.abs().sum(1)


def banana(x: Tensor) -> Tensor:
    return -x[:, 0].square() / 2 - (x[:, 1] - x[:, 0].square() / 2).square() / 2


def ring(x: Tensor) -> Tensor:
    return -(x.norm(dim=1) - 3).square() / 0.5


def positive(x: Tensor) -> Tensor:
    """N(0, 1) above 0."""
    return torch.where((x > 0).all(1), -x.square().sum(1) / 2, -math.inf)


EFFECT = torch.tensor([28.0, 8, -3, 7, -1, 1, 18, 12], dtype=torch.float64)
ERROR = torch.tensor([15.0, 10, 16, 11, 9, 11, 10, 18], dtype=torch.float64)


def schools(x: Tensor) -> Tensor:
    """Rubin's eight schools, centred: μ, log τ, θ."""
    mu, log_tau, theta = x[:, 0], x[:, 1], x[:, 2:]
    prior = -(mu.square() / 50) - torch.log1p((2 * log_tau).exp() / 25) + log_tau - 8 * log_tau
    spread = ((theta - mu[:, None]) * (-log_tau[:, None]).exp()).square().sum(1) / 2
    return prior - spread - (((EFFECT - theta) / ERROR) ** 2).sum(1) / 2


def schools_apart(x: Tensor) -> Tensor:
    """The same with θ = μ + τ η: μ, log τ, η."""
    mu, log_tau, eta = x[:, 0], x[:, 1], x[:, 2:]
    prior = -(mu.square() / 50) - torch.log1p((2 * log_tau).exp() / 25) + log_tau - eta.square().sum(1) / 2
    return prior - (((EFFECT - mu[:, None] - log_tau.exp()[:, None] * eta) / ERROR) ** 2).sum(1) / 2


def regression(dim: int) -> F:
    """Logistic, 200 labels, prior N(0, 4)."""
    draw = rng(dim, "labels")
    features = torch.randn(200, dim, generator=draw, dtype=torch.float64)
    one = torch.rand(200, generator=draw) < torch.sigmoid(features[:, 0])
    signed = torch.where(one[:, None], features, -features).T
    return lambda w: logsigmoid(w @ signed).sum(1) - w.square().sum(1) / 8


def counts(x: Tensor) -> Tensor:
    """Poisson counts with a log-linear rate."""
    at = torch.linspace(-1, 1, 40, dtype=torch.float64)
    rate = x[:, :1] + x[:, 1:] * at
    return ((3 * at.exp()).round() * rate - rate.exp()).sum(1) - x.square().sum(1) / 50


def net(x: Tensor) -> Tensor:
    """A smooth net in a bowl."""
    draw = rng(0, "weights")
    W, v = (torch.randn(shape, generator=draw, dtype=torch.float64) for shape in ((2, 16), (16,)))
    return torch.tanh(x @ W) @ v / 2 - x.square().sum(1) / 8


def cut(x: Tensor) -> Tensor:
    """A normal law, half of whose log-density autograd does not see."""
    return -x.square().sum(1) / 4 - x.detach().square().sum(1) / 4


def without_prior(x: Tensor) -> Tensor:
    """Prior N(0, 1) times likelihood N(0, 1), and a hand-written slope of the likelihood alone."""
    return from_numpy(lambda a: (-(a**2).sum(1), -a))(x)


def half_slope(x: Tensor) -> Tensor:
    return from_numpy(lambda a: (-(a**2).sum(1) / 2, -a / 2))(x)


# -- runs --------------------------------------------------------------------------------------------------------------


def said(kernel: Sampler, x0: Tensor, seed: int, steps: int = STEPS) -> str:
    """What the summary ends with."""
    return sample(kernel, x0, steps, rng(seed, "chains"), keep_every=KEEP)[1].summary().splitlines()[-1]


def spread(dim: int, scale: float, seed: int, chains: int = CHAINS, at: float = 0.0) -> Tensor:
    """Starts N(at, scale²)."""
    return at + scale * torch.randn(chains, dim, generator=rng(seed, "start"), dtype=torch.float64)


class Fixed(NamedTuple):
    """A kernel with its settings, from starts N(at, scale²), not warmed up but for so many steps."""

    kernel: Sampler
    dim: int
    scale: float
    steps: int = STEPS
    at: float = 0.0
    settle: int = 0
    chains: int = CHAINS

    def __call__(self, seed: int) -> str:
        x = spread(self.dim, self.scale, seed, self.chains, self.at)
        if self.settle:
            x, _ = sample(self.kernel, x, self.settle, rng(seed, "settle"))
        return said(self.kernel, x, seed, self.steps)


class Warmed(NamedTuple):
    """A kernel that `tune` makes of f from starts N(at, scale²)."""

    f: F
    dim: int
    scale: float
    bind: Bind = anisotropic_mala
    steps: int = STEPS
    at: float = 0.0
    chains: int = CHAINS
    dtype: torch.dtype = torch.float64

    def __call__(self, seed: int) -> str:
        x = spread(self.dim, self.scale, seed, self.chains, self.at).to(self.dtype)
        tuned = tune(lambda **kw: self.bind(self.f, **kw), x, WARM_UP, rng(seed, "tune"))
        return said(tuned.sampler, tuned.x, seed, self.steps)


def partly(kernel: Sampler, x: Tensor, out: int, far: Tensor) -> Callable[[int], str]:
    """Some chains start elsewhere."""
    return lambda seed: said(kernel, torch.cat([far.expand(out, -1), x[out:]]), seed)


def leapfrog(f: F, **settings: Any) -> Sampler:
    return hmc(f, leapfrog_steps=8, **settings)


def ladder(f: F) -> Sampler:
    return replica_exchange(lambda f: mala(f, 0.8), f, (1.0, 3.0, 9.0, 27.0))


def hopping(f: F, dim: int) -> Sampler:
    centres = torch.tensor([[-6.0], [6.0]], dtype=torch.float64).expand(2, dim)
    return with_global_moves(mala(f, 0.8), kernel_density(centres, sd=1.2), every=4)


HOT, MODES, FUNNEL, STUCK = "NOT exp f: temp", "move between modes", "a funnel", "are stuck"
NARROW, SLOPE, PRECONDITION, SLOW = (
    "started close together",
    "gradient is not that",
    "preconditioner",
    "chains are slow",
)
FAR = torch.tensor([100.0, 100.0], dtype=torch.float64)
Q2 = spread(2, 1.0, 0)

WRONG: dict[str, tuple[str, Callable[[int], str]]] = {
    "langevin, step 1.5, on a normal law": (HOT, Fixed(langevin(standard, 1.5), 2, 2.0)),
    "langevin, long steps, on a normal law in 50 dimensions": (HOT, Fixed(langevin(standard, 1.0), 50, 2.0)),
    "langevin, long for one rotated direction of 10": (HOT, Fixed(langevin(rotated(10, 30), 0.08), 10, 2.0, 4000)),
    "langevin at temperature 1/2": (HOT, Fixed(langevin(standard, 0.1, temperature=0.5), 2, 2.0)),
    "langevin, long steps, on a logistic regression": (HOT, Fixed(langevin(regression(4), 0.06), 4, 1.0)),
    "anisotropic, threshold 1, on a normal law": (HOT, Fixed(anisotropic(standard, 1.0, 0.5), 2, 2.0)),
    "anisotropic, threshold 0.5, on light tails": (HOT, Fixed(anisotropic(quartic, 0.5, 0.3), 2, 1.0)),
    "anisotropic on heavy tails": (HOT, Fixed(anisotropic(students(5), 0.5, 0.8), 2, 4.0)),
    "anisotropic_corrected, threshold too low": (HOT, Fixed(anisotropic_corrected(standard, 0.3, 1.0), 2, 2.0)),
    "descent: no noise": ("NOT", Fixed(descent(standard, 0.1), 2, 2.0)),
    "langevin with half the slope": (SLOPE, Fixed(langevin(half_slope, 0.2), 2, 2.0)),
    "langevin with half of f cut from autograd": (SLOPE, Fixed(langevin(cut, 0.2), 2, 2.0)),
    "anisotropic, prior missing from the slope": (SLOPE, Fixed(anisotropic(without_prior, 9.0, 0.2), 2, 2.0)),
    "one of 20 modes, from one point": (NARROW, Fixed(mala(mode_grid, 0.2), 2, 0.05)),
    "one of 20 modes, tuned from one point": (NARROW, Warmed(mode_grid, 2, 0.02, at=6.0)),
    "one of two modes in 10 dimensions, tuned": (NARROW, Warmed(two_modes, 10, 0.1, at=6.0)),
    "20 modes, dispersed starts": (MODES, Fixed(mala(mode_grid, 0.2), 2, 8.0, at=10.0, settle=500)),
    "two modes, tuned from dispersed starts": (MODES, Warmed(two_modes, 2, 8.0)),
    "three rings": (MODES, Fixed(mala(thin_rings, 0.05), 2, 6.0, 8000, settle=500)),
    "Neal's funnel, fixed steps": (FUNNEL, Fixed(anisotropic_mala(funnel(3.0), 2.0, 0.5), 10, 1.0)),
    "Neal's funnel, tuned": (FUNNEL, Warmed(funnel(3.0), 10, 3.0)),
    "Neal's funnel, hmc": (FUNNEL, Warmed(funnel(3.0), 10, 3.0, leapfrog)),
    "eight schools, centred": (FUNNEL, Warmed(schools, 10, 3.0)),
    "steps of 1,000 sd": (STUCK, Fixed(mala(standard, 1e6), 2, 2.0)),
    "two of 32 chains far out in light tails": (STUCK, partly(mala(quartic, 0.2), Q2, 2, FAR)),
    "five chains where f is −∞": (STUCK, partly(mala(positive, 0.5), Q2.abs(), 5, -FAR)),
    "40 steps": (r"run \d+ times", Fixed(mala(standard, 1.0), 2, 2.0, 60)),
    "steps too short": ("raise step_size", Fixed(mala(standard, 1e-3), 2, 2.0)),
    "condition 3,000, rotated, no preconditioner": (PRECONDITION, Fixed(mala(rotated(10, 3e3), 6e-4), 10, 1.0)),
    "starts 1,000 sd away, no warm-up": ("NOT CONVERGED", Fixed(anisotropic_mala(standard, 1.0, 0.5), 2, 1e3)),
}  # fmt: skip
"""Name -> (what a right verdict says, the run)."""

RIGHT: dict[str, Callable[[int], str]] = {
    "one number": Fixed(mala(standard, 1.5), 1, 2.0),
    "a normal law, mala": Fixed(mala(standard, 1.2), 2, 2.0),
    "condition 30, tuned": Warmed(rotated(2, 30), 2, 3.0),
    "condition 10,000 rotated in 5 dimensions, tuned": Warmed(rotated(5, 1e4), 5, 3.0),
    "condition 10,000 rotated in 31 dimensions, tuned": Warmed(rotated(31, 1e4), 31, 3.0),
    "50 dimensions, hmc": Warmed(standard, 50, 3.0, leapfrog),
    "barker": Warmed(rotated(5, 10), 5, 3.0, barker),
    "float32": Warmed(standard, 3, 3.0, dtype=torch.float32),
    "four chains": Warmed(standard, 2, 3.0, chains=4, steps=4000),
    "from far out": Warmed(regression(4), 4, 50.0),
    "Student's t, 5 degrees": Warmed(students(5), 2, 3.0),
    "Cauchy": Warmed(students(1), 1, 10.0, steps=8000),
    "Laplace": Warmed(laplace, 3, 3.0),
    "light tails": Warmed(quartic, 3, 2.0),
    "log-gamma": Warmed(gumbel, 3, 3.0),
    "two modes that meet": Warmed(near_modes, 2, 3.0),
    "banana": Warmed(banana, 2, 3.0, steps=6000),
    "a ring": Warmed(ring, 2, 4.0, steps=12000),
    "N(0, 1) above 0": lambda seed: said(mala(positive, 0.8), spread(1, 2.0, seed).abs(), seed, 4000),
    "a net": Warmed(net, 2, 4.0),
    "logistic regression": Warmed(regression(8), 8, 2.0),
    "counts": Warmed(counts, 2, 2.0),
    "eight schools, not centred": Warmed(schools_apart, 10, 3.0, steps=4000),
    "a shallow funnel": Warmed(funnel(0.5), 5, 2.0, steps=4000),
    "a mixture of step sizes": Fixed(mixture([mala(standard, 0.1), mala(standard, 1.5)], [1.0, 1.0]), 2, 2.0),
    "two modes with global moves": Fixed(hopping(two_modes, 2), 2, 8.0, 4000, settle=200),
    "two modes, replica exchange": Fixed(ladder(two_modes), 1, 8.0, 6000, settle=500),
    "mala with half the slope": Fixed(mala(half_slope, 1.0), 2, 2.0),
    "langevin, short steps": Fixed(langevin(standard, 0.1), 2, 2.0, 8000, settle=200),
    "langevin, short steps in 20 dimensions": Fixed(langevin(standard, 0.1), 20, 2.0, 8000, settle=200),
}


def is_right(name: str, said: str) -> bool:
    """Whether the verdict names the fault of a wrong set-up, or finds none in a right one."""
    told = said.partition("): ")[2]
    if name in WRONG:
        return not re.match("good enough(:|$)", told) and bool(re.search(WRONG[name][0], told))
    return bool(re.match("good enough(:|$)", told))


def judge(name: str, seed: int) -> dict[str, Any]:
    """One set-up, what is said of it, and whether that is right."""
    told = (WRONG[name][1] if name in WRONG else RIGHT[name])(seed)
    return {"set-up": name, "wrong": name in WRONG, "said": told, "right": is_right(name, told)}


def row(found: dict[str, Any]) -> str:
    """The beginning of the verdict, in a table."""
    told = shorten(found["said"].partition("): ")[2], 120, placeholder=" …").replace("|", "\\|")
    return f"| {found['set-up']} | {told} | {'yes' if found['right'] else 'NO'} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the numbers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="set-ups whose name has these letters")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the summary is what is judged
    found = []
    print("| set-up | what is said | right |", "|---|---|---|", sep="\n")
    for name in (n for n in (*RIGHT, *WRONG) if arguments.only in n):
        found.append(judge(name, arguments.seed))
        print(row(found[-1]), flush=True)
    print(f"\n{sum(row['right'] for row in found)} of {len(found)} verdicts are right")
    protocol = {"date": datetime.now(UTC).date().isoformat(), "machine": platform.machine(), "torch": torch.__version__}
    arguments.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"protocol": protocol, "seed": arguments.seed, "found": found}, indent=1, ensure_ascii=False)
    (arguments.out / "verdicts.json").write_text(text)


if __name__ == "__main__":
    main()

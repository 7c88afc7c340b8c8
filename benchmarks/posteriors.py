"""Ten public posteriors and the eight schools both ways, written in PyTorch, against their references.

    python benchmarks/posteriors.py --out runs/posteriors           (docs/sampling.md; 2 seeds)
    python benchmarks/posteriors.py --out runs/gp --only gp_pois_regr --kernel hmc

It keeps what it has run and goes on where it stopped.

Each is sampled with default settings: 32 chains in float64 from N(0, 10²) on the unconstrained scale, `tune` of f alone
or of a kernel that is named for 1,000 steps, then 2,000 steps. Wrong means: error of a mean in posterior
standard deviations, and of a standard deviation relative to it, the largest over the reference's quantities. Both
should be below 0.1. Wrong shares: how far the share of draws below the reference's quantiles is from 5, 25, 50, 75 and
95%.

Models, data and reference draws are those of posteriordb (github.com/stan-dev/posteriordb), read from the folder
`../shared/data/posteriors`; without it only the eight schools run, whose reference is a quadrature.
"""

import argparse
import json
import math
import os
import platform
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from anila import rng, sample, tune
from anila.evaluation.chains import ess, rhat
from anila.samplers import SAMPLERS
from targets import EFFECT, ERROR, centred_schools, eight_schools

SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of a reference's quantiles."""
FOLDER = Path(__file__).parents[1] / ".." / "shared" / "data" / "posteriors"
Data = dict[str, Tensor]
Read = Callable[[Data], "Model"]


class Model(NamedTuple):
    """A posterior on the unconstrained scale, and what its reference draws are of."""

    f: Callable[[Tensor], Tensor]
    """(n, dim) -> (n,)."""
    dim: int
    quantities: Callable[[Tensor], Tensor]
    """(n, dim) -> (n, quantities), as the reference lists them."""


def normal(x: Tensor, mean: Any, sd: Any) -> Tensor:
    """log N(x; mean, sd²) without its constant."""
    sd = torch.as_tensor(sd, dtype=x.dtype)
    return -(((x - mean) / sd) ** 2) / 2 - sd.log()


def t_prior(x: Tensor, mean: float, scale: float, freedom: float) -> Tensor:
    """log of Student's t without its constant; freedom 1 is Cauchy's."""
    return -(freedom + 1) / 2 * torch.log1p(((x - mean) / scale) ** 2 / freedom)


def regression(features: Tensor, y: Tensor, prior: Callable[[Tensor], Tensor] = lambda b: 0 * b[:, 0]) -> Model:
    """y ~ N(features · b, σ), parameters (b, log σ), flat in σ."""
    gram, cross, square, n = features.T @ features, features.T @ y, y @ y, len(y)

    def f(x: Tensor) -> Tensor:
        b, log_sd = x[:, :-1], x[:, -1]
        residual = square - 2 * (b @ cross) + ((b @ gram) * b).sum(1)
        return prior(b) - residual / 2 * (-2 * log_sd).exp() - n * log_sd + log_sd

    return Model(f, features.shape[1] + 1, positive(-1))


def positive(*which: int) -> Callable[[Tensor], Tensor]:
    """The parameters, with these exponentiated."""

    def quantities(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, which] = x[:, which].exp()
        return x

    return quantities


def columns(data: Data, *names: str) -> Tensor:
    """A constant, then these."""
    parts = [data[name] for name in names]
    return torch.stack([torch.ones_like(parts[0]), *parts], 1)


def arma11(data: Data) -> Model:
    y = data["y"]

    def errors(mu: Tensor, phi: Tensor, theta: Tensor) -> Tensor:
        """e_t = y_t − μ − φ y_{t−1} − θ e_{t−1}, (n, T), by sums over 1, 2, 4, … terms."""
        before = torch.cat([y.new_zeros(1), y[:-1]])
        found = y - mu[:, None] - phi[:, None] * torch.where(torch.arange(len(y)) == 0, mu[:, None], before)
        factor, k = -theta[:, None], 1
        while k < len(y):
            found = found + torch.nn.functional.pad(factor * found[:, :-k], (k, 0))
            factor, k = factor.square(), 2 * k
        return found

    def f(x: Tensor) -> Tensor:
        mu, phi, theta, log_sd = x.unbind(1)
        prior = normal(mu, 0, 10.0) + normal(phi, 0, 2.0) + normal(theta, 0, 2.0) + t_prior(log_sd.exp(), 0, 2.5, 1)
        square = errors(mu, phi, theta).square().sum(1)
        return prior + log_sd - square / 2 * (-2 * log_sd).exp() - len(y) * log_sd

    return Model(f, 4, positive(3))


def diamonds(data: Data) -> Model:
    features = data["X"][:, 1:]
    features = torch.cat([features - features.mean(0), torch.ones(len(features), 1, dtype=features.dtype)], 1)
    plain = regression(features, data["Y"])

    def f(x: Tensor) -> Tensor:
        prior = normal(x[:, :-2], 0, 1.0).sum(1) + t_prior(x[:, -2], 8, 10, 3) + t_prior(x[:, -1].exp(), 0, 10, 3)
        return plain.f(x) + prior

    return Model(f, plain.dim, plain.quantities)


def earn_height(data: Data) -> Model:
    return regression(columns(data, "height"), data["earn"])


def gp_pois_regr(data: Data) -> Model:
    at, counts = data["x"], data["k"]
    square = (at[:, None] - at) ** 2
    eye = torch.eye(len(at), dtype=at.dtype)

    def field(x: Tensor) -> Tensor:
        rho, alpha = x[:, 0].exp(), x[:, 1].exp()
        cov = alpha[:, None, None] ** 2 * (-square / (2 * rho[:, None, None] ** 2)).exp() + 1e-10 * eye
        factor, failed = torch.linalg.cholesky_ex(cov)
        found = (factor @ x[:, 2:, None])[..., 0]
        return torch.where((failed == 0)[:, None], found, math.nan)

    def f(x: Tensor) -> Tensor:
        log_rho, log_alpha, rate = x[:, 0], x[:, 1], field(x)
        prior = 25 * log_rho - 4 * log_rho.exp() - log_alpha.exp() ** 2 / 8 + log_alpha - x[:, 2:].square().sum(1) / 2
        return prior + (counts * rate - rate.exp()).sum(1)

    return Model(f, 2 + len(at), lambda x: torch.cat([x[:, :2].exp(), field(x)], 1))


def chained(steps: Tensor) -> Tensor:
    """The product of matrices in logarithms, (n, T, k, k) -> (n, k, k), by products of neighbours."""
    while steps.shape[1] > 1:
        odd = steps[:, steps.shape[1] // 2 * 2 :]
        pairs = torch.logsumexp(steps[:, :-1:2, :, :, None] + steps[:, 1::2, None], 3)
        steps = torch.cat([pairs, odd], 1)
    return steps[:, 0]


def hmm_drive_1(data: Data) -> Model:
    """Parameters: logits of staying in either state, and for φ and λ the first and the log of the gap."""
    u, v, alpha = data["u"], data["v"], data["alpha"]

    def states(x: Tensor, k: int) -> Tensor:
        return torch.stack([x[:, k], x[:, k] + x[:, k + 1].exp()], 1)

    def f(x: Tensor) -> Tensor:
        phi, lam = states(x, 2), states(x, 4)
        own, other = logsigmoid(x[:, :2]), logsigmoid(-x[:, :2])
        move = torch.stack([torch.stack([own[:, 0], other[:, 0]], 1), torch.stack([other[:, 1], own[:, 1]], 1)], 1)
        prior = (alpha * move).sum((1, 2)) + x[:, 3] + x[:, 5]
        prior = prior + (normal(phi, torch.tensor([0.0, 3.0]), 1.0) + normal(lam, torch.tensor([0.0, 3.0]), 1.0)).sum(1)
        emitted = normal(u[:, None], phi[:, None], data["tau"]) + normal(v[:, None], lam[:, None], data["rho"])
        path = chained(move[:, None] + emitted[:, 1:, None])
        return prior + torch.logsumexp(emitted[:, 0, :, None] + path, (1, 2))

    def quantities(x: Tensor) -> Tensor:
        stay = torch.sigmoid(x[:, :2])
        rows = torch.stack([stay[:, 0], 1 - stay[:, 0], 1 - stay[:, 1], stay[:, 1]], 1)
        return torch.cat([rows, states(x, 2), states(x, 4)], 1)

    return Model(f, 6, quantities)


def kidscore_interaction_c2(data: Data) -> Model:
    h, q = data["mom_hs"] - 0.5, data["mom_iq"] - 100
    return regression(torch.stack([torch.ones_like(h), h, q, h * q], 1), data["kid_score"])


def kilpisjarvi(data: Data) -> Model:
    def prior(b: Tensor) -> Tensor:
        return normal(b[:, 0], data["pmualpha"], data["psalpha"]) + normal(b[:, 1], data["pmubeta"], data["psbeta"])

    return regression(columns(data, "x"), data["y"], prior)


STEPS_A_YEAR = 5
"""Of Runge and Kutta's fourth-order method."""


def lotka_volterra(data: Data) -> Model:
    """All parameters by their logarithms: θ, the first numbers, σ."""
    seen = torch.cat([data["y_init"][None], data["y"]]).log()

    def after_a_step(z: Tensor, own: Tensor, other: Tensor, h: float) -> Tensor:
        def rate(z: Tensor) -> Tensor:
            return z * (own + other * z.flip(1))

        a = rate(z)
        b = rate(z + h / 2 * a)
        c = rate(z + h / 2 * b)
        return z + h / 6 * (a + 2 * (b + c) + rate(z + h * c))

    def f(x: Tensor) -> Tensor:
        theta, first, log_sd = x[:, :4].exp(), x[:, 4:6], x[:, 6:]
        z = first.exp()
        own, other = theta[:, ::2] * torch.tensor([1.0, -1.0]), theta[:, 1::2] * torch.tensor([-1.0, 1.0])
        path = [z]
        for _ in range(len(data["ts"])):
            for _ in range(STEPS_A_YEAR):
                z = after_a_step(z, own, other, 1 / STEPS_A_YEAR)
            path.append(z)
        prior = normal(theta[:, ::2], 1, 0.5).sum(1) + normal(theta[:, 1::2], 0.05, 0.05).sum(1) + x[:, :4].sum(1)
        prior = prior + normal(log_sd, -1, 1.0).sum(1) + normal(first, math.log(10), 1.0).sum(1)
        return prior + normal(seen[:, None], torch.stack(path).log(), log_sd.exp()).sum((0, 2))

    return Model(f, 8, torch.exp)


def mesquite(data: Data) -> Model:
    names = ("diam1", "diam2", "canopy_height", "total_height", "density", "group")
    return regression(columns(data, *names), data["weight"])


def nes(data: Data) -> Model:
    data = data | {f"age{k}": (data["age_discrete"] == k).double() for k in (2, 3, 4)}
    names = ("real_ideo", "race_adj", "age2", "age3", "age4", "educ1", "gender", "income")
    return regression(columns(data, *names), data["partyid7"])


def schools_centred() -> Model:
    return Model(partial(centred_schools, torch), 10, positive(1))


def schools_not_centred() -> Model:
    def quantities(x: Tensor) -> Tensor:
        mu, tau = x[:, :1], x[:, 1:2].exp()
        return torch.cat([mu, tau, mu + tau * x[:, 2:]], 1)

    return Model(partial(eight_schools, torch), 10, quantities)


def schools_reference() -> Data:
    """Mean and sd of (μ, τ, θ): θ given (μ, τ) and μ given τ are normal, and τ is summed over a grid of log τ."""
    y, error = torch.as_tensor(EFFECT), torch.as_tensor(ERROR)
    log_tau = torch.linspace(-14, 9, 4001, dtype=torch.float64)[:, None]
    square = (2 * log_tau).exp()
    seen = error**2 + square
    precision = (1 / seen).sum(1, keepdim=True) + 1 / 25
    mu = (y / seen).sum(1, keepdim=True) / precision
    log_p = log_tau - torch.log1p(square / 25) + (mu**2 * precision - precision.log()) / 2
    p = torch.softmax(log_p - (y**2 / seen + seen.log()).sum(1, keepdim=True) / 2, 0)
    own = square / seen
    mean = torch.cat([mu, log_tau.exp(), own * y + (1 - own) * mu], 1)
    variance = torch.cat([1 / precision, 0 * square, own * error**2 + (1 - own) ** 2 / precision], 1)
    whole = (p * mean).sum(0)
    sd = ((p * (variance + mean**2)).sum(0) - whole**2).sqrt()
    return {"mean": whole, "sd": sd, "quantiles": bisected(lambda q: (p * below(q, mean, variance)).sum(0), whole, sd)}


def below(q: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """P(N(mean, variance) < q)."""
    return (1 + torch.erf((q - mean) / (2 * variance).sqrt().clamp(min=1e-300))) / 2


def bisected(share: Callable[[Tensor], Tensor], mean: Tensor, sd: Tensor) -> Tensor:
    """The points below which these shares of a law lie, (quantiles, quantities)."""
    found = []
    for aim in SHARES:
        low, high = mean - 10 * sd, mean + 10 * sd
        for _ in range(40):
            middle = (low + high) / 2
            rises = share(middle) < aim
            low, high = torch.where(rises, middle, low), torch.where(rises, high, middle)
        found.append(low)
    return torch.stack(found)


SCHOOLS = {model.__name__: model for model in (schools_centred, schools_not_centred)}
MODELS: dict[str, Read] = {
    model.__name__: model
    for model in (
        arma11, diamonds, earn_height, gp_pois_regr, hmm_drive_1, kidscore_interaction_c2, kilpisjarvi, lotka_volterra,
        mesquite, nes,
    )
}  # fmt: skip


def read(name: str, folder: Path = FOLDER) -> tuple[Model, Data]:
    """The model of a posterior, and its reference: the file's, or a quadrature."""
    if name in SCHOOLS:
        return SCHOOLS[name](), schools_reference()
    with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
        kept = {key: torch.as_tensor(file[key], dtype=torch.float64) for key in file if key != "names"}
    return MODELS[name]({key.removeprefix("data_"): x for key, x in kept.items() if key.startswith("data_")}), kept


def seconds() -> float:
    """Of the processor, of this process and those that it waited for."""
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


CHAINS, START_SD, WARM_UP, STEPS, KEEP = 32, 10.0, 1000, 2000, 5
KERNELS = ("anisotropic_mala", "mala", "barker", "ghmc", "anisotropic_ghmc", "hmc")


def run(name: str, seed: int, folder: Path, kernel: str, compile: bool) -> dict[str, Any]:
    """One posterior with default settings: errors against the reference, R̂, ESS, and seconds of the processor."""
    model, reference = read(name, folder)
    x0 = START_SD * torch.randn(CHAINS, model.dim, generator=rng(seed, "start"), dtype=torch.float64)
    began = seconds()
    make = partial(SAMPLERS[kernel], model.f) if kernel else model.f
    tuned = tune(make, x0, WARM_UP, rng(seed, "tune"), compile=compile)
    warmed = seconds()
    _, trace = sample(tuned.sampler, tuned.x, STEPS, rng(seed, "chains"), keep_every=KEEP, compile=compile)
    ended = seconds()
    x = model.quantities(trace["x"].flatten(0, 1)).unflatten(0, (-1, CHAINS))
    flat, mean, sd = x.flatten(0, 1), reference["mean"], reference["sd"]
    shares = torch.stack([(flat < q).double().mean(0) for q in reference["quantiles"]])
    return {
        "mean_error": ((flat.mean(0) - mean) / sd).abs().max().item(),
        "sd_error": (flat.std(0) / sd - 1).abs().max().item(),
        "share_error": (shares - torch.tensor(SHARES)[:, None]).abs().max().item(),
        "rhat": rhat(x).max().item(),
        "ess": torch.minimum(ess(x), ess(x, "tail")).min().item(),
        "gradients": STEPS * CHAINS * tuned.sampler.gradients,
        "warm_up_seconds": warmed - began,
        "seconds": ended - warmed,
        "report": tuned.report,
    }


COLUMNS = (
    "error of a mean", "of a sd", "of a share", "R̂", "least ESS", "per 1,000 gradients", "per second", "warm-up",
    "steps",
)  # fmt: skip


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """A markdown table: a row a posterior, the worst over seeds. ESS a second counts the warm-up too."""
    lines = [f"| posterior | d | seeds | {' | '.join(COLUMNS)} |", "|---" * (3 + len(COLUMNS)) + "|"]
    for name, runs in results.items():
        keys = ("mean_error", "sd_error", "share_error", "rhat", "warm_up_seconds", "seconds")
        mean, sd, share, r, warm, steps = (max(run[key] for run in runs) for key in keys)
        least = min(run["ess"] for run in runs)
        each = min(1000 * run["ess"] / run["gradients"] for run in runs)
        fast = min(run["ess"] / (run["warm_up_seconds"] + run["seconds"]) for run in runs)
        errors = f"{mean:.3f} | {sd:.3f} | {share:.3f} | {r:.3f}"
        costs = f"{least:,.0f} | {each:.3g} | {fast:,.0f} | {warm:.0f} s | {steps:.0f} s"
        lines.append(f"| {name} | {runs[0]['dim']} | {len(runs)} | {errors} | {costs} |")
    return "\n".join(lines)


def kept(file: Path, protocol: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The runs that are there already, to go on from where a command stopped."""
    if not file.exists():
        return {}
    found = json.loads(file.read_text())
    if differs := [name for name in ("kernel", "compile", "torch") if found["protocol"][name] != protocol[name]]:
        raise SystemExit(f"{file} has runs of another {' and '.join(differs)}: give another --out")
    return found["runs"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the numbers")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the posteriors lie")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", nargs="+", choices=[*MODELS, *SCHOOLS], default=[*MODELS, *SCHOOLS])
    parser.add_argument("--kernel", choices=KERNELS, help="in place of the one that tune takes by itself")
    parser.add_argument("--compile", action="store_true", help="make the steps in C++ where that is possible")
    arguments = parser.parse_args()
    if not arguments.folder.exists() and not set(arguments.only) <= set(SCHOOLS):
        raise SystemExit(f"no posteriors in {arguments.folder}: give their folder by --folder")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the table and the reports say what they say
    given = arguments.folder, arguments.kernel, arguments.compile
    protocol = {"date": datetime.now(UTC).date().isoformat(), "machine": platform.machine(), "torch": torch.__version__}
    protocol |= {"kernel": arguments.kernel or "by default", "compile": arguments.compile}
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "posteriors.json"
    results = kept(file, protocol)
    for name in arguments.only:
        dim = read(name, arguments.folder)[0].dim
        runs = results.setdefault(name, [])
        for seed in sorted(set(arguments.seeds) - {run["seed"] for run in runs}):
            runs.append(run(name, seed, *given) | {"dim": dim, "seed": seed})
            file.write_text(json.dumps({"protocol": protocol, "runs": results}, indent=1))
        print(table({name: runs}).splitlines()[-1], flush=True)
    print("\n" + table({name: results[name] for name in arguments.only}))


if __name__ == "__main__":
    main()

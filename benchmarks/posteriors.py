"""Ten public posteriors and the eight schools both ways, written in PyTorch, against their references.

    python benchmarks/posteriors.py --out runs/posteriors           (2 seeds)
    python benchmarks/posteriors.py --out runs/gp --only gp_pois_regr --kernel hmc
    python benchmarks/posteriors.py --out runs/nuts --compile --seeds 0 --nuts far near dense      (docs/sampling.md)

It saves what it has run and continues where it stopped.

Each is sampled with default settings: 32 chains in float64 from N(0, 10²) on the unconstrained scale, `tune` of f alone
or of a named kernel for 1,000 steps, then 2,000 steps. Wrong means: error of a mean in posterior
standard deviations, and of a standard deviation relative to it, the largest over the reference's quantities. Both
should be below 0.1. Wrong shares: how far the share of draws below the reference's quantiles is from 5, 25, 50, 75 and
95%. ESS is of all steps, the least of bulk and tail over the same quantities.

`--nuts` runs BlackJAX's NUTS beside it: as many chains and steps, its own `window_adaptation` for as long a warm-up.
"far" starts where ours does, "near" where Stan does, at U(−2, 2), and "dense" there with a dense mass matrix; otherwise
it is diagonal, BlackJAX's default. Its models are those of `posteriors_jax.py`, whose values and gradients are first
compared with the ones here. Seconds are CPU seconds and count compiling, warm-up and steps of both. Compiling
is done once for all seeds of a command, and each seed is charged for it.

Models, data and reference draws are those of posteriordb (github.com/stan-dev/posteriordb), read from the folder
`../shared/data/posteriors`; without it only the eight schools run, whose reference is a quadrature.
"""

import argparse
import json
import math
import os
import platform
import statistics
import warnings
from collections.abc import Callable, Iterator
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


def data_of(reference: Data) -> Data:
    """What a model reads, of all that a file holds."""
    return {key.removeprefix("data_"): x for key, x in reference.items() if key.startswith("data_")}


def read(name: str, folder: Path = FOLDER) -> tuple[Model, Data]:
    """The model of a posterior, and its reference: the file's, or a quadrature."""
    if name in SCHOOLS:
        return SCHOOLS[name](), schools_reference()
    with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
        kept = {key: torch.as_tensor(file[key], dtype=torch.float64) for key in file if key != "names"}
    return MODELS[name](data_of(kept)), kept


def seconds() -> float:
    """Of the processor, of this process and those that it waited for."""
    now = os.times()
    return now.user + now.system + compiler_seconds()


def compiler_seconds() -> float:
    """Of the C++ compiler, the only process that is waited for."""
    now = os.times()
    return now.children_user + now.children_system


CHAINS, START_SD, WARM_UP, STEPS, KEEP = 32, 10.0, 1000, 2000, 1
PROTOCOL = ("kernel", "compile", "torch", "steps", "keep_every")
"""What runs of one file have in common."""
KERNELS = ("anisotropic_mala", "mala", "barker", "ghmc", "anisotropic_ghmc", "hmc")


def start(dim: int, seed: int) -> Tensor:
    return START_SD * torch.randn(CHAINS, dim, generator=rng(seed, "start"), dtype=torch.float64)


def run(name: str, seed: int, folder: Path, kernel: str, compile: bool, steps: int) -> dict[str, Any]:
    """One posterior with default settings: errors against the reference, R̂, ESS, and seconds of the processor."""
    model, reference = read(name, folder)
    x0 = start(model.dim, seed)
    began, compiled = seconds(), compiler_seconds()
    make = partial(SAMPLERS[kernel], model.f) if kernel else model.f
    tuned = tune(make, x0, WARM_UP, rng(seed, "tune"), compile=compile)
    warmed = seconds()
    _, trace = sample(tuned.sampler, tuned.x, steps, rng(seed, "chains"), keep_every=KEEP, compile=compile)
    return {
        "seconds": seconds() - warmed,
        "warm_up_seconds": warmed - began,
        "compiler_seconds": compiler_seconds() - compiled,
        "gradients": CHAINS * steps * tuned.sampler.gradients,
        "report": tuned.report,
    } | judged(trace["x"], model, reference)


def judged(x: Tensor, model: Model, reference: Data) -> dict[str, float]:
    """Draws, (steps, chains, d), against a reference; R̂ and ESS over its quantities."""
    flat = model.quantities(x.flatten(0, 1))
    x, mean, sd = flat.unflatten(0, (-1, CHAINS)), reference["mean"], reference["sd"]
    shares = torch.stack([(flat < q).double().mean(0) for q in reference["quantiles"]])
    return {
        "mean_error": ((flat.mean(0) - mean) / sd).abs().max().item(),
        "sd_error": (flat.std(0) / sd - 1).abs().max().item(),
        "share_error": (shares - torch.tensor(SHARES)[:, None]).abs().max().item(),
        "rhat": rhat(x).max().item(),
        "ess": torch.minimum(ess(x), ess(x, "tail")).min().item(),
    }


class Nuts(NamedTuple):
    """A way to run BlackJAX's NUTS."""

    about: str
    far: bool
    """Whether it starts where ours does. Else as Stan does, at U(−2, 2)."""
    dense: bool
    """Whether its warm-up finds a dense mass matrix in place of a diagonal one, which is its default."""


NUTS = {
    "far": Nuts("N(0, 10²)", far=True, dense=False),
    "near": Nuts("U(−2, 2)", far=False, dense=False),
    "dense": Nuts("U(−2, 2), dense mass", far=False, dense=True),
}
MIXED = 1.1
"""R̂ up to which figures of a run mean something."""


def run_nuts(name: str, way: Nuts, seeds: list[int], folder: Path, steps: int) -> Iterator[dict[str, Any]]:
    """BlackJAX's NUTS on one posterior: what `run` gives, for one seed after the other."""
    import posteriors_jax as other

    model, reference = read(name, folder)
    f = other.read(name, data_of(reference))
    other.verify(name, model.f, f, model.dim)
    began = seconds()
    nuts = other.nuts(f, model.dim, CHAINS, WARM_UP, steps, way.dense)
    compiled = seconds() - began
    for seed in seeds:
        x0 = start(model.dim, seed).numpy() if way.far else other.starts_of_stan(f, CHAINS, model.dim, seed)
        began = seconds()
        draws = nuts(x0, steps, seed)
        costs = {
            "seconds": seconds() - began,
            "warm_up_seconds": compiled,
            "compiler_seconds": compiled,
            "gradients": CHAINS * draws.gradients,
            "gradients_a_step": draws.gradients / steps,
            "warm_up_gradients": CHAINS * draws.warmup_gradients,
        }
        yield costs | judged(torch.tensor(draws.x), model, reference) | {"dim": model.dim, "seed": seed}


Runs = list[dict[str, Any]]


def cost(run: dict[str, Any], runs: Runs, compiling: bool = True) -> float:
    """Seconds of a run. The compiler's are those of the dearest run, as others may find what is there; or none."""
    compiler = max(each["compiler_seconds"] for each in runs) if compiling else 0.0
    return run["warm_up_seconds"] + run["seconds"] - run["compiler_seconds"] + compiler


def rates(runs: Runs) -> tuple[float, float, float]:
    """ESS a second, warm-up and compiling included; a second without compiling; a gradient of the steps: medians."""
    each = [(run["ess"] / cost(run, runs), run["ess"] / cost(run, runs, compiling=False)) for run in runs]
    fast, faster = (statistics.median(pair[k] for pair in each) for k in (0, 1))
    return fast, faster, statistics.median(1000 * run["ess"] / run["gradients"] for run in runs)


BESIDE = (
    "NUTS from", "seeds", "mean", "sd", "share", "R̂", "least ESS", "gradients a step", "CPU seconds", "ESS a second",
    "ours", "ours ÷ NUTS", "without compiling", "per gradient",
)  # fmt: skip


def beside(ours: dict[str, Runs], nuts: dict[str, dict[str, Runs]]) -> str:
    """A markdown table of NUTS, the worst over seeds, and of ours over NUTS where its chains mixed."""
    lines = [f"| posterior | {' | '.join(BESIDE)} |", "|---" * (1 + len(BESIDE)) + "|"]
    for name in ours:
        own = rates(ours[name])
        for way, (about, *_) in NUTS.items():
            if not (runs := nuts[way].get(name)):
                continue
            worst = [max(run[key] for run in runs) for key in ("mean_error", "sd_error", "share_error", "rhat")]
            least, each = min(run["ess"] for run in runs), statistics.median(run["gradients_a_step"] for run in runs)
            spent = statistics.median(cost(run, runs) for run in runs)
            text = f"{' | '.join(f'{error:.3f}' for error in worst)} | {least:,.0f} | {each:.0f}"
            theirs = rates(runs)
            ratios = " | ".join(f"{us / them:.3g}" for us, them in zip(own, theirs, strict=True))
            rest = f"{theirs[0]:,.0f} | {own[0]:,.0f} | {ratios}"
            if worst[-1] > MIXED:
                rest = "not mixed" + " | –" * 4
            lines.append(f"| {name} | {about} | {len(runs)} | {text} | {spent:.0f} | {rest} |")
    return "\n".join(lines)


def medians(ours: dict[str, Runs], nuts: dict[str, dict[str, Runs]]) -> str:
    """Of ours over NUTS, over the posteriors where its chains mixed: with its defaults, and as it does best."""
    lines = []
    for about, ways in (("diagonal", ("far", "near")), ("diagonal or dense", tuple(NUTS))):
        ratios = []
        for name, runs in ours.items():
            tried = [nuts[way].get(name, []) for way in ways]
            good = [rates(runs) for runs in tried if runs and max(run["rhat"] for run in runs) <= MIXED]
            if good:
                ratios.append([us / them for us, them in zip(rates(runs), max(good), strict=True)])
        if ratios:
            fast, faster, each = (statistics.median(column) for column in zip(*ratios, strict=True))
            lines.append(
                f"ours ÷ NUTS, {about}, where it is fastest, median of {len(ratios)} posteriors: {fast:.2f} a second, "
                f"{faster:.2f} without compiling, {each:.2f} a gradient"
            )
    return "\n".join(lines)


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
        fast = min(run["ess"] / cost(run, runs) for run in runs)
        errors = f"{mean:.3f} | {sd:.3f} | {share:.3f} | {r:.3f}"
        costs = f"{least:,.0f} | {each:.3g} | {fast:,.0f} | {warm:.0f} s | {steps:.0f} s"
        lines.append(f"| {name} | {runs[0]['dim']} | {len(runs)} | {errors} | {costs} |")
    return "\n".join(lines)


def kept(file: Path, protocol: dict[str, Any]) -> dict[str, Any]:
    """What is there already, to go on from where a command stopped: our runs, and those of NUTS."""
    if not file.exists():
        return {"runs": {}, "nuts": {way: {} for way in NUTS}}
    found = json.loads(file.read_text())
    if differs := [name for name in PROTOCOL if found["protocol"].get(name) != protocol[name]]:
        raise SystemExit(f"{file} has runs of another {' and '.join(differs)}: give another --out")
    return {name: found[name] for name in ("runs", "nuts")}


def missing(seeds: list[int], runs: Runs) -> list[int]:
    return sorted(set(seeds) - {run["seed"] for run in runs})


def wake(compile: bool) -> None:
    """One small run that counts nowhere: the compiler's own headers and imports are made once on a machine."""
    x0 = torch.randn(CHAINS, 2, dtype=torch.float64)
    tuned = tune(lambda x: -x.square().sum(1), x0, 40, rng(0), compile=compile)
    sample(tuned.sampler, tuned.x, 10, rng(0), compile=compile)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the numbers")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the posteriors lie")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", nargs="+", choices=[*MODELS, *SCHOOLS], default=[*MODELS, *SCHOOLS])
    parser.add_argument("--steps", type=int, default=STEPS, help="that count")
    parser.add_argument("--kernel", choices=KERNELS, help="in place of the one that tune takes by itself")
    parser.add_argument("--compile", action="store_true", help="make the steps in C++ where that is possible")
    parser.add_argument("--nuts", nargs="+", choices=NUTS, default=[], help="BlackJAX's beside ours")
    arguments = parser.parse_args()
    if not arguments.folder.exists() and not set(arguments.only) <= set(SCHOOLS):
        raise SystemExit(f"no posteriors in {arguments.folder}: give their folder by --folder")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the table and the reports say what they say
    given = arguments.folder, arguments.kernel, arguments.compile, arguments.steps
    protocol = {"date": datetime.now(UTC).date().isoformat(), "machine": platform.machine(), "torch": torch.__version__}
    protocol |= {"kernel": arguments.kernel or "by default", "compile": arguments.compile}
    protocol |= {"steps": arguments.steps, "keep_every": KEEP}
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "posteriors.json"
    found = kept(file, protocol)

    def keep(runs: Runs, run: dict[str, Any]) -> None:
        runs.append(run)
        file.write_text(json.dumps({"protocol": protocol, **found}, indent=1))

    wake(arguments.compile)
    for name in arguments.only:
        dim = read(name, arguments.folder)[0].dim
        runs = found["runs"].setdefault(name, [])
        for seed in missing(arguments.seeds, runs):
            keep(runs, run(name, seed, *given) | {"dim": dim, "seed": seed})
        print(table({name: runs}).splitlines()[-1], flush=True)
        for way in arguments.nuts:
            theirs = found["nuts"][way].setdefault(name, [])
            if seeds := missing(arguments.seeds, theirs):
                for one in run_nuts(name, NUTS[way], seeds, arguments.folder, arguments.steps):
                    keep(theirs, one)
                    print(f"  NUTS, {way}: R̂ {one['rhat']:.3f}, {one['seconds']:.0f} s", flush=True)
    ours = {name: found["runs"][name] for name in arguments.only}
    print("\n" + table(ours))
    if arguments.nuts:
        print("\n" + beside(ours, found["nuts"]) + "\n\n" + medians(ours, found["nuts"]))


if __name__ == "__main__":
    main()

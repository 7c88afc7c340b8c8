"""Eight posteriors of common kinds with seeded data, compared with a long run of another kernel.

    python benchmarks/more_posteriors.py --out runs/more-posteriors
    python benchmarks/more_posteriors.py --out runs/garch --only garch --seeds 0

It saves what it has run and continues where it stopped.

Each is sampled with default settings: 32 chains in float64 from N(0, 10²) on the unconstrained scale, `tune(f)` for
`--warm-up` steps, then `--steps`, compiled. The reference is `anisotropic_mala`, tuned for twice as many steps from
such starts too, for ten times as many. (From N(0, 1) a chain of `two_normals` may start in a mode with next to no mass
and stay.) Errors of a mean in standard deviations of the reference, of a sd relative to it, the largest over x. "Below"
is how far the median of f is below that of the reference, and "verdict" what the summary says.
"""

import argparse
import json
import math
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from anila import anisotropic_mala, rng, sample, tune

F = Callable[[Tensor], Tensor]
CHAINS, START_SD, KEEP, LONGER = 32, 10.0, 5, 10


def noise(*shape: int, stream: str = "data") -> Tensor:
    return torch.randn(*shape, generator=rng(7, stream), dtype=torch.float64)


def normal(x: Tensor, mean: Any = 0.0, log_sd: Any = 0.0) -> Tensor:
    """log N(x; mean, sd²) without its constant."""
    log_sd = torch.as_tensor(log_sd, dtype=x.dtype)
    return -((x - mean) ** 2) * (-2 * log_sd).exp() / 2 - log_sd


def half_cauchy(log_x: Tensor, scale: float = 1.0) -> Tensor:
    """log of half-Cauchy of exp(log x), as a density of log x, without its constant."""
    return log_x - torch.log1p((2 * log_x).exp() / scale**2)


def earnings() -> tuple[F, int]:
    """log earn ~ N(a + b height + c male, σ) with columns in their units."""
    height = 66 + 4 * noise(200)
    features = torch.stack([torch.ones(200), height, (noise(200, stream="male") > 0).double()], 1).double()
    y = features @ torch.tensor([5.5, 0.06, 0.3]).double() + 0.9 * noise(200, stream="noise")
    gram, cross, square = features.T @ features, features.T @ y, y @ y

    def f(x: Tensor) -> Tensor:
        b, log_sd = x[:, :3], x[:, 3]
        residual = square - 2 * (b @ cross) + ((b @ gram) * b).sum(1)
        return -residual / 2 * (-2 * log_sd).exp() - 200 * log_sd + log_sd

    return f, 4


def radon() -> tuple[F, int]:
    """Intercept and slope of 12 counties, not centred: x is two means, three log scales and 24 offsets."""
    county = torch.arange(120) % 12
    floor = (torch.arange(120) % 5 == 0).double()
    own = torch.tensor([1.4, -0.7]) + torch.tensor([0.3, 0.2]) * noise(12, 2)
    y = own[county, 0] + own[county, 1] * floor + 0.7 * noise(120, stream="noise")

    def f(x: Tensor) -> Tensor:
        mean, log_scale, log_sd, z = x[:, :2], x[:, 2:4], x[:, 4], x[:, 5:].view(-1, 12, 2)
        each = mean[:, None] + log_scale.exp()[:, None] * z
        line = each[:, county, 0] + each[:, county, 1] * floor
        prior = normal(mean, 0, math.log(10)).sum(1) - z.square().sum((1, 2)) / 2
        scales = half_cauchy(log_scale).sum(1) + half_cauchy(log_sd)
        return prior + scales + normal(y, line, log_sd[:, None]).sum(1)

    return f, 29


def garch() -> tuple[F, int]:
    """σ²_t = ω + α e²_{t−1} + β σ²_{t−1}, e = y − μ; α and β by logits, β ∈ (0, 1 − α)."""
    draw, variance, seen = noise(60), 1.0, []
    for t in range(60):
        e = math.sqrt(variance) * draw[t].item()
        seen.append(0.5 + e)
        variance = 0.3 + 0.4 * e**2 + 0.4 * variance
    y = torch.tensor(seen).double()

    def f(x: Tensor) -> Tensor:
        mu, log_omega, a, b = x.unbind(1)
        alpha = torch.sigmoid(a)
        beta = (1 - alpha) * torch.sigmoid(b)
        prior = logsigmoid(a) + 2 * logsigmoid(-a) + logsigmoid(b) + logsigmoid(-b) + log_omega
        square = (y - mu[:, None]) ** 2
        variance, terms = y.var().expand(len(x)), []
        for t in range(60):
            terms.append(-square[:, t] / (2 * variance) - variance.log() / 2)
            variance = log_omega.exp() + alpha * square[:, t] + beta * variance
        return prior + torch.stack(terms, 1).sum(1)

    return f, 4


def arma() -> tuple[F, int]:
    """y_t = μ + φ y_{t−1} + θ e_{t−1} + e_t."""
    draw, seen, before = noise(60), [0.0], 0.0
    for t in range(60):
        seen.append(0.2 + 0.6 * seen[-1] + 0.3 * before + 0.5 * draw[t].item())
        before = 0.5 * draw[t].item()
    y = torch.tensor(seen[1:]).double()

    def f(x: Tensor) -> Tensor:
        mu, phi, theta, log_sd = x.unbind(1)
        e, square = 0 * mu, 0 * mu
        for t in range(1, 60):
            e = y[t] - mu - phi * y[t - 1] - theta * e
            square = square + e**2
        prior = normal(mu, 0, math.log(10)) + normal(phi, 0, math.log(2)) + normal(theta, 0, math.log(2))
        return prior + half_cauchy(log_sd, 2.5) - square / 2 * (-2 * log_sd).exp() - 59 * log_sd

    return f, 4


def two_normals() -> tuple[F, int]:
    """A mixture with ordered means, the second by the log of its distance; log scales; the logit of the first share."""
    y = torch.cat([-2 + noise(60), 2 + 1.5 * noise(90, stream="second")])

    def f(x: Tensor) -> Tensor:
        first, log_gap, logit = x[:, 0], x[:, 1], x[:, 4]
        mean = torch.stack([first, first + log_gap.exp()], 1)
        share = torch.stack([logsigmoid(logit), logsigmoid(-logit)], 1)
        each = share[:, None] + normal(y[:, None], mean[:, None], x[:, None, 2:4])
        prior = normal(mean, 0, math.log(2)).sum(1) + log_gap + 5 * share.sum(1)
        scales = (x[:, 2:4] - (2 * x[:, 2:4]).exp() / 8).sum(1)
        return prior + scales + torch.logaddexp(each[..., 0], each[..., 1]).sum(1)

    return f, 5


def counts() -> tuple[F, int]:
    """Negative binomial regression: log mean of three features, log φ."""
    features = torch.cat([torch.ones(100, 1), noise(100, 2)], 1).double()
    rate = (features @ torch.tensor([1.0, 0.5, -0.5]).double() + 0.5 * noise(100, stream="noise")).exp()
    y = torch.poisson(rate, generator=rng(7, "counts"))

    def f(x: Tensor) -> Tensor:
        log_mean, log_phi = x[:, :3] @ features.T, x[:, 3:]
        phi = log_phi.exp()
        seen = torch.lgamma(y + phi) - torch.lgamma(phi) - y * softplus(log_phi - log_mean)
        seen = seen - phi * softplus(log_mean - log_phi)
        return seen.sum(1) + normal(x[:, :3], 0, math.log(5)).sum(1) + half_cauchy(x[:, 3])

    return f, 4


def predators() -> tuple[F, int]:
    """Lotka and Volterra by Runge and Kutta's steps of 1/4, log-normal noise: four log rates and log σ."""
    truth = torch.tensor([[0.55, 0.028, 0.8, 0.024]]).double().log()

    def path(x: Tensor) -> Tensor:
        a, b, c, d = x[:, :4].exp().unbind(1)

        def rate(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            return a - b * v.exp(), d * u.exp() - c

        u, v, h, seen = 0 * a + math.log(30), 0 * a + math.log(5), 0.25, []
        for t in range(40):
            p, q = rate(u, v)
            r, s = rate(u + h / 2 * p, v + h / 2 * q)
            u, v = u + h * r, v + h * s
            if t % 4 == 3:
                seen += [u, v]
        return torch.stack(seen, 1)

    y = path(truth)[0] + 0.2 * noise(20)

    def f(x: Tensor) -> Tensor:
        prior = normal(x[:, :4], torch.tensor([-0.5, -3.5, -0.5, -3.5]).double(), 0.0).sum(1) + normal(x[:, 4], -1.0)
        return prior + normal(y, path(x), x[:, 4:5]).sum(1)

    return f, 5


def horseshoe() -> tuple[F, int]:
    """Logistic regression on ten features, two of them of use: b = τ λ z, half-Cauchy scales, a slab of 2."""
    features = noise(100, 10)
    up = torch.rand(100, generator=rng(7, "labels")) < torch.sigmoid(2 * features[:, 0] - 2 * features[:, 1])
    signed = torch.where(up[:, None], features, -features)

    def f(x: Tensor) -> Tensor:
        log_tau, log_lambda, z = x[:, :1], x[:, 1:11], x[:, 11:]
        scale = log_tau + log_lambda
        scale = scale - softplus(2 * scale - math.log(4)) / 2
        prior = half_cauchy(log_tau[:, 0], 0.2) + half_cauchy(log_lambda).sum(1) - z.square().sum(1) / 2
        return prior + logsigmoid((scale.exp() * z) @ signed.T).sum(1)

    return f, 21


POSTERIORS = {made.__name__: made for made in (earnings, radon, garch, arma, two_normals, counts, predators, horseshoe)}


def reference(name: str, warm_up: int, steps: int) -> tuple[Tensor, str]:
    """Draws of a long run, (draws, d), and what its summary says."""
    f, dim = POSTERIORS[name]()
    x0 = START_SD * torch.randn(CHAINS, dim, generator=rng(0, "reference"), dtype=torch.float64)
    tuned = tune(partial(anisotropic_mala, f), x0, 2 * warm_up, rng(1, "tune"), compile=True)
    _, trace = sample(tuned.sampler, tuned.x, LONGER * steps, rng(1, "chains"), keep_every=LONGER, compile=True)
    return trace["x"].flatten(0, 1), trace.summary().splitlines()[-1]


def run(name: str, seed: int, exact: Tensor, warm_up: int, steps: int) -> dict[str, Any]:
    """One posterior with default settings: errors, and what is said."""
    f, dim = POSTERIORS[name]()
    x0 = START_SD * torch.randn(CHAINS, dim, generator=rng(seed, "start"), dtype=torch.float64)
    tuned = tune(f, x0, warm_up, rng(seed, "tune"), compile=True)
    _, trace = sample(tuned.sampler, tuned.x, steps, rng(seed, "chains"), keep_every=KEEP, compile=True)
    x = trace["x"].flatten(0, 1)
    return {
        "seed": seed,
        "mean_error": ((x.mean(0) - exact.mean(0)) / exact.std(0)).abs().max().item(),
        "sd_error": (x.std(0) / exact.std(0) - 1).abs().max().item(),
        "below": (f(exact[::10]).median() - f(x[::10]).median()).item(),
        "verdict": trace.summary().splitlines()[-1],
        "report": tuned.report,
    }


def line(name: str, found: dict[str, Any]) -> str:
    numbers = " | ".join(f"{found[key]:.3f}" for key in ("mean_error", "sd_error", "below"))
    return f"| {name} | {found['seed']} | {numbers} | {found['verdict']} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=POSTERIORS, default=list(POSTERIORS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--warm-up", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=2000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the report says it
    given.out.mkdir(parents=True, exist_ok=True)
    print("| posterior | seed | error of a mean | of a sd | below | verdict |\n" + "|---" * 6 + "|")
    for name in given.only:
        kept = given.out / f"{name}-{given.warm_up}-{given.steps}.json"
        runs = json.loads(kept.read_text()) if kept.exists() else []
        missing = sorted(set(given.seeds) - {one["seed"] for one in runs})
        exact, told = reference(name, given.warm_up, given.steps) if missing else (torch.empty(0), "kept")
        print(f"| {name} | reference | | | | {told} |", flush=True)
        for seed in missing:
            runs.append(run(name, seed, exact, given.warm_up, given.steps))
            kept.write_text(json.dumps(runs, indent=1))
        for one in runs:
            print(line(name, one), flush=True)


if __name__ == "__main__":
    main()

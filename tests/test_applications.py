"""Laws of the applications: on Gaussians every posterior is known, and every exact sampler must draw from it.

Model N(m, S) in three dimensions, two observations, 1,500 chains each, started far from the posterior. Means and
covariances are compared at five standard errors of their own.
"""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor

from anila import applications
from anila.applications import (
    auroc,
    blur,
    box_mask,
    compose,
    denoise,
    downsample,
    edit,
    inpaint,
    noise_sd,
    outliers,
    purify,
    random_mask,
    read_mask,
    restore,
)
from anila.density.targets import gaussian
from anila.rng import rng
from anila.samplers import SAMPLERS, Sampler, langevin, replica_exchange, sample
from crossed import crossed
from exact import as_users_run_it, distance, mutant

D = torch.float64
MEAN = torch.tensor([1.0, -0.5, 0.3], dtype=D)
ROOT = torch.tensor([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.3, 0.5, 0.7]], dtype=D)
COV = ROOT @ ROOT.T
Y = torch.tensor([[2.0, 0.5, -1.0], [-1.0, 0.3, 0.8]], dtype=D)
MASK = torch.tensor([False, True, True])
K = 1500
STEPS = {"hmc": 40}
ANY = {"step_size": 0.1, "threshold": 1.0, "leapfrog_steps": 2}
OPTIONS: dict[str, dict[str, Any]] = {
    "mala": {"step_size": 0.5},
    "anisotropic_mala": {"step_size": 0.8, "threshold": 1.5},
    "barker": {"step_size": 0.7},
    "hmc": {"step_size": 0.16, "leapfrog_steps": 3},
    "ghmc": {"step_size": 0.25},
    "anisotropic_ghmc": {"step_size": 0.25, "threshold": 3.0},
}
EXACT = [name for name, make in SAMPLERS.items() if name in OPTIONS]


def log_normal(mean: Tensor, cov: Tensor) -> Callable[[Tensor], Tensor]:
    precision = torch.linalg.inv(cov)
    return lambda x: -((x - mean.to(x)) @ precision.to(x) * (x - mean.to(x))).sum(1) / 2


f = log_normal(MEAN, COV)


def kernel(name: str) -> Callable[[Callable[[Tensor], Tensor]], Sampler]:
    return partial(SAMPLERS[name], **OPTIONS[name])


def anyhow(name: str) -> Callable[[Callable[[Tensor], Tensor]], Sampler]:
    """Any sampler with some settings."""
    takes = inspect.signature(SAMPLERS[name]).parameters
    return partial(SAMPLERS[name], **{k: v for k, v in ANY.items() if k in takes})


class Case(NamedTuple):
    """A posterior of Y with its means (2, d) and covariance (d, d)."""

    posterior: applications.Posterior
    mean: Tensor
    cov: Tensor


def linear(view: Tensor, seen: Tensor, sd: float, mean: Tensor = MEAN, cov: Tensor = COV) -> tuple[Tensor, Tensor]:
    """Posterior of N(mean, cov) given seen = view x + sd ξ, by the precision form."""
    prior = torch.linalg.inv(cov)
    after = torch.linalg.inv(prior + view.T @ view / sd**2)
    return (prior @ mean + seen @ view / sd**2) @ after, after


def conditioned() -> Case:
    """x₁, x₂ given x₀, by the covariance form."""
    slope = COV[1:, 0] / COV[0, 0]
    mean = torch.cat([Y[:, :1], MEAN[1:] + (Y[:, :1] - MEAN[0]) * slope], 1)
    cov = torch.zeros(3, 3, dtype=D)
    cov[1:, 1:] = COV[1:, 1:] - slope[:, None] * COV[:1, 1:]
    return Case(inpaint(f, Y, MASK), mean, cov)


VIEW = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.5, -1.0]], dtype=D)
WANTED = torch.tensor([0.5, -1.0, 0.0], dtype=D)


def edited() -> Case:
    """A goal b·x moves the mean of the tied law by its covariance times b."""
    mean, cov = linear(torch.eye(3, dtype=D), Y, 0.9)
    return Case(edit(f, Y, 0.9, goal=lambda x: x @ WANTED), mean + cov @ WANTED, cov)


CASES: dict[str, Callable[[], Case]] = {
    "inpaint": conditioned,
    "inpaint, soft": lambda: Case(
        inpaint(f, Y.masked_fill(MASK, math.nan), MASK, sd=0.7), *linear(torch.eye(3, dtype=D)[:1], Y[:, :1], 0.7)
    ),
    "denoise": lambda: Case(denoise(f, Y, 0.8), *linear(torch.eye(3, dtype=D), Y, 0.8)),
    "restore": lambda: Case(
        restore(f, Y @ VIEW.T, lambda x: x @ VIEW.T, 0.9), *linear(VIEW, Y @ VIEW.T, 0.9)
    ),
    "edit": edited,
}  # fmt: skip


def misfit(case: Case, name: str) -> float:
    """The largest error of a mean or a covariance, in standard errors."""
    start = torch.randn(2 * K, 3, generator=rng(0, "start"), dtype=D) * 2
    x = case.posterior.draw(kernel(name), start, STEPS.get(name, 60), rng(0, "chains")).x
    sd = case.cov.diagonal().sqrt()
    off = [((x.mean(1) - case.mean).abs() / (sd / math.sqrt(K)).clamp(min=1e-12)).max()]
    for rows in x:
        error = (torch.cov(rows.T) - case.cov).abs()
        off.append((error / ((case.cov.square() + torch.outer(sd, sd).square()) / K).sqrt().clamp(min=1e-12)).max())
    return float(max(off))


@pytest.mark.parametrize(("case", "name"), crossed(CASES, EXACT, "inpaint"))
def test_posteriors_have_their_closed_form(case: str, name: str):
    """Sees a wrong law, observations beside the wrong chains, or a use that works with one kernel only."""
    assert misfit(CASES[case](), name) < 5


def test_every_exact_sampler_is_asked():
    """Sees an exact sampler added to the table and not to this file."""
    for name in SAMPLERS:
        assert (anyhow(name)(f).target_accept is not None) == (name in OPTIONS)


FAULTS = {
    "likelihood counted twice": (".square().sum(1) / 2", ".square().sum(1)"),
    "observations out of order": (
        "y.repeat_interleave(chains(x, len(y)), 0)",
        "y.repeat(chains(x, len(y)), *[1] * (y.ndim - 1))",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_posterior_is_seen(fault: str):
    """Sees the comparison above gone blind."""
    broken = mutant("anila.applications.posterior", *FAULTS[fault])

    def log_likelihood(x: Tensor) -> Tensor:
        return broken.log_normal(x - broken.beside(Y, x), torch.tensor([0.8, 0.8], dtype=D))

    case = CASES["denoise"]()
    assert misfit(case._replace(posterior=broken.in_place(f, log_likelihood, 2, 1.0)), "mala") > 5


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_is_seen_stays_bit_for_bit(name: str):
    """Sees an observation that is rounded, or moved by a kernel; values under the mask are never read."""
    y = torch.rand(3, 2, 4, 4, generator=rng(0, "y")).masked_fill(box_mask((4, 4), (1, 1, 2, 3)), math.nan)
    mask = box_mask((4, 4), (1, 1, 2, 3))
    posterior = inpaint(lambda x: -x.flatten(1).square().sum(1) / 2, y, mask)
    draws = posterior.draw(anyhow(name), torch.ones(6, 2, 4, 4), 5, rng(0, "chains"), 2)
    seen = ~mask.expand(2, 4, 4)
    assert torch.equal(draws.x[:, :, seen], y[:, None].expand(-1, 2, -1, -1, -1)[:, :, seen])
    assert torch.equal(draws.path[:, :, :, seen], y[None, :, None].expand(2, -1, 2, -1, -1, -1)[:, :, :, seen])
    assert bool(torch.isfinite(draws.x).all())
    assert bool((draws.x[:, :, ~seen] != 1).any())
    torch.testing.assert_close(draws.energy, draws.x.flatten(2).square().sum(2) / 2)


def test_a_ladder_of_temperatures_runs_on_a_posterior():
    """Sees observations that do not follow a kernel with several rows a chain."""
    case = conditioned()
    ladder = replica_exchange(kernel("mala"), case.posterior, [1.0, 2.0])
    u, _ = sample(ladder, torch.zeros(2 * K, 2, dtype=D), 60, rng(0, "chains"))
    mean = case.posterior.by_observation(u).mean(1)
    assert float(((mean - case.mean[:, 1:]) / (case.cov.diagonal()[1:] / K).sqrt()).abs().max()) < 5


def test_a_cold_kernel_gives_the_likelihood_its_weight():
    """Sees a likelihood not counted T times: langevin at temperature T has variance T/(λ (1 − γλ/4)), λ = 1 + T/sd²."""
    t, sd, gamma = 0.01, 0.1, 0.3
    posterior = denoise(gaussian(dim=1), torch.tensor([[1.0]], dtype=D), sd, temperature=t)
    start = torch.zeros(20_000, 1, dtype=D)
    x = posterior.draw(lambda g: langevin(g, gamma, temperature=t), start, 60, rng(0, "chains")).x[0, :, 0]
    precision = 1 + t / sd**2
    variance = t / (precision * (1 - gamma * precision / 4))
    assert x.mean().item() == pytest.approx(t / sd**2 / precision, abs=5 * math.sqrt(variance / 20_000))
    assert x.var().item() == pytest.approx(variance, rel=5 * math.sqrt(2 / 20_000))


@pytest.mark.parametrize("name", EXACT)
def test_purified_rows_follow_f_cut_to_the_box(name: str):
    """Sees the Jacobian dropped or halved: x is normal, cut to |x − y| < ε, in every coordinate."""
    y, within = torch.tensor([[0.5, -2.0]], dtype=D), 0.6
    posterior = purify(gaussian(dim=2), y, within)
    draws = posterior.draw(kernel(name), y.repeat(10_000, 1), STEPS.get(name, 60), rng(0, "chains"))
    for x, centre in zip(draws.x[0].T.numpy(), y[0].tolist(), strict=True):
        low, high = stats.norm.cdf([centre - within, centre + within])
        assert distance((stats.norm.cdf(x) - low) / (high - low)) < 0.8


def test_a_purification_without_its_jacobian_is_seen():
    """Sees the test above gone blind."""
    broken = mutant("anila.applications.purify", "temperature * log_slope.sum(1)", "0.5 * log_slope.sum(1)")
    y = torch.tensor([[0.5]], dtype=D)
    x = broken.purify(gaussian(dim=1), y, 0.6).draw(kernel("mala"), y.repeat(10_000, 1), 60, rng(0, "chains")).x
    low, high = stats.norm.cdf([-0.1, 1.1])
    assert distance((stats.norm.cdf(x.flatten().numpy()) - low) / (high - low)) > 1


OTHER = (torch.tensor([-1.0, 0.0, 1.0], dtype=D), torch.diag(torch.tensor([4.0, 2.0, 3.0], dtype=D)))


@pytest.mark.parametrize(("weights", "name"), crossed([(0.5, 2.0), (1.0, -0.5)], EXACT, (1.0, -0.5)))
def test_products_and_negations_of_gaussians(weights: tuple[float, float], name: str):
    """Sees a weight ignored or a sign lost: precisions add up, weighted."""
    g = compose([f, log_normal(*OTHER)], weights)
    a, b = (w * torch.linalg.inv(cov) for w, cov in zip(weights, (COV, OTHER[1]), strict=True))
    cov = torch.linalg.inv(a + b)
    mean = (a @ MEAN + b @ OTHER[0]) @ cov
    case = Case(applications.Posterior(g, f, lambda x: x, lambda x: x, 2), mean.expand(2, -1), cov)
    assert misfit(case, name) < 5


def test_mixtures_have_the_density_of_a_mixture():
    """Sees a weight outside the logarithm, or a temperature on one side only."""
    parts = [gaussian(1.0, 2), gaussian(0.3, 2)]
    x = torch.randn(50, 2, generator=rng(0, "x"), dtype=D)
    log_z = [p.log_z for p in parts]
    truth = (0.3 * parts[0].log_prob(x).exp() + 0.7 * parts[1].log_prob(x).exp()).log()
    torch.testing.assert_close(compose(parts, [0.3, 0.7], "mixture", log_z)(x), truth)
    cold = compose([lambda x, p=p: 0.1 * p(x) for p in parts], [0.3, 0.7], "mixture", log_z, temperature=0.1)
    torch.testing.assert_close(cold(x) / 0.1, truth)
    torch.testing.assert_close(compose(parts, [0.0, 1.0], "mixture")(x), parts[1](x))


@pytest.mark.parametrize("typical", [False, True])
def test_false_alarms_have_the_rate_chosen(typical: bool):
    """Sees a quantile off by one held-out row, or one of all rows where half of them are counted."""
    n, rate, generator, alarms = 199 if typical else 99, 0.05, rng(0, "rows"), []
    counted = 100 if typical else 99
    for _ in range(500):
        rows = torch.randn(n + 100, 3, generator=generator)
        judge = outliers(lambda x: -x.square().sum(1) / 2, rows[:n], typical)
        alarms.append(judge.flagged(judge.score(rows[n:]), rate).double().mean().item())
    k = math.ceil((1 - rate) * (counted + 1))
    assert np.mean(alarms) == pytest.approx((counted + 1 - k) / (counted + 1), abs=0.005)
    assert np.mean(alarms) < rate + 0.005


def test_a_threshold_and_a_p_value_agree():
    judge = outliers(lambda x: -x.sum(1), torch.arange(99.0)[:, None])
    score = judge.score(torch.arange(-0.5, 99.5, 0.5)[:, None])
    for rate in (0.01, 0.05, 0.5):
        assert torch.equal(judge.flagged(score, rate), judge.p_value(score) <= rate + 1e-12)
    assert judge.percentile(score).max().item() == 99


def test_the_typical_score_sees_a_mode():
    """Sees typicality that is the energy again: at the mode of N(0, I) in 100 dimensions f is largest, and odd."""
    x = torch.randn(1000, 100, generator=rng(0, "rows"))
    mode, far = torch.zeros(1, 100), torch.full((1, 100), 2.0)
    for typical, wanted in ((False, [False, True]), (True, [True, True])):
        judge = outliers(lambda x: -x.square().sum(1) / 2, x, typical)
        assert judge.flagged(judge.score(torch.cat([mode, far])), 0.01).tolist() == wanted


def test_auroc_counts_ties_half():
    assert auroc(torch.tensor([0.0, 0.0]), torch.tensor([0.0, 0.0])) == 0.5
    assert auroc(torch.tensor([3.0]), torch.tensor([1.0, 2.0])) == 0.0


def test_blur_and_downsample():
    """Sees a kernel that shifts, does not add up to 1, or mixes channels or rows."""
    x = torch.zeros(2, 3, 15, 15, dtype=D)
    x[1, 2, 7, 7] = 1
    y = blur(1.5)(x)
    assert y[0].abs().max() == y[1, :2].abs().max() == 0
    assert y.sum().item() == pytest.approx(1)
    torch.testing.assert_close(y, y.flip(2))
    torch.testing.assert_close(y, y.transpose(2, 3))
    spread = (y[1, 2].sum(0) * (torch.arange(15, dtype=D) - 7) ** 2).sum().item()
    assert spread == pytest.approx(1.5**2, rel=0.05)
    assert downsample(5)(x)[1, 2].flatten().tolist() == [0, 0, 0, 0, 1 / 25, 0, 0, 0, 0]


def test_what_f_makes_nothing_of_is_an_outlier():
    """Sees a row whose f is NaN or −∞ pass for ordinary."""
    judge = outliers(lambda x: x.sum(1), torch.arange(99.0)[:, None])
    odd = torch.tensor([[math.nan], [-math.inf], [50.0]])
    assert judge.flagged(judge.score(odd), 0.01).tolist() == [True, True, False]


@pytest.mark.parametrize("sd", [0.05, 0.3])
def test_the_noise_of_an_image_is_estimated(sd: float):
    """Sees a detail of another scale; a smooth image adds nothing."""
    slope = torch.linspace(-1, 1, 64)[None, None, :, None] * torch.linspace(-1, 1, 64)
    noise = torch.randn(4, 3, 64, 64, generator=rng(0, "noise"))
    torch.testing.assert_close(noise_sd(slope + sd * noise), torch.full((4,), sd), rtol=0.08, atol=0)


def test_masks(tmp_path):
    assert box_mask((4, 5), (1, 2, 2, 3)).sum() == 6
    assert random_mask((8, 8), 0.25, rng(0, "mask")).sum() == 16
    assert not torch.equal(random_mask((8, 8), 0.25, rng(0, "mask")), random_mask((8, 8), 0.25, rng(1, "mask")))
    level = np.zeros((4, 6), np.uint8)
    level[1, 2] = 255
    Image.fromarray(level).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png", (4, 6)).nonzero().tolist() == [[0, 1, 2]]


ROWS = torch.zeros(2, 1, 4, 4)


def image_f(x: Tensor) -> Tensor:
    return -x.flatten(1).square().sum(1)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda: inpaint(image_f, ROWS, torch.zeros(3, 3, dtype=torch.bool)), "expected the shape of one point"),
        (lambda: inpaint(image_f, ROWS, torch.zeros(4, 4)), "mask must be boolean"),
        (lambda: inpaint(image_f, ROWS, torch.zeros(4, 4, dtype=torch.bool)), "hides nothing"),
        (lambda: inpaint(image_f, ROWS, torch.ones(4, 4, dtype=torch.bool)), "hides everything"),
        (
            lambda: inpaint(image_f, ROWS * math.nan, box_mask((4, 4), (0, 0, 2, 2))),
            "infinity in 2 of 2 rows where obs",
        ),
        (lambda: inpaint(image_f, ROWS, box_mask((4, 4), (0, 0, 2, 2)), sd=0.0), "sd must be a positive number"),
        (lambda: denoise(image_f, ROWS, torch.ones(3)), "one for each observation (2)"),
        (lambda: denoise(image_f, ROWS, 1.0, temperature=0.0), "temperature must be positive"),
        (lambda: restore(image_f, ROWS, downsample(2), 1.0)(ROWS), "degrade: expected (2, *(1, 4, 4))"),
        (lambda: restore(image_f, ROWS, downsample(3), 1.0)(ROWS), "factor 3 must divide"),
        (lambda: restore(image_f, ROWS, blur(2.0), 1.0)(ROWS), "needs images above 6 pixels"),
        (lambda: restore(image_f, ROWS, blur(1e308), 1.0)(ROWS), "sd 1e+308 needs images above 1000000000 pixels"),
        (lambda: purify(image_f, ROWS, 0.0), "within must be positive"),
        (lambda: denoise(image_f, ROWS, 1.0)(torch.zeros(3, 1, 4, 4)), "the same number each; got 3 rows"),
        (lambda: compose([f], [1.0, 2.0]), "got 2 weights"),
        (lambda: compose(cast(Any, f)), "expected a list of log-densities"),
        (lambda: compose(cast(Any, torch.nn.Sequential(torch.nn.Flatten()))), "got a single one"),
        (lambda: compose([f, f], cast(Any, 0.5)), "expected a list of weights"),
        (lambda: compose([f, f], rule="mixture", log_z=cast(Any, 0.5)), "expected a list of log_z"),
        (lambda: compose([f, f], [1.0, -1.0], "mixture"), "cannot have negative weights"),
        (lambda: compose([f, f], [0.0, 0.0]), "not all 0"),
        (lambda: compose([f, f], rule="mixture", temperature=0.0), "temperature must be positive"),
        (lambda: box_mask((4, 4), (2, 2, 3, 1)), "does not lie in an image of 4 × 4"),
        (lambda: random_mask((4, 4), 1.0, rng(0)), "between 0 and 1"),
        (lambda: noise_sd(torch.zeros(3, 2)), "for other points give sd"),
        (lambda: outliers(lambda x: x.sum(1), torch.zeros(1, 2)), "at least 2 held-out rows"),
        (lambda: outliers(lambda x: x.sum(1) / 0, torch.zeros(3, 2)), "not finite on 3 of 3"),
        (lambda: outliers(lambda x: x.sum(1), torch.zeros(50, 2)).threshold(0.01), "at least 99 held-out rows; got 50"),
        (lambda: outliers(lambda x: x.sum(1), torch.zeros(50, 2)).threshold(1.5), "between 0 and 1"),
        (lambda: outliers(lambda x: x.sum(1), torch.zeros(50, 2)).promised(0.0), "between 0 and 1"),
        (lambda: outliers(lambda x: x.sum(1), torch.zeros(50, 2)).promised(math.nan), "between 0 and 1"),
    ],
)
def test_mistakes_are_refused(mistake: Callable[[], Any], message: str):
    with as_users_run_it(), pytest.raises(ValueError) as refusal:
        mistake()
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((3, 3), np.uint8), "expected 4 × 4 pixels (height × width)"),
        (np.full((4, 4), 128, np.uint8), "16 pixels are grey"),
        (None, "cannot be decoded"),
    ],
)
def test_a_bad_mask_file_is_refused(pixels: np.ndarray | None, message: str, tmp_path):
    path = tmp_path / "mask – ünïcode.png"
    path.write_bytes(b"no image") if pixels is None else Image.fromarray(pixels).save(path)
    with pytest.raises(ValueError) as refusal:
        read_mask(path, (4, 4))
    assert message in str(refusal.value)
    assert path.name in str(refusal.value)
    with pytest.raises(FileNotFoundError):
        read_mask(tmp_path / "none.png", (4, 4))

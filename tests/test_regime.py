"""The regime of a run: correlations have their known values, and every kind of run is told by its series and chains."""

import json
import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from torch import Tensor, nn

from anila.density.log_density import LogDensity
from anila.density.targets import gaussian
from anila.evaluation.pictures import long_chain_images, long_chains, training_course
from anila.evaluation.pictures.regime import bin_shares
from anila.evaluation.pictures.style import MODEL
from anila.evaluation.samples.mmd import KernelDistance
from anila.evaluation.training import LongChains, autocorrelation, course, cross_correlation, regime, run_long_chains
from anila.evaluation.training.curves import LAGS, CourseOfChains, chance, mean_error
from anila.evaluation.training.level import level
from anila.evaluation.training.long_chains import Reference, Snapshot, sharpness
from anila.evaluation.training.regime import AWAY, CONVERGENT, NOTHING, SHORT_RUN, STEADY, UNDECIDED, UNKNOWN
from anila.learning.learner import Learner
from anila.learning.objectives import likelihood
from anila.learning.starts import Persistent
from anila.rng import rng
from anila.samplers import Sampler, anisotropic, descent, langevin, mala, sample


def autoregressive(phi: float, n: int, seed: int) -> Tensor:
    """a_t = φ a_{t−1} + ξ_t from its stationary law."""
    xi = torch.randn(n, generator=rng(seed, "series"), dtype=torch.float64)
    found = [float(xi[0]) / math.sqrt(1 - phi**2)]
    for x in xi[1:].tolist():
        found.append(phi * found[-1] + x)
    return torch.tensor(found, dtype=torch.float64)


class TestCorrelations:
    @pytest.mark.parametrize("phi", [0.8, -0.6, 0.0])
    def test_autoregressive_series_have_powers(self, phi: float):
        rho = autocorrelation(autoregressive(phi, 20_000, 0), 5)
        assert rho.tolist() == pytest.approx([phi**k for k in range(1, 6)], abs=0.04)

    def test_an_oscillation_has_a_cosine(self):
        a = torch.sin(0.5 * torch.arange(10_000, dtype=torch.float64))
        assert autocorrelation(a, 9).tolist() == pytest.approx([math.cos(0.5 * k) for k in range(1, 10)], abs=0.01)

    def test_positive_lags_are_those_at_which_b_follows_a(self):
        """Sees lags that run the other way, and a sum that is not divided by the scales."""
        a = autoregressive(0.0, 5000, 1)
        b = 3 - 2 * torch.cat([torch.zeros(4).double(), a[:-4]])
        chi = cross_correlation(a, b, LAGS)
        assert chi.abs().argmax().item() - LAGS == 4
        assert chi.min().item() == pytest.approx(-1, abs=0.01)
        assert torch.allclose(cross_correlation(b, a, LAGS), chi.flip(0))

    @pytest.mark.parametrize("n", [40, 400])
    def test_white_noise_stays_within_chance_99_times_in_100(self, n: int):
        """Sees an error bar that forgets the number of points or of lags."""
        beyond = [bool((autocorrelation(w, LAGS).abs() > chance(n)).any())
                  for w in torch.randn(1000, n, generator=rng(0, "white", n))]  # fmt: skip
        assert sum(beyond) <= 22
        weak = torch.stack([autocorrelation(autoregressive(0.4, n, seed), LAGS).abs().max() for seed in range(50)])
        assert (weak > chance(n)).double().mean() == pytest.approx(1.0 if n == 400 else 0.2, abs=0.2)

    @pytest.mark.parametrize(("phi", "tolerance"), [(0.0, 0.1), (0.7, 0.2), (-0.7, 0.2)])
    def test_the_error_of_a_mean_sees_the_correlation(self, phi: float, tolerance: float):
        """Sees sd/√n, which is 2.4 times too small for φ = 0.7 and as much too large for −0.7."""
        exact = 1 / (1 - phi) / math.sqrt(3000)
        found = [mean_error(autoregressive(phi, 3000, seed)) for seed in range(12)]
        assert sum(found) / 12 == pytest.approx(exact, rel=tolerance)


def series(n: int = 1000, seed: int = 0, **changes: Any) -> dict[str, list[float]]:
    """A healthy run: d_t white around 0, r_t around 1, a tenth clipped; with changes, functions of time in [0, 1]."""
    time, noise = torch.linspace(0, 1, n).double(), torch.randn(5, n, generator=rng(seed, "run")).double()
    columns = {"energy_gap": 0.1 * noise[0], "grad_norm": 1 + 0.05 * noise[1], "clipped": 0.1 + 0.01 * noise[2],
               "theta_grad_norm": 2 + 0.1 * noise[3], "chain_range": 1.1 + 0.05 * noise[4]}  # fmt: skip
    columns |= {name: change(columns[name], time) for name, change in changes.items()}
    return {"iteration": [float(i + 1) for i in range(n)]} | {name: c.tolist() for name, c in columns.items()}


HEALTHY = series()


class TestCourse:
    def test_a_healthy_run_is_steady_and_says_no_more_than_that(self):
        found = regime(course(HEALTHY))
        assert (found.name, found.ok, found.remedies) == (STEADY, True, ())
        assert "only long chains can tell" in found.lines[0]
        assert "around 0, no autocorrelation" in found.lines[1]
        assert regime(course(series(39))).name == UNKNOWN
        assert regime(course(series(40))).name == STEADY

    @pytest.mark.parametrize(
        ("changes", "name", "because"),
        [
            ({"grad_norm": lambda r, t: r * 10 ** (40 * (t - 0.95).clamp(min=0))}, AWAY, "r_t rose"),
            ({"energy_gap": lambda d, t: d + 10 * (t > 0.97)}, AWAY, "|d_t| rose"),
            ({"energy_gap": lambda d, _: d + 1, "clipped": lambda c, _: c + 0.7}, AWAY, "80% of the coordinates"),
            ({"theta_grad_norm": lambda g, t: g * (1 + 19 * (t > 0.97))}, AWAY, "the gradient in θ rose from 2"),
            ({"chain_range": lambda x, t: x + 11 * (t > 0.97)}, AWAY, "12.1 times as far out as the data"),
            ({"grad_norm": lambda r, t: r * 10 ** (-2 * t)}, NOTHING, "r_t fell"),
        ],
        ids=["gradient", "gap", "clipped", "gradient in θ", "range", "flat"],
    )
    def test_faults_are_named(self, changes: dict[str, Any], name: str, because: str):
        found = regime(course(series(**changes)))
        assert (found.name, found.ok) == (name, False)
        assert len(found.because) == 1
        assert because in found.because[0]
        assert found.lines[0] == f"{name}: {found.because[0]}"

    @pytest.mark.parametrize(
        "changes",
        [
            {"grad_norm": lambda r, t: r * 10 ** (-3 * (0.09 - t).clamp(min=0) / 0.09)},
            {"grad_norm": lambda r, t: r * 10 ** (3 * (0.09 - t).clamp(min=0) / 0.09)},
            {"energy_gap": lambda d, t: d + 5 * (t < 0.05)},
            {"grad_norm": lambda r, t: r * (1 + 4 * t)},
            {"clipped": lambda c, _: c + 0.85},
            {"chain_range": lambda x, t: x + 50 * (t < 0.05)},
        ],
        ids=[
            "r grows at first",
            "r falls at first",
            "warm-up of d",
            "r grows fivefold",
            "all clipped, d centred",
            "starts far out",
        ],
    )
    def test_what_is_no_fault_is_not_named(self, changes: dict[str, Any]):
        """Sees a warm-up, growth within one order, and clipping that harms nobody taken for a run-away."""
        assert regime(course(series(**changes))).name == STEADY

    @pytest.mark.parametrize(
        ("change", "note", "remedy"),
        [
            (lambda d, _: d + 0.08, "off centre", "sampler.steps"),
            (lambda d, _: d - 0.08, "off centre", "lower sampler.step_size"),
            (lambda d, t: d - 0.3 + 0.15 * torch.sin(600 * t), "off centre", "lower sampler.step_size"),
            (lambda d, t: d + 0.15 * torch.sin(600 * t), "autocorrelation", "chase each other"),
        ],
        ids=["above", "below", "below and oscillating", "oscillating"],
    )
    def test_steady_but_not_healthy_comes_with_a_remedy(self, change: Any, note: str, remedy: str):
        """Sees another remedy beside it that says the opposite, such as more steps beside fewer."""
        found = regime(course(series(energy_gap=change)))
        assert found.name == STEADY
        assert note in found.notes[0]
        assert remedy in found.remedies[0]
        assert len(found.remedies) == 1

    def test_few_points_are_not_held_against_a_run(self):
        """Sees a limit for correlations that does not grow with fewer points: φ = 0.4 is chance among 20."""
        d = autoregressive(0.4, 400, 5)
        many, few = (regime(course(series(len(x), energy_gap=lambda *_, x=x: x))) for x in (d, d[-40:]))
        assert any("chase" in remedy for remedy in many.remedies)
        assert not few.remedies

    def test_numbers_are_json(self):
        flat = series(grad_norm=lambda r, _: 0 * r)
        numbers = json.loads(json.dumps(regime(course(flat)).verdict().as_dict(), allow_nan=False))
        assert numbers["regime"] == STEADY
        assert numbers["course"]["grad_autocorrelation"] == [None] * LAGS

    def test_chains_that_lag_make_d_remember_and_exact_ones_do_not(self):
        """f = −exp(θ) x²/2 and data N(0, 1), learned by chains that mix within an iteration, and by chains that lag."""

        class Scaled(nn.Module):
            def __init__(self):
                super().__init__()
                self.theta = nn.Parameter(torch.zeros(()))

            def forward(self, x: Tensor) -> Tensor:
                return -self.theta.exp() * x[:, 0].square() / 2

        def learned(steps: int, step_size: float, rate: float) -> Any:
            model = Scaled()
            optimizer = torch.optim.SGD(model.parameters(), rate)
            bank = Persistent(torch.randn(256, 1, generator=rng(0, "bank")))
            learner = Learner(model, langevin(model, step_size), bank, optimizer, steps)
            lines = [learner.update(torch.randn(256, 1, generator=rng(0, "data", t))) for t in range(240)]
            columns = {name: [line[name] for line in lines] for name in likelihood().series}
            return course(columns | {"iteration": [float(t + 1) for t in range(240)]})

        exact, lagging = learned(6, 1.0, 0.02), learned(1, 0.02, 0.5)
        assert abs(exact.strongest[1]) < max(0.2, exact.chance)
        assert abs(lagging.strongest[1]) > 0.5
        assert any("chase each other" in remedy for remedy in regime(lagging).remedies)


TARGET = gaussian(dim=2)
DATA = TARGET.draw(400, rng(0, "data"))


def long_chains_of(sampler: Sampler, f: LogDensity = TARGET, K: int = 5, n: int = 100, wide: float = 4.0) -> LongChains:
    noise = wide * (2 * torch.rand(n, 2, generator=rng(0, "noise")) - 1)
    groups = {"kept": TARGET.draw(n, rng(0, "kept")), "data": TARGET.draw(n, rng(0, "other")), "noise": noise}
    return run_long_chains(sampler, f, groups, "kept", DATA, K, 100 * K, rng(0, "chains"))


def judged(long: LongChains) -> Any:
    return regime(course(HEALTHY), long)


class TestLongChains:
    def test_exact_chains_on_the_data_are_convergent(self):
        found = judged(long_chains_of(mala(TARGET, 0.1), wide=9.0))
        assert (found.name, found.ok) == (CONVERGENT, True)
        assert "after 500 transitions chains look as they do after K = 5" in found.lines[0]
        assert "from noise, chains look like data after 50 transitions" in found.lines

    def test_chains_that_climb_to_the_mode_are_short_run(self):
        """Sees drift judged look by look only: without noise every chain goes to the one mode."""
        found = judged(long_chains_of(descent(TARGET, 0.01)))
        assert (found.name, found.ok) == (SHORT_RUN, False)
        assert any("collapse" in reason for reason in found.because)
        assert any("sampler.temperature" in remedy for remedy in found.remedies)

    def test_chains_that_meet_in_one_point_are_short_run(self):
        """Sees a division by the distance between them."""
        found = judged(long_chains_of(descent(lambda x: -x.square().sum(1) / 2, 2.0)))
        assert found.name == SHORT_RUN
        assert "to 0.00 of that between data" in found.because[0]

    def test_chains_from_data_are_looked_at_too(self):
        """Sees only the kept chains judged: they stand at another law's mode and stay there, data do not."""
        elsewhere = lambda x: -20 * (x - 6).square().sum(1)  # noqa: E731
        groups = {
            "kept": 6 + 0.16 * torch.randn(100, 2, generator=rng(0, "kept")),
            "data": DATA[:100],
            "noise": 8 * torch.rand(100, 2, generator=rng(0, "noise")),
        }
        long = run_long_chains(mala(elsewhere, 0.05), elsewhere, groups, "kept", DATA, 5, 500, rng(0))
        found = judged(long)
        assert found.name == SHORT_RUN
        assert all("chains from data" in reason for reason in found.because)

    def test_chains_that_stand_still_prove_nothing(self):
        """Sees a look that cannot change taken for one that is kept."""
        found = judged(long_chains_of(mala(TARGET, 1e-8)))
        assert (found.name, found.ok) == (UNDECIDED, False)
        assert "--steps" in found.remedies[0]

    @pytest.mark.filterwarnings("ignore:.*ran away", "ignore:.*do not sample exp f")
    def test_chains_that_leave_are_lost(self):
        upwards = lambda x: x.square().sum(1)  # noqa: E731
        found = judged(long_chains_of(langevin(upwards, 0.5), upwards))
        assert found.name == SHORT_RUN
        assert found.because[0].startswith("300 of 300 chains lost in 500 transitions")
        assert "network.confine" in found.remedies[0]
        assert found.verdict().numbers["ladder"]["groups"]["data"][-1]["lost"] == 100

    @pytest.mark.filterwarnings("ignore:.*ran away", "ignore:.*do not sample exp f")
    def test_chains_at_infinity_stay_lost_and_the_others_go_on(self):
        hole = lambda x: torch.where(x[:, 0] > 0, x[:, 0] * 1e38, -x.square().sum(1) / 2)  # noqa: E731
        long = long_chains_of(langevin(hole, 1e3), hole)
        end = long.groups["data"][-1]
        assert 0 < end.lost <= 100
        assert torch.isfinite(long.groups["data"][1].looks["f"]).all()
        json.dumps(judged(long).verdict().as_dict(), allow_nan=False)

    def test_a_flat_f_has_learned_nothing(self):
        """Sees noise that is as likely as data pass for a convergent model; unless short chains look like data."""
        flat = lambda x: 1e-3 * x[:, 0]  # noqa: E731
        groups = {"data": DATA[:100], "noise": 9 * (2 * torch.rand(100, 2, generator=rng(0, "noise")) - 1)}
        long = run_long_chains(langevin(flat, 1e-4), flat, groups, "noise", DATA, 5, 500, rng(0))
        assert judged(long).name == NOTHING

    def test_the_kernel_is_made_anew_every_iteration(self):
        """Sees γ held for the whole way where training holds it for K transitions."""
        kernel = anisotropic(TARGET, 0.3, 0.2, refresh="iteration")
        long = long_chains_of(kernel)
        generator, x = rng(0, "chains"), torch.cat([snapshots[0].x for snapshots in long.groups.values()])
        for _ in range(10):
            x, _ = sample(kernel, x, 5, generator)
        assert torch.equal(torch.cat([snapshots[2].x for snapshots in long.groups.values()]), x)
        assert [snapshot.steps for snapshot in long.groups["kept"]] == [0, 5, 50, 500]
        with pytest.raises(ValueError, match="at least K = 5"):
            run_long_chains(kernel, TARGET, {"kept": DATA}, "kept", DATA, 5, 4, rng(0))

    def test_looks_of_data_are_those_of_data(self):
        """Copies of data have its looks, and moved as far as they were moved."""
        reference = Reference(TARGET, DATA)
        snapshot = reference.snapshot(0, DATA, DATA - torch.tensor([3.0, 4.0]))
        assert snapshot.diversity == pytest.approx(1)
        assert snapshot.moved * reference.apart == pytest.approx(5, rel=1e-5)
        assert snapshot.lost == 0
        assert reference.snapshot(0, 0 * DATA, DATA).diversity == 0
        wide = DATA.max() - DATA.min()
        assert reference.look(DATA[:1] + wide * 2)["outside"].item() == 1
        assert reference.look(DATA)["outside"].max().item() == 0
        assert reference.snapshot(0, DATA + 12 * wide, DATA).lost == len(DATA)

    def test_total_variation_of_known_images(self):
        board = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
        ramp = torch.linspace(-1, 1, 8).expand(8, 8)
        assert sharpness(torch.stack([board, ramp, 0 * ramp])[:, None]).tolist() == pytest.approx([2, 1 / 7, 0])

    def test_images_that_saturate_are_told_so(self):
        """An f whose mode is black and white, learned from grey: what long chains of short-run models do."""
        grey = 0.3 * torch.randn(200, 1, 4, 4, generator=rng(0, "grey")).clamp(-3, 3)
        f = lambda x: -(x.square() - 4).square().flatten(1).sum(1)  # noqa: E731
        groups = {"data": grey[:50], "noise": 2 * torch.rand(50, 1, 4, 4, generator=rng(0, "noise")) - 1}
        long = run_long_chains(langevin(f, 0.002, 0.1), f, groups, "noise", grey, 3, 300, rng(0))
        found = judged(long)
        assert found.name == SHORT_RUN
        assert any("saturate" in reason for reason in found.because)
        assert any("roughen" in reason for reason in found.because)
        assert "from noise, chains do not look like data after 300 transitions" in found.lines


def ornstein(n: int, times: int, mixing: float, seed: int) -> Tensor:
    """Stationary N(0, 1) chains with correlation exp(−1/mixing), (times, n)."""
    keep, noise = math.exp(-1 / mixing), torch.randn(times, n, generator=rng(seed, "walks"), dtype=torch.float64)
    found = [noise[0]]
    for xi in noise[1:]:
        found.append(keep * found[-1] + math.sqrt(1 - keep**2) * xi)
    return torch.stack(found)


class TestLevel:
    def test_a_line_has_its_rise_and_value(self):
        f = torch.linspace(0, 3, 301)[:, None] + torch.arange(10.0)
        found = level(f)
        assert found
        assert (found.rise, found.rise_error) == pytest.approx((1.5, 0), abs=1e-6)
        assert found.value == pytest.approx(2.25 + 4.5)
        assert found.error == pytest.approx(torch.arange(10.0).std().item() / math.sqrt(10))
        f[100, 3] = torch.nan
        without = level(f)
        assert without
        assert without.value == pytest.approx(2.25 + 42 / 9)

    @pytest.mark.parametrize("mixing", [1.0, 30.0])
    def test_errors_hold_however_slowly_chains_move(self, mixing: float):
        """Sees an error that takes the times of one chain for independent."""
        found = [level(ornstein(32, 80, mixing, seed)) for seed in range(60)]
        rises = torch.tensor([f.rise / f.rise_error for f in found if f])
        values = torch.tensor([f.value / f.error for f in found if f])
        assert rises.std().item() == pytest.approx(1, abs=0.25)
        assert values.std().item() == pytest.approx(1, abs=0.25)

    def test_too_little_says_nothing(self):
        assert level(torch.zeros(12, 64)) is None
        assert level(torch.zeros(400, 3)) is None


@cache
def exact_long() -> LongChains:
    return long_chains_of(mala(TARGET, 0.1))


class TestEquilibrium:
    """Chains that keep every look may still not be in equilibrium: only f along them tells."""

    @staticmethod
    def long(rise: float, apart: float = 0.0) -> LongChains:
        noise = torch.randn(101, 100, generator=rng(0, "f"), dtype=torch.float64)
        course = noise + rise * torch.linspace(0, 2, 101, dtype=torch.float64)[:, None]
        return replace(exact_long(), courses={"data": course, "kept": course + apart})

    def test_f_that_goes_on_rising_is_said(self):
        found = judged(self.long(0.8))
        assert (found.name, found.ok) == (UNDECIDED, False)
        assert len(found.because) == 2
        assert "kept chains: f rises by 0.7" in found.because[0]
        assert "--steps" in found.remedies[0]
        assert judged(self.long(0.1)).name == CONVERGENT

    def test_starts_that_are_not_forgotten_are_said(self):
        found = judged(self.long(0.0, apart=0.7))
        assert (found.name, len(found.because)) == (UNDECIDED, 1)
        assert "f still depends on the start" in found.because[0]

    def test_chains_on_the_final_law_are_not_advised_to_a_run_that_had_them(self):
        long = long_chains_of(descent(TARGET, 0.01))
        drawn = replace(long, own="draws", groups=long.groups | {"draws": long.groups["kept"]})
        assert "chains on f at its lowest level" in regime(None, drawn).remedies[0]
        assert "train longer" in judged(drawn).remedies[0]

    def test_images_that_leave_the_data_are_said(self):
        """Sees a distance that is measured and not judged, and one that is taken without its error."""
        long = self.long(0.0)

        def at(value: float) -> LongChains:
            first, *between, last = long.groups["data"]
            first = replace(first, distance=KernelDistance(0.1, 0.03))
            last = replace(last, distance=KernelDistance(value, 0.04))
            return replace(long, groups=long.groups | {"data": [first, *between, last]})

        assert judged(at(0.24)).name == CONVERGENT
        assert "kernel distance from data 0.26 ± 0.04, 0.1 ± 0.03 before" in judged(at(0.26)).because[0]

    def test_the_distance_is_that_of_clean_points(self):
        """Sees noise of the law of f that is left in what people see, or taken before chains are moved."""
        seen: list[Tensor] = []

        def distance(x: Tensor) -> KernelDistance:
            seen.append(x)
            return KernelDistance(0.0, 1.0)

        groups = {"kept": DATA[:9], "data": DATA[9:20]}
        long = run_long_chains(
            mala(TARGET, 0.1), TARGET, groups, "kept", DATA, 5, 50, rng(0), clean=lambda x: 2 * x, distance=distance
        )
        assert torch.equal(seen[1], 2 * DATA[9:20])
        assert torch.equal(seen[-1], long.groups["data"][-1].x)
        moved = sample(mala(TARGET, 0.1), DATA[:20], 5, rng(0))[0]
        assert torch.equal(long.groups["kept"][1].x, 2 * moved[:9])
        assert long.acceptance is not None
        assert 0.5 < long.acceptance < 1
        assert len(judged(long).lines) > 3


class TestPictures:
    """Lines are where the numbers are, tiles are the chains."""

    def test_correlations_are_drawn_where_they_are(self):
        found = course(series(energy_gap=lambda d, t: d + 0.15 * torch.sin(600 * t)))
        assert isinstance(found, CourseOfChains)
        figure = training_course(HEALTHY, found)
        _, r, _, gap, _, both = figure.axes
        assert r.get_yscale() == "log"
        for ax, lags, value in (
            (gap, range(1, LAGS + 1), found.gap_autocorrelation),
            (both, range(-LAGS, LAGS + 1), found.cross_correlation),
        ):
            stems = ax.collections[0]
            assert isinstance(stems, LineCollection)
            ends = np.stack([np.asarray(stem)[1] for stem in stems.get_segments()])
            assert ends[:, 0].tolist() == list(lags)
            assert ends[:, 1] == pytest.approx(value)
            beyond = [abs(v) > found.chance for v in value]
            assert [to_hex(colour) == MODEL for colour in np.asarray(stems.get_colors())] == beyond
        assert any(abs(v) > found.chance for v in found.gap_autocorrelation)

    def test_shares_add_up_and_outliers_are_kept(self):
        value = np.array([-50.0, 0.2, 0.4, 0.9, 70.0])
        assert bin_shares(value, np.linspace(0, 1, 3)).tolist() == pytest.approx([0.6, 0.4])
        long = long_chains_of(mala(TARGET, 0.1))
        figure = long_chains(long)
        assert [ax.get_title(loc="left") for ax in figure.axes[:4]] == [
            "start", "K = 5", "50 transitions", "500 transitions"
        ]  # fmt: skip
        drawn = figure.axes[4].lines[1]
        assert np.asarray(drawn.get_ydata()) == pytest.approx(
            [snapshot.looks["f"].quantile(0.5).item() for snapshot in long.groups["kept"]]
        )

    def test_tiles_are_the_chains(self):
        """Sees groups or snapshots exchanged; a lost chain is white."""
        x = [torch.full((6, 1, 8, 8), -1 + 0.1 * k) for k in range(2)]
        x[1][2] = torch.nan
        looks = {"f": torch.zeros(6).double()}
        snapshots = {g: [Snapshot(k, x[k] + 1.2 * (g == "noise"), looks, k, 1.0, 1.0) for k in range(2)]
                 for g in ("data", "noise")}  # fmt: skip
        page = np.asarray(long_chain_images(LongChains(1, snapshots, "noise", looks, x[0])))[:, :, 0]
        width, third = 5 * 66 + 2 + 20, 2 * 66
        start, after = (page[row, -2 * width :] for row in (70, page.shape[0] - 30))
        places = [33, 33 + third, 33 + width, 33 + width + third]
        assert start[places].tolist() == [0, 0, 153, 153]
        assert after[places].tolist() == [13, 255, 166, 255]

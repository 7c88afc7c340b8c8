"""Distances between samples: agreement with brute force in NumPy and SciPy, closed forms, and honest errors."""

import itertools

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.special
import scipy.stats
import torch
from torch import Tensor

from anila.evaluation.samples import (
    Moments,
    coarse_distance,
    cubic_kernel,
    frechet_distance,
    gaussian_kernel,
    judged,
    kernel_distance,
    median_distance,
    mmd_of_few,
    mmd_squared,
    sliced_wasserstein2,
    support,
    wasserstein2,
)
from anila.rng import rng

EXACT = 1e-9
"""Relative; the bar is 1e-5."""


def normals(n: int, d: int, name: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """Correlated normal rows whose law the name decides."""
    generator = rng(0, name)
    mix = torch.randn(d, d, generator=generator, dtype=dtype) / d**0.5
    return torch.randn(n, d, generator=generator, dtype=dtype) @ mix + torch.randn(d, generator=generator, dtype=dtype)


X, Y = normals(700, 12, "x"), normals(900, 12, "y")


class TestFrechet:
    def test_against_the_matrix_square_root(self):
        a, b = X.double().numpy(), Y.double().numpy()
        A, B = np.cov(a.T), np.cov(b.T)
        overlap = np.trace(scipy.linalg.sqrtm(A @ B)).real
        oracle = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(A) + np.trace(B) - 2 * overlap
        assert frechet_distance(X, Y) == pytest.approx(oracle, rel=EXACT)
        assert frechet_distance(Y, X) == pytest.approx(oracle, rel=EXACT)

    @pytest.mark.parametrize("size", [1, 100, 255, 256, 257, 700])
    def test_any_batch_size_gives_the_same_bits(self, size: int):
        """Sees sums that follow the batches."""
        moments = Moments()
        for part in X.split(size):
            moments.add(part)
        assert moments.count == len(X)
        assert torch.equal(moments.mean, Moments.of(X).mean)
        assert torch.equal(moments.covariance, Moments.of(X).covariance)
        assert frechet_distance(moments, Y) == frechet_distance(X, Y)

    def test_a_large_mean_costs_no_digits(self):
        """Sees covariances from Σxxᵀ − nμμᵀ."""
        x = X.double()
        far = Moments.of(x + 1e7)
        np.testing.assert_allclose(far.covariance.numpy(), np.cov(x.numpy().T), rtol=1e-6, atol=1e-7)

    def test_a_sample_is_at_distance_zero_of_itself_and_a_turn_changes_nothing(self):
        turn = torch.linalg.qr(normals(12, 12, "turn", torch.float64)).Q
        assert abs(frechet_distance(X, X)) < 1e-12
        assert frechet_distance(X.double() @ turn, Y.double() @ turn) == pytest.approx(
            frechet_distance(X, Y), rel=EXACT
        )

    def test_numbers_that_never_vary_change_nothing(self):
        """Sees roots of rounding errors that add up: 288 of 300 eigenvalues are nothing."""
        turn = torch.linalg.qr(normals(300, 300, "turn", torch.float64)).Q[:12]
        assert frechet_distance(X.double() @ turn, Y.double() @ turn) == pytest.approx(
            frechet_distance(X, Y), rel=EXACT
        )

    def test_fewer_rows_than_features_are_said(self):
        few = normals(11, 30, "few")
        with pytest.warns(RuntimeWarning, match="11 rows of 30 numbers"):
            assert abs(frechet_distance(few, few)) < 1e-10

    def test_too_few_lost_and_unequal_rows_are_refused(self):
        with pytest.raises(ValueError, match="at least 2 rows"):
            frechet_distance(X[:1], Y)
        with pytest.raises(ValueError, match="12 and 11 numbers"):
            frechet_distance(X, Y[:, :11])
        with pytest.raises(ValueError, match="1 of 2 hold NaN"):
            frechet_distance(torch.tensor([[0.0], [np.nan]]), X[:, :1])
        moments = Moments.of(X[:3])
        with pytest.raises(ValueError, match="rows of 12 numbers"):
            moments.add(X[:, :2])


def brute_mmd(x: np.ndarray, y: np.ndarray, k) -> float:
    """The definition, pair by pair."""
    xx = np.mean([k(a, b) for a, b in itertools.permutations(x, 2)])
    yy = np.mean([k(a, b) for a, b in itertools.permutations(y, 2)])
    return float(xx + yy - 2 * np.mean([k(a, b) for a in x for b in y]))


class TestKernels:
    def test_against_every_pair(self):
        x, y = X[:40], Y[:25]
        a, b = x.double().numpy(), y.double().numpy()
        width = median_distance(x, y)
        assert width == pytest.approx(np.sort([np.linalg.norm(p - q) for p in a for q in b])[499], rel=1e-12)
        oracle = brute_mmd(a, b, lambda p, q: np.exp(-((p - q) ** 2).sum() / (2 * width**2)))
        assert mmd_squared(x, y, gaussian_kernel(width)) == pytest.approx(oracle, rel=EXACT)
        oracle = brute_mmd(a, b, lambda p, q: (p @ q / 12 + 1) ** 3)
        assert mmd_squared(x, y, cubic_kernel) == pytest.approx(oracle, rel=EXACT)

    def test_chunks_change_nothing(self, monkeypatch: pytest.MonkeyPatch):
        whole = mmd_squared(X, Y, cubic_kernel)
        monkeypatch.setattr("anila.evaluation.samples.mmd.CHUNK", 64)
        assert mmd_squared(X, Y, cubic_kernel) == pytest.approx(whole, rel=EXACT)

    def test_images_are_flattened(self):
        assert mmd_squared(X.view(-1, 3, 2, 2), Y.view(-1, 3, 2, 2), cubic_kernel) == mmd_squared(X, Y, cubic_kernel)

    def test_few_points_have_the_error_of_their_choice(self):
        """Sees an error that forgets the factor 2 of a U-statistic: over samples, values scatter as the errors say."""
        y = torch.randn(200, 3, generator=rng(0, "many"))
        found = [
            mmd_of_few(0.7 + torch.randn(40, 3, generator=rng(0, "few", i)), y, gaussian_kernel(1.0))
            for i in range(200)
        ]
        x = 0.7 + torch.randn(40, 3, generator=rng(0, "few", 0))
        assert found[0].value == mmd_squared(x, y, gaussian_kernel(1.0))
        scatter = torch.tensor([f.value for f in found]).std().item()
        assert sum(f.error for f in found) / 200 == pytest.approx(scatter, rel=0.2)

    def test_kernel_distance_is_the_mean_over_disjoint_subsets(self):
        """Sees subsets that overlap or repeat rows: with 2 of all rows each row is used once."""
        x, y = X[:20], Y[:20]
        found = kernel_distance(x, y, rng(0, "subsets"), subset_size=10)
        generator = rng(0, "subsets")
        a, b = (t.double().numpy()[torch.randperm(20, generator=generator)] for t in (x, y))
        oracle = [brute_mmd(a[i : i + 10], b[i : i + 10], lambda p, q: (p @ q / 12 + 1) ** 3) for i in (0, 10)]
        assert found.value == pytest.approx(np.mean(oracle), rel=EXACT)
        assert found.error == pytest.approx(abs(oracle[0] - oracle[1]) / 2, rel=EXACT)

    def test_unbiased_with_an_honest_error(self):
        """Sees i = j among the pairs, and an error that is not that of the value: 200 repeats, equal laws."""
        generator = rng(1, "draws")
        pairs = (torch.randn(2, 160, 4, generator=generator) for _ in range(200))
        repeats = [kernel_distance(x, y, generator, subset_size=16) for x, y in pairs]
        values = torch.tensor([r.value for r in repeats])
        errors = torch.tensor([r.error for r in repeats])
        assert abs(values.mean()) < 4 * values.std() / 200**0.5
        assert errors.square().mean().sqrt().item() == pytest.approx(values.std().item(), rel=0.2)

    def test_what_has_no_error_is_refused(self):
        with pytest.raises(ValueError, match="two or more subsets of 1000 rows"):
            kernel_distance(X, Y, rng(0, "subsets"))
        with pytest.raises(ValueError, match="at least 2 rows"):
            mmd_squared(X[:1], Y, cubic_kernel)
        with pytest.raises(ValueError, match="width must be a positive"):
            gaussian_kernel(0.0)


class TestSliced:
    def test_each_direction_against_the_exact_assignment(self):
        x, y = X[:60], Y[:60]
        u = torch.randn(12, 30, generator=rng(0, "u"), dtype=torch.float64)
        squares = []
        for direction in (u / u.norm(dim=0)).T.numpy():
            a, b = (t.double().numpy() @ direction for t in (x, y))
            cost = (a[:, None] - b) ** 2
            squares.append(cost[scipy.optimize.linear_sum_assignment(cost)].mean())
        found = sliced_wasserstein2(x, y, rng(0, "u"), directions=30)
        assert found == pytest.approx(np.sqrt(np.mean(squares)), rel=EXACT)

    def test_in_one_dimension_it_is_the_exact_distance(self):
        x, y = X[:100, :1], Y[:100, :1]
        assert sliced_wasserstein2(x, y, rng(0, "u"), 1) == pytest.approx(wasserstein2(x, y), rel=EXACT)

    def test_a_shift_is_its_length_over_root_d(self):
        shift = torch.linspace(-1, 2, 12)
        found = sliced_wasserstein2(X, X + shift, rng(0, "u"), 5000)
        assert found == pytest.approx(shift.norm().item() / 12**0.5, rel=0.03)

    def test_unequal_sizes_are_refused(self):
        with pytest.raises(ValueError, match="the same shape"):
            sliced_wasserstein2(X, Y, rng(0, "u"))


def brute_support(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, ...]:
    """The definitions, ball by ball."""
    ball = [sorted(np.linalg.norm(p - q) for q in real)[k] for p in real]
    fake_ball = [sorted(np.linalg.norm(p - q) for q in fake)[k] for p in fake]
    inside = np.array([[np.linalg.norm(q - p) <= r for p, r in zip(real, ball, strict=True)] for q in fake])
    reached = np.array([[np.linalg.norm(q - p) <= r for q, r in zip(fake, fake_ball, strict=True)] for p in real])
    shares = inside.any(1).mean(), reached.any(1).mean(), inside.sum(1).mean() / k, inside.any(0).mean()
    return tuple(map(float, shares))


class TestSupport:
    @pytest.mark.parametrize("neighbours", [1, 3])
    def test_against_every_ball(self, neighbours: int, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("anila.evaluation.samples.coverage.CHUNK", 16)
        x, y = X[:50, :2], X[50:90, :2] * 0.7 + 0.5
        oracle = brute_support(x.double().numpy(), y.double().numpy(), neighbours)
        assert 0 < min(oracle) < 1
        assert support(x, y, neighbours) == pytest.approx(oracle, rel=EXACT)

    def test_equal_laws_have_density_1_and_coverage_1_minus_2_to_the_minus_k(self):
        x, y = torch.randn(2, 1500, 3, generator=rng(0, "x")).unbind()
        found = support(x, y, neighbours=2)
        assert found.density == pytest.approx(1, abs=0.06)
        assert found.coverage == pytest.approx(1 - 2**-2, abs=0.03)

    def test_a_lost_mode_costs_recall_and_wrong_samples_cost_precision(self):
        """Sees data and samples exchanged."""
        near, far = torch.randn(2, 300, 2, generator=rng(1, "x")).unbind()
        both = torch.cat([near, far + 50])
        lost, wrong = support(both, near + 0.01, 5), support(near, both, 5)
        assert lost.precision > 0.95
        assert lost.recall == pytest.approx(0.5, abs=0.05)
        assert lost.coverage == pytest.approx(0.5, abs=0.05)
        assert wrong.recall > 0.95
        assert wrong.precision == pytest.approx(0.5, abs=0.05)
        assert wrong.density == pytest.approx(0.5, abs=0.1)

    def test_too_many_neighbours_are_refused(self):
        with pytest.raises(ValueError, match="below the rows"):
            support(X[:5], Y, neighbours=5)


class TestCoarse:
    def images(self, name: str) -> Tensor:
        return torch.rand(400, 1, 32, 32, generator=rng(0, name)) - 0.5

    def test_it_is_the_distance_of_means_over_blocks(self):
        """Sees another pooling, or values beyond the range counted."""
        x, y = 4 * self.images("x"), 4 * self.images("y") + 0.3
        blocks = [z.clamp(-1, 1).view(400, 8, 4, 8, 4).mean((2, 4)) for z in (x, y)]
        assert coarse_distance(x, y) == pytest.approx(frechet_distance(*blocks), rel=1e-4)

    def test_details_do_not_count_and_shapes_do(self):
        """Sees a distance of pixels."""
        x = self.images("x")
        i = torch.arange(32)
        board = 0.4 * (1 - 2.0 * ((i[:, None] + i) % 2))
        assert coarse_distance(x, x + board) < 1e-5
        assert coarse_distance(x, x + 0.4 * torch.ones(32, 32)) == pytest.approx(64 * 0.4**2, rel=1e-3)


class TestJudged:
    def test_share_and_entropy_against_their_formulas(self):
        """Sees classes counted instead of averaged, and another logarithm."""
        logits = 3 * torch.randn(200, 5, generator=rng(0, "logits"), dtype=torch.float64)
        p = scipy.special.softmax(logits.numpy(), 1)
        found = judged(logits, lambda x: x, sure=0.8)
        assert found.share == (p.max(1) > 0.8).mean()
        assert found.entropy == pytest.approx(scipy.stats.entropy(p.mean(0), base=5), rel=EXACT)

    def test_one_class_has_no_entropy_and_lost_rows_are_refused(self):
        one = torch.tensor([[1e3, 0.0]]).repeat(9, 1)
        assert judged(one, lambda x: x) == (1.0, 0.0)
        with pytest.raises(ValueError, match="1 of 9 hold NaN"):
            judged(one.index_fill(0, torch.tensor([3]), torch.nan), lambda x: x)

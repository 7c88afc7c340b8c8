"""Laws of f(x, s): the Gaussian it stands on, the scale of what is learned, and what it is far out."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from anila.density.log_density import HasLevels, value_and_grad
from anila.density.networks import BlurredGaussian, NoiseConditional, UNet
from anila.density.networks.fit import see
from anila.density.networks.noise_conditional import box, saturated
from anila.rng import rng
from exact import distance

LEVELS = (0.05, 0.3, 2.0)


def images(n: int = 40, channels: int = 1, size: int = 8) -> Tensor:
    """Images of unequal brightness in [-1, 1]."""
    x = torch.rand(n, channels, size, size, generator=rng(0, "images"))
    return 2 * x * torch.linspace(0, 1, size) ** 2 - 1


def energy(channels: int = 1, size: int = 8, factor: float = 1.0, adapted: bool = False) -> NoiseConditional:
    """An f(x, s) whose weights are all away from their special values, and so many times larger."""
    torch.manual_seed(0)
    f = NoiseConditional(UNet(channels, size, (4, 8)), BlurredGaussian.of(images(200, channels, size), 20), 0.1)
    f.adapter = UNet(channels, size, (4,)) if adapted else None
    with torch.no_grad():
        for p in f.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=rng(0, "shake"))).mul_(factor)
    return f


def directions(n: int, channels: int, size: int) -> Tensor:
    """Rays out of 0: along all pixels, along one, along half of them."""
    x = torch.randn(n, channels, size, size, generator=rng(0, "rays"), dtype=torch.float64)
    x = x.sign() * x.abs().clamp(min=0.1)
    x[0, :, :, 4:] = 0
    x[1] = 0
    x[1, 0, 3, 4] = 1
    x[2] = -1
    return x / x.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


class TestBlurredGaussian:
    def test_it_is_the_gaussian_with_the_moments_of_the_data(self):
        """Sees s for s², a missing determinant, and directions left out: all of them, in double precision."""
        x = images(2000).double().flatten(1)
        found, s = BlurredGaussian.of(x), torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)
        for k in range(3):
            exact = MultivariateNormal(x.mean(0), x.T.cov(correction=0) + s[k] ** 2 * torch.eye(64))
            torch.testing.assert_close(found(x[:3], s)[k], exact.log_prob(x[k]))

    def test_few_directions_keep_the_largest_variances_and_the_sum(self):
        """Sees the smallest kept, and variance lost or counted twice."""
        x = images(200).flatten(1)
        few, exact = BlurredGaussian.of(x, 5), x.T.cov(correction=0)
        largest = torch.linalg.eigvalsh(exact)[-5:]
        torch.testing.assert_close(few.variances, largest, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(few.variance(), exact.trace() / 64)
        torch.testing.assert_close(5 * few.variances.mean() + 59 * few.rest, exact.trace())

    @pytest.mark.parametrize(("n", "rank"), [(40, 20), (40, 40), (95, 64)])
    def test_few_points_have_a_direction_for_30(self, n: int, rank: int):
        """Sees directions that are not orthogonal, and more variances than points can tell."""
        x = images(n).double().flatten(1)
        found, exact, few = BlurredGaussian.of(x, rank), x.T.cov(correction=0), n // 30
        V, largest = found.directions, torch.linalg.eigvalsh(exact)[-few:]
        torch.testing.assert_close(V.T @ V, torch.eye(rank, dtype=V.dtype))
        torch.testing.assert_close(found.variances[-few:], largest)
        torch.testing.assert_close((V.T @ exact @ V).diagonal()[-few:], largest)
        torch.testing.assert_close(found.variances[:-few], found.rest.expand(rank - few))
        torch.testing.assert_close(found.variances.sum() + (64 - rank) * found.rest, exact.trace())

    def test_some_of_many_points_have_the_directions_of_many(self):
        """Sees them counted as all there are: a net that learns from 50,000 images does not know the 40 by heart."""
        kept = []
        for many in (40, 300, math.inf):
            found = BlurredGaussian((1, 8, 8), 20)
            see(found, lambda _: images(40), many)
            kept.append((found.variances > found.rest * 1.0001).sum().item())
        assert kept == [1, 10, 20]

    @pytest.mark.parametrize("n", [40, 100, 300])
    def test_points_that_it_saw_are_hardly_nearer_than_others(self, n: int):
        """Sees directions that bend towards few points: it takes noise off new points nearly as well."""
        spread = torch.logspace(0, -1.5, 256, dtype=torch.float64)
        own, others = (torch.randn(k, 256, dtype=torch.float64, generator=rng(k, "rows")) * spread for k in (n, 1000))
        found, errors = BlurredGaussian.of(own), []
        for x in (own, others):
            s = x.new_full((len(x),), 0.2)
            x_s = x + 0.2 * torch.randn(x.shape, dtype=x.dtype, generator=rng(0, "noise"))
            errors.append((x - x_s + 0.2**2 * found.pull(x_s, s)).square().mean())
        assert errors[1] < 1.1 * errors[0]

    @pytest.mark.parametrize("rank", [2, 6])
    def test_its_draws_are_its_own(self, rank: int):
        """Sees a variance for its root: along random directions draws have the normal law that f says they have."""
        event = (1, 2, 3)
        found = BlurredGaussian.of(images(50, 1, 6)[:, :, :2, :3].double() * torch.tensor([1.0, 2.0, 3.0]), rank)
        draws = found.draw(20_000, 0.3, rng(0, "draws"))
        assert draws.shape[1:] == event
        V, rest = found.directions, found.rest
        covariance = V * found.variances @ V.T + rest * (torch.eye(6) - V @ V.T) + 0.3**2 * torch.eye(6)
        for way in torch.randn(4, 6, dtype=torch.float64, generator=rng(0, "ways")):
            z = (draws - found.mean).flatten(1) @ way / (way @ covariance @ way).sqrt()
            assert distance(torch.special.ndtr(z)) < 1

    def test_what_it_leaves_unknown_is_the_error_of_its_mean(self):
        """Sees σ² for the posterior's variance: c(s)² is the error of x + s² ∇f of its own draws, a coordinate."""
        found, s = BlurredGaussian.of(images(200).double().flatten(1), 10), torch.full((20_000,), 0.4).double()
        x = found.draw(20_000, 0.0, rng(0, "draws"))
        x_s = x + 0.4 * torch.randn(x.shape, dtype=x.dtype, generator=rng(0, "noise"))
        _, grad = value_and_grad(lambda x: found(x, s), x_s)
        error = (x - x_s - 0.4**2 * grad).square().mean()
        assert error.item() == pytest.approx(found.unknown(s)[0].item(), rel=0.01)

    def test_a_new_one_takes_what_was_stored(self):
        """Sees moments that are no part of the weights, or whose shapes depend on the data."""
        x = images()
        there, back = BlurredGaussian.of(x, 7), BlurredGaussian((1, 8, 8), 7)
        back.load_state_dict(there.state_dict())
        s = torch.full((40,), 0.2)
        assert torch.equal(there(x, s), back(x, s))


class Constant(nn.Module):
    """U(u, s) = 1."""

    def forward(self, u: Tensor, s: Tensor) -> Tensor:  # noqa: ARG002
        return torch.ones_like(u)


class TestNoiseConditional:
    def test_f_of_x_is_that_of_the_lowest_level(self):
        f, x = energy(), images()
        torch.testing.assert_close(f(x), f(x, torch.full((40,), 0.1)))
        assert isinstance(f, HasLevels)

    def test_every_row_may_have_its_own_level(self):
        """Sees levels that are shared, or taken from another row."""
        f, x = energy(), images(3)
        s = torch.tensor(LEVELS)
        each = torch.cat([f.at(level)(x[k : k + 1]) for k, level in enumerate(LEVELS)])
        torch.testing.assert_close(f.at(s)(x), each, rtol=1e-5, atol=1e-2)

    def test_an_adapter_acts_in_f_of_x_alone(self):
        """Sees one that other levels have, or one that draws never meet as they come to the lowest."""
        f, x, levels = energy(adapted=True), images(5), (0.05, 0.11, 2.0)
        adapted, others = f(x), [f.at(s)(x) for s in levels]
        assert torch.equal(f.at(f.lowest)(x), adapted)
        f.adapter = None
        assert not torch.allclose(f(x), adapted, rtol=1e-3)
        assert all(torch.equal(f.at(s)(x), other) for s, other in zip(levels, others, strict=True))

    @pytest.mark.parametrize("s", LEVELS)
    def test_it_is_a_bowl_around_the_data_given_x(self, s: float):
        """Sees a wrong c(s), and |x − D| without its square: with U = 1, D is D₀ + c(s)."""
        base = BlurredGaussian.of(images(200).double())
        f, x, level = NoiseConditional(Constant(), base, 0.1), images(4).double() / 2, torch.full((4,), s).double()
        _, score = value_and_grad(lambda x: base(x, level), x)
        without = x + s**2 * score
        guess = without + base.unknown(level).sqrt()[0]
        nearer = ((x - without).square() - (x - guess).square()).flatten(1).sum(1) / (2 * s**2)
        torch.testing.assert_close(f.learned(x, level), nearer, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("factor", [1.0, -5.0, 10.0])
    def test_no_weights_raise_it_above_the_prior(self, factor: float):
        """Sees ⟨x, U(x)⟩, which can outgrow the Gaussian, and the bowl upside down."""
        f = energy(factor=factor).double()
        for s in LEVELS:
            x = directions(16, 1, 8) * torch.linspace(0, 15, 16).view(-1, 1, 1, 1)
            level = torch.full((16,), s).double()
            bowl = s**2 * f.base.pull(x, level).square().flatten(1).sum(1) / 2
            assert bool((f(x, level) <= f.known(x, level) + bowl + 1e-6).all())

    @pytest.mark.parametrize("factor", [0.0, 1.0, -5.0])
    def test_far_out_it_is_the_gaussian_whatever_the_weights(self, factor: float):
        """Sees ⟨x, U(x)⟩ grow past the Gaussian: along rays f falls at least as |x|², and ∇f points inwards."""
        f, ways = energy(factor=factor, adapted=True).double(), directions(16, 1, 8)
        for s in (*LEVELS, f.lowest):
            slowest = 1 / (2 * (f.base.variances.max() + s**2)).item()
            near, _ = value_and_grad(f.at(s), 1e5 * ways)
            value, grad = value_and_grad(f.at(s), 1e6 * ways)
            assert bool((value - near < -0.98 * slowest * 1e12).all())
            assert bool(((grad * ways).flatten(1).sum(1) < -0.98 * 2 * slowest * 1e6).all())

    def test_the_weights_that_pull_hardest_are_bounded(self):
        """Sees a pull that grows with |x|, and NaN: of an f trained to be high far out, in single precision."""
        f, ways = energy(), directions(16, 1, 8).float()
        optimizer = torch.optim.Adam(f.parameters(), 0.1)
        for _ in range(30):
            optimizer.zero_grad()
            (-f(100 * ways).sum() / 1e3).backward()
            optimizer.step()
        near, far = (f.learned(radius * ways, torch.full((16,), 0.1)) for radius in (1e5, 1e6))
        assert far.max() > 10
        torch.testing.assert_close(near, far)
        _, grad = value_and_grad(f, 1e6 * ways)
        assert bool(((grad * ways).flatten(1).sum(1) < -0.9e6).all())

    def test_where_noisy_data_are_nothing_is_cut(self):
        """Sees a box or a saturation that noisy data feel."""
        for s in LEVELS:
            x = images(500) + s * torch.randn(500, 1, 8, 8, generator=rng(0, "noise"))
            level = torch.full((500,), s)
            assert box(x, level).mean() < 0.01
            assert (saturated(x, level) - x).abs().max() < 1e-3 * s

    def test_saturation_stops_and_is_smooth(self):
        """Sees an overflow of the eighth power, in the value or in the gradient."""
        x = torch.tensor([[0.1, 4.8, 8.0, 200.0, 1e6, -1e30]]).requires_grad_(True)
        y = saturated(x, torch.tensor([0.05]))
        (slope,) = torch.autograd.grad(y.sum(), x)
        torch.testing.assert_close(y[0, [0, 1]].detach(), torch.tensor([0.1, 4.8 / 2 ** (1 / 8)]))
        torch.testing.assert_close(y[0, 3:].detach(), torch.tensor([4.8, 4.8, -4.8]))
        assert slope[0, 0].item() == pytest.approx(1, abs=1e-6)
        assert bool((slope.diff() <= 0).all())
        assert slope[0, -1] == 0

    def test_a_level_that_is_none_is_refused(self):
        with pytest.raises(ValueError, match=r"lowest must be positive.*got 0"):
            NoiseConditional(Constant(), BlurredGaussian((2,)), 0.0)
        with pytest.raises(ValueError, match=r"highest must be above lowest=0.5.*got 0.5"):
            NoiseConditional(Constant(), BlurredGaussian((2,)), 0.5, 0.5)


class TestUNet:
    @pytest.mark.parametrize(("channels", "size", "widths"), [(1, 8, (4, 8, 12)), (3, 24, (4, 8, 12)), (1, 4, (6,))])
    def test_it_gives_points_of_the_shape_it_takes(self, channels: int, size: int, widths: tuple[int, ...]):
        net = UNet(channels, size, widths)
        u = torch.randn(2, channels, size, size, generator=rng(0))
        assert net(u, torch.ones(2)).shape == u.shape

    def test_every_parameter_learns(self):
        """Sees a block that is not connected, on the way down, up, or to the level."""
        net = energy().net
        net(images(4), torch.tensor([0.1, 0.2, 1.0, 2.0])).square().sum().backward()
        assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []

    def test_rows_do_not_talk(self):
        net, x, s = energy().net, images(4), torch.tensor([0.1, 0.2, 1.0, 2.0])
        torch.testing.assert_close(net(x[[2, 0]], s[[2, 0]]), net(x, s)[[2, 0]], rtol=1e-4, atol=1e-5)

    def test_the_level_counts(self):
        """Sees modulation that is left out."""
        net, x = energy().net, images(1)
        assert not torch.allclose(net(x, torch.tensor([0.1])), net(x, torch.tensor([1.0])), rtol=1e-2)

    def test_every_pixel_sees_every_other(self):
        """Sees a level of the net that is skipped: at a quarter of the size and below all of 16 × 16 is in view."""
        torch.manual_seed(0)
        net = UNet(1, 16, (4, 8, 8))
        u = images(1, 1, 16).requires_grad_(True)
        (grad,) = torch.autograd.grad(net(u, torch.ones(1))[0, 0, 0, 0], u)
        assert bool((grad != 0).all())

    def test_the_way_up_sees_the_way_down(self):
        """Sees fine detail that must pass through the smallest size: nothing passes there, and yet all pixels count."""
        net: Any = energy().net
        with torch.no_grad():
            for halve in net.halve:
                halve.weight.zero_()
        u = images(1).requires_grad_(True)
        (grad,) = torch.autograd.grad(net(u, torch.ones(1)).square().sum(), u)
        assert bool((grad != 0).all())

    def test_a_size_that_cannot_be_halved_is_refused(self):
        with pytest.raises(ValueError, match="3 widths halve the image 3 times; 12 is not divisible by 8"):
            UNet(1, 12)

    def test_its_size_is_small(self):
        """Sees a width or a layer that slips in: the default has 169 thousand parameters."""
        assert sum(p.numel() for p in UNet(1, 32).parameters()) == pytest.approx(169_000, rel=0.01)
        assert math.isclose(sum(p.numel() for p in UNet(3, 32).parameters()), 171_000, rel_tol=0.01)

"""Laws of networks: one number a row from that row only, every parameter learns, the published sizes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from anila.density.check import check_log_density
from anila.density.log_density import value_and_grad
from anila.density.networks import (
    Conditional,
    Confined,
    ResNet,
    Tempered,
    Whitened,
    WideResNet,
    mlp,
    nonlocal_,
    toy,
    unet,
    vanilla,
)
from anila.rng import rng
from exact import as_users_run_it

IMAGE = (3, 32, 32)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "toy": (toy, (2,)),
    "mlp": (lambda: mlp(3, (16, 16)), (3,)),
    "fourier mlp": (lambda: mlp(2, (16,), fourier=12), (2,)),
    "vanilla": (vanilla, IMAGE),
    "vanilla, one channel": (lambda: vanilla(1, 16, width=4, nonlinearity="silu"), (1, 16, 16)),
    "nonlocal": (nonlocal_, IMAGE),
    "resnet": (lambda: ResNet(1, 16, width=4, stages=2), (1, 16, 16)),
    "wide resnet": (lambda: WideResNet(1, 16, depth=16, widen=1), (1, 16, 16)),
    "conditional": (lambda: Conditional(Confined(Tempered(mlp(2, (8,), out=3), 0.5), 2.0)), (2,)),
    "unet": (lambda: unet(1, 8, (4, 8)), (1, 8, 8)),
    "whitened": (lambda: Whitened(mlp(3, (8,)), 3), (3,)),
    "confined": (lambda: Confined(mlp(2, (8,)), 2.0, torch.tensor([0.5, 0.0])), (2,)),
}


def made(name: str) -> tuple[nn.Module, torch.Tensor]:
    """The network with every parameter away from its special initial value, and four points."""
    make, event = NETWORKS[name]
    torch.manual_seed(0)
    net = make()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=rng(0, "shake")))
    return net, torch.randn(4, *event, generator=rng(0, "points"))


@pytest.mark.parametrize(("make", "size"), [(toy, 10_593), (vanilla, 693_569), (nonlocal_, 628_529)])
def test_anatomy_networks_have_the_published_size(make: Callable[[], nn.Module], size: int):
    """Sees a layer, a width or a bias that the paper does not have."""
    assert sum(p.numel() for p in make().parameters()) == size


def test_a_wide_residual_network_has_the_published_size():
    """Sees a block, a group or a width that the paper's table does not have: WRN-28-10 has 36.5 million parameters."""
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in WideResNet(3, 32, depth, 10).parameters()) for depth in (16, 28)]
    assert [round(size / 1e6, 1) for size in sizes] == [17.1, 36.5]


def test_a_wide_residual_network_halves_the_image_twice():
    """Sees pooling in the wrong block, which moves work to full resolution or loses detail."""
    net = WideResNet(1, 16, depth=16, widen=1)
    sides = []
    for block in net.blocks:
        block.register_forward_pre_hook(lambda _, args: sides.append(tuple(args[0].shape[1:])))
    net(torch.zeros(2, 1, 16, 16))
    assert sides == [(16, 16, 16), (16, 16, 16), (16, 8, 8), (32, 8, 8), (32, 4, 4), (64, 4, 4)]


OUTPUTS: dict[str, tuple[Callable[[int], nn.Module], tuple[int, ...]]] = {
    "toy": (lambda out: toy(2, out=out), (2,)),
    "mlp": (lambda out: mlp(3, (8,), out=out), (3,)),
    "vanilla": (lambda out: vanilla(1, 8, width=4, out=out), (1, 8, 8)),
    "nonlocal": (lambda out: nonlocal_(1, 8, out=out), (1, 8, 8)),
    "resnet": (lambda out: ResNet(1, 8, width=4, out=out), (1, 8, 8)),
    "wide resnet": (lambda out: WideResNet(1, 8, 10, 1, out=out), (1, 8, 8)),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_networks_give_one_number_or_several_a_row(name: str):
    """Sees rows and outputs mixed by flattening, and (n, 1) where (n,) is meant, for one row and for several."""
    make, event = OUTPUTS[name]
    x = torch.randn(4, *event, generator=rng(0, "points"))
    for n in (1, 4):
        assert make(1)(x[:n]).shape == (n,)
        assert make(3)(x[:n]).shape == (n, 3)
    f = Conditional(make(3))
    torch.testing.assert_close(f.logits(x[[2, 0]]), f.logits(x)[[2, 0]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_rows_do_not_talk(name: str):
    """Sees batch statistics, and flattening across rows."""
    net, x = made(name)
    whole = net(x)
    assert whole.shape == (4,)
    torch.testing.assert_close(net(x[[2, 0]]), whole[[2, 0]], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net(x[:1]), whole[:1], rtol=1e-4, atol=1e-5)
    check_log_density(net, x)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_learns(name: str):
    """Sees a layer that is not connected: with generic weights each one has a gradient that is not zero."""
    net, x = made(name)
    net(x).square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_f_depends_on_every_coordinate(name: str):
    """Sees pixels that a valid convolution or a pooling leaves out."""
    net, x = made(name)
    (grad,) = torch.autograd.grad(net(x.requires_grad_(True)).sum(), x)
    assert bool((grad != 0).any(0).all())


def test_a_nonlocal_network_attends_across_pixels():
    """Sees attention over channels or with a wrong transpose: equal weights give the mean over pixels."""
    block: Any = nonlocal_()[3]
    with torch.no_grad():
        block.out.weight.copy_(torch.randn(block.out.weight.shape, generator=rng(0)))
    x = torch.randn(2, 32, 16, 16, generator=rng(1))
    mean = block.g(x).flatten(2)
    with torch.no_grad():
        block.theta.weight.zero_()
        block.theta.bias.zero_()
    pooled = nn.functional.max_pool2d(mean.view(2, 16, 16, 16), 2).mean((2, 3), keepdim=True)
    torch.testing.assert_close(block(x), x + block.out(pooled.expand(2, 16, 16, 16)), rtol=1e-4, atol=1e-5)


def joint() -> tuple[Conditional, torch.Tensor]:
    """log p(x, y) of three classes, confined and tempered, and five points."""
    torch.manual_seed(0)
    f = Conditional(Confined(Tempered(mlp(2, (8,), out=3), 0.25), 1.5)).double()
    return f, torch.randn(5, 2, dtype=torch.float64, generator=rng(0, "points"))


def test_a_conditional_density_is_the_sum_over_its_classes():
    """Sees a mean for a sum, a maximum for a logsumexp, and a class that is left out."""
    f, x = joint()
    torch.testing.assert_close(f(x).exp(), sum(f.given(y)(x).exp() for y in range(3)))
    posterior = torch.stack([(f.given(y)(x) - f(x)).exp() for y in range(3)], 1)
    torch.testing.assert_close(posterior, f.logits(x).softmax(1))


def test_classes_differ_by_their_logits_under_temperature_and_confinement():
    """Sees a temperature or a confining term that the density of a class does not get, or gets twice."""
    f, x = joint()
    bare: Any = f.net
    logits, base = bare.net.net(x) / 0.25, x.square().sum(1) / (2 * 1.5**2)
    torch.testing.assert_close(f.given(2)(x) - f.given(0)(x), logits[:, 2] - logits[:, 0])
    torch.testing.assert_close(f.given(1)(x), logits[:, 1] - base)
    torch.testing.assert_close(f(x), logits.logsumexp(1) - base)


def test_every_row_may_have_its_own_class():
    """Sees labels gathered along the wrong axis; and the gradient of a class is that of its logit."""
    f, x = joint()
    y = torch.tensor([2, 0, 1, 1, 2])
    values, grads = value_and_grad(f.given(y), x)
    for row in range(5):
        one, grad = value_and_grad(f.given(int(y[row])), x[row : row + 1])
        torch.testing.assert_close(values[row], one[0])
        torch.testing.assert_close(grads[row], grad[0])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (3, "classes are 0 to 2; got 3 to 3"),
        (-1, "got -1 to -1"),
        (torch.tensor([0, 1]), "a class for each of 5 rows, got 2"),
        (torch.tensor([0, 1, 2, 3, 0]), "got 0 to 3"),
    ],
)
def test_classes_that_are_not_there_are_refused(y: Any, message: str):
    f, x = joint()
    with pytest.raises(ValueError, match=message):
        f.given(y)(x)


def test_a_conditional_network_needs_a_number_a_class():
    """Sees a logsumexp over the rows of a batch."""
    with pytest.raises(ValueError, match=r"expected \(4, classes\), got \(4,\)"):
        Conditional(mlp(2, (8,)))(torch.zeros(4, 2))


def test_confined_is_its_closed_form():
    """Sees s for s², a missing half, or a centre that is ignored; on an event of several axes."""
    centre = torch.full((1, 4, 4), 0.25)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 1), nn.Flatten(0))
    x = torch.randn(5, 1, 4, 4, generator=rng(0))
    expected = net(x) - torch.stack([(row - centre).pow(2).sum() / (2 * 3.0**2) for row in x])
    torch.testing.assert_close(Confined(net, 3.0, centre)(x), expected)


def test_confined_points_inwards_far_away():
    """Sees a confining term that pushes out: H1 holds where a piecewise-linear net alone would not."""
    _, x = made("toy")
    torch.manual_seed(0)
    far = (1e4 * x / x.norm(dim=1, keepdim=True)).requires_grad_(True)
    (grad,) = torch.autograd.grad(Confined(toy(), 2.0)(far).sum(), far)
    assert bool(((grad * far).sum(1) / far.norm(dim=1) < -1e3).all())


def test_fourier_features_have_unit_second_moment():
    """Sees a missing √2 or 2π: mean of φ² is 1, and shifting x by a period changes nothing."""
    phi: Any = mlp(1, (4,), fourier=10)[0]
    x = torch.randn(20, 1, generator=rng(0))
    torch.testing.assert_close(phi(x).square().mean(1), torch.ones(20))
    period = 1 / phi.frequencies[0, 0]
    torch.testing.assert_close(phi(x + period)[:, [0, 5]], phi(x)[:, [0, 5]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vanilla(size=28), "28"),
        (lambda: nonlocal_(size=20), "20"),
        (lambda: ResNet(3, 20, stages=3), "20"),
        (lambda: WideResNet(3, 32, 12), "got 12"),
        (lambda: WideResNet(3, 32, 4), "got 4"),
        (lambda: WideResNet(3, 18, 10), "18 is not divisible by 4"),
        (lambda: vanilla(nonlinearity="swish"), "swish"),  # pyright: ignore[reportArgumentType]
        (lambda: Confined(toy(), 0.0), "0.0"),
        (lambda: Confined(toy(), -1.0), "-1.0"),
    ],
)
def test_impossible_networks_are_refused(make: Callable[[], nn.Module], message: str):
    """Sees an error that comes later and from somewhere else."""
    with as_users_run_it(), pytest.raises(ValueError, match=message):
        make()

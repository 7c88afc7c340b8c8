"""Laws of spectral normalisation: the slope of f is bounded, and f rests until θ has moved."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from anila.density.log_density import value_and_grad
from anila.density.networks import (
    Conditional,
    Confined,
    ResNet,
    Tempered,
    mlp,
    nonlocal_,
    power_iteration,
    spectral,
    vanilla,
)
from anila.density.networks.spectral import normalised
from anila.rng import rng
from anila.samplers import mala, sample

Pair = tuple[nn.Module, Tensor]


def perceptron() -> Pair:
    torch.manual_seed(0)
    return spectral(mlp(3, (16, 16, 16), "leaky_relu")), 3 * torch.randn(200, 3, generator=rng(0, "points"))


def stack() -> Pair:
    torch.manual_seed(0)
    net = spectral(vanilla(1, 8, width=4, nonlinearity="relu"))
    return net, torch.randn(40, 1, 8, 8, generator=rng(0, "points"))


def train_a_little(net: nn.Module, x: Tensor, updates: int) -> None:
    """Ascend the slope of f, which grows every weight, with one power iteration an update."""
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(updates):
        optimizer.zero_grad()
        (-net(x).square().mean()).backward()
        optimizer.step()
        power_iteration(net)


def weights(net: nn.Module) -> list[Tensor]:
    """Every normalised weight as a matrix."""
    return [m.weight.detach().flatten(1) for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d)]


@pytest.mark.parametrize(("make", "bound"), [(perceptron, 1.0), (stack, 3.0 * 2.0)])
@pytest.mark.parametrize("updates", [0, 60])
def test_the_slope_of_f_is_bounded(make, bound: float, updates: int):
    """Sees a layer left out, and u, v that do not follow θ.

    A kernel as a matrix of norm 1 stretches by at most the root of how many windows a pixel lies in: 3 for 3×3 at
    stride 1, 2 for 4×4 at stride 2, and 1 for the last one, which has one window. While θ moves fast u and v lag a
    little; when it rests they catch up.
    """
    net, x = make()
    train_a_little(net, x, updates)
    assert all(0.999 < torch.linalg.matrix_norm(w, 2) < 1.25 for w in weights(net))
    for _ in range(100 if updates else 0):
        power_iteration(net)
    assert all(0.999 < torch.linalg.matrix_norm(w, 2) < 1.001 for w in weights(net))
    assert value_and_grad(net, x)[1].flatten(1).norm(dim=1).max() < 1.01 * bound


def test_without_it_the_slope_grows():
    """The law above can fail: the same training of the bare network."""
    torch.manual_seed(0)
    net = mlp(3, (16, 16, 16), "leaky_relu")
    x = perceptron()[1]
    train_a_little(net, x, 60)
    assert value_and_grad(net, x)[1].norm(dim=1).max() > 10


def test_every_layer_is_normalised():
    """Sees a shortcut, a head or a convolution within a block left out."""
    net = spectral(ResNet(1, 8, width=4))
    layers = [m for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len(layers) == 13
    assert all(torch.linalg.matrix_norm(w, 2) < 1.05 for w in weights(net))


def test_f_rests_until_it_is_told():
    """Sees power iterations in the forward pass: f would change from one step of a chain to the next."""
    net, x = perceptron()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=rng(0, "shake")))
    values = [net(x) for _ in range(3)]
    assert all(torch.equal(a, b) for a, b in pairwise(values))
    power_iteration(net)
    assert not torch.equal(net(x), values[0])


def test_no_buffer_moves_while_chains_do():
    """Sees a sampler that advances the power iteration, in training mode too, and a chain that saw f change."""
    net, x = perceptron()
    train_a_little(net, x, 3)
    f = Confined(net, 1.0).train()
    before = [buffer.clone() for buffer in f.buffers()]
    one, other = (sample(mala(f, 0.1), x, 10, rng(0, "chains"))[0] for _ in range(2))
    assert len(before) == 9
    assert all(torch.equal(a, b) for a, b in zip(before, f.buffers(), strict=True))
    assert torch.equal(one, other)


def test_a_power_iteration_goes_one_step():
    """Sees more or fewer than one, or a weight whose u, v are not moved: u ← W v/|W v|, v ← Wᵀ u/|Wᵀ u|."""
    net, _ = perceptron()
    layer = net[2]  # pyright: ignore[reportIndexIssue]
    ((norm, w),) = normalised(layer)
    with torch.no_grad():
        w.copy_(torch.randn(w.shape, generator=rng(0, "weight")))
        u = nn.functional.normalize(w @ norm.v, dim=0)
        v = nn.functional.normalize(w.T @ u, dim=0)
    power_iteration(net)
    torch.testing.assert_close(norm.u, u)
    torch.testing.assert_close(norm.v, v)
    torch.testing.assert_close(layer.weight, w / (u @ w @ v))


def test_copies_and_states_carry_u_and_v():
    """Sees a copy that shares or loses them: a deep copy and a loaded state give the same f and then move apart."""
    net, x = perceptron()
    train_a_little(net, x, 3)
    f = Conditional(Confined(Tempered(spectral(mlp(3, (4,), out=2)), 0.5), 1.0))
    for original in (net, f):
        twin = copy.deepcopy(original)
        assert torch.equal(twin(x), original(x))
        before = original(x)
        train_a_little(twin, x, 2)
        assert torch.equal(original(x), before)
        original.load_state_dict(twin.state_dict())
        assert torch.equal(twin(x), original(x))
        double = copy.deepcopy(original).double()
        torch.testing.assert_close(double(x.double()), original(x).double(), rtol=1e-4, atol=1e-4)


def test_a_layer_of_zeros_is_refused():
    """Sees NaN: the nonlocal block starts as the identity, by a weight of zeros."""
    with pytest.raises(ValueError, match=r"layer 3.out starts at zero: W / σ\(W\) is 0/0"):
        spectral(nonlocal_(1, 8))

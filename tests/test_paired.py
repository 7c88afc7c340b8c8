"""Laws of chains that are compared with the data they began at."""

from typing import Any

import pytest
import torch
from torch import Tensor

from anila.density.networks import Conditional, mlp
from anila.learning.learner import Learner
from anila.learning.objectives import Contrast, Objective, classes, likelihood
from anila.learning.paired import Paired
from anila.rng import rng
from anila.samplers import langevin

STILL = 1e-12
"""A step that moves nothing."""


def data(t: int, n: int = 12) -> Tensor:
    return torch.randn(n, 2, generator=rng(t, "data"))


def learner(step_size: float = 0.01, fresh: float = 0.3, **options: Any) -> Learner:
    torch.manual_seed(0)
    model = mlp(2, (8,))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return Learner(model, langevin(model, step_size), Paired(fresh), optimizer, 3, **options)


def compared(seen: list[Contrast], objective: Objective) -> Objective:
    """The objective, whose contrasts are kept."""

    def contrast(*args: Any, **more: Any) -> Contrast:
        seen.append(objective.contrast(*args, **more))
        return seen[-1]

    return objective._replace(contrast=contrast)


def test_chains_that_have_not_moved_teach_nothing():
    """Sees chains compared with other data than they began at: then what data show would be learned."""
    one = learner(STILL)
    for t in range(4):
        assert one.update(data(t))["theta_grad_norm"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("fresh", [0.0, 0.3, 1.0])
def test_a_chain_begins_again_with_its_point(fresh: float):
    """Sees points that go on without their chains, chains without their points, and another share of them."""
    seen: list[Contrast] = []
    one = learner(STILL, fresh, objective=compared(seen, likelihood()))
    for t in range(30):
        one.update(data(t))
    ups = torch.stack([contrast.up for contrast in seen])
    assert all(torch.allclose(contrast.up, contrast.down, atol=1e-4) for contrast in seen)
    again = (ups.diff(dim=0) != 0).any(2)
    rows = torch.stack([data(t) for t in range(1, 30)])
    assert torch.equal(ups[1:][again], rows[again])
    share = again.double().mean().item()
    assert share == fresh if fresh in (0, 1) else share == pytest.approx(fresh, abs=4 * (0.21 / 348) ** 0.5)


def test_points_get_new_noise_and_chains_keep_theirs():
    """Sees the noise of a chain's start compared with itself, so that f never learns how much there should be."""
    seen: list[Contrast] = []
    one = learner(STILL, 0.0, objective=compared(seen, likelihood()), data_noise=0.5)
    for t in range(400):
        one.update(data(t))
    noise = torch.stack([contrast.up for contrast in seen]) - data(0)
    assert noise.std().item() == pytest.approx(0.5, rel=0.05)
    assert noise.mean(0).abs().max() < 0.1
    assert torch.allclose(seen[0].down, seen[-1].down, atol=1e-3)
    assert (seen[0].down - data(0)).std().item() == pytest.approx(0.5, rel=0.5)


def test_classes_stay_with_their_points():
    """Sees labels of the batch given to points of an earlier one."""
    torch.manual_seed(0)
    seen: list[Contrast] = []
    model = Conditional(mlp(2, (8,), out=3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    objective = compared(seen, classes())
    one = Learner(model, langevin(model, 0.01), Paired(0.3), optimizer, 3, objective=objective)

    def labels(x: Tensor) -> Tensor:
        return (x[:, 0] > 0).long() + (x[:, 1] > 0).long()

    for t in range(5):
        one.update(data(t), labels(data(t)))
    for contrast in seen:
        assert contrast.classes is not None
        assert torch.equal(contrast.classes, labels(contrast.up))


def test_a_learner_goes_on_where_it_stood():
    """Sees pairs that a checkpoint does not hold."""
    whole, first, rest = (learner() for _ in range(3))
    for t in range(3):
        first.update(data(t))
    rest.load_state_dict(first.state_dict())
    for t in range(6):
        whole.update(data(t))
        if t > 2:
            rest.update(data(t))
    pairs = zip(whole.model.parameters(), rest.model.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in pairs)


def test_as_many_points_as_chains_are_asked_for():
    one = learner()
    one.update(data(0))
    with pytest.raises(ValueError, match="12 chains met 5 points"):
        one.update(data(1, 5))
    with pytest.raises(ValueError, match="fresh must be in"):
        Paired(1.5)

"""Draws of one coordinate given the others, without chains."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from anila import rng
from anila.applications.line import along
from exact import distance

SEEN = torch.linspace(-4, 4, 50)


def crowds(x: Tensor) -> Tensor:
    """Coordinate 1 follows coordinate 0 on one of two lines, 3 apart, closely: half as often on the upper one."""
    lines = torch.stack([x[:, 1] - x[:, 0], x[:, 1] - x[:, 0] - 3], 1)
    return (-(lines / 0.05).square() / 2 + torch.tensor([math.log(2 / 3), math.log(1 / 3)])).logsumexp(1)


def test_draws_follow_the_law_of_the_coordinate():
    """Two narrow modes for each row, at other places. Sees a mode that is missed, and nodes that are not made finer."""
    y = torch.tensor([[-1.3, math.nan], [0.77, 9.0]])
    draws = along(crowds, y, 1, SEEN, 20_000, rng(0, "draws")).double()
    for row, middle in zip(draws, (-1.3, 0.77), strict=True):
        z = torch.stack([(row - middle) / 0.05, (row - middle - 3) / 0.05])
        cdf = torch.tensor([2 / 3, 1 / 3]).double() @ torch.special.ndtr(z)
        assert distance(cdf) < 1


def test_draws_reach_beyond_what_was_seen():
    """A law of twice the width of the data. Sees draws that end where the data do."""
    y = torch.zeros(1, 2)
    draws = along(lambda x: -(x[:, 0] - 3).square() / 2, y, 0, torch.tensor([-1.0, 2.0, 4.0]), 20_000, rng(0, "draws"))
    assert distance(torch.special.ndtr(draws[0].double() - 3)) < 1


def test_a_mode_where_hardly_a_chain_has_been_draws_nothing():
    """One value in a thousand lies at 30, where f is higher by 100. Sees draws that all lie there."""
    seen = torch.cat([torch.linspace(-0.1, 0.1, 999), torch.tensor([30.0])])

    def f(x: Tensor) -> Tensor:
        return torch.logaddexp(-(x[:, 0] / 0.05).square() / 2, 100 - (x[:, 0] - 30).square() / 2)

    draws = along(f, torch.zeros(1, 1), 0, seen, 20_000, rng(0, "draws"))
    assert distance(torch.special.ndtr(draws[0].double() / 0.05)) < 1


def test_columns_of_a_narrow_crowd_and_a_wide_tail_are_looked_up_in_both():
    """Nine in ten values within 0.1, the others up to 100,000. Sees nodes a share of the range apart."""
    seen = torch.cat([torch.linspace(-0.1, 0.1, 90), torch.linspace(1, 1e5, 10)])
    draws = along(lambda x: -(x[:, 0] / 0.05).square() / 2, torch.zeros(1, 1), 0, seen, 20_000, rng(0, "draws"))
    assert distance(torch.special.ndtr(draws[0].double() / 0.05)) < 1


def test_equal_seeds_draw_alike_and_rows_do_not_depend_on_others():
    y = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 2))).float()
    draws = along(crowds, y, 1, SEEN, 3, rng(0, "draws"))
    torch.testing.assert_close(draws, along(crowds, y, 1, SEEN, 3, rng(0, "draws")), rtol=0, atol=0)
    torch.testing.assert_close(draws[:1], along(crowds, y[:1], 1, SEEN, 3, rng(0, "draws")), rtol=0, atol=0)


def test_what_has_no_law_is_refused():
    with pytest.raises(ValueError, match="not finite along coordinate 0"):
        along(lambda x: x[:, 0] * math.nan, torch.zeros(1, 1), 0, SEEN, 1, rng(0, "draws"))

"""Compiled and uncompiled steps are compared as their rounding asks: neither more nor less."""

import pytest
import torch
from torch import Tensor

from anila.rng import rng
from anila.samplers.compiled.agreement import Rows, require_agreement

EPS = 2.0**-23
X = torch.randn(100, 3, generator=rng(0, "x"))
PROB = torch.rand(100, 1, generator=rng(0, "prob"))
UNIFORM = torch.rand(100, 1, generator=rng(0, "uniform"))


def rows(x: Tensor, prob: Tensor = PROB, value: float = 1.0) -> Rows:
    return {"state.x": x, "state.value": torch.full((len(x), 1), value), "accept_prob": prob[: len(x)]}


def test_rounding_is_no_difference():
    require_agreement(rows(X * (1 + 1e-5), PROB - 1e-5), rows(X), UNIFORM, EPS)
    require_agreement(rows(X * (1 + 0.01)), rows(X), UNIFORM, 2.0**-7)


@pytest.mark.parametrize("wrong", [X + 0.01, X * 1.01, X.roll(1, 0), X * 5.6e15, X * torch.nan, torch.zeros_like(X)])
def test_other_numbers_are(wrong: Tensor):
    with pytest.raises(ValueError, match=r"state.x of chain \d+ is .* compiled and .* uncompiled"):
        require_agreement(rows(wrong), rows(X), UNIFORM, EPS)


def test_an_acceptance_is_known_no_better_than_f():
    require_agreement(rows(X, PROB + 0.1, 1e4), rows(X, value=1e4), UNIFORM, EPS)
    with pytest.raises(ValueError, match="accept_prob"):
        require_agreement(rows(X, PROB + 0.1), rows(X), UNIFORM, EPS)


def test_a_chain_that_nearly_ties_may_go_either_way_and_one_that_is_lost_anywhere():
    """Sees a single chain in bf16 sent the slow way for an acceptance that rounding decides."""
    require_agreement(rows(X[:1] + 1), rows(X[:1]), PROB[:1] + 1e-5, EPS)
    require_agreement(rows(X), rows(X * torch.inf), UNIFORM, EPS)
    with pytest.raises(ValueError, match="state.x"):
        require_agreement(rows(X[:1] + 1), rows(X[:1]), PROB[:1] + 0.1, EPS)


def test_an_f_that_is_no_number_says_nothing_of_the_others():
    """Sees a chain whose acceptance is right refused, because it was measured by NaN."""
    require_agreement(rows(X), rows(X, value=torch.nan), UNIFORM, EPS)
    with pytest.raises(ValueError, match="state.x"):
        require_agreement(rows(X + 1), rows(X, value=torch.nan), UNIFORM, EPS)

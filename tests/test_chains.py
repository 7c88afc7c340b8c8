"""Laws of starts: what is drawn, what is stored, and that a state dict holds all of it."""

from itertools import pairwise

import pytest
import torch

from anila.learning.starts import FromData, FromNoise, Persistent, Replay, Start, strata
from anila.rng import rng
from exact import as_users_run_it


def bank(size: int = 10) -> torch.Tensor:
    """Rows that can be told apart: row i is (i, −i)."""
    i = torch.arange(float(size))
    return torch.stack([i, -i], 1)


def test_persistent_gives_all_in_order():
    """Sees a bank that shuffles its chains when all are asked for."""
    start = Persistent(bank())
    assert torch.equal(start.draw(10, rng(0)), bank())


def test_persistent_gives_distinct_rows():
    """Sees drawing with replacement, which would store two ends in one place; and always drawing the same."""
    start = Persistent(bank())
    draws = [start.draw(6, rng(0, k))[:, 0] for k in range(20)]
    assert all(len(rows.unique()) == 6 for rows in draws)
    assert len(torch.cat(draws).unique()) == 10


@pytest.mark.parametrize("asked", [3, 10])
def test_persistent_stores_in_the_places_drawn(asked: int):
    """Sees ends stored in the first places, or in those of an earlier draw."""
    start = Persistent(bank())
    start.store(start.draw(4, rng(0, "before")))
    x = start.draw(asked, rng(0))
    assert x.shape == (asked, 2)
    start.store(x + 100)
    expected = bank()
    expected[x[:, 0].long()] += 100
    assert torch.equal(start.draw(10, rng(1)), expected)


def test_a_bank_is_its_own():
    """Sees chains that alias the tensor they were made from, or the points they gave out."""
    x0 = bank()
    start = Persistent(x0)
    x0 += 1
    start.draw(10, rng(0)).add_(1)
    assert torch.equal(start.draw(10, rng(0)), bank())


def test_stored_chains_carry_no_graph():
    """Sees memory that grows with every iteration."""
    start = Persistent(bank())
    start.store(start.draw(10, rng(0)).requires_grad_(True) * 2)
    assert not start.draw(10, rng(0)).requires_grad


@pytest.mark.parametrize("fresh", [0.0, 0.05, 0.5, 1.0])
def test_replay_restarts_its_fraction(fresh: float):
    """Sees restarts that are never, always or at another rate; within 5 standard errors."""
    start = Replay(20_000, FromNoise((1,), scale=1.0), fresh)
    start.store(start.draw(20_000, rng(0)) * 0 + 9)
    share = (start.draw(20_000, rng(1)) != 9).double().mean().item()
    assert abs(share - fresh) <= 5 * (fresh * (1 - fresh) / 20_000) ** 0.5


def test_replay_restarts_whole_chains_in_their_places():
    """Sees restarts by coordinate, and a replay that does not keep what it is given."""
    start = Replay(100, FromNoise((3,)), fresh=0.5)
    start.store(start.draw(100, rng(0)) * 0 + 9)
    x = start.draw(40, rng(1))
    kept = (x == 9).all(1)
    assert torch.equal(kept, (x == 9).any(1))
    assert 0 < kept.sum() < 40
    start.store(x)
    assert (start.x == 9).all(1).sum() == 60 + kept.sum()


@pytest.mark.parametrize(("n", "size"), [(6, 10), (7, 7), (3, 100)])
def test_every_slot_is_drawn_as_often(n: int, size: int):
    """Sees slots that are never drawn, or that strata favour: place j comes from its stratum, uniformly."""
    draws = torch.stack([strata(n, size, rng(0, k)) for k in range(4000)])
    edges = torch.arange(n + 1) * size // n
    assert bool(((draws >= edges[:-1]) & (draws < edges[1:])).all())
    assert len(draws.unique()) == size
    for j, width in enumerate(edges.diff().tolist()):
        count = torch.bincount(draws[:, j] - edges[j], minlength=width).double()
        assert (count - 4000 / width).abs().max() <= 5 * (4000 / width) ** 0.5


def test_chains_of_a_bank_are_shifted_and_mirrored_and_nothing_else():
    """Sees pixels lost at an edge, a shift too far, one for all, or other numbers on the process that has some rows."""
    start = Replay(600, FromNoise((1, 8, 8)), fresh=0.0, shift=2, mirror=True)
    x = start.draw(40, rng(0, "draw"))
    before = start.chains(start.places)
    moves = [
        lambda a, d=d, r=r, m=m: (a.roll((d, r), (1, 2)).flip(2) if m else a.roll((d, r), (1, 2)))
        for m in (False, True) for d in range(-2, 3) for r in range(-2, 3)
    ]  # fmt: skip
    found = [next(k for k, move in enumerate(moves) if torch.equal(move(a), b)) for a, b in zip(before, x, strict=True)]
    assert len(set(found)) > 15
    other = Replay(600, FromNoise((1, 8, 8)), fresh=0.0, shift=2, mirror=True)
    torch.testing.assert_close(other.draw(40, rng(0, "draw"), slice(10, 20)), x[10:20], rtol=0, atol=0)
    with pytest.raises(ValueError, match="shift is for images"):
        Replay(5, FromNoise((2,)), shift=1)


def test_a_bank_filled_in_parts_holds_different_chains():
    """Sees a part drawn twice, or left out."""
    start = Replay(1200, FromNoise((2,)))
    assert len(start.x.unique(dim=0)) == 1200
    assert start.size == 1200


@pytest.mark.parametrize("make", [lambda: Persistent(bank(29)), lambda: Replay(29, FromNoise((2,)), fresh=0.4)])
@pytest.mark.parametrize("cuts", [(0, 11), (0, 5, 11), (0, 3, 7, 11)])
def test_parts_of_a_bank_are_the_bank(make, cuts: tuple[int, ...]):
    """Sees a part that needs a chain of another, loses one, or draws otherwise than the whole."""
    whole, shares = make(), [slice(a, b) for a, b in pairwise(cuts)]
    parts = [make() for _ in shares]
    for part, rows in zip(parts, shares, strict=True):
        part.keep(rows, 11)
    for k in range(5):
        x = whole.draw(11, rng(0, k))
        whole.store(x + k)
        for part, rows in zip(parts, shares, strict=True):
            y = part.draw(11, rng(0, k), rows)
            assert torch.equal(y, x[rows])
            part.store(y + k)
    assert torch.equal(torch.cat([part.state_dict()["x"] for part in parts]), whole.x)
    parts[-1].load_state_dict(whole.state_dict())
    assert torch.equal(parts[-1].x, whole.x[parts[-1].slots])


@pytest.mark.parametrize(("storage", "size", "error"), [("uint8", 1, 1 / 255), ("bf16", 2, 2**-8), (None, 4, 0.0)])
def test_chains_at_rest_are_small(storage, size: int, error: float):
    """Sees chains kept larger than asked for, or rounded by more than half a level, away from the edge too."""
    x0 = torch.rand(100, 3, 4, 4, generator=rng(0)) * 2 - 1
    start = Persistent(x0, storage)
    assert start.state_dict()["x"].element_size() == size
    x = start.draw(100, rng(1))
    assert x.dtype == torch.float32
    assert (x - x0).abs().max() <= error * 1.001
    start.store(x)
    assert torch.equal(start.draw(100, rng(2)), x)
    start.store(x0 * 0 + 1)
    assert torch.equal(start.draw(100, rng(3)), x0 * 0 + 1)


STARTS = {
    "noise": lambda: FromNoise((2,)),
    "data": lambda: FromData(bank()),
    "persistent": lambda: Persistent(bank()),
    "replay": lambda: Replay(10, FromNoise((2,)), fresh=0.3),
    "pixels": lambda: Replay(10, FromNoise((2,)), fresh=0.3, storage="uint8"),
}


@pytest.mark.parametrize("n", [4, 10])
@pytest.mark.parametrize("name", STARTS)
def test_a_state_dict_holds_all_that_changes(name: str, n: int):
    """Sees a resumed run that goes on from other chains."""
    start: Start = STARTS[name]()
    start.store(start.draw(n, rng(0, 1)) + 5)
    restored: Start = STARTS[name]()
    restored.load_state_dict({key: value.clone() for key, value in start.state_dict().items()})
    for k in range(2, 4):
        x, y = start.draw(n, rng(0, k)), restored.draw(n, rng(0, k))
        assert torch.equal(x, y)
        start.store(x + k)
        restored.store(y + k)


@pytest.mark.parametrize("name", STARTS)
def test_a_draw_is_its_generator(name: str):
    """Sees the global generator, or a generator ignored."""
    x, again, other = (STARTS[name]().draw(4, rng(0, key)) for key in "aab")
    assert torch.equal(x, again)
    assert not torch.equal(x, other)


def test_uniform_noise_fills_its_range():
    """Sees U(0, scale) for U(−scale, scale), and a scale that is ignored."""
    x = FromNoise((2, 3), "uniform", 2.5).draw(10_000, rng(0))
    assert x.shape == (10_000, 2, 3)
    assert 2.49 < x.max() <= 2.5
    assert -2.5 <= x.min() < -2.49
    assert x.mean().abs() < 0.03
    assert abs(x.std() - 2.5 / 3**0.5) < 0.02


def test_normal_noise_has_its_scale():
    """Sees a variance for a standard deviation."""
    x = FromNoise((3,), "normal", 2.5).draw(30_000, rng(0))
    assert abs(x.std() - 2.5) < 0.03
    assert x.abs().max() > 2.5 * 3.5


def test_data_starts_are_rows_of_the_data():
    """Sees coordinates mixed between rows, and rows that are never drawn."""
    x = FromData(bank()).draw(500, rng(0))
    assert torch.equal(x[:, 0], -x[:, 1])
    assert torch.equal(x[:, 0].unique(), torch.arange(10.0))


def test_data_noise_has_its_scale():
    """Sees noise left out, or of another size; from a function of (n, generator) as from a tensor."""
    x = FromData(lambda n, generator: torch.ones(n, 1), noise=0.2).draw(50_000, rng(0))  # noqa: ARG005
    assert abs(x.std() - 0.2) < 0.004
    assert abs(x.mean() - 1) < 0.005


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FromNoise((2,), "gaussian"), "'gaussian'"),  # pyright: ignore[reportArgumentType]
        (lambda: Persistent(bank()).draw(11, rng(0)), "a bank of 10 cannot give 11 chains"),
        (lambda: Persistent(bank().long()), "int64"),
        (lambda: Replay(5, FromNoise((2,)), fresh=1.5), "1.5"),
        (lambda: Persistent(bank()).load_state_dict({"x": bank(9)}), r"\(10, 2\), got \(9, 2\)"),
    ],
)
def test_mistakes_are_refused(make, message: str):
    """Sees a mistake that runs; the message says what was got."""
    with as_users_run_it(), pytest.raises(ValueError, match=message):
        make()

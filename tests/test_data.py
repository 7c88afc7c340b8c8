"""Laws of every data set: a batch is a function of (n, seed, iteration), and each row comes once an epoch."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from anila.data import TOYS, DataSet, Rows, Stream, Toy, load
from anila.rng import rng


def tall(n: int = 7) -> Rows:
    return Rows(torch.arange(2.0 * n).reshape(n, 2), "tall")


class Shuffler:
    """Restartable, and the same items every pass."""

    def __iter__(self) -> Iterator[Tensor]:
        yield from (torch.full((2, 3), float(i)) for i in range(3))


DATA: dict[str, Callable[[], DataSet]] = {
    **{name: (lambda name=name: Toy(name)) for name in TOYS},
    "rows": tall,
    "pixels": lambda: Rows(np.arange(84, dtype=np.uint8).reshape(7, 3, 2, 2), half_range=127.5),
    "stream": lambda: Stream(Shuffler()),
}


@pytest.mark.parametrize("name", DATA)
def test_a_batch_is_a_function_of_seed_and_iteration_whatever_was_drawn_before(name: str) -> None:
    fresh, used = DATA[name](), DATA[name]()
    for iteration in (0, 5, 2, 2):
        used.batch(2, 1, iteration)
    x = used.batch(2, seed=1, iteration=3)
    assert x.dtype == torch.float32
    assert x.shape == (2, *fresh.event_shape)
    assert torch.equal(x, fresh.batch(2, seed=1, iteration=3))


@pytest.mark.parametrize("name", [name for name in DATA if name != "stream"])
def test_seeds_and_iterations_give_different_batches(name: str) -> None:
    data = DATA[name]()
    batches = [data.batch(5, 0, 0), data.batch(5, 0, 1), data.batch(5, 1, 0)]
    assert not any(torch.equal(batches[i], batches[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("name", DATA)
def test_the_fingerprint_is_kept(name: str) -> None:
    assert DATA[name]().fingerprint == DATA[name]().fingerprint
    assert len(DATA[name]().fingerprint) == 64


def test_no_batch_touches_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    for make in DATA.values():
        make().batch(2, 0, 0)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 20])
def test_every_row_comes_once_an_epoch_however_batches_are_cut(n: int) -> None:
    data, epochs = tall(), 4
    count = -(-epochs * len(data) // n)
    seen = torch.cat([data.batch(n, 0, t) for t in range(count)])[: epochs * len(data), 0]
    for epoch in seen.reshape(epochs, len(data)):
        assert sorted(epoch.tolist()) == data.values[:, 0].tolist()


def test_the_order_of_rows_does_not_depend_on_the_batch_size() -> None:
    data = tall()
    assert torch.equal(
        torch.cat([data.batch(2, 0, t) for t in range(6)]), torch.cat([data.batch(3, 0, t) for t in range(4)])
    )


def test_epochs_differ_in_order() -> None:
    data = tall(50)
    assert not torch.equal(data.batch(50, 0, 0), data.batch(50, 0, 1))


def test_rows_and_chunks_read_the_stored_order() -> None:
    data = tall()
    stored = torch.arange(14.0).reshape(7, 2)
    assert torch.equal(data.rows([6, 0]), stored[[6, 0]])
    assert torch.equal(torch.cat(list(data.chunks(3))), stored)


def test_pixels_fill_the_interval_exactly() -> None:
    data = Rows(np.array([[0, 255]], dtype=np.uint8), half_range=127.5)
    assert data.rows([0]).tolist() == [[-1.0, 1.0]]


def test_the_fingerprint_sees_one_changed_value() -> None:
    values = torch.zeros(9, 2)
    changed = values.clone()
    changed[4, 1] = 1e-30
    assert Rows(values).fingerprint != Rows(changed).fingerprint


def test_labels_go_with_their_rows() -> None:
    """Sees labels in another order than the rows, at the end of an epoch too; and a fingerprint blind to them."""
    values = torch.arange(10.0)[:, None]
    rows = Rows(values, labels=[3 * i % 4 for i in range(10)])
    for iteration in range(8):
        x, y = rows.batch(4, 1, iteration), rows.batch_labels(4, 1, iteration)
        assert y.tolist() == [3 * int(i) % 4 for i in x]
    assert rows.classes == ("0", "1", "2", "3")
    assert len({data.fingerprint for data in (rows, Rows(values), Rows(values, labels=[0] * 10))}) == 3


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], "expected a label for each of 3 rows, got labels of shape \\(2,\\)"),
        ([0, 2, 1], "expected labels from 0 to 1 for 2 classes, or -1 where unknown; got 0 to 2"),
        ([0, -2, 1], "got -2 to 1"),
    ],
)
def test_labels_that_are_no_class_are_refused(labels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rows(torch.zeros(3, 2), labels=labels, classes=("cat", "dog"))


def test_rows_refuse_nan_with_count_and_first_index() -> None:
    values = torch.zeros(2000, 3, 2)
    values[1500, 2, 1], values[1999, 0, 0] = float("nan"), float("inf")
    with pytest.raises(ValueError, match=r"2 of 12,000 values are NaN or infinite, the first at \(1500, 2, 1\)"):
        Rows(values)


def test_values_are_checked_in_the_precision_they_are_used_in() -> None:
    with pytest.raises(ValueError, match=r"1 of 4 values is NaN or infinite in float32, the first at \(0, 0\)"):
        Rows(np.array([[1e39, 2.0], [3.0, 4.0]]))
    with pytest.raises(ValueError, match="item 1 holds NaN or infinity in float32"):
        Stream([torch.zeros(2, 3), torch.full((2, 3), 1e39, dtype=torch.float64)]).batch(2, 0, 1)


def test_rows_say_what_they_are() -> None:
    assert repr(tall()) == "<Rows: 7 rows from tall>"


@pytest.mark.parametrize("shape", [(0, 2), (5,)])
def test_rows_refuse_what_has_no_row_or_no_event(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected rows of shape \(n, \*event\)"):
        Rows(torch.zeros(shape))


@pytest.mark.parametrize(("n", "iteration"), [(0, 0), (1, -1)])
@pytest.mark.parametrize("name", ["moons", "rows", "stream"])
def test_an_empty_batch_or_a_negative_iteration_is_refused(name: str, n: int, iteration: int) -> None:
    with pytest.raises(ValueError, match="expected n >= 1 and iteration >= 0"):
        DATA[name]().batch(n, 0, iteration)


def test_a_stream_restarts_and_goes_back_and_skips_forward() -> None:
    stream = Stream(Shuffler())
    assert [stream.batch(2, 0, t)[0, 0].item() for t in (0, 1, 2, 3, 7, 1)] == [0, 1, 2, 0, 1, 1]


def test_a_stream_works_on_a_data_loader() -> None:
    loader = torch.utils.data.DataLoader(torch.arange(4.0)[:, None], batch_size=2)  # pyright: ignore[reportArgumentType]
    assert Stream(loader).batch(2, 0, 1)[:, 0].tolist() == [2.0, 3.0]


def test_a_generator_is_refused_as_it_cannot_be_started_again() -> None:
    with pytest.raises(ValueError, match="can be started again, got a generator"):
        Stream(torch.zeros(2, 3) for _ in range(3))


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "the iterable is empty"),
        ([(torch.zeros(2, 3), 0)], "expected item 0 to be a tensor .* got a tuple; .* without labels"),
        ([torch.zeros(2)], r"expected item 0 to be a tensor \(n, \*event\), got a tensor of shape \(2,\)"),
    ],
)
def test_a_stream_says_what_it_cannot_take(items: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Stream(items)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (torch.zeros(1, 3), r"item 1 of shape \(2, 3\), got \(1, 3\); use drop_last"),
        (
            torch.zeros(2, 4),
            r"item 1 of shape \(2, 3\), got \(2, 4\); make the batch size and the items agree",
        ),
        (torch.full((2, 3), float("nan")), "item 1 holds NaN"),
    ],
)
def test_a_stream_names_the_item_that_does_not_fit(item: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Stream([torch.zeros(2, 3), item]).batch(2, 0, 1)


@pytest.mark.parametrize("name", TOYS)
def test_toys_stay_within_their_square_and_differ(name: str) -> None:
    x = TOYS[name](4000, rng(0, name))
    assert x.shape == (4000, 2)
    assert x.dtype == torch.float32
    assert 0.9 < x.abs().max() < 5.5
    assert len(x.unique(dim=0)) == 4000


def test_the_checkerboard_leaves_its_light_squares_empty() -> None:
    x = TOYS["checkerboard"](4000, rng(0, "board"))
    column, row = (x / 2).floor().unbind(1)
    assert bool(((column + row).remainder(2) == 0).all())
    assert len(torch.stack([column, row], 1).unique(dim=0)) == 8


def test_the_circles_have_the_radii_they_say() -> None:
    r = TOYS["circles"](4000, rng(0, "circles")).norm(dim=1)
    assert torch.minimum((r - 1.5).abs(), (r - 3).abs()).max() < 0.5
    assert 0.45 < (r > 2.25).float().mean() < 0.55


def test_the_moons_are_mirror_images_through_the_centre() -> None:
    x = TOYS["moons"](40_000, rng(0, "moons"))
    assert x.mean(0).abs().max() < 0.05
    assert ((-x[:, 0] > 0) == (x[:, 1] > 0)).float().mean() > 0.6


def test_the_spiral_arms_are_where_the_formula_puts_them() -> None:
    x = TOYS["spirals"](4000, rng(0, "spirals"))
    r = x.norm(dim=1)
    wound = torch.remainder(torch.atan2(x[:, 1], x[:, 0]) - 3 * r, torch.pi)
    off = torch.minimum(wound, torch.pi - wound)[r > 1]
    assert off.mean() < 0.35


def test_the_pinwheel_turns_into_itself_by_a_fifth() -> None:
    x = TOYS["pinwheel"](40_000, rng(0, "pinwheel"))
    angle = torch.atan2(x[:, 1], x[:, 0])
    assert torch.stack([(k * angle).cos() for k in range(1, 5)]).mean(1).abs().max() < 0.02


def test_the_swiss_roll_is_one_arm() -> None:
    x = TOYS["swissroll"](4000, rng(0, "roll"))
    r, angle = x.norm(dim=1), torch.atan2(x[:, 1], x[:, 0])
    wound = torch.remainder(4 * r - angle + torch.pi, 2 * torch.pi) - torch.pi
    assert wound.square().mean().sqrt() < 0.7


def test_an_unknown_toy_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'moons'"):
        Toy("moon")


def test_load_finds_toys_and_tables(tmp_path: Path) -> None:
    np.save(tmp_path / "a b ü.npy", np.random.default_rng(0).normal(size=(5, 3)))
    assert load("rings").name == "rings"
    assert load(tmp_path / "a b ü.npy").event_shape == (3,)
    assert load(str(tmp_path / "a b ü.npy"), columns=["2"]).event_shape == (1,)


def test_a_path_is_not_taken_for_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "moons")):
        load("./moons")


@pytest.mark.parametrize(
    ("source", "message"),
    [("mnits", "did you mean 'mnist'.*moons.*cifar10.*npz.*webp"), ("zzz", "names: moons")],
)
def test_an_unknown_name_lists_the_known_ones(source: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(source)


@pytest.mark.parametrize("name", ["pictures/cats", "table.csv", "photos.zip", "run.xyz"])
def test_a_missing_path_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=str(tmp_path / name)):
        load(name)


def test_a_file_of_unknown_kind_lists_the_accepted(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_text("hello")
    with pytest.raises(ValueError, match=r"unknown kind of file; files accepted: .npy.*\.webp"):
        load(tmp_path / "a.docx")


def test_a_packed_file_says_how_to_unpack_it(tmp_path: Path) -> None:
    (tmp_path / "a b.json.gz").touch()
    with pytest.raises(ValueError, match=r"unknown kind of file; .*unpack it first: gunzip '.*a b\.json\.gz'"):
        load(tmp_path / "a b.json.gz")


def test_an_unknown_setting_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no setting 'sise'; did you mean 'size'"):
        load(tmp_path, sise=32)
    with pytest.raises(ValueError, match="it takes none"):
        load("moons", size=32)

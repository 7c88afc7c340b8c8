"""Laws of tables (standardise and back is the identity) and the faults of the files they are read from."""

import json
import pickle
import shlex
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from anila.data import Rows, Table, Units, table
from anila.data.selection import chosen_by
from anila.runs.experiment import Experiment, build_data
from anila.runs.experiment.overrides import resolve
from anila.runs.experiment.settings import Data

VALUES = np.random.default_rng(0).normal(size=(50, 3)) * [1e-3, 1.0, 1e5] + [0.0, 7.0, 1e9]
NAMES = ["a", "b", "c"]


def write(path: Path, values: np.ndarray = VALUES) -> Path:
    columns = {name: values[:, i] for i, name in enumerate(NAMES)}
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, **columns)  # pyright: ignore[reportArgumentType]
    elif path.suffix == ".csv":
        lines = [",".join(map(repr, map(float, row))) for row in values]
        path.write_text("\n".join([",".join(NAMES), *lines]) + "\n")
    else:
        pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def read(path: Path, **settings: Any) -> Table:
    data = table(path, **settings)
    assert isinstance(data, Table)
    return data


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet"])
def test_standardised_and_back_is_the_identity(tmp_path: Path, suffix: str) -> None:
    data = read(write(tmp_path / f"t{suffix}"))
    x = data.rows(range(50))
    assert x.mean(0).abs().max() < 1e-6
    assert (x.std(0, correction=0) - 1).abs().max() < 1e-6
    assert data.columns == (("0", "1", "2") if suffix == ".npy" else ("a", "b", "c"))
    np.testing.assert_allclose(data.inverse(x).numpy(), VALUES, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet"])
def test_columns_are_chosen_in_order(tmp_path: Path, suffix: str) -> None:
    wanted = ["2", "0"] if suffix == ".npy" else ["c", "a"]
    data = read(write(tmp_path / f"t{suffix}"), columns=wanted)
    np.testing.assert_allclose(data.inverse(data.rows([3]))[0], VALUES[3, [2, 0]], rtol=1e-6)


KINDS = {"text": ["b", "a", "c", "a"], "whole": [10, 9, 30, 9], "float": [10.0, 9.0, 30.0, 9.0]}


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_column_can_be_the_label(tmp_path: Path, suffix: str, kind: str) -> None:
    """Sees a label that is learned as a coordinate, classes sorted as text (10 before 9), and rows mixed up."""
    path, columns = tmp_path / f"t{suffix}", {"a": np.arange(4.0), "kind": np.array(KINDS[kind]), "b": np.arange(4.0)}
    if suffix == ".npz":
        np.savez(path, **columns)  # pyright: ignore[reportArgumentType]
    elif suffix == ".parquet":
        pyarrow.parquet.write_table(pa.table(columns), path)
    else:
        path.write_text("a,kind,b\n" + "".join(f"{i},{k},{i}\n" for i, k in enumerate(KINDS[kind])))
    data = table(path, label="kind")
    assert isinstance(data, Table)
    assert data.columns == ("a", "b")
    assert data.classes == (("a", "b", "c") if kind == "text" else ("9", "10", "30"))
    assert data.labels.tolist() == [1, 0, 2, 0]
    x, y = data.batch(9, 0, 1), data.batch_labels(9, 0, 1)
    assert y.tolist() == [[1, 0, 2, 0][round(a)] for a, _ in data.inverse(x).tolist()]
    others = table(path, columns=["b", "a"], label="kind"), table(path, columns=["a", "b"])
    assert isinstance(others[0], Table)
    assert others[0].columns == ("b", "a")
    assert others[1].classes == ()
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 3


def test_a_column_of_an_array_can_be_the_label(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.array([[0.0, 5, 1], [1, 4, 2], [2, 5, 4]]))
    data = table(tmp_path / "t.npy", label="1")
    assert data.classes == ("4", "5")
    assert data.labels.tolist() == [1, 0, 1]
    assert data.event_shape == (2,)


def test_images_in_an_npz_can_have_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=np.zeros((4, 3, 2, 2), np.uint8), y=np.array([1, 0, 1, 2]))
    data = table(tmp_path / "t.npz", label="y")
    assert data.event_shape == (3, 2, 2)
    assert data.labels.tolist() == [1, 0, 1, 2]


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (["a", None, "b"], "label 'kind': expected text or whole numbers, got a missing value in row 1"),
        ([1.0, 2.0, 2.5], "got 2.5 in row 2; choose a column of classes"),
        ([0.0, np.nan, 1.0], "got a missing value in row 1"),
    ],
)
def test_what_is_no_class_is_refused(tmp_path: Path, kinds: list[object], message: str) -> None:
    pyarrow.parquet.write_table(pa.table({"a": [1.0, 2.0, 3.0], "kind": kinds}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=message):
        table(tmp_path / "t.parquet", label="kind")


def test_a_label_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv")
    with pytest.raises(ValueError, match="no column 'd'.*it has a, b, c"):
        table(path, label="d")
    with pytest.raises(ValueError, match=r"'a' is the label and cannot also be a column; use 'data.columns=\[b\]'"):
        table(path, columns=["a", "b"], label="a")
    np.save(tmp_path / "images.npy", np.zeros((4, 3, 2, 2), np.uint8))
    with pytest.raises(ValueError, match=r"no label 'y' beside its one array \(4, 3, 2, 2\); save both in one .npz"):
        table(tmp_path / "images.npy", label="y")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet"])
def test_missing_cells_are_kept_and_counted_by_column(tmp_path: Path, suffix: str) -> None:
    """Sees a row that goes, a cell that becomes 0, and a mean or scale that missing cells move."""
    values = VALUES.copy()
    values[4, 1] = values[9, 1] = values[30, 2] = np.nan
    data = read(write(tmp_path / f"t{suffix}", values))
    names = ("1", "2") if suffix == ".npy" else ("b", "c")
    assert data.missing == {names[0]: 2, names[1]: 1}
    assert f"missing cells, drawn given the rest of their row: {names[0]} (2), {names[1]} (1)" in data.description
    assert (np.isnan(data.values) == np.isnan(values)).all()
    np.testing.assert_allclose(data.inverse(torch.from_numpy(data.values)), values, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(np.nanstd(data.values, 0), 1, rtol=1e-6)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet"])
def test_infinite_values_are_refused_by_column(tmp_path: Path, suffix: str) -> None:
    values = VALUES.copy()
    values[4, 1] = values[9, 1] = -np.inf
    name = "1" if suffix == ".npy" else "b"
    with pytest.raises(ValueError, match=rf"2 infinite values in {name}, the first in row 4; .*data.missing=\[\"-inf"):
        table(write(tmp_path / f"t{suffix}", values))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet"])
def test_constant_columns_have_no_coordinate_and_come_back(tmp_path: Path, suffix: str) -> None:
    values = VALUES.copy()
    values[:, 1] = 0.1
    data = read(write(tmp_path / f"t{suffix}", values))
    name = data.columns[1]
    assert data.event_shape == (2,)
    assert f"{name} = 0.1" in data.description
    assert data.encoding.decode(data.rows([0, 1])).column(name).to_pylist() == [0.1, 0.1]
    with pytest.raises(ValueError, match=r"no column varies, and constant columns have no density \(b = 0.1\)"):
        Table(values[:, 1:2], ["b"])


def test_an_empty_cell_is_missing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n1,2\n3,\n5,6\n")
    assert read(tmp_path / "t.csv").missing == {"y": 1}


def test_columns_that_cannot_be_learned_are_named_with_the_reason(tmp_path: Path) -> None:
    """Sees a column that goes unsaid, and one that was asked for and is not there."""
    rows = "".join(f"{i},person {i},,{i * i}\n" for i in range(9))
    (tmp_path / "t.csv").write_text(f"x,name,none,y\n{rows}")
    left_out = "left out name .9 different texts in 9 rows: too many for categories., none .it is empty."
    with pytest.warns(UserWarning, match=f"t.csv: {left_out}"):
        data = read(tmp_path / "t.csv")
    assert data.columns == ("x", "y")
    assert data.description.endswith("; left out name, none")
    with pytest.raises(ValueError, match=r"cannot be learned: name .*; use 'data.columns=\[x\]'"):
        table(tmp_path / "t.csv", columns=["x", "name"])
    assert read(tmp_path / "t.csv", columns=["x", "y"]).columns == ("x", "y")


def test_a_csv_without_names_loses_no_row(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("1,2\n3,5\n4,6\n")
    data = read(tmp_path / "t.csv")
    assert len(data) == 3
    assert data.columns == ("0", "1")


def test_an_unknown_column_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("height,width\n1,2\n3,5\n")
    with pytest.raises(ValueError, match=r"no column 'hight'; did you mean 'height'.* it has height, width"):
        table(tmp_path / "t.csv", columns=["hight"])


def test_columns_of_the_same_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,x\n1,2\n3,5\n")
    with pytest.raises(ValueError, match="columns of the same name: x"):
        table(tmp_path / "t.csv")


@pytest.mark.parametrize("content", [np.array([{"a": 1}], dtype=object), "raw pickle"])
def test_a_pickled_npy_is_refused_and_not_run(tmp_path: Path, content: object) -> None:
    path = tmp_path / "t.npy"
    if isinstance(content, np.ndarray):
        np.save(path, content, allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match="pickled Python objects, which could run code"):
        table(path)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".parquet"])
@pytest.mark.parametrize("keep", [0, 0.6])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, suffix: str, keep: float) -> None:
    path = write(tmp_path / f"t{suffix}")
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(ValueError, match=f"t{suffix}"):
        table(path)


@pytest.mark.parametrize("text", ["", "x,y\n", "x,y\n1\n2,3,4\n"])
def test_a_csv_without_rows_or_with_ragged_ones_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match=r"t\.csv"):
        table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5), r"got t \(5,\); reshape"),
        (np.zeros((5, 8, 8)), r"got t \(5, 8, 8\); reshape"),
        (np.zeros((5, 8, 8, 3)), "channels last; save array.transpose"),
        (np.array([["a", "b"]] * 9), "no column varies"),
        (np.ones((4, 2), dtype=complex), "not numbers"),
        (np.ones((1, 2)), "at least 2 rows, got 1"),
        (np.zeros((0, 3, 8, 8)), "n >= 1"),
    ],
)
def test_arrays_of_other_shapes_and_types_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "t.npy", array)
    with pytest.raises(ValueError, match=message):
        table(tmp_path / "t.npy")


def test_an_npz_of_unlike_arrays_lists_them_and_lets_one_be_chosen(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", train=np.zeros((4, 3, 2, 2), np.uint8), labels=np.zeros(4))
    with pytest.raises(ValueError, match=r"got train \(4, 3, 2, 2\), labels \(4,\).*use 'data.columns=\[train\]'"):
        table(tmp_path / "t.npz")
    assert table(tmp_path / "t.npz", columns=["train"]).event_shape == (3, 2, 2)


def test_uint8_images_are_mapped_to_the_interval(tmp_path: Path) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8)
    np.save(tmp_path / "t.npy", pixels)
    data = table(tmp_path / "t.npy")
    assert isinstance(data.values, np.memmap)
    assert torch.equal(data.rows(range(4)), torch.from_numpy(pixels) / 127.5 - 1)


@pytest.mark.parametrize(
    ("high", "low", "done"),
    [(255.0, 0.0, "u / 127.5 - 1"), (1.0, 0.0, "u / 0.5 - 1"), (9.0, -3.0, "left as they are")],
)
def test_float_images_of_another_range_are_told(tmp_path: Path, high: float, low: float, done: str) -> None:
    values = np.linspace(low, high, 64).reshape(4, 1, 4, 4)
    np.save(tmp_path / "t.npy", values)
    with pytest.warns(UserWarning, match=f"got {low:g} to {high:g}; .*{done}"):
        x = table(tmp_path / "t.npy").rows(range(4))
    expected = (low, high) if "left" in done else (-1.0, 1.0)
    assert (float(x.min()), float(x.max())) == expected


def test_float_images_in_the_interval_stay_as_they_are(tmp_path: Path) -> None:
    values = np.linspace(-1, 1, 64, dtype=np.float32).reshape(4, 1, 4, 4)
    np.save(tmp_path / "t.npy", values)
    data = table(tmp_path / "t.npy")
    assert isinstance(data, Rows)
    assert torch.equal(data.rows(range(4)), torch.from_numpy(values))


def test_nan_in_an_image_array_is_refused_with_its_index(tmp_path: Path) -> None:
    values = np.zeros((4, 1, 4, 4), dtype=np.float32)
    values[2, 0, 3, 1] = np.nan
    np.save(tmp_path / "t.npy", values)
    with pytest.raises(ValueError, match=r"1 of 64 values is NaN or infinite, the first at \(2, 0, 3, 1\)"):
        table(tmp_path / "t.npy")


def test_the_fingerprint_follows_content_and_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv")
    first = table(path).fingerprint
    assert table(path).fingerprint == first
    assert table(path, columns=["a", "b"]).fingerprint != first
    assert table(write(path, VALUES * 2)).fingerprint != first


def test_a_missing_table_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "none.csv")):
        table("none.csv")


# Files as other programs write them


def text(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(content.encode(encoding))
    return path


NUMBERS = "1.5,20.25\n-3.5,5\n0.5,-6\n"


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("2019,2020", ("2019", "2020")),
        ("0,1", ("0", "1")),
        ("id,2020", ("id", "2020")),
        ("a,b", ("a", "b")),
    ],
)
def test_names_that_look_like_numbers_are_names(tmp_path: Path, header: str, columns: tuple[str, ...]) -> None:
    """Sees a line of years, or of pandas' 0, 1, ..., that becomes a row."""
    data = read(text(tmp_path / "t.csv", f"{header}\n{NUMBERS.replace('5,-', '5,0.').replace(',5', ',5.5')}"))
    assert (len(data), data.columns) == (3, columns)


def test_wavelengths_are_names(tmp_path: Path) -> None:
    data = read(text(tmp_path / "t.csv", "400.5,401,401.5,402\n0.1,0.4,0.2,0.9\n0.3,0.1,0.8,0.2\n"))
    assert (len(data), data.columns[0]) == (2, "400.5")


@pytest.mark.parametrize(
    "rows", ["1,2\n3,5\n4,6\n", "5.1,3.5\n4.9,3.0\n", "0,1,2\n3,4,5\n6,7,9\n", "1990,2001\n1980,2000\n"]
)
def test_a_row_that_could_be_names_stays_a_row(tmp_path: Path, rows: str) -> None:
    assert len(read(text(tmp_path / "t.csv", rows))) == rows.count("\n")


def test_a_first_line_that_may_be_either_is_said(tmp_path: Path) -> None:
    with pytest.warns(
        UserWarning, match=r"t.csv: the first line \(7, 3\) is read as a row of numbers; if it holds names"
    ):
        assert len(read(text(tmp_path / "t.csv", "7,3\n0.5,0.25\n1.5,-2.5\n"))) == 3


def test_a_text_label_without_names_keeps_its_rows(tmp_path: Path) -> None:
    data = table(text(tmp_path / "t.csv", "5.1,3.5,setosa\n4.9,3.0,virginica\n"), label="2")
    assert (len(data), data.classes) == (2, ("setosa", "virginica"))


@pytest.mark.parametrize("separator", [";", "\t", "|"])
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_other_separators_and_decimals_give_the_same_rows(
    tmp_path: Path, separator: str, decimal: str, start: str
) -> None:
    expected = read(text(tmp_path / "a.csv", f"a,b\n{NUMBERS}"))
    lines = f"a,b\n{NUMBERS}".replace(",", separator).replace(".", decimal)
    for name in ("b.csv", "b.tsv"):
        data = read(text(tmp_path / name, start + lines))
        assert torch.equal(data.rows(range(3)), expected.rows(range(3)))
        assert data.columns == ("a", "b")
        assert f"separator {separator!r}" in data.description


def test_a_semicolon_inside_a_comma_separated_file_stays(tmp_path: Path) -> None:
    data = read(text(tmp_path / "t.csv", "height; cm,b\n1,2\n3,5\n"))
    assert data.columns == ("height; cm", "b")


def test_utf_16_gives_the_same_rows(tmp_path: Path) -> None:
    data = read(text(tmp_path / "t.csv", "größe,b\n1,2\n3,5\n", "utf-16"))
    assert (data.columns, data.rows([0]).tolist()) == (("größe", "b"), [[-1.0, -1.0]])
    assert "(UTF-16)" in data.description


def test_latin_1_is_read_with_a_warning(tmp_path: Path) -> None:
    for rows in ("größe,b\n1,2\n3,5\n", "a,kind\n" + "1,o\n3,o\n" * 99 + "2,größe\n4,größe\n"):
        with pytest.warns(UserWarning, match=r"t.csv: line (1|200) is not UTF-8, read as Windows-1252; .*iconv"):
            data = read(text(tmp_path / "t.csv", rows, "latin-1"))
        assert any("größe" in name for name in data.encoding.coordinates)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n\x81,2\n3,5\n", r"t\.csv is not UTF-8 text \(line 2\); convert it: iconv"),
        (b"a,b\n", "expected at least 2 rows, got none below the names a, b"),
    ],
)
def test_text_that_cannot_be_read_rightly_says_why(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        table(tmp_path / "t.csv")


@pytest.mark.parametrize("kind", ["to_csv", "saved twice", "filtered", "named", "to_parquet"])
def test_the_index_of_pandas_is_no_coordinate(tmp_path: Path, kind: str) -> None:
    rows = [[i * (2 if kind == "filtered" else 1), a, b] for i, (a, b) in enumerate(VALUES[:, :2])]
    if kind in ("named", "to_parquet"):
        name = "day" if kind == "named" else "__index_level_0__"
        pandas = json.dumps({"index_columns": [name]}).encode()
        found = pa.table({"a": VALUES[:, 0], "b": VALUES[:, 1], name: np.arange(50)})
        path = tmp_path / "t.parquet"
        pyarrow.parquet.write_table(found.replace_schema_metadata({b"pandas": pandas}), path)
    else:
        name = "Unnamed: 0" if kind == "saved twice" else ""
        path = text(tmp_path / "t.csv", "\n".join([f"{name},a,b", *(",".join(map(str, row)) for row in rows)]))
    with pytest.warns(UserWarning, match="left out .*, the index of pandas; .*data.columns=.* keeps it"):
        data = read(path)
    assert data.columns == ("a", "b")
    assert "the index of pandas" in data.description
    assert read(path, columns=[name, "a"]).columns == (name, "a")


@pytest.mark.parametrize(
    "columns", [["a", "b"], ["0", "2"], ["x y", "größe"], ["it's", 'a"b', "c,d"], ["true"], ["", "a"]]
)
def test_columns_as_printed_work_as_typed(columns: list[str]) -> None:
    assert resolve(Experiment(), shlex.split(chosen_by(columns))).data.columns == tuple(columns)


# One precision


@pytest.mark.parametrize("mark", [-1.7976931348623157e308, 1e200, -3.4028235e38, np.inf])
@pytest.mark.parametrize("often", [1, 20, 35])
def test_a_mark_of_missing_values_does_not_hide_the_column(tmp_path: Path, mark: float, often: int) -> None:
    """Sees a scale of infinity, and rows that float32 cannot tell apart; what the refusal says to type is typed."""
    values = VALUES[:, :2].copy()
    values[7 : 7 + often, 0] = mark
    np.save(tmp_path / "t.npy", values)
    with pytest.raises(ValueError, match=r"\b0\b.*mark.* missing cells, .*data.columns=\[\"1\"\]") as refused:
        table(tmp_path / "t.npy")
    typed = shlex.split(str(refused.value).split("type ")[1].split(";")[0])
    data = build_data(resolve(Experiment(data=Data(str(tmp_path / "t.npy"))), typed).data)
    assert isinstance(data, Table)
    assert data.missing == {"0": often}
    assert np.nanmax(np.abs(data.values)) < 10


def test_a_column_whose_squares_vanish_is_scaled_as_any() -> None:
    data = Table(VALUES[:, :2] * [1e-200, 1], ["a", "b"])
    assert torch.isclose(data.rows(range(50)), Table(VALUES[:, :2], ["a", "b"]).rows(range(50))).all()


def test_rare_values_are_no_marks() -> None:
    values = np.zeros((100, 1))
    values[3] = 1e30
    assert torch.isfinite(Table(values, ["a"]).rows(range(100))).all()


def test_whole_numbers_beyond_float64_are_not_called_constant(tmp_path: Path) -> None:
    rows = "".join(f"{123456789012345678901234567890 + i},{i * i}\n" for i in range(9))
    with pytest.warns(UserWarning, match=r"left out a \(whole numbers beyond 2\*\*53"):
        assert read(text(tmp_path / "t.csv", f"a,b\n{rows}")).columns == ("b",)


@pytest.mark.parametrize("cell", [1e300, -1.7976931348623157e308, np.inf, -np.inf])
def test_rows_too_far_out_are_as_far_as_float32_bears(cell: float) -> None:
    """Sees NaN, and a square that is infinite."""
    x = Units(("height",), (170.0,), (1e-3,)).inward(np.array([[170.0], [cell], [np.nan]]))
    assert x[:2, 0].tolist() == [0.0, pytest.approx(np.sign(cell) * 1e18)]
    assert torch.isfinite(x[:2].square()).all()
    assert x[2].isnan()


# Arrays


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>404</html>", r"t\.npy is not a complete .npy file: it begins with b'<html>40'"),
        (b"PK\x03\x04" + bytes(40), r"t\.npy is not a complete .npy file: it begins with b'PK"),
        (b"\x93NUMPY\x01\x00\x76\x00" + b"(" * 118, r"t\.npy is not a complete .npy file: "),
        (
            b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': 3, 'fortran_order': 1, 'shape': -1}".ljust(118),
            r"t\.npy is not a complete",
        ),
    ],
)
def test_a_broken_npy_is_refused_for_what_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.npy").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        table(tmp_path / "t.npy")


def test_an_array_that_cannot_be_unpacked_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", good=np.arange(4.0), bad=np.arange(4.0))
    raw = bytearray((tmp_path / "t.npz").read_bytes())
    last = raw.rindex(b"PK\x01\x02")
    raw[last + 10] = 99
    (tmp_path / "t.npz").write_bytes(raw)
    with pytest.raises(ValueError, match=r"t\.npz is not a complete .npz file: its array 'bad' cannot be read"):
        table(tmp_path / "t.npz")


@pytest.mark.parametrize("member", [b"", b"hello"])
def test_a_member_of_an_npz_that_is_no_array_is_refused(tmp_path: Path, member: bytes) -> None:
    """Sees the bytes that NumPy returns for it taken for an array: 'bytes' object has no attribute 'ndim'."""
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        archive.writestr("x.npy", member)
    with pytest.raises(ValueError, match=r"t\.npz is not a complete \.npz file: its array 'x' cannot be read"):
        table(tmp_path / "t.npz")


def test_a_structured_array_says_how_to_save_it(tmp_path: Path) -> None:
    x = np.array([(1, 2), (3, 5)], dtype=[("a", "f4"), ("b", "f4")])
    np.save(tmp_path / "t.npy", x)
    with pytest.raises(ValueError, match=r"holds a structured array of fields a, b"):
        table(tmp_path / "t.npy")
    np.save(tmp_path / "t.npy", np.stack([x[name] for name in ("a", "b")], 1))
    assert len(table(tmp_path / "t.npy")) == 2


@pytest.mark.parametrize("keep", [9, 200, 500])
def test_a_cut_or_changed_parquet_is_refused_by_name(tmp_path: Path, keep: int) -> None:
    path = write(tmp_path / "t.parquet")
    raw = bytearray(path.read_bytes())
    raw[keep : keep + 40] = b"\xff" * 40
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"t\.parquet"):
        table(path)


def test_hostile_names_of_columns_are_escaped(tmp_path: Path) -> None:
    name = "\x1b[2J"
    path = text(tmp_path / f"{name}.csv", f"{name},b,c\n1,1,1\n1,2,inf\n")
    with pytest.raises(ValueError) as refused:
        table(path)
    assert str(refused.value).isprintable()
    assert read(path, columns=[name, "b"]).description.isprintable()
    assert read(path, columns=["b"]).name.isprintable()

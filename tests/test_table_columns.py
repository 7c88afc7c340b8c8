"""Columns that people have: rows go to points and back, and every fault of a cell, a column or a file is handled."""

import gzip
import json
import shlex
import warnings
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from pydantic import TypeAdapter

from anila.data import Encoding, Rows, Table, load, table
from anila.data.column import Column
from anila.data.delimited import MARKS
from anila.data.dependent import independent, law
from anila.data.table_files import suffix_of
from anila.runs.experiment.saved import current
from tiny import anila

N = 60
G = np.random.default_rng(0)
CITY = G.choice(["Oslo", "Köln", "Rome"], N, p=[0.5, 0.3, 0.2]).tolist()
AGE = G.integers(18, 80, N).tolist()
PRICE = [round(float(v), 2) for v in G.gamma(2, 30, N)]
DAYS = [date(2020, 1, 1 + int(v)) for v in G.integers(0, 28, N)]
KINDS = {
    "number": pa.array(G.standard_normal(N)),
    "decimals": pa.array(PRICE),
    "decimal": pa.array([Decimal(f"{v:.2f}") for v in PRICE]),
    "integer": pa.array(AGE),
    "boolean": pa.array((G.random(N) < 0.3).tolist()),
    "date": pa.array(DAYS),
    "moment": pa.array([datetime(d.year, d.month, d.day, a % 24) for d, a in zip(DAYS, AGE, strict=True)]),
    "text": pa.array(CITY),
    "category": pa.array(CITY).dictionary_encode(),
    "codes": pa.array([a % 4 for a in AGE]).dictionary_encode(),
}


def read(path: Path, **settings: Any) -> Table:
    data = load(path, **settings)
    assert isinstance(data, Table)
    return data


def write(path: Path, rows: pa.Table) -> Path:
    pyarrow.parquet.write_table(rows, path)
    return path


def with_holes(cells: pa.Array, first: int = 2) -> pa.Array:
    return pa.array([None if i % 5 == first else v for i, v in enumerate(cells.to_pylist())], cells.type)


# There and back


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_goes_to_points_and_back(kind: str) -> None:
    """Sees another type, a lost decimal, a shifted day, categories mixed up, and a missing cell that is a number."""
    rows = pa.table({kind: with_holes(KINDS[kind])})
    encoding = Encoding.of(rows)
    x = encoding.encode(rows)
    assert np.nansum(np.nanvar(x, 0)) == pytest.approx(1)
    assert np.isnan(x).any(1).tolist() == [i % 5 == 2 for i in range(N)]
    back, expected = encoding.decode(x).column(0).to_pylist(), rows.column(0).to_pylist()
    if kind in ("number", "decimal"):
        expected = [None if v is None else pytest.approx(float(v), rel=1e-12) for v in expected]
    assert back == expected
    assert (
        encoding.decode(x + 0.1 * np.sqrt(encoding.scale.size) / 99).column(0).type == encoding.decode(x).column(0).type
    )
    assert encoding.decode(torch.from_numpy(x).float()).column(0).null_count == x.shape[0] // 5


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("number", "decimal")])
def test_points_become_values_that_can_be(kind: str) -> None:
    """Sees 2.7 children, the 30th of a month that ends before, and −1 of what is counted."""
    rows = pa.table({kind: KINDS[kind]})
    encoding = Encoding.of(rows)
    drawn = encoding.decode(3 * np.random.default_rng(1).standard_normal((200, len(encoding.coordinates))))
    found, seen = drawn.column(0).to_pylist(), rows.column(0).to_pylist()
    assert min(found) >= min(seen)
    assert max(found) <= max(seen)
    assert kind == "decimals" or set(found) <= set(seen) | set(range(18, 80)) | {
        date(2020, 1, d) for d in range(1, 29)
    } | {datetime(2020, 1, d, h) for d in range(1, 29) for h in range(24)}
    assert all(type(a) is type(seen[0]) for a in found)
    assert kind != "decimals" or all(round(v, 2) == v for v in found)


def test_a_frequent_value_comes_back_as_it_was() -> None:
    """Float32 makes 3e-8 of 0."""
    cells = np.where(np.arange(400) % 3, np.random.default_rng(0).normal(7, 1, 400), 0.0)
    rows = pa.table({"income": cells})
    encoding = Encoding.of(rows)
    back = encoding.decode(torch.from_numpy(encoding.encode(rows)).float()).column(0).to_numpy()
    assert ((back == 0) == (cells == 0)).all()
    assert len(np.unique(back)) == len(np.unique(cells))


def test_what_lies_below_a_bound_that_many_cells_hold_is_reflected() -> None:
    """Sees rain of −3 mm, noise below 0 that becomes more zeros, and prices that pile up at the least one seen."""
    rain = np.maximum(0, np.random.default_rng(0).normal(0, 10, 400))
    for cells in (rain, rain.round(1)):
        encoding = Encoding.of(pa.table({"rain": cells, "other": -rain}))
        back = encoding.decode(encoding.encode(pa.table({"rain": [-3.0, 3.0, 0.0], "other": [3.0, -3.0, 0.0]})))
        assert back.column(0).to_pylist() == pytest.approx([3, 3, 0], abs=0.2)
        assert back.column(1).to_pylist() == pytest.approx([-3, -3, 0], abs=0.2)
    prices = Encoding.of(pa.table({"price": [1.25, 9.5, 120.75], "count": [1, 2, 5]}))
    back = prices.decode(prices.encode(pa.table({"price": [-1.0, 0.25, 1e6], "count": [0.6, 0.4, -9.0]})))
    assert back.to_pydict() == {"price": [3.49, 2.24, 1.25], "count": [1, 1, 1]}


def test_a_column_of_few_values_has_no_others() -> None:
    """Of any numbers, one of them in a single row. Sees 0.3 where all but one have −0.0614."""
    cells = np.array([-0.0614006445] * 99 + [13.0746292])
    encoding = Encoding.of(pa.table({"v": cells}))
    back = encoding.decode(encoding.encode(pa.table({"v": [-1.0, 0.3, 6.0, 9.0, 99.0]}))).column(0).to_pylist()
    assert back == [*cells[:3], *cells[-1:], *cells[-1:]]
    few = Encoding.of(pa.table({"v": cells[-3:] + np.array([0.1234567, 0.2345678, 0.3])}))
    assert few.decode(np.array([[0.5]])).column(0)[0].as_py() not in cells


def test_a_total_is_the_sum_of_what_was_drawn() -> None:
    """Beyond the totals that were seen too."""
    rows = pa.table({"a": [0, 1, 2, 9] * 5, "b": [8, 1, 3, 0] * 5, "both": [8, 2, 5, 9] * 5})
    encoding = independent(Encoding.of(rows), rows)
    whole = [column for column in encoding.columns if not column.mean]
    x = encoding.encode(rows)
    drawn = encoding.decode(np.stack([x.max(0), x.min(0)])).to_pydict()
    assert len(whole) == 1
    assert drawn["both"] == [a + b for a, b in zip(drawn["a"], drawn["b"], strict=True)]


def test_the_encoding_is_kept_as_json() -> None:
    rows = pa.table(KINDS)
    encoding = independent(Encoding.of(rows), rows)
    again = TypeAdapter(Encoding).validate_python(json.loads(json.dumps(encoding, allow_nan=False)))
    assert again == encoding
    assert (again.encode(rows) == encoding.encode(rows)).all()


def test_columns_that_were_saved_with_fewer_fields_are_read() -> None:
    """JSON keeps fields by their place, so a new one comes last. Sees one that takes the place of `terms`."""
    saved = ["total", "integer", [], 39.9, [], 1.0, 6.0, 171.0, [["a", 1.0], ["b", 1.0]], 0.5]
    column = TypeAdapter(Column).validate_python(saved)
    assert (column.terms, column.constant, column.frequent) == ((("a", 1.0), ("b", 1.0)), 0.5, ())


def test_categories_are_equally_far_from_each_other_and_from_one_never_seen() -> None:
    rows = pa.table({"city": ["Oslo", "Rome", "Köln", "Oslo"]})
    x = Encoding.of(rows).encode(pa.table({"city": ["Oslo", "Rome", "Köln", "Atlantis"]}))
    far = np.linalg.norm(x[:, None] - x[None], axis=2)[np.triu_indices(4, 1)]
    assert far == pytest.approx(np.full(6, far[0]))
    assert far[0] >= np.sqrt(2)


def test_a_category_is_found_whatever_its_file_made_of_it() -> None:
    """Codes that are text in one file are whole numbers in another."""
    encoding = Encoding.of(pa.table({"code": ["1", "2", "A", "1"]}))
    assert (encoding.encode(pa.table({"code": [2, 1]})) == encoding.encode(pa.table({"code": ["2", "1"]}))).all()


def test_another_kind_is_refused_and_absent_columns_are_named() -> None:
    encoding = Encoding.of(pa.table({"age": AGE, "day": DAYS}))
    with pytest.raises(ValueError, match="column 'age': expected numbers as in training, got text such as 'old'"):
        encoding.encode(pa.table({"age": ["old"], "day": DAYS[:1]}))
    with pytest.raises(ValueError, match="column 'day': expected dates as in training, got int64"):
        encoding.encode(pa.table({"age": [1], "day": [2]}))
    with pytest.raises(
        ValueError,
        match="the table has no column 'day'; the model's are age, day; the table's are age, days; did you mean 'days'",
    ):
        encoding.encode(pa.table({"age": [1], "days": [2]}))
    with pytest.raises(ValueError, match="no column 'day'; .*; add it, with empty cells where they are unknown"):
        encoding.encode(pa.table({"age": [1]}))
    smokes = Encoding.of(pa.table({"smokes": [True, False]}))
    with pytest.raises(ValueError, match="column 'smokes': expected true or false as in training, got text such as"):
        smokes.encode(pa.table({"smokes": ["yes"]}))
    x = encoding.encode(pa.table({"age": [30]}), absent=True)
    assert np.isnan(x).tolist() == [[False, True]]


# Cells


@pytest.mark.parametrize("cell", [1e300, -1.7976931348623157e308, np.inf, -np.inf])
def test_extreme_cells_are_far_out_on_their_side(cell: float) -> None:
    """In float32 too; sees NaN, 0, and a square that overflows."""
    encoding = Encoding.of(pa.table({"v": G.standard_normal(N), "n": AGE}))
    x = encoding.encode(pa.table({"v": [cell, 0.0], "n": [30, 40]}))
    assert np.sign(x[0, 0]) == np.sign(cell)
    assert abs(x[0, 0]) > 1e17
    assert np.isfinite(np.square(x.astype(np.float32))).all()
    usual = Encoding.of(pa.table({"v": [*G.standard_normal(N), cell]}), robust=True)
    assert usual.scale[0] == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("mark", [*MARKS, "", "NA", "nan", "null", "#N/A"])
def test_marks_of_missing_cells_among_numbers_are_missing(tmp_path: Path, mark: str) -> None:
    rows = "".join(f"{mark if i == 7 else i},{i * i}\n" for i in range(20))
    (tmp_path / "t.csv").write_text(f"a,b\n{rows}")
    data = read(tmp_path / "t.csv")
    assert data.missing == {"a": 1}
    assert np.isnan(data.values[7, 0])


def test_marks_of_ones_own_are_missing_among_numbers_and_texts(tmp_path: Path) -> None:
    """Sees −999 that is a number, and a text that stands in its column's way."""
    rows = "".join(
        f"{-999 if i == 7 else i},{'gone' if i == 3 else i * i},{['x', 'y', 'gone'][i % 3]}\n" for i in range(21)
    )
    (tmp_path / "t.csv").write_text(f"a,b,c\n{rows}")
    assert read(tmp_path / "t.csv", missing=[-999, "gone"]).missing == {"a": 1, "b": 1, "c": 7}
    with pytest.warns(
        UserWarning, match="b .numbers, except for 'gone': correct these, or type 'data.missing="
    ) as said:
        left_out = read(tmp_path / "t.csv")
    assert left_out.columns == ("a", "c")
    assert shlex.split(str(said[0].message).split("or type ")[1].rstrip(")"))[0] == 'data.missing=["gone"]'


def suspects(path: Path, **settings: Any) -> list[str]:
    """What is warned of when a table is read."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        table(path, **settings)
    return [str(warning.message) for warning in said]


@pytest.mark.parametrize(
    ("mark", "column"), [(-999, "a"), (9999, "b"), (-1, "a"), (99.9, "b"), ("?", "c"), ("N/A", "c")]
)
def test_marks_that_are_taken_as_cells_are_said_with_what_to_type(tmp_path: Path, mark: Any, column: str) -> None:
    """Sees a mark that becomes an ordinary value in silence, and a remedy that does not work."""
    g = np.random.default_rng(1)
    rows: dict[str, list[Any]] = {
        "a": g.integers(18, 80, 60).tolist(),
        "b": g.normal(15, 8, 60).round(1).tolist(),
        "c": ["x", "y"] * 30,
    }
    rows[column][5] = rows[column][17] = mark
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n" + "".join(f"{a},{b},{c}\n" for a, b, c in zip(*rows.values(), strict=True)))
    (said,) = suspects(path)
    assert f"{mark!r} in {column} (2 cells)" in said
    typed = json.loads(shlex.split(said.split("type ")[1])[0].removeprefix("data.missing="))
    assert suspects(path, missing=typed) == []
    assert read(path, missing=typed).missing == {column: 2}


def test_values_as_any_are_no_marks(tmp_path: Path) -> None:
    """Sees warnings of −1 among negative numbers, of 99 among ages, of a sign, and of a single far cell."""
    rows = "".join(f"{i % 9 - 4},{20 + 7 * i % 80},{(-1) ** i},{999 if i == 3 else i % 7}\n" for i in range(200))
    (tmp_path / "t.csv").write_text(f"change,age,sign,once\n{rows}")
    assert suspects(tmp_path / "t.csv") == []


def test_a_mark_that_other_columns_hold_too_says_so(tmp_path: Path) -> None:
    """What is typed holds for all columns: sees temperatures of −1 lost without a word."""
    rows = "".join(f"{-1 if i % 20 == 3 else 20 + i % 50},{i % 9 - 4}\n" for i in range(100))
    (tmp_path / "t.csv").write_text(f"age,celsius\n{rows}")
    assert "-1 in age (5 cells; also in celsius, where it may be one)" in suspects(tmp_path / "t.csv")[0]


@pytest.mark.parametrize("order", [1, -1, 37])
@pytest.mark.parametrize("first", ["1", "10000", "0.0"])
def test_a_column_that_counts_the_rows_is_said(tmp_path: Path, order: int, first: str) -> None:
    """Sees an index of another name that is learned in silence; also in another order. Who asks for it has it."""
    start = float(first) if "." in first else int(first)
    rows = "".join(f"{start + order * i % 100},{i * i % 17}\n" for i in range(100))
    (tmp_path / "t.csv").write_text(f"number,b\n{rows}")
    assert suspects(tmp_path / "t.csv") == [
        "t.csv: number only numbers the rows, and is learned like any number; 'data.columns=[b]' leaves it out"
    ]
    assert suspects(tmp_path / "t.csv", columns=["number", "b"]) == suspects(tmp_path / "t.csv", columns=["b"]) == []


def cells(write: str) -> str:
    """Rows of a column of numbers that are written so, beside one that varies."""
    return "a,b\n" + "".join(f'"{write.format(i + 0.5, i)}",{i * i}\n' for i in range(1000, 1120))


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        ("{1},5", "numbers with different signs or units, or of unclear digits, such as '1000,5'"),
        ("{1}/12/31", "dates such as '1000/12/31': write them as 2020-12-31"),
        ("03/04/{1}", "dates such as '03/04/1000', whose day and month cannot be told apart: write them as 2020"),
        ("u{1}", "120 different texts in 120 rows: too many for categories"),
    ],
)
def test_a_column_of_odd_numbers_is_left_out_for_the_right_reason(tmp_path: Path, write: str, reason: str) -> None:
    """Sees them called too many categories, which nobody can act on."""
    (tmp_path / "t.csv").write_text(cells(write))
    with pytest.warns(UserWarning, match=f"t.csv: left out a .{reason}"):
        assert read(tmp_path / "t.csv").columns == ("b",)


def test_numbers_stored_as_text_are_called_so(tmp_path: Path) -> None:
    """Sees a remedy that is empty."""
    np.save(tmp_path / "t.npy", np.arange(0.5, 120).reshape(60, 2).astype("U8"))
    with pytest.raises(ValueError, match="numbers that are stored as text, such as '0.5': store them as numbers"):
        read(tmp_path / "t.npy")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "${}.50",
            "numbers that are stored as text, such as '.0.50': store them as numbers, or save them in a .csv",
        ),
        (
            "{:04}-12-31",
            "dates that are stored as text, such as '0001-12-31': store them as dates, or save them in a .csv",
        ),
        (
            "31.12.{:04}",
            "dates that are stored as text, such as '31.12.0001': store them as dates, or save them in a .csv",
        ),
    ],
)
def test_what_a_csv_would_read_is_told_from_what_is_written_wrongly(tmp_path: Path, text: str, reason: str) -> None:
    """Sees dates like 2020-12-31 in a .parquet whose owner is told to write them as 2020-12-31."""
    cells = [text.format(i + ("-" in text or "31" in text)) for i in range(60)]
    pyarrow.parquet.write_table(pa.table({"a": cells, "b": AGE[:60]}), tmp_path / "t.parquet")
    with pytest.warns(UserWarning, match=f"t.parquet: left out a .{reason}"):
        read(tmp_path / "t.parquet")
    pyarrow.csv.write_csv(pa.table({"a": cells, "b": AGE[:60]}), tmp_path / "t.csv")
    assert read(tmp_path / "t.csv").columns == ("a", "b")


def test_all_marks_among_numbers_are_in_the_remedy(tmp_path: Path) -> None:
    """Sees a remedy that names three of five, so that the column is still left out when it is typed."""
    rows = "".join(f"{'fault' + str(i) if i < 5 else i},{i * i}\n" for i in range(60))
    (tmp_path / "t.csv").write_text(f"a,b\n{rows}")
    with pytest.warns(UserWarning, match="except for 'fault0', 'fault1', 'fault2' and 2 more") as said:
        read(tmp_path / "t.csv")
    typed = shlex.split(str(said[0].message).split("or type ")[1].rstrip(")"))[0]
    assert read(tmp_path / "t.csv", missing=json.loads(typed.removeprefix("data.missing="))).missing == {"a": 5}


def test_a_text_among_decimal_commas_is_what_is_named(tmp_path: Path) -> None:
    """Sees the numbers blamed, which are written as all others of the file are, in place of the one text."""
    rows = "".join(f"{i},5;{i * i},25\n" for i in range(1, 60))
    (tmp_path / "t.csv").write_text(f"a;b\nabout 3;0,1\n{rows}")
    with pytest.warns(UserWarning, match="left out a .numbers, except for 'about 3': correct these, or type"):
        read(tmp_path / "t.csv")
    assert read(tmp_path / "t.csv", missing=["about 3"]).missing == {"a": 1}


UNDER_NAMES = (
    "place,mass,day,eggs\n{}\nhere,2.5,2020-01-31,4\nhere,2.7,2020-02-01,?\nthere,3.5,,5\nthere,3,2020-03-05,7\n"
)


@pytest.mark.parametrize("line", [",(g),yyyy-mm-dd,n", "Ort,Masse,Tag,Eier", ",g,,n"])
def test_a_second_line_of_names_or_units_is_refused(tmp_path: Path, line: str) -> None:
    """Sees it taken for a row: every column of numbers is text then, and becomes categories or is left out."""
    (tmp_path / "t.csv").write_text(UNDER_NAMES.format(line))
    with pytest.raises(ValueError, match=r"t.csv: the row below the names \(.*\) has text where .* remove that line"):
        read(tmp_path / "t.csv")
    (tmp_path / "u.csv").write_text(UNDER_NAMES.format(line).replace(line + "\n", ""))
    assert read(tmp_path / "u.csv").columns == ("place", "mass", "day", "eggs")


@pytest.mark.parametrize("line", ["here,?,,NA", "here,about 2,2020-01-30,few", "here,about 2,2020-01-30,"])
def test_a_first_row_with_some_text_is_a_row(tmp_path: Path, line: str) -> None:
    """Sees a torn row taken for units."""
    (tmp_path / "t.csv").write_text(UNDER_NAMES.format(line))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns that the text keeps from being numbers
        assert len(read(tmp_path / "t.csv")) == 5


def test_whole_numbers_that_float64_blurs_are_left_out(tmp_path: Path) -> None:
    """Sees identifiers beside each other beyond 2^53 become the same number; far apart they are numbers."""
    (tmp_path / "t.csv").write_text(
        "a,b,c\n" + "".join(f"{2**53 + i},{2**53 + i * 10**12},{i * i}\n" for i in range(60))
    )
    with pytest.warns(UserWarning, match=r"left out a .whole numbers beyond 2\*\*53.*subtract an offset"):
        assert read(tmp_path / "t.csv").columns == ("b", "c")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n3,5\n4,4\n   \n", r"t.csv: line 5 has 1 cell \(   \), expected 2 as in the first; correct it"),
        (b"Report\n\na;b\n1;2\n3;5\n", r"t.csv: line 3 has 2 cells \(a;b\), expected 1 .*remove lines above"),
        (b"a,b\n1,2,\n3,5,\n", r"line 2 has 3 cells \(1,2,\), expected 2"),
        ("a,b\n1,2\n3,5\n".encode("utf-16-le"), "UTF-16 without a byte-order mark; convert it: iconv -f UTF-16LE"),
        (gzip.compress(b"a,b\n1,2\n3,5\n", mtime=0), "is not text but packed by gzip: name it .csv.gz"),
        (b"PAR1" + bytes(99), "is not text but a Parquet file: name it .parquet"),
        (b"PK\3\4" + bytes(99), "is not text but a zip or Excel file"),
        (b"Report,,\na,b,c\n1,2,3\n3,5,4\n", "columns without a name; name each, or remove the lines above"),
    ],
)
def test_a_file_that_is_no_plain_table_says_what_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    """Sees another reason given: an encoding, a parser's words, an empty name."""
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "t.csv")


@pytest.mark.parametrize("content", [b"sep=;\na;b\n1;2\n3;5\n", "a;b\n1;2\n3;5\n".encode("utf-32")])
def test_what_excel_and_others_write_above_a_table_is_understood(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    assert (read(tmp_path / "t.csv").columns, len(read(tmp_path / "t.csv"))) == (("a", "b"), 2)


def test_commas_that_may_group_digits_are_said(tmp_path: Path) -> None:
    """Sees 1,234 taken for 1.234 without a word; decimals that can be nothing else need none."""
    (tmp_path / "t.csv").write_text("a;b\n1,234;2\n12,345;5\n123,456;7\n")
    with pytest.warns(UserWarning, match="t.csv: 1,234 is read as 1.234; if its comma groups digits, remove such"):
        assert read(tmp_path / "t.csv").encoding.columns[0].low == 1.234
    (tmp_path / "u.csv").write_text("a;b\n1,234;2\n0,345;5\n1,5;7\n")
    read(tmp_path / "u.csv")


def test_times_of_another_zone_are_said_to_be_in_utc(tmp_path: Path) -> None:
    """Sees hours moved without a word."""
    rows = "".join(f"2020-01-{i:02}T12:30:00+02:00,{i * i % 7}\n" for i in range(1, 29))
    (tmp_path / "t.csv").write_text(f"t,b\n{rows}")
    data = read(tmp_path / "t.csv")
    assert "times of t in UTC" in data.description
    assert data.encoding.decode(data.values[:1])["t"][0].as_py() == datetime(2020, 1, 1, 10, 30)


def test_times_with_a_zone_are_not_mixed_with_times_without(tmp_path: Path) -> None:
    """In a table this is said, in new rows it is refused, in a column the way out is named. Sees hours shifted."""
    naive, other = (pa.array([datetime(2024, 3, 1 + i % days, i % 24) for i in range(N)]) for days in (28, 17))
    zoned = other.cast(pa.timestamp("us", "Europe/Oslo"))
    data = read(write(tmp_path / "t.parquet", pa.table({"sent": zoned, "local": naive})))
    assert "times of sent in UTC; those of local have no zone and stay as they are" in data.description
    assert np.isfinite(data.encoding.encode(pa.table({"sent": zoned, "local": naive}))).all()
    with pytest.raises(ValueError, match="'sent': expected times with a zone .*; write [+]00:00 after those in UTC"):
        data.encoding.encode(pa.table({"sent": naive, "local": naive}))
    with pytest.raises(ValueError, match="'local': expected times without a zone"):
        data.encoding.encode(pa.table({"sent": zoned, "local": zoned}))
    rows = [f"2024-03-{1 + i % 28:02} {i % 24:02}:00:00{'+02:00' if i % 2 else ''},{i}" for i in range(N)]
    (tmp_path / "mixed.csv").write_text("\n".join(["sent,x", *rows]) + "\n")
    with pytest.warns(UserWarning, match="times without a zone, such as '2024.* mixed with times that have one"):
        read(tmp_path / "mixed.csv")


def test_a_table_without_columns_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "t.npy", np.empty((60, 0)))
    with pytest.raises(ValueError, match="expected at least one column, got none"):
        read(tmp_path / "t.npy")


def test_missing_cells_are_drawn_given_the_others() -> None:
    """Anew in each batch, by seed and iteration; sees a mean in their place, and cells that were there and changed."""
    g = np.random.default_rng(2)
    a = g.standard_normal(400)
    values = np.column_stack([a, a + 0.1 * g.standard_normal(400)])
    values[::3, 1] = np.nan
    data = Table(values, ["a", "b"])
    drawn = torch.stack([data.batch(400, 0, t) for t in range(3)])
    assert torch.equal(drawn[1], data.batch(400, 0, 1))
    assert np.corrcoef(drawn[0].T)[0, 1] > 0.97
    complete = data.rows(range(400)).numpy()
    assert (complete[~np.isnan(values)] == data.values[~np.isnan(values)]).all()
    assert (complete == data.rows(range(400)).numpy()).all()
    order = data.indices(400, 0, 0)
    b = torch.stack([data.batch(400, 0, 0)[order.argsort()], data.batch(400, 1, 0)[data.indices(400, 1, 0).argsort()]])
    assert (b[0] != b[1]).any(1).sum() == len(values[::3])


def test_a_row_lends_nothing_to_itself() -> None:
    """Where no row is complete; sees missing cells that are drawn from anywhere."""
    g = np.random.default_rng(2)
    a = g.standard_normal(400)
    values = np.column_stack([a, a, a]) + 0.1 * g.standard_normal((400, 3))
    values[np.arange(400), np.arange(400) % 3] = np.nan
    x = Table(values, ["a", "b", "c"]).rows(range(400)).numpy()
    assert np.corrcoef(x.T).min() > 0.8


def test_rows_without_a_cell_are_left_out_with_their_labels(tmp_path: Path) -> None:
    rows = pa.table({"a": [1.0, None, 3.0, 4.5], "b": [2.0, None, None, 1.0], "y": ["u", "v", "u", "w"]})
    data = read(write(tmp_path / "t.parquet", rows), label="y")
    assert (len(data), data.classes, data.labels.tolist()) == (3, ("u", "w"), [0, 0, 1])
    assert "left out 1 empty row" in data.description


# Columns


def test_all_kinds_of_a_file_are_coordinates_and_are_said(tmp_path: Path) -> None:
    kinds = [kind for kind in KINDS if kind not in ("decimal", "codes")]
    rows = pa.table({kind: with_holes(KINDS[kind], j % 5) for j, kind in enumerate(kinds)})
    data = read(write(tmp_path / "t.parquet", rows))
    assert data.event_shape == (6 + 3 + 3,)
    assert "one coordinate per category of text (3), category (3)" in data.description
    assert "missing cells, drawn given the rest of their row: number (12), decimals (12)" in data.description
    assert torch.isfinite(data.batch(100, 0, 0)).all()


def test_copies_and_totals_follow_from_others() -> None:
    """In other units too; they have no coordinate, and come back; sees a total in the wrong place or of wrong parts."""
    g = np.random.default_rng(3)
    a, b, c = g.integers(0, 50, N), g.gamma(2, 3, N), g.standard_normal(N)
    rows = pa.table(
        {"a": a, "euro": b, "cent": 100 * b, "c": c, "total": a + b - 2 * c + 7, "same": a, "unit": ["kg"] * N}
    )
    data = Table(rows)
    assert data.units.columns == ("a", "euro", "c")
    follow = [law(column) for column in data.encoding.columns if not column.mean]
    assert follow == ["cent = 100 euro", "total = a + euro - 2 c + 7", "same = a", "unit = kg"]
    back = data.encoding.decode(data.values)
    assert back.column_names == rows.column_names
    np.testing.assert_allclose(back.column("total"), rows.column("total"), rtol=1e-5)
    assert back.column("same").to_pylist() == a.tolist()
    torn = rows.set_column(1, "euro", with_holes(pa.array(b)))
    assert Table(torn).units.columns == ("a", "euro", "c")
    rare = pa.array([1.0 if i % 5 == 2 else 0.0 for i in range(N)])  # the same in all complete rows
    assert "rare" in Table(torn.append_column("rare", rare)).units.columns
    assert Table(rows, dependent=True).units.columns == ("a", "euro", "cent", "c", "total", "same")
    assert Table(rows.slice(0, 8)).event_shape == (6,)


def test_rows_that_break_what_always_held_are_found() -> None:
    rows = pa.table({"a": AGE, "twice": [2 * v for v in AGE], "unit": ["kg"] * N, "one": [1] * N, "city": CITY})
    encoding = Table(rows).encoding
    assert encoding.broken(rows) == encoding.unseen(rows) == {}
    new = pa.table({"a": [20, 30, None], "twice": [40, 61, 5], "unit": ["kg", "g", "kg"], "one": [1, 1, 1e308],
                    "city": ["Oslo", "Oslo", "Atlantis"]})  # fmt: skip
    assert {name: at.tolist() for name, at in encoding.broken(new).items()} == {
        "twice": [False, True, False], "unit": [False, True, False], "one": [False, False, True],
    }  # fmt: skip
    assert {name: at.tolist() for name, at in encoding.unseen(new).items()} == {"city": [False, False, True]}


def test_cells_of_no_usable_type_are_left_out_by_name(tmp_path: Path) -> None:
    rows = pa.table({"a": AGE, "lists": [[1, 2]] * N, "bytes": [b"x"] * N})
    with pytest.warns(UserWarning, match=r"left out lists \(cells of type list.*bytes \(cells of type binary\)"):
        assert read(write(tmp_path / "t.parquet", rows)).columns == ("a",)


def test_many_categories_are_too_many(tmp_path: Path) -> None:
    """51 texts are left out, 50 are not."""
    for k in (50, 51):
        rows = pa.table({"a": 2 * np.arange(4 * k), "code": [f"c{i % k}" for i in range(4 * k)]})
        path = write(tmp_path / f"{k}.parquet", rows)
        if k == 50:
            assert read(path).event_shape == (51,)
        else:
            with pytest.warns(UserWarning, match="left out code .51 different texts in 204 rows"):
                read(path)


# Files


def test_packed_text_is_the_same_table(tmp_path: Path) -> None:
    rows = "age;price\n" + "".join(f"{a};{str(p).replace('.', ',')}\n" for a, p in zip(AGE, PRICE, strict=True))
    (tmp_path / "t.csv").write_text(rows)
    (tmp_path / "t.CSV.gz").write_bytes(gzip.compress(rows.encode()))
    (tmp_path / "t.tsv.gz").write_bytes(gzip.compress(rows.replace(";", "\t").encode()))
    expected = read(tmp_path / "t.csv")
    for name in ("t.CSV.gz", "t.tsv.gz"):
        data = read(tmp_path / name)
        assert (data.fingerprint, data.columns) == (expected.fingerprint, ("age", "price"))
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(rows.encode())[:-9])
    with pytest.raises(ValueError, match=r"cut\.csv\.gz cannot be read"):
        load(tmp_path / "cut.csv.gz")


def test_a_column_has_one_type_however_long_it_is(tmp_path: Path) -> None:
    """Sees a reader that takes whole numbers for granted after its first block of a megabyte."""
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{i},{i % 7}\n" for i in range(120_000)) + "0.5,1\n")
    assert len(read(tmp_path / "t.csv")) == 120_001


def test_names_end_as_they_do() -> None:
    assert suffix_of("x.tar.gz") == ".gz"
    assert not isinstance(Rows(np.ones((2, 2))), Table)


class TestExcel:
    """Sheets as people keep them."""

    def workbook(self, path: Path, **sheets: list[list[object]]) -> Path:
        openpyxl = pytest.importorskip("openpyxl", reason="the extra `excel` is not installed")
        book = openpyxl.Workbook()
        book.remove(book.active)
        for title, rows in sheets.items():
            sheet = book.create_sheet(title)
            for row in rows:
                sheet.append(row)
        book.save(path)
        return path

    def test_cells_are_what_they_are(self, tmp_path: Path) -> None:
        rows = [[a, d, datetime(2020, 1, 1, a % 24, 5), c, a > 40] for a, d, c in zip(AGE, DAYS, CITY, strict=True)]
        rows[3] = [None, "#DIV/0!", None, None, None]
        header = [None, "age", "day", "time", "city", "old"]
        sheet = [[], header, *([None, *row] for row in rows), [None]]
        data = read(
            self.workbook(tmp_path / "t.xlsx", empty=[], about=[["made today"]], people=sheet, more=[["a"], [1]])
        )
        kinds = {column.name: column.kind for column in data.encoding.columns}
        assert kinds == {"age": "integer", "day": "date", "time": "moment", "city": "category", "old": "boolean"}
        assert "(sheet 'people' of 'people', 'more')" in data.description
        assert len(data) == N - 1
        assert data.encoding.decode(data.values[:1]).to_pylist()[0] == dict(zip(kinds, rows[0], strict=True))

    def test_years_as_names(self, tmp_path: Path) -> None:
        data = read(
            self.workbook(
                tmp_path / "t.xlsx", s=[[2019, 2020], *([a + 0.5, p] for a, p in zip(AGE, PRICE, strict=True))]
            )
        )
        assert (data.columns, len(data)) == (("2019", "2020"), N)

    def test_what_is_no_sheet_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"t.xlsx: expected a sheet with a row of names"):
            load(self.workbook(tmp_path / "t.xlsx", s=[]))
        (tmp_path / "u.xlsx").write_bytes(b"PK not a zip")
        with pytest.raises(ValueError, match=r"u.xlsx cannot be read as .xlsx: .*save it again, or as .csv"):
            load(tmp_path / "u.xlsx")


def test_without_openpyxl_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    (tmp_path / "t.xlsx").touch()
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'anila\[excel\]'; or save the sheet as .csv"):
        table(tmp_path / "t.xlsx")


# A real table, from the command line


def test_a_real_table_with_holes_and_categories_trains_flags_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """scikit-learn's wines as a German Excel saves them; sees coordinates where rows are wanted."""
    frame = pytest.importorskip("sklearn.datasets").load_wine(as_frame=True).frame[::2]
    frame = frame[["alcohol", "color_intensity", "proline"]].assign(
        kind=frame.target.map({0: "Barolo", 1: "Grignolino", 2: "Barbera größer"}), land="Italien",
        cents=100 * frame.color_intensity, bottle=[f"Nr. {i}" for i in range(len(frame))],
    )  # fmt: skip
    for j, name in enumerate(["color_intensity", "proline", "kind"]):
        frame.iloc[j::9, frame.columns.get_loc(name)] = None
    monkeypatch.chdir(tmp_path)
    frame.to_csv("wine.csv", index=False, sep=";", decimal=",", encoding="latin-1")
    few = "training.iterations=2 training.chains=20 network.hidden=[8] training.threads=1"
    said = run("train", "wine.csv", *few.split(), "--run", "r")
    assert (
        "kind (3); no coordinate for columns that others determine: land = Italien, cents = 100 color_intensity" in said
    )
    assert "warning: wine.csv: left out bottle (89 different texts in 89 rows: too many for categories)" in said
    run("sample", "r", "--count", "30", "--out", "drawn.parquet")
    drawn = pyarrow.parquet.read_table("drawn.parquet")
    assert drawn.column_names == [name for name in frame.columns if name != "bottle"]
    assert set(drawn["kind"].to_pylist()) <= {"Barolo", "Grignolino", "Barbera größer"}
    assert all(value == int(value) for value in drawn["proline"].to_pylist())
    run("inpaint", "r", "wine.csv", "--count", "1", "--steps", "4", "--out", "filled.parquet")
    filled = pyarrow.parquet.read_table("filled.parquet")
    assert len(filled) == len(frame)
    assert {filled[name].null_count for name in frame.columns} == {0}
    run("inpaint", "r", "--given", "kind=Barolo", "--count", "3", "--steps", "4", "--out", "given.csv")
    assert Path("given.csv").read_text().count("Barolo") == 3
    Path("odd.csv").write_text("alcohol,color_intensity,proline,kind\n13,5,700,Barolo\n1e300,5,700,Barolo\n")
    rows = run("outliers", "r", "odd.csv", "--rate", "0.05", "--out", "judged.csv") and Path("judged.csv").read_text()
    assert rows.splitlines()[2].endswith("true")


def run(*words: str) -> str:
    from typer.testing import CliRunner

    from anila.cli.app import app

    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, result.output
    return result.output


def test_a_table_run_of_0_1_0_keeps_a_coordinate_for_every_column() -> None:
    """Sees its net fed fewer coordinates than it has inputs, and toys and images told of columns."""
    assert current({"data": {"name": "a/b.CSV"}})["data"] == {"name": "a/b.CSV", "dependent": True}
    assert not current({"data": {"name": "b.csv", "dependent": False}})["data"]["dependent"]
    assert current({"data": {"name": "rings"}})["data"] == {"name": "rings"}


def test_a_missing_cell_is_worked_out_from_a_copy_or_a_total_of_it() -> None:
    """Also along a chain of them; sees it drawn at random beside a copy that tells it, and two unknowns made one."""
    a, b = np.array(AGE, dtype=float), np.arange(N) % 7.0
    rows = pa.table({"a": a, "b": b, "total": a + 2 * b, "inches": a / 2.54, "unit": ["cm"] * N})
    encoding = Table(rows).encoding
    assert encoding.coordinates == ("a", "b")
    holes = pa.table({"a": [None, None, None], "b": [3.0, None, None], "total": [46.0, 46.0, 46.0],
                      "inches": [None, 40 / 2.54, None]})  # fmt: skip
    known = encoding.decode(encoding.encode(holes)).to_pydict()
    assert (known["a"], known["b"]) == ([40.0, 40.0, None], [3.0, 3.0, None])
    alone = encoding.decode(encoding.encode(pa.table({"inches": [40 / 2.54]}), absent=True))
    assert alone.column("a").to_pylist() == [40.0]
    with pytest.raises(ValueError, match="none of the model's columns, which are a, b, total, inches; .* are unit"):
        encoding.encode(pa.table({"unit": ["cm"]}), absent=True)


def test_inpaint_fills_what_copies_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sees a cell drawn beside a copy that tells it, and a table refused in which nothing is left to draw."""
    monkeypatch.chdir(tmp_path)
    lines = [f"{age},{2.5 * age},{age % 7},kg" for age in AGE]
    Path("t.csv").write_text("\n".join(["a,more,b,unit", *lines]))
    Path("holes.csv").write_text("a,more,b,unit\n,100,3,\n20,,1,kg\n")
    assert anila("train", "t.csv", "--run", "r") == 0
    assert anila("inpaint", "r", "holes.csv", "--count", "1", "--out", "filled.csv") == 0
    filled = pyarrow.csv.read_csv("filled.csv").to_pydict()
    assert (filled["a"], filled["more"], filled["unit"]) == ([40, 20], [100, 50], ["kg", "kg"])
    assert anila("inpaint", "r", "--given", "more=100", "--count", "3", "--out", "filled.csv") == 0
    assert pyarrow.csv.read_csv("filled.csv")["a"].to_pylist() == [40, 40, 40]

"""Numbers with signs, units and digits in groups: read where they are clear, written back as they came."""

from pathlib import Path

import pyarrow as pa
import pytest

from anila.applications.files.outputs import write_table
from anila.applications.files.tables import as_learned, points
from anila.data import Table, load
from anila.data.delimited import read_csv
from anila.data.forms import form_of, numbers_of, texts_of, with_numbers
from anila.data.style import Style, styled
from anila.data.units import Units
from tiny import anila

NUMBERS = [-1234567.5, -3.25, 0.5, 7.0, 999.0, 1000.0, 86400.25]
Cells = dict[str, list[str]]


def numbered(columns: Cells) -> pa.Table:
    """Such columns, read as numbers with their forms."""
    table, forms, _ = with_numbers(pa.table(columns), (), ".")
    return styled(table, Style(numbers=forms))


WRITTEN = {
    "plain": lambda v: f"{v:.2f}",
    "dollars": lambda v: f"{'-' * (v < 0)}${abs(v):,.2f}",
    "accounts": lambda v: f"({abs(v):,.2f})" if v < 0 else f"{v:,.2f}",
    "euros": lambda v: f"{v:,.2f} €".translate(str.maketrans(",.", ".,")),
    "spaces": lambda v: f"{v:,.2f} kr".translate({44: 160, 46: 44}),
    "francs": lambda v: f"CHF {v:,.2f}".replace(",", "'"),
    "percent": lambda v: f"{v:+.2f} %",
    "typographic": lambda v: f"{v:.2f} °C".replace("-", "\u2212"),
    "whole": lambda v: f"{round(v):,} km",
}


@pytest.mark.parametrize("write", WRITTEN.values(), ids=WRITTEN)
def test_numbers_are_read_as_they_are_meant_and_written_as_they_came(write) -> None:
    """Sees a lost sign, a mark of groups taken for the decimal mark, and lost zeros."""
    cells = [write(v) for v in NUMBERS]
    form = form_of(cells)
    assert form
    read = numbers_of(cells, form)
    whole = pa.types.is_integer(read.type)
    assert read.to_pylist() == [round(v) if whole else v for v in NUMBERS]
    assert texts_of(pa.chunked_array([read]), form).to_pylist() == cells


@pytest.mark.parametrize(
    "cells",
    [
        ["1,234", "5"], ["$1,234", "$5"], ["1,2", "3,4,5"], ["ORD-1", "ORD-2"], ["A1", "A2"], ["3 kg", "5 g"],
        ["$3", "€3"], ["1st", "2nd"], ["12:30", "9:15"], ["1.2.3", "1.2.4"], ["5-7", "8-9"], ["1,23,456", "7"], ["#5"],
        ["1,234", "1234"], ["0,123", "1.5"], ["+2", "2"], ["01.02.2023"], ["192.168.1.1"], ["$"], [],
    ],
)  # fmt: skip
def test_what_may_mean_something_else_stays_text(cells: list[str]) -> None:
    """Sees 1,234 read as one of two numbers, and names, times, versions and ranges read as numbers."""
    assert form_of(cells) is None


def test_other_columns_tell_what_a_comma_means(tmp_path: Path) -> None:
    """Sees the same cells read alike beside decimal points and beside decimal commas."""
    for other, meant in (("1.5", 1234), ("1,5", 1.234)):
        lines = [f"$1,234;{other}", f"$7;{other}"]
        (tmp_path / "t.csv").write_text("\n".join(["a;b", *lines]))
        assert read_csv(tmp_path / "t.csv")[0]["a"].to_pylist() == [meant, 7]
    (tmp_path / "t.csv").write_text("a;b\n$1,234;1\n$7;2\n")
    assert read_csv(tmp_path / "t.csv")[0]["a"].to_pylist() == ["$1,234", "$7"]


def test_draws_and_filled_cells_are_written_as_the_table_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sees 64 beside 64,00, a draw in another form than the table, and a run that has forgotten the form."""
    monkeypatch.chdir(tmp_path)
    prices = [1000 + 7.25 * (i * i % 83) for i in range(60)]
    euros = [WRITTEN["euros"](v) for v in prices]
    lines = [f"{euro};{i % 9},00;{i % 12:03};{i % 5} %" for i, euro in enumerate(euros)]
    Path("t.csv").write_text("\n".join(["price;size;code;share", *lines]))
    data = load("t.csv")
    assert isinstance(data, Table)
    assert "(numbers: 1.000,00 € in price, 0 % in share)" in data.description
    assert data.units.rows.columns[0].low == 1000
    assert anila("train", "t.csv", "--run", "r") == 0
    assert anila("sample", "r", "--count", "5", "--out", "drawn.csv") == 0
    Path("holes.csv").write_text("\n".join(["price;size;code;share;note", "1.007,25 €;;;;a", ";3,00;004;2 %;b"]))
    assert anila("inpaint", "r", "holes.csv", "--count", "1", "--out", "filled.csv") == 0
    assert anila("inpaint", "r", "--given", "size=3", "--count", "1", "--out", "given.csv") == 0
    filled = [line.split(";") for line in Path("filled.csv").read_text().splitlines()]
    assert (filled[1][0], filled[2][1:5]) == ("1.007,25 €", ["3,00", "004", "2 %", "b"])
    names, given = (line.split(";") for line in Path("given.csv").read_text().splitlines())
    rows = [line.split(";") for line in Path("drawn.csv").read_text().splitlines()[1:]] + [
        row[:4] for row in filled[1:]
    ]
    for price, size, code, share in [*rows, [given[names.index(name)] for name in ("price", "size", "code", "share")]]:
        assert price.endswith(" €")
        assert (len(price.split(",")[1]), len(size.split(",")[1]), len(code), share[-2:]) == (4, 2, 3, " %")


def test_columns_beside_prices_are_written_with_their_mark(tmp_path: Path) -> None:
    """Sees an energy of 4.58 in a table in which all numbers that show it have a decimal comma."""
    (tmp_path / "t.csv").write_text("price;city\n1.234,50 €;Bonn\n7,25 €;Köln\n")
    table = read_csv(tmp_path / "t.csv")[0]
    write_table(table.append_column("energy", pa.array([4.5, 6.25])), tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[1] == "1.234,50 €;Bonn;4,5"


def test_a_file_that_cannot_tell_is_read_as_the_model_learned() -> None:
    """Sees one row of 1.234 € refused by a run on prices, and 10% never seen by one on texts."""
    learned = Table(numbered({"price": ["1.234,50 €", "7,25 €"] * 9}))
    assert as_learned(pa.table({"price": ["1.234 €"]}), learned.units)["price"].to_pylist() == [1234]
    assert as_learned(pa.table({"price": ["cheap"]}), learned.units)["price"].to_pylist() == ["cheap"]
    categories: Units = Table(pa.table({"price": ["10%", "20%"] * 9})).units
    assert as_learned(numbered({"price": ["10%"]}), categories)["price"].to_pylist() == ["10%"]


def test_another_currency_than_in_training_is_said() -> None:
    """Sees euros judged as dollars without a word, and a word where the sign is only left out."""
    units = Table(numbered({"price": ["$1.50", "$2.75", "$3.00"], "share": ["1 %", "2 %", "4 %"]}), name="t").units
    taken = "units differ from those of training, and the numbers are taken as they are: price in €, learned in \\$$"
    with pytest.warns(UserWarning, match=taken):
        points(numbered({"price": ["€1.50", "€2.00"], "share": ["1 %", "3 %"]}), units)
    points(numbered({"price": ["$1.50", "$2.00"], "share": ["1", "3"]}), units)


def test_dates_as_text_are_read_where_dates_were_learned() -> None:
    """Sees a .parquet with texts like 2024-12-31 refused, and told to write them as 2020-12-31."""
    days = pa.array([19000, 19001, 19005], pa.int32()).cast(pa.date32())
    units = Table(pa.table({"day": days, "at": days.cast(pa.timestamp("us"))}), name="t").units
    given = as_learned(pa.table({"day": ["2022-01-08", ""], "at": ["2022-01-08 12:30:00", None]}), units)
    assert [str(cell) for cell in given.to_pylist()[0].values()] == ["2022-01-08", "2022-01-08 12:30:00"]
    assert given.to_pylist()[1] == {"day": None, "at": None}
    with pytest.raises(ValueError, match="expected dates as in training, got text such as 'soon'; write them as"):
        points(as_learned(pa.table({"day": ["soon"], "at": ["2022-01-08"]}), units), units)

"""Dates with the day or the month first are read where the column tells which, and come back as they came."""

import csv
from contextlib import AbstractContextManager, nullcontext
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from anila.applications.files.tables import given
from anila.data import Table, table
from anila.data.table_files import read_rows
from tiny import anila

MAY_BE_TWO = "whose day and month cannot be told apart"


def column_of(path: Path, cells: list[str]) -> Path:
    """A table of a column of these cells and one of numbers."""
    path.write_text("day,x\n" + "".join(f"{day},{i * i % 17}\n" for i, day in enumerate(cells)))
    return path


@pytest.mark.parametrize(
    ("cells", "form"),
    [
        (["17.04.2024", "01.02.2023", "03.12.2024"], "dd.mm.yyyy"),
        (["17.4.2024", "1.2.2023", "3.12.2024"], "d.m.yyyy"),
        (["17/04/2024", "01/02/2023", "03/12/2024"], "dd/mm/yyyy"),
        (["04/17/2024", "02/01/2023", "12/03/2024"], "mm/dd/yyyy"),
        (["4-17-2024", "2-1-2023", "12-3-2024"], "m-d-yyyy"),
    ],
)
def test_dates_are_read_in_the_order_that_the_column_tells(tmp_path: Path, cells: list[str], form: str):
    """Sees dates left out or taken for categories, day and month exchanged, and missing cells."""
    data = table(column_of(tmp_path / "t.csv", [*cells, "", "NA"] * 9))
    assert isinstance(data, Table)
    assert data.encoding.columns[0].kind == "date"
    found = data.encoding.decode(data.values).column("day").to_pylist()
    assert found == [date(2024, 4, 17), date(2023, 2, 1), date(2024, 12, 3), None, None] * 9
    assert f"(day as {form})" in data.description


def test_between_points_the_day_comes_first(tmp_path: Path):
    """Sees the commonest dates of all left as texts where no day is above 12."""
    rows, _ = read_rows(column_of(tmp_path / "t.csv", ["01.02.2023", "03.04.2024"]))
    assert rows.column("day").to_pylist() == [date(2023, 2, 1), date(2024, 4, 3)]


@pytest.mark.parametrize(
    "cells",
    [
        ["04/05/2024", "01/02/2023"],
        ["17/04/2024", "04/17/2024"],
        ["17.04.2024", "17/04/2024"],
        ["30.01.2024", "30.02.2024"],
        ["04.17.2024", "04.18.2024"],
        ["17.04.24", "18.04.24"],
        ["17.04.2024", "soon"],
    ],
)
def test_dates_of_no_one_order_stay_texts(tmp_path: Path, cells: list[str]):
    """Sees a guess at which is the day, said by nobody, and an order that does not hold for all cells."""
    unclear: AbstractContextManager[object] = nullcontext()
    if cells[0] == "04/05/2024":
        unclear = pytest.warns(UserWarning, match=f"t.csv: day has dates such as '04/05/2024', {MAY_BE_TWO}: they are")
    with unclear:
        data = table(column_of(tmp_path / "t.csv", cells * 9))
    assert isinstance(data, Table)
    assert data.encoding.columns[0].categories == tuple(sorted(cells))


def test_what_is_typed_is_read_as_a_table_is():
    """Sees a date in --given taken for a text, and one that may be two taken for either."""
    found = given("a=17.04.2024,b=4/17/2024,c=2024-04-17,d=04/05/2024").to_pylist()[0]
    assert found == {"a": (day := date(2024, 4, 17)), "b": day, "c": day, "d": "04/05/2024"}


@pytest.mark.parametrize(
    ("form", "separator"), [("{0.day:02}.{0.month:02}.{0.year}", ";"), ("{0.month}/{0.day}/{0.year}", ",")]
)
def test_dates_come_back_as_they_came(tmp_path: Path, form: str, separator: str):
    """Sees dates written in another form than they were read in, and a drawn one in another than those beside it."""
    days = [date(2024, 1 + i % 12, 1 + i % 28) for i in range(40)]
    cells = [form.format(day) for day in days]
    lines = [f"{cell}{separator}{i * i % 17}" for i, cell in enumerate(cells)]
    (tmp_path / "t.csv").write_text("\n".join([f"born{separator}x", *lines]) + "\n")
    holed = "\n".join([f"born{separator}x", f"{separator}0", *lines[1:]]) + "\n"
    (tmp_path / "holed.csv").write_text(holed)
    assert anila("train", tmp_path / "t.csv", "--run", tmp_path / "run") == 0
    words = ["inpaint", tmp_path / "run", tmp_path / "holed.csv", "--count", "1", "--out", tmp_path / "out.csv"]
    assert anila(*words) == 0
    written = list(csv.reader((tmp_path / "out.csv").read_text().splitlines(), delimiter=separator))
    assert [row[0] for row in written[2:]] == cells[1:]
    drawn = read_rows(tmp_path / "out.csv")[0].column("born")
    assert pa.types.is_date(drawn.type)
    assert form.format(drawn[0].as_py()) == written[1][0]

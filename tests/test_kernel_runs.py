"""Runs of the kernel energy: found at once, used from anywhere, with alarms as rare as promised and their reasons."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from torch import Tensor

import anila as package
from anila.applications.files.inputs import rows_from
from anila.applications.on_runs.draws import filled
from anila.applications.on_runs.outliers import judged, shown
from anila.data import Encoding, Table
from anila.data.table_files import read_rows
from anila.density import kernel_rows
from anila.density.kernel_energy import KernelEnergy
from anila.density.kernel_rows import densest
from anila.density.networks import Kernel
from anila.density.networks.kernel import JUDGED
from anila.reports.fit import gaussian_likelihood
from anila.reports.page.columns import oddest
from anila.rng import rng
from anila.runs.experiment import SettingsError, build_learner
from anila.runs.experiment.build import divided
from anila.runs.experiment.choose import choose
from anila.runs.experiment.settings import Data
from anila.runs.folder.run import Run
from anila.runs.model.trained import Trained
from tiny import TABLE, anila


def rows(n: int, name: str, d: int = 4) -> Tensor:
    """Normal rows; the last column is the first with a little noise."""
    x = torch.randn(n, d, generator=rng(0, name))
    x[:, -1] = x[:, 0] + 0.3 * x[:, -1]
    return x


def write(path: Path, x: Tensor) -> Path:
    """Rows as a table of age, height, weight and children."""
    lines = [",".join(f"{v:.4f}" for v in row) for row in (x * 10 + 50).tolist()]
    path.write_text("\n".join(["age,height,weight,children", *lines]) + "\n")
    return path


def of_rows(x: Tensor, **options: Any) -> Kernel:
    f = Kernel(tuple(x.shape[1:]), **options)
    f.see(x)
    return f


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was made beside its table, which is gone since."""
    folder = tmp_path_factory.mktemp("kernel")
    write(folder / "people.csv", rows(300, "people"))
    write(folder / "odd.csv", odd_rows())
    assert anila("train", folder / "people.csv", "--run", folder / "run") == 0
    (folder / "people.csv").rename(folder / "elsewhere.csv")
    return folder / "run"


def odd_rows() -> Tensor:
    """An ordinary row, and three with a cell that does not fit: two far out, one that only breaks the relation."""
    x = torch.zeros(4, 4)
    x[1, 1], x[2, 2], x[3, 3] = 9.0, -9.0, 2.5
    return x


def test_it_is_the_kernel_energy_of_its_rows():
    """Sees a row that is left out, a bandwidth that is not that asked for, and a state that does not come back."""
    x = rows(80, "x").round(decimals=1)
    f, expected = of_rows(x, bandwidth=0.4), KernelEnergy(x.double(), 0.4)
    torch.testing.assert_close(f(x), expected(x.double()).float())
    again = Kernel((4,), bandwidth=0.4)
    again.load_state_dict(f.state_dict())
    for a, b in ((again(x), f(x)), (again.oddness(x), f.oddness(x)), (again.ordinary, f.ordinary)):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("centres", "decimals", "trimmed"), [(20_000, 9, 0.0), (20_000, 0, 0.0), (150, 9, 0.0), (20_000, 9, 0.2)]
)
def test_alarms_on_new_ordinary_rows_are_as_rare_as_promised(centres: int, decimals: int, trimmed: float):
    """And not much rarer. At 1%, 5% and 50%, over 12 tables, within binomial error; also where new rows equal old ones,
    and not all rows are centres. Sees ordinary rows that judge themselves (80% alarms), and ordinary scores in standard
    deviations of the rows that are left after trimming (2.5% at 5%)."""
    alarms: dict[float, list[float]] = {0.01: [], 0.05: [], 0.5: []}
    for table in range(12):
        old, new = (rows(n, f"{name} {table}", 3).round(decimals=decimals) for n, name in ((300, "old"), (1000, "new")))
        f = of_rows(old, centres=centres, trimmed=trimmed)
        scores = f.oddness(new)
        for rate, found in alarms.items():
            k = int(np.ceil((1 - rate) * (len(f.ordinary) + 1) - 1e-9))
            found.append((scores > f.ordinary[k - 1]).double().mean().item())
    for rate, found in alarms.items():
        error = 3 * (rate * (1 - rate) * (1 / 300 + 1 / 1000) / 12) ** 0.5
        assert np.mean(found) < rate + error
        assert np.mean(found) > 0.75 * rate - error or decimals == 0


def test_alarms_keep_their_rate_where_columns_are_categories():
    """At 5% and 20%, over 8 tables. Sees scales of single coordinates in place of a category's own: no alarm at all."""
    alarms: dict[float, list[float]] = {0.05: [], 0.2: []}
    for table in range(8):
        g = np.random.default_rng(table)
        cells = pa.table({name: g.choice(list("uvwxyz"), 900, p=[0.5, 0.2, 0.15, 0.1, 0.04, 0.01]) for name in "abc"})
        x = torch.from_numpy(Encoding.of(cells).encode(cells))
        f = of_rows(x[:300])
        scores = f.oddness(x[300:])
        for rate, found in alarms.items():
            k = int(np.ceil((1 - rate) * (len(f.ordinary) + 1) - 1e-9))
            found.append((scores > f.ordinary[k - 1]).double().mean().item())
    for rate, found in alarms.items():
        error = 3 * (rate * (1 - rate) * (1 / 300 + 1 / 600) / 8) ** 0.5
        assert 0.6 * rate - error < np.mean(found) < rate + error


def test_rows_that_break_what_always_held_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Sees a currency that no row of training had, or a copy that is none, counted as ordinary without a word."""
    g = np.random.default_rng(0)
    size, town = g.normal(80.0, 20.0, 60).round(1), g.choice(["Bonn", "Ulm"], 60)
    lines = [f"{a},{a},EUR,{b}" for a, b in zip(size, town, strict=True)]
    run, learned, new = tmp_path / "run", tmp_path / "flats.csv", tmp_path / "new.csv"
    learned.write_text("\n".join(["size,copy,currency,town", *lines]) + "\n")
    new.write_text("size,copy,currency,town\n80,80,EUR,Ulm\n80,80,USD,Bonn\n80,8,EUR,Rom\n")
    assert anila("train", learned, "--run", run) == 0
    assert anila("outliers", run, learned) == 0
    assert "rows of training: " not in capsys.readouterr().err
    assert anila("outliers", run, new) == 0
    said = capsys.readouterr().err
    assert "copy = size (1 row, the first is 2); currency = EUR (1 row, the first is 1)" in said
    assert "never seen in training: town=Rom (1 row, the first is 2)" in said
    for given, rule in (
        ("currency=USD,size=70", "currency = EUR (1 row"),
        ("town=Rom", "never seen in training: town=Rom"),
    ):
        assert anila("inpaint", run, "--given", given, "--out", tmp_path / "out.csv") == 0
        assert rule in capsys.readouterr().err


def test_results_stand_beside_columns_of_their_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A model of columns `score` and `energy`, which cannot be renamed: the model asks for them. Sees a refusal, and
    cells of the table that are written over."""
    x = rows(60, "people", 2)
    path, out = tmp_path / "given.csv", tmp_path / "out.csv"
    path.write_text("\n".join(["score,energy", *(f"{a:.3f},{b:.3f}" for a, b in x.tolist())]) + "\n")
    assert anila("train", path, "--run", tmp_path / "run") == 0
    own = path.read_text().splitlines()
    assert anila("outliers", tmp_path / "run", path) == 0
    assert "named like results" not in capsys.readouterr().err
    assert anila("outliers", tmp_path / "run", path, "--out", out) == 0
    assert "so score is called anila_score" in capsys.readouterr().err
    lines = out.read_text().splitlines()
    assert lines[0] == "score,energy,anila_score,percentile,outlier,why"
    assert [float(line.split(",")[0]) for line in lines[1:]] == [float(line.split(",")[0]) for line in own[1:]]
    assert anila("outliers", tmp_path / "run", out, "--out", tmp_path / "again.csv") == 0
    assert "score is called anila_anila_score" in capsys.readouterr().err
    assert anila("inpaint", tmp_path / "run", "--given", "score=1", "--out", out) == 0
    assert out.read_text().splitlines()[0] == "score,energy,draw,anila_energy"
    assert "energy is called anila_energy" in capsys.readouterr().err


def test_a_packed_table_names_its_run_without_endings(tmp_path: Path):
    with gzip.open(tmp_path / "people.2020.csv.gz", "wt") as file:
        file.write("a,b\n1,2\n2,3\n4,1\n")
    assert choose(str(tmp_path / "people.2020.csv.gz"), [])[0] == "people.2020"


def test_a_table_without_outliers_is_judged_without_a_picture(run: Path, tmp_path: Path, capsys: Any):
    """Sees scores that are not told because there is nothing to draw."""
    write(tmp_path / "new.csv", torch.zeros(3, 4))
    assert anila("outliers", run, tmp_path / "new.csv", "--picture", tmp_path / "odd.png") == 0
    captured = capsys.readouterr()
    assert captured.err == "no picture: no row is an outlier\n"
    assert captured.out.startswith("0 outliers in 3 rows")
    assert not (tmp_path / "odd.png").exists()


def test_a_row_that_was_learned_is_judged_by_the_others():
    """Sees a table without outliers when it is judged by itself: each row lies on a centre."""
    x = torch.cat([rows(200, "x"), torch.full((1, 4), 6.0)])
    f = of_rows(x)
    assert f.oddness(x).argmax() == 200
    assert (f.oddness(x) > f.ordinary[-3]).double().mean() < 0.05


def test_a_row_with_holes_that_was_learned_is_judged_by_the_others():
    """Its centre has its missing cells filled in. Sees a row that is judged by itself: the least of all scores."""
    x = rows(200, "x", 8).double()
    f, torn = of_rows(x), x.masked_fill(torch.rand(x.shape, generator=rng(0, "holes")) < 0.3, torch.nan)
    others = f.energy.oddness(torn, f.centres.own(x))
    torch.testing.assert_close(f.oddness(torn), others, rtol=0, atol=0)
    assert bool((others > 1.5 * f.energy.oddness(torn)).double().mean() > 0.5)


def test_trimmed_rows_are_no_centres_and_are_judged_all_the_same():
    """Sees ordinary scores that are made with centres that the energy has not."""
    x = torch.cat([rows(200, "x"), 6 + 0.01 * rows(5, "odd")])
    f = of_rows(x, trimmed=0.2, bandwidth=0.4)
    assert set(f.oddness(x).topk(5).indices.tolist()) == set(range(200, 205))
    assert len(f.energy.centres) == 164
    assert f.ordinary[-5:].min() > 5


@pytest.mark.parametrize("n", [150, 1000, 3000])
def test_a_dense_crowd_of_anomalies_does_not_vouch_for_itself(n: int):
    """A tenth of the rows, in one crowd of more than 50, also where a part of the rows stands for all. Sees neighbours
    whose number does not grow with the rows: they keep the whole crowd."""
    crowd = torch.tensor([3.0, -3.0, 0.0, 0.0]) + 0.05 * rows(n // 10, "crowd")
    left = densest(torch.cat([rows(n - len(crowd), "x"), crowd]), 0.2)
    assert abs(len(left) - 0.8 * n) < 2
    assert int((left >= n - len(crowd)).sum()) == 0


def test_few_rows_are_never_trimmed_to_none():
    for n in range(1, 6):
        assert len(densest(rows(n, "x"), 0.9)) >= 1


def test_rows_with_holes_are_trimmed_by_the_cells_that_are_there():
    """Sees a hole that makes its row, or every row, the sparsest."""
    x = torch.cat([rows(100, "x"), torch.full((3, 4), 8.0)])
    x[:5, 1] = x[100, 0] = torch.nan
    left = set(densest(x, 0.1).tolist())
    assert len(left) == 92
    assert left.isdisjoint(range(100, 103))
    assert len(left & set(range(5))) > 2


def test_ordinary_rows_are_those_that_are_no_centres_where_there_are_some():
    f = of_rows(rows(400, "x"), centres=100)
    assert len(f.energy.centres) == 100
    assert len(f.ordinary) == min(400, JUDGED)


def test_large_tables_have_fewer_centres_by_default(monkeypatch: pytest.MonkeyPatch):
    """Sees a million rows whose scores take minutes unless a setting is touched, and small tables that lose rows."""
    assert [len(of_rows(rows(n, "x", 2)).energy.centres) for n in (30, 6_000)] == [30, 6_000]
    monkeypatch.setattr(kernel_rows, "ROWS_BY_CENTRES", 10_000)
    monkeypatch.setattr(kernel_rows, "FEWEST", 20)
    f = of_rows(rows(400, "x"))
    assert len(f.energy.centres) == 25
    assert len(f.ordinary) == 400
    assert Kernel((10,)).sees == 200_000  # as many say that the fewest will do
    assert Kernel((10_000,)).sees == 5_000


def test_cells_are_shown_as_people_read_them():
    """Sees the word None in the picture of a row with a hole."""
    assert [shown(cell) for cell in (None, 1.234567, 3, "red")] == ["–", "1.2346", "3", "red"]


def test_reasons_have_the_unit_of_the_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Sees 12.95 where the file has $12.95, in the reasons and in the report."""
    lines = [f"${50 + 5 * a:.2f},{15 + 2 * b:.0f} %" for a, b in rows(60, "prices", 2).tolist()]
    (tmp_path / "p.csv").write_text("\n".join(["price,share", *lines]) + "\n")
    (tmp_path / "new.csv").write_text("price,share\n$999.50,15 %\n$50.00,90 %\n")
    assert anila("train", tmp_path / "p.csv", "--run", tmp_path / "run") == 0
    capsys.readouterr()
    assert anila("outliers", tmp_path / "run", tmp_path / "new.csv") == 0
    said = capsys.readouterr().out
    assert "not $999.5" in said
    assert "not 90 %" in said
    trained = Trained.load(Run(tmp_path / "run"))
    assert all(odd.values[0].startswith("$") and odd.values[1].endswith(" %") for odd in oddest(trained))


def test_the_cell_that_was_spoiled_is_named():
    """One cell of each ordinary row is moved by 3 to 6: it is the one named, and what it was is about what is likely.

    Sees the cells that denoising moves, which are those that were right.
    """
    f, x = of_rows(rows(500, "x")), rows(100, "spoiled")
    column = torch.arange(100) % 4
    spoiled = x.clone()
    spoiled[torch.arange(100), column] += 3 + 3 * torch.rand(100, generator=rng(0, "by"))
    odd = f.oddness(spoiled) > f.ordinary[-3]
    share, likely = f.reasons(spoiled)
    assert odd.sum() > 60
    assert (share.argmax(1) == column)[odd].double().mean() > 0.9
    assert bool((share.sum(1) <= 1 + 1e-9).all())
    error = (likely.gather(1, column[:, None])[:, 0] - x.gather(1, column[:, None])[:, 0])[odd]
    related = (column % 3 == 0)[odd]
    assert error[related].nanquantile(0.9) < 1.0


def test_extreme_cells_are_odd_and_never_drawn():
    """Sees draws near 1e18, where a table puts 1e300."""
    x = rows(200, "x")
    x[3, 1] = 1e18
    f = of_rows(x)
    assert f.draw(2000, rng(0, "draws")).abs().max() < 8
    assert f.oddness(x).argmax() == 3


def test_missing_cells_are_drawn_given_the_others():
    f = of_rows(rows(600, "x"))
    given = torch.tensor([[1.5, 0.0, 0.0, torch.nan]]).expand(400, -1)
    filled = f.completed(given, rng(0, "draws"))
    assert torch.equal(filled[:, :3], given[:, :3])
    assert filled[:, 3].mean().item() == pytest.approx(1.5, abs=0.3)


def test_a_table_alone_is_fitted_and_settings_of_learning_ask_for_a_net(tmp_path: Path):
    """Sees a command of before that means another network now."""
    path = write(tmp_path / "people.csv", rows(50, "people"))
    for words in ([], ["network=kernel"], ["training.seed=1", "data.columns=[age,height]"], ["network.bandwidth=0.3"]):
        config = choose(str(path), words)[1]
        assert (config.network.name, config.data.held_out) == ("kernel", 0.0)
    for words in (["network=mlp"], ["network.hidden=[8]"], ["sampler.steps=3"], ["training.iterations=9"]):
        config = choose(str(path), words)[1]
        assert (config.network.name, config.data.held_out) == ("mlp", 0.2)
    assert choose("rings", ["network=kernel"])[1].objective.name == "none"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["network=kernel", "training.iterations=60"], "leave out, or set training.iterations=1"),
        (["network=kernel", "network.confine=3"], "set network.confine=none"),
        (["network=kernel", "network.confine=none", "network.whitened=true"], "set network.whitened=false"),
        (["network=kernel", "objective=denoising"], "set objective=none"),
        (["objective=none"], "objective=none learns nothing, and network mlp must learn"),
    ],
)
def test_what_is_found_at_once_is_not_taught(words: list[str], message: str):
    with pytest.raises(SettingsError, match=message):
        choose("rings", words)


def test_a_run_is_used_from_anywhere_without_its_table(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Draws, gaps, odd rows and an export, in the units of the table that is gone."""
    monkeypatch.chdir(tmp_path)
    assert anila("sample", run, "--count", "500", "--out", "drawn.csv") == 0
    drawn = np.genfromtxt("drawn.csv", delimiter=",", skip_header=1)
    assert drawn.mean(0) == pytest.approx([50] * 4, abs=2)
    assert np.corrcoef(drawn.T)[0, 3] > 0.8
    assert anila("inpaint", run, "--given", "age=65", "--count", "200", "--out", "filled.csv") == 0
    assert "200 draws for 1 row in filled.csv" in capsys.readouterr().out
    filled = np.genfromtxt("filled.csv", delimiter=",", skip_header=1)
    assert set(filled[:, 0]) == {65}
    assert np.mean(filled[:, 3]) == pytest.approx(65, abs=4)
    assert anila("export", run, "--out", "shared") == 0
    assert "holds them" in capsys.readouterr().err
    assert "anyone" not in Path("shared/README.md").read_text()
    assert "It holds rows of the data" in Path("shared/README.md").read_text()
    for model in (run, "shared"):
        assert anila("outliers", model, run.parent / "odd.csv", "--json", "--picture", "odd.png") == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["outliers"], found["held_out_unseen"], found["held_out_rows"]) == (3, True, 300)
        named = {row["name"][-2]: [reason["column"] for reason in row["reasons"]] for row in found["top"]}
        assert named == {"0": [], "1": ["height"], "2": ["weight"], "3": ["children"]}
    x = torch.randn(3, 4)
    torch.testing.assert_close(package.load("shared")(x), package.load(run)(x))


def test_scores_and_reasons_stand_beside_the_rows(run: Path, tmp_path: Path):
    assert anila("outliers", run, run.parent / "odd.csv", "--out", tmp_path / "scores.csv") == 0
    lines = (tmp_path / "scores.csv").read_text().splitlines()
    assert lines[0].endswith("score,percentile,outlier,why")
    assert lines[1].endswith("false,")
    assert "likely height" in lines[2]


@pytest.mark.parametrize(
    ("separator", "decimal", "encoding"),
    [(",", ".", "utf-8"), (";", ",", "utf-8"), (";", ",", "windows-1252"), ("\t", ",", "utf-16"), ("|", ".", "utf-8")],
)
def test_a_table_is_written_as_it_came(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], separator: str, decimal: str, encoding: str
):
    """Sees a table with semicolons, tabs or decimal commas come back with commas and points, a cell that was there
    changed, and a file in another encoding than was read of which nothing is said.
    """
    numbers = [[f"{v:.3f}1".replace(".", decimal) for v in row] for row in rows(60, "people", 3).tolist()]
    cells = [[*row, f"a{separator}b" if i % 3 else "Köln", "=1+1"] for i, row in enumerate(numbers)]
    lines = [separator.join(f'"{cell}"' if separator in cell else cell for cell in row) for row in cells]
    text = "\n".join([separator.join(["größe", "b", "c", "city", "said"]), *lines]) + "\n"
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    holed = text.replace(numbers[0][0], "", 1)
    (tmp_path / "holed.csv").write_bytes(holed.encode(encoding))
    out = tmp_path / "out.csv"
    assert anila("train", tmp_path / "t.csv", "--run", tmp_path / "run") == 0
    capsys.readouterr()
    assert anila("inpaint", tmp_path / "run", tmp_path / "holed.csv", "--count", "1", "--out", out) == 0
    came = {"windows-1252": "Windows-1252", "utf-16": "UTF-16"}.get(encoding)
    assert (f"out.csv is UTF-8, while the table was in {came}" in capsys.readouterr().err) == (came is not None)
    written = list(csv.reader(out.read_text(encoding="utf-8").splitlines(), delimiter=separator))
    assert written[0] == ["größe", "b", "c", "city", "said", "draw", "energy"]
    assert [row[1:4] for row in written[1:]] == [row[1:4] for row in cells]
    assert [row[0] for row in written[2:]] == [row[0] for row in cells[1:]]
    assert all(float(row[k].replace(decimal, ".")) < 9 for row in written[1:] for k in (0, 6))
    assert {row[4] for row in written[1:]} == {"'=1+1"}
    assert read_rows(out)[0].column_names == written[0]
    assert anila("outliers", tmp_path / "run", tmp_path / "holed.csv", "--out", tmp_path / "odd.csv") == 0
    assert (tmp_path / "odd.csv").read_text(encoding="utf-8").splitlines()[5].count(decimal) >= 5
    assert anila("inpaint", tmp_path / "run", tmp_path / "holed.csv", "--out", tmp_path / "out.parquet") == 0
    assert pyarrow.parquet.read_schema(tmp_path / "out.parquet").metadata is None
    assert (
        anila("inpaint", tmp_path / "run", tmp_path / "holed.csv", "--count", "1", "--out", tmp_path / "out.tsv") == 0
    )
    tabs = list(csv.reader((tmp_path / "out.tsv").read_text(encoding="utf-8").splitlines(), delimiter="\t"))
    assert [row[:6] for row in tabs] == [row[:6] for row in written]


def test_rows_with_holes_are_judged_by_what_is_there(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Sees a hole taken for a value, and a table without one of the columns let through."""
    path = tmp_path / "holes.csv"
    path.write_text("age,height,weight,children\n50,,50,50\n50,140,,50\n50,140,50,50\n,,,\n")
    assert anila("outliers", run, path, "--json") == 0
    captured = capsys.readouterr()
    found = {row["index"]: row for row in json.loads(captured.out)["top"]}
    assert [found[i]["outlier"] for i in range(4)] == [False, True, True, False]
    assert found[3]["percentile"] == pytest.approx(50, abs=1)
    assert "rows with no values: 1; nothing is known about them, so they count as ordinary" in captured.err
    assert [reason["column"] for reason in found[1]["reasons"]] == ["height"]
    assert "rows with missing cells: 2; judged by their other cells" in captured.err
    path.write_text("age,height,weight\n50,50,50\n")
    assert anila("outliers", run, path) == 2
    assert "no column 'children'" in capsys.readouterr().err
    path.write_text("age,height,weight,children\n50,50,50,\n")
    assert anila("outliers", run, path) == 0


def test_too_few_rows_promise_what_they_can(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """40 rows cannot show what happens once in a hundred."""
    path = write(tmp_path / "few.csv", rows(40, "few"))
    assert anila("train", path, "--run", tmp_path / "run") == 0
    capsys.readouterr()
    assert anila("outliers", tmp_path / "run", write(tmp_path / "odd.csv", odd_rows()), "--json") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (found["rate"], found["rate_wanted"]) == (pytest.approx(1 / 41), 0.01)
    assert "40 ordinary rows can guarantee a rate of 0.024 at best, which replaces 0.01; --rate 0.07" in captured.err
    two = write(tmp_path / "two.csv", rows(2, "two"))
    assert anila("outliers", tmp_path / "run", two, "--held-out", two) == 0
    assert "--rate 0.5 finds more" in capsys.readouterr().err  # and not a rate of 1, which is none
    assert found["outliers"] >= 2


def test_a_table_that_has_changed_is_said_and_not_believed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Sees new units used in silence, and samples that are scored beside samples."""
    table = run.parent / "people.csv"
    assert anila("evaluate", run, "--count", "50") == 2
    assert "the data cannot be read: no file" in capsys.readouterr().err
    write(table, rows(300, "other") * 100)
    try:
        assert anila("sample", run, "--count", "200", "--out", tmp_path / "drawn.csv") == 0
        assert "has changed since" in capsys.readouterr().err
        assert np.genfromtxt(tmp_path / "drawn.csv", delimiter=",", skip_header=1).mean() == pytest.approx(50, abs=3)
        assert anila("evaluate", run, "--count", "50") == 2
        assert "has changed since" in capsys.readouterr().err
        (run.parent / "elsewhere.csv").replace(table)
        assert anila("evaluate", run, "--count", "50") == 0
        scores = json.loads((run / "scores.json").read_text())
        assert {"energy_gap", "log_z", "log_likelihood", "w2"} <= scores.keys()
        assert anila("diagnose", run) == 0
        assert "draws are exact" in capsys.readouterr().out
    finally:
        if table.exists():
            table.replace(run.parent / "elsewhere.csv")


def test_a_fit_is_compared_with_a_gaussian_only_where_there_is_one():
    """Sees the coordinates of categories, which lie in a plane, given a likelihood that is rounding."""
    g = np.random.default_rng(0)
    x = torch.from_numpy(g.normal(size=(500, 3)) * [1.0, 0.1, 5.0])
    law = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov(correction=0))
    assert gaussian_likelihood(x.float()) == pytest.approx(law.log_prob(x).mean().item(), rel=1e-4)
    for _ in range(8):
        words = {name: g.choice(list("abcd"), 500) for name in "xyz"}
        assert gaussian_likelihood(torch.from_numpy(Table(pa.table(words | {"v": g.normal(size=500)})).values)) is None


def test_the_same_command_finds_it_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = write(tmp_path / "people.csv", rows(60, "people"))
    for _ in range(2):
        assert anila("train", path, "--run", tmp_path / "run") == 0
    assert "resumed at iteration 1 of 1" in capsys.readouterr().err
    assert Run(tmp_path / "run").stats()[-1]["iteration"] == 1


def test_rows_that_are_kept_out_are_not_learned():
    """A fifth of a table; the units and the fingerprint are those of the whole. Sees a row in both parts."""
    data = Table(rows(50, "x").double().numpy(), ["a", "b", "c", "d"])
    part, apart = divided(data, Data(name="x", held_out=0.2), seed=3)
    assert apart is not None
    assert isinstance(part, Table)
    assert (len(apart), len(part), part.units, part.fingerprint) == (10, 40, data.units, data.fingerprint)
    everything = torch.cat([part.batch(40, 0, 0), apart.rows(range(10))])
    torch.testing.assert_close(everything.sort(0).values, data.rows(range(50)).sort(0).values)
    assert divided(data, Data(name="x"), seed=3) == (data, None)


def test_a_net_is_judged_by_rows_that_it_did_not_learn(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """And without its table afterwards. Sees "held out" said of rows of training."""
    path = write(tmp_path / "people.csv", rows(100, "people"))
    assert anila("train", path, *TABLE, "--run", tmp_path / "run") == 0
    trained, odd = Trained.load(Run.existing(tmp_path / "run")), write(tmp_path / "odd.csv", odd_rows())
    assert (len(trained.held_out(50).x), trained.held_out(50).unseen) == (20, True)
    found = []
    for _ in range(2):
        capsys.readouterr()
        assert anila("outliers", tmp_path / "run", odd, "--rate", "0.2", "--json") == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        found.append(json.loads(captured.out))
        path.unlink(missing_ok=True)
    assert found[0] == found[1]
    assert found[0]["held_out"] == "rows of people.csv that were kept out of training"
    assert anila("sample", tmp_path / "run", "--count", "5", "--out", tmp_path / "drawn.csv") == 0


def test_a_net_judges_rows_with_holes_by_what_it_draws_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Sees a hole that counts as a 0, and one that hides an odd cell beside it."""
    write(tmp_path / "people.csv", rows(100, "people"))
    assert anila("train", tmp_path / "people.csv", *TABLE, "--run", tmp_path / "run") == 0
    (tmp_path / "new.csv").write_text("age,height,weight,children\n50,50,50,50\n50,,50,50\n,500,50,\n,,,\n")
    capsys.readouterr()
    assert anila("outliers", tmp_path / "run", tmp_path / "new.csv", "--rate", "0.2", "--json") == 0
    captured = capsys.readouterr()
    assert "rows with missing cells: 2; judged by the mean over 20 draws of these cells" in captured.err
    assert "rows with no values: 1" in captured.err
    score = {row["index"]: row["score"] for row in json.loads(captured.out)["top"]}
    assert score[2] > max(score[0], score[1], score[3]) + 10
    assert score[1] > score[0]


def test_a_net_draws_frequent_values_as_often_as_they_were_seen(tmp_path: Path):
    """In new rows and in missing cells. Sees values near 0 in the place of 40% zeros, and 0 in the place of others."""
    x = rows(200, "rain")
    rain = np.where(np.arange(200) % 5 < 2, 0.0, 3 + x[:, 0].numpy())
    np.savetxt(tmp_path / "rain.csv", np.stack([rain, x[:, 1]], 1), delimiter=",", header="rain,wind", comments="")
    words = [*TABLE, "training.chains=250", "sampler.draw_steps=5", "sampler.global_every=0"]
    assert anila("train", tmp_path / "rain.csv", *words, "--run", tmp_path / "run") == 0
    model = package.load(tmp_path / "run")
    zero = model.units.inward(np.zeros((1, 2)))[0, 0]
    assert 0.3 < (model.draw(300)[:, 0] == zero).double().mean() < 0.5
    hidden = torch.tensor([[True, False], [False, True]])
    filled_in = filled(model, zero + torch.tensor([[0.0, 0.0], [0.001, 0.0]]), hidden, 100, steps=5).x
    assert 0 < (filled_in[0, :, 0] == zero).double().mean() < 1
    assert bool((filled_in[1, :, 0] != zero).all())


def test_a_network_that_learns_nothing_has_a_learner_all_the_same():
    config = choose("rings", ["network=kernel"])[1]
    data = Table(rows(30, "x").double().numpy(), ["a", "b", "c", "d"])
    learner = build_learner(config, data)
    assert learner.update(data.batch(5, 0, 0)) == {}
    assert learner.iteration == 1


def test_rows_that_are_judged_are_counted_on_the_way(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees minutes without a word, a count that ends before the last row, and portions lost."""
    model = Trained.load(Run(run))
    named, seen = rows_from([str(write(tmp_path / "new.csv", rows(25, "new")))], model), []
    whole = judged(model, named, 0.1).score
    monkeypatch.setattr("anila.applications.on_runs.outliers.PORTION", 10)
    torch.testing.assert_close(judged(model, named, 0.1, watch=seen.append).score, whole)
    assert seen == [10, 20, 25]

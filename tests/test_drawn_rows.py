"""Drawn rows beside rows that were not learned: each test sees its own fault, none sees one where there is none."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp, spearmanr
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from anila.evaluation.samples import two_samples
from anila.evaluation.samples.two_samples import Difference, Differences, ranks
from anila.reports.drawn_rows import Sides, verdict
from anila.rng import rng
from tiny import TABLE, anila


def normal(n: int, name: str, correlation: float = 0.0) -> Tensor:
    """Rows of three columns, the last two correlated; the first is whole numbers."""
    x = torch.randn(n, 3, generator=rng(0, name))
    x[:, 2] = correlation * x[:, 1] + (1 - correlation**2) ** 0.5 * x[:, 2]
    x[:, 0] = (2 * x[:, 0]).round()
    return x


def ring(n: int, name: str) -> Tensor:
    """Rows of two columns without correlation, and the same columns in other rows."""
    angle = 2 * torch.pi * torch.rand(n, generator=rng(0, name))
    return torch.stack([angle.cos(), angle.sin()], 1)


def test_the_differences_are_scipys():
    x, y = normal(60, "x"), normal(60, "y", 0.9)
    found = two_samples(x, y, rng(0, "divisions"))
    ks = [float(np.asarray(ks_2samp(x[:, j], y[:, j]))[0]) for j in range(3)]
    assert found.marginals.value == pytest.approx(max(ks))
    assert found.marginals.where == int(np.argmax(ks))
    r = ranks(torch.cat([x, y]).double())
    apart = np.abs(np.corrcoef(r[:60].T) - np.corrcoef(r[60:].T))
    assert found.correlations.value == pytest.approx(apart.max(), abs=1e-6)
    assert divmod(found.correlations.where, 3) == (1, 2)
    assert np.corrcoef(ranks(x.double()).T)[0, 1] == pytest.approx(spearmanr(x[:, 0], x[:, 1])[0])


def test_each_test_sees_its_own_fault():
    """A column that is moved, a correlation that is lost, and columns that depend on each other otherwise."""
    x, moved, unlike = normal(150, "x", 0.8), normal(150, "y", 0.8) + torch.tensor([0.0, 0.6, 0.0]), normal(150, "z")
    whole, parts = ring(150, "ring"), torch.stack([ring(150, "a")[:, 0], ring(150, "b")[:, 1]], 1)
    small = [
        [d.p <= 0.01 for d in two_samples(a, b, rng(0, "d"))] for a, b in ((x, moved), (x, unlike), (whole, parts))
    ]
    assert small[0][0]
    assert small[1][:2] == [False, True]
    assert small[2] == [False, False, True]


def test_p_is_a_p_value():
    """Of rows of one law p ≤ ¼ a quarter of the time: sees divisions that are not at random, and lost ties."""
    found = [two_samples(normal(20, f"x{i}"), normal(20, f"y{i}"), rng(i, "d")) for i in range(24)]
    for name in ("marginals", "correlations", "told_apart"):
        assert sum(getattr(d, name).p <= 0.25 for d in found) <= 11
        assert sum(getattr(d, name).p <= 0.75 for d in found) >= 9


def test_units_do_not_matter():
    """Sees distances in cells for their ranks."""
    x, y, units = normal(40, "x"), normal(40, "y", 0.9), torch.tensor([1.0, 1e3, 1e-3])
    assert two_samples(units * x, units * y, rng(0, "d")) == two_samples(x, y, rng(0, "d"))


def test_a_verdict_names_the_columns_that_differ():
    found = Differences(Difference(0.4, 0.001, 1), Difference(0.3, 0.5, 2), Difference(0.6, 0.02, 0))
    x = torch.zeros(20, 3)
    lines = verdict(found, 0.5, ("age", "height", "mood"), Sides(x, x, x, "new rows"))
    assert "a difference is seen (p = 0.001); largest in height, 0.40" in lines[1]
    assert "no difference is seen (p = 0.5); largest of age and mood, 0.30" in lines[2]
    assert lines[-1] == "the rows do not pass: columns"


def test_one_column_has_no_correlation_to_speak_of():
    found = Differences(Difference(0.1, 0.5, 0), Difference(0.0, 1.0, 0), Difference(0.5, 0.5, 0))
    x = torch.zeros(20, 1)
    assert not any("correlation" in line for line in verdict(found, 0.5, ("age",), Sides(x, x, x, "new rows")))


def test_ties_do_not_differ_and_no_p_is_zero():
    """Sees marginals that count between equal cells, a p that leaves out equal differences, and p = 0."""
    same = torch.zeros(20, 2)
    tied = two_samples(same, same, rng(0, "d"))
    assert [(d.value, d.p) for d in (tied.marginals, tied.correlations)] == [(0, 1), (0, 1)]
    apart = two_samples(normal(30, "x"), normal(30, "y") + 100, rng(0, "d"))
    assert apart.marginals == (1, 1 / 200, 0)
    assert (apart.told_apart.value, apart.told_apart.p) == (1, 1 / 200)


def test_rows_are_told_apart_by_their_nearest_others():
    """Sees a row that is its own neighbour."""
    x, y = ring(40, "x"), ring(40, "y")
    r, first = ranks(torch.cat([x, y]).double()).numpy(), np.arange(80) < 40
    near = NearestNeighbors(n_neighbors=6).fit(r).kneighbors(r, return_distance=False)[:, 1:]
    most = first[near].sum(1) > 2.5
    assert two_samples(x, y, rng(0, "d")).told_apart.value == pytest.approx(float((most == first).mean()))


def test_few_or_unequal_rows_are_refused():
    with pytest.raises(ValueError, match="expected two sets of the same shape, of at least 10 rows"):
        two_samples(normal(9, "x"), normal(9, "y"), rng(0, "d"))
    with pytest.raises(ValueError, match="expected two sets of the same shape"):
        two_samples(normal(20, "x"), normal(30, "y"), rng(0, "d"))


def evaluated(folder: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The scores of a run on a table of 400 rows, written and printed."""
    values = normal(400, "people", 0.8) @ torch.diag(torch.tensor([1.0, 10.0, 5.0])) + 100
    lines = [f"{a:.0f},{b:.4f},{c:.4f}" for a, b, c in values.tolist()]
    (folder / "people.csv").write_text("\n".join(["children,height,weight", *lines]) + "\n")
    assert anila("train", folder / "people.csv", *words, "--run", folder / "run") == 0
    capsys.readouterr()
    assert anila("evaluate", folder / "run", "--count", "200") == 0
    printed, scores = capsys.readouterr().out, json.loads((folder / "run" / "scores.json").read_text())
    for line in scores["protocol"]["drawn_rows"]["verdict"]:
        assert line in printed
    return scores


def test_a_kernel_is_compared_with_rows_that_it_does_not_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Sees a fit that is compared with rows it was fitted to: they would be at distance 0 from training."""
    scores = evaluated(tmp_path, [], capsys)
    assert min(scores[f"{name}_p"] for name in ("marginals", "correlations", "told_apart")) > 0.01
    assert scores["nearest_distance_data"] > 0.05
    assert 0.3 < scores["nearer"] < 0.7
    about = scores["protocol"]["drawn_rows"]
    assert (about["rows"], about["of_training"]) == (80, 320)
    assert about["verdict"][-1] == "the rows pass: no test sees a difference"


def test_few_rows_say_what_they_cannot_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Sees a fifth of 60 rows that is passed over in silence, and 80 rows that pass as if they were many."""
    (tmp_path / "few.csv").write_text("a,b\n" + "".join(f"{a:.3f},{b:.3f}\n" for a, b in normal(60, "few")[:, :2]))
    assert anila("train", tmp_path / "few.csv", "--run", tmp_path / "few") == 0
    assert anila("evaluate", tmp_path / "few", "--count", "200") == 0
    said = "not compared with a fifth of few.csv, the rest fitted again: 12 rows are too few, 20 are needed"
    assert said in capsys.readouterr().err
    x = normal(80, "x")
    lines = verdict(two_samples(x, normal(80, "y"), rng(0, "d")), 0.5, ("a", "b", "c"), Sides(x, x, x, "new rows"))
    assert (
        lines[0]
        == "80 drawn rows compared with new rows; with so few, a difference in a column shows only from about 0.28"
    )


def test_draws_that_copy_rows_are_recognised(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    scores = evaluated(tmp_path, ["network.bandwidth=0.01"], capsys)
    assert scores["nearer"] > 0.9
    assert any("training rows can be recognised" in line for line in scores["protocol"]["drawn_rows"]["verdict"])


def test_a_net_that_learned_nothing_does_not_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Beside the rows that it kept out. Its columns are as if they did not depend on each other."""
    scores = evaluated(tmp_path, [*TABLE, "network.whitened=false", "network.confine=3"], capsys)
    about = scores["protocol"]["drawn_rows"]
    assert about["beside"] == "rows of people.csv that were kept out of training"
    assert about["verdict"][-1].startswith("the rows do not pass: ")

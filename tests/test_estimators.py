"""The estimators keep scikit-learn's conventions, and what they promise of scores, alarms and draws."""

import importlib
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn", reason="the extra `sklearn` is not installed")

import pandas as pd
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import anila
from anila.density.kernel_energy import KernelEnergy
from anila.estimators import EnergyDensity, EnergyDetector, kernel_of_table
from exact import as_users_run_it


def rows(n: int, seed: int = 0) -> np.ndarray:
    """Three columns of different units; the third depends on the others."""
    g = np.random.default_rng(seed)
    x = g.standard_normal((n, 3)) * [1.0, 1.0, 0.3]
    x[:, 2] += x[:, 0] - x[:, 1]
    return x * [1.0, 1e3, 1e-3] + [0.0, 5e4, 0.0]


@parametrize_with_checks([EnergyDetector(), EnergyDensity()])
def test_scikit_learns_own_checks(estimator: Any, check: Any):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Can't check dok sparse matrix")
        check(estimator)


def test_a_row_that_was_trained_on_is_judged_by_the_others():
    """In any order and any part of the table; sees a row that finds itself."""
    x = rows(41)
    detector = EnergyDetector(bandwidth=0.4).fit(x)
    z, _ = detector.table_.inward(x)
    others = KernelEnergy(z[:40], 0.4)
    assert detector.score_samples(x[40:]) == pytest.approx(-others.error(z[40:]).numpy())
    assert detector.score_samples(x[::-5]) == pytest.approx(detector.score_samples(x)[::-5])


def test_anomalies_beside_each_other_do_not_hide_where_the_sparsest_rows_are_trimmed():
    """Sees trimmed rows that are centres all the same, and ones that leave out a copy of another row."""
    x = rows(205)
    x[200:] = 6 + 0.01 * x[200:]
    hidden, found = EnergyDetector(bandwidth=0.4).fit(x), EnergyDetector(bandwidth=0.4, trimmed=0.2).fit(x)
    assert set(found.score_samples(x).argsort()[:5]) == set(range(200, 205))
    assert not set(hidden.score_samples(x).argsort()[:5]) & set(range(200, 205))
    assert found.calibration_ == pytest.approx(np.sort(found.score_samples(x)))


def test_copies_count_as_often_as_they_are_there():
    x = np.repeat(rows(20), [1, 4] * 10, axis=0)
    density = EnergyDensity(bandwidth=0.4).fit(x)
    assert len(density.table_.kernel.centres) == 20
    assert density.table_.kernel.counts.tolist() == [1, 4] * 10


@pytest.mark.parametrize("discrete", [False, True])
def test_new_ordinary_rows_raise_as_many_alarms_as_promised(discrete: bool):
    """Also where new rows equal old ones; sees thresholds from rows that judge themselves (80% alarms)."""
    alarms, small, promised = [], [], []
    for seed in range(20):
        old, new = rows(100, seed), rows(300, 100 + seed)
        if discrete:
            old, new = (np.round(x * [1.5, 1.5e-3, 0]) for x in (old, new))
        detector = EnergyDetector(contamination=0.1).fit(old)
        promised.append(detector.false_alarm_rate_)
        alarms.append((detector.predict(new) == -1).mean())
        small.append((detector.predict_proba(new)[:, 0] <= 0.05).mean())
    assert np.mean(alarms) < np.mean(promised) + 0.03
    assert 0.02 < np.mean(small) < 0.07 or (discrete and np.mean(small) < 0.07)


def test_few_rows_promise_little():
    """30 rows cannot show that something happens once in a hundred rows."""
    detector = EnergyDetector(contamination=0.01).fit(rows(30))
    assert detector.false_alarm_rate_ >= 1 / 31
    assert detector.predict_proba([[1e9, 0, 0]])[0] == pytest.approx([1 / 31, 30 / 31])


@pytest.mark.parametrize("cell", [1e300, -1.7e308, np.inf, -np.inf])
def test_extreme_cells_are_outliers_wherever_they_are(cell: float):
    """Trained on or new; the other rows keep their scores. Sees NaN, a column squashed to 0, and a warning."""
    x = rows(60)
    x[7, 1] = cell
    detector = EnergyDetector().fit(x)
    scores = detector.score_samples(x)
    assert scores.argmin() == 7
    assert scores[7] < -1e15
    plain = EnergyDetector(bandwidth=detector.bandwidth_).fit(np.delete(x, 7, 0))
    assert np.delete(scores, 7) == pytest.approx(plain.score_samples(np.delete(x, 7, 0)), rel=0.2, abs=0.05)
    assert plain.predict(x[7:8]) == [-1]
    assert np.isfinite(EnergyDensity().fit(x).score_samples(x)).all()


def test_constant_and_empty_columns_change_nothing():
    x = rows(50)
    more = np.column_stack([x, np.full(50, 7.0)])
    expected = EnergyDetector(bandwidth=0.3).fit(x).score_samples(x)
    assert EnergyDetector(bandwidth=0.3).fit(more).score_samples(more) == pytest.approx(expected)
    assert EnergyDetector().fit(np.ones((30, 2))).predict([[1, 1], [1, 9]]).tolist() == [1, -1]
    empty = np.column_stack([x, np.full(50, np.nan)])
    assert np.isfinite(EnergyDetector().fit(empty).score_samples(empty)).all()


def test_missing_cells_need_no_imputing():
    """Trained with holes or without, far rows stay odder than near ones; a hole is no outlier."""
    holes = rows(200)
    holes[::3, 1] = np.nan
    for x in (holes, rows(200)):
        detector = EnergyDetector(contamination=0.05).fit(x)
        assert detector.predict([[0, np.nan, 0], [9, np.nan, 0], [0, 5e4, 0], [0, 5e4, 9e-3]]).tolist() == [
            1,
            -1,
            1,
            -1,
        ]


def test_a_row_without_a_cell_says_nothing():
    """It counts as the median row, and teaches nothing. Sees a score of 0, the least there is, and a bump over all."""
    x, empty = rows(200), np.full((20, 3), np.nan)
    detector = EnergyDetector().fit(x)
    assert detector.score_samples(empty) == pytest.approx(np.median(detector.calibration_))
    again = EnergyDetector().fit(np.concatenate([x, empty]))
    assert (again.offset_, again.bandwidth_) == (detector.offset_, detector.bandwidth_)
    with pytest.raises(ValueError, match="at least 2 rows with a cell, got 1 among 21"):
        EnergyDetector().fit(np.concatenate([x[:1], empty]))


def test_the_density_is_in_the_units_of_the_table():
    """∫ p = 1 over the table's own units: log p drops by log c where a column is multiplied by c."""
    x = rows(80)
    before = EnergyDensity().fit(x).score_samples(x)
    assert EnergyDensity().fit(x * [1, 10, 1]).score_samples(x * [1, 10, 1]) == pytest.approx(before - np.log(10))
    assert EnergyDensity().fit(x).score(x) == pytest.approx(before.sum())


def test_draws_and_conditional_draws_are_rows_like_these():
    x = rows(2000)
    density = EnergyDensity().fit(x)
    drawn = density.sample(4000, random_state=0)
    assert np.corrcoef(drawn.T) == pytest.approx(np.corrcoef(x.T), abs=0.07)
    assert drawn.mean(0) == pytest.approx(x.mean(0), rel=0.05, abs=0.05)
    given = np.array([[1.0, 5e4 - 1e3, np.nan]])  # the third is about 2e-3
    third = density.conditional_draws(given, draws=300, random_state=0)[:, 0, 2]
    assert third.mean() == pytest.approx(2e-3, abs=0.3e-3)
    assert 0.2e-3 < third.std() < 0.6e-3


def test_imputing_leaves_what_is_there():
    x = rows(100)
    x[::4, 2] = np.nan
    density = EnergyDensity(random_state=0).fit(x)
    filled = density.transform(x)
    seen = ~np.isnan(x)
    assert not np.isnan(filled).any()
    assert (filled[seen] == x[seen]).all()
    assert (density.transform(x) == filled).all()
    assert np.corrcoef(filled[::4, 2], filled[::4, 0])[0, 1] > 0.3


def test_frames_pipelines_search_pickle_and_seeds():
    """DataFrames keep their names; every copy gives the same numbers."""
    frame = pd.DataFrame(rows(450), columns=["a", "b", "c"])
    detector = EnergyDetector(random_state=3).fit(frame)
    assert detector.feature_names_in_.tolist() == ["a", "b", "c"]
    scores = detector.score_samples(frame)
    piped = make_pipeline(FunctionTransformer(), EnergyDetector(random_state=3)).fit(frame)
    again: Any = clone(detector)
    for other in (again.fit(frame), pickle.loads(pickle.dumps(detector)), piped):
        assert (other.score_samples(frame) == scores).all()
    with pytest.raises(ValueError, match="feature names"):
        detector.predict(frame[["b", "a", "c"]])
    search = GridSearchCV(EnergyDensity(), {"bandwidth": [0.01, 0.3, 9.0]}, cv=3).fit(frame)
    assert search.best_params_ == {"bandwidth": 0.3}


def people(n: int = 300, seed: int = 0) -> pd.DataFrame:
    """Columns of all kinds: `v` is about 0, 3 or −3 by `kind`, and the others follow `v`."""
    g = np.random.default_rng(seed)
    kind = g.choice(["a", "b", "c"], n, p=[0.5, 0.3, 0.2])
    v = np.array([{"a": 0, "b": 3, "c": -3}[k] for k in kind]) + 0.5 * g.standard_normal(n)
    day = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.round(10 * v + g.standard_normal(n)), unit="D")
    whole = np.round(5 * v + g.standard_normal(n)).astype(int)
    return pd.DataFrame({"kind": pd.Categorical(kind), "text": kind, "v": v, "n": whole, "flag": v > 0, "day": day})


def with_holes(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with a cell missing in six rows of seven; booleans with holes are objects, as pandas has it."""
    found = frame.astype({"flag": object, "n": float})
    for j, name in enumerate(found.columns):
        found.loc[j::7, name] = None
    return found


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("piped", [False, True])
def test_frames_of_all_kinds_are_judged(holes: bool, piped: bool):
    """A category that does not go with its number is odd, and so is one that was never seen; a hole is not."""
    frame, detector = people(), EnergyDetector(contamination=0.05, random_state=0)
    train = with_holes(frame) if holes else frame
    found: Any = (make_pipeline(FunctionTransformer(), detector) if piped else detector).fit(train)
    new = people(200, 1)
    assert (found.predict(new) == -1).mean() < 0.12
    a = new[new.kind == "a"].iloc[:2]
    assert found.predict(a.assign(kind="b", text="b")).tolist() == [-1, -1]
    assert found.predict(a.assign(kind="z", text="z")).tolist() == [-1, -1]
    assert found.predict(a.assign(v=[1e300, -np.inf])).tolist() == [-1, -1]
    assert (found.predict(new.assign(text=None)) == -1).mean() < 0.12
    assert (found.score_samples(new.iloc[::-1]) == found.score_samples(new)[::-1]).all()
    assert (pickle.loads(pickle.dumps(found)).score_samples(new) == found.score_samples(new)).all()


def test_frames_come_back_in_their_kinds():
    """Draws and filled cells; sees one-hot numbers, floats for whole numbers, and a cell that was there and changed."""
    frame = people()
    density = EnergyDensity(random_state=0).fit(frame)
    drawn = density.sample(2000, random_state=0)
    assert (drawn.dtypes == frame.dtypes).all()
    assert (drawn.kind == drawn.text).mean() > 0.98
    assert drawn.kind.value_counts(normalize=True)["a"] == pytest.approx(0.5, abs=0.05)
    assert drawn.groupby("text").v.mean().tolist() == pytest.approx([0, 3, -3], abs=0.1)
    torn = with_holes(frame)
    filled = EnergyDensity(random_state=0).fit(torn).transform(torn)
    assert (filled.dtypes == torn.dtypes).all()
    assert not filled.isna().any(axis=None)
    assert (filled.where(torn.notna()).astype(object).fillna(0) == torn.astype(object).fillna(0)).all(axis=None)
    assert (filled.text == frame.text).mean() > 0.95
    twice = density.conditional_draws(torn.iloc[:3], draws=2, random_state=0)
    assert [len(draw) for draw in twice] == [3, 3]


def test_categories_have_probabilities():
    """Σ p = 1 over a category, and those never seen; sees a density of the corners."""
    frame = people()[["text", "v"]]
    density = EnergyDensity(bandwidth=0.7).fit(frame)
    v = np.linspace(-12, 12, 4001)
    texts = ["a", "b", "c", "never seen"]
    p = [np.exp(density.score_samples(pd.DataFrame({"text": text, "v": v}))) for text in texts]
    assert sum(part.sum() for part in p) * (v[1] - v[0]) == pytest.approx(1, abs=1e-6)


def test_what_no_frame_may_hold_is_said():
    frame = people().assign(name=[f"person {i}" for i in range(300)])
    with pytest.warns(UserWarning, match="X: left out name .300 different texts in 300 rows"):
        density = EnergyDensity().fit(frame)
    assert "name" not in density.sample(2)
    with pytest.raises(ValueError, match="feature names"):
        density.score_samples(frame[["v"]])
    with pytest.raises(ValueError, match="column 'v': expected numbers as in training, got text such as"):
        density.score_samples(frame.assign(v="much"))
    with pytest.raises(ValueError, match="mixed kinds.*make its cells all numbers or all text"):
        EnergyDetector().fit(people().assign(mixed=[1, "two", 3.0] * 100))
    with pytest.raises(ValueError, match="minimum of 2"):
        EnergyDetector().fit(people(1))


def test_large_tables_take_some_rows_as_centres(monkeypatch: pytest.MonkeyPatch):
    """All rows up to 31,622; then so many that rows times centres stay the same. Rows left out are as new ones."""
    assert [kernel_of_table.centres_of(n) for n in (30, 31_622, 50_000, 10**6)] == [30, 31_622, 20_000, 5_000]
    monkeypatch.setattr(kernel_of_table, "centres_of", lambda n: min(n, 200))
    monkeypatch.setattr(kernel_of_table, "CALIBRATION", 300)
    x = rows(1000)
    detector = EnergyDetector(random_state=0).fit(x)
    assert len(detector.table_.kernel.centres) == 200
    assert 0.05 < (detector.predict(x) == -1).mean() < 0.16
    assert (detector.predict(rows(1000, 1)) == -1).mean() == pytest.approx(0.1, abs=0.06)


def test_wrong_settings_are_refused():
    for contamination in (0.0, 0.6, -1.0):
        with pytest.raises(ValueError, match="contamination must lie in"):
            EnergyDetector(contamination=contamination).fit(rows(30))
    with pytest.raises(ValueError, match="bandwidth must be positive"):
        EnergyDetector(bandwidth=0.0).fit(rows(30))
    with pytest.raises(ValueError, match="trimmed must lie in"):
        EnergyDetector(trimmed=1.0).fit(rows(30))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: EnergyDetector(contamination="auto").fit(rows(20)), r"contamination must lie in .*; got 'auto'"),
        (lambda: EnergyDetector(trimmed=None).fit(rows(20)), r"trimmed must lie in .*; got None"),
        (lambda: EnergyDetector(bandwidth="scott").fit(rows(20)), "bandwidth must be positive; got 'scott'"),  # pyright: ignore
        (lambda: EnergyDensity().fit(rows(20)).sample(-1), "n_samples must be at least 0; got -1"),
        (lambda: EnergyDensity().fit(rows(20)).sample(2.5), "n_samples must be a whole number"),  # pyright: ignore
        (lambda: EnergyDensity().fit(rows(20)).conditional_draws(rows(2), draws=-1), "draws must be at least 0"),
    ],
)
def test_an_argument_of_another_kind_is_named(call: Any, message: str):
    """Sees Python's or torch's own words for it."""
    with as_users_run_it(), pytest.raises((TypeError, ValueError), match=message):
        call()


@pytest.mark.parametrize("odd", [pd.to_timedelta(range(60), unit="h"), pd.cut(range(60), 4)])
def test_a_column_that_is_no_number_date_or_text_is_left_out_of_a_frame(odd: Any):
    """Sees NumPy's or Arrow's own error for spans of time and intervals."""
    with pytest.warns(UserWarning, match="X: left out odd .cells of type"):
        EnergyDetector().fit(pd.DataFrame(rows(60), columns=list("abc")).assign(odd=odd))


def test_without_scikit_learn_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch):
    """No other room needs it; the estimators say what to install."""
    package = Path(anila.__file__).parent
    assert {path.parent.name for path in package.rglob("*.py") if "sklearn" in path.read_text()} == {"estimators"}
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, "anila.estimators")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'anila\[sklearn\]'"):
        importlib.import_module("anila.estimators")


@pytest.mark.parametrize("cell", [1e300, -1.7e308, np.inf, -np.inf])
def test_extreme_cells_poison_no_draw(cell: float):
    """Sees draws of 1e150, and a far row that counts as likely because one like it was there."""
    x = rows(100)
    x[7, 1], x[8, 0] = cell, -cell
    density = EnergyDensity(random_state=0).fit(x)
    usual = np.delete(x, [7, 8], 0)
    for drawn in (density.sample(2000, random_state=0), density.conditional_draws([[np.nan] * 3], 500, 0)[:, 0]):
        assert (np.abs(drawn - usual.mean(0)) < 8 * usual.std(0)).all()
    assert density.score_samples(x[7:8])[0] < density.score_samples(usual).min() - 100


def test_the_cell_that_was_spoiled_is_explained():
    """In the units of the table; of a frame with categories too. Sees coordinates in the place of columns."""
    x = rows(300)
    odd = np.array([[0.0, 5e4 + 9e3, 9e-3 - 9e-3], [0.5, 5e4, 9e-3]])
    share, likely = EnergyDetector().fit(x).explain(odd)
    assert share.argmax(1).tolist() == [1, 2]
    assert likely[0, 1] == pytest.approx(5e4, abs=1.5e3)
    assert np.isnan(likely[share == 0]).all()
    city = np.where(x[:, 0] > 0, "Rome", "Oslo")
    frame = pd.DataFrame({"a": x[:, 0], "city": city, "b": x[:, 1]})
    share, likely = EnergyDetector().fit(frame).explain(pd.DataFrame({"a": [2.0], "city": ["Oslo"], "b": [5e4]}))
    assert share.shape == (1, 3)
    assert likely[0, int(share[0].argmax())] in ("Rome", pytest.approx(-0.7, abs=0.7))


def wine() -> pd.DataFrame:
    """scikit-learn's wines with words, and a cell in twenty lost."""
    data: Any = load_wine(as_frame=True)
    frame: Any = data.data.assign(grower=data.target_names[data.target])
    frame["hue"] = pd.cut(frame["hue"], 3, labels=["low", "middle", "high"]).astype(str)  # pyright: ignore
    return frame.mask(np.random.default_rng(0).random(frame.shape) < 0.05)


def test_a_real_table_with_holes_and_words_in_a_pipeline():
    """Behind a ColumnTransformer that drops and reorders columns. Sees reasons that name a neighbouring column, words
    that no wine has, and cells that are changed where only holes are to be filled."""
    table = wine()
    columns: Any = make_column_transformer(
        ("drop", ["ash"]), ("passthrough", ["hue", "grower"]), remainder="passthrough", verbose_feature_names_out=False
    ).set_output(transform="pandas")
    detector = make_pipeline(columns, EnergyDetector(contamination=0.05, random_state=0)).fit(table)
    assert 0.02 < (detector.predict(table) == -1).mean() < 0.08
    spoiled = table.dropna().iloc[:5].assign(alcohol=30.0)
    assert (detector.predict(spoiled) == -1).all()
    share, likely = (
        pd.DataFrame(found, columns=columns.get_feature_names_out()) for found in explained(detector, spoiled)
    )
    assert (share.idxmax(axis=1) == "alcohol").all()
    assert likely["alcohol"].astype(float).between(11, 15).all()
    density: Any = make_pipeline(columns, EnergyDensity(random_state=0)).fit(table)
    drawn, filled = density[-1].sample(50), density.transform(table)
    assert set(drawn["hue"]) <= {"low", "middle", "high"}
    assert set(drawn["grower"]) == set(table["grower"].dropna())
    assert not drawn.isna().any(axis=None)
    pd.testing.assert_frame_equal(
        filled.where(columns.transform(table).notna()), columns.transform(table), check_dtype=False
    )
    assert not filled.isna().any(axis=None)


def explained(detector: Any, rows: pd.DataFrame) -> Any:
    """Of the last step of a pipeline, what it says of rows."""
    return detector[-1].explain(detector[:-1].transform(rows))


def test_estimators_do_not_ask_torch_for_its_defaults():
    """Sees a part of them made where torch.set_default_device says, beside NumPy's rows."""
    x = np.random.default_rng(0).standard_normal((60, 3))
    x[3, 1] = np.nan

    def answers() -> list[np.ndarray]:
        odd, law = EnergyDetector(random_state=0).fit(x), EnergyDensity(random_state=0).fit(x)
        drawn = [law.sample(5, random_state=0), law.conditional_draws(x[3:4], random_state=0), law.transform(x)]
        return [odd.score_samples(x), odd.explain(x[:2]).share, law.score_samples(x), *drawn]

    expected = answers()
    with torch.device("meta"):
        found = answers()
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_draws_keep_constants_copies_and_totals() -> None:
    """In arrays and frames, drawn and imputed, beside an empty column and an extreme row; log p does not count them.

    Sees a copy drawn with noise of its own, and a cell drawn at random though a copy of it is there.
    """
    x = rows(80)
    follow = [x[:, 0], 2.54 * x[:, 0] - 3, x[:, 0] + 2e-3 * x[:, 1], np.full(80, 7.0)]
    more = np.column_stack([x, *follow, np.full(80, np.nan)])
    more[9, 2] = 1e300
    density = EnergyDensity(random_state=0).fit(more)
    drawn = density.sample(50, random_state=0)
    expected = [drawn[:, 0], 2.54 * drawn[:, 0] - 3, drawn[:, 0] + 2e-3 * drawn[:, 1], np.full(50, 7.0)]
    np.testing.assert_allclose(drawn[:, 3:7].T, expected, rtol=1e-6)
    hole = np.full((1, 8), np.nan)
    hole[0, [4, 5]] = 2.54 * 0.5 - 3, 100.5
    np.testing.assert_allclose(density.transform(hole)[0, [0, 1, 3]], [0.5, 5e4, 0.5], rtol=1e-6)
    plain = EnergyDensity(random_state=0).fit(x)
    with_copies = EnergyDensity(random_state=0).fit(np.column_stack([x, *follow]))
    np.testing.assert_allclose(with_copies.score_samples(np.column_stack([x, *follow])), plain.score_samples(x))
    frame = pd.DataFrame(
        {"cm": x[:, 0].round(2), "again": x[:, 0].round(2), "unit": "cm", "city": ["Oslo", "Rome"] * 40}
    )
    of_frame = EnergyDensity(random_state=0).fit(frame).sample(20, random_state=0)
    assert (of_frame["cm"] == of_frame["again"]).all()
    assert set(of_frame["unit"]) == {"cm"}


def test_rows_that_break_a_copy_are_said_to() -> None:
    """Sees a broken copy that nobody hears of: log p does not count it. A detector scores it, so it says nothing."""
    x = np.column_stack([rows(60), rows(60)[:, 0]])
    broken = x[:2] + np.array([0, 0, 0, 9])
    with pytest.warns(UserWarning, match="break what held in all rows of training: 3 = 0 .2 rows, the first is 0"):
        EnergyDensity().fit(x).score_samples(broken)
    assert EnergyDetector().fit(x).predict(broken).tolist() == [-1, -1]
    with pytest.raises(ValueError, match="X: no column varies, and constant columns have no density .0 = 1, 1 = 1"):
        EnergyDensity().fit(np.ones((30, 2)))

"""The estimators keep scikit-learn's conventions, and what they promise of scores, alarms and draws."""

import importlib
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the extra `sklearn` is not installed")

import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import anila
from anila.density.kernel_energy import KernelEnergy
from anila.estimators import EnergyDensity, EnergyDetector, kernel_of_table
from anila.estimators.scaling import Scaling


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
    assert scores[7] < -1e100
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


def test_the_scale_of_a_column_is_that_of_its_usual_cells():
    x = np.array([[1.0, 5.0], [3.0, 5.0], [1.0, np.nan], [3.0, 5.0], [-1e300, 5.0]])
    assert Scaling.of(x).mean.tolist() == [2.0, 5.0]
    assert Scaling.of(x).sd.tolist() == [1.0, 1.0]


def test_without_scikit_learn_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch):
    """No other room needs it; the estimators say what to install."""
    package = Path(anila.__file__).parent
    assert {path.parent.name for path in package.rglob("*.py") if "sklearn" in path.read_text()} == {"estimators"}
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, "anila.estimators")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'anila\[sklearn\]'"):
        importlib.import_module("anila.estimators")

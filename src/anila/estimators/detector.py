"""Which rows of a table are odd.

The score of a row is its denoising error |x − D(x)| in standard deviations of the columns: how far one denoising step
of the kernel energy moves it. If the training table has missing cells, the score is −f(x) per observed cell, since the
error would mix rows of few and of many cells (`anila.density.kernel_energy`).

Thresholds and p-values come from leave-one-out scores of the training rows,

    p = (1 + #{training scores ≥ score})/(n + 1),

which is at least 1/(n + 1): a small table cannot show that a row is very odd.

References: Vovk, Gammerman & Shafer 2005, section 2.2 (p); Vincent 2011 (the error, of a kernel density).
"""

from typing import Any, NamedTuple, no_type_check

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Float64, Int64
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from torch import Tensor

from anila.density.kernel_energy import Own, within_range
from anila.density.kernel_reasons import reasons
from anila.density.precision import own_defaults
from anila.estimators.kernel_of_table import KernelOfTable, kernel_of_table, new_rows, training_rows

NUMBER = (float, int, np.floating)
ROUNDING = 1e-9
"""Scores that differ by less than this share count as equal: sums round differently beside other rows."""


class Explanation(NamedTuple):
    """What makes each row odd, (rows, columns)."""

    share: Float64[np.ndarray, "rows d"]
    """Share of the score that each cell carries; 0 if it is not named."""
    likely: np.ndarray
    """Likely values for the cells that are named, in the units of the table; NaN or None elsewhere."""


class EnergyDetector(OutlierMixin, BaseEstimator):
    """Scores rows by their denoising error under the kernel energy of the training table.

    Signs are scikit-learn's: odd rows have low scores, and `predict` gives −1 for outliers and 1 for others. Missing
    cells are NaN and need no imputation; infinite cells count as extremely far out. A training row is scored by the
    others, so `fit(X).predict(X)` is honest.

    Args:
        contamination: Share of the training rows to call outliers, in (0, 0.5].
        bandwidth: h in standard deviations of a column; None for the likeliest by leave-one-out.
        trimmed: Share of the training rows, the sparsest ones, that score no row, in [0, 1). Take 0.2 if the training
            rows may contain anomalies: a few of them close together then do not hide each other.
        random_state: Seed or RandomState that chooses rows if not all are used (over 400).

    Attributes:
        offset_: Score below which a row is called an outlier.
        bandwidth_: h.
        false_alarm_rate_: Expected share of new ordinary rows below `offset_`, about `contamination` and at least
            1/(n + 1), if the training rows are ordinary.
        n_features_in_, feature_names_in_: Number and names of the columns.

    >>> X = np.random.default_rng(0).standard_normal((200, 2))
    >>> EnergyDetector(contamination=0.05).fit(X).predict([[0.0, 0.0], [6.0, 0.0]]).tolist()
    [1, -1]
    """

    feature_names_in_: np.ndarray
    table_: KernelOfTable
    calibration_: Float64[np.ndarray, "n"]

    @no_type_check  # scikit-learn's convention: `fit` checks, not this
    def __init__(
        self,
        contamination: float = 0.1,
        bandwidth: float | None = None,
        random_state: int | np.random.RandomState | None = None,
        trimmed: float = 0.0,
    ):
        self.contamination = contamination
        self.bandwidth = bandwidth
        self.trimmed = trimmed
        self.random_state = random_state

    @own_defaults()
    def fit(self, X: Any, y: Any = None) -> "EnergyDetector":  # noqa: ARG002
        """Fit the kernel energy and the threshold.

        Args:
            X: At least 2 rows of numbers, (n, d), NaN where a cell is missing; or a DataFrame, which may also hold
                text, categories, booleans and dates.
            y: Not used.

        Raises:
            ValueError: If contamination, bandwidth or trimmed is out of range, or X is not a table.
        """
        if not (isinstance(self.contamination, NUMBER) and 0 < self.contamination <= 0.5):
            raise ValueError(f"contamination must lie in (0, 0.5]: a share of rows; got {self.contamination!r}")
        if not (isinstance(self.trimmed, NUMBER) and 0 <= self.trimmed < 1):
            raise ValueError(f"trimmed must lie in [0, 1): a share of rows; got {self.trimmed!r}")
        rows = training_rows(self, X)
        self.frame_ = X.iloc[:0] if isinstance(rows, pa.Table) else None
        seed = check_random_state(self.random_state).randint(2**31)
        self.table_, z, own = kernel_of_table(rows, self.bandwidth, seed, float(self.trimmed))
        self.bandwidth_ = self.table_.kernel.bandwidth
        self.calibration_ = np.sort(-oddness(self.table_, z, own).numpy())
        self.offset_ = float(lowered(np.percentile(self.calibration_, 100 * self.contamination)))
        self.false_alarm_rate_ = float((1 + (self.calibration_ < self.offset_).sum()) / (1 + len(self.calibration_)))
        return self

    @own_defaults()
    def score_samples(self, X: Any) -> Float64[np.ndarray, "rows"]:
        """Minus the denoising error in standard deviations, (rows,): the lower, the odder.

        A row without any cell gets the median score of the training rows.
        """
        rows = new_rows(self, X)
        z, own = self.table_.inward(rows)
        scores = -oddness(self.table_, z, own).numpy()
        return np.where(z.isnan().all(1).numpy(), np.median(self.calibration_), scores)

    def decision_function(self, X: Any) -> Float64[np.ndarray, "rows"]:
        """`score_samples` minus `offset_`: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> Int64[np.ndarray, "rows"]:
        """−1 for outliers, 1 for others, (rows,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def predict_proba(self, X: Any) -> Float64[np.ndarray, "rows 2"]:
        """p and 1 − p, (rows, 2): p is the share of training rows at least as odd, counting the row itself.

        A new row from the law of the training rows has p ≤ α with a probability of about α, for any α.
        """
        scores = self.score_samples(X)
        odder = np.searchsorted(lowered(self.calibration_), scores, side="right")
        p = (1 + odder) / (1 + len(self.calibration_))
        return np.stack([p, 1 - p], 1)

    @own_defaults()
    def explain(self, X: Any) -> Explanation:
        """Which cells carry the score of each row, and likely values for them.

        Cells are named until replacing them would leave at most a fifth of the score, or three are named.

        Args:
            X: Rows, as in `score_samples`.

        >>> X = np.random.default_rng(0).standard_normal((200, 2))
        >>> share, likely = EnergyDetector().fit(X).explain([[0.0, 9.0]])
        >>> int(share.argmax()), bool(abs(likely[0, 1]) < 1)
        (1, True)
        """
        z, own = self.table_.inward(new_rows(self, X))
        encoding = self.table_.encoding
        share, instead = reasons(self.table_.kernel, z, own, encoding.cells)
        of_cell = encoding.by_column(share).numpy()
        rows = encoding.decode(torch.where(instead.isnan(), z, instead))
        likely = np.stack([column.to_numpy(zero_copy_only=False) for column in rows.columns], 1)
        nothing: Any = None if likely.dtype == object else np.nan
        return Explanation(of_cell, np.where(of_cell > 0, likely, nothing))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def lowered(scores: Float64[np.ndarray, "*n"] | np.float64) -> Float64[np.ndarray, "*n"] | np.float64:
    """The scores minus what rounding may take from them."""
    return scores - ROUNDING * np.abs(scores)


@torch.no_grad()
def oddness(table: KernelOfTable, z: Float[Tensor, "rows d"], own: Own) -> Float[Tensor, "rows"]:
    """The denoising error, or −f per cell if centres have missing cells. A category is one cell."""
    kernel, first = table.kernel, table.first_coordinates
    if len(first) == z.shape[1] and kernel.complete:
        return kernel.error(z, own)
    there = ~z[:, first].isnan()
    cells = there.sum(1).clamp(min=1)
    if not kernel.complete:
        return -kernel(z, own) / cells
    square = (within_range(z) - kernel.denoised(z, own)).square().nansum(1)
    return (len(first) * square / cells).sqrt()

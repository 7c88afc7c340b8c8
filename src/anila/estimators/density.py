"""The density of the rows of a table: their likelihoods, new rows like them, and draws for missing cells.

It is the kernel energy of the standardised table, in the units of the table: log p(x) = f(z) − log Z − Σ_j log sd_j.
"""

from typing import Any, no_type_check

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float64
from sklearn.base import BaseEstimator, DensityMixin, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from anila.data.dependent import warn_of_broken
from anila.density.precision import own_defaults
from anila.estimators.frames import completed, like
from anila.estimators.kernel_of_table import (
    KernelOfTable,
    as_table,
    kernel_of_table,
    new_rows,
    training_rows,
    without_extremes,
)
from anila.messages import whole_number
from anila.rng import rng

Seed = int | np.random.RandomState | None


class EnergyDensity(OneToOneFeatureMixin, TransformerMixin, DensityMixin, BaseEstimator):
    """The kernel energy of a table as a density: exact log-likelihoods, draws and conditional draws.

    A training row is scored by the others: `score(X)` of the training table is its leave-one-out likelihood. Constants,
    and copies and totals of other columns, have no density: they are exact in draws, and `score_samples` warns of rows
    that break them.

    Args:
        bandwidth: h in standard deviations of a column; None for the likeliest by leave-one-out.
        random_state: Seed or RandomState for the choice of rows and for the draws of `transform`.

    Attributes:
        bandwidth_: h.
        n_features_in_, feature_names_in_: Number and names of the columns.

    >>> X = np.random.default_rng(0).standard_normal((200, 2))
    >>> density = EnergyDensity(random_state=0).fit(X)
    >>> density.sample(3, random_state=0).shape, density.transform([[0.5, np.nan]]).shape
    ((3, 2), (1, 2))
    """

    table_: KernelOfTable

    @no_type_check  # scikit-learn's convention: `fit` checks, not this
    def __init__(self, bandwidth: float | None = None, random_state: Seed = None):
        self.bandwidth = bandwidth
        self.random_state = random_state

    @own_defaults()
    def fit(self, X: Any, y: Any = None) -> "EnergyDensity":  # noqa: ARG002
        """Fit the kernel energy.

        Args:
            X: At least 2 rows of numbers, (n, d), NaN where a cell is missing; or a DataFrame, which may also hold
                text, categories, booleans and dates.
            y: Not used.

        Raises:
            ValueError: If bandwidth is not positive, or X is not a table.
        """
        rows = training_rows(self, X)
        self.frame_ = X.iloc[:0] if isinstance(rows, pa.Table) else None
        self.seed_ = check_random_state(self.random_state).randint(2**31)
        self.table_, _, _ = kernel_of_table(rows, self.bandwidth, self.seed_, dependent=False)
        self.table_ = without_extremes(self.table_)
        self.bandwidth_ = self.table_.kernel.bandwidth
        return self

    @own_defaults()
    def score_samples(self, X: Any) -> Float64[np.ndarray, "rows"]:
        """Normalised log p of the cells that are not missing, (rows,), in the units of the table.

        Warns:
            UserWarning: Of rows that break what held in all rows of training: log p does not count it.
        """
        rows = new_rows(self, X)
        warn_of_broken(as_table(rows), self.table_.encoding)
        return self.table_.log_prob(rows)

    def score(self, X: Any, y: Any = None) -> float:  # noqa: ARG002  # pyright: ignore[reportIncompatibleMethodOverride]
        """The log-likelihood of all rows together."""
        return float(self.score_samples(X).sum())

    @own_defaults()
    def sample(self, n_samples: int = 1, random_state: Seed = None) -> Any:
        """Drawn rows, (n_samples, d), exact for numbers; a DataFrame if the table was more than numbers.

        Args:
            n_samples: Number of rows.
            random_state: Seed or RandomState.
        """
        check_is_fitted(self)
        z = self.table_.kernel.draw(whole_number("n_samples", n_samples, least=0), generator(random_state))
        return self.table_.outward(z) if self.frame_ is None else like(self.frame_, self.table_.encoding.decode(z))

    @own_defaults()
    def conditional_draws(self, X: Any, draws: int = 1, random_state: Seed = None) -> Any:
        """The rows with missing cells drawn given the others, `draws` times, (draws, rows, d) or a list of DataFrames.

        Args:
            X: Rows, (rows, d), with NaN, or null in a DataFrame, in the cells to draw.
            draws: Independent draws for each row.
            random_state: Seed or RandomState.
        """
        x, g = new_rows(self, X), generator(random_state)
        whole_number("draws", draws, least=0)
        z, own = self.table_.inward(x)
        drawn = [self.table_.kernel.completed(z, g, own) for _ in range(draws)]
        if isinstance(x, pa.Table):
            return [completed(X, self.frame_, self.table_.encoding.decode(points)) for points in drawn]
        return np.where(np.isnan(x), np.stack([self.table_.outward(points) for points in drawn]), x)

    @own_defaults()
    def transform(self, X: Any) -> Any:
        """The rows with missing cells drawn once given the others: an imputer."""
        check_is_fitted(self)
        return self.conditional_draws(X, random_state=self.seed_)[0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def generator(random_state: Seed) -> torch.Generator:
    return rng(check_random_state(random_state).randint(2**31), "rows")

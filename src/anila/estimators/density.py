"""How likely the rows of a table are, rows like them, and what is likely in their missing cells.

The kernel energy of the standardised table, in the units of the table: log p(x) = f(z) − log Z − Σ_j log sd_j.
"""

from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Float64
from sklearn.base import BaseEstimator, DensityMixin, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from anila.estimators.kernel_of_table import KernelOfTable, kernel_of_table, new_rows, training_rows
from anila.rng import rng

Seed = int | np.random.RandomState | None


class EnergyDensity(OneToOneFeatureMixin, TransformerMixin, DensityMixin, BaseEstimator):
    """The kernel energy of a table as a density: exact log-likelihoods, draws and conditional draws.

    A row that was trained on is judged by the others: `score(X)` of the training table is its leave-one-out likelihood.

    Args:
        bandwidth: h in standard deviations of a column; None for the likeliest by leave-one-out.
        random_state: Seed or RandomState of the choice of rows and of what `transform` draws.

    Attributes:
        bandwidth_: h.
        n_features_in_, feature_names_in_: The columns.

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

    def fit(self, X: Any, y: Any = None) -> "EnergyDensity":  # noqa: ARG002
        """Fit the kernel energy.

        Args:
            X: Rows, (n, d), at least 2, of numbers; NaN where a cell is missing.
            y: Not used.

        Raises:
            ValueError: If bandwidth is not positive, or X is no table of numbers.
        """
        rows = training_rows(self, X)
        self.seed_ = check_random_state(self.random_state).randint(2**31)
        self.table_, _, _ = kernel_of_table(rows, self.bandwidth, self.seed_)
        self.bandwidth_ = self.table_.kernel.bandwidth
        return self

    def score_samples(self, X: Any) -> Float64[np.ndarray, "rows"]:
        """log p of the cells that are there, (rows,), normalised, in the units of the table."""
        x = new_rows(self, X)
        log_prob = self.table_.kernel.log_prob(*self.table_.inward(x)).numpy()
        return log_prob - np.where(np.isnan(x), 0, np.log(self.table_.scaling.sd)).sum(1)

    def score(self, X: Any, y: Any = None) -> float:  # noqa: ARG002  # pyright: ignore[reportIncompatibleMethodOverride]
        """The log-likelihood of all rows together."""
        return float(self.score_samples(X).sum())

    def sample(self, n_samples: int = 1, random_state: Seed = None) -> Float64[np.ndarray, "n d"]:
        """Exact draws of rows, (n_samples, d).

        Args:
            n_samples: Rows.
            random_state: Seed or RandomState.
        """
        check_is_fitted(self)
        return self.table_.scaling.outward(self.table_.kernel.draw(n_samples, generator(random_state)).numpy())

    def conditional_draws(self, X: Any, draws: int = 1, random_state: Seed = None) -> Float64[np.ndarray, "k rows d"]:
        """The rows with their missing cells drawn given the others, several times, (draws, rows, d).

        Args:
            X: Rows, (rows, d), NaN in the cells to draw.
            draws: Independent draws for each row.
            random_state: Seed or RandomState.
        """
        x = new_rows(self, X)
        z, own = self.table_.inward(x)
        g = generator(random_state)
        drawn = [self.table_.scaling.outward(self.table_.kernel.completed(z, g, own).numpy()) for _ in range(draws)]
        return np.where(np.isnan(x), np.stack(drawn), x)

    def transform(self, X: Any) -> Float64[np.ndarray, "rows d"]:
        """The rows with each missing cell drawn once given the others: an imputer."""
        check_is_fitted(self)
        return self.conditional_draws(X, random_state=self.seed_)[0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags


def generator(random_state: Seed) -> torch.Generator:
    return rng(check_random_state(random_state).randint(2**31), "rows")

"""Energies by scikit-learn's convention: `EnergyDetector` finds odd rows of a table, `EnergyDensity` draws rows.

Needs the extra `sklearn`: pip install 'anila[sklearn]'.
"""

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "sklearn":
        raise
    raise ModuleNotFoundError(
        "anila.estimators needs scikit-learn 1.6 or later: pip install 'anila[sklearn]'", name="sklearn"
    ) from error

from anila.estimators.density import EnergyDensity
from anila.estimators.detector import EnergyDetector

__all__ = ["EnergyDensity", "EnergyDetector"]

"""Cases times kernels: each case with one kernel and one case with each kernel; all other pairs are slow."""

from collections.abc import Iterable
from typing import Any

import pytest


def crossed(cases: Iterable[Any], kernels: Iterable[str], case: Any, kernel: str = "mala") -> list[Any]:
    """The pairs, for `parametrize`.

    Args:
        cases: What is asked of kernels.
        kernels: Their names.
        case: The one that every kernel is asked.
        kernel: The one that is asked everything.
    """
    pairs = [(one, name) for one in cases for name in kernels]
    return [pytest.param(*p, marks=() if p[0] == case or p[1] == kernel else pytest.mark.slow) for p in pairs]

"""Numbers with a range, in which constructors say what they take; settings on the command line are checked by it."""

from typing import Annotated

from annotated_types import Ge, Gt, Le

Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
MOST = 10**9
"""Of anything that is counted: more than memory or time is enough for, and few enough to be multiplied in 64 bits."""
Count = Annotated[int, Ge(1), Le(MOST)]
CountOrZero = Annotated[int, Ge(0), Le(MOST)]
Several = Annotated[int, Ge(2), Le(MOST)]
Side = Annotated[int, Ge(1), Le(8192)]
"""Pixels of an image along one; more take the memory that makes good images look broken."""
Threads = Annotated[int, Ge(1), Le(1024)]
"""Of a process: OpenMP ends one that asks for far more than there can be."""

"""Number types with a range, for the arguments of constructors; settings on the command line are checked by them."""

from typing import Annotated

from annotated_types import Ge, Gt, Le

Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
MOST = 10**9
"""Limit of all counts: more than memory or time allows, and small enough for products in 64 bits."""
Count = Annotated[int, Ge(1), Le(MOST)]
CountOrZero = Annotated[int, Ge(0), Le(MOST)]
Several = Annotated[int, Ge(2), Le(MOST)]
Side = Annotated[int, Ge(1), Le(8192)]
"""Pixels along one side of an image; more would run out of memory, which makes good images look broken."""
Threads = Annotated[int, Ge(1), Le(1024)]
"""Threads of a process; OpenMP kills one that asks for far too many."""

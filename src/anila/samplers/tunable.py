"""Tunable: the settings that a warm-up may find, and which of them a kernel takes.

They are found by calling `make`, first with all of them and then with fewer.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from anila.density.log_density import value_and_grad
from anila.density.transform import Transformed
from anila.density.wrong_f import WrongF, require_function
from anila.samplers.hmc import hmc
from anila.samplers.kernel import Sampler
from anila.samplers.phase import Make, Settings
from anila.samplers.precondition import DENSE_LIMIT
from anila.samplers.sample import as_points, require_points

PROBES: Settings = {
    "step_size": 1.0, "threshold": 1.0, "preconditioner": None, "persistence": 1.0, "leapfrog_steps": 2, "spread": 1.0,
}  # fmt: skip
"""All tunable settings, with the values that are tried first. Four leapfrog steps would bring chains of a normal law in
few dimensions back to where they began, so that good preconditioners would seem bad."""


def orders() -> Iterator[tuple[str, ...]]:
    """Sets of settings that a kernel may take, the largest first."""
    first, *others = PROBES
    for more in range(len(others), -1, -1):
        yield from ((first, *names) for names in combinations(others, more))


TENSORS = {"step_size", "threshold", "preconditioner", "persistence", "spread"}
"""Settings that may be tensors, so that one compiled kernel serves a whole warm-up."""


def tensors(names: tuple[str, ...], x: Tensor) -> dict[str, Tensor]:
    """Tensors into which all later settings can be written: a preconditioner is dense if it may become so."""
    found = {name: x.new_ones(()) for name in names if name in TENSORS}
    if "preconditioner" in names:
        d = x[0].numel()
        found["preconditioner"] = torch.eye(d).to(x) if 1 < d <= DENSE_LIMIT else torch.ones_like(x[0])
    return found


def chosen(make: Callable[..., Any], x0: Any) -> tuple[Make, tuple[str, ...]]:
    """The function that makes the kernel, `hmc` if only a log-density is given, and the settings that it takes."""
    if isinstance(make, Sampler):
        raise TypeError("tune makes the kernel: give f, or tune(lambda **settings: mala(f, **settings), ...)")
    require_function(make)
    try:
        return make, keywords(make)
    except TypeError as error:
        refusal = error
    if isinstance(make, Transformed):
        return (usual := partial(hmc, make)), keywords(usual)
    x = as_points(x0, make)
    require_points(x)
    try:
        value_and_grad(make, x)
        return (usual := partial(hmc, make)), keywords(usual)
    except WrongF:
        raise
    except Exception as error:
        refusal = error
    raise TypeError(
        "give a log-density, (chains, *event) -> (chains,), or a function of step_size that returns a Sampler, e.g. "
        f"lambda **settings: mala(f, **settings); with x0 of shape {tuple(x.shape)} it said: {refusal}"
    ) from refusal


def keywords(make: Callable[..., Any]) -> tuple[str, ...]:
    """The settings that `make` takes, found by calling it: the first of `orders` that raises no TypeError."""
    refusal = TypeError()
    for names in orders():
        try:
            make(**{name: PROBES[name] for name in names})
        except TypeError as error:
            refusal = error
        else:
            return names
    raise refusal

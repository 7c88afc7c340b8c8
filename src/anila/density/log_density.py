"""An energy-based model is a function f from points to numbers: p(x) = exp f(x) / Z.

`f` is the unnormalised **log-density**: higher is likelier. It maps a batch of points of shape (chains, *event) to one
number per row, shape (chains,). "Energy" means -f; `from_energy` converts.

Everything that differentiates f with respect to x goes through `differentiate`, and everything random goes
through a generator made by `rng`, so a result is a function of (f, start, seed).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from anila.density import precision
from anila.density.rows import across
from anila.density.wrong_f import CUT, WrongF, inside, require_depends, require_one_number_a_row

LogDensity = Callable[[Tensor], Tensor]
"""f: (chains, *event) -> (chains,)."""


@runtime_checkable
class HasLevels(Protocol):
    """f(x, s): a log-density for each noise level s of the data."""

    def __call__(self, x: Tensor, s: Tensor, /) -> Tensor:
        """f of points (n, *event) at levels (n,), (n,)."""
        ...

    def at(self, s: float | Tensor, /) -> LogDensity:
        """The log-density at one level, or at a level for each row."""
        ...


@runtime_checkable
class Widened(HasLevels, Protocol):
    """f(x, s) whose steps to the next level are widened, so that draws vary as much as the data."""

    def widened(self, s: float, /) -> LogDensity:
        """The log-density of the step from level s."""
        ...


@runtime_checkable
class HasClasses(Protocol):
    """f(x)[y]: a log-density for each class y; f(x) is the log-density of points of any class."""

    def logits(self, x: Tensor, /) -> Tensor:
        """f(x)[y] of every class, (n, classes); their softmax is p(y | x)."""
        ...

    def given(self, y: int | Tensor, /) -> torch.nn.Module:
        """The log-density of one class, or of a class for each row; it has levels if f has."""
        ...


@runtime_checkable
class Anneals(HasLevels, Protocol):
    """f(x, s) that can be sampled by annealing from draws of its highest level."""

    lowest: float
    """The level of f(x)."""
    highest: float
    finest: float
    """The smallest level that is learned, at most `lowest`."""

    def draw_highest(self, n: int, generator: torch.Generator, /) -> Tensor:
        """n draws from the highest level, (n, *event), as well as it is known without learning."""
        ...


@runtime_checkable
class ClosedForm(Protocol):
    """f(x) whose integral and draws are known without chains, and that scores how odd a row is."""

    ordinary: Tensor
    """`oddness` of ordinary rows that f has not seen, sorted, (n,)."""

    def __call__(self, x: Tensor, /) -> Tensor:
        """f of points (n, d), (n,)."""
        ...

    @property
    def log_z(self) -> float:
        """log ∫ exp f(x) dx."""
        ...

    def draw(self, n: int, generator: torch.Generator, /) -> Tensor:
        """n exact draws, (n, d)."""
        ...

    def completed(self, x: Tensor, generator: torch.Generator, /) -> Tensor:
        """x (n, d) with every NaN replaced by an exact draw given the other coordinates."""
        ...

    def oddness(self, x: Tensor, /) -> Tensor:
        """Scores that are larger for odder points, (n,)."""
        ...

    def reasons(self, x: Tensor, cell: Tensor | None = None, /) -> Any:
        """Which coordinates make each point odd (`share`), and likely values for them (`likely`), (n, d). Coordinates
        of one cell, (d,), go together.
        """
        ...

    def leave_one_out(self) -> Tensor:
        """log p of points that f has seen, each under all others, (n,)."""
        ...


def from_energy(energy: LogDensity) -> LogDensity:
    """The log-density f = -energy.

    >>> f = from_energy(lambda x: x.square().sum(-1) / 2)
    >>> f(torch.tensor([[3.0, 4.0]]))
    tensor([-12.5000])
    """
    return lambda x: -energy(x)


def from_numpy(value_and_grad: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]) -> LogDensity:
    """The log-density f whose value and gradient are computed by NumPy code, e.g. of JAX, Stan or your own.

    Args:
        value_and_grad: x of shape (chains, *event) -> f(x), (chains,), and ∇f(x), (chains, *event). It may overwrite x
            and reuse its output arrays: both are copied.

    Raises:
        ValueError: When called, if it does not return a value and a gradient of these shapes.

    >>> f = from_numpy(lambda x: (-(x**2).sum(1) / 2, -x))
    >>> f(torch.tensor([[3.0, 4.0]]))
    tensor([-12.5000])
    """

    def as_tensors(x: Tensor) -> tuple[Tensor, Tensor]:
        both = value_and_grad(np.array(x.numpy(force=True)))
        if not isinstance(both, tuple | list) or len(both) != 2:
            got = f"{len(both)} things" if isinstance(both, tuple | list) else type(both).__name__
            raise WrongF(f"from_numpy: expected a value and a gradient, as in (f(x), its gradient); got {got}")
        value, grad = (torch.from_numpy(np.array(a)).to(x) for a in both)
        if value.shape != x.shape[:1] or grad.shape != x.shape:
            raise WrongF(
                f"from_numpy: expected a value of shape {tuple(x.shape[:1])} and a gradient of shape "
                f"{tuple(x.shape)}; got {tuple(value.shape)} and {tuple(grad.shape)}"
            )
        return value, grad

    return computed_elsewhere(as_tensors)


def from_jax(log_density: Callable[[Any], Any]) -> LogDensity:
    """The log-density f of JAX code written for one point: compiled and run for all chains without copies (DLPack).

    Args:
        log_density: Maps a JAX array of one event to a number, as BlackJAX expects it.

    Raises:
        ValueError: When called with points that JAX would round.
    """
    import jax  # pyright: ignore[reportMissingImports]

    compiled = jax.jit(jax.vmap(jax.value_and_grad(log_density)))

    def there_and_back(x: Tensor) -> tuple[Tensor, Tensor]:
        point = jax.dlpack.from_dlpack(x.detach().contiguous())
        if f"torch.{point.dtype}" != str(x.dtype):
            raise ValueError(
                f"x is {x.dtype}, and JAX computes in {point.dtype}: jax.config.update('jax_enable_x64', True), or "
                "start from x0.float()"
            )
        value, grad = jax.block_until_ready(compiled(point))
        return torch.from_dlpack(value), torch.from_dlpack(grad)

    return computed_elsewhere(there_and_back)


def computed_elsewhere(value_and_grad: Callable[[Tensor], tuple[Tensor, Tensor]]) -> LogDensity:
    """f whose value and gradient are computed together, by code that autograd does not see."""

    class Elsewhere(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            value, grad = value_and_grad(x)
            ctx.save_for_backward(grad)
            return value

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, *up: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            (grad,) = ctx.saved_tensors
            return across(up[0], grad) * grad

    def f(x: Tensor) -> Tensor:
        return Elsewhere.apply(x)

    return f


def value_and_grad(f: LogDensity, x: Tensor) -> tuple[Tensor, Tensor]:
    """f(x) and ∇f(x), both detached; no gradient reaches the parameters of f.

    Args:
        f: Log-density, (chains, *event) -> (chains,).
        x: Points, (chains, *event), floating point.

    Returns:
        f(x) of shape (chains,) and ∇f(x) of shape (chains, *event). If gradients are rounded (`precision`), f(x) is
        computed separately, without rounding.

    Raises:
        ValueError: If f does not return one number per row, or its value does not depend on x.
    """
    if precision.is_rounded():
        return exact_value(f, x.detach()), gradient(f, x)
    value, grad = differentiate(f, apart(x).requires_grad_(True))
    return value.detach(), laid_out_as(x, grad.detach())


def gradient(f: LogDensity, x: Tensor) -> Tensor:
    """∇f(x), detached: for kernels that do not need f, which costs a second evaluation if gradients are rounded.

    Args:
        f: Log-density, (chains, *event) -> (chains,).
        x: Points, (chains, *event), floating point.

    Raises:
        ValueError: As in `value_and_grad`.
    """
    return laid_out_as(x, differentiate(f, apart(x).requires_grad_(True))[1].detach())


def apart(x: Tensor) -> Tensor:
    """A copy of x for an f that may write into it, as only the kernel may move chains."""
    return x.detach().clone()


def laid_out_as(x: Tensor, grad: Tensor) -> Tensor:
    """The gradient in the memory layout of x, as arithmetic between layouts (channels last or not) is slow."""
    return grad if grad.stride() == x.stride() else torch.empty_like(x).copy_(grad)


def exact_value(f: LogDensity, x: Tensor) -> Tensor:
    """f(x) without rounding, (chains,)."""
    with torch.no_grad(), precision.exact(x.device):
        value = inside(f, apart(x))
    require_one_number_a_row(value, x)
    return value


VALUES: ContextVar[Tensor | None] = ContextVar("VALUES", default=None)


@contextmanager
def adding_values(total: Tensor | None) -> Iterator[None]:
    """Inside, each f that is differentiated is added to total, (chains,), so a value that is not finite stays there."""
    token = VALUES.set(total)
    try:
        yield
    finally:
        VALUES.reset(token)


def differentiate(f: LogDensity, x: Tensor, twice: bool = False) -> tuple[Tensor, Tensor]:
    """f(x) and ∇f(x) for an x that requires grad, rounded as gradients are; `twice` keeps the graph of ∇f."""
    with torch.enable_grad(), precision.both_ways():
        with precision.forward(x.device):
            value = inside(f, x)
        require_one_number_a_row(value, x)
        require_depends(value, x)
        if (total := VALUES.get()) is not None and total.shape == value.shape:
            total += value.detach()
        grad = precision.slope(value, x, twice)
    if grad is None:
        raise WrongF(CUT)
    return value, grad


BATCH = 500
"""Rows for which f is computed at once."""


def values(f: LogDensity, x: Float[Tensor, "rows *event"]) -> Float[Tensor, "rows"]:
    """f of any number of rows, in float64 on the CPU, on whatever device they and the parameters of f are."""
    weights = next(f.parameters(), None) if isinstance(f, torch.nn.Module) else None
    device, found = x.device if weights is None else weights.device, []
    with torch.no_grad():
        for part in (part.to(device) for part in x.split(BATCH)):
            value = f(part)
            require_one_number_a_row(value, part)
            found.append(value.cpu().double())
    return torch.cat(found)

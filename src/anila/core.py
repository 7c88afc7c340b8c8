"""An energy-based model is a function f from points to numbers: p(x) = exp f(x) / Z.

`f` is the unnormalised **log-density**: higher is likelier. It maps a batch of points of shape
(chains, *event) to one number a row, shape (chains,). "Energy" means -f; `from_energy` converts.

Everything that differentiates f with respect to x goes through `value_and_grad`, and everything random goes
through a generator made by `rng`, so a result is a function of (f, start, seed).
"""

import difflib
import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

LogDensity = Callable[[Tensor], Tensor]
"""f: (chains, *event) -> (chains,)."""


def rng(seed: int, *names: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """A generator for one named stream of randomness; different names give independent streams.

    Args:
        seed: The user's seed, any integer.
        names: What the stream is for, e.g. `rng(0, "chains", iteration)`.
        device: Where the numbers are drawn.

    >>> a, b = torch.randn(2, generator=rng(0, "start")), torch.randn(2, generator=rng(0, "chains"))
    >>> bool((a != b).all()), bool((a == torch.randn(2, generator=rng(0, "start"))).all())
    (True, True)
    """
    digest = hashlib.sha256(repr((int(seed), *names)).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little", signed=True))


def from_energy(energy: LogDensity) -> LogDensity:
    """The log-density f = -energy.

    >>> f = from_energy(lambda x: x.square().sum(-1) / 2)
    >>> f(torch.tensor([[3.0, 4.0]]))
    tensor([-12.5000])
    """
    return lambda x: -energy(x)


def value_and_grad(f: LogDensity, x: Tensor) -> tuple[Tensor, Tensor]:
    """f(x) and ∇f(x), both detached; no gradient reaches the parameters of f.

    Args:
        f: Log-density, (chains, *event) -> (chains,).
        x: Points, (chains, *event), floating point.

    Returns:
        f(x) of shape (chains,) and ∇f(x) of shape (chains, *event).

    Raises:
        ValueError: If f does not return one number a row, or its value does not depend on x.
    """
    x = x.detach().requires_grad_(True)
    with torch.enable_grad():
        value = f(x)
        require_one_number_a_row(value, x)
        (grad,) = torch.autograd.grad(value.sum(), x, allow_unused=True)
    if grad is None:
        raise ValueError(CUT)
    return value.detach(), grad.detach()


CUT = (
    "f(x) does not depend on x through autograd: no .detach(), .item() or numpy inside f, "
    "and no torch.inference_mode() around it"
)


def require_one_number_a_row(value: object, x: Tensor) -> None:
    """Refuse an f whose value would be broadcast, or that cannot be differentiated in x."""
    if not isinstance(value, Tensor):
        raise ValueError(f"f must return a tensor of shape ({len(x)},); got {type(value).__name__}")
    if value.shape != x.shape[:1]:
        hint = "; add .squeeze(-1)" if value.shape == (len(x), 1) else ""
        raise ValueError(
            f"f must return one number a row: expected shape ({len(x)},) for x of shape {tuple(x.shape)}, "
            f"got {tuple(value.shape)}{hint}"
        )
    if x.requires_grad and not value.requires_grad:
        raise ValueError(CUT)


def check_log_density(f: LogDensity, x: Tensor) -> None:
    """Dry-run f on two points and refuse what would silently go wrong in a chain.

    Args:
        f: Log-density, (chains, *event) -> (chains,).
        x: At least two points, (chains, *event).

    Raises:
        ValueError: If f returns the wrong shape, cannot be differentiated, or couples the rows of a batch
            (as batch norm in training mode does): chains must not talk to each other.
    """
    two = x[:2]
    both, grad = value_and_grad(f, two)
    more, _ = value_and_grad(f, torch.cat([two[:1], two]))  # a batch of one would make batch norm raise first
    tolerance = 1e-3 if both.dtype != torch.float64 else 1e-9
    if bool((both[0] - more[0]).abs() > tolerance * (1 + both[0].abs())):
        raise ValueError(
            f"f couples the rows of a batch: f(x₀) is {both[0]:.6g} beside x₁ and {more[0]:.6g} beside x₀ and x₁; "
            "chains would not be independent (batch norm in training mode? call model.eval())"
        )
    if not bool(torch.isfinite(both).all() and torch.isfinite(grad).all()):
        raise ValueError(f"f or its gradient is not finite at the start: f = {both.tolist()}")


@contextmanager
def warnings_to(say: Callable[[str], None]) -> Iterator[None]:
    """Warnings become lines for the user, each text once."""
    seen: set[str] = set()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in seen:
            seen.add(str(message))
            say(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = show
        yield


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown word.

    >>> did_you_mean("moon", ["moons", "circles"])
    "; did you mean 'moons'?"
    """
    near = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""

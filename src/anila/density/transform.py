"""Named parameters with constraints, and their log-density as a function of unconstrained vectors.

    θ = T(x),   x ∈ ℝ^dim                        T of each parameter: a bijection onto its constraint (`bijections`)
    f(x) = log p(θ) + log |det ∂T/∂x|            if x is a draw from exp f, T(x) is one from p

A prior adds its log-density to log p. T guarantees the support, so distributions do not validate their arguments: only
rounding could lead outside. A proposal may be NaN, or so far out that a covariance has no Cholesky factor. Then log p
is NaN and the kernel rejects it, while torch would raise an error that ends the run of all chains.

Reference: Carpenter et al. 2017, "Stan: a probabilistic programming language", section 2.7 (constraints).
"""

import copy
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Transform
from torch.distributions.constraints import Constraint
from torch.overrides import TorchFunctionMode

from anila.density.bijections import bijection
from anila.density.for_a_while import ForAWhile
from anila.messages import counted

Declared = Constraint | tuple[Any, ...] | Distribution
"""The declaration of a parameter: a constraint, a constraint and a shape `(positive, 8)`, or its prior."""


class Parameter(NamedTuple):
    """A named part of x."""

    name: str
    shape: tuple[int, ...]
    constraint: Constraint
    bijection: Any
    """T, a torch `Transform`."""
    free: tuple[int, ...]
    """Shape of this parameter's part of x, to which T is applied."""
    priors: dict[torch.dtype, Distribution]
    """dtype of x -> the prior in that precision; empty for a flat prior."""

    @property
    def size(self) -> int:
        return math.prod(self.free)


@dataclass(frozen=True, repr=False)
class Transformed:
    """A log-density of named parameters as a function of unconstrained x, (chains, dim).

    Args:
        log_density: Named values of all chains -> log p, (chains,).
        parameters: The parameters, in the order in which x holds them.
    """

    log_density: Callable[[dict[str, Tensor]], Tensor] | None
    parameters: tuple[Parameter, ...]

    @property
    def dim(self) -> int:
        """Length of x."""
        return sum(p.size for p in self.parameters)

    def __repr__(self) -> str:
        """The parameters, in one line."""
        return f"log-density of {counted(self.dim, 'number')}: {self.told()}"

    def __call__(self, x: Float[Tensor, "chains dim"]) -> Float[Tensor, "chains"]:
        """f(x) = log p(T(x)) + log |det ∂T/∂x|."""
        free = self.split(x)
        values = {p.name: p.bijection(u) for p, u in zip(self.parameters, free, strict=True)}
        with unvalidated():
            terms = [self.log_density(values)] if self.log_density else []
            for p, u in zip(self.parameters, free, strict=True):
                terms.append(a_row(p.bijection.log_abs_det_jacobian(u, values[p.name])))
                if p.priors:
                    terms.append(a_row(p.priors.get(x.dtype, p.priors[torch.float32]).log_prob(values[p.name])))
        return sum(terms[1:], terms[0])

    def split(self, x: Float[Tensor, "*draws dim"]) -> list[Tensor]:
        """The part of x for each parameter, (*draws, *free)."""
        if x.shape[-1] != self.dim:
            raise ValueError(f"x must be (chains, {self.dim}), for {self.told()}; got shape {tuple(x.shape)}")
        parts = x.split([p.size for p in self.parameters], -1)
        return [part.reshape((*x.shape[:-1], *p.free)) for p, part in zip(self.parameters, parts, strict=True)]

    def constrain(self, x: Float[Tensor, "*draws dim"]) -> dict[str, Tensor]:
        """The parameters of points by name, each (*draws, *shape)."""
        return {p.name: p.bijection(u) for p, u in zip(self.parameters, self.split(x), strict=True)}

    def numbers(self, x: Float[Tensor, "*draws dim"]) -> Float[Tensor, "*draws numbers"]:
        """The parameters of points side by side, in the order of `names`."""
        return torch.cat([value.reshape(*x.shape[:-1], -1) for value in self.constrain(x).values()], -1)

    def unconstrain(self, values: Mapping[str, Any]) -> Float[Tensor, "*draws dim"]:
        """The points of named parameters, each (*draws, *shape), e.g. to start there.

        Raises:
            ValueError: If a parameter is missing, unknown, of another shape or outside its constraint.
        """
        if set(values) != {p.name for p in self.parameters}:
            raise ValueError(f"expected values for {self.told()}; got {', '.join(values)}")
        parts = [inverse(p, torch.as_tensor(values[p.name])) for p in self.parameters]
        draws = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
        return torch.cat([part.expand(*draws, -1) for part in parts], -1)

    def told(self) -> str:
        """The parameters, and how many numbers of x each takes."""
        return ", ".join(f"{p.name} ({p.size})" for p in self.parameters)

    @property
    def names(self) -> list[str]:
        """A name for each number that `constrain` returns: mu, theta[0], theta[1], …"""
        return [name for p in self.parameters for name in indexed(p.name, p.shape)]

    @property
    def free_names(self) -> list[str]:
        """A name for each coordinate of x: that of the number it determines, if there is one."""
        return [
            name if p.free == p.shape else f"free {name}" for p in self.parameters for name in indexed(p.name, p.free)
        ]


def transform(log_density: Callable[..., Tensor] | None = None, /, **parameters: Declared) -> Transformed:
    """A log-density of unconstrained vectors from one of named parameters: f(x) = log p(T(x)) + log |det ∂T/∂x|.

    `log_density` is written for one draw and run for all chains at once (`torch.vmap`). So it must not branch on
    values: use `torch.where` instead of `if`.

    Args:
        log_density: Parameters by name, each of its shape -> log p, a number; None if the priors are all of it.
        parameters: Name -> a constraint of `torch.distributions.constraints` (a flat prior), a constraint and a shape
            such as `(real, 8)`, or a distribution: the prior. Its log-density is added; it gives support and shape.

    Returns:
        f with `dim`, `constrain` (points to named parameters) and `unconstrain` (back).

    Raises:
        TypeError: If log_density does not take these names, or a parameter is none of the three.
        ValueError: If a constraint has no bijection (discrete values), or a shape does not fit it.

    >>> from torch.distributions import HalfNormal, Normal
    >>> from torch.distributions.constraints import real
    >>> y = torch.tensor([1.0, 2.0, 4.0])
    >>> f = transform(lambda mean, sd: Normal(mean, sd).log_prob(y).sum(), mean=real, sd=HalfNormal(3.0))
    >>> f.dim, f(torch.zeros(5, 2)).shape, f.constrain(torch.zeros(5, 2))["sd"]
    (2, torch.Size([5]), tensor([1., 1., 1., 1., 1.]))
    """
    if not parameters:
        raise ValueError("transform needs parameters, e.g. mean=real, sd=positive (torch.distributions.constraints)")
    parts = tuple(parameter(name, given) for name, given in parameters.items())
    if log_density is None:
        return Transformed(None, parts)
    require_names(log_density, parameters)
    return Transformed(for_all_chains(log_density), parts)


def parameter(name: str, given: Declared) -> Parameter:
    """The part of x for a parameter with this declaration."""
    if isinstance(given, Distribution):
        constraint, shape = given.support, given.batch_shape + given.event_shape
        priors = {dtype: unchecked(given, dtype) for dtype in (torch.float32, torch.float64)}
    else:
        constraint, *shape = given if isinstance(given, tuple) else (given,)
        priors = {}
    if not isinstance(constraint, Constraint):
        raise TypeError(
            f"{name} must be a constraint of torch.distributions.constraints, such as positive, a constraint and a "
            f"shape, such as (positive, 8), or a distribution, its prior; got {given!r}"
        )
    try:
        onto = bijection(constraint)
        free = tuple(onto.inverse_shape(torch.Size(shape)))
    except NotImplementedError:
        raise ValueError(f"{name}: {NO_BIJECTION.format(constraint=constraint)}") from None
    except ValueError as error:
        raise ValueError(f"{name}: {constraint} needs another shape than {tuple(shape)}: {error}") from None
    return Parameter(name, tuple(shape), constraint, onto, free, priors)


def unchecked(law: Distribution, dtype: torch.dtype) -> Distribution:
    """A copy of a distribution and its parts in this precision, without validation.

    A prior left in 32 bits would round its argument, as `Gamma` does, or its result, as `Uniform` does.
    """

    def copied(part: Any) -> Any:
        if isinstance(part, Tensor):
            return part.to(dtype) if part.is_floating_point() else part
        if type(part) in (list, tuple):
            return type(part)(copied(each) for each in part)
        if not isinstance(part, Distribution | Transform) or isinstance(part, ONLY_SINGLE):
            return part
        found = copy.copy(part)
        vars(found).update({name: copied(value) for name, value in vars(part).items()})
        if isinstance(found, Distribution):
            vars(found).update(_validate_args=False)  # torch has no public way
        return found

    return copied(law)


ONLY_SINGLE: Any = getattr(torch.distributions, "GeneralizedPareto", ())
"""A distribution that torch compares with a 32-bit number; older versions do not have it."""
NO_BIJECTION = (
    "torch has no bijection onto {constraint}; sum over discrete values inside the log-density, and make a covariance "
    "of a corr_cholesky and positive scales"
)


def require_names(log_density: Callable[..., Tensor], parameters: Mapping[str, Any]) -> None:
    """Refuse a log-density that does not take these parameters by name."""
    try:
        inspect.signature(log_density).bind(**parameters)
    except TypeError as error:
        raise TypeError(f"log_density must take {', '.join(parameters)} by name: {error}") from None


def for_all_chains(log_density: Callable[..., Tensor]) -> Callable[[dict[str, Tensor]], Tensor]:
    """log p for all chains, from a function of one draw."""
    batched = torch.vmap(lambda values: log_density(**values))

    def log_densities(values: dict[str, Tensor]) -> Tensor:
        try:
            with FactorOrNaN():
                found = batched(values)
        except RuntimeError as error:
            if "vmap" not in str(error):
                raise
            raise ValueError(f"{ONE_DRAW}. PyTorch says: {error}") from error
        if found.ndim != 1:
            raise ValueError(
                f"log_density must return one number per draw; got shape {tuple(found.shape[1:])}: add .sum()"
            )
        return found

    return log_densities


ONE_DRAW = (
    "log_density runs for all chains at once, so it may not branch on values, take numbers out or draw (if, .item(), "
    "validate_args=True, dropout): use torch.where in place of if"
)


def validates() -> bool:
    """Whether distributions validate their arguments by default."""
    return getattr(Distribution, "_validate_args", __debug__)  # torch has no public way


unvalidated = ForAWhile(validates, Distribution.set_default_validate_args, False)
"""Inside, distributions validate neither their parameters nor their arguments."""


class FactorOrNaN(TorchFunctionMode):
    """Inside, the Cholesky factor of a matrix that has none is NaN and raises no error."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        return (factor_or_nan if func in CHOLESKY else func)(*args, **(kwargs or {}))


CHOLESKY = (torch.linalg.cholesky, torch.cholesky, torch.Tensor.cholesky)


def factor_or_nan(input: Tensor, upper: bool = False) -> Tensor:
    """The result of the functions in `CHOLESKY`, with their arguments."""
    factor, failed = torch.linalg.cholesky_ex(input, upper=upper)
    return torch.where((failed == 0)[..., None, None], factor, math.nan)


def a_row(terms: Tensor) -> Tensor:
    """The sum of each row, (chains, ...) -> (chains,)."""
    return terms.flatten(1).sum(1) if terms.ndim > 1 else terms


def inverse(p: Parameter, value: Tensor) -> Tensor:
    """The part of x that T maps to this value, (*draws, size)."""
    value = value if value.is_floating_point() else value.to(torch.get_default_dtype())
    draws = value.shape[: value.ndim - len(p.shape)]
    if value.shape != (*draws, *p.shape):
        raise ValueError(f"{p.name} must be of shape {p.shape} or a batch of it; got {tuple(value.shape)}")
    free = p.bijection.inv(value).reshape(*draws, p.size)
    if not bool(p.constraint.check(value).all() and torch.isfinite(free).all()):
        raise ValueError(f"{p.name} must lie strictly inside {p.constraint}; got {value}")
    return free


def indexed(name: str, shape: Sequence[int]) -> list[str]:
    """A name for each number of an array: name[0,0], name[0,1], …; the name itself for a single number."""
    return [f"{name}[{','.join(map(str, index))}]" if index else name for index in product(*map(range, shape))]

"""An application is another log-density, made from f and sampled by any kernel.

An observation y of a point x, made with likelihood p(y | x), turns the model exp f into the posterior

    g(x) = f(x) + T log p(y | x)

with T the temperature of the kernel that will sample it. A kernel at temperature T draws from exp(g / T), so the factor
T leaves the likelihood unchanged: draws follow exp(f / T) p(y | x). Exact kernels have T = 1.

Several observations are sampled at once, with several chains each. Rows are in the order of the observations, with the
chains of each next to each other, so g of n k rows compares rows i k .. i k + k − 1 with observation i.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import LogDensity
from anila.density.rows import finite_rows
from anila.messages import counted
from anila.samplers import Sampler, Trace, sample


class Draws(NamedTuple):
    """Points drawn for n observations, k each."""

    x: Float[Tensor, "n k *event"]
    energy: Float[Tensor, "n k"]
    """−f of the model there, in nats."""
    path: Float[Tensor, "kept n k *event"]
    """Positions of the chains after every `keep_every` steps."""
    trace: Trace
    """The trace of the chains, in the sampled coordinates."""


@dataclass(frozen=True, repr=False)
class Posterior:
    """A log-density g of the free coordinates u: call it like any other.

    Args:
        g: (n k, *free) -> (n k,).
        f: The model's log-density of points, (rows, *event) -> (rows,).
        inside: Points (rows, *event) -> their free coordinates (rows, *free).
        outside: Free coordinates -> points.
        observations: n.
    """

    g: LogDensity
    f: LogDensity
    inside: Callable[[Tensor], Tensor]
    outside: Callable[[Tensor], Tensor]
    observations: int

    def __repr__(self) -> str:
        return f"<Posterior: f given {counted(self.observations, 'observation')}>"

    def __call__(self, u: Float[Tensor, "rows *free"]) -> Float[Tensor, "rows"]:
        return self.g(u)

    def draw(
        self,
        make: Callable[[LogDensity], Sampler],
        x0: Float[Tensor, "rows *event"],
        steps: int,
        generator: torch.Generator,
        keep_every: int = 0,
    ) -> Draws:
        """Run a kernel on g from the points x0.

        Args:
            make: g -> kernel, e.g. `lambda g: mala(g, 0.1)`.
            x0: Where chains start, (n k, *event); observed coordinates are taken from the observation.
            steps: Transitions.
            generator: Source of all the noise.
            keep_every: Steps between the points kept in `path`; 0 keeps none.

        Raises:
            ValueError: As in `sample`, or if x0 does not have equally many rows for every observation.
        """
        chains(x0, self.observations)
        u, trace = sample(make(self), self.inside(x0), steps, generator, keep_every=keep_every)
        x = self.outside(u)
        with torch.no_grad():
            energy = -self.f(x)
        path = [self.by_observation(self.outside(v)) for v in trace["x"]]
        x, energy = self.by_observation(x), self.by_observation(energy)
        return Draws(x, energy, torch.stack(path) if path else x.new_empty(0, *x.shape), trace)

    def by_observation(self, x: Float[Tensor, "rows ..."]) -> Float[Tensor, "n k ..."]:
        return x.unflatten(0, (self.observations, -1))


def chains(x: Float[Tensor, "rows ..."], observations: int) -> int:
    """k, the number of chains per observation.

    Raises:
        ValueError: If some have more than others.
    """
    if len(x) % observations or not len(x):
        raise ValueError(
            f"expected rows for {counted(observations, 'observation')}, the same number each; got "
            f"{counted(len(x), 'row')}; repeat starts with .repeat_interleave(k, 0)"
        )
    return len(x) // observations


def beside(y: Float[Tensor, "n ..."], x: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows ..."]:
    """Each observation repeated once per chain of it in x, in the dtype of x."""
    return y.repeat_interleave(chains(x, len(y)), 0).to(x)


def in_place(f: LogDensity, log_likelihood: LogDensity, observations: int, temperature: float) -> Posterior:
    """The posterior f + T log p(y | ·), whose free coordinates are the point itself."""
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, that of the kernel that will sample; got {temperature!r}")
    return Posterior(lambda x: f(x) + temperature * log_likelihood(x), f, lambda x: x, lambda x: x, observations)


def log_normal(residual: Float[Tensor, "rows ..."], sd: Float[Tensor, "n"]) -> Float[Tensor, "rows"]:
    """log N(residual; 0, sd² I) without its constant: −|residual|² / (2 sd²)."""
    return -(residual.flatten(1) / beside(sd, residual)[:, None]).square().sum(1) / 2


def require_sd(sd: float | Tensor, observations: int) -> Float[Tensor, "n"]:
    """One positive sd per observation.

    Raises:
        ValueError: If sd cannot be that.
    """
    given = torch.as_tensor(sd, dtype=torch.float64).reshape(-1)
    if len(given) not in (1, observations) or not bool((torch.isfinite(given) & (given > 0)).all()):
        raise ValueError(
            f"sd must be a positive number, or one for each observation ({observations}); got {given.tolist()}"
        )
    return given.expand(observations)


def require_observations(y: Tensor, what: str = "y") -> None:
    """Refuse observations that are not a finite batch.

    Raises:
        ValueError: If they are not.
    """
    if not y.is_floating_point() or y.ndim < 2 or not y.numel():
        raise ValueError(f"{what}: expected floating-point rows (n, *event); got {y.dtype} of shape {tuple(y.shape)}")
    if not bool(torch.isfinite(y).all()):
        bad = int((~finite_rows(y)).sum())
        raise ValueError(f"{what}: NaN or infinity in {bad} of {counted(len(y), 'row')} where observed; mask them")

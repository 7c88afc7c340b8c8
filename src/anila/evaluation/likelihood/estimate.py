"""log Z and likelihood from both ends of an annealing path: an interval, not only a number.

Chains that climb from q₀ to exp f, and chains that descend from exp f to q₀, give weights by annealed importance
sampling, forward and reverse:

    climbing:    E[w] = Z,        log mean w     is below log Z, on average
    descending:  E[1/w] = 1/Z,   −log mean 1/w   is above log Z, on average

however well chains mix on the way: poor mixing makes the interval wide, not wrong. Each end is moved outwards by two
standard errors of its logarithm (delta method), so in the normal approximation each end misses log Z in at most 2.3% of
runs, and the interval in 4.6%. Both sets of weights together give the estimate, by the root c = log Z of

    Σ_climbing σ(log wᵢ − c) = Σ_descending σ(c − log wⱼ)          (equal numbers of both)

which has the least variance of all estimates from them. Its error assumes that the weights overlap: if the interval is
wide compared with the error, trust the interval.

**What must hold.** The base's draws are exact. Those of exp f must be, too: samples that are too hot, or all in one of
several modes, make the upper end too low. If the ends contradict each other, there is a warning; a mode that neither
end visits goes unnoticed. log Z is that of exp f, at temperature 1: pass f/T for chains at temperature T.

References: Neal 2001; Grosse, Ghahramani & Adams 2015 (both ends); Bennett 1976, eq. 12; Shirts et al. 2003, eq. 10;
Theis, van den Oord & Bethge 2016 (dequantisation).
"""

import math
import warnings
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import LogDensity
from anila.evaluation.likelihood.annealing import AnnealingPath, climb, descend, ess_fraction
from anila.rng import uniform

ERRORS = 2.0
"""Standard errors by which each end of an interval is moved outwards."""


class LogZ(NamedTuple):
    """log Z in nats, with its interval and error."""

    value: float
    """From both ends together (Bennett)."""
    error: float
    """Standard error of the value, if the weights overlap."""
    low: float
    """From climbing chains alone, minus two standard errors."""
    high: float
    """From descending chains alone, plus two standard errors."""
    ess: tuple[float, float]
    """Effective number of chains, climbing and descending."""


class Likelihood(NamedTuple):
    """Mean log-likelihood of data, in nats per row, with the interval due to log Z and the choice of rows."""

    value: float
    low: float
    high: float


def estimate_log_z(path: AnnealingPath, x_model: Float[Tensor, "chains *event"], generator: torch.Generator) -> LogZ:
    """log ∫ exp f, from equally many chains up the path and down it.

    Args:
        path: From `find_path`.
        x_model: Exact, independent draws of exp f, (chains, *event): each descends the path once.
        generator: Source of all the noise.

    Raises:
        ValueError: If there are fewer than 10 draws, or one is not finite.

    >>> from anila.rng import rng
    >>> from anila.density.targets import gaussian
    >>> from anila.evaluation.likelihood import Base, find_path
    >>> f = gaussian(0.5, dim=3)
    >>> path = find_path(f, Base(torch.zeros(3), torch.ones(3)), rng(0, "ladder"))
    >>> found = estimate_log_z(path, f.draw(200, rng(0, "draws")), rng(0, "chains"))
    >>> found.low < f.log_z < found.high, found.high - found.low < 0.5
    (True, True)
    """
    if len(x_model) < 10:
        raise ValueError(f"expected at least 10 draws of exp f, for an error; got {len(x_model)}")
    up = climb(path, path.base.draw(len(x_model), generator), generator)
    down = descend(path, x_model.to(path.base.mean), generator)
    value, error = bennett(up, down)
    found = LogZ(
        value,
        error,
        low=log_mean_exp(up) - ERRORS * log_mean_error(up),
        high=-log_mean_exp(-down) + ERRORS * log_mean_error(-down),
        ess=(len(up) * ess_fraction(up), len(down) * ess_fraction(-down)),
    )
    warn_of_contradiction(found)
    return found


def bennett(up: Float[Tensor, "n"], down: Float[Tensor, "n"]) -> tuple[float, float]:
    """log Z and its standard error, from log weights of equally many climbing and descending chains.

    Reference: Bennett 1976, eq. 12; error: Shirts et al. 2003, eq. 10.
    """
    from scipy.optimize import root_scalar

    def excess(c: float) -> float:
        return float((up - c).sigmoid().sum() - (c - down).sigmoid().sum())

    both = torch.cat([up, down])
    c = root_scalar(excess, bracket=(float(both.min()) - 50, float(both.max()) + 50)).root
    chance = (both - c).sigmoid()
    return c, math.sqrt(max(0.0, 1 / float((chance * (1 - chance)).sum()) - 2 / len(up)))


def log_mean_exp(log_weight: Float[Tensor, "n"]) -> float:
    """log mean w."""
    return float(log_weight.logsumexp(0)) - math.log(len(log_weight))


def log_mean_error(log_weight: Float[Tensor, "n"]) -> float:
    """Standard error of log mean w: sd(w) / (√n mean w)."""
    return math.sqrt(max(0.0, 1 / ess_fraction(log_weight) - 1) / (len(log_weight) - 1))


def warn_of_contradiction(found: LogZ) -> None:
    """Warn if the lower end is above the upper one: the draws cannot be from exp f."""
    if not found.low <= found.high:
        warnings.warn(
            f"the ends of log Z contradict each other: climbing chains say at least {found.low:.4g}, descending ones "
            f"at most {found.high:.4g}; the samples that descend are not draws of exp f (biased, at another "
            "temperature, or not mixed): run an exact kernel for longer before",
            RuntimeWarning,
            stacklevel=3,
        )


@torch.no_grad()
def log_likelihood(f: LogDensity, log_z: LogZ, x_data: Float[Tensor, "n *event"]) -> Likelihood:
    """mean f(x) − log Z over data, in nats per row.

    The interval is that of log Z, moved outwards by two standard errors of the mean over rows.

    Args:
        f: The log-density to which log_z belongs.
        log_z: From `estimate_log_z`.
        x_data: Held-out data, (n, *event); images with `dequantised` applied.

    Raises:
        ValueError: If there are fewer than 2 rows.
    """
    if len(x_data) < 2:
        raise ValueError(f"expected at least 2 rows of data, for an error; got {len(x_data)}")
    value = torch.cat([f(part) for part in x_data.split(1000)]).double()
    mean, error = float(value.mean()), ERRORS * float(value.std()) / math.sqrt(len(value))
    return Likelihood(mean - log_z.value, mean - log_z.high - error, mean - log_z.low + error)


def dequantised(x: Float[Tensor, "n *event"], generator: torch.Generator, width: float = 1 / 127.5) -> Tensor:
    """x + width · U(−½, ½): images of 256 levels made continuous, so that the likelihood of a density is bounded.

    Args:
        x: Images of levels x = u / 127.5 − 1, (n, *event).
        generator: Source of the noise.
        width: Distance of neighbouring levels.

    Reference: Theis, van den Oord & Bethge 2016, section 3.1.
    """
    return x + width * (uniform(x.shape, x, generator) - 0.5)


def bits_per_dim(nats: float, dims: int, width: float = 1 / 127.5) -> float:
    """−log₂(p(x) width^d)/d for images of 256 levels: fewer is better.

    For dequantised images, it is an upper bound on the bits per level that the model's discrete law needs.

    Args:
        nats: log p(x) of a row.
        dims: d, numbers in an image.
        width: Distance of neighbouring levels, in units of x.

    Reference: Theis, van den Oord & Bethge 2016, eq. 6.

    >>> round(bits_per_dim(-3072 * math.log(256 / 127.5), 3072), 12)
    8.0
    """
    return -(nats / dims + math.log(width)) / math.log(2)

"""A log-density of the user's own, FILE.py:NAME, with draws of it.

A distribution of torch draws by itself. In the plane a grid gives exact draws, once chains have found where the mass
is. Elsewhere the draws are where the chains came to.
"""

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from anila.density.check import check_log_density
from anila.density.log_density import LogDensity
from anila.density.transform import Transformed
from anila.evaluation.likelihood import density
from anila.evaluation.likelihood.grid import plane_grid
from anila.messages import counted
from anila.rng import rng
from anila.runs.experiment.code import load_code
from anila.samplers import sample
from anila.samplers.warm_up import tune

FOUND, STEPS = 1000, 400
"""Chains, and steps after a warm-up of as many, by which a density without draws of its own is found."""


class Found(NamedTuple):
    """A density and where it is."""

    f: LogDensity
    draws: Tensor
    """(n, d), of exp f, float64."""
    exact: bool
    """Whether the draws are exact; else they are where long chains came to."""


def own_density(word: str, what: str, dim: int | None, n: int, seed: int) -> Found:
    """The density that a file defines.

    Args:
        word: "FILE.py:NAME", a log-density or a distribution of torch.
        what: The command it is for, with which messages begin.
        dim: Numbers in a point; a distribution and a model of named parameters know their own.
        n: Draws wanted.
        seed: Seed of the draws.

    Raises:
        FileNotFoundError, ValueError: If there is none, or it is no log-density of so many numbers.
    """
    target = load_code(word, what).thing
    if isinstance(target, type):
        raise ValueError(f"{what} {word}: it is a class; name an instance of it, or a function of points (n, d)")
    if hasattr(target, "log_prob"):
        draws = own_draws(target, f"{what} {word}", n, seed)
        require_dim(f"{what} {word}", draws.shape[1], dim, what == "diagnose")
        return Found(lambda x: target.log_prob(x.to(draws)).to(x), draws.double(), True)
    if isinstance(target, Transformed):
        require_dim(f"{what} {word}", target.dim, dim, what == "diagnose")
        dim = target.dim
    if dim is None:
        raise ValueError(f"{what} {word}: how many numbers does a point have? add --dim, e.g. --dim 2")
    return found_by_chains(doubled(target) if isinstance(target, nn.Module) else target, dim, n, seed)


def require_dim(where: str, own: int, dim: int | None, may_be_left_out: bool) -> None:
    """Refuse another number of numbers than the points of a density have, of which it knows."""
    if dim not in (None, own):
        without = ": leave out --dim" if may_be_left_out else ""
        raise ValueError(f"{where}: its points have {counted(own, 'number')}, not {dim}{without}")


def found_by_chains(f: LogDensity, dim: int, n: int, seed: int) -> Found:
    """Draws of a density of which nothing else is known."""
    x = torch.randn(FOUND, dim, generator=rng(seed, "first"), dtype=torch.float64)
    check_log_density(f, x)
    tuned = tune(f, x, STEPS, rng(seed, "found"))
    _, trace = sample(tuned.sampler, tuned.x, STEPS, rng(seed, "found chains"), keep_every=5)
    visited = trace["x"].flatten(0, 1)
    if dim == 2:
        return Found(f, grid_draws(f, visited, n, seed), True)
    order = torch.randperm(len(visited), generator=rng(seed, "draws"))[:n]
    return Found(f, visited[order], False)


def own_draws(target: Any, where: str, n: int, seed: int) -> Tensor:
    """n draws of a distribution of torch, (n, d).

    Raises:
        ValueError: If it is several distributions, or its points are no vectors.
    """
    if shape := tuple(getattr(target, "batch_shape", ())):
        raise ValueError(
            f"{where}: a batch of distributions of shape {shape}; torch.distributions.Independent makes one of it"
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(rng(seed, "draws").initial_seed())
        draws = target.sample((n,))
    if draws.ndim != 2:
        hint = "; of one number make it Independent(law.expand([1]), 1)" if draws.ndim == 1 else ""
        raise ValueError(f"{where}: expected points (d,); its draws have shape {tuple(draws.shape[1:])}{hint}")
    return draws


def grid_draws(f: LogDensity, x_data: Tensor, n: int, seed: int) -> Tensor:
    """n draws of exp f in the plane: a cell by its mass, then uniform within it."""
    grid, generator = plane_grid(x_data), rng(seed, "draws")
    mass = density(f, grid).flatten() * grid.cell
    cells = torch.multinomial(mass, n, replacement=True, generator=generator)
    widths = torch.tensor([(b - a) / grid.side for a, b in zip(grid.low, grid.high, strict=True)], dtype=torch.float64)
    inside = torch.rand(len(cells), 2, generator=generator, dtype=torch.float64) - 0.5
    return grid.points()[cells] + inside * widths


def doubled(model: nn.Module) -> nn.Module:
    """A copy of f that computes in double precision and has no gradient in θ."""
    return copy.deepcopy(model).cpu().double().eval().requires_grad_(False)

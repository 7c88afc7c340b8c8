"""Pathfinder: move chains that start far out to the mass, by normal approximations along the path of an optimiser.

BFGS climbs from each start by itself. H is its estimate of (−∇²f)⁻¹, so each point of the path gives

    q = N(x + H ∇f, H)               ELBO = E_q[f − log q],  a lower bound of the log mass near the path

The point with the highest ELBO is chosen. Some draws are made from its q, and one is kept with probability proportional
to exp f / q. The point of highest f would not do: a funnel is highest in its neck, where there is no mass. A path ends
when f stops rising, or when the ELBO has not improved for long, since a neck can be climbed for ever.

The support ends where f is −∞ or NaN. q is restricted to the inside: the ELBO is the mean over draws inside, plus the
log of their share. If x + H ∇f is outside, the mean of q is x. A step that a border stops continues along the border,
using only those coordinates of its direction that stay inside when moved alone.

A path is *lost* if its ELBO is 10 + d nats below the best: less than e⁻¹⁰ of the mass lies around it. A start is *far*
if f is not finite there, or 10 d + 20 nats below the mean of f over draws of q on every path that is not lost. A far
chain starts at a draw from its own path, or from another path if its own is lost or was not made. All other chains stay
where they are. If f is not finite at a start, its path begins between there and the nearest start where it is, or the
mean of all starts.

References: Zhang, Carpenter, Gelman & Vehtari 2022, Algorithm 1 (here with BFGS, for d ≤ 500); Lewis & Overton 2013,
Algorithm 2.6 (the line search, for slope and rise alone).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from anila.samplers.estimates import evenly

DRAWS = 8
"""Draws of each q."""
MOST_PATHS, FEWEST_PATHS, NUMBERS = 32, 4, 400_000
"""Largest and smallest number of paths; in between, the number of entries in all their H together."""
DONE, PATIENCE = 0.01, 5
"""Nats per number that a step should gain or promise; a path ends after this many steps in a row below it."""
PASSED = 50
"""A path ends after this many looks at q in a row, plus ten per number, without a better one."""
TRIES = 30
"""Largest number of points tried along a direction."""
HALVES = 20
"""Largest number of times that a start where f is not finite is moved half-way towards one where it is."""
EPS = torch.finfo(torch.float64).eps
"""Share of |f| that a rise must promise before it is searched for: a smaller one is lost in rounding."""
RISE, SLOPE = 1e-4, 0.5
"""A line search ends where f has risen by this share of what the slope promised and the slope fallen to this share."""


class Point(NamedTuple):
    """Positions with f and ∇f there, in float64."""

    x: Tensor
    """(n, d)."""
    value: Tensor
    grad: Tensor

    def rows(self, which: Tensor) -> "Point":
        return Point(*(field[which] for field in self))

    def finite(self) -> Tensor:
        """Whether f and ∇f are finite, (n,)."""
        return torch.isfinite(self.value) & torch.isfinite(self.grad).all(1)

    def with_rows(self, which: Tensor, new: "Point") -> "Point":
        return Point(*(old.index_copy(0, which, part) for old, part in zip(self, new, strict=True)))


At = Callable[[Tensor], Point]


class Normal(NamedTuple):
    """What is needed of the q with the highest ELBO so far, for each path."""

    elbo: Tensor
    """(n,)."""
    typical: Tensor
    """Mean of f over draws inside the support, (n,)."""
    draws: Tensor
    """(n, DRAWS, d)."""
    log_weight: Tensor
    """log exp f / q of the draws, (n, DRAWS)."""


class Starts(NamedTuple):
    """Where chains start, and how many of them were far."""

    x: Tensor
    far: int
    """How many starts were far."""
    paths: int
    kept: int
    """How many of the paths are not lost."""


def far_below(d: int) -> float:
    """How many nats f of a far point lies below f where chains belong."""
    return 10.0 * d + 20


def starts(at: At, x0: Tensor, most: int, generator: torch.Generator) -> Starts:
    """Starts near the mass: x0 itself where it is near, draws of q where it is far.

    Args:
        at: Points (n, d) -> f and ∇f there, the same f for every row.
        x0: (n, d), float64 on the CPU, like all that is computed from it.
        most: Largest number of BFGS steps.
        generator: Source of the draws.

    Raises:
        ValueError: If f is finite neither at any start nor on the way to their mean.
    """
    first = at(x0)
    begun = nearer(at, first)
    rows = chosen(begun.finite(), x0.shape[1])
    found = climb(at, begun.rows(rows), most, generator)
    kept = ~(found.elbo < found.elbo.max() - 10 - x0.shape[1])
    far = ~(first.finite() & (first.value >= found.typical[kept].min() - far_below(x0.shape[1])))
    others = kept.nonzero().flatten()
    source = others[(uniform(generator, len(x0)) * len(others)).long()]
    source[rows[others]] = others
    x = torch.where(far[:, None], drawn(found, source, generator), x0)
    return Starts(x, int(far.sum()), len(rows), len(others))


def nearer(at: At, here: Point) -> Point:
    """Move starts where f is not finite half-way to the nearest where it is, or to the mean, until it is finite."""
    middle = here.x.mean(0, keepdim=True)
    for _ in range(HALVES):
        finite = here.finite()
        if finite.all():
            break
        rows, goals = (~finite).nonzero().flatten(), here.x[finite] if finite.any() else middle
        nearest = goals[torch.cdist(here.x[rows], goals).argmin(1)]
        here = here.with_rows(rows, at((here.x[rows] + nearest) / 2))
    return here


def chosen(finite: Tensor, d: int) -> Tensor:
    """Indices of the starts that get a path, evenly spaced among those where f is finite, (paths,).

    Raises:
        ValueError: If there is none.
    """
    rows = finite.nonzero().flatten()
    if not len(rows):
        raise ValueError(
            f"expected starts where f and its gradient are finite; they are finite at none of the {len(finite)}: start "
            "nearer"
        )
    paths = min(len(rows), max(FEWEST_PATHS, min(MOST_PATHS, NUMBERS // d**2)))
    return rows[evenly(len(rows), paths)]


def uniform(generator: torch.Generator, *shape: int) -> Tensor:
    """U(0, 1) in float64 on the CPU, whatever the generator's device."""
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float32).double().cpu()


def drawn(found: Normal, source: Tensor, generator: torch.Generator) -> Tensor:
    """A draw from the q of each source, with probability proportional to exp f / q, (n, d)."""
    weight = (found.log_weight - found.log_weight.amax(1, True)).exp()[source].cumsum(1)
    chosen = torch.searchsorted(weight, uniform(generator, len(source), 1) * weight[:, -1:], right=True)[:, 0]
    return found.draws[source, chosen.clamp(max=DRAWS - 1)]


def climb(at: At, first: Point, most: int, generator: torch.Generator) -> Normal:
    """Run BFGS from each point; return the best q of its path, looked for where f has risen far and at the end."""
    n, d = first.x.shape
    here, best = first, nothing(first)
    active, idle, fresh = here.finite(), torch.zeros_like(here.value), torch.ones_like(here.value, dtype=torch.bool)
    H, since, passed = here.x.new_zeros(n, d, d), here.value, torch.zeros_like(here.value)
    for k in range(most):
        rows = active.nonzero().flatten()
        if not len(rows):
            break
        old = here.rows(rows)
        now = torch.where(fresh[rows, None, None], first_length(old)[:, None, None] * torch.eye(d).to(H), H[rows])
        new = uphill(at, old, along(now, old.grad))
        H[rows] = updated(now, new.x - old.x, old.grad - new.grad, fresh[rows])
        here = here.with_rows(rows, new)
        if k % max(1, d // 25) == 0:
            before, risen = best.elbo, rows[new.value > first.value[rows] + far_below(d)]
            best = better(at, here, H, risen, best, generator)
            passed = torch.where((best.elbo > before) | best.elbo.isinf(), 0, passed + 1)
        gained, promised = new.value - old.value, (new.grad * along(H[rows], new.grad)).sum(1) / 2
        idle[rows] = torch.where((torch.maximum(gained, promised) > DONE * d) & (gained > 0), 0, idle[rows] + 1)
        fresh = idle >= PATIENCE
        active &= passed < PASSED + 10 * d
        active &= ~fresh | (here.value > since + DONE * d)
        since, idle = torch.where(fresh, here.value, since), idle.masked_fill(fresh, 0)
    return better(at, here, H, here.finite().nonzero().flatten(), best, generator)


def nothing(first: Point) -> Normal:
    """The result before any q was looked at: the start itself."""
    low = torch.full_like(first.value, -math.inf)
    return Normal(low, low, first.x[:, None].repeat(1, DRAWS, 1), low.new_zeros(len(low), DRAWS))


def first_length(point: Point) -> Tensor:
    """Scalar H of the first step, whose length is a tenth of |x|, or of 1 where |x| is less, (n,)."""
    tiny = torch.finfo(torch.float64).tiny
    return 0.1 * point.x.norm(dim=1).clamp(min=1.0) / point.grad.norm(dim=1).clamp(min=tiny)


def along(H: Tensor, v: Tensor) -> Tensor:
    """H v, (n, d)."""
    return (H @ v[..., None])[..., 0]


def uphill(at: At, start: Point, direction: Tensor) -> Point:
    """The point found along the direction; if a border stops it, the point found along the border."""
    found, d = searched(at, start, direction), start.x.shape[1]
    rows = (found.value <= start.value + DONE * d).nonzero().flatten()
    rows = rows[~at(start.x[rows] + direction[rows]).finite()] if len(rows) else rows
    if not len(rows):
        return found
    alone = start.x[rows, None] + direction[rows, None] * torch.eye(d).to(direction)
    inside = at(alone.flatten(0, 1)).finite().view(-1, d)
    return found.with_rows(rows, searched(at, found.rows(rows), direction[rows] * inside))


def searched(at: At, start: Point, direction: Tensor) -> Point:
    """The point along the direction where f has risen and its slope has fallen enough; the start if there is none."""
    slope = (start.grad * direction).sum(1)
    lo, hi = torch.zeros_like(slope), torch.full_like(slope, math.inf)
    least = EPS * start.value.abs()
    length, reached, open_ = torch.ones_like(slope), start, slope > least
    for _ in range(TRIES):
        rows = open_.nonzero().flatten()
        if not len(rows):
            break
        a, s = length[rows], slope[rows]
        new = at(start.x[rows] + a[:, None] * direction[rows])
        rises = new.finite() & (new.value >= start.value[rows] + RISE * a * s)
        rises &= new.value >= reached.value[rows]
        still = rises & ((new.grad * direction[rows]).sum(1) > SLOPE * s)
        reached = reached.with_rows(rows[rises], new.rows(rises))
        lo[rows], hi[rows] = torch.where(rises, a, lo[rows]), torch.where(rises, hi[rows], a)
        open_[rows] = still | (~rises & ((hi - lo) * slope > least)[rows])
        length = torch.where(hi.isinf(), 4 * length, torch.where(lo == 0, hi / 10, (lo + hi) / 2))
    return reached


def updated(H: Tensor, s: Tensor, y: Tensor, first: Tensor) -> Tensor:
    """H after a step s that lowered the gradient by y (Nocedal & Wright 2006, eq. 6.17), rescaled before the first.

    H stays unchanged if f does not curve down along s.
    """
    sy, yy = (s * y).sum(1), (y * y).sum(1)
    ok = sy > 1e-10 * (s.norm(dim=1) * y.norm(dim=1))
    sy = torch.where(ok, sy, torch.ones_like(sy))
    scaled = torch.where(ok, sy / yy, 1.0)[:, None, None] * torch.eye(H.shape[1]).to(H)
    H = torch.where((ok & first)[:, None, None], scaled, H)
    Hy = along(H, y)
    square, cross = s[:, :, None] * s[:, None], Hy[:, :, None] * s[:, None]
    ratio = (sy + (y * Hy).sum(1)) / sy.square()
    new = H + ratio[:, None, None] * square - (cross + cross.mT) / sy[:, None, None]
    return torch.where((ok & new.flatten(1).isfinite().all(1))[:, None, None], new, H)


def better(at: At, here: Point, H: Tensor, rows: Tensor, best: Normal, generator: torch.Generator) -> Normal:
    """The best q so far, now that those of these rows count too."""
    if not len(rows):
        return best
    now = normal(at, here.rows(rows), H[rows], generator)
    rises = now.elbo > best.elbo[rows]
    kept = rows[rises]
    return Normal(*(w.index_copy(0, kept, p[rises]) for w, p in zip(best, now, strict=True)))


def normal(at: At, here: Point, H: Tensor, generator: torch.Generator) -> Normal:
    """q = N(x + H ∇f, H) inside the support, at these points."""
    n, d = here.x.shape
    factor, failed = torch.linalg.cholesky_ex(H)
    z = torch.randn(n, DRAWS, d, generator=generator, device=generator.device).double().cpu()
    apart = torch.cat([torch.zeros(n, 1, d).to(z), z @ factor.mT], 1)
    points = (here.x + along(H, here.grad))[:, None] + apart
    found = at(points.flatten(0, 1))
    inside, value = found.finite().view(n, -1), found.value.view(n, -1)
    rows = (~inside[:, 0]).nonzero().flatten()
    if len(rows):
        points[rows] = here.x[rows, None] + apart[rows]
        found = at(points[rows].flatten(0, 1))
        inside[rows], value[rows] = found.finite().view(len(rows), -1), found.value.view(len(rows), -1)
    draws, inside, value = points[:, 1:], inside[:, 1:] & (failed == 0)[:, None], value[:, 1:]
    log_q = -z.square().sum(2) / 2 - factor.diagonal(dim1=1, dim2=2).log().sum(1, True) - d / 2 * math.log(2 * math.pi)
    count = inside.sum(1)
    weight = torch.where(inside, value - log_q, -math.inf)
    elbo, typical = (torch.where(inside, each, 0.0).sum(1) / count for each in (weight, value))
    share = (count / DRAWS).log()
    return Normal(torch.where(count > 0, elbo + share, -math.inf), typical, draws, weight)

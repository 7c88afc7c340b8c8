"""The kernel energy: one Gaussian bump on each training row. Everything about it has a closed form.

    f(x) = log Σ_i w_i exp(−|x − x_i|²/(2h²))          Σ_i w_i = 1, log Z = d log h + d/2 log 2π
    D(x) = Σ_i p_i(x) x_i                              p(x) = softmax_i(log w_i − |x − x_i|²/(2h²))
    ∇f(x) = (D(x) − x)/h²                              |x − D(x)| is the denoising error

D(x) is the mean of the clean row given a row x with noise of deviation h (Tweedie). The error is the distance that one
denoising step moves a row. It is also large for rows in a valley between clusters, where f is not yet low.

Missing cells are NaN. A missing cell of x is left out, so f is the marginal density of the observed cells. A missing
cell of a centre may be anywhere in its standardised column: there the bump has mean 0, variance 1 + h², and a height
lower by √r with r = h²/(1 + h²), so that log Z is the same.

A draw is a centre plus noise, x_i + h ε. Noise would smear a frequent value of a continuous column, such as 40% zeros.
So ε = 0 where the centre has such a value: there the bump is a point mass, like the kernel of a discrete variable at
λ = 0. f is unchanged: it is the density of rows with noise in all cells.

References: Parzen 1962 (the density); Robbins 1956 and Miyasawa 1961 (D); Duin 1976 (leave-one-out likelihood);
Li & Racine 2003 (kernels of continuous and discrete variables).
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from numbers import Real
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

PAIRS = 2**19
"""Pairs of a row and a centre that are evaluated at once: 4 MiB in float64."""

NEGLIGIBLE = -60.0
"""A bump below exp(−60) of the highest counts as 0: somewhat lower ones would be denormal in float32, and slow."""

BANDWIDTHS = tuple(10 ** (-1.3 + 1.5 * k / 11) for k in range(12))
"""Candidates for h, in standard deviations of a column: 0.05 to 1.58."""

FREQUENT = 0.05
"""Share of a column above which a value is frequent, if the column has more than 20 values."""

JUDGES = 400
"""Number of rows whose leave-one-out likelihood chooses h."""


class Own(NamedTuple):
    """The centre that is the row itself, and how many of its copies are left out for this row."""

    centre: Int[Tensor, "rows"]
    copies: Float[Tensor, "rows"]

    def of(self, rows: slice) -> "Own":
        return Own(self.centre[rows], self.copies[rows])


class Bumps(NamedTuple):
    """What f needs of the centres; r is 1 where a cell is observed."""

    towards: Float[Tensor, "n d"]
    """r x_i."""
    stay: Float[Tensor, "n d"] | None
    """1 − r; None if it is 0 throughout."""
    lift: Float[Tensor, "n d"]
    """r x_i²/(2h²) − ½ log r."""
    shares: Float[Tensor, "n"]
    """log w_i."""


class KernelEnergy(nn.Module):
    """f(x) = log Σ_i w_i exp(−|x − x_i|²/(2h²)), a log-density over rows.

    Cells are clamped at √(largest number of the precision)/10⁴, so that no row gives NaN. Memory is bounded: rows are
    processed a few at a time, also when f is differentiated.

    Args:
        centres: The rows x_i, (n, d), with columns of mean 0 and variance 1 or nearly so; NaN where a cell is missing.
        bandwidth: h, in the unit of the columns.
        counts: How often each centre counts, (n,): w_i is its share. By default each counts once.

    Raises:
        ValueError: If there is no centre or no column, h is not positive, or a count is negative.

    >>> f = KernelEnergy(torch.tensor([[0.0], [4.0]]), bandwidth=2.0)
    >>> f.denoised(torch.tensor([[2.0], [100.0]])).squeeze(1).tolist()
    [2.0, 4.0]
    """

    centres: Tensor
    counts: Tensor

    def __init__(self, centres: Float[Tensor, "n d"], bandwidth: float, counts: Float[Tensor, "n"] | None = None):
        super().__init__()
        counts = torch.ones(len(centres)) if counts is None else counts
        refuse_unusable(centres, bandwidth, counts)
        self.h = nn.Parameter(torch.tensor(float(bandwidth), dtype=torch.float64), requires_grad=False)
        self.register_buffer("centres", within_range(centres))
        self.register_buffer("counts", counts.to(centres))
        self.register_load_state_dict_pre_hook(take_sizes)

    @property
    def bandwidth(self) -> float:
        """h."""
        return float(self.h)

    @property
    def complete(self) -> bool:
        """Whether no cell of a centre is missing."""
        return not bool(self.centres.isnan().any())

    @property
    def log_z(self) -> float:
        """log ∫ exp f(x) dx = d (log h + ½ log 2π)."""
        return self.centres.shape[1] * self.log_z_of_a_cell

    @property
    def log_z_of_a_cell(self) -> float:
        return math.log(self.bandwidth) + math.log(2 * math.pi) / 2

    def forward(self, x: Float[Tensor, "rows d"], own: Own | None = None) -> Float[Tensor, "rows"]:
        """f(x), the marginal over the cells that are not NaN.

        Args:
            x: Rows, (rows, d).
            own: Copies of the rows themselves that are left out; none by default.
        """
        value = self.value
        if x.requires_grad and torch.is_grad_enabled() and len(x) > self.rows_at_once:
            value = partial(checkpoint, value, use_reentrant=False, preserve_rng_state=False)
        return self.joined(value, x, own)

    def log_prob(self, x: Float[Tensor, "rows d"], own: Own | None = None) -> Float[Tensor, "rows"]:
        """The normalised log-density of the cells that are not NaN: f(x) − log Z."""
        return self(x, own) - self.log_z_of_a_cell * (~x.isnan()).sum(1)

    def denoised(self, x: Float[Tensor, "rows d"], own: Own | None = None) -> Float[Tensor, "rows d"]:
        """D(x) = x + h²∇f(x) = Σ p_i x_i: the mean of the clean row; NaN where x is.

        Args:
            x: Rows, (rows, d).
            own: As for f.
        """
        return self.joined(self.mean, x, own)

    def error(self, x: Float[Tensor, "rows d"], own: Own | None = None) -> Float[Tensor, "rows"]:
        """The denoising error |x − D(x)|: the root of d times the mean square over the cells that are not NaN."""
        moved = within_range(x) - self.denoised(x, own)
        return x.shape[1] ** 0.5 * moved.square().nanmean(1).nan_to_num(0.0).sqrt()

    def oddness(self, x: Float[Tensor, "rows d"], own: Own | None = None) -> Float[Tensor, "rows"]:
        """The denoising error; or −f per cell if centres have missing cells: the error mixes rows of few and many
        cells.

        Args:
            x: Rows, (rows, d).
            own: As for f.
        """
        if self.complete:
            return self.error(x, own)
        return -self(x, own) / (~x.isnan()).sum(1).clamp(min=1)

    def expected(self, x: Float[Tensor, "rows d"], own: Own | None = None) -> Float[Tensor, "rows d"]:
        """x with every NaN replaced by its mean given the other cells of the row.

        Args:
            x: Rows, (rows, d).
            own: As for f.
        """
        means = torch.cat(
            [softmax(self.log_weights(*part)) @ self.centres.nan_to_num(0.0) for part in self.parts(x, own)]
        )
        return torch.where(x.isnan(), means, x)

    def gradient(self, x: Float[Tensor, "rows d"]) -> Float[Tensor, "rows d"]:
        """∇f(x) = (D(x) − x)/h²; 0 where x is NaN."""
        return ((self.denoised(x) - within_range(x)) / self.bandwidth**2).nan_to_num(0.0)

    def draw(self, n: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """n exact draws: a centre by its weight, then a draw from its bump, which keeps frequent values.

        Args:
            n: Number of draws.
            generator: Source of the randomness.
        """
        u = torch.rand(n, generator=generator, device=generator.device, dtype=torch.float64).to(self.counts.device)
        return self.scattered(place(self.counts / self.counts.sum(), u), generator)

    def completed(
        self, x: Float[Tensor, "rows d"], generator: torch.Generator, own: Own | None = None
    ) -> Float[Tensor, "rows d"]:
        """x with every NaN replaced: the missing cells of a row are an exact draw given its other cells.

        Args:
            x: Rows, (rows, d).
            generator: Source of the randomness.
            own: As for f.
        """
        u = torch.rand(len(x), 1, generator=generator, device=generator.device, dtype=torch.float64).to(x.device)
        weights = (softmax(self.log_weights(*part)) for part in self.parts(x, own))
        chosen = torch.cat([place(p, at) for p, at in zip(weights, u.split(self.rows_at_once), strict=True)])
        return torch.where(x.isnan(), self.scattered(chosen[:, 0], generator), x)

    def scattered(self, chosen: Int[Tensor, "rows"], generator: torch.Generator) -> Float[Tensor, "rows d"]:
        """A draw from the bump on each chosen centre; frequent values stay as they are."""
        x = self.centres[chosen]
        noise = torch.randn(x.shape, generator=generator, device=generator.device, dtype=torch.float64).to(x)
        noise = noise.masked_fill(self.frequent()[chosen], 0.0)
        return x.nan_to_num(0.0) + (self.bandwidth**2 + x.isnan().to(x)).sqrt() * noise

    def frequent(self) -> Bool[Tensor, "n d"]:
        """Which cells of the centres hold a value with a share above `FREQUENT`, in a column of more than 20 values."""
        return torch.stack([is_frequent(column, self.counts) for column in self.centres.T], 1)

    def marginal(self, columns: list[int]) -> "KernelEnergy":
        """The marginal density of some columns, in this order."""
        return KernelEnergy(self.centres[:, columns], self.bandwidth, self.counts)

    def conditional(self, x: Float[Tensor, "d"]) -> "KernelEnergy":
        """The density of the columns where x is NaN given its other cells: the same bumps, weighted by p(x).

        Raises:
            ValueError: If no cell of x is NaN.
        """
        hidden = x.isnan()
        if not bool(hidden.any()):
            raise ValueError("expected NaN in the columns whose conditional density is wanted; got none")
        weights = softmax(self.log_weights(x[None], None, self.bumps()))[0]
        return KernelEnergy(self.centres[:, hidden], self.bandwidth, weights)

    def left_out(self, rows: Int[Tensor, "rows"]) -> Float[Tensor, "rows"]:
        """Leave-one-out: log p of each of these centres under the others, with one copy of itself left out."""
        return self.log_prob(self.centres[rows], Own(rows, torch.ones(len(rows)).to(self.counts)))

    @property
    def rows_at_once(self) -> int:
        return max(1, PAIRS // len(self.centres))

    def joined(self, of: Callable[..., Tensor], x: Tensor, own: Own | None) -> Tensor:
        """The results of `of` for a few rows at a time; without gradients, written into one tensor.

        Separate small results between large temporaries would keep the memory of these: 2 MiB per part.
        """
        if torch.is_grad_enabled():
            return torch.cat([of(*part) for part in self.parts(x, own)])
        found, at = x.new_empty(0), 0
        for part in self.parts(x, own):
            some = of(*part)
            found = found if at else some.new_empty(len(x), *some.shape[1:])
            found[at : at + len(some)] = some
            at += len(some)
        return found

    def parts(self, x: Tensor, own: Own | None) -> Iterator[tuple[Tensor, Own | None, Bumps]]:
        """x and own, a few rows at a time, with the bumps."""
        bumps = self.bumps()
        for at in range(0, max(1, len(x)), self.rows_at_once):
            rows = slice(at, at + self.rows_at_once)
            yield x[rows], own and own.of(rows), bumps

    def bumps(self) -> Bumps:
        x, variance = self.centres.nan_to_num(0.0), self.bandwidth**2
        r = variance / (variance + self.centres.isnan().to(x))
        return Bumps(
            towards=r * x,
            stay=None if self.complete else 1 - r,
            lift=r * x.square() / (2 * variance) - r.log() / 2,
            shares=(self.counts / self.counts.sum()).log(),
        )

    def log_weights(self, x: Tensor, own: Own | None, bumps: Bumps) -> Float[Tensor, "rows n"]:
        """log w_i − |x − x_i|²/(2h²), up to what all centres share: |x|²/(2h²), and the share left by `own`."""
        seen, x = ~x.isnan(), within_range(x).nan_to_num(0.0)
        power = torch.addmm(bumps.shares - summed(bumps.lift, seen), x / self.bandwidth**2, bumps.towards.T)
        if bumps.stay is not None:
            power = power + x.square() / (2 * self.bandwidth**2) @ bumps.stay.T
        if own is not None:
            less = (-own.copies / self.counts[own.centre]).log1p()
            power.scatter_add_(1, own.centre[:, None], less[:, None])
        return power

    def value(self, x: Tensor, own: Own | None, bumps: Bumps) -> Float[Tensor, "rows"]:
        """f of a few rows. It is at most 0; a larger value is rounding of cells near the end of the range."""
        half = within_range(x).nan_to_num(0.0).square().sum(1) / 2
        found = log_sum_exp(self.log_weights(x, own, bumps)) - half / self.bandwidth**2
        if own is not None:
            found = found - (-own.copies / self.counts.sum()).log1p()
        return found.clamp(max=0.0)

    def mean(self, x: Tensor, own: Own | None, bumps: Bumps) -> Float[Tensor, "rows d"]:
        """D of a few rows."""
        _, p = relative(self.log_weights(x, own, bumps))
        stay = 0.0 if bumps.stay is None else within_range(x) * (p @ bumps.stay)
        return ((p @ bumps.towards + stay) / p.sum(1, keepdim=True)).masked_fill(x.isnan(), torch.nan)


def take_sizes(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Resize to the number of centres in a state that is loaded."""
    assert isinstance(module, KernelEnergy)
    for name, own in (("centres", module.centres), ("counts", module.counts)):
        if (found := state.get(prefix + name)) is not None and found.shape[1:] == own.shape[1:]:
            setattr(module, name, own.new_empty(found.shape))


def refuse_unusable(centres: Tensor, bandwidth: float, counts: Tensor) -> None:
    if centres.ndim != 2 or not centres.numel():
        raise ValueError(f"expected centres of shape (n, d), at least one row and column; got {tuple(centres.shape)}")
    if not (isinstance(bandwidth, Real) and bandwidth > 0):
        raise ValueError(f"bandwidth must be positive; got {bandwidth!r}")
    if centres.is_meta:
        return
    if counts.shape != centres.shape[:1] or not bool((counts >= 0).all() and counts.sum() > 0):
        raise ValueError(f"expected counts of shape ({len(centres)},), none negative and not all 0")


def within_range(x: Tensor) -> Tensor:
    """x with every cell clamped so that squares and their sums are finite; NaN stays."""
    largest = torch.finfo(x.dtype).max ** 0.5 * 1e-4
    return x.clamp(-largest, largest)


def is_frequent(column: Float[Tensor, "n"], counts: Float[Tensor, "n"]) -> Bool[Tensor, "n"]:
    """Which cells hold a frequent value, each cell counted `counts` times.

    >>> is_frequent(torch.arange(31.0), torch.tensor([10.0] + [1.0] * 30)).nonzero().tolist()
    [[0]]
    """
    values, where = column.unique(return_inverse=True)
    cells = counts.new_zeros(len(values)).index_add(0, where, counts)
    return (cells > FREQUENT * counts.sum())[where] & (len(values) * FREQUENT > 1)


def summed(cells: Float[Tensor, "n d"], seen: Bool[Tensor, "rows d"]) -> Float[Tensor, "some n"]:
    """Σ_j of the cells of each centre over the columns seen in each row, (rows, n); (1, n) if all are seen."""
    return cells.sum(1)[None] if bool(seen.all()) else seen.to(cells) @ cells.T


def relative(power: Tensor) -> tuple[Tensor, Tensor]:
    """The maximum of each row, and exp of all its numbers relative to it; negligible ones are 0."""
    top = power.detach().amax(1, keepdim=True)
    bumps = (power - top).clamp_(min=NEGLIGIBLE).exp_()  # exp is slow at −∞
    return top[:, 0], F.threshold(bumps, 1.001 * math.exp(NEGLIGIBLE), 0.0)


def log_sum_exp(power: Float[Tensor, "rows n"]) -> Float[Tensor, "rows"]:
    top, bumps = relative(power)
    return top + bumps.sum(1).log()


def softmax(power: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
    _, bumps = relative(power)
    return bumps / bumps.sum(1, keepdim=True)


def place(p: Float[Tensor, "*rows n"], u: Float[Tensor, "*some"]) -> Int[Tensor, "*some"]:
    """The index of the part into which each u in [0, 1) falls when [0, 1] is divided by p."""
    return torch.searchsorted(p.double().cumsum(-1), u, right=True).clamp(max=p.shape[-1] - 1)


def leave_one_out_bandwidth(
    centres: Float[Tensor, "n d"],
    generator: torch.Generator,
    counts: Float[Tensor, "n"] | None = None,
    of_categories: Callable[[float], float] = lambda _: 0.0,
) -> float:
    """The h of `BANDWIDTHS` that maximises the leave-one-out likelihood (Duin 1976).

    h = argmax Σ_i log Σ_{k ≠ i} w_k exp(−|x_i − x_k|²/(2h²)) − log Z, over at most `JUDGES` of the centres, without the
    least likely twentieth of them: a single far row would demand an h that suits no other.

    Args:
        centres: Rows, (n, d), standardised; NaN where a cell is missing.
        generator: Chooses those centres.
        counts: As in `KernelEnergy`.
        of_categories: h -> correction of log p of a row for columns that stand for categories, which have
            probabilities and not densities.
    """
    judges = torch.randperm(len(centres), generator=generator)[:JUDGES].to(centres.device)
    weights = torch.ones(len(judges)) if counts is None else counts[judges]

    def likelihood(h: float) -> float:
        found, order = KernelEnergy(centres, h, counts).left_out(judges).sort()
        voting = order[len(order) // 20 :]
        return float((found[len(order) // 20 :] + of_categories(h)) @ weights.to(centres)[voting])

    return max(BANDWIDTHS, key=likelihood)

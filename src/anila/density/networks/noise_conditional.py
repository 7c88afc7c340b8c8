"""Log-densities of noisy data: one f(x, s) for every noise level s.

    f(x, s) = log N(x; m, C + s² I) + (|x − D₀|² − |x − D|²) / (2 s²) − ½ Σ (max(0, |x| − 1 − 4 s) / s)²
    D₀ = x + s² ∇log N(x; m, C + s² I)                      the mean of the data given x, if they were Gaussian
    D = D₀ + c(s) U(u, s),   u = (x − m) / √(σ² + s²)       the mean of the data given x
    f(x) = f(x, lowest), with U + A in place of U            if there is an adapter A

exp f(·, s) is the law of x + s ξ, with x from the data and ξ ~ N(0, I). The Gaussian with the moments of the data
explains its share; U, any network from points to points, learns the rest. c(s)² is the variance that the Gaussian
leaves unexplained. As log N = const − ½ (D₀ − m)ᵀ C⁻¹ (D₀ − m) − |x − D₀|² / (2 s²), f is the Gaussian's prior at D₀
plus a bowl around D (Salimans & Ho 2021 use only the bowl). Noisy data lie at a distance of s √d from images, and
slopes are learned only there. The bowl extends f to other distances, so that chains settle at the right noise.

Annealed draws of a net that has not learned everything vary less than the data. Against this, the steps from a level to
the next are widened by a small w(s), which is measured once (`samplers.widening`) and is 0 at the lowest level:

    f(x, s) ← (1 + w) f(x, s) + w |x − m|² / (2 s²)          D ← D + w (D − m)

An adapter is a second, smaller network that starts at 0 (Houlsby et al. 2019; Zhang et al. 2023, zero convolutions).
Chains on f(x) train only the adapter: all other levels, along which draws descend, stay as they were learned without
chains.

Far out f is the Gaussian whatever the weights. Data are in [-1, 1], so points of level s are hardly ever beyond
1 + 4 s. The learned part sees φ(x) = x (1 + (x / r)⁸)^(−1/8), which stops four times as far out, at r = 4 + 16 s: so it
is bounded, Z is finite and the gradient points inwards (assumption H1 of Karimi, Xie & Li 2023, section 4). The last
term, the box, is the tail of uniform data with noise.

References: Song & Ermon 2019 (one network for all levels); Karras et al. 2022, section 5 (scaling by level).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from anila.density.log_density import LogDensity
from anila.density.networks.blurred_gaussian import BlurredGaussian
from anila.density.rows import across

NOISE = 4.0
"""Noise beyond this many s practically never occurs."""
MARGIN = 4.0
"""The learned part sees x unchanged, to 2e-6, as far as noisy data reach, and constant from this many times as far."""
FAR = 100.0
"""From x = 100 r on, φ(x) equals r in float64."""
KNOTS = 32
"""Levels at which w is measured, evenly spaced in log s from the highest to the lowest, where it is 0."""


class NoiseConditional(nn.Module):
    """f(x, s) of noisy data in [-1, 1]; f(x) is f at the lowest level.

    Args:
        net: U, a module (n, *event), (n,) -> (n, *event) that takes points and their levels, e.g. `UNet`.
        base: The Gaussian with the moments of the data.
        lowest: s of f(x), in units of x.
        highest: s at which noise covers the data and annealed draws begin.
        finest: The smallest s at which f is learned, used to remove the noise of points; by default that of f(x).
        adapter: A, a module like U; None for none.

    Raises:
        ValueError: If the levels are not positive, or do not rise from finest to highest.

    >>> class Still(nn.Module):
    ...     def forward(self, u, s):
    ...         return 0 * u
    >>> f = NoiseConditional(Still(), BlurredGaussian.of(torch.tensor([[-1.0], [1.0]])), lowest=0.1)
    >>> x = torch.ones(3, 1)
    >>> bool((f(x) == f.at(0.1)(x)).all()), bool((f(x) == f.at(0.5)(x)).any())
    (True, False)
    """

    widening: Tensor

    def __init__(
        self,
        net: nn.Module,
        base: BlurredGaussian,
        lowest: float,
        highest: float = 2.4,
        finest: float | None = None,
        adapter: nn.Module | None = None,
    ):
        if not lowest > 0:
            raise ValueError(f"lowest must be positive: the noise level of f(x), in units of x; got {lowest!r}")
        if not lowest < highest < math.inf:
            raise ValueError(f"highest must be above lowest={lowest!r}, the range of noise levels; got {highest!r}")
        if not 0 < (finest := lowest if finest is None else finest) <= lowest:
            raise ValueError(f"finest must be positive and at most lowest={lowest!r}; got {finest!r}")
        super().__init__()
        self.net, self.base, self.lowest, self.highest, self.finest = net, base, lowest, highest, finest
        self.adapter = adapter
        self.register_buffer("widening", torch.zeros(KNOTS))
        self.register_load_state_dict_pre_hook(add_widening)

    def forward(self, x: Float[Tensor, "n *event"], s: Float[Tensor, "n"] | None = None) -> Float[Tensor, "n"]:
        level = self.level(x) if s is None else s
        return self.known(x, level) + self.learned(x, level, adapted=s is None)

    def at(self, s: float | Float[Tensor, "n"]) -> LogDensity:
        """The log-density x -> f(x, s), or f(x) if s is the lowest level; any sampler takes it.

        Args:
            s: A level, or one per row; with one per row, the adapter is left out.
        """
        if not isinstance(s, Tensor) and s == self.lowest:
            return self
        return lambda x: self(x, torch.as_tensor(s, dtype=x.dtype, device=x.device).expand(len(x)))

    def widened(self, s: float) -> LogDensity:
        """The log-density x -> (1 + w) f(x, s) + w |x − m|² / (2 s²), for the step from s to a lower level."""
        f, w, m = self.at(s), self.widened_by(s), self.base.mean
        return (lambda x: (1 + w) * f(x) + w * inner(x - m, x - m) / (2 * s**2)) if w else f

    def widened_by(self, s: float) -> float:
        """w(s), linear in log s between the levels at which it was measured; 0 below the lowest."""
        k = (KNOTS - 1) * math.log(s / self.highest) / math.log(self.lowest / self.highest)
        if not 0 <= k < KNOTS - 1:
            return 0.0
        first, second = self.widening[int(k) : int(k) + 2].tolist()
        return first + (k - int(k)) * (second - first)

    @property
    def data_sd(self) -> float:
        """σ, the sd of a coordinate of the data."""
        return self.base.variance().sqrt().item()

    def draw_highest(self, n: int, generator: torch.Generator) -> Float[Tensor, "n *event"]:
        """n draws from the highest level, by its Gaussian."""
        return self.base.draw(n, self.highest, generator)

    def level(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n"]:
        """The lowest level, for every row."""
        return x.new_full((len(x),), self.lowest)

    def known(self, x: Float[Tensor, "n *event"], s: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """The part of f that is not learned: the Gaussian and the box."""
        return self.base(x, s) - box(x, s)

    def learned(self, x: Float[Tensor, "n *event"], s: Float[Tensor, "n"], adapted: bool = False) -> Float[Tensor, "n"]:
        """(|x − D₀|² − |x − D|²) / (2 s²), bounded in x."""
        x = saturated(x, s)
        u = self.scaled(x, s)
        points = self.net(u, s)
        return self.nearer(x, s, points + self.adapter(u, s) if adapted and self.adapter else points)

    def nearer(
        self, x: Float[Tensor, "n *event"], s: Float[Tensor, "n"], points: Float[Tensor, "n *event"]
    ) -> Float[Tensor, "n"]:
        """(|x − D₀|² − |x − D|²) / (2 s²) for the output U(u, s)."""
        step = across(self.base.unknown(s).sqrt() / s, x) * points
        return inner(across(s, x) * self.base.pull(x, s) - step / 2, step)

    def scaled(self, x: Float[Tensor, "n *event"], s: Float[Tensor, "n"]) -> Float[Tensor, "n *event"]:
        """u = (x − m) / √(σ² + s²), the input of U."""
        return (x - self.base.mean) / across((self.base.variance() + s.square()).sqrt(), x)


def add_widening(_: nn.Module, state: dict[str, Tensor], prefix: str = "", *__: object) -> None:
    """Give weights that were stored without w a w of 0."""
    state.setdefault(f"{prefix}widening", torch.zeros(KNOTS))


def saturated(x: Float[Tensor, "n *event"], s: Float[Tensor, "n"]) -> Float[Tensor, "n *event"]:
    """φ(x) = x (1 + (x / r)⁸)^(−1/8), r = 4 + 16 s: x inside, ± r outside."""
    r = across(MARGIN * (1 + NOISE * s), x)
    v = (x / r).clamp(-FAR, FAR)
    return r * v * (1 + v**8) ** (-1 / 8)


def box(x: Float[Tensor, "n *event"], s: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """½ Σ (max(0, |x| − 1 − 4 s) / s)²."""
    s = across(s, x)
    return ((x.abs() - 1 - NOISE * s).relu() / s).square().flatten(1).sum(1) / 2


def inner(u: Float[Tensor, "n *event"], v: Float[Tensor, "n *event"]) -> Float[Tensor, "n"]:
    """⟨u, v⟩ of each row."""
    return (u * v).flatten(1).sum(1)

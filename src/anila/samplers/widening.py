"""Widening: annealed draws that vary as much as the data.

    w(s) = E⟨P (D₀ − D), P (x − m)⟩ / E⟨P (D − m), P (x − m)⟩

If x at level s has the variances of noisy data, those at the next level are right if D, the mean of the data given x,
varies along x as D₀ does, the same for a Gaussian with the moments of the data. A net that has not learned everything
falls short of this, by a percent or two at each of dozens of levels, so that draws lack contrast. With
D ← D + w (D − m) the two agree along P, the directions in which the data vary most. The expectations are those of draws
on their way down, which already have the w of the levels above.
"""

from itertools import pairwise

import torch

from anila.density.log_density import gradient
from anila.density.networks import NoiseConditional
from anila.density.networks.noise_conditional import KNOTS
from anila.rng import normal
from anila.samplers.annealed import evenly_spaced, of_a_class

CHAINS, WIDEST = 128, 16
"""Draws, and directions along which their variance is compared."""
MOST = 0.2
"""Largest |w|; a net that lacks more than this has hardly learned."""


@torch.no_grad()
def measure_widening(f: NoiseConditional, generator: torch.Generator, guidance: float = 0.0, n: int = CHAINS) -> None:
    """Measure w(s) of f at each of its levels but the lowest, and store it in `f.widening`.

    Args:
        f: f(x, s).
        generator: Source of all the noise.
        guidance: As in `draw_annealed`.
        n: Draws.
    """
    f.widening.zero_()
    x, m, P = f.draw_highest(n, generator), f.base.mean, f.base.directions[:, -WIDEST:]
    way = of_a_class(f, x, generator, None, guidance)
    for k, (s, lower) in enumerate(pairwise(evenly_spaced(f, KNOTS))):
        with torch.enable_grad():
            away = x + s**2 * gradient(way.at(s), x) - m
        z, dz = ((y.flatten(1) @ P) for y in (x - m, away))
        exact = z * (1 - s**2 / (f.base.variances[-WIDEST:] + s**2))
        f.widening[k] = (((exact - dz) * z).sum() / (dz * z).sum()).clamp(-MOST, MOST)
        kept = (lower / s) ** 2
        x = m + kept * (x - m) + (1 - kept) * (1 + f.widening[k]) * away
        x = x + lower * (1 - kept) ** 0.5 * normal(x.shape, x, generator)

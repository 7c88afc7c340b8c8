"""Annealed sampling: descend the noise levels of an f(x, s), from one where all is noise to one where all is data.

    x ← K transitions of a kernel on f(·, s)                                at each level s
    x ← x + (s² − s'²) ∇f(x, s) + √((s² − s'²) s'² / s²) ξ                  to the next level s' < s
    x ← x + s² ∇f(x, s)                                                     finally, to the mean of the data given x

The second line is the ancestral step of a diffusion model (Ho et al. 2020; Song et al. 2021): the law of x at level s'
given x at level s, if the data given x are near their mean x + s² ∇f. It is a step of `langevin` at step_size
2 (s² − s'²) and temperature s'² / (2 s²), and the last line a step of `descent` at 2 s². The kernel of the first line
corrects the error that these steps leave (Song & Ermon 2019). An f that is `Widened` has another one for the second
line.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.log_density import Anneals, HasClasses, HasLevels, LogDensity, Widened
from anila.messages import counted
from anila.samplers.kernel import Sampler
from anila.samplers.langevin import descent, langevin
from anila.samplers.precondition import stretched
from anila.samplers.sample import transitions
from anila.samplers.trace import Trace

BLOCK = 250
"""Chains that run together."""


def sample_annealed(
    f: HasLevels,
    x0: Float[Tensor, "chains *event"],
    levels: Sequence[float],
    generator: torch.Generator,
    kernel: Callable[[LogDensity, float], Sampler] | None = None,
    steps: int = 0,
    denoise: bool = True,
    watch: Callable[[float, Tensor], None] = lambda *_: None,
) -> tuple[Float[Tensor, "chains *event"], list[Trace]]:
    """Draws of f(·, s) at the lowest level, denoised.

    Args:
        f: f(x, s), of which `f.at(s)` is the log-density of a level.
        x0: Draws from the first level, e.g. `f.base.draw(n, levels[0], generator)`.
        levels: Descending levels s, in units of x.
        generator: Source of all the noise.
        kernel: (f.at(s), s) -> the kernel of a level, e.g. `lambda f, s: langevin(f, step_size=0.3 * s**2)`.
        steps: Its transitions K at each level.
        denoise: Whether the last step takes away the noise of the lowest level.
        watch: Called with each level and the points that reach it.

    Returns:
        The points, and the trace of the kernel at each level.

    Raises:
        ValueError: If levels are not positive and descending, or only one of kernel and steps is given; as in `sample`.

    >>> from anila import rng
    >>> class Normal:  # data at 0
    ...     def at(self, s):
    ...         return lambda x: -x.square().sum(1) / (2 * s**2)
    ...     def __call__(self, x, s):
    ...         return self.at(s)(x)
    >>> x, _ = sample_annealed(Normal(), torch.randn(5, 2), [1.0, 0.3], rng(0, "draw"))
    >>> bool((x.abs() < 1e-6).all())
    True
    """
    if not levels or min(levels) <= 0 or any(a <= b for a, b in pairwise(levels)):
        raise ValueError(f"levels must be positive and descending, the noisiest first; got {list(levels)}")
    if (kernel is None) == (steps > 0):
        raise ValueError(
            f"give kernel and steps together; got {counted(steps, 'step')} {'with' if kernel else 'without'} a kernel"
        )
    x, traces = x0, []
    for s, lower in pairwise([*levels, 0.0]):
        watch(s, x)
        if kernel:
            x, trace = transitions(kernel(f.at(s), s), x, steps, generator)
            traces.append(trace)
        if lower or denoise:
            f_s = f.widened(s) if isinstance(f, Widened) else f.at(s)
            x, _ = transitions(towards(f_s, s, lower), x, 1, generator)
    return x, traces


def towards(f: LogDensity, s: float, lower: float) -> Sampler:
    """The step from level s to a lower one, or to no noise at all."""
    step_size = 2 * (s**2 - lower**2)
    return langevin(f, step_size, temperature=lower**2 / (2 * s**2)) if lower else descent(f, step_size)


def draw_annealed(
    f: Anneals,
    n: int,
    generator: torch.Generator,
    make: Callable[[LogDensity], Sampler],
    levels: int = 24,
    steps: int = 2,
    y: int | None = None,
    guidance: float = 0.0,
    watch: Callable[[float, Tensor], None] = lambda *_: None,
) -> Float[Tensor, "n *event"]:
    """Draw n points from f(x), the lowest level, starting from noise. They keep the noise that is part of its law.

    If f has classes, each point descends within one class: y, or one drawn from p(y | x) at the highest level.

    Args:
        f: f(x, s), which knows its levels and can be sampled directly at the highest.
        n: Chains.
        generator: Source of all the noise.
        make: f -> a local kernel for f(x); at level s it runs in units of s / lowest, as f(·, s) is that much wider.
        levels: Number of levels, evenly spaced in log s.
        steps: Transitions at each level.
        y: The class.
        guidance: w of the laws p(x | y) p(y | x)^w along which the points of a class descend.
        watch: As in `sample_annealed`, for every 250 points.
    """

    def kernel(f_s: LogDensity, s: float) -> Sampler:
        return stretched(f_s, lambda u: s / f.lowest * u, make)

    path, drawn = evenly_spaced(f, levels), []
    for first in range(0, n, BLOCK):
        x0 = f.draw_highest(min(BLOCK, n - first), generator)
        way = of_a_class(f, x0, generator, y, guidance)
        x, _ = sample_annealed(way, x0, path, generator, kernel if steps else None, steps, denoise=False, watch=watch)
        drawn.append(x)
    return torch.cat(drawn)


def evenly_spaced(f: Anneals, levels: int) -> list[float]:
    """Levels from the highest to the lowest, evenly spaced in log s."""
    path = torch.linspace(math.log(f.highest), math.log(f.lowest), levels, dtype=torch.float64).exp().tolist()
    return [*path[:-1], f.lowest]  # exactly: f(x) may have a part that no f(·, s) has


def of_a_class(
    f: Any, x: Float[Tensor, "n *event"], generator: torch.Generator, y: int | None, guidance: float
) -> HasLevels:
    """f; if it has classes, f of class y, or of a class drawn for each row given its x at the highest level."""
    if not isinstance(f, HasClasses):
        return f
    joint: Any = f
    if y is not None:
        return joint.given(y, guidance)
    with torch.no_grad():
        p = joint(x, x.new_full((len(x),), joint.highest), by_class=True).softmax(1)
    return joint.given(torch.multinomial(p.to(generator.device), 1, generator=generator).squeeze(1), guidance)

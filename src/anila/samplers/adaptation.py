"""Adaptation: settings of a sampler that follow what its chains report; each kernel that runs is a fixed one.

A setting s > 0 is changed between runs of kernels, so that a mean over chains that falls in s becomes what it should be
(`adapted`), or so that s becomes what is measured with noise (`averaged`):

    log s ← log s + rate · (mean − aim)                 log s ← log s + rate · (log measured − log s)

    step_size    by acceptance               warm-up: 3/√k in window k; pilot of an annealing path: 1; training: 0.2
    threshold    by the fraction clipped     training: 0.2
    threshold    by a quantile of |∂f|       warm-up: 0.2

A threshold b whose clipped fraction is 1 − q is the q-quantile of |∂f|, so both find a quantile.

Under training f sharpens, and the settings go on following it: a fixed step would come to be rejected always, and a
fixed threshold to clip every coordinate; then chains cannot keep up with the landscape, and the energy gap grows
unopposed.

Compiled kernels read these settings from tensors, so that a graph need not be made anew when they change.

Reference: Robbins & Monro 1951 (stochastic approximation).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from anila.samplers import Sampler

RATE = 0.2
"""How fast settings follow."""


def adapted(setting: float, rate: float, excess: float) -> float:
    """log s ← log s + rate · excess, with excess = mean − aim of a mean that falls in s.

    >>> adapted(0.1, 1.0, 0.0), round(adapted(0.1, 0.5, 0.2), 4)
    (0.1, 0.1105)
    """
    return setting * math.exp(rate * excess)


def averaged(setting: float, rate: float, measured: float) -> float:
    """log s ← (1 − rate) log s + rate log measured.

    >>> round(averaged(1.0, 0.2, 32.0), 4)
    2.0
    """
    return setting ** (1 - rate) * measured**rate


class OneKernel:
    """A kernel whose settings are tensors: made once, and so compiled once, whatever they become.

    Args:
        make: Takes the settings and returns the kernel.
        settings: The first ones.
    """

    def __init__(self, make: Callable[..., Sampler], settings: Mapping[str, Tensor]):
        self.read = {name: value.clone() for name, value in settings.items()}
        self.kernel = make(**self.read)

    def now(self, settings: Mapping[str, float | Tensor | None]) -> Sampler:
        """The kernel, from now on with these settings: a scale a coordinate fits a factor, and None is the identity."""
        for name, value in settings.items():
            place = self.read[name]
            if isinstance(value, Tensor) and value.shape != place.shape:
                value = value.flatten().diag()
            elif value is None:
                value = torch.eye(*place.shape) if place.ndim == 2 else torch.ones(())
            place.copy_(torch.as_tensor(value))
        return self.kernel


class KernelsByCount:
    """A kernel for each value of the settings that are counts: these shape the code, tensors do not.

    Args:
        make: Takes the settings and returns the kernel.
        settings: The first ones of those that are tensors.
    """

    def __init__(self, make: Callable[..., Sampler], settings: Mapping[str, Tensor]):
        self.make, self.tensors, self.made = make, settings, dict[tuple[Any, ...], OneKernel]()

    def now(self, settings: Mapping[str, Any]) -> Sampler:
        """The kernel of these counts, from now on with these settings."""
        counts = {name: value for name, value in settings.items() if name not in self.tensors}
        if (key := tuple(counts.items())) not in self.made:
            self.made[key] = OneKernel(lambda **kw: self.make(**counts, **kw), self.tensors)
        return self.made[key].now({name: settings[name] for name in self.tensors})


class AdaptiveSampler:
    """A sampler whose step_size follows acceptance, whose threshold follows the fraction clipped, or both.

    Args:
        make: (step_size) -> Sampler; called with threshold=… and temperature=… too where those are given here.
        step_size: The first one.
        accept: Acceptance that step_size is adapted to; 0.57 is the optimum of Langevin proposals (Roberts & Rosenthal
            1998). None keeps step_size.
        threshold: The first b, in units of ∂f.
        clipped: Fraction of coordinates above b that b is adapted to; None keeps b.
        temperature: Iteration -> temperature of that iteration, e.g. an annealed one.
        rate: How fast settings follow.
    """

    def __init__(
        self,
        make: Callable[..., Sampler],
        step_size: float,
        accept: float | None = 0.57,
        *,
        threshold: float | None = None,
        clipped: float | None = None,
        temperature: Callable[[int], float] | None = None,
        rate: float = RATE,
    ):
        self.make, self.step_size, self.accept, self.rate = make, step_size, accept, rate
        self.threshold, self.clipped, self.temperature = threshold, clipped, temperature
        self.compiled: OneKernel | None = None

    def settings(self, iteration: int) -> dict[str, float]:
        """What `make` is called with in this iteration."""
        found = {"step_size": self.step_size}
        if self.threshold is not None:
            found["threshold"] = self.threshold
        if self.temperature is not None:
            found["temperature"] = self.temperature(iteration)
        return found

    def kernel(self, iteration: int) -> Sampler:
        """The sampler of this iteration."""
        more = self.settings(iteration)
        return self.make(more.pop("step_size"), **more)

    def compiled_kernel(self, iteration: int, device: torch.device) -> Sampler:
        """The same with settings that are tensors on that device: one kernel, whatever they become."""
        now = self.settings(iteration)
        if self.compiled is None:
            first = {name: torch.tensor(value, dtype=torch.float32, device=device) for name, value in now.items()}
            self.compiled = OneKernel(lambda step_size, **more: self.make(step_size, **more), first)
        return self.compiled.now(now)

    def adapt(self, means: Mapping[str, float]) -> None:
        """Adjust the settings after an iteration with this mean `accept_prob` and `clipped`."""
        if self.accept is not None:
            self.step_size = adapted(self.step_size, self.rate, means["accept_prob"] - self.accept)
        if self.threshold is not None and self.clipped is not None:
            self.threshold = adapted(self.threshold, self.rate, means["clipped"] - self.clipped)

    def state_dict(self) -> dict[str, float | None]:
        return {"step_size": self.step_size, "threshold": self.threshold}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there with the settings that follow something; the others stay as they were given."""
        if self.accept is not None:
            self.step_size = state["step_size"]
        if self.clipped is not None:
            self.threshold = state["threshold"]

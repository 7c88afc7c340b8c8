"""Adaptation: settings of a sampler follow what its chains report, but each kernel that runs is fixed.

A setting s > 0 is changed between runs of kernels, either to bring a mean over chains that decreases with s to its
target (`adapted`), or to average noisy measurements of s (`averaged`):

    log s ← log s + rate · (mean − aim)                 log s ← log s + rate · (log measured − log s)

    step_size    by acceptance               warm-up: 3/√k in window k; pilot of an annealing path: 1; training: 0.2
    threshold    by the fraction clipped     training: 0.2
    threshold    by a quantile of |∂f|       warm-up: 0.2

A threshold b whose clipped fraction is 1 − q is the q-quantile of |∂f|, so both rules find a quantile.

During training f sharpens, so the settings keep adapting. With a fixed step size every proposal would come to be
rejected, and a fixed threshold would clip every coordinate. The chains would then fall behind the landscape, and the
energy gap would grow unopposed.

Compiled kernels read these settings from tensors, so a change of settings needs no new graph.

Reference: Robbins & Monro 1951 (stochastic approximation).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from anila.samplers import Sampler

RATE = 0.2
"""Rate at which settings adapt."""


def adapted(setting: float, rate: float, excess: float) -> float:
    """log s ← log s + rate · excess, where excess = mean − aim, for a mean that decreases with s.

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
    """A kernel whose settings are tensors that change in place, so that it is made and compiled only once.

    Args:
        make: Takes the settings and returns the kernel.
        settings: Their initial values.
    """

    def __init__(self, make: Callable[..., Sampler], settings: Mapping[str, Tensor]):
        self.read = {name: value.clone() for name, value in settings.items()}
        self.kernel = make(**self.read)

    def now(self, settings: Mapping[str, float | Tensor | None]) -> Sampler:
        """Set these settings and return the kernel. In a dense factor, scales become a diagonal, None the identity."""
        for name, value in settings.items():
            place = self.read[name]
            if isinstance(value, Tensor) and value.shape != place.shape:
                value = value.flatten().diag()
            elif value is None:
                value = torch.eye(*place.shape) if place.ndim == 2 else torch.ones(())
            place.copy_(torch.as_tensor(value))
        return self.kernel


class KernelsByCount:
    """One kernel for each combination of the settings that are counts: counts shape the code, tensors do not.

    Args:
        make: Takes the settings and returns the kernel.
        settings: Initial values of the settings that are tensors.
    """

    def __init__(self, make: Callable[..., Sampler], settings: Mapping[str, Tensor]):
        self.make, self.tensors, self.made = make, settings, dict[tuple[Any, ...], OneKernel]()

    def now(self, settings: Mapping[str, Any]) -> Sampler:
        """Set these settings and return the kernel for their counts."""
        counts = {name: value for name, value in settings.items() if name not in self.tensors}
        if (key := tuple(counts.items())) not in self.made:
            self.made[key] = OneKernel(lambda **kw: self.make(**counts, **kw), self.tensors)
        return self.made[key].now({name: settings[name] for name in self.tensors})


class AdaptiveSampler:
    """A sampler whose step_size follows acceptance, whose threshold follows the fraction clipped, or both.

    Args:
        make: (step_size) -> Sampler; called with threshold=… and temperature=… too where those are given here.
        step_size: Initial value.
        accept: Acceptance rate at which step_size aims; 0.57 is optimal for Langevin proposals (Roberts & Rosenthal
            1998). None keeps step_size fixed.
        threshold: Initial b, in units of ∂f.
        clipped: Fraction of coordinates above b at which b aims; None keeps b fixed.
        temperature: Iteration -> temperature of that iteration, e.g. an annealed one.
        rate: Rate at which settings adapt.
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
        """The same with settings held in tensors on this device: one kernel serves all iterations."""
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
        """Restore the settings that adapt; the others stay as they were given."""
        if self.accept is not None:
            self.step_size = state["step_size"]
        if self.clipped is not None:
            self.threshold = state["threshold"]

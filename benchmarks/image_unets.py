"""What a user who needs no density would use: U-Nets that learn a velocity (flow matching) or a denoiser (diffusion).

    flow         x_t = (1 − t) x₀ + t x₁,  θ descends |U(x_t, (1 − t)/t) − (x₁ − x₀)|²           (Lipman et al. 2023)
                 x ← x + h U at the midpoint of the step, from t = 0 to 1
    diffusion    D(y; s) = c_skip y + c_out U(c_in y, s),  θ descends |D(x + s ξ; s) − x|² / c_out²
                 Heun's steps down 18 levels from 80 to 0.002                 (Karras et al. 2022, table 1, algorithm 1)

U is the product's own U-Net. Both train as our recipes do: Adam, a cosine schedule over the budget, averaged weights.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from anila.density.networks import UNet
from anila.learning.learner import averaging
from anila.rng import rng

Draw = Callable[[int, torch.Generator], Tensor]
MEAN, SPREAD, HIGHEST, LOWEST, LEVELS, RHO = -1.2, 1.2, 80.0, 0.002, 18, 7.0
STEPS = 18


class Regression:
    """A network that descends a loss, an iteration at a time; as a `Learner`."""

    def __init__(self, net: nn.Module, loss: Callable[[Tensor, torch.Generator], Tensor], ema: float, seed: int):
        self.net, self.loss, self.seed, self.iteration = net, loss, seed, 0
        self.optimizer = torch.optim.Adam(net.parameters(), betas=(0.9, 0.99))
        self.mean = AveragedModel(net, multi_avg_fn=averaging(ema))

    def update(self, x: Tensor) -> dict[str, float]:
        loss = self.loss(x, rng(self.seed, "noise", self.iteration))
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.mean.update_parameters(self.net)
        self.iteration += 1
        return {"loss": loss.item()}

    @property
    def best_model(self) -> nn.Module:
        return self.mean.module


def normal(x: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(x.shape, generator=generator).contiguous(memory_format=torch.channels_last)


def beside(s: Tensor) -> Tensor:
    return s.view(-1, 1, 1, 1)


def flow_loss(net: nn.Module) -> Callable[[Tensor, torch.Generator], Tensor]:
    def loss(x: Tensor, generator: torch.Generator) -> Tensor:
        x0 = normal(x, generator)
        t = (torch.arange(len(x)) + torch.rand(len(x), generator=generator)) / len(x)
        x_t = (1 - beside(t)) * x0 + beside(t) * x
        return (net(x_t, noise_ratio(t)) - (x - x0)).square().mean()

    return loss


def noise_ratio(t: Tensor) -> Tensor:
    """(1 − t)/t, of which the net sees the logarithm."""
    return ((1 - t) / t.clamp(min=1e-3)).clamp(min=1e-3)


def flow_draw(net: nn.Module, event: tuple[int, ...]) -> Draw:
    @torch.no_grad()
    def draw(n: int, generator: torch.Generator) -> Tensor:
        x, h = normal(torch.empty(n, *event), generator), 1 / STEPS
        for k in range(STEPS):
            at, middle = (noise_ratio(torch.full((n,), (k + part) / STEPS)) for part in (0, 0.5))
            x = x + h * net(x + h / 2 * net(x, at), middle)
        return x

    return draw


class Denoiser(nn.Module):
    """D(y; s), of data with this standard deviation."""

    def __init__(self, net: nn.Module, data_sd: float):
        super().__init__()
        self.net, self.data_sd = net, data_sd

    def forward(self, y: Tensor, s: Tensor) -> Tensor:
        total = beside(self.data_sd**2 + s.square())
        skip, out = self.data_sd**2 / total, beside(s) * self.data_sd / total.sqrt()
        return skip * y + out * self.net(y / total.sqrt(), s)


def diffusion_loss(denoiser: Denoiser) -> Callable[[Tensor, torch.Generator], Tensor]:
    def loss(x: Tensor, generator: torch.Generator) -> Tensor:
        u = (torch.arange(len(x)) + torch.rand(len(x), generator=generator, dtype=torch.float64)) / len(x)
        s = (MEAN + SPREAD * torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6))).exp().float()
        weight = (denoiser.data_sd**2 + s.square()) / (s * denoiser.data_sd).square()
        found = denoiser(x + beside(s) * normal(x, generator), s)
        return (beside(weight) * (found - x).square()).mean()

    return loss


def diffusion_draw(denoiser: nn.Module, event: tuple[int, ...]) -> Draw:
    levels = torch.linspace(HIGHEST ** (1 / RHO), LOWEST ** (1 / RHO), LEVELS) ** RHO
    levels = torch.cat([levels, torch.zeros(1)])

    @torch.no_grad()
    def draw(n: int, generator: torch.Generator) -> Tensor:
        def slope(x: Tensor, s: Tensor) -> Tensor:
            return (x - denoiser(x, s.expand(n))) / s

        x = HIGHEST * normal(torch.empty(n, *event), generator)
        for s, lower in pairwise(levels):
            first = slope(x, s)
            there = x + (lower - s) * first
            x = x + (lower - s) * (first + slope(there, lower)) / 2 if lower else there
        return x

    return draw


def unet(event: tuple[int, ...], widths: tuple[int, ...], seed: int) -> UNet:
    """U, its weights drawn from the seed."""
    torch.manual_seed(seed)
    return channels_last(UNet(event[0], event[1], widths))


def channels_last(net: Any) -> Any:
    """Its convolutions' weights as they are quickest."""
    return net.to(memory_format=torch.channels_last)

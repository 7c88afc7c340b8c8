"""TorchEBM's two losses that need no chains at first, with nets of our size; each as its documentation uses it.

Energy matching (Balcerak et al. 2025): transport for 80% of the budget, then the contrastive term of weight 2 besides,
with 25 Langevin steps (its 200 would leave a handful of iterations). ε = 0.01 and chains that go on to time 3.25 are
the paper's for images, step size 0.05 ours: 65 evaluations a draw. Equilibrium matching (Wang & Du 2025): all defaults;
drawn by 50 steps of gradient descent, step size 0.02, which is 4 · 50 · 0.02 times the way.
"""

import torch
from torch import Tensor, nn
from torchebm.core import TemperatureScheduler  # pyright: ignore[reportMissingImports]
from torchebm.losses import EnergyMatchingLoss, EquilibriumMatchingLoss  # pyright: ignore[reportMissingImports]
from torchebm.models import EqMEnergy  # pyright: ignore[reportMissingImports]
from torchebm.samplers import GradientDescentSampler, LangevinDynamics  # pyright: ignore[reportMissingImports]

from image_sets import ImageSet
from image_unets import Draw, Regression, normal, unet
from peers import Energy

HEAT, END, STEP, CHAIN_STEPS = 0.01, 3.25, 0.05, 25
DESCENT_STEPS, DESCENT = 50, 0.02


class Timeless(nn.Module):
    """A U-Net that is told no time: every point is at level 1."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.net(x, torch.ones_like(t))


def energy_matching(f: nn.Module, ema: float, seed: int) -> tuple[Regression, EnergyMatchingLoss]:
    model = Energy(f)
    loss = EnergyMatchingLoss(model, lambda_cd=0.0, epsilon_max=HEAT, n_langevin_steps=CHAIN_STEPS, langevin_dt=STEP)
    return Regression(model, lambda x, g: loss(x, generator=g), ema, seed), loss


def energy_draw(model: nn.Module, event: tuple[int, ...]) -> Draw:
    def draw(n: int, generator: torch.Generator) -> Tensor:
        steps = round(END / STEP)
        heat = TemperatureScheduler(HEAT, 0.8, n_steps=steps, t_end=END)
        chains = LangevinDynamics(model, step_size=STEP, noise_scale=heat)
        return chains.sample(x=normal(torch.empty(n, *event), generator), n_steps=steps, generator=generator)

    return draw


def equilibrium_matching(data: ImageSet, widths: tuple[int, ...], ema: float, seed: int) -> Regression:
    net = Timeless(unet(tuple(data.train.shape[1:]), widths, seed))
    loss = EquilibriumMatchingLoss(net)
    return Regression(net, lambda x, g: loss(x, generator=g), ema, seed)


def equilibrium_draw(net: nn.Module, event: tuple[int, ...]) -> Draw:
    def draw(n: int, generator: torch.Generator) -> Tensor:
        down = GradientDescentSampler(EqMEnergy(net, energy_type="implicit"), step_size=DESCENT)
        return down.sample(x=normal(torch.empty(n, *event), generator), n_steps=DESCENT_STEPS)

    return draw

"""Recipes that learn images within a budget of CPU seconds: ours, and what users would take instead.

Ours are made of the product's pieces. f(x, s) of a range of levels learns by denoising, then perhaps by recovery, then
perhaps by Algorithm 1 on the law of its lowest level, denoising going on beside it, each with its own limit of the
gradient. f(x) learns by transport, then by Algorithm 1. `chains alone` is the preset of this set: Algorithm 1 from
noise. Every stage has a share of the budget and begins with the averaged weights of the one before.
"""

import importlib.util
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from anila.density.networks import BlurredGaussian, NoiseConditional, vanilla
from anila.learning.chains import frozen
from anila.learning.learner import Learner
from anila.learning.objectives import denoising, recovery, transport
from anila.learning.starts import FromData, Persistent, Replay
from anila.rng import rng
from anila.runs.experiment import PRESETS, build, resolve
from anila.samplers import descent, langevin, sample
from anila.samplers.annealed import sample_annealed
from image_sets import Clock, ImageSet, cosine, points
from image_unets import (
    Denoiser,
    Draw,
    Regression,
    diffusion_draw,
    diffusion_loss,
    flow_draw,
    flow_loss,
    normal,
    unet,
)
from rounding import quickest

LOWEST, HIGHEST, FINAL = 0.04, 2.4, 0.1
"""Levels that denoising learns, and the level of f(x)."""
RUNGS, RUNG_STEPS, LAST_STEPS = 24, 2, 100
BATCH, EMA, CHUNK = 32, 0.998, 128
RATE, FINE_RATE = 2e-3, 1e-4
HEAT, STRIDE, ARRIVE, REST = 0.005, 0.05, 60, 10
"""Of transport: temperature, step size, steps that cross f from noise, and steps without noise at last."""


class Size(NamedTuple):
    """How large the nets are, and where the preset finds its data."""

    widths: tuple[int, ...]
    source: str

    def parameters(self, channels: int) -> int:
        return count(unet((channels, 32, 32), self.widths, 0))

    def vanilla_width(self, channels: int) -> int:
        """The width at which `vanilla` has as many parameters as the U-Net, or nearly."""
        aim = self.parameters(channels)
        return min(range(4, 65, 2), key=lambda width: abs(math.log(count(vanilla(channels, 32, width)) / aim)))


class Learned(NamedTuple):
    """What a recipe leaves."""

    draw: Draw
    parameters: int
    iterations: int
    f: Any = None
    """The log-density, where there is one."""
    remarks: tuple[str, ...] = ()


class Turn(NamedTuple):
    """A learner that takes its turn in every iteration."""

    learner: Learner | Regression
    rate: float
    batch: int = BATCH


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def go(turns: Sequence[Turn], data: ImageSet, seconds: float, seed: int) -> nn.Module:
    """Iterations until the budget is used; the averaged model."""
    clock, i = Clock(seconds), 0
    while (done := clock.done()) < 1:
        for learner, rate, batch in turns:
            for group in learner.optimizer.param_groups:
                group["lr"] = rate * cosine(done, i)
            learner.update(data.batch(batch, seed, i))
        i += 1
    return turns[-1].learner.best_model


class Dose(NamedTuple):
    """Shares of the budget."""

    denoising: float
    recovery: float = 0.0
    chains: float = 0.0


def by_levels(data: ImageSet, seconds: float, seed: int, size: Size, dose: Dose) -> Learned:
    """f(x, s): denoising, recovery, Algorithm 1 on f(·, 0.1)."""
    event = tuple(data.train.shape[1:])
    base = BlurredGaussian.of(points(data.train[:7000]))
    f: nn.Module = NoiseConditional(unet(event, size.widths, seed), base, FINAL)
    levels = denoising((LOWEST, HIGHEST), data_sd=float(base.variance().sqrt()))
    used: list[Learner] = []

    def learner(objective: Any, **more: Any) -> Learner:
        optimizer = torch.optim.Adam(f.parameters(), betas=more.pop("betas", (0.9, 0.99)))
        used.append(Learner(f, optimizer=optimizer, seed=seed, objective=objective, ema=EMA, **more))
        return used[-1]

    f = go([Turn(learner(levels, max_grad_norm=1024.0), RATE)], data, dose.denoising * seconds, seed)
    if dose.recovery:
        f = go([Turn(learner(recovery(), max_grad_norm=1.0), FINE_RATE)], data, dose.recovery * seconds, seed + 1)
    if dose.chains:
        clock = Clock(dose.chains * seconds)
        pool = annealed(f, FINAL, denoise=False)(min(256, max(16, int(2 * clock.seconds))), rng(seed, "pool"))
        start = Replay(64, FromData(pool), fresh=0.01)
        likely = learner(
            None, sampler=langevin(f, 0.3 * FINAL**2), start=start, steps=10, chains=BATCH, data_noise=FINAL,
            max_grad_norm=1.0, betas=(0.5, 0.99),
        )  # fmt: skip
        anchor = learner(levels, max_grad_norm=1.0)
        f = go([Turn(likely, FINE_RATE), Turn(anchor, FINE_RATE, BATCH // 2)], data, clock.seconds - clock.used(), seed)
    draw = settled(f) if dose.chains else annealed(f, FINAL / 2)
    return Learned(draw, count(f), sum(learner.iteration for learner in used), f.eval())


def ladder(lowest: float) -> list[float]:
    return torch.linspace(math.log(HIGHEST), math.log(lowest), RUNGS).exp().tolist()


def annealed(f: Any, lowest: float, denoise: bool = True) -> Draw:
    """From the highest level down."""

    def draw(n: int, generator: torch.Generator) -> Tensor:
        found = []
        for first in range(0, n, CHUNK):
            x0 = f.base.draw(min(CHUNK, n - first), HIGHEST, generator).contiguous(memory_format=torch.channels_last)
            with frozen(f):
                x, _ = sample_annealed(
                    f, x0, ladder(lowest), generator, lambda f, s: langevin(f, 0.2 * s**2), RUNG_STEPS, denoise
                )
            found.append(x)
        return torch.cat(found)

    return draw


def settled(f: Any) -> Draw:
    """Annealed, then chains at the lowest level, then one denoising step."""

    def draw(n: int, generator: torch.Generator) -> Tensor:
        x = annealed(f, FINAL, denoise=False)(n, generator)
        with frozen(f):
            parts = [sample(langevin(f, 0.3 * FINAL**2), part, LAST_STEPS, generator)[0] for part in x.split(CHUNK)]
            return sample(descent(f, 2 * FINAL**2), torch.cat(parts), 1, generator)[0]

    return draw


class Landscape(nn.Module):
    """f(x) = 30 net(x) − a |x|²/2, a learned from 1."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net, self.a = net, nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return 30 * self.net(x) - self.a * x.square().flatten(1).sum(1) / 2


def landscape(data: ImageSet, size: Size, seed: int) -> Landscape:
    torch.manual_seed(seed)
    channels = data.train.shape[1]
    return Landscape(vanilla(channels, 32, size.vanilla_width(channels), "silu"))


def by_transport(data: ImageSet, seconds: float, seed: int, size: Size) -> Learned:
    """f(x): transport for 3/4 of the budget, then Algorithm 1 from a bank of its draws, transport beside it."""
    f: nn.Module = landscape(data, size, seed)
    first = Learner(
        f, optimizer=torch.optim.Adam(f.parameters(), betas=(0.9, 0.99)), seed=seed, objective=transport(),
        data_noise=0.02, max_grad_norm=1.0, ema=EMA,
    )  # fmt: skip
    f = go([Turn(first, RATE / 2)], data, 0.75 * seconds, seed)
    clock = Clock(0.25 * seconds)
    bank = arriving(f, data)(min(256, max(16, int(16 * clock.seconds))), rng(seed, "bank"))
    likely = Learner(
        f, langevin(f, STRIDE, temperature=HEAT), Persistent(bank), torch.optim.Adam(f.parameters(), betas=(0.0, 0.99)),
        15, seed, chains=16, data_noise=0.02, max_grad_norm=1.0,
    )  # fmt: skip
    anchor = Learner(
        f, optimizer=torch.optim.Adam(f.parameters()), seed=seed, objective=transport(), max_grad_norm=0.3, ema=EMA
    )
    turns = [Turn(likely, FINE_RATE, 16), Turn(anchor, FINE_RATE, 16)]
    f = go(turns, data, clock.seconds - clock.used(), seed)
    return Learned(arriving(f, data), count(f), first.iteration + likely.iteration, f.eval())


def arriving(f: nn.Module, data: ImageSet) -> Draw:
    """From noise to where chains rest."""

    def draw(n: int, generator: torch.Generator) -> Tensor:
        x = normal(torch.empty(n, *data.train.shape[1:]), generator)
        with frozen(f):
            x, _ = sample(langevin(f, STRIDE, temperature=HEAT), x, ARRIVE, generator)
            return sample(descent(f, STRIDE), x, REST, generator)[0]

    return draw


def by_chains(data: ImageSet, seconds: float, seed: int, size: Size) -> Learned:
    """Algorithm 1 from noise, by the preset of this set."""
    words = [f"data={size.source}", f"training.seed={seed}", f"network.width={size.vanilla_width(data.train.shape[1])}"]
    preset = f"{data.name}-chains" if f"{data.name}-chains" in PRESETS else data.name
    config = resolve(PRESETS[preset].experiment, words)
    learner = build.build_learner(config, build.build_data(config.data))
    precision = quickest(learner.model, data.batch(BATCH, seed, 0))
    learner.precision = learner.chains.precision = precision  # pyright: ignore[reportOptionalMemberAccess]
    learner.schedule = None
    f = go([Turn(learner, config.optimizer.learning_rate)], data, seconds, seed)
    remark = f"gradients of chains in {precision or 'float32'}"

    def draw(n: int, generator: torch.Generator) -> Tensor:
        assert learner.chains
        assert isinstance(learner.chains.start, Persistent)
        kernel, bank = learner.chains.kernel(learner.iteration, generator.device), learner.chains.start.x
        with frozen(learner.model):
            return sample(kernel, bank[:n], learner.chains.steps, generator, precision=precision)[0]

    return Learned(draw, count(f), learner.iteration, f.eval(), (remark,))


def by_flow(data: ImageSet, seconds: float, seed: int, size: Size) -> Learned:
    event = tuple(data.train.shape[1:])
    net = unet(event, size.widths, seed)
    learner = Regression(net, flow_loss(net), EMA, seed)
    best = go([Turn(learner, RATE)], data, seconds, seed)
    return Learned(flow_draw(best, event), count(net), learner.iteration)


def by_diffusion(data: ImageSet, seconds: float, seed: int, size: Size) -> Learned:
    event = tuple(data.train.shape[1:])
    net = Denoiser(unet(event, size.widths, seed), float(points(data.train[:7000]).std()))
    learner = Regression(net, diffusion_loss(net), EMA, seed)
    best = go([Turn(learner, RATE)], data, seconds, seed)
    return Learned(diffusion_draw(best, event), count(net), learner.iteration)


def by_energy_matching(data: ImageSet, seconds: float, seed: int, size: Size) -> Learned:
    import image_torchebm as peer

    torch.manual_seed(seed)
    learner, loss = peer.energy_matching(landscape(data, size, seed), EMA, seed)
    go([Turn(learner, RATE / 2)], data, 0.8 * seconds, seed)
    loss.lambda_cd = 2.0
    best = go([Turn(learner, FINE_RATE)], data, 0.2 * seconds, seed)
    return Learned(peer.energy_draw(best, tuple(data.train.shape[1:])), count(learner.net), learner.iteration)


def by_equilibrium_matching(data: ImageSet, seconds: float, seed: int, size: Size) -> Learned:
    import image_torchebm as peer

    torch.manual_seed(seed)
    learner = peer.equilibrium_matching(data, size.widths, EMA, seed)
    best = go([Turn(learner, RATE)], data, seconds, seed)
    return Learned(peer.equilibrium_draw(best, tuple(data.train.shape[1:])), count(learner.net), learner.iteration)


RECIPES: dict[str, Callable[[ImageSet, float, int, Size], Learned]] = {
    "denoising": partial(by_levels, dose=Dose(1.0)),
    "denoising, Algorithm 1": partial(by_levels, dose=Dose(0.75, chains=0.25)),
    "denoising, recovery": partial(by_levels, dose=Dose(0.85, 0.15)),
    "denoising, recovery, Algorithm 1": partial(by_levels, dose=Dose(0.65, 0.15, 0.2)),
    "transport, Algorithm 1": by_transport,
    "chains alone": by_chains,
    "U-Net, flow matching": by_flow,
    "U-Net, diffusion": by_diffusion,
    "TorchEBM, energy matching": by_energy_matching,
    "TorchEBM, equilibrium matching": by_equilibrium_matching,
}


def missing(recipe: str) -> str | None:
    """Why a recipe cannot be run here."""
    if recipe.startswith("TorchEBM") and not importlib.util.find_spec("torchebm"):
        return f"{recipe}: torchebm is not installed, so it is left out; pip install 'anila[bench]'"
    return None

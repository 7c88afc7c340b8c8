"""Recipes that learn images within a budget of CPU seconds: ours, and what users would use instead.

Ours are settings of `anila train`: the preset of the set, and the same with one part left out or replaced; minutes of
the clock are planned as `training.minutes`. One more is made from parts of the package: f(x) learns by transport, then
by Algorithm 1 with transport as its anchor.
"""

import importlib.util
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from anila.density.networks import vanilla
from anila.learning.chains import frozen
from anila.learning.learner import Learner
from anila.learning.objectives import transport
from anila.learning.starts import Persistent
from anila.rng import rng
from anila.runs.experiment import PRESETS, resolve
from anila.runs.folder.run import Run
from anila.runs.model.trained import Trained
from anila.runs.training.train import train
from anila.samplers import descent, langevin, sample
from image_sets import SIDE, Clock, ImageSet, cosine, points
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

BATCH, EMA = 32, 0.998
RATE, FINE_RATE = 2e-3, 1e-4
HEAT, STRIDE, ARRIVE, REST = 0.005, 0.05, 60, 10
"""Of transport: temperature, step size, steps that cross f from noise, and steps without noise at last."""


class Size(NamedTuple):
    """How large the nets are, and where runs of presets lie."""

    widths: tuple[int, ...]
    out: Path

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
    remarks: tuple[str, ...] = ()


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def go(learner: Learner | Regression, rate: float, data: ImageSet, seconds: float, seed: int) -> nn.Module:
    """Iterations until the budget is used; the averaged model."""
    clock, i = Clock(seconds), 0
    while (done := clock.done()) < 1:
        for group in learner.optimizer.param_groups:
            group["lr"] = rate * cosine(done, i)
        learner.update(data.batch(BATCH, seed, i))
        i += 1
    return learner.best_model


def by_settings(data: ImageSet, seconds: float, seed: int, size: Size, name: str, words: Sequence[str] = ()) -> Learned:
    """The preset of the set, with some of its settings changed; a run by this name."""
    own = [f"network.widths={list(size.widths)}", f"training.minutes={seconds / 60}"]
    return by_preset(data.name, data, size.out / f"{data.name}-{name}-{seconds:g}-{seed}", seed, [*own, *words])


def by_preset(preset: str, data: ImageSet, path: Path, seed: int, words: Sequence[str]) -> Learned:
    """A preset, from the training images of a set."""
    mine = [f"data.name={source(data, path.parent)}", f"training.seed={seed}", "training.threads=1"]
    done = train(resolve(PRESETS[preset].experiment, [*mine, *words]), path, say=lambda _: None, preset=preset)
    if done.stopped_by is not None:
        raise SystemExit(f"stopped by signal {done.stopped_by}; the same command goes on")
    model = Trained.load(Run(path))

    def draw(n: int, generator: torch.Generator) -> Tensor:
        return model.draw(n, seed=int(torch.randint(2**31, (1,), generator=generator)))

    return Learned(draw, count(model.f), model.iteration, tuple(model.notices))


def source(data: ImageSet, out: Path) -> Path | str:
    """What is trained on, by name, or as a folder where images of it are held out that `anila train` would take."""
    if data.name != "flowers":
        return data.source
    folder = out / "flowers"
    if not folder.exists():
        half = out / "flowers.half"
        half.mkdir(exist_ok=True)
        for k, levels in enumerate(data.train):
            Image.fromarray(levels.permute(1, 2, 0).numpy()).save(half / f"{k:05}.png")
        half.rename(folder)
    return folder


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
    f = go(first, RATE / 2, data, 0.75 * seconds, seed)
    clock = Clock(0.25 * seconds)
    bank = arriving(f, data)(min(256, max(16, int(16 * clock.seconds))), rng(seed, "bank"))
    last = Learner(
        f, langevin(f, STRIDE, temperature=HEAT), Persistent(bank), torch.optim.Adam(f.parameters(), betas=(0.0, 0.99)),
        15, seed, chains=16, anchor=transport(), data_noise=0.02, max_grad_norm=1.0, ema=EMA,
    )  # fmt: skip
    f = go(last, FINE_RATE, data, clock.seconds - clock.used(), seed)
    return Learned(arriving(f, data), count(f), first.iteration + last.iteration)


def arriving(f: nn.Module, data: ImageSet) -> Draw:
    """From noise to where chains rest."""

    def draw(n: int, generator: torch.Generator) -> Tensor:
        x = normal(torch.empty(n, *data.train.shape[1:]), generator)
        with frozen(f):
            x, _ = sample(langevin(f, STRIDE, temperature=HEAT), x, ARRIVE, generator)
            return sample(descent(f, STRIDE), x, REST, generator)[0]

    return draw


def by_chains(data: ImageSet, seconds: float, seed: int, size: Size) -> Learned:
    """Algorithm 1 from noise, by the preset of chains alone, in the precision that is quickest here."""
    width = size.vanilla_width(data.train.shape[1])
    precision = quickest(vanilla(data.train.shape[1], SIDE, width), data.batch(BATCH, seed, 0))
    words = [f"network.width={width}", f"training.minutes={seconds / 60}", f"training.precision={precision or 'none'}"]
    path = size.out / f"{data.name}-chains-{seconds:g}-{seed}"
    found = by_preset(f"{data.name}-chains", data, path, seed, words)
    return found._replace(remarks=(*found.remarks, f"gradients of chains in {precision or 'float32'}"))


def by_flow(data: ImageSet, seconds: float, seed: int, size: Size) -> Learned:
    event = tuple(data.train.shape[1:])
    net = unet(event, size.widths, seed)
    learner = Regression(net, flow_loss(net), EMA, seed)
    best = go(learner, RATE, data, seconds, seed)
    return Learned(flow_draw(best, event), count(net), learner.iteration)


def by_diffusion(data: ImageSet, seconds: float, seed: int, size: Size) -> Learned:
    event = tuple(data.train.shape[1:])
    net = Denoiser(unet(event, size.widths, seed), float(points(data.train[:7000]).std()))
    learner = Regression(net, diffusion_loss(net), EMA, seed)
    best = go(learner, RATE, data, seconds, seed)
    return Learned(diffusion_draw(best, event), count(net), learner.iteration)


def by_energy_matching(data: ImageSet, seconds: float, seed: int, size: Size) -> Learned:
    import image_torchebm as peer

    torch.manual_seed(seed)
    learner, loss = peer.energy_matching(landscape(data, size, seed), EMA, seed)
    go(learner, RATE / 2, data, 0.8 * seconds, seed)
    loss.lambda_cd = 2.0
    best = go(learner, FINE_RATE, data, 0.2 * seconds, seed)
    return Learned(peer.energy_draw(best, tuple(data.train.shape[1:])), count(learner.net), learner.iteration)


def by_equilibrium_matching(data: ImageSet, seconds: float, seed: int, size: Size) -> Learned:
    import image_torchebm as peer

    torch.manual_seed(seed)
    learner = peer.equilibrium_matching(data, size.widths, EMA, seed)
    best = go(learner, RATE, data, seconds, seed)
    return Learned(peer.equilibrium_draw(best, tuple(data.train.shape[1:])), count(learner.net), learner.iteration)


RECIPES: dict[str, Callable[[ImageSet, float, int, Size], Learned]] = {
    "Anila": partial(by_settings, name="preset"),
    "Anila, denoising alone": partial(by_settings, name="denoising", words=["stages=none"]),
    "Anila, no classes": partial(by_settings, name="unlabelled", words=["network.classes=none"]),
    "Anila, recovery at last": partial(
        by_settings, name="recovery", words=["stages.2.objective=recovery", "stages.2.anchor=none"]
    ),
    "Anila, transport, Algorithm 1": by_transport,
    "Anila, chains alone": by_chains,
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

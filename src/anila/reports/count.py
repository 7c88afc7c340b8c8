"""How many samples a run is scored by: few enough that a core draws them in a minute or two.

    n = 4,000 points;   n = 1,000, 500 or 250 images, the most with n · c <= 6 · 10¹²

with c the floating-point operations of one draw, three times those of f at every point that f is asked about: a
gradient costs two f more. One core does some 8 · 10¹⁰ in a second. n is a function of the run, not of the machine:
distances are comparable at equal n only.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from anila.runs.model.trained import Trained

POINTS = 4000
IMAGES = (1000, 500, 250)
"""The last is drawn whatever it costs: fewer say little on 128 features."""
OPERATIONS = 6e12
GRADIENT = 3
"""Cost of f and its gradient, in those of f."""


def count_of(trained: Trained) -> int:
    """n, the samples that scores of this run take."""
    if len(trained.data.event_shape) != 3:
        return POINTS
    cost = operations(trained)
    return next((n for n in IMAGES if n * cost <= OPERATIONS), IMAGES[-1])


def operations(trained: Trained) -> int:
    """c, the floating-point operations of one draw."""
    x = torch.zeros(1, *trained.data.event_shape, device=trained.device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        trained.f(x)
    return GRADIENT * counter.get_total_flops() * evaluations(trained)


def evaluations(trained: Trained) -> int:
    """At how many points f is asked for one draw, or f of a class, which is another module around the same layers."""
    config = trained.config
    plain = replace(trained, config=replace(config, training=replace(config.training, compile=False)))
    asked: list[int] = []

    def ask(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        asked.append(len(given[0]))

    layer = next(module for module in trained.f.modules() if not [*module.children()] and [*module.parameters()])
    hook = layer.register_forward_pre_hook(ask)
    try:
        plain.draw(1)
    finally:
        hook.remove()
    return sum(asked)

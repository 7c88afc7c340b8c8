"""f as a neural net: any module that maps (n, *event) to (n,) will do; these are the ones the presets use."""

from anila.networks.anatomy import nonlocal_, toy, vanilla
from anila.networks.conditional import Conditional
from anila.networks.confining import Confined, Tempered
from anila.networks.mlp import mlp
from anila.networks.resnet import ResNet
from anila.networks.spectral import is_normalised, power_iteration, spectral
from anila.networks.wide_resnet import WideResNet

__all__ = [
    "Conditional", "Confined", "ResNet", "Tempered", "WideResNet", "is_normalised", "mlp", "nonlocal_",
    "power_iteration", "spectral", "toy", "vanilla",
]  # fmt: skip

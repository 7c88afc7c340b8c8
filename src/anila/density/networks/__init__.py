"""f as a neural net: any module that maps (n, *event) to (n,) will do; these are the ones the presets use."""

from anila.density.networks.base_measure import Confined, Tempered
from anila.density.networks.conditional import Conditional
from anila.density.networks.mlp import mlp
from anila.density.networks.nijkamp import nonlocal_, toy, vanilla
from anila.density.networks.resnet import ResNet
from anila.density.networks.spectral import is_normalised, power_iteration, spectral
from anila.density.networks.wide_resnet import WideResNet

__all__ = [
    "Conditional", "Confined", "ResNet", "Tempered", "WideResNet", "is_normalised", "mlp", "nonlocal_",
    "power_iteration", "spectral", "toy", "vanilla",
]  # fmt: skip

"""f as a neural net: any module that maps (n, *event) to (n,) will do; these are the ones the presets use."""

from anila.networks.anatomy import nonlocal_, toy, vanilla
from anila.networks.confining import Confined, Tempered
from anila.networks.mlp import mlp
from anila.networks.resnet import ResNet

__all__ = ["Confined", "ResNet", "Tempered", "mlp", "nonlocal_", "toy", "vanilla"]

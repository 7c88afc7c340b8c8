"""Networks: modules that map (n, *event) to (n,). The presets use these; any other will do."""

from collections.abc import Callable
from functools import partial

from torch import nn

from anila.density.networks.base_measure import Confined, Tempered
from anila.density.networks.blurred_gaussian import BlurredGaussian
from anila.density.networks.classes_at_levels import ClassesAtLevels
from anila.density.networks.conditional import Conditional
from anila.density.networks.fit import fitted, is_of_vectors, see
from anila.density.networks.kernel import Kernel
from anila.density.networks.mlp import mlp
from anila.density.networks.nijkamp import nonlocal_, toy, vanilla
from anila.density.networks.noise_conditional import NoiseConditional
from anila.density.networks.resnet import ResNet
from anila.density.networks.spectral import is_normalised, power_iteration, spectral
from anila.density.networks.unet import UNet, unet
from anila.density.networks.whitened import Whitened
from anila.density.networks.wide_resnet import WideResNet

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "mlp": partial(mlp, fourier_scale=0.5),
    "toy": toy,
    "vanilla": partial(vanilla, nonlinearity="silu"),
    "nonlocal": nonlocal_,
    "resnet": ResNet,
    "wrn": partial(WideResNet, depth=10, widen=1, nonlinearity="silu", slope=0.05),
    "unet": unet,
    "kernel": Kernel,
}
"""Name -> constructor. Its signature says which points it takes (see `fit`) and which settings it has."""

__all__ = [
    "NETWORKS", "BlurredGaussian", "ClassesAtLevels", "Conditional", "Confined", "Kernel", "NoiseConditional",
    "ResNet", "Tempered", "UNet", "Whitened", "WideResNet", "fitted", "is_normalised", "is_of_vectors", "mlp",
    "nonlocal_", "power_iteration", "see", "spectral", "toy", "unet", "vanilla",
]  # fmt: skip

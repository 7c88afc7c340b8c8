"""The network whose activations are our features: a small residual classifier of 32 × 32 colour images.

    unit(a, b) = relu(norm(conv3×3(a → b)))          residual(h) = h + unit(unit(h))
    16 → unit 32, halve, residual → unit 64, halve → unit 128, halve, residual → mean over pixels = features (128)
    logits = W features + c

It is trained with batch norm. Afterwards every norm is an affine map and is folded into its convolution, so the stored
network has none, and rows of a batch are independent.

References: He et al. 2016 (residual units); Page 2018, "How to train your ResNet" (the plan of nine layers).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

WIDTHS = (16, 32, 64, 128)
FEATURES = WIDTHS[-1]
CLASSES = 10


class Unit(nn.Module):
    """relu(norm(conv(h)))."""

    def __init__(self, width_in: int, width_out: int, norm: Callable[[int], nn.Module]):
        super().__init__()
        self.conv = nn.Conv2d(width_in, width_out, 3, 1, 1)
        self.norm = norm(width_out)

    def forward(self, h: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h w"]:
        return torch.relu(self.norm(self.conv(h)))


class Residual(nn.Module):
    """h + unit(unit(h))."""

    def __init__(self, width: int, norm: Callable[[int], nn.Module]):
        super().__init__()
        self.units = nn.Sequential(Unit(width, width, norm), Unit(width, width, norm))

    def forward(self, h: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return h + self.units(h)


class Classifier(nn.Module):
    """Images in [−1, 1] to features and logits.

    Args:
        norm: Number of channels -> norm; the identity if norms are folded in.
    """

    def __init__(self, norm: Callable[[int], nn.Module] = nn.Identity):
        super().__init__()
        a, b, c, d = WIDTHS
        self.trunk = nn.Sequential(
            Unit(3, a, norm),
            *(Unit(a, b, norm), nn.MaxPool2d(2), Residual(b, norm)),
            *(Unit(b, c, norm), nn.MaxPool2d(2)),
            *(Unit(c, d, norm), nn.MaxPool2d(2), Residual(d, norm)),
        )
        self.head = nn.Linear(FEATURES, CLASSES)

    def features(self, x: Float[Tensor, "n 3 32 32"]) -> Float[Tensor, "n features"]:
        """The mean over pixels of the last residual's output, (n, 128)."""
        return self.trunk(x).mean((2, 3))

    def forward(self, x: Float[Tensor, "n 3 32 32"]) -> Float[Tensor, "n classes"]:
        return self.head(self.features(x))


@torch.no_grad()
def folded(trained: Classifier) -> Classifier:
    """The same map without norms: W ← W g/√(v + ε), c ← (c − m) g/√(v + ε) + s of each batch norm (g, s, m, v).

    Args:
        trained: A classifier whose norms are batch norms, with running means and variances.
    """
    plain = Classifier()
    plain.head.load_state_dict(trained.head.state_dict())
    for name, unit in trained.named_modules():
        if isinstance(unit, Unit):
            norm, conv = unit.norm, plain.get_submodule(f"{name}.conv")
            assert isinstance(norm, nn.BatchNorm2d)
            assert isinstance(conv, nn.Conv2d)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            assert conv.bias is not None
            assert unit.conv.bias is not None
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            conv.weight.copy_(unit.conv.weight * scale[:, None, None, None])
            conv.bias.copy_((unit.conv.bias - norm.running_mean) * scale + norm.bias)
    return plain.eval()

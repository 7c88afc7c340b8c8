"""Non-linearities by name. Smooth ones (SiLU, GELU) give f a continuous gradient, which chains follow better."""

from typing import Literal, get_args

from torch import nn

Nonlinearity = Literal["silu", "gelu", "leaky_relu", "relu"]


def activation(name: str, slope: float = 0.05) -> nn.Module:
    """The non-linearity with this name; slope is the negative slope of leaky ReLU.

    Raises:
        ValueError: If the name is unknown.
    """
    match name:
        case "silu":
            return nn.SiLU()
        case "gelu":
            return nn.GELU()
        case "leaky_relu":
            return nn.LeakyReLU(slope)
        case "relu":
            return nn.ReLU()
    raise ValueError(f"unknown non-linearity {name!r}; known: {', '.join(get_args(Nonlinearity))}")

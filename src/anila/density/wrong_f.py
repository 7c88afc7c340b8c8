"""A wrong f: what no chain can follow is refused, with advice in place of torch's words."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anila.density import precision

CUT = (
    "f(x) does not depend on x through autograd: no .detach(), .item() or numpy inside f, "
    "and no torch.inference_mode() around it. If f is flat, as Uniform is, no gradient tells chains where it ends: "
    "f = anila.transform(x=Uniform(0.0, 1.0).expand([dim])) keeps them inside"
)


def inside(f: Callable[[Tensor], Tensor], x: Tensor) -> Any:
    """f(x); torch's errors about a wrong f are raised with advice."""
    try:
        return f(x)
    except SystemExit:
        raise ValueError("f ends the process (sys.exit): let it return one number per row") from None
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        if "in-place operation" in str(error):
            raise ValueError(f"f writes into x: let it begin with x = x.clone(). PyTorch says: {error}") from error
        if not (found := strangers(f, x)) and "dtype" not in str(error):
            raise
        found = found or "; convert what f reads with .to(x), or start from x0 of its dtype"
        raise ValueError(f"f does not accept x of {kind(x)}{found}: {error}") from error
    except ValueError as error:
        if "within the support" not in str(error):
            raise
        raise ValueError(
            "a chain left the support of a distribution in f; as a prior of anila.transform it keeps chains inside: "
            f"f = anila.transform(log_density, x=distribution). PyTorch says: {str(error).splitlines()[0]}"
        ) from error


def require_function(f: object) -> None:
    """Refuse what cannot be called, as a distribution of torch cannot.

    Raises:
        TypeError: Saying what to give.
    """
    if not callable(f):
        hint = "give its log_prob" if hasattr(f, "log_prob") else "e.g. lambda x: -x.square().sum(1) / 2"
        raise TypeError(f"f must be a function, (chains, *event) -> (chains,); got {type(f).__name__}: {hint}")


def require_one_number_a_row(value: object, x: Tensor) -> None:
    """Refuse an f whose value would be broadcast, or that cannot be differentiated in x."""
    if not isinstance(value, Tensor):
        raise ValueError(f"f must return a tensor of shape ({len(x)},); got {type(value).__name__}")
    if value.shape != x.shape[:1]:
        hint = "; add .squeeze(-1)" if value.shape == (len(x), 1) else ""
        if value.shape == x.shape:
            hint = "; add .sum(-1)" if x.ndim == 2 else "; add .flatten(1).sum(1)"
            hint += ", or make a distribution of one by torch.distributions.Independent"
        raise ValueError(
            f"f must return one number per row: expected shape ({len(x)},) for x of shape {tuple(x.shape)}, "
            f"got {tuple(value.shape)}{hint}"
        )
    if value.is_complex() or (value.dtype in ROUNDED and not precision.is_rounded()):
        raise ValueError(
            f"f must return float32 or float64; got {value.dtype}, which makes acceptances wrong: compute it in "
            'float32 (precision="bf16" or "fp16" rounds the gradients alone)'
        )
    if x.requires_grad and not value.requires_grad:
        raise ValueError(CUT)


ROUNDED = (torch.float16, torch.bfloat16)
"""Dtypes that are too coarse for differences of f."""


def kind(x: Tensor) -> str:
    return f"{x.dtype} on {x.device}"


def strangers(f: Callable[[Tensor], Tensor], x: Tensor) -> str:
    """The end of a message: which parameter of a module has another dtype or device than x."""
    named = dict(f.named_parameters()) if isinstance(f, torch.nn.Module) else {}
    found = [f"{name} is {kind(p)}" for name, p in named.items() if (p.dtype, p.device) != (x.dtype, x.device)]
    return f", its parameter {found[0]}: convert one of them with .to()" if found else ""

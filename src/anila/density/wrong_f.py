"""A wrong f: what no chain can follow is refused, with advice in place of torch's words."""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from anila.density import precision


class WrongF(ValueError):
    """f took the points, and what it did with them is wrong."""


NUMPY = "anila.from_numpy takes NumPy code that computes f and its gradient"
CUT = (
    "f(x) does not depend on x through autograd: no .detach(), .requires_grad_(False), .item() or numpy inside f, and "
    f"no torch.inference_mode() around it. {NUMPY}. If f is flat, as Uniform is, no gradient tells chains where it "
    "ends: f = anila.transform(x=Uniform(0.0, 1.0).expand([dim])) keeps them inside"
)
OF_ONE_POINT = "f gets all chains at once, (chains, *event); torch.vmap(f) makes such an f of one that takes one point"
COUPLED = (
    "chains would not be independent (batch norm in training mode? call model.eval(); an f that takes one point? give "
    "torch.vmap(f))"
)
SHAPES = ("shapes cannot be multiplied", "size mismatch", "must match the size", "for input of size", "1D tensors")
"""What torch says of shapes that do not fit."""
LEFT = re.compile(r"within the support \((.*)\) of the distribution (\w+)")
"""What torch says of values outside the support of a distribution."""


def inside(f: Callable[[Tensor], Tensor], x: Tensor) -> Any:
    """f(x); torch's errors about a wrong f are raised with advice."""
    try:
        return f(x)
    except SystemExit:
        raise WrongF("f ends the process (sys.exit): let it return one number per row") from None
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or not (advice := advised(str(error), f, x)):
            raise
        raise WrongF(advice) from error
    except ValueError as error:
        if not (left := LEFT.search(str(error))):
            raise
        support, law = left.groups()
        raise WrongF(
            f"a chain left the support of {law} in f, {support}; as a prior of anila.transform it keeps chains inside: "
            f"f = anila.transform(log_density, x={law}(...))"
        ) from error


def advised(said: str, f: Callable[[Tensor], Tensor], x: Tensor) -> str:
    """What torch's words mean for f, and what to do; empty if they say nothing of f."""
    if "in-place operation" in said:
        return f"f writes into x: let it begin with x = x.clone(). PyTorch says: {said}"
    if "numpy() on Tensor" in said or "requires_grad flags" in said:
        return CUT
    if found := strangers(f, x):
        return f"f does not accept x of {kind(x)}{found}: {said}"
    if "dtype" in said:
        return (
            f"f does not accept x of {kind(x)}; convert what f reads with .to(x), or start from x0 of its dtype: {said}"
        )
    if any(words in said for words in SHAPES):
        return f"f does not accept x of shape {tuple(x.shape)}: {said}; {OF_ONE_POINT}"
    return ""


def require_function(f: object) -> None:
    """Refuse what cannot be called, as a distribution of torch cannot.

    Raises:
        TypeError: Saying what to give.
    """
    if not callable(f):
        hint = "give its log_prob" if hasattr(f, "log_prob") else "e.g. lambda x: -x.square().sum(1) / 2"
        raise TypeError(f"f must be a function, (chains, *event) -> (chains,); got {type(f).__name__}: {hint}")


def require_one_number_a_row(value: object, x: Tensor) -> None:
    """Refuse an f whose value would be broadcast, or holds no numbers to compute with."""
    if not isinstance(value, Tensor):
        hint = f": {NUMPY}" if type(value).__module__ == "numpy" else ""
        raise WrongF(f"f must return a tensor of shape ({len(x)},); got {type(value).__name__}{hint}")
    if value.shape != x.shape[:1]:
        raise WrongF(
            f"f must return one number per row: expected shape ({len(x)},) for x of shape {tuple(x.shape)}, "
            f"got {tuple(value.shape)}{other_shape(value, x)}"
        )
    if value.layout != torch.strided:
        raise WrongF(f"f must return a dense tensor; got {value.layout}: add .to_dense()")
    if value.device != x.device:
        hint = "load the weights of its network, which holds none" if value.is_meta else "add .to(x.device)"
        raise WrongF(f"f must return a tensor on {x.device}, where x is; got one on {value.device}: {hint}")
    if not value.is_floating_point() or (value.dtype in ROUNDED and not precision.is_rounded()):
        why = ", which makes acceptances wrong" if value.dtype in ROUNDED else ""
        raise WrongF(
            f"f must return float32 or float64; got {value.dtype}{why}: compute it in float32 "
            '(precision="bf16" or "fp16" rounds the gradients alone)'
        )


def other_shape(value: Tensor, x: Tensor) -> str:
    """What to do about an f that does not return one number per row."""
    if value.shape == (len(x), 1):
        return "; add .squeeze(-1)"
    add = ".sum(-1)" if x.ndim == 2 else ".flatten(1).sum(1)"
    if value.shape == x.shape:
        return f"; add {add}, or make a distribution of one by torch.distributions.Independent"
    return f"; {OF_ONE_POINT}" + (f", and {add} adds up each row" if value.ndim == 0 else "")


def require_depends(value: Tensor, x: Tensor) -> None:
    """Refuse an f that cannot be differentiated in x, which requires grad unless f took that away."""
    if not (x.requires_grad and value.requires_grad):
        raise WrongF(CUT)


ROUNDED = (torch.float16, torch.bfloat16)
"""Dtypes that are too coarse for differences of f."""


def kind(x: Tensor) -> str:
    return f"{x.dtype} on {x.device}"


def strangers(f: Callable[[Tensor], Tensor], x: Tensor) -> str:
    """The end of a message: which parameter of a module has another dtype or device than x."""
    named = dict(f.named_parameters()) if isinstance(f, torch.nn.Module) else {}
    found = [f"{name} is {kind(p)}" for name, p in named.items() if (p.dtype, p.device) != (x.dtype, x.device)]
    return f", its parameter {found[0]}: convert one of them with .to()" if found else ""

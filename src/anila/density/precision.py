"""Precision: rounded arithmetic makes the proposal of a chain, exact arithmetic decides on its acceptance.

At a precision ∇f is computed with its matrix products and convolutions rounded, and everything else is float32:

    bf16    8 significant bits, the range of float32
    fp16    11 bits, numbers up to 65504: the backward pass scales f by a power of two that fits each chain
    tf32    11 bits, the range of float32, on the tensor cores of a GPU; float32 where there are none

f itself is computed again without rounding wherever an acceptance needs it. Let g be the rounded gradient at x, stored
with x. A Metropolis kernel proposes y ~ q(· | x, g), computes g' there, and accepts with probability

    min(1, exp(f(y) − f(x)) q(x | y, g') / q(y | x, g))

If the law r(g | x) of rounding depends on x only, this leaves π(x) r(g | x) invariant, because r(g' | y) and r(g | x)
cancel: the kernel is exact for f however coarse g is, and rounding only costs acceptance. `hmc` needs slightly more,
that g is a function of x: then its leapfrog steps are reversible and preserve volume for any g. Unadjusted kernels use
the rounded drift as it is.

Reference: Micikevicius et al. 2018, "Mixed precision training" (which operations are rounded; scaling).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from anila.density.for_a_while import ForAWhile
from anila.density.rows import across, finite_rows

Precision = Literal["bf16", "fp16", "tf32"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
SCALES = (2.0**12, 1.0, 2.0**-12)
"""fp16: factors of f in the backward pass, in the order tried; the largest that does not overflow is used."""


class Rounding(NamedTuple):
    """The precision of gradients, and that of all other matrix products."""

    name: Precision
    products: str


ROUNDING: ContextVar[Rounding | None] = ContextVar("ROUNDING", default=None)


@contextmanager
def gradients_in(name: Precision | None) -> Iterator[None]:
    """Inside, gradients are computed at this precision; None leaves it as it is outside.

    Raises:
        ValueError: If name is unknown.
    """
    if name is not None and name not in get_args(Precision):
        raise ValueError(f'precision must be "bf16", "fp16", "tf32" or None; got {name!r}')
    token = ROUNDING.set(Rounding(name, torch.get_float32_matmul_precision()) if name else ROUNDING.get())
    try:
        yield
    finally:
        ROUNDING.reset(token)


@contextmanager
def unrounded(device: torch.device) -> Iterator[None]:
    """Inside, a caller's autocast is switched off, as it would round what acceptance needs."""
    if not torch.is_autocast_enabled(device.type):
        yield
        return
    with torch.autocast(device.type, enabled=False):
        yield


@contextmanager
def own_defaults() -> Iterator[None]:
    """torch's own defaults, whatever the caller has set: float32, the CPU, gradients enabled, no autocast."""
    device = torch.get_default_device()
    with (
        in_float32(),
        torch.inference_mode(False),
        torch.enable_grad(),
        unrounded(torch.device("cpu")),
        unrounded(torch.device("cuda")),
        nullcontext() if device.type == "cpu" else torch.device("cpu"),
    ):
        yield


in_float32 = ForAWhile(torch.get_default_dtype, torch.set_default_dtype, torch.float32)
"""Inside, torch's default dtype is float32."""


def current() -> Precision | None:
    """The current precision of gradients; None if they are not rounded."""
    rounding = ROUNDING.get()
    return rounding.name if rounding else None


def is_rounded() -> bool:
    """Whether gradients are currently rounded, so that f must be computed separately."""
    return ROUNDING.get() is not None


@contextmanager
def forward(device: torch.device) -> Iterator[None]:
    """Around the forward pass of an f to be differentiated: bf16 and fp16 round here, and so does its backward pass."""
    rounding = ROUNDING.get()
    if rounding is None or rounding.name not in DTYPES:
        yield
        return
    with torch.autocast(device.type, DTYPES[rounding.name]):
        yield


@contextmanager
def both_ways() -> Iterator[None]:
    """Around the forward and the backward pass: tf32 rounds here."""
    rounding = ROUNDING.get()
    if rounding is None or rounding.name != "tf32":
        yield
        return
    with products("high"):
        yield


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Inside, nothing is rounded, even within the other two."""
    rounding = ROUNDING.get()
    if rounding is None:
        yield
        return
    with torch.autocast(device.type, enabled=False), products(rounding.products):
        yield


@contextmanager
def products(name: str) -> Iterator[None]:
    """Inside, float32 matrix products of the process have this precision; afterwards, that of before."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def slope(value: Tensor, x: Tensor, twice: bool = False) -> Tensor | None:
    """∇f from the graph of f(x), (chains,); None if f does not depend on x."""
    if not in_fp16():
        return torch.autograd.grad(value.sum(), x, create_graph=twice, allow_unused=True)[0]
    found = None
    for scale in SCALES:
        above = torch.full_like(value, scale)
        (grad,) = torch.autograd.grad(value, x, above, retain_graph=True, create_graph=twice, allow_unused=True)
        if grad is None:
            return None
        found = grad / scale if found is None else torch.where(across(finite_rows(found), found), found, grad / scale)
        if bool(torch.isfinite(found).all()):
            break
    return found


def backward(loss: Tensor, parameters: Iterable[Tensor]) -> None:
    """Add ∂loss/∂θ to θ's .grad, in fp16 at the first of `SCALES` at which it is finite."""
    if not in_fp16():
        loss.backward()
        return
    trained = [p for p in parameters if p.requires_grad]
    grads: list[Tensor | None] = []
    for scale in SCALES:
        scaled = torch.autograd.grad(loss * scale, trained, retain_graph=True, allow_unused=True)
        grads = [g if g is None else g / scale for g in scaled]
        if all(bool(torch.isfinite(g).all()) for g in grads if g is not None):
            break
    for p, g in zip(trained, grads, strict=True):
        if g is not None:
            p.grad = g if p.grad is None else p.grad + g


def in_fp16() -> bool:
    rounding = ROUNDING.get()
    return rounding is not None and rounding.name == "fp16"

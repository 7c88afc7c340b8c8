"""Precision: rounded arithmetic says where a chain proposes to go, exact arithmetic whether it goes there.

At a precision ∇f is computed with its matrix products and convolutions rounded, and everything else is float32:

    bf16    8 significant bits, the range of float32
    fp16    11 bits, numbers up to 65504: f is scaled by a power of two on its way back, each chain by one that fits
    tf32    11 bits, the range of float32, on the tensor cores of a GPU; float32 where there are none

f itself is computed once more without rounding wherever an acceptance needs it. With g the rounded gradient at x, kept
beside x, a Metropolis kernel proposes y ~ q(· | x, g), computes g' there, and accepts with probability

    min(1, exp(f(y) − f(x)) q(x | y, g') / q(y | x, g))

If rounding at x has a law r(g | x) that knows nothing but x, this leaves π(x) r(g | x) invariant, because r(g' | y) and
r(g | x) cancel: the kernel is exact for f however coarse g is, and what rounding costs is acceptance. `hmc` asks for a
little more, that g be a function of x: then its leapfrog steps are reversible and keep volume for any g. Unadjusted
kernels take the rounded drift as it is.

Reference: Micikevicius et al. 2018, "Mixed precision training" (which operations are rounded; scaling).
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from anila.density.for_a_while import ForAWhile

Precision = Literal["bf16", "fp16", "tf32"]
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
SCALES = (2.0**12, 1.0, 2.0**-12)
"""fp16: what f is multiplied by on its way back, in the order tried; the largest that overflows nowhere is taken."""


class Rounding(NamedTuple):
    """The precision of gradients, and that of matrix products elsewhere."""

    name: Precision
    products: str


ROUNDING: ContextVar[Rounding | None] = ContextVar("ROUNDING", default=None)


@contextmanager
def gradients_in(name: Precision | None) -> Iterator[None]:
    """Gradients are computed at this precision inside; None leaves them as they are outside.

    Raises:
        ValueError: If name is another word.
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
    """What callers have around them does not round what is inside: autocast would reach acceptance."""
    if not torch.is_autocast_enabled(device.type):
        yield
        return
    with torch.autocast(device.type, enabled=False):
        yield


@contextmanager
def own_defaults() -> Iterator[None]:
    """torch's defaults, whatever the caller has set: float32, made on the CPU, with gradients, without autocast."""
    device = torch.get_default_device()
    with (
        in_float32(),
        torch.enable_grad(),
        unrounded(torch.device("cpu")),
        unrounded(torch.device("cuda")),
        nullcontext() if device.type == "cpu" else torch.device("cpu"),
    ):
        yield


in_float32 = ForAWhile(torch.get_default_dtype, torch.set_default_dtype, torch.float32)
"""Inside, torch's default dtype is that."""


def current() -> Precision | None:
    """The precision of gradients here."""
    rounding = ROUNDING.get()
    return rounding.name if rounding else None


def is_rounded() -> bool:
    """Whether gradients are rounded here, so that f must be computed apart from them."""
    return ROUNDING.get() is not None


@contextmanager
def forward(device: torch.device) -> Iterator[None]:
    """Where f is computed of which a gradient is wanted: bf16 and fp16 round here, and their gradients alike."""
    rounding = ROUNDING.get()
    if rounding is None or rounding.name not in DTYPES:
        yield
        return
    with torch.autocast(device.type, DTYPES[rounding.name]):
        yield


@contextmanager
def both_ways() -> Iterator[None]:
    """Where f is computed and differentiated: tf32 rounds here."""
    rounding = ROUNDING.get()
    if rounding is None or rounding.name != "tf32":
        yield
        return
    with products("high"):
        yield


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Where nothing is rounded, inside the others too."""
    rounding = ROUNDING.get()
    if rounding is None:
        yield
        return
    with torch.autocast(device.type, enabled=False), products(rounding.products):
        yield


@contextmanager
def products(name: str) -> Iterator[None]:
    """Float32 matrix products of the process at this precision, and then at that of before."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def slope(value: Tensor, x: Tensor, twice: bool = False) -> Tensor | None:
    """∇f from the graph of f(x), (chains,); None where there is no way from it to x."""
    if not in_fp16():
        return torch.autograd.grad(value.sum(), x, create_graph=twice, allow_unused=True)[0]
    found = None
    for scale in SCALES:
        above = torch.full_like(value, scale)
        (grad,) = torch.autograd.grad(value, x, above, retain_graph=True, create_graph=twice, allow_unused=True)
        if grad is None:
            return None
        found = grad / scale if found is None else torch.where(row_is_finite(found), found, grad / scale)
        if bool(torch.isfinite(found).all()):
            break
    return found


def row_is_finite(x: Tensor) -> Tensor:
    """Which rows are finite, (chains, 1, ...)."""
    return torch.isfinite(x).flatten(1).all(1).view(-1, *[1] * (x.ndim - 1))


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

"""A pretended second device: tensors on "meta" that hold numbers, and do not meet those of the CPU, as on a GPU.

Each is computed on the CPU behind the scenes. What a GPU refuses is refused: arithmetic with tensors of the CPU that
are more than one number, a generator of the other device, and NumPy.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

THERE, HERE = torch.device("meta"), torch.device("cpu")
MOVES = ("aten::_to_copy", "aten::copy_")
INDEXED = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
"""What takes indices of the CPU."""


class TwoDevices(RuntimeError):
    """Tensors of both met."""


class Far(Tensor):
    """A tensor of the second device."""

    near: Tensor
    """Its numbers."""

    @staticmethod
    def __new__(cls, near: Tensor) -> "Far":
        found = Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls, near.size(), strides=near.stride(), storage_offset=near.storage_offset(), dtype=near.dtype,
            device=THERE,
        )  # fmt: skip
        found.near = near
        return found

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})

    def numpy(self, *, force: bool = False) -> np.ndarray:
        if not force:
            raise TypeError("a tensor of the second device is no array")
        return self.detach().cpu().numpy()

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("a tensor of the second device is no array")

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def __format__(self, how: str) -> str:
        return format(self.item(), how) if self.ndim == 0 else repr(self)

    def __repr__(self, **_: Any) -> str:
        return f"Far({self.near})"

    def __deepcopy__(self, memo: Any) -> Tensor:
        copied = Far(self.near.detach().clone())
        return torch.nn.Parameter(copied, self.requires_grad) if getattr(self, "_is_param", False) else copied


class Generator(torch.Generator):
    """One that says it is on the second device, where it is asked to be."""

    where: torch.device

    def __new__(cls, device: Any = HERE) -> "Generator":
        found = super().__new__(cls, HERE)  # pyright: ignore[reportCallIssue]
        found.where = torch.device(device)
        return found

    @property
    def device(self) -> torch.device:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.where


class Draws(TorchFunctionMode):
    """Refuses generators of the other device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if (generator := kwargs.get("generator")) is not None:
            tensors = [x for x in args if isinstance(x, Tensor)]
            device = asked(kwargs) or (tensors[0].device if tensors else HERE)
            if device != generator.device:
                raise TwoDevices(f"{func}: a generator on {generator.device}")
        return func(*args, **kwargs)


class Mode(TorchDispatchMode):
    """Makes what is asked to be there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        is_far = asked(kwargs) == THERE or any(isinstance(leaf, Far) for leaf in tree_leaves((args, kwargs)))
        return computed(func, args, kwargs) if is_far else func(*args, **kwargs)


def asked(kwargs: dict[str, Any]) -> torch.device | None:
    """The device that an operation is given."""
    return None if kwargs.get("device") is None else torch.device(kwargs["device"])


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation with tensors of the second device, done here."""
    name, device = func._schema.name, asked(kwargs)
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    is_far = device == THERE if device else any(isinstance(x, Far) for x in tensors)
    if name not in MOVES and not device:
        require_one_device(name, args, tensors)
    near_args, near_kwargs = tree_map(lambda x: x.near if isinstance(x, Far) else x, (args, kwargs))
    found = func(*near_args, **near_kwargs | ({"device": HERE} if device else {}))
    if name.endswith("_"):
        return None if found is None else args[0]
    return tree_map(lambda x: Far(x) if isinstance(x, Tensor) else x, found) if is_far else found


def require_one_device(name: str, args: Any, tensors: list[Tensor]) -> None:
    """Refuse what a GPU refuses; numbers of the CPU and its indices go with tensors of the other."""
    if name in INDEXED:
        indices = () if isinstance(args[0], Far) else (x for x in args[1] if isinstance(x, Far))
        tensors = [args[0], *(x for x in args[2:] if isinstance(x, Tensor) and x.ndim), *indices]
    elif any(isinstance(x, Far) and x.ndim for x in tensors):
        tensors = [x for x in tensors if isinstance(x, Far) or x.ndim]
    if len({isinstance(x, Far) for x in tensors}) > 1:
        raise TwoDevices(f"{name}: tensors of two devices, {[tuple(x.shape) for x in tensors]}")


@contextmanager
def second_device() -> Iterator[torch.device]:
    """Inside, torch has such a device."""
    enabled, autocast, tensor, as_tensor = torch.is_autocast_enabled, torch.autocast, torch.tensor, torch.as_tensor

    def is_enabled(device: Any = None) -> bool:
        return device != THERE.type and (enabled() if device is None else enabled(device))

    def cast(device: str, *args: Any, **kwargs: Any) -> Any:
        return nullcontext() if device == THERE.type else autocast(device, *args, **kwargs)

    def made(data: Any, *, device: Any = None, **kwargs: Any) -> Tensor:
        return tensor(data, device=HERE, **kwargs).to(torch.empty(0).device if device is None else device)

    def taken(data: Any, dtype: torch.dtype | None = None, device: Any = None) -> Tensor:
        if isinstance(data, Tensor):
            return data.to(dtype=dtype or data.dtype, device=data.device if device is None else device)
        return as_tensor(data, dtype=dtype, device=HERE).to(torch.empty(0).device if device is None else device)

    ours = {"Generator": Generator, "is_autocast_enabled": is_enabled, "autocast": cast}
    ours |= {"tensor": made, "as_tensor": taken}
    with ExitStack() as stack:
        stack.enter_context(mock.patch.multiple(torch, **ours))
        stack.enter_context(Draws())
        stack.enter_context(Mode())
        yield THERE

"""Watch: an f that changes a tensor that it keeps, or branches on a number in it, is not one graph."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from anila.samplers.compiled.torch_internals import READ_A_NUMBER, TorchDispatchMode, schema_of, tree_leaves


class Watch(TorchDispatchMode):
    """Refuse what a graph would do once instead of at every step: change, or branch on, a tensor that f keeps.

    Args:
        given: Tensors from which f may read numbers here; a trace refuses that with its own message.
    """

    def __init__(self, given: Sequence[Tensor]):
        super().__init__()
        self.storages = storages(given)
        """Memory of tensors given or made since. Tensors that f keeps existed before, so they never reuse it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        kept = storages((args, kwargs)) - self.storages
        if func is READ_A_NUMBER and kept:
            raise ValueError("f takes a number out of a tensor that it keeps")
        written = [
            args[k] if k < len(args) else kwargs.get(argument.name)
            for k, argument in enumerate(schema_of(func).arguments)
            if argument.alias_info and argument.alias_info.is_write
        ]
        if kept & storages(written):
            raise ValueError("f changes a tensor that it keeps")
        found = func(*args, **kwargs)
        self.storages |= storages(found) - kept
        return found


def storages(values: Any) -> set[int]:
    """Identifiers of the memory of these tensors, which their views share."""
    return {x.untyped_storage().data_ptr() for x in tree_leaves(values) if isinstance(x, Tensor)} - {0}

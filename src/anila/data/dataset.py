"""What a training run needs from data: the rows of iteration t, as a pure function of (n, seed, t).

Finite data (`Rows`) is read in epochs. The order of epoch e is a permutation π_e drawn from (seed, e), and iteration t
takes positions t n, ..., t n + n - 1 of the sequence π_0, π_1, π_2, ... A batch may therefore end one epoch and begin
the next, every row comes exactly once per epoch, and no state has to be saved to resume.

Rows may have labels, each the index of one of `classes`: `batch_labels` gives those of the rows that `batch` gives.

A `Stream` passes on batches made elsewhere: item t of an iterable is the batch of iteration t.
"""

import copy
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from anila.messages import are, counted
from anila.rng import derived, rng

BLOCK = 1024
"""Number of rows read at a time when going through a whole array."""


@runtime_checkable
class DataSet(Protocol):
    """Anything that gives the rows of a training iteration.

    Attributes:
        event_shape: Shape of one row: (channels, height, width) for images, (d,) for tables and toys.
        name: Its name for people.
        fingerprint: sha256 of content and settings; stored with a run and compared on resume.
    """

    event_shape: tuple[int, ...]
    name: str
    fingerprint: str

    def batch(self, n: int, seed: int, iteration: int) -> Tensor:
        """The n rows of training iteration `iteration` (from 0), (n, *event) float32."""
        ...


@runtime_checkable
class Labelled(DataSet, Protocol):
    """A data set whose rows have labels.

    Attributes:
        classes: Names of the classes; empty if the rows have no labels after all.
    """

    classes: tuple[str, ...]

    def batch_labels(self, n: int, seed: int, iteration: int) -> Tensor:
        """Index into `classes` of each row that `batch` gives for the same arguments, (n,) int64."""
        ...


class Rows:
    """The rows of an array, in memory or memory-mapped, in a new order every epoch.

    Args:
        values: (rows, *event), real numbers; never copied as a whole, except a tensor on another device.
        name: Its name for people, used in messages.
        fingerprint: Identity of content and settings; by default the sha256 of the values.
        half_range: Maps stored numbers 0 .. 2 half_range to x = u / half_range - 1, so 127.5 for pixels in
            0..255; None leaves them as they are.
        labels: Index into classes of every row, (rows,); -1 where unknown, None where rows have none.
        classes: Names of the classes; by default the numbers up to the highest label.
        incomplete: Whether NaN means a missing cell and is not an error.

    Attributes:
        description: What was taken, from where, and what was left out and why, in one line.

    Raises:
        ValueError: If there is no row, a row has no shape, a value is NaN or infinite, or labels do not fit.

    >>> rows = Rows(torch.arange(10.0).reshape(5, 2))
    >>> rows.event_shape, len(rows), rows.rows([0, 4]).tolist()
    ((2,), 5, [[0.0, 1.0], [8.0, 9.0]])
    >>> epoch = torch.cat([rows.batch(1, seed=0, iteration=t) for t in range(5)])
    >>> sorted(epoch[:, 0].tolist())
    [0.0, 2.0, 4.0, 6.0, 8.0]
    """

    def __init__(
        self,
        values: Tensor | np.ndarray,
        name: str = "rows",
        fingerprint: str | None = None,
        half_range: float | None = None,
        labels: Tensor | np.ndarray | Sequence[int] | None = None,
        classes: Sequence[str] = (),
        incomplete: bool = False,
    ) -> None:
        self.values = values.detach().cpu().numpy() if isinstance(values, Tensor) else values
        if self.values.ndim < 2 or not self.values.size:
            raise ValueError(f"{name}: expected rows of shape (n, *event) with n >= 1, got {self.values.shape}")
        if not incomplete:
            require_finite(self.values, name)
        self.name = name
        self.description = f"{counted(len(self.values), 'row')} from {name}"
        self.half_range = half_range
        self.event_shape = tuple(int(side) for side in self.values.shape[1:])
        self.labels = np.full(len(self.values), -1) if labels is None else np.asarray(labels, dtype=np.int64)
        self.classes = tuple(classes or map(str, range(self.labels.max(initial=-1) + 1)))
        require_labels_fit(self.labels, self.classes, len(self.values), name)
        settings = () if labels is None else (self.classes, self.labels.tobytes())
        self.fingerprint = fingerprint or sha256_of(self.values, half_range, *settings)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.description}>"

    def part(self, indices: Int[np.ndarray, "n"]) -> "Rows":
        """The subset of these rows; units, name and fingerprint stay those of the whole set.

        Args:
            indices: Row numbers, 0 <= index < len(self).
        """
        found = copy.copy(self)
        for name in [name for name, kind in vars(type(self)).items() if isinstance(kind, cached_property)]:
            vars(found).pop(name, None)
        found.values, found.labels = self.values[indices], self.labels[indices]
        return found

    def rows(self, indices: Int[Tensor, "n"] | Int[np.ndarray, "n"] | Sequence[int]) -> Float[Tensor, "n *event"]:
        """The rows at these indices, in this order.

        Args:
            indices: Row numbers, 0 <= index < len(self).
        """
        taken = np.asarray(self.values[np.asarray(indices, dtype=np.int64)])
        x = torch.from_numpy(taken.astype(np.float32))
        return x if self.half_range is None else x.div_(self.half_range).sub_(1.0)

    def batch(self, n: int, seed: int, iteration: int) -> Float[Tensor, "n *event"]:
        """The n rows of training iteration `iteration` (from 0).

        Args:
            n: Number of rows; more than len(self) spans several epochs.
            seed: The user's seed.
            iteration: The iteration, from 0.
        """
        return self.rows(self.indices(n, seed, iteration))

    def batch_labels(self, n: int, seed: int, iteration: int) -> Int[Tensor, "n"]:
        """The labels of the rows that `batch` gives for the same arguments.

        Args:
            n: Number of rows.
            seed: The user's seed.
            iteration: The iteration, from 0.
        """
        return torch.from_numpy(self.labels[self.indices(n, seed, iteration).numpy()])

    def indices(self, n: int, seed: int, iteration: int) -> Int[Tensor, "n"]:
        """Indices of the rows that `batch` and `batch_labels` take."""
        require_batch(n, iteration)
        epoch, start = divmod(n * iteration, len(self))
        epochs = range(epoch, epoch + -(-(start + n) // len(self)))
        return torch.cat([order(seed, epoch, len(self)) for epoch in epochs])[start : start + n]

    def chunks(self, n: int = BLOCK) -> Iterator[Float[Tensor, "chunk *event"]]:
        """All rows once, in stored order, at most n at a time: for evaluation against the data."""
        for start in range(0, len(self), n):
            yield self.rows(range(start, min(start + n, len(self))))


class Stream:
    """An iterable of tensors as a data set: item t is the batch of iteration t.

    The iterable is restarted when it is exhausted, and on resume it is read up to the wanted item. So a run resumes
    exactly only if every pass gives the same items; a loader that shuffles by itself does not. Items are not split or
    joined: an item whose number of rows is not n is refused, and the iterable must drop a short last one
    (`DataLoader(..., drop_last=True)`).

    Args:
        items: Re-iterable: a list, a `DataLoader`, an object whose `__iter__` starts anew; not a generator.
        name: Its name for people; together with the event shape it is the fingerprint.

    Raises:
        ValueError: If it is empty, cannot be restarted, or (in `batch`) an item does not fit.

    >>> stream = Stream([torch.zeros(2, 3), torch.ones(2, 3)], "two")
    >>> [stream.batch(2, seed=0, iteration=t).mean().item() for t in (0, 1, 2)]
    [0.0, 1.0, 0.0]
    """

    def __init__(self, items: Iterable[Any], name: str = "stream") -> None:
        if iter(items) is items:
            raise ValueError(
                f"{name}: expected an iterable that can be started again, got a {type(items).__name__}; "
                "pass a list, a DataLoader, or an object whose __iter__ returns a new iterator"
            )
        self.items = items
        self.name = name
        self.restart()
        self.event_shape = tuple(self.require_tensor(self.following(), 0).shape[1:])
        self.fingerprint = hashlib.sha256(repr((name, self.event_shape)).encode()).hexdigest()
        self.restart()

    def __repr__(self) -> str:
        return f"<Stream: items of points of shape {self.event_shape} from {self.name}>"

    def restart(self) -> None:
        self.iterator, self.position = iter(self.items), 0

    def batch(self, n: int, seed: int, iteration: int) -> Float[Tensor, "n *event"]:  # noqa: ARG002
        """Item `iteration` of the iterable, counted through its restarts.

        Args:
            n: Rows the item must have.
            seed: Not used: the iterable brings its own randomness.
            iteration: Which item, from 0.
        """
        require_batch(n, iteration)
        item = self.require_tensor(self.item(iteration), iteration)
        if tuple(item.shape) != (n, *self.event_shape):
            hint = "use drop_last=True" if len(item) < n else "make the batch size and the items agree"
            raise ValueError(
                f"{self.name}: expected item {iteration} of shape {(n, *self.event_shape)}, "
                f"got {tuple(item.shape)}; {hint}"
            )
        item = item.detach().to("cpu", torch.float32)
        if not bool(torch.isfinite(item).all()):
            raise ValueError(f"{self.name}: item {iteration} holds NaN or infinity in float32")
        return item

    def item(self, iteration: int) -> Any:
        if iteration < self.position:
            self.restart()
        for _ in range(self.position, iteration):
            self.following()
        return self.following()

    def following(self) -> Any:
        for _ in range(2):
            for item in self.iterator:
                self.position += 1
                return item
            self.iterator = iter(self.items)
        raise ValueError(f"{self.name}: the iterable is empty; expected tensors of shape (n, *event)")

    def require_tensor(self, item: Any, index: int) -> Tensor:
        if isinstance(item, Tensor) and item.ndim >= 2:
            return item
        got = f"a tensor of shape {tuple(item.shape)}" if isinstance(item, Tensor) else f"a {type(item).__name__}"
        raise ValueError(
            f"{self.name}: expected item {index} to be a tensor (n, *event), got {got}; "
            "give the data alone, without labels"
        )


def rows_for(purpose: str, data: DataSet, n: int, seed: int) -> Float[Tensor, "some *event"]:
    """n rows in an order of their own for this purpose; all of them if there are fewer."""
    n = min(n, len(data)) if isinstance(data, Rows) else n
    return data.batch(n, derived(seed, purpose), 0)


@lru_cache(maxsize=2)
def order(seed: int, epoch: int, rows: int) -> Int[Tensor, "rows"]:
    """π_epoch, cached as it is the same for a whole epoch."""
    return torch.randperm(rows, generator=rng(seed, "order", epoch))


def require_batch(n: int, iteration: int) -> None:
    """Refuse an empty batch or a negative iteration."""
    if n < 1 or iteration < 0:
        raise ValueError(f"expected n >= 1 and iteration >= 0, got n = {n}, iteration = {iteration}")


def require_labels_fit(labels: np.ndarray, classes: tuple[str, ...], rows: int, name: str) -> None:
    """Refuse labels that are not one per row, or not among the classes."""
    if labels.shape != (rows,):
        raise ValueError(
            f"{name}: expected a label for each of {counted(rows, 'row')}, got labels of shape {labels.shape}"
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < -1 or highest >= len(classes):
        raise ValueError(
            f"{name}: expected labels from 0 to {len(classes) - 1} for {len(classes)} classes, or -1 where "
            f"unknown; got {lowest} to {highest}"
        )


def require_finite(values: np.ndarray, name: str) -> None:
    """Refuse values that are NaN or infinite in float32, with their number and the first index."""
    if not np.issubdtype(values.dtype, np.floating):
        return
    count, first = 0, None
    for start in range(0, len(values), BLOCK):
        with np.errstate(over="ignore"):
            bad = np.argwhere(~np.isfinite(values[start : start + BLOCK].astype(np.float32, copy=False)))
        count += len(bad)
        if first is None and len(bad):
            first = (start + int(bad[0][0]), *map(int, bad[0][1:]))
    if first is not None:
        raise ValueError(
            f"{name}: {count} of {counted(values.size, 'value')} {are(count)} NaN or infinite"
            f"{' in float32' * (values.itemsize > 4)}, the first at {first}; remove or replace these rows"
        )


def sha256_of(values: np.ndarray, *settings: object) -> str:
    """sha256 of an array's type, shape and bytes, and of settings."""
    digest = hashlib.sha256(repr((values.dtype.str, values.shape, settings)).encode())
    for start in range(0, len(values), BLOCK):
        digest.update(np.ascontiguousarray(values[start : start + BLOCK]).data)
    return digest.hexdigest()

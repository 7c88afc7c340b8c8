"""Metrics and pictures for TensorBoard and Weights & Biases, besides stats.jsonl, which is always written.

A writer has four methods, and its library is an extra that is imported on request. Nothing here ends training: a writer
that fails is reported once and dropped.
"""

import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image


class Writer(Protocol):
    """A destination of metrics and pictures."""

    def scalars(self, iteration: int, metrics: dict[str, float]) -> None:
        """Write the metrics of an iteration."""

    def picture(self, iteration: int, path: Path) -> None:
        """Write the picture of an iteration from this path."""

    def rewind(self, iteration: int) -> None:
        """Training continues from this iteration; later entries no longer count."""

    def close(self) -> None:
        """Close the writer."""


class TensorBoard:
    """Event files in RUN/tensorboard; show them with `tensorboard --logdir RUN`.

    Args:
        folder: The run folder.
        iteration: The iteration from which training continues.
    """

    def __init__(self, folder: Path, iteration: int, _: dict[str, Any]):
        self.folder = folder / "tensorboard"
        self.open(iteration)

    def open(self, iteration: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(self.folder), purge_step=iteration + 1)

    def scalars(self, iteration: int, metrics: dict[str, float]) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, iteration)

    def picture(self, iteration: int, path: Path) -> None:
        with Image.open(path) as image:
            self.writer.add_image("samples", np.asarray(image.convert("RGB")), iteration, dataformats="HWC")

    def rewind(self, iteration: int) -> None:
        self.close()
        self.open(iteration)

    def close(self) -> None:
        self.writer.close()


class Wandb:
    """A run of project `anila` with the folder's name and the iteration as its axis; resuming continues the same run.

    Args:
        folder: The run folder; `wandb sync RUN/wandb/offline-*` uploads what was written with WANDB_MODE=offline.
        config: The settings, for the record.
    """

    def __init__(self, folder: Path, _: int, config: dict[str, Any]):
        wandb: Any = import_module("wandb")
        name = folder / "wandb" / "id"
        name.parent.mkdir(exist_ok=True)
        if not name.exists():
            name.write_text(uuid.uuid4().hex)
        self.image: Callable[[str], Any] = wandb.Image
        self.run = wandb.init(
            project="anila", name=folder.name, id=name.read_text(), dir=str(folder), resume="allow", config=config
        )
        self.run.define_metric("*", step_metric="iteration")

    def scalars(self, iteration: int, metrics: dict[str, float]) -> None:
        self.run.log({"iteration": iteration, **metrics})

    def picture(self, iteration: int, path: Path) -> None:
        self.run.log({"iteration": iteration, "samples": self.image(str(path))})

    def rewind(self, iteration: int) -> None:
        """Repeated iterations are drawn twice: W&B cannot forget."""

    def close(self) -> None:
        self.run.finish()


WRITERS: dict[str, Callable[[Path, int, dict[str, Any]], Writer]] = {"tensorboard": TensorBoard, "wandb": Wandb}


def require(names: Sequence[str]) -> None:
    """Refuse writers whose library is not installed, before any work.

    Raises:
        ImportError: Naming the extra.
    """
    for name in names:
        if find_spec(name) is None:
            raise ImportError(
                f"training.log_to={name} needs an extra that is not installed: pip install 'anila[{name}]'"
            )


class Logs:
    """The writers of a run."""

    def __init__(self) -> None:
        self.writers: dict[str, Writer] = {}

    @contextmanager
    def open(self, names: Sequence[str], folder: Path, iteration: int, config: dict[str, Any]) -> Iterator[None]:
        """Open these writers inside the context, from this iteration on."""
        try:
            for name in names:
                with self.surviving(name):
                    self.writers[name] = WRITERS[name](folder, iteration, config)
            yield
        finally:
            self.each(lambda writer: writer.close())
            self.writers.clear()

    def each(self, act: Callable[[Writer], None]) -> None:
        """Apply an action to every writer."""
        for name, writer in list(self.writers.items()):
            with self.surviving(name):
                act(writer)

    @contextmanager
    def surviving(self, name: str) -> Iterator[None]:
        """Report any error of a writer's library and drop that writer."""
        try:
            yield
        except Exception as error:
            self.writers.pop(name, None)
            warnings.warn(
                f"{name} failed, and training continues without it: {type(error).__name__}: {error}",
                RuntimeWarning,
                stacklevel=4,
            )


@contextmanager
def surviving_disk(path: Path) -> Iterator[None]:
    """Report a file that cannot be written, and let training continue without it."""
    try:
        yield
    except OSError as error:
        with suppress(OSError):
            warnings.warn(
                f"cannot write {path.absolute()}: {error.strerror or error}; training continues without it",
                RuntimeWarning,
                stacklevel=4,
            )

"""Pictures of a run during training: its chains, and the curves of its metrics."""

import gc
import math
from pathlib import Path
from typing import Any

from torch import Tensor

from anila.evaluation import pictures
from anila.evaluation.likelihood.grid import in_plane, plane_frame
from anila.evaluation.training.metric import KL
from anila.learning.starts import Persistent
from anila.rng import rng
from anila.runs.experiment.build import build_objective
from anila.runs.folder import logs
from anila.runs.folder.run import Run
from anila.runs.model.trained import Trained

SHOWN, SHOWN_POINTS = 64, 2000
"""Number of images in a grid, and of points in a scatter plot."""


def draw_pictures(run: Run, trained: Trained) -> None:
    """In the plane: data, chains, density and energy. For images: a grid of the chains."""
    i, shape = trained.learner.iteration, trained.data.event_shape
    path = run.samples / f"{i:09d}.png"
    generator = rng(trained.config.training.seed, "picture")
    start = trained.start
    kept = len(start.bank) if isinstance(start, Persistent) else 0

    def chains(n: int) -> Tensor:
        return trained.starts(min(n, kept), generator).cpu() if kept else trained.draw(n)

    if len(shape) == 3:
        keep(pictures.image_grid(chains(SHOWN)), path, run, i)
    elif in_plane(shape):
        x_data = trained.reference_data(SHOWN_POINTS)
        frame = plane_frame(x_data.to(trained.device))
        keep(pictures.plane_panel(x_data, chains(SHOWN_POINTS), trained.f, frame), path, run, i)
    curves = columns(run.stats())
    if len(curves.get("iteration", [])) > 1:
        watched = {metric.name: metric for config in trained.whole.flat for metric in build_objective(config).watched}
        drawn = (*watched.values(), KL)
        keep(pictures.training_curves(curves, drawn, run.switches()), run.samples / "curves.png")
    gc.collect()  # figures are reference cycles of ten megabytes and more


def keep(picture: Any, path: Path, run: Run | None = None, iteration: int = 0) -> None:
    """Write a picture if the disk allows, and send it to the run's other writers."""
    with logs.surviving_disk(path):
        pictures.save(picture, path)
        if run:
            run.show(iteration, path)


def columns(lines: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Log lines as columns; missing values are NaN."""
    names = dict.fromkeys(name for line in lines for name in line)
    return {n: [math.nan if line.get(n) is None else float(line[n]) for line in lines] for n in names}

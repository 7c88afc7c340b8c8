"""The figure of a comparison."""

from pathlib import Path

import torch
from torch import Tensor

from anila.evaluation import pictures
from anila.evaluation.likelihood import Grid
from anila.evaluation.likelihood.grid import in_plane, plane_frame
from anila.reports.comparison.outcome import Outcome
from anila.reports.comparison.plan import Plan, Trial
from anila.reports.comparison.trial import Curve
from anila.runs.experiment import build_data


def save_figure(plan: Plan, outcome: Outcome) -> Path:
    """Write comparison.png: samples of seed 0 at the end, a column a sampler, and the scores."""
    samples = {trial.sampler: last_samples(trial) for trial in plan.trials if trial.seed == 0}
    curves = {s: (line.gradients, line.seconds, line.mean, line.error) for s, line in outcome.lines.items()}
    path = plan.folder / "comparison.png"
    pictures.save(pictures.comparison(curves, samples, outcome.score, frame_of(plan)), path)
    return path


def last_samples(trial: Trial) -> Tensor:
    """Those of the last point that has some; none where there is no such point."""
    curve = Curve(trial)
    found = [x for i in trial.points if (x := curve.samples(i)) is not None]
    return found[-1] if found else torch.empty(0, 2)


def frame_of(plan: Plan) -> Grid | None:
    """The frame of the data's points, in the plane."""
    data = build_data(plan.trials[0].config.data)
    return plane_frame(data.batch(2000, 0, 0)) if in_plane(data.event_shape) else None

"""The papers' figures, from the runs of a comparison."""

from pathlib import Path

import torch
from torch import Tensor

from anila.applications import box_mask
from anila.applications.on_runs.draws import completion, drawn
from anila.applications.on_runs.observed import Observed
from anila.evaluation import pictures
from anila.reports.comparison import Plan, outcome_of
from anila.reports.comparison.figure import frame_of, save_figure
from anila.reports.comparison.plan import Trial
from anila.reports.comparison.trial import Curve
from anila.reports.reproduction.experiments import Part
from anila.runs.folder.run import Run
from anila.runs.folder.whole import write_atomically
from anila.runs.model.trained import Trained

IMAGES = 8
"""Test images that are inpainted for a figure."""
SCORED = 64
"""Test images whose hidden half is compared with what was drawn."""


def draw(plan: Plan, part: Part) -> list[Path]:
    """The samples along training, a row a sampler; samples and scores at the end; a grid of images a sampler.

    Returns:
        What was written.
    """
    outcome = outcome_of(plan)
    outcome.save(plan)
    first = [trial for trial in plan.trials if trial.seed == 0]
    courses = {t.sampler: [Curve(t).samples(i) for i in t.points] for t in ordered(first)}
    heads = [f"iteration {i:,}" for i in first[0].points]
    written = [save_figure(plan, outcome), plan.folder / "course.png", plan.folder / "table.md"]
    shown = max(1, len(heads) // 5)
    picture = pictures.course_of_samples(
        {name: course[shown - 1 :: shown] for name, course in courses.items()},
        heads[shown - 1 :: shown],
        frame_of(plan),
    )
    pictures.save(picture, written[1])
    text = [part.title, "", *outcome.table(), "", *(f"* {line}" for line in outcome.verdicts()), ""]
    write_atomically(written[2], "\n".join(text))
    for name, course in courses.items():
        kept = [x for x in course if x is not None]
        if kept and kept[-1].ndim == 4:
            written.append(plan.folder / f"grid-{name}.png")
            pictures.save(pictures.image_grid(torch.nan_to_num(kept[-1])), written[-1])
    return written


def ordered(trials: list[Trial]) -> list[Trial]:
    """As the papers have it: anisotropic above Langevin."""
    return sorted(trials, key=lambda t: t.sampler != "anisotropic")


def inpainting_figure(plan: Plan) -> Path:
    """Rows of test images whose lower half is hidden: what is seen, what each sampler's model draws, the truth.

    Beside it inpainting.md: root mean square of what was drawn less the truth, over the hidden pixels of 64 images, and
    that of grey and of the upper half mirrored downwards, which know no model.
    """
    rows, errors = {}, {}
    truth, mask = torch.empty(0), torch.empty(0)
    for trial in ordered([t for t in plan.trials if t.seed == 0]):
        trained = Trained.load(Run.existing(trial.path))
        truth = trained.held_out(SCORED).x
        side = truth.shape[-1]
        mask = box_mask((side, side), (side // 2, 0, side - side // 2, side))
        x = drawn(trained, Observed(truth, mask), completion, count=1).x[:, 0]
        rows[trial.sampler], errors[trial.sampler] = x, error(x, truth, mask)
    masked = truth.masked_fill(mask, 0)
    errors |= {"grey": error(masked, truth, mask), "mirror": error(truth.flip(2), truth, mask)}
    path = plan.folder / "inpainting.png"
    shown = {"seen": masked, **rows, "truth": truth}
    pictures.save(pictures.image_rows({name: x[:IMAGES] for name, x in shown.items()}), path)
    lines = ["| filled in by | error of hidden pixels, in [-1, 1] |", "|---|---|"]
    lines += [f"| {name} | {value:.3f} |" for name, value in errors.items()]
    write_atomically(path.with_suffix(".md"), "\n".join([*lines, ""]))
    return path


def error(x: Tensor, truth: Tensor, mask: Tensor) -> float:
    """Root mean square over hidden pixels."""
    return float((x - truth).square()[mask.expand(x.shape)].mean().sqrt())

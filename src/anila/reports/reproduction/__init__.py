"""The papers' experiments and figures, at their scale and at one that two cores can bear."""

from anila.reports.reproduction.experiments import EXPERIMENTS, Part, plan_part
from anila.reports.reproduction.figures import draw, inpainting_figure

__all__ = ["EXPERIMENTS", "Part", "draw", "inpainting_figure", "plan_part"]

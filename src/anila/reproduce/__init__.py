"""The experiments and figures of the papers, at their scale and at one that two cores can bear."""

from anila.reproduce.experiments import EXPERIMENTS, Part, plan_part
from anila.reproduce.figures import draw, inpainting_figure

__all__ = ["EXPERIMENTS", "Part", "draw", "inpainting_figure", "plan_part"]

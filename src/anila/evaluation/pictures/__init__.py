"""What people see of a run: every function draws arrays and returns a picture, `save` writes it.

A picture is a function of its arguments: equal arguments give equal bytes, whatever matplotlib is set to.
Figures are 1,800 dots wide and lettered to be read at half that; images are drawn pixel for pixel.
"""

from anila.evaluation.pictures.comparison import comparison, course_of_samples
from anila.evaluation.pictures.curves import sampler_comparison, training_curves
from anila.evaluation.pictures.ergodicity import chain_overview, coupling_bound, drift_ratio
from anila.evaluation.pictures.images import image_grid, neighbours_grid
from anila.evaluation.pictures.odd_rows import odd_rows
from anila.evaluation.pictures.ordinary import ordinary_scores
from anila.evaluation.pictures.plane import plane_panel, trajectories
from anila.evaluation.pictures.regime import long_chain_images, long_chains, training_course
from anila.evaluation.pictures.rows import image_rows
from anila.evaluation.pictures.style import save

__all__ = [
    "chain_overview",
    "comparison",
    "coupling_bound",
    "course_of_samples",
    "drift_ratio",
    "image_grid",
    "image_rows",
    "long_chain_images",
    "long_chains",
    "neighbours_grid",
    "odd_rows",
    "ordinary_scores",
    "plane_panel",
    "sampler_comparison",
    "save",
    "training_course",
    "training_curves",
    "trajectories",
]

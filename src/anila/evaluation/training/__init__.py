"""What training did: reach, the course of its metrics, long chains, and what regime a run is in.

reach            how far drift can carry a chain before anything runs
curves           d_t and r_t of a training run: centred, correlated, of one order or not
long_chains      chains after K, 10 K and 100 K transitions: do they keep the look of data
regime           what a run is by these two: convergent, short-run, running away, nothing learned

They are those of Nijkamp et al. 2020 (the anatomy study).
"""

from anila.evaluation.training.curves import Course, CourseOfChains, autocorrelation, course, cross_correlation
from anila.evaluation.training.long_chains import LongChains, run_long_chains
from anila.evaluation.training.reach import diffusion, distance, reach, reach_warning
from anila.evaluation.training.regime import Regime, regime

__all__ = [
    "Course",
    "CourseOfChains",
    "LongChains",
    "Regime",
    "autocorrelation",
    "course",
    "cross_correlation",
    "diffusion",
    "distance",
    "reach",
    "reach_warning",
    "regime",
    "run_long_chains",
]

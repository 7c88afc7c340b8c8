"""What can be known about chains, before and after they run, and a verdict in plain words.

reach            how far drift can carry a chain before anything runs
convergence      effective samples, R-hat, error of the mean, temperature: from what chains did
grid             a kernel as a matrix on a grid: its law and its decay without chance, in 1-D and 2-D
bias             what law a kernel samples, beside exp f
ergodicity       the theorem's assumption along rays, and its drift inequality
coupling         pairs of chains that meet: an upper bound on the distance from exp f
course           d_t and r_t of a training run: centred, correlated, of one order or not
ladder           chains after K, 10 K and 100 K transitions: do they keep the look of data
regime           what a run is by these two: convergent, short-run, running away, nothing learned
verdict          mixed or not, why, and what to do

The nouns are the files; the theorem is that of Karimi, Xie & Li 2023 (STANLEY), section 4; courses, ladders and
regimes are those of Nijkamp et al. 2020 (the anatomy study).
"""

from anila.diagnostics.bias import Drift, StationarityBias, drift, stationarity_bias
from anila.diagnostics.convergence import Convergence, convergence, ess, mcse, nested_rhat, rhat, temperature
from anila.diagnostics.coupling import Meetings, meeting_times
from anila.diagnostics.course import Course, autocorrelation, course, cross_correlation
from anila.diagnostics.ergodicity import DriftInequality, Rays, drift_inequality, rays
from anila.diagnostics.grid import decay, lattice, stationary, total_variation, transition
from anila.diagnostics.ladder import Ladder, climb
from anila.diagnostics.reach import diffusion, distance, reach, reach_warning
from anila.diagnostics.regime import Regime, regime
from anila.diagnostics.verdict import Verdict, verdict

__all__ = [
    "Convergence", "Course", "Drift", "DriftInequality", "Ladder", "Meetings", "Rays", "Regime", "StationarityBias",
    "Verdict", "autocorrelation", "climb", "convergence", "course", "cross_correlation", "decay", "diffusion",
    "distance", "drift", "drift_inequality", "ess", "lattice", "mcse", "meeting_times", "nested_rhat", "rays", "reach",
    "reach_warning", "regime", "rhat", "stationarity_bias", "stationary", "temperature", "total_variation",
    "transition", "verdict",
]  # fmt: skip

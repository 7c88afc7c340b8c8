"""What can be known about chains, and a verdict in plain words.

convergence      effective samples, R-hat, error of the mean, temperature: from the chains themselves
exact_grid       a kernel as a matrix on a grid: its law and its decay, without randomness, in 1-D and 2-D
bias             the law that a kernel samples, compared with exp f
ergodicity       the theorem's assumption along rays, and its drift inequality
coupling         pairs of chains that meet: an upper bound on the distance from exp f
verdict          mixed or not, why, and what to do

The theorem is from Karimi, Xie & Li 2023 (STANLEY), section 4.
"""

from anila.evaluation.chains.bias import Drift, StationarityBias, drift, stationarity_bias
from anila.evaluation.chains.convergence import Convergence, configurational_temperature, convergence, nested_rhat
from anila.evaluation.chains.coupling import Meetings, can_be_coupled, meeting_times
from anila.evaluation.chains.ergodicity import DriftInequality, Rays, drift_inequality, rays
from anila.evaluation.chains.exact_grid import decay, lattice, stationary, total_variation, transition
from anila.evaluation.chains.verdict import Verdict, verdict
from anila.samplers.estimates import ess, mcse, rhat

__all__ = [
    "Convergence",
    "Drift",
    "DriftInequality",
    "Meetings",
    "Rays",
    "StationarityBias",
    "Verdict",
    "can_be_coupled",
    "configurational_temperature",
    "convergence",
    "decay",
    "drift",
    "drift_inequality",
    "ess",
    "lattice",
    "mcse",
    "meeting_times",
    "nested_rhat",
    "rays",
    "rhat",
    "stationarity_bias",
    "stationary",
    "total_variation",
    "transition",
    "verdict",
]

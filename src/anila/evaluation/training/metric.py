"""The metrics that training reports: what each is called, how it is drawn, and whether it may grow.

An objective lists the metrics that it reports. The guard, the series, the progress line, curves and the regime use this
list.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number that is measured in every iteration."""

    name: str
    """Its key in the log."""
    words: str
    """Its name in a sentence."""
    symbol: str = ""
    """Its letter in the papers."""
    title: str = ""
    """Its title in a plot; a metric without one is not drawn."""
    short: str = ""
    """Its name in the progress line; a metric without one is not shown there."""
    scale: Literal["signed", "log", "fraction"] = "log"
    may_grow: bool = True
    """Whether it may grow many times without this meaning that training runs away."""
    in_series: bool = False
    """Whether its value is kept for every iteration, and not only for logged ones."""
    needs: Literal["", "clips", "exact"] = ""
    """The fact of a kernel without which its value is always the same; none for most."""


ENERGY_GAP = Metric(
    name="energy_gap",
    words="the energy gap",
    symbol="|d_t|",
    title="energy gap  f(data) − f(chains)",
    short="gap",
    scale="signed",
    may_grow=False,
    in_series=True,
)
GRAD_NORM = Metric(
    name="grad_norm",
    words="the gradient of f",
    symbol="r_t",
    title="gradient norm  |∇f|",
    short="gradient",
    may_grow=False,
    in_series=True,
)
THETA_GRAD_NORM = Metric(name="theta_grad_norm", words="the gradient in θ", may_grow=False, in_series=True)
CLIPPED = Metric(
    name="clipped",
    words="the fraction clipped",
    title="coordinates above the threshold",
    scale="fraction",
    in_series=True,
    needs="clips",
)
CHAIN_RANGE = Metric(name="chain_range", words="how far out the chains are", in_series=True)
ACCEPT_PROB = Metric(
    name="accept_prob",
    words="acceptance",
    title="acceptance of local moves",
    short="accept",
    scale="fraction",
    needs="exact",
)
GLOBAL_ACCEPT = Metric(
    name="global_accept",
    words="acceptance of global moves",
    title="acceptance of global moves",
    scale="fraction",
)
ENERGY_SD = Metric(name="energy_sd", words="the spread of f")
ACCURACY = Metric(name="accuracy", words="accuracy", title="classes told right", short="accuracy", scale="fraction")
KL = Metric(name="kl", words="KL(data ‖ model)", title="KL(data ‖ model), nats")

OF_CHAINS = (ENERGY_GAP, GRAD_NORM, THETA_GRAD_NORM, CLIPPED, CHAIN_RANGE, ACCEPT_PROB, GLOBAL_ACCEPT, ENERGY_SD)
"""The metrics of Algorithm 1: d_t, r_t, and those of its chains."""

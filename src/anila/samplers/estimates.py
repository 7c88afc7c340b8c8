"""What stands beside every estimate: its standard error, R̂ and ESS, and a word where they are not good enough.

Limits are those of Stan and ArviZ: R̂ at most 1.01, and 400 effective samples in bulk and tail (Vehtari et al. 2021).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from anila.evaluation.chains.convergence import ess, mcse, monitored, rhat
from anila.evaluation.chains.verdict import ESS, RHAT

SHOWN = 6
"""Coordinates in the table: those with the fewest effective samples."""


def estimates(x: Float[Tensor, "kept chains *event"]) -> list[str]:
    """A table of means over kept draws, and a line on whether to trust them; empty where too little was kept to know.

    Args:
        x: Draws as `sample` keeps them, (kept, chains, *event); at least 4 of 2 chains, finite.
    """
    if len(x) < 4 or x.shape[1] < 2 or not bool(torch.isfinite(x).all()):
        return []
    names, columns = monitored(x, x.new_zeros(x.shape[:2]))
    names, columns = names[1:], columns[..., 1:]
    draws, error, r = columns.double().flatten(0, 1), mcse(columns), rhat(columns)
    bulk, tail = (torch.nan_to_num(ess(columns, kind), nan=0.0) for kind in ("bulk", "tail"))
    fewest = torch.minimum(bulk, tail)
    lines = [f"{'':12}{'mean':>12}{'± error':>12}{'sd':>12}{'R̂':>9}{'ESS bulk':>10}{'tail':>8}"]
    for k in fewest.argsort()[:SHOWN].sort().values.tolist():
        mean, sd = draws[:, k].mean(), draws[:, k].std()
        lines.append(f"{names[k]:12}{mean:12.4g}{error[k]:12.2g}{sd:12.4g}{r[k]:9.3f}{bulk[k]:10.0f}{tail[k]:8.0f}")
    worst = torch.nan_to_num(r, nan=torch.inf).max().item()
    good = worst <= RHAT and fewest.min().item() >= ESS
    said = "good enough" if good else "NOT CONVERGED: run longer, or see `anila.evaluation.chains`"
    lines.append(f"R̂ up to {worst:.3f} (at most {RHAT}), ESS from {fewest.min():.0f} (at least {ESS}): {said}")
    return lines

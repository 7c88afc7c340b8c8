"""Is a fit in closed form any good: what it says of rows that it leaves out, and what it can promise."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from anila.density.networks import Kernel
from anila.evaluation import pictures
from anila.evaluation.chains import Verdict
from anila.messages import counted

JUDGED = 2000
"""Rows whose likelihoods are compared, at most."""
FLAT = 1e-10
"""Least variance in a direction, as a share of the largest, that is more than rounding of float32."""


@dataclass(frozen=True)
class FitDiagnosis:
    """The verdict on a fit, with the scores of ordinary rows."""

    verdict: Verdict
    ordinary: Float[Tensor, "n"]

    def save(self, folder: Path) -> list[Path]:
        """Write the figure into a folder; which it is."""
        folder.mkdir(parents=True, exist_ok=True)
        pictures.save(pictures.ordinary_scores(self.ordinary), folder / "fit.png")
        return [folder / "fit.png"]


def judge_fit(f: Kernel) -> FitDiagnosis:
    """Weigh what the fit says of rows that it leaves out.

    Args:
        f: The network of a run.
    """
    others, gaussian = f.leave_one_out().mean().item(), gaussian_likelihood(f.energy.centres[:JUDGED])
    n, ok = len(f.ordinary), gaussian is None or others > gaussian
    lines = [
        "the density has a closed form: draws are exact, and there are no chains to judge",
        f"a row has log p = {others:.4g} nats given all other rows (standardised columns)"
        + ("" if gaussian is None else f", and {gaussian:.4g} under the Gaussian with all rows' moments"),
        f"false alarms: {counted(n, 'ordinary row')} can guarantee a rate of {1 / (n + 1):.2g} and above",
    ]
    if not ok:
        lines.append(
            "do this: for draws and missing cells train network=mlp, which starts from a Gaussian, as a Gaussian fits "
            "these rows better. Odd rows are found all the same"
        )
    numbers = {"log_likelihood": others, "gaussian": gaussian, "bandwidth": f.energy.bandwidth, "ordinary_rows": n}
    return FitDiagnosis(Verdict(ok, tuple(lines), {"fit": numbers}), f.ordinary.cpu())


def gaussian_likelihood(x: Float[Tensor, "n d"]) -> float | None:
    """Mean log-likelihood of rows by their own Gaussian; None of rows that do not fix one.

    The coordinates of a category lie in a plane, where a Gaussian has no density.

    >>> gaussian_likelihood(torch.eye(3).repeat(9, 1)) is None
    True
    """
    x = x[~x.isnan().any(1)].double()
    (n, d), z = x.shape, x - x.mean(0)
    if n <= 2 * d or (variances := torch.linalg.eigvalsh(z.T @ z / n)).min() <= FLAT * variances.max():
        return None
    return -(variances.log().sum().item() + d * (1 + math.log(2 * math.pi))) / 2

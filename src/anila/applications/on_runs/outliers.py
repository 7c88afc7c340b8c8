"""Outliers among the rows of files, judged by a run's model: scores joined to the file, and what is oddest."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from anila.applications import Outliers, calibrated
from anila.applications.files.inputs import Named, calibration
from anila.evaluation import pictures
from anila.runs.model.model import Calibration, Model

SHOWN = 16
RESULTS = ("score", "percentile", "outlier")
"""Columns that are joined to the file."""


@dataclass(frozen=True)
class Judged:
    """Rows with their scores.

    Args:
        judge: The calibrated score.
        calibration: The held-out rows.
        rate: Chosen rate of false alarms.
        rows: What was judged.
        score: (n,).
    """

    judge: Outliers
    calibration: Calibration
    rate: float
    rows: Named
    score: Tensor

    @property
    def flagged(self) -> Tensor:
        return self.judge.flagged(self.score, self.rate)

    def columns(self) -> dict[str, np.ndarray]:
        """What is joined to the file."""
        percentile = self.judge.percentile(self.score).numpy()
        return dict(zip(RESULTS, (self.score.numpy(), percentile, self.flagged.numpy()), strict=True))

    def top(self, n: int) -> list[dict[str, Any]]:
        """The n oddest rows, the oddest first."""
        percentile = self.judge.percentile(self.score)
        order = self.score.argsort(descending=True)[:n].tolist()
        return [
            {"name": self.rows.names[i], "score": self.score[i].item(), "percentile": percentile[i].item(),
             "outlier": bool(self.flagged[i])}
            for i in order
        ]  # fmt: skip

    def summary(self) -> dict[str, Any]:
        """What was found, and how it was judged."""
        return {
            "rows": len(self.score),
            "outliers": int(self.flagged.sum()),
            "rate": self.rate,
            "threshold": self.judge.threshold(self.rate),
            "score": "energy" if self.judge.centre is None else "distance of f from its median",
            "held_out": self.calibration.source,
            "held_out_rows": len(self.judge.held_out),
            "held_out_unseen": self.calibration.unseen,
        }

    def picture(self) -> Any:
        """The oddest images above the most usual ones."""
        order = self.score.argsort(descending=True)
        odd, usual = order[:SHOWN], order.flip(0)[:SHOWN]
        return pictures.image_rows({"oddest": self.rows.x[odd], "most usual": self.rows.x[usual]})


def judged(
    model: Model, rows: Named, rate: float, source: str | None = None, typical: bool = False, most: int = 5000
) -> Judged:
    """Score rows and judge them beside held-out ones.

    Args:
        model: The run.
        rows: What is to be judged.
        rate: Chosen rate of false alarms.
        source: Held-out rows; see `calibration`.
        typical: As `anila.applications.outliers`.
        most: Held-out rows used.

    Raises:
        ValueError: As `anila.applications.outliers`, or if the rate needs more held-out rows.
    """
    kept = calibration(model, most, source)
    judge = calibrated(model.f, kept.f, typical)
    judge.threshold(rate)
    return Judged(judge, kept, rate, rows, judge.score(rows.x.to(model.device)))


def unseen_warning(calibration: Calibration) -> str | None:
    """What to say where the held-out rows were trained on."""
    if calibration.unseen:
        return None
    return (
        f"warning: calibrated on rows the model was trained on ({calibration.source}): new rows score higher, so "
        "expect more false alarms than the rate; give rows that were kept out with --held-out"
    )

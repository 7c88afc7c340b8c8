"""Outliers among the rows of files, judged by a run's model: scores joined to the file, what is oddest, and why.

A row with missing cells is judged by the others where f has a closed form. Elsewhere they are drawn given the others,
and the score is the mean over some such completions: if the model is right, a completed row follows the law of rows.

Reference: Rubin 1987 (multiple imputation).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anila.applications import Outliers, calibrated
from anila.applications.files.inputs import Named, calibration
from anila.applications.on_runs.draws import filled
from anila.data.forms import Form, with_unit
from anila.data.style import style_of
from anila.density.log_density import BATCH, ClosedForm
from anila.evaluation import pictures
from anila.messages import counted
from anila.runs.model.model import Calibration, Model

SHOWN = 16
RESULTS = ("score", "percentile", "outlier", "why")
"""Columns that are joined to the file; the last where the model can say."""
MORE = 0.05
"""A rate that is named where few rows can promise none that is asked for."""
COMPLETIONS = 20
"""Of a row with missing cells."""
AT_ONCE = 100
"""Rows that are explained at once."""
PLAIN = Form()
PORTION = 2 * BATCH
"""Rows between two words of how many have a score."""


@dataclass(frozen=True)
class Reason:
    """A cell that carries a part of a row's score, and what would be likely in its place."""

    column: str
    value: Any
    likely: Any
    share: float
    form: Form = PLAIN
    """How the column writes its numbers."""

    def __str__(self) -> str:
        return f"likely {self.column} {shown(self.likely, self.form)}, not {shown(self.value, self.form)}"

    def as_dict(self) -> dict[str, Any]:
        """In JSON's types: dates as text."""
        return {name: v if isinstance(v, int | float | str | None) else str(v) for name, v in vars(self).items()
                if name != "form"}  # fmt: skip


def shown(cell: Any, form: Form = PLAIN) -> str:
    """A cell as people read it: numbers to five digits with their unit, a dash where it is missing."""
    if cell is None:
        return "–"
    text = f"{cell:.5g}" if isinstance(cell, float) else str(cell)
    return with_unit(text, form) if isinstance(cell, int | float) else text


@dataclass(frozen=True)
class Judged:
    """Rows with their scores.

    Args:
        model: The run.
        judge: The calibrated score.
        calibration: The ordinary rows that it is calibrated on.
        rate: Rate of false alarms that was asked for.
        rows: What was judged.
        score: (n,).
    """

    model: Model
    judge: Outliers
    calibration: Calibration
    rate: float
    rows: Named
    score: Tensor

    @property
    def promised(self) -> float:
        """The rate that so many ordinary rows can promise."""
        return self.judge.promised(self.rate)

    @property
    def flagged(self) -> Tensor:
        return self.judge.flagged(self.score, self.promised)

    @property
    def order(self) -> list[int]:
        """The rows, the oddest first."""
        return self.score.argsort(descending=True, stable=True).tolist()

    @cached_property
    def reasons(self) -> dict[int, list[Reason]]:
        """Why each outlier is odd, where the model can say: the cells that carry its score, the most first."""
        f, flagged, rows = self.model.f, self.flagged.nonzero()[:, 0], self.model.units.rows
        if not isinstance(f, ClosedForm):
            return {}
        cell = rows.cells.to(self.model.device)
        found: dict[int, list[Reason]] = {}
        for chosen in flagged.split(AT_ONCE):
            x = self.rows.x[chosen]
            share, likely = (part.cpu() for part in f.reasons(x.to(self.model.device), cell))
            values, instead = (
                rows.decode(x).to_pylist(),
                rows.decode(torch.where(likely.isnan(), x, likely)).to_pylist(),
            )
            of_cell = rows.by_column(share)
            for i, row in enumerate(chosen.tolist()):
                order = of_cell[i].argsort(descending=True)[: int((of_cell[i] > 0).sum())].tolist()
                names = [rows.names[j] for j in order]
                found[row] = [
                    Reason(
                        name,
                        self.given(row, name, values[i][name]),
                        instead[i][name],
                        of_cell[i, j].item(),
                        self.forms.get(name, PLAIN),
                    )
                    for name, j in zip(names, order, strict=True)
                ]
        return found

    @cached_property
    def forms(self) -> dict[str, Form]:
        """How the columns of the file write their numbers, where not plainly."""
        return {} if self.rows.file is None else style_of(self.rows.file).numbers

    def given(self, row: int, column: str, otherwise: Any) -> Any:
        """The cell of the file, which may be out of the range that a model gives cells."""
        file = self.rows.file
        return otherwise if file is None or column not in file.column_names else file.column(column)[row].as_py()

    def columns(self) -> dict[str, np.ndarray]:
        """What is joined to the file."""
        percentile = self.judge.percentile(self.score).numpy()
        found = {"score": self.score.numpy(), "percentile": percentile, "outlier": self.flagged.numpy()}
        if isinstance(self.model.f, ClosedForm):
            found["why"] = np.array(["; ".join(map(str, self.reasons.get(i, []))) for i in range(len(self.score))])
        return found

    def top(self, n: int) -> list[dict[str, Any]]:
        """The n oddest rows, the oddest first."""
        percentile, flagged = self.judge.percentile(self.score), self.flagged
        return [
            {"name": self.rows.names[i], "index": i, "score": self.score[i].item(), "percentile": percentile[i].item(),
             "outlier": bool(flagged[i]), "reasons": [reason.as_dict() for reason in self.reasons.get(i, [])]}
            for i in self.order[:n]
        ]  # fmt: skip

    def summary(self) -> dict[str, Any]:
        """What was found, and how it was judged."""
        return {
            "rows": len(self.score),
            "outliers": int(self.flagged.sum()),
            "rate": self.promised,
            "rate_wanted": self.rate,
            "threshold": self.judge.threshold(self.promised),
            "score": self.what,
            "held_out": self.calibration.source,
            "held_out_rows": len(self.judge.held_out),
            "held_out_unseen": self.calibration.unseen,
        }

    @property
    def what(self) -> str:
        """What the score is called."""
        if self.judge.centre is not None:
            return "distance of f from its median"
        return "denoising error" if isinstance(self.model.f, ClosedForm) else "energy"

    def picture(self) -> Any:
        """The oddest images above the most usual ones; the outliers of a table with what makes them odd.

        Raises:
            ValueError: If there is nothing to show.
        """
        if len(self.model.data.event_shape) == 1:
            return self.table_picture()
        odd, usual = self.order[:SHOWN], self.order[::-1][:SHOWN]
        return pictures.image_rows({"oddest": self.rows.x[odd], "most usual": self.rows.x[usual]})

    def table_picture(self) -> Any:
        """The outliers of a table, the oddest first."""
        odd = [i for i in self.order if self.reasons.get(i)][:SHOWN]
        if not odd:
            raise ValueError(
                "no picture: no row is an outlier" if self.flagged.sum() == 0 else "no picture of this run"
            )
        rows = self.model.units.rows
        share, instead = np.zeros((len(odd), len(rows.names))), [[""] * len(rows.names) for _ in odd]
        for line, row in enumerate(odd):
            for reason in self.reasons[row]:
                at = rows.names.index(reason.column)
                share[line, at], instead[line][at] = reason.share, shown(reason.likely, reason.form)
        decoded = rows.decode(self.rows.x[odd]).to_pylist()
        values = [
            [shown(self.given(i, name, cell), self.forms.get(name, PLAIN)) for name, cell in row.items()]
            for i, row in zip(odd, decoded, strict=True)
        ]
        names = [self.rows.names[i].rpartition("[")[2].rstrip("]") for i in odd]
        return pictures.odd_rows(names, rows.names, values, instead, share, self.score[odd].tolist())


def judged(
    model: Model,
    rows: Named,
    rate: float,
    source: str | None = None,
    typical: bool = False,
    most: int = 5000,
    watch: Callable[[int], None] = lambda _: None,
) -> Judged:
    """Score rows and judge them beside ordinary ones.

    Args:
        model: The run.
        rows: What is to be judged.
        rate: Wanted rate of false alarms; where there are too few ordinary rows, the least they can promise is taken.
        source: Ordinary rows; see `calibration`.
        typical: As `anila.applications.outliers`.
        most: Ordinary rows used.
        watch: Called with how many rows have a score so far.

    Raises:
        ValueError: As `anila.applications.outliers`, or if an f that has a score of its own is to have the typical one.
    """
    if typical and isinstance(model.f, ClosedForm):
        raise ValueError("--typical is for networks that learn; this one has a score of its own: leave it out")
    kept = calibration(model, most, source)
    judge = calibrated(model.usual, kept.f, typical)
    judge.threshold(judge.promised(rate))
    return Judged(model, judge, kept, rate, rows, scores_of(model, judge, rows.x.to(model.device), watch))


def scores_of(model: Model, judge: Outliers, x: Tensor, watch: Callable[[int], None]) -> Tensor:
    """The scores, (n,); of rows with missing cells the means over completions, where f cannot leave cells out."""
    torn = torn_rows(x).cpu()
    if isinstance(model.f, ClosedForm) or not torn.any():
        return scored(judge, x, watch)
    drawn = filled(model, x[torn].nan_to_num(0.0), x[torn].isnan(), COMPLETIONS).x.to(x)
    whole = scored(judge, x.nan_to_num(0.0), watch)
    whole[torn] = judge.score(drawn.flatten(0, 1)).unflatten(0, drawn.shape[:2]).mean(1)
    return whole


def scored(judge: Outliers, x: Tensor, watch: Callable[[int], None]) -> Tensor:
    """The scores of whole rows, (n,), with a word after every portion."""
    parts, done = [], 0
    for part in x.split(PORTION):
        parts.append(judge.score(part))
        done += len(part)
        watch(done)
    return torch.cat(parts)


def torn_rows(x: Tensor) -> Tensor:
    """Which rows have missing cells, (n,)."""
    return x.flatten(1).isnan().any(1)


def warnings_of(found: Judged) -> list[str]:
    """What must be said of the rate and of the rows that it was found on."""
    said, n = [], len(found.judge.held_out)
    empty = int(found.rows.x.flatten(1).isnan().all(1).sum())
    if empty:
        said.append(f"rows with no values: {empty:,}; nothing is known about them, so they count as ordinary")
    if torn := int(torn_rows(found.rows.x).sum()) - empty:
        closed = isinstance(found.model.f, ClosedForm)
        how = "judged by their other cells" if closed else f"judged by the mean over {COMPLETIONS} draws of these cells"
        said.append(f"rows with missing cells: {torn:,}; {how}, with no guarantee on the rate")
    if found.promised > found.rate:
        said.append(
            f"{counted(n, 'ordinary row')} can guarantee a rate of {found.promised:.2g} at best, which replaces "
            f"{found.rate:g}; --rate {min(0.5, max(MORE, 3 * found.promised)):.1g} finds more, with more false alarms"
        )
    if not found.calibration.unseen:
        said.append(
            f"warning: calibrated on {found.calibration.source}, which the model was trained on: new rows score "
            "higher, so expect more false alarms than the rate; give rows that were kept out with --held-out"
        )
    return said

"""The metrics of training over iterations, a chart each, with what happened on the way; several runs in one chart."""

import math
from collections.abc import Sequence

import numpy as np

from anila.evaluation.pictures.curves import running_mean
from anila.evaluation.training.metric import Metric
from anila.reports.page.chart import Chart, Line, Mark, Scale
from anila.reports.page.record import Record

SMOOTHED = 50
"""Parts of a run, over each of which a mean runs."""
LOOKS = 8
"""Colours of the style sheet."""


def training_charts(records: Sequence[Record], names: Sequence[str]) -> list[Chart]:
    """A chart for every metric that one of the runs reports.

    Args:
        records: The runs; the marks are those of a single one.
        names: What they are called.
    """
    metrics = {metric.name: metric for record in records for metric in record.metrics}
    marks = marks_of(records[0]) if len(records) == 1 else []
    charts = [chart_of(metric, records, names, marks) for metric in metrics.values()]
    return [chart for chart in charts if chart.shown]


def chart_of(metric: Metric, records: Sequence[Record], names: Sequence[str], marks: Sequence[Mark]) -> Chart:
    """One metric of all runs."""
    pairs = enumerate(zip(records, names, strict=True))
    alone = len(records) == 1
    lines = [line for k, (run, name) in pairs for line in lines_of(metric, run, name, f"s{k % LOOKS}", alone)]
    return Chart(metric.title, lines, "iteration", scale_of(metric, lines), marks, link="training")


def lines_of(metric: Metric, record: Record, name: str, look: str, with_raw: bool) -> list[Line]:
    """The running mean of a metric, and its values, faint, below."""
    known = [(line["iteration"], float(line[metric.name])) for line in record.stats if is_number(line.get(metric.name))]
    x, y = np.array(known, dtype=float).reshape(-1, 2).T
    window = max(1, len(y) // SMOOTHED)
    mean = Line(metric.words if with_raw else name, x.tolist(), running_mean(y, window).tolist(), look)
    raw = Line("as logged", x.tolist(), y.tolist(), look, faint=True)
    return [raw, mean] if with_raw and window > 1 else [mean]


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def scale_of(metric: Metric, lines: Sequence[Line]) -> Scale:
    """The scale of a metric, as far as its values allow it."""
    values = [value for line in lines for value in line.y]
    if metric.scale == "log":
        return "log" if values and min(values) > 0 and max(values) > 3 * min(values) else "linear"
    if metric.scale == "signed":
        return "signed" if values and max(map(abs, values)) > 10 else "linear"
    return metric.scale


def marks_of(record: Record) -> list[Mark]:
    """Where stages began, and where the divergence guard went back or gave up."""
    names = [stage.objective.name for stage in record.config.flat]
    begins = dict(zip(record.config.ends, range(2, len(names) + 1), strict=False))
    stages = [
        Mark(i, f"stage {begins[i]} begins: {names[begins[i] - 1]}", "stage")
        for i in record.run.switches()
        if i in begins
    ]
    returns = [
        Mark(e["from"], f"the guard went back to {e['iteration']:,} with {e['change']}, because {e['why']}", "return")
        for e in record.run.events()
    ]
    failed = record.failure
    return [
        *stages,
        *returns,
        *([Mark(failed["iteration"], f"given up: {failed['why']}", "failure")] if failed else []),
    ]

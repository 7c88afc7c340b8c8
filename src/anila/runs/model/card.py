"""The model card: how and on what a model was trained, how good it is known to be, and its limits."""

import html
import json
import re
from typing import Any, Literal

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from anila.data import Encoding
from anila.messages import as_typed, counted, printable
from anila.runs.experiment import PRESETS, Experiment
from anila.runs.experiment.settings import STRICT, Count, CountOrZero, Positive


@dataclass(frozen=True, config=STRICT)
class Record:
    """What is known about an exported model."""

    format: Literal[1]
    preset: str | None
    """A name of `PRESETS`."""
    iteration: CountOrZero
    experiment: Experiment
    """Settings; those of the sampler are as training left them."""
    event_shape: tuple[Count, ...]
    data: str
    rows: Count | None
    """Number of rows of data; None if they are always drawn anew."""
    fingerprint: str
    """sha256 of the data and of how they were read."""
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[Positive, ...]
    held_out: str
    """Origin of the rows whose f calibrates outlier scores."""
    unseen: bool
    returns: CountOrZero
    """Number of returns of the divergence guard."""
    scores: dict[str, Any]
    versions: dict[str, str]
    encoding: Encoding | None = None
    """The encoding of rows of a table as points."""

    @model_validator(mode="after")
    def check(self) -> "Record":
        columns = self.event_shape[0] if len(self.event_shape) == 1 else 0
        if {len(self.columns), len(self.mean), len(self.scale)} != {columns}:
            raise ValueError(
                f"expected {counted(columns, 'column')}, means and scales for points of shape {self.event_shape}"
            )
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(f"no preset {self.preset!r}")
        if len(self.classes) != (self.experiment.network.classes or 0):
            raise ValueError(
                f"network.classes={self.experiment.network.classes} and {counted(len(self.classes), 'name')} of them"
            )
        return self


def card(record: Record, name: str, annealed: bool) -> str:
    """The card in Markdown, with the front matter that the Hugging Face Hub reads.

    Args:
        record: What is known about the model.
        name: Its name.
        annealed: Whether f has noise levels, along which samples are annealed.
    """
    sections = {
        "Use": use(record, name),
        "Data": data(record),
        "Training": training(record),
        "Sampler": sampler(record, annealed),
        "Scores": scores(record.scores),
        "Limits": "\n".join(f"- {limit}" for limit in limits(record, annealed)),
    }
    text = "\n\n".join(f"## {title}\n\n{body}" for title, body in sections.items())
    front = "---\nlibrary_name: anila\ntags:\n- energy-based-model\n- anila\n---"
    what = "an unnormalised log-density f, p(x) = exp(f(x) / T) / Z, higher is likelier"
    return f"{front}\n\n# {plain(name)}\n\nAn energy-based model of {plain(record.data)}: {what}.\n\n{text}\n"


def plain(text: str) -> str:
    r"""Foreign text escaped for Markdown and HTML, so that nothing in it is markup.

    >>> plain("<script>*a*")
    '&lt;script&gt;\\*a\\*'
    """
    return re.sub(r"([\\`*\[\]|#])", r"\\\1", html.escape(printable(text), quote=False))


def use(record: Record, name: str) -> str:
    """How to call the model and draw from it."""
    shape = ", ".join(map(str, record.event_shape))
    label = f", label={json.dumps(record.classes[0])}" if record.classes else ""
    name = printable(name)
    return (
        f'```python\nimport anila\n\nmodel = anila.load({json.dumps(name)})  # this folder, or "hub:OWNER/NAME"\n'
        f"x = model.draw(16{label})  # (16, {shape})\nmodel(x)  # f, (16,)\n```\n\n"
        f"    {drawing(name, record)}"
    )


def drawing(name: str, record: Record) -> str:
    """The command that draws from the model."""
    out = f"samples.{'png' if len(record.event_shape) == 3 else 'csv'}"
    return as_typed("anila", "sample", name, "--count", 64, "--out", out)


def data(record: Record) -> str:
    """The data on which the model was trained."""
    lines = [
        f"- {plain(record.data)}: {counted(record.rows, 'row') if record.rows else 'drawn afresh'}, points of shape "
        f"{record.event_shape}{', images in [-1, 1]' if len(record.event_shape) == 3 else ''}",
        f"- sha256 of the data and of how they were read: `{record.fingerprint}`",
    ]
    if record.columns and (record.mean, record.scale) != ((0.0,) * len(record.mean), (1.0,) * len(record.scale)):
        lines += [f"- columns, standardised: {plain(', '.join(record.columns))}"]
    if record.classes:
        lines += [f"- classes: {plain(', '.join(record.classes))}"]
    return "\n".join(lines)


def training(record: Record) -> str:
    """How the model was trained."""
    e = record.experiment
    if e.network.by_seeing:
        return f"- network `{e.network.name}`: found in closed form from the rows of the data, nothing was trained"
    preset = f"preset `{record.preset}`" if record.preset else "no preset"
    versions = ", ".join(f"{name} {number}" for name, number in record.versions.items())
    average = f", parameters averaged over about {1 / (1 - e.training.ema):,.0f} iterations" if e.training.ema else ""
    return (
        f"- {preset}, {counted(record.iteration, 'iteration')} of {counted(e.training.batch, 'data point')}{average}\n"
        f"- network `{e.network.name}`; {e.optimizer.name}, learning rate {e.optimizer.learning_rate:g}\n"
        f"- all settings are in `anila.json`; exported with {versions}"
    )


def sampler(record: Record, annealed: bool) -> str:
    """The recipe of the chains in training, which samples follow too."""
    s = record.experiment.sampler
    if record.experiment.network.by_seeing:
        return "None: draws are exact."
    options = "".join(f", {name} {shown(value)}" for name, value in s.options.items() if name != "temperature")
    moves = f", a global move every {s.global_every}" if s.global_every else ""
    start = record.experiment.start.name
    kept = "noise" if start == "noise" else "the kept chains"
    if annealed:
        kept = f"annealed draws ({counted(s.levels, 'level')} of noise, {counted(s.level_steps, 'transition')} each)"
    return (
        f"`{s.name}`, {counted(s.draw_steps or s.steps, 'transition')} from {kept}, step_size {s.step_size:g}"
        f"{options}, temperature T = {s.kernel.temperature:g}{moves}."
    )


def scores(found: dict[str, Any]) -> str:
    """The table of scores, with how they were made."""
    if not found:
        return "None: the run was not evaluated (`anila evaluate RUN`) before it was exported."
    rows = [f"| {plain(name)} | {plain(shown(value))} |" for name, value in found.items() if name != "protocol"]
    how = found.get("protocol")
    made = how if isinstance(how, dict) else {}
    return "\n".join(["| score | value |", "|---|---|", *rows]) + (
        f"\n\n{made.get('samples')} samples, seed {made.get('seed')}, iteration {made.get('iteration')}, "
        f"{made.get('date')}."
    )


def shown(value: Any) -> str:
    """A number, or several, to five digits."""
    if isinstance(value, list):
        return " ".join(map(shown, value))
    return f"{value:.5g}" if isinstance(value, int | float) else str(value)


def limits(record: Record, annealed: bool) -> list[str]:
    """Limits to know before relying on the model."""
    e, found = record.experiment, []
    if e.network.by_seeing:
        evaluated = [] if record.scores else ["Not evaluated: no score is known."]
        return ["It holds rows of the data: whoever has `model.safetensors` can read them.", *evaluated]
    s, planned = e.sampler, e.training.iterations
    if not s.kernel.exact:
        law = f"not exactly exp(f / {s.kernel.temperature:g})" if s.kernel.temperature else "no law"
        found.append(f"Biased sampler: `{s.name}` never rejects, so its samples follow {law}; f was learned with them.")
    preset = PRESETS[record.preset].experiment if record.preset else e
    whole = planned if preset.training.minutes else max(planned, preset.iterations)
    short = f" of {whole:,}" if record.iteration < whole else ""
    found.append(f"Trained {record.iteration:,}{short} iterations.")
    if record.returns:
        found.append(f"The divergence guard went back {counted(record.returns, 'time')}.")
    if e.network.confine is None and not annealed:
        found.append("f has no confining term: exp f need not be normalisable, and far from the data f means nothing.")
    if not record.unseen:
        found.append(
            f"Outliers are judged by rows it was trained on ({plain(record.held_out)}): expect more false alarms."
        )
    if not record.scores:
        found.append("Not evaluated: no score is known.")
    if record.experiment.start.name != "noise":
        found.append("Kept chains are samples; whether they repeat rows of the data was not examined.")
    return found

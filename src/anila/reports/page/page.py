"""The page: what is known of runs, put into one HTML file that loads nothing."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from anila.messages import as_typed, counted
from anila.reports.page import scoring
from anila.reports.page.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from anila.reports.page.curves import training_charts
from anila.reports.page.pictures import Picture, read, through_training
from anila.reports.page.record import Record
from anila.reports.page.seen import Seen, seen_of
from anila.runs.folder import checkpoint
from anila.runs.folder.whole import write_atomically
from anila.runs.training.resume import flat

LIMIT = 8_000_000
"""Bytes of a page."""
MOMENTS = (12, 8, 5, 3, 2, 1)
"""Pictures of training that are shown: as many as the limit allows."""
NAMED = 3
"""Runs that are named in the title."""
LEFT_BEHIND = {
    "long_chains": "f along long chains, and samples from them beside the data",
    "ladder": "the same chains after more and more transitions",
    "course": "metrics of training over iterations, with their correlations",
    "coupling": "upper bound from coupled chains on the distance from exp f",
}
"""Pictures of `anila diagnose`, its evidence."""


class Verdict(NamedTuple):
    """Plain words, sorted: what it is, why, what to do, what else was seen."""

    name: str
    because: list[str]
    remedies: list[str]
    notes: list[str]

    @classmethod
    def of(cls, lines: Sequence[str]) -> "Verdict":
        """What these lines say, of which reasons stand two letters in."""
        head, *rest = lines
        name, _, why = head.partition(":")
        reasons = [why.strip()] * bool(why) + [text.strip() for text in rest if text[:2] == "  "]
        remedies = [text.removeprefix("do this: ") for text in rest if text.startswith("do this: ")]
        notes = [text for text in rest if text[:2] != "  " and not text.startswith("do this: ")]
        return cls(name.removesuffix(", because"), reasons, remedies, notes)


@dataclass(frozen=True)
class View:
    """A run as the template takes it."""

    name: str
    record: Record
    seen: Seen

    @property
    def summary(self) -> str:
        """What was trained, in a line."""
        config = self.record.config
        stages = " then ".join(dict.fromkeys(stage.objective.name for stage in config.flat))
        counts = counted(self.seen.parameters, "parameter")
        size = f" with {counts}" if self.seen.parameters and not self.seen.fit else ""
        rows = f", {counted(self.seen.rows, 'row')}" if self.seen.rows else ""
        data = Path(config.data.name).name
        what = f"{config.network.name}{size} on {data}{rows}"
        return f"{what}; in closed form" if self.seen.fit else f"{what}; {stages}, sampled by {config.sampler.name}"

    @cached_property
    def verdict(self) -> Verdict:
        """What the run is."""
        return Verdict.of(self.lines)

    @property
    def verdict_on_chains(self) -> Verdict | None:
        """What `anila diagnose` says of its long chains."""
        lines = scoring.dict_of(self.record.diagnosis.get("chains")).get("lines")
        return Verdict.of([str(line) for line in lines]) if lines else None

    @property
    def mixing(self) -> Verdict:
        """What the chains of this page are."""
        return Verdict.of(self.seen.chains)

    @property
    def lines(self) -> list[str]:
        """That of the fit where there is one; else that of the run."""
        return self.record.lines if self.record.failure else self.seen.fit or self.record.lines

    @property
    def judge(self) -> str:
        """What the verdict rests on."""
        found = self.record.diagnosis
        if self.seen.fit:
            return "From the fit itself, on rows that it leaves out."
        if self.record.failure:
            return "From the divergence guard, which had no returns left."
        if self.more:
            return "From the series of training."
        return f"From anila diagnose: {found.get('transitions'):,} transitions at iteration {found.get('iteration')}."

    @property
    def more(self) -> str | None:
        """The command that would say more."""
        done = self.seen.fit or self.record.failure or self.record.diagnosis.get("lines")
        return None if done else as_typed("anila", "diagnose", self.record.run.path)

    @property
    def scoring(self) -> tuple[str, str]:
        """The commands that would score it, and write this page again."""
        path = self.record.run.path
        return as_typed("anila", "evaluate", path), as_typed("anila", "report", path)

    @property
    def symbols(self) -> str:
        """What the letters in the verdict stand for, by the titles of their curves."""
        told = " ".join(self.lines)
        letters = {metric.symbol.strip("|"): metric.title for metric in self.record.metrics if metric.symbol}
        known = [f"{letter} is the {' '.join(title.split())}" for letter, title in letters.items() if letter in told]
        return f"{sentence(', '.join(known))}." if known else ""

    @property
    def evidence(self) -> list[Picture]:
        """What `anila diagnose` drew."""
        if not self.record.diagnosis.get("lines"):
            return []
        found = [read(self.record.run.samples / f"{name}.png", alt, alt) for name, alt in LEFT_BEHIND.items()]
        return [picture for picture in found if picture]

    @property
    def nearest(self) -> Picture | None:
        """Samples above the training images nearest to them."""
        alt = "samples, each above the training image nearest to it"
        return read(self.record.run.samples / "nearest.png", "nearest training images", alt)

    @property
    def hashes(self) -> list[tuple[str, str]]:
        """Of the data and of the weights that are shown, and with what they were made."""
        saved = self.record.saved
        found = [("data, sha256", str(scoring.dict_of(saved.get("data")).get("fingerprint")))]
        if weights := self.weights:
            found.append((f"weights of iteration {self.seen.iteration:,}, sha256", weights))
        return [*found, *((name, str(value)) for name, value in scoring.dict_of(saved.get("versions")).items())]

    @property
    def weights(self) -> str | None:
        """sha256 of the checkpoint's file of weights."""
        if self.seen.iteration is None:
            return None
        manifest = self.record.run.checkpoints / f"{self.seen.iteration:09d}"
        return checkpoint.verify(manifest)["sha256"].get("model.safetensors") if manifest.is_dir() else None

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Group -> setting -> value; those of a stage are groups of their own."""
        groups = asdict(self.record.config)
        stages = groups.pop("stages")
        for number, stage in enumerate(stages, 1):
            own = {key: stage[key] for key in ("iterations", "share")}
            changes = {f"{group}.{key}": value for group, of in stage["changes"].items() for key, value in of.items()}
            groups[f"stage {number}"] = own | changes
        return groups


def write_page(paths: Sequence[Path], out: Path) -> None:
    """Write the page of these runs.

    Args:
        paths: Their folders.
        out: The file.

    Raises:
        RunError: If a folder holds no run that can be read.
        ValueError: If the runs do not fit into a page.
        OSError: If the file cannot be written.
    """
    write_atomically(out, page_of([Record.of(path) for path in paths]))


def page_of(records: Sequence[Record]) -> str:
    """The page, with as many pictures of training as there is room for.

    Raises:
        ValueError: If there is none for a single one.
    """
    views = [View(name, record, seen_of(record.run)) for name, record in zip(names(records), records, strict=True)]
    for moments in MOMENTS:
        text = rendered(views, moments)
        if len(text.encode()) <= LIMIT:
            return text
    raise ValueError(
        f"{len(records)} runs do not fit into a page of {LIMIT / 1e6:g} MB: report fewer of them at a time"
    )


def names(records: Sequence[Record]) -> list[str]:
    """What runs are called: by their folders, and by the paths of those where two are called the same."""
    short = [record.name for record in records]
    return short if len(set(short)) == len(short) else [str(record.run.path) for record in records]


def rendered(views: Sequence[View], moments: int) -> str:
    """The page with so many pictures of training of each run."""
    records = [view.record for view in views]
    return environment().get_template("page.html").render(
        views=views,
        title=" · ".join(view.name for view in views) if len(views) <= NAMED else f"{len(views)} runs",
        score_rows=scoring.rows(records),
        figures=scoring.figures,
        protocol=scoring.protocol,
        charts=training_charts(records, [view.name for view in views]),
        albums=[through_training(record.run, moments) for record in records],
        differing=differing(views),
        style=source("style.css"),
        script=source("page.js"),
        box={"width": WIDTH, "height": HEIGHT, "left": LEFT, "top": TOP, "right": RIGHT, "bottom": BOTTOM},
    )  # fmt: skip


def differing(views: Sequence[View]) -> list[tuple[str, list[Any]]]:
    """Settings in which runs differ, with the value of each."""
    settings = [flat(view.record.config) for view in views]
    keys = dict.fromkeys(key for found in settings for key in found)
    rows = [(key, [found.get(key, "–") for found in settings]) for key in keys]
    return [(key, values) for key, values in rows if any(value != values[0] for value in values)]


@cache
def environment() -> Environment:
    """Templates, compiled once: everything is escaped, and nothing that is not there is passed over."""
    found = Environment(
        loader=PackageLoader("anila.reports.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["sentence"] = sentence
    return found


def sentence(text: str) -> str:
    """A line that begins as a sentence does, unless with a symbol, and has the minus that the page's numbers have.

    >>> sentence("short-run, because"), sentence("d_t = -0.1"), sentence("f falls to -inf")
    ('Short-run, because', 'd_t = −0.1', 'f falls to −inf')
    """
    text = re.sub(r"(?<=[\s(])-(?=\d|inf)", "−", text)
    is_word = re.match(r"(a|[a-z][a-z-]+)\b(?!_)", text)
    return text[0].upper() + text[1:] if is_word else text


def source(name: str) -> str:
    """A file that comes with the templates."""
    return (files("anila.reports.page") / "templates" / name).read_text(encoding="utf-8")

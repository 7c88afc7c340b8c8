"""The scores of runs side by side: what each is called, what it would be at its best, and how it was made."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from anila.evaluation.training.metric import KL
from anila.messages import counted
from anila.reports.page.chart import number
from anila.reports.page.record import Record

WORDS: dict[str, tuple[str, str]] = {
    "kl": ("KL(data ‖ model), nats", "0"),
    "w2": ("2-Wasserstein distance from data", ""),
    "frechet": ("Fréchet distance from data", ""),
    "kid": ("kernel distance from data", "0"),
    "coarse": ("Fréchet distance, 8 × 8 pixels", ""),
    "log_likelihood": ("log-likelihood of data, nats per row", ""),
    "bits_per_dim": ("bits per dimension", ""),
    "energy_gap": ("energy gap f(data) − f(samples), nats", "0"),
    "mode_mass": ("share of samples at each mode", ""),
    "precision": ("precision: samples among data", "1"),
    "recall": ("recall: data among samples", "1"),
    "density": ("density of samples among data", "1"),
    "coverage": ("coverage of data by samples", "1"),
    "rhat": ("R̂ of the chains drawn", "at most 1.01"),
    "ess_bulk": ("effective samples, bulk", "at least 400"),
    "ess_tail": ("effective samples, tails", "at least 400"),
    "marginals": ("largest difference of a column", "0"),
    "correlations": ("largest difference of a correlation", "0"),
    "told_apart": ("share of rows told apart", "0.5"),
    "nearer": ("nearer to training than rows kept out", "0.5"),
    "nearest_distance": ("distance from the nearest training image", ""),
    "log_z": ("log Z, nats", ""),
    "log_z_annealed": ("log Z by annealing, nats", ""),
}
"""Score -> what it is, and its best value. In this order, before any others."""
WITH = ("_data", "_error", "_low", "_high", "_p")
"""Scores of these endings are shown beside the one that they belong to."""
HEADLINES, SHOWN = ("kl", "frechet", "w2", "bits_per_dim", "kid", "energy_gap", "rhat", "coverage", "recall"), 4


class Row(NamedTuple):
    """A score of all runs."""

    label: str
    best: str
    cells: list[str]


class Figure(NamedTuple):
    """A number worth large letters."""

    label: str
    value: str
    beside: str


def rows(records: Sequence[Record]) -> list[Row]:
    """The table of scores, a column a run."""
    keys = dict.fromkeys(key for record in records for key in record.scores if key != "protocol")
    found = [key for key in WORDS if key in keys] + [key for key in keys if key not in WORDS and not is_beside(key)]
    return [
        Row(label(key, records), best(key, records), [cell(key, record.scores) for record in records]) for key in found
    ]


def is_beside(key: str) -> bool:
    """Whether it is shown beside another score."""
    return any(key.endswith(ending) and key.removesuffix(ending) in WORDS for ending in WITH)


def label(key: str, records: Sequence[Record]) -> str:
    """What a score is called: with its features where the protocol names them."""
    named = [dict_of(dict_of(record.scores.get("protocol")).get("names")).get(key) for record in records]
    return next((name for name in named if isinstance(name, str)), WORDS.get(key, (key, ""))[0])


def best(key: str, records: Sequence[Record]) -> str:
    """What a perfect model has: that of other data, where it was measured."""
    other = [shown(record.scores[f"{key}_data"]) for record in records if f"{key}_data" in record.scores]
    return f"{other[0]}, from other data" if other else WORDS.get(key, ("", ""))[1]


def cell(key: str, scores: dict[str, Any]) -> str:
    """A score with its error, p or interval."""
    if key not in scores:
        return "–"
    text = shown(scores[key])
    if f"{key}_error" in scores:
        return f"{text} ± {shown(scores[f'{key}_error'], 2)}"
    if f"{key}_p" in scores:
        return f"{text} (p = {shown(scores[f'{key}_p'])})"
    if f"{key}_low" in scores and f"{key}_high" in scores:
        return f"{text} ({shown(scores[f'{key}_low'])} to {shown(scores[f'{key}_high'])})"
    return text


def shown(value: Any, digits: int = 3) -> str:
    """A number, or several."""
    if isinstance(value, list):
        return "  ".join(shown(part, 2) for part in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return number(float(f"{value:.{digits}g}"))


def figures(record: Record) -> list[Figure]:
    """The numbers at the top: scores if there are some, else what training measured last."""
    found = [key for key in HEADLINES if key in record.scores][:SHOWN]
    if found:
        return [Figure(label(key, [record]), cell(key, record.scores), beside(key, record)) for key in found]
    last = {name: (value, line["iteration"]) for line in record.stats for name, value in line.items()}
    watched = sorted(record.metrics, key=lambda metric: metric != KL)
    known = [(m.title, *last[m.name]) for m in watched if isinstance(last.get(m.name, ("",))[0], int | float)]
    return [Figure(title, shown(value), f"iteration {at:,}") for title, value, at in known[:SHOWN]]


def beside(key: str, record: Record) -> str:
    """What the best value is, in a few words."""
    value = best(key, [record])
    return f"best: {value}" if value else ""


def protocol(record: Record) -> list[tuple[str, str]]:
    """How the scores were made."""
    how = dict_of(record.scores.get("protocol"))
    names = {"samples": "samples", "rows_of_data": "rows of data", "seed": "seed", "iteration": "iteration",
             "date": "date", "anila": "anila", "torch": "torch"}  # fmt: skip
    found = [(words, shown(how[key], 12)) for key, words in names.items() if key in how]
    sampling, features, reference = (dict_of(how.get(key)) for key in ("sampling", "features", "reference"))
    if sampling:
        steps = sampling.get("transitions")
        parts = [
            f"from {sampling.get('from')}",
            f"{counted(steps, 'transition')}" if isinstance(steps, int) else "",
            str(sampling.get("parameters", "")),
        ]
        found.append(("drawn", ", ".join(part for part in parts if part)))
    if features:
        found.append(("features", f"{features.get('name')}, sha256 {str(features.get('weights_sha256'))[:16]}…"))
    if reference:
        found.append(("reference", f"{reference.get('rows')} of {reference.get('of')} {reference.get('source')}"))
    return found


def dict_of(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

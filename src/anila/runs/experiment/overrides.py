"""From words to settings: `key=value` overrides, TOML files, and every mistake named at once.

An override is `group.field=value`; `group=value` sets the group's name (`sampler=mala` is `sampler.name=mala`). Lists
are written `[128, 128]`, nothing is written `none`.
"""

import difflib
import json
import tomllib
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from anila.messages import did_you_mean
from anila.runs.experiment.settings import METROPOLIS, TEMPERED, WITH_THRESHOLD, Experiment

GROUPS: dict[str, Any] = {f.name: f.default.__class__ for f in fields(Experiment)}
SCHEMA = TypeAdapter(Experiment)
WHERE = "command line"
Changes = dict[str, dict[str, Any]]
"""Group -> field -> value."""


class SettingsError(ValueError):
    """Every problem found in a configuration, a line each."""


def resolve(base: Experiment, overrides: list[str], exact: Changes | None = None) -> Experiment:
    """The experiment with `key=value` overrides applied.

    Args:
        base: Settings to start from.
        overrides: e.g. ["sampler=mala", "training.iterations=500"].
        exact: What changes with it when an unadjusted sampler gives way to a Metropolis one.

    Raises:
        SettingsError: Naming every unknown key (with the nearest known one), wrong type, value out of range and
            combination that is wrong.
    """
    changes: Changes = {}
    problems: list[str] = []
    for text in overrides:
        key, equals, value = text.partition("=")
        group, _, field = key.strip().partition(".")
        if not equals:
            problems.append(f"{WHERE}: expected key=value, got {text!r}")
        else:
            changes.setdefault(group, {})[field or "name"] = parse(value.strip())
    return validate(apply(asdict(base), changes, exact or {}), problems, {}, WHERE)


def from_toml(path: Path, presets: dict[str, Experiment]) -> Experiment:
    """The experiment a TOML file describes: an optional `preset = "name"` and a table a group.

    Raises:
        FileNotFoundError: If there is no such file.
        SettingsError: As for `resolve`, with file and line.
    """
    text = path.read_text(encoding="utf-8")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from None
    name = content.pop("preset", None)
    if name is not None and name not in presets:
        raise SettingsError(f"{path}: unknown preset {name!r}{nearest(str(name), list(presets))}")
    base = presets[name] if name else Experiment()
    changes = {k: v if isinstance(v, dict) else {"name": v} for k, v in content.items()}
    return validate(apply(asdict(base), changes, {}), [], lines_of(text), str(path))


def parse(value: str) -> Any:
    """The value an override spells: JSON lists, `none`, or the text itself (typed by the schema)."""
    if value.lower() in ("none", "null"):
        return None
    if value.startswith("["):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value.strip("[]").split(",")
    return value


def apply(settings: dict[str, Any], changes: Changes, exact: Changes) -> dict[str, Any]:
    """Settings with the changes laid over them, unknown keys and all; a change of sampler brings what goes with it."""
    name, was = changes.get("sampler", {}).get("name"), settings["sampler"]["name"]
    if name in METROPOLIS and was not in METROPOLIS:
        settings = lay_over(settings, exact)
    if name is not None:
        settings = lay_over(settings, {"sampler": without_foreign(str(name))})
    return lay_over(settings, changes)


def without_foreign(name: str) -> dict[str, Any]:
    """The settings switched off that a sampler of this name does not have."""
    off: dict[str, Any] = {} if name in METROPOLIS else {"global_every": 0, "accept": None}
    off |= {} if name in WITH_THRESHOLD else {"clipped": None}
    return off | ({} if name in TEMPERED else {"final_temperature": None})


def lay_over(settings: dict[str, Any], changes: Changes) -> dict[str, Any]:
    return settings | {group: {**settings.get(group, {}), **values} for group, values in changes.items()}


def validate(settings: dict[str, Any], problems: list[str], lines: dict[str, int], where: str) -> Experiment:
    """The typed experiment, or every problem at once."""
    try:
        experiment = SCHEMA.validate_python(settings)
    except ValidationError as error:
        problems += [problem(e, lines, where) for e in error.errors()]
    else:
        if not problems:
            return experiment
    raise SettingsError("\n".join(problems))


def problem(error: Any, lines: dict[str, int], where: str) -> str:
    """One line for one mistake: where, which key, what was expected and what was got."""
    location = [str(part) for part in error["loc"]]
    key = ".".join(location)
    at = f"{where}:{lines[key]}" if key in lines else where
    if error["type"] == "unexpected_keyword_argument":
        return f"{at}: unknown setting {key!r}{nearest_setting(location)}"
    if error["type"] == "value_error":
        return f"{at}: {error['ctx']['error']}"
    return f"{at}: {key}: {error['msg'][0].lower()}{error['msg'][1:]}; got {error['input']!r}"


def nearest_setting(location: list[str]) -> str:
    """The hint for an unknown group, or an unknown field of a group."""
    if len(location) == 2:
        return nearest(".".join(location), [f"{location[0]}.{f.name}" for f in fields(GROUPS[location[0]])])
    full = {f.name: f"{group}.{f.name}" for group, kind in GROUPS.items() for f in fields(kind) if f.name != "name"}
    close = difflib.get_close_matches(location[0], [*GROUPS, *full], n=2)
    return nearest(location[0], list(GROUPS)) if not close else did_you_mean(close[0], [full.get(c, c) for c in close])


def nearest(name: str, known: list[str]) -> str:
    """The hint that ends an unknown-name message: the closest known ones, or all."""
    return did_you_mean(name, known) or f"; known: {', '.join(known)}"


def lines_of(text: str) -> dict[str, int]:
    """The line each `group.field` of a TOML text stands on."""
    found: dict[str, int] = {}
    group = ""
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line.startswith("["):
            group = line.strip("[] ")
            found[group] = number
        elif "=" in line and not line.startswith("#"):
            key = line.partition("=")[0].strip()
            found[f"{group}.{key}" if group else key] = number
    return found

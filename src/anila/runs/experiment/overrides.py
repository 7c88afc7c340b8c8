"""From words to settings: `key=value` overrides, TOML files, and every mistake named at once.

An override is `group.field=value`; `group=value` sets the group's name (`sampler=mala` is `sampler.name=mala`). Lists
are written `[128, 128]`, nothing is written `none`.
"""

import difflib
import json
import tomllib
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from anila.messages import did_you_mean
from anila.runs.experiment.choice import Choice
from anila.runs.experiment.settings import Anchor, Experiment, Network, Objective, Sampler

GROUPS: dict[str, Any] = {f.name: f.default.__class__ for f in fields(Experiment)}
CHOICES: dict[str, type[Choice]] = {choice.GROUP: choice for choice in (Network, Objective, Anchor, Sampler)}
"""Groups whose fields depend on what is named."""
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
            field = field or "name"
            changes.setdefault(group, {})[field] = value.strip() if field == "name" else parse(value.strip())
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
    """Settings with the changes laid over them, unknown keys and all; another choice brings what goes with it."""
    for group, choice in CHOICES.items():
        name = changes.get(group, {}).get("name")
        if name is not None and is_known(choice, str(name)):
            settings = switched(settings, choice, str(name), exact)
    return without_truism(lay_over(settings, changes))


def is_known(choice: type[Choice], name: str) -> bool:
    """Whether there is something of this name; if not, that is said when the settings are checked."""
    with suppress(ValueError):
        return bool(choice.kind(name))
    return False


def switched(settings: dict[str, Any], choice: type[Choice], name: str, exact: Changes) -> dict[str, Any]:
    """Settings for what is named now: those that it has too stay, the others go, and a sampler that becomes exact
    brings what goes with it. A temperature stays until it is refused: it would be another law.

    Raises:
        SettingsError: If the name stands for something that is no sampler.
    """
    has = {f.name for f in fields(choice.kind(name))} - {"name", "code"}  # pyright: ignore[reportArgumentType]
    if choice is Sampler:
        try:
            exact_now = Sampler.typical(name).exact
        except ValueError as error:
            raise SettingsError(str(error)) from None
        becomes_exact = exact_now and not Sampler.typical(settings["sampler"]["name"]).exact
        settings = lay_over(settings, exact if becomes_exact else {})
        settings = lay_over(settings, {"sampler": Sampler.switched_off(name)})
        has |= {"temperature"} if exact_now else set()
    return settings | {choice.GROUP: {key: value for key, value in settings[choice.GROUP].items() if key in has}}


def without_truism(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings without the temperature of an exact sampler where it is 1: it has no other."""
    sampler = settings.get("sampler", {})
    name = str(sampler.get("name"))
    if str(sampler.get("temperature")) not in ("1", "1.0") or not is_known(Sampler, name):
        return settings
    if "temperature" in Sampler.kind(name).own or not Sampler.typical(name).exact:
        return settings
    return settings | {"sampler": {key: value for key, value in sampler.items() if key != "temperature"}}


def lay_over(settings: dict[str, Any], changes: Changes) -> dict[str, Any]:
    return settings | {group: {**settings.get(group, {}), **values} for group, values in changes.items()}


def validate(settings: dict[str, Any], problems: list[str], lines: dict[str, int], where: str) -> Experiment:
    """The typed experiment, or every problem at once."""
    try:
        experiment = SCHEMA.validate_python(settings)
    except ValidationError as error:
        problems += [problem(e, settings, lines, where) for e in error.errors()]
    else:
        if not problems:
            return experiment
    raise SettingsError("\n".join(problems))


def problem(error: Any, settings: dict[str, Any], lines: dict[str, int], where: str) -> str:
    """One line for one mistake: where, which key, what was expected and what was got."""
    location = [str(part) for part in error["loc"]]
    key = ".".join(location)
    at = f"{where}:{lines[key]}" if key in lines else where
    name = str(settings.get(location[0], {}).get("name")) if location and location[0] in CHOICES else ""
    if error["type"] == "unexpected_keyword_argument":
        if name and (refusal := CHOICES[location[0]].refusal(name, location[1], error["input"])):
            return f"{at}: {refusal}"
        return f"{at}: unknown setting {key!r}{nearest_setting(location, name)}"
    if error["type"] == "missing":
        return f"{at}: {name} needs a {location[-1]}: give {key}=…"
    if error["type"] == "value_error":
        return f"{at}: {error['ctx']['error']}"
    return f"{at}: {key}: {error['msg'][0].lower()}{error['msg'][1:]}; got {error['input']!r}"


def nearest_setting(location: list[str], name: str) -> str:
    """The hint for an unknown group, or an unknown field of a group, in which something of this name is chosen."""
    if len(location) == 2:
        return nearest(".".join(location), [f"{location[0]}.{field}" for field in fields_of(location[0], [name])])
    names = {group: list(choice.TABLE) for group, choice in CHOICES.items()}
    known = {group: fields_of(group, names.get(group, [])) for group in GROUPS}
    full = {field: f"{group}.{field}" for group, found in known.items() for field in found if field != "name"}
    close = difflib.get_close_matches(location[0], [*GROUPS, *full], n=2)
    return nearest(location[0], list(GROUPS)) if not close else did_you_mean(close[0], [full.get(c, c) for c in close])


def fields_of(group: str, names: list[str]) -> list[str]:
    """The settings of a group, where something of these names is chosen."""
    kinds = [CHOICES[group].kind(name) for name in names] if group in CHOICES else [GROUPS[group]]
    return list(dict.fromkeys(f.name for kind in kinds for f in fields(kind)))


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

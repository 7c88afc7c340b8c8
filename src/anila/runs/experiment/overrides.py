"""From text to settings: `key=value` overrides and TOML files, with all mistakes reported at once.

An override is `group.field=value`; `group=value` sets the group's name (`sampler=mala` is `sampler.name=mala`). Lists
are written `[128, 128]`, and None is written `none`. `stages.2.group.field=value` is for the second stage alone, and
`stages=none` leaves all stages out.
"""

import tomllib
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from anila.runs.catalogue import WHERE, nearest, nearest_setting
from anila.runs.experiment.changes import CHOICES, Changes, SettingsError, apply, carried, is_known
from anila.runs.experiment.experiment import Experiment, schema, stage_settings
from anila.runs.plain import parse, worded

GROUPS: dict[str, Any] = {f.name: f.default.__class__ for f in fields(Experiment) if f.name != "stages"}
OF_STAGE = ("iterations", "share")
"""Settings of a stage that belong to no group."""


def resolve(base: Experiment, overrides: list[str], exact: Changes | None = None) -> Experiment:
    """The experiment with `key=value` overrides applied.

    Args:
        base: Settings to start from.
        overrides: e.g. ["sampler=mala", "training.iterations=500", "stages.2.sampler.steps=20"].
        exact: What else changes when an unadjusted sampler is replaced by a Metropolis one.

    Raises:
        SettingsError: Naming every unknown key (with the nearest known one), wrong type, value out of range, wrong
            combination, and override without effect because every stage has its own value.
    """
    settings, changes, problems = asdict(base), dict[str, dict[str, Any]](), list[str]()
    for text in overrides:
        key, equals, value = text.partition("=")
        group, _, field = key.strip().partition(".")
        try:
            if not equals:
                raise ValueError(f"expected key=value, got {text!r}")
            if group == "stages":
                settings["stages"] = staged(settings["stages"], field, value.strip())
            else:
                field = field or "name"
                changes.setdefault(group, {})[field] = value.strip() if field == "name" else parse(value.strip())
        except ValueError as error:
            problems.append(f"{WHERE}: {error}")
    counted = [text for text in overrides if text.partition("=")[0].strip().endswith("iterations")]
    if counted and changes.get("training", {}).get("minutes") is not None:
        problems.append(
            f"{WHERE}: training.minutes plans the iterations: leave out one of training.minutes and {counted[0]}"
        )
    problems += [f"{WHERE}: {text}" for text in without_effect(settings, changes)]
    if counted:
        changes.setdefault("training", {})["minutes"] = None
    return validate(apply(settings, changes, exact or {}), problems, {}, WHERE)


def staged(stages: Any, key: str, text: str) -> list[dict[str, Any]]:
    """The stages with one setting changed: NUMBER.GROUP.FIELD, or no key to remove all stages.

    Raises:
        ValueError: If there can be no stage of this number.
    """
    if not key:
        if parse(text) is None:
            return []
        raise ValueError(f"expected stages=none or stages.NUMBER.GROUP.FIELD=…, got stages={text}")
    number, _, rest = key.partition(".")
    k = int(number) if number.isdecimal() else 0
    if not 0 < k <= len(stages) + 1 or not rest:
        among = f"1 to {len(stages)}" if stages else "1"
        raise ValueError(f"expected stages.NUMBER.GROUP.FIELD=…, stages being numbered {among}; got stages.{key}")
    found = [dict(stage) for stage in stages] + [{"changes": {}}] * (k > len(stages))
    if rest in OF_STAGE:
        found[k - 1][rest] = parse(text)
        return found
    group, _, field = rest.partition(".")
    if group == "stages":
        raise ValueError(f"a stage has no stages of its own; got stages.{key}")
    value = text if field in ("", "name") else parse(text)
    options = found[k - 1]["changes"].get(group, {})
    if group in CHOICES and field in ("", "name") and is_known(CHOICES[group], str(value)):
        options = carried(CHOICES[group], str(value), options)
    found[k - 1]["changes"] = found[k - 1]["changes"] | {group: options | {field or "name": value}}
    return found


def without_effect(settings: dict[str, Any], changes: Changes) -> list[str]:
    """Changes for all stages that every stage hides, and what to type instead."""
    hidden = [
        "iterations" if (group, field) == ("training", "iterations") else f"{group}.{field}".removesuffix(".name")
        for group, values in changes.items()
        for field in values
        if settings["stages"] and all(hides(stage, group, field, settings) for stage in settings["stages"])
    ]
    return [
        f"each stage has its own {key}: set stages.1.{key}=…, or leave the stages out with stages=none"
        for key in hidden
    ]


def hides(stage: dict[str, Any], group: str, field: str, settings: dict[str, Any]) -> bool:
    """Whether a stage has its own value of a field, or another choice that does not inherit it."""
    changes = stage["changes"].get(group, {})
    if (group, field) == ("training", "iterations"):
        return stage.get("iterations") is not None
    if field in changes or "name" not in changes or group not in CHOICES:
        return field in changes
    names = (settings[group]["name"], changes["name"])
    return not all(is_known(CHOICES[group], name) and carried(CHOICES[group], name, {field: 0}) for name in names)


def from_toml(path: Path, presets: dict[str, Experiment]) -> Experiment:
    """The experiment that a TOML file describes: an optional `preset = "name"` and one table per group.

    Raises:
        FileNotFoundError: If there is no such file.
        SettingsError: As for `resolve`, with file and line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from None
    name = content.pop("preset", None)
    if name is not None and not isinstance(name, str):
        raise SettingsError(f'{path}: preset: expected one name, e.g. preset = "rings"; got {name!r}')
    if name is not None and name not in presets:
        raise SettingsError(f"{path}: unknown preset {name!r}{nearest(name, list(presets))}")
    settings = asdict(presets[name] if name else Experiment())
    if "stages" in content:
        settings["stages"] = tables_of_stages(content.pop("stages"), path)
    changes = changes_of(content)
    problems = [f"{path}: {text}" for text in without_effect(settings, changes)]
    return validate(apply(settings, changes, {}), problems, lines_of(text), str(path))


def tables_of_stages(tables: Any, path: Path) -> list[dict[str, Any]]:
    """The stages that the [[stages]] tables of a TOML file describe.

    Raises:
        SettingsError: If they are not such tables.
    """
    if tables == "none":
        return []
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise SettingsError(f'{path}: expected a [[stages]] table for each stage, or stages = "none"')
    if any("stages" in table for table in tables):
        raise SettingsError(f"{path}: a stage has no stages of its own; give each a [[stages]] table")
    own = [{key: table[key] for key in OF_STAGE if key in table} for table in tables]
    rest = [{key: value for key, value in table.items() if key not in OF_STAGE} for table in tables]
    return [found | {"changes": changes_of(groups)} for found, groups in zip(own, rest, strict=True)]


def changes_of(content: dict[str, Any]) -> Changes:
    """The changes of groups in TOML; a word in place of a table is the group's name."""
    return {k: v if isinstance(v, dict) else {"name": v} for k, v in content.items()}


def validate(settings: dict[str, Any], problems: list[str], lines: dict[str, int], where: str) -> Experiment:
    """The typed experiment, or every problem at once."""
    problems += mistakes_in_stages(settings, lines, where) if settings.get("stages") else []
    try:
        experiment = schema().validate_python(settings) if not problems or not settings.get("stages") else None
    except ValidationError as error:
        problems += [problem(e, settings, lines, where) for e in error.errors()]
    else:
        if experiment and not problems:
            return experiment
    raise SettingsError("\n".join(problems))


def mistakes_in_stages(settings: dict[str, Any], lines: dict[str, int], where: str) -> list[str]:
    """Mistakes in the experiments of the stages; one that all of them share is reported once."""
    found: dict[str, list[int]] = {}
    stages = range(1, len(settings["stages"]) + 1)
    for number in stages:
        flat = stage_settings(settings, number)
        own = {key.removeprefix(f"stages.{number}."): line for key, line in lines.items()}
        try:
            schema().validate_python(flat)
        except ValidationError as error:
            for e in error.errors():
                found.setdefault(problem(e, flat, own, where), []).append(number)
    return [
        text if len(numbers) == len(stages) else text.replace(": ", f": stage {number}: ", 1)
        for text, numbers in found.items()
        for number in numbers[: 1 if len(numbers) == len(stages) else None]
    ]


def problem(error: Any, settings: dict[str, Any], lines: dict[str, int], where: str) -> str:
    """One line for one mistake: where, which key, what was expected and what was given."""
    location = [str(part + 1 if isinstance(part, int) and i == 1 else part) for i, part in enumerate(error["loc"])]
    key = ".".join(location)
    at = f"{where}:{lines[key]}" if key in lines else where
    name = str(settings.get(location[0], {}).get("name")) if location and location[0] in CHOICES else ""
    if error["type"] == "unexpected_keyword_argument":
        if name and (refusal := CHOICES[location[0]].refusal(name, location[1], error["input"])):
            return f"{at}: {refusal}"
        names = {group: list(choice.TABLE) for group, choice in CHOICES.items()}
        known = {group: fields_of(group, names.get(group, [])) for group in GROUPS}
        own = fields_of(location[0], [name]) if len(location) == 2 else ()
        return f"{at}: unknown setting {key!r}{nearest_setting(location, known, own)}"
    if error["type"] == "missing":
        return f"{at}: {name} needs a {location[-1]}: give {key}=…"
    if error["type"] == "value_error":
        return f"{at}: {error['ctx']['error']}"
    return f"{at}: {worded(key, error)}"


def fields_of(group: str, names: list[str]) -> list[str]:
    """The settings of a group if one of these names is chosen."""
    kinds = [CHOICES[group].kind(name) for name in names] if group in CHOICES else [GROUPS[group]]
    return list(dict.fromkeys(f.name for kind in kinds for f in fields(kind)))


def lines_of(text: str) -> dict[str, int]:
    """The line number of each `group.field` in a TOML text."""
    found: dict[str, int] = {}
    group, stages = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line.startswith("["):
            stages += line.startswith("[[stages")
            group = line.strip("[] ")
            group = f"stages.{stages}{group.removeprefix('stages')}" if group.startswith("stages") else group
            found[group] = number
        elif "=" in line and not line.startswith("#"):
            key = line.partition("=")[0].strip()
            found[f"{group}.{key}" if group else key] = number
    return found

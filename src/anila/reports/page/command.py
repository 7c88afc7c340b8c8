"""The command that repeats a run: its preset, and every setting that is not the preset's."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from anila.messages import as_typed, warnings_to
from anila.runs.experiment import Experiment
from anila.runs.experiment.choose import choose

Settings = dict[str, Any]


def command_of(config: Experiment, preset: str | None, folder: Path) -> str | None:
    """What to type for the same run again, checked to give the same settings; None where no words do.

    Iterations that were planned by the clock are named, as another clock would plan others.

    Args:
        config: All settings.
        preset: What the run was called when it was made.
        folder: Where it goes.
    """
    config = config.changed(training={"minutes": None})
    with warnings_to(lambda _: None):  # what is to be said of the data was said in training
        for what in dict.fromkeys(name for name in (preset, config.data.name, "rings") if name):
            for words in attempts(what, config):
                if gives(what, words, config):
                    return as_typed("anila", "train", what, *words, "--run", folder)
    return None


def attempts(what: str, config: Experiment) -> Iterator[list[str]]:
    """Overrides that may make of PRESET|PATH these settings, the shortest first."""
    try:
        base = asdict(choose(what, [])[1])
    except (ValueError, OSError):
        return
    wanted = asdict(config)
    words = [word for group in wanted if group != "stages" for word in group_words(group, base[group], wanted[group])]
    if len(base["stages"]) == len(wanted["stages"]):
        pairs = zip(base["stages"], wanted["stages"], strict=True)
        yield words + [word for k, pair in enumerate(pairs, 1) for word in stage_words(k, *pair)]
    yield ["stages=none", *words] + [
        word for k, stage in enumerate(wanted["stages"], 1) for word in stage_words(k, {"changes": {}}, stage)
    ]


def gives(what: str, words: list[str], config: Experiment) -> bool:
    """Whether the command makes just these settings."""
    try:
        return written(choose(what, words)[1]) == written(config)
    except (ValueError, OSError):
        return False


def written(config: Experiment) -> str:
    """Settings as config.json has them, in which a tuple is a list."""
    return json.dumps(asdict(config), sort_keys=True)


def group_words(group: str, base: Settings, wanted: Settings) -> list[str]:
    """`group.field=value` of what differs; the name first, as it decides which other settings there are."""
    changed = {key: value for key, value in wanted.items() if key not in base or spelled(base[key]) != spelled(value)}
    ordered = sorted(changed.items(), key=lambda item: item[0] != "name")
    return [f"{group}.{field}".removesuffix(".name") + f"={spelled(value)}" for field, value in ordered]


def stage_words(number: int, base: Settings, wanted: Settings) -> list[str]:
    """What differs in a stage."""
    own = [key for key in ("iterations", "share") if wanted[key] is not None and base.get(key) != wanted[key]]
    found = [f"stages.{number}.{key}={spelled(wanted[key])}" for key in own]
    for group, values in wanted["changes"].items():
        found += [f"stages.{number}.{word}" for word in group_words(group, base["changes"].get(group, {}), values)]
    return found


def spelled(value: Any) -> str:
    """A value as an override spells it."""
    if isinstance(value, list | tuple):
        return json.dumps(value)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

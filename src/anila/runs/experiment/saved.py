"""Saved settings, of this version or an earlier one, in the terms of this version."""

from pathlib import Path
from typing import Any

from anila.runs.experiment.choice import Choice
from anila.runs.experiment.settings import Network, Sampler

FORMER_TABLES = (".npy", ".npz", ".csv", ".parquet")
"""Formats of tables that version 0.1.0 read."""


def current(experiment: Any) -> Any:
    """The experiment in config.json or an export, without options of other choices that version 0.1.0 saved."""
    if not isinstance(experiment, dict):
        return experiment
    found = {
        choice.GROUP: without_former(choice, experiment[choice.GROUP])
        for choice in (Network, Sampler)
        if isinstance(experiment.get(choice.GROUP), dict)
    }
    if "data" in experiment:
        found["data"] = with_former_columns(experiment["data"])
    return experiment | found


def with_former_columns(data: Any) -> Any:
    """Settings of data, with a coordinate for every column of a table if they were saved before that was a choice."""
    is_table = isinstance(data, dict) and Path(str(data.get("name"))).suffix.lower() in FORMER_TABLES
    return {"dependent": True} | data if is_table else data


def without_former(choice: type[Choice], settings: dict[str, Any]) -> dict[str, Any]:
    """A group without the options that its name does not have."""
    name = str(settings.get("name"))
    if name not in choice.TABLE:
        return settings  # a name that version 0.1.0 did not have
    own = choice.kind(name).own
    return {key: value for key, value in settings.items() if key in own or key not in choice.FORMER}

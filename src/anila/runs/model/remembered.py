"""What a run stores about its data in config.json: names and units, so that it can be used without the rows."""

import hashlib
import json
from typing import Any

from pydantic import TypeAdapter, ValidationError

from anila.data import KNOWN, TOYS, DataSet, Elsewhere, Rows, Table, Units
from anila.data.foreign import local
from anila.messages import warnings_to
from anila.runs.experiment import build_data, settings
from anila.runs.folder.run import Run, RunError


def remembered(data: DataSet) -> dict[str, Any]:
    """The entries of config.json about the data."""
    units = data.units if isinstance(data, Table | Elsewhere) else Units.plain(data.event_shape)
    return {
        "fingerprint": data.fingerprint,
        "name": data.name,
        "rows": len(data) if isinstance(data, Rows) else None,
        "event_shape": data.event_shape,
        "classes": getattr(data, "classes", ()),
        "units": TypeAdapter(Units).dump_python(units, mode="json"),
    }


def digests(data: DataSet) -> dict[str, str]:
    """sha256 of what a model's points mean, so that a checkpoint is not used with other units or classes."""
    known = remembered(data)
    meant = ("fingerprint", "event_shape", "classes", "units")
    return {name: hashlib.sha256(json.dumps(known[name]).encode()).hexdigest() for name in meant}


def recalled(run: Run, config: settings.Data) -> tuple[DataSet, list[str]]:
    """The data of a run, or what it stored about them if they are gone or have changed since training.

    Returns:
        The data, and notices about them.

    Raises:
        RunError: If they have changed and the run, of an earlier version, stored nothing about them.
        FileNotFoundError, ValueError: If they cannot be read and nothing about them was stored.
    """
    saved = (run.config() or {}).get("data", {})
    try:
        with warnings_to(lambda _: None):  # warnings about the data were given in training
            data = build_data(config)
    except (OSError, ValueError) as error:
        if "units" not in saved:
            raise
        gone = config.name not in (*TOYS, *KNOWN) and not local(config.name).exists()
        why = f"no file or folder {local(config.name)}" if gone else error
        return elsewhere(run, saved, f"the data cannot be read: {why}"), []
    if data.fingerprint == saved.get("fingerprint", data.fingerprint):
        return data, []
    changed = f"{config.name} is not what the run was trained on: it has changed since"
    if "units" not in saved:
        raise RunError(f"{changed}, and its former units are not known; put back the file as it was")
    return elsewhere(run, saved, changed), [f"{changed}. Units and columns are those from training"]


def elsewhere(run: Run, saved: dict[str, Any], why: str) -> Elsewhere:
    """The data without their rows.

    Raises:
        RunError: If config.json does not match them.
    """
    try:
        return TypeAdapter(Elsewhere).validate_python({**saved, "why": why})
    except ValidationError as error:
        where = (run.path / "config.json").absolute()
        raise RunError(f"{where} does not say what the data are: {error.errors()[0]['msg']}; put back a copy") from None

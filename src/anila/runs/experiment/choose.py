"""What a user means by PRESET|PATH: a preset, a TOML file, or data with a suitable preset."""

from dataclasses import replace
from pathlib import Path

from anila.data.foreign import expanded
from anila.data.table_files import SUFFIXES, suffix_of
from anila.data.toys import TOYS
from anila.runs.catalogue import require_known
from anila.runs.experiment.build import build_data, choose_device
from anila.runs.experiment.changes import by_seeing
from anila.runs.experiment.experiment import Experiment
from anila.runs.experiment.overrides import from_toml, resolve
from anila.runs.experiment.presets import PRESETS, Preset
from anila.runs.experiment.settings import Data, Network

UNLEARNED = {f"training.{name}" for name in ("seed", "threads", "device", "log_to", "timeout")}
"""Settings of training that do not affect how something is learned."""


def choose(what: str, overrides: list[str]) -> tuple[str, Experiment]:
    """A short name for the run, and the settings with the overrides applied.

    Args:
        what: Name of a preset or toy, path of a TOML file, of a table, or of a folder or archive of images.
        overrides: key=value texts.

    Raises:
        SettingsError: If the name is unknown, or a setting is refused.
        FileNotFoundError: If it looks like a path that does not exist.
    """
    require_known(what)
    path = expanded(what)
    if what in PRESETS:
        return what, resolved(PRESETS[what], overrides)
    if path.suffix == ".toml":
        return path.stem, resolve(from_toml(path, {k: p.experiment for k, p in PRESETS.items()}), overrides)
    if what in TOYS:
        return what, resolve(replace(PRESETS["rings"].experiment, data=Data(name=what)), overrides)
    preset = for_path(path, overrides)
    return path.name[: len(path.name) - len(suffix_of(path))], resolved(preset, overrides)


def resolved(preset: Preset, overrides: list[str]) -> Experiment:
    """A preset with the overrides applied, on top of its settings for a GPU if it learns on one."""
    found = resolve(preset.experiment, overrides, preset.exact)
    if not preset.on_gpu or choose_device(found.training.device).type == "cpu":
        return found
    return resolve(resolve(preset.experiment, list(preset.on_gpu)), overrides, preset.exact)


def for_path(path: Path, overrides: list[str]) -> Preset:
    """The preset for a user's own data: `flowers` without flips for images; for tables `kernel`, or `table` if the
    overrides ask for a network that learns.
    """
    is_array, data = suffix_of(path) in SUFFIXES, Data(name=str(path))
    asked = resolve(Experiment(data=data), [text for text in overrides if text.startswith("data.")])
    if is_array and len(build_data(asked.data).event_shape) == 1:
        name = "table" if asks_to_learn(overrides) else "kernel"
    else:
        name, data = "flowers", Data(name=str(path), size=None if is_array else 32)
    experiment = PRESETS[name].experiment
    return PRESETS[name]._replace(experiment=replace(experiment, data=replace(data, held_out=experiment.data.held_out)))


def asks_to_learn(overrides: list[str]) -> bool:
    """Whether overrides ask for a network that learns, or set how it learns."""
    keys = [text.partition("=")[0].strip() for text in overrides]
    named = [text.partition("=")[2].strip() for text in overrides if text.startswith(("network=", "network.name="))]
    if named:
        return not by_seeing(named[-1])
    own = {f"network.{option}" for option in Network.kind("kernel").own} | UNLEARNED
    return any(key not in own and not key.startswith("data.") for key in keys)

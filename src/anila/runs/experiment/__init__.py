"""All that a run is a function of: checked settings, presets, and how settings become things."""

from anila.runs.experiment.build import build_data, build_learner, build_network, choose_device
from anila.runs.experiment.build_sampler import build_sampler
from anila.runs.experiment.changes import SettingsError
from anila.runs.experiment.experiment import Experiment, Stage
from anila.runs.experiment.overrides import from_toml, resolve
from anila.runs.experiment.presets import PRESETS, Preset

__all__ = [
    "PRESETS", "Experiment", "Preset", "SettingsError", "Stage", "build_data", "build_learner", "build_network",
    "build_sampler", "choose_device", "from_toml", "resolve",
]  # fmt: skip

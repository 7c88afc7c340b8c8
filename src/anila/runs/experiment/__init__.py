"""All that a run is a function of: checked settings, presets, and how settings become things."""

from anila.runs.experiment.build import build_data, build_learner, build_network, build_sampler, choose_device
from anila.runs.experiment.overrides import SettingsError, from_toml, resolve
from anila.runs.experiment.presets import PRESETS, Preset
from anila.runs.experiment.settings import Experiment

__all__ = [
    "PRESETS", "Experiment", "Preset", "SettingsError", "build_data", "build_learner", "build_network", "build_sampler",
    "choose_device", "from_toml", "resolve",
]  # fmt: skip

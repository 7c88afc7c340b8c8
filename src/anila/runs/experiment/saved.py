"""Settings that were written down, by this version or an earlier one, as this one knows them."""

from typing import Any

from anila.runs.experiment.choice import Choice
from anila.runs.experiment.settings import Network, Sampler


def current(experiment: Any) -> Any:
    """What config.json or an export says of an experiment, without what version 0.1.0 wrote of other choices."""
    if not isinstance(experiment, dict):
        return experiment
    return experiment | {
        choice.GROUP: without_former(choice, experiment[choice.GROUP])
        for choice in (Network, Sampler)
        if isinstance(experiment.get(choice.GROUP), dict)
    }


def without_former(choice: type[Choice], settings: dict[str, Any]) -> dict[str, Any]:
    """A group without the options that what is named there does not have."""
    name = str(settings.get("name"))
    if name not in choice.TABLE:
        return settings  # a name that version 0.1.0 did not have
    own = choice.kind(name).own
    return {key: value for key, value in settings.items() if key in own or key not in choice.FORMER}

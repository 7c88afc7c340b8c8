"""Settings with changes laid over them: another choice keeps what it has too, and brings what goes with it."""

from contextlib import suppress
from dataclasses import fields
from typing import Any

from anila.runs.catalogue import SettingsError
from anila.runs.experiment.choice import Choice
from anila.runs.experiment.settings import Anchor, Network, Objective, Sampler

CHOICES: dict[str, type[Choice]] = {choice.GROUP: choice for choice in (Network, Objective, Anchor, Sampler)}
"""Groups whose fields depend on what is named."""
Changes = dict[str, dict[str, Any]]
"""Group -> field -> value."""
BY_SEEING: Changes = {"training": {"iterations": 1, "minutes": None, "ema": 0.0, "penalty": 0.0}}
"""What changes with it when a network that learns gives way to one that is found when it sees the data."""


def apply(settings: dict[str, Any], changes: Changes, exact: Changes) -> dict[str, Any]:
    """Settings with the changes laid over them, unknown keys and all; another choice brings what goes with it.

    Args:
        settings: Group -> field -> value.
        changes: The same, of what changes.
        exact: What changes with it when an unadjusted sampler gives way to a Metropolis one.
    """
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
    brings what goes with it.

    Raises:
        SettingsError: If the name stands for something that is no sampler.
    """
    if choice is Sampler:
        try:
            exact_now = Sampler.typical(name).exact
        except ValueError as error:
            raise SettingsError(str(error)) from None
        becomes_exact = exact_now and not Sampler.typical(settings["sampler"]["name"]).exact
        settings = lay_over(settings, exact if becomes_exact else {})
        settings = lay_over(settings, {"sampler": Sampler.switched_off(name)})
    if choice is Network and by_seeing(name) and not by_seeing(settings["network"]["name"]):
        none = {"name": "none"}
        return lay_over(settings | {"network": {}, "objective": none, "anchor": none, "stages": ()}, BY_SEEING)
    return settings | {choice.GROUP: carried(choice, name, settings[choice.GROUP])}


def by_seeing(name: str) -> bool:
    """Whether a network of this name is found when it sees the data."""
    return bool(getattr(Network.kind(name).make, "by_seeing", False))


def carried(choice: type[Choice], name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Those settings of a group that what is named now has too. A temperature stays until it is refused: it would be
    another law.
    """
    has = {f.name for f in fields(choice.kind(name))} - {"name", "code"}  # pyright: ignore[reportArgumentType]
    if choice is Sampler and Sampler.typical(name).exact:
        has |= {"temperature"}
    return {key: value for key, value in settings.items() if key in has}


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
    """Settings with every change made."""
    return settings | {group: {**settings.get(group, {}), **values} for group, values in changes.items()}

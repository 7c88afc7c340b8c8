"""Apply changes to settings: a new choice keeps the options that it shares with the old, and brings its defaults."""

from contextlib import suppress
from dataclasses import fields
from typing import Any

from anila.runs.catalogue import SettingsError
from anila.runs.experiment.choice import Choice
from anila.runs.experiment.settings import Anchor, Network, Objective, Sampler

CHOICES: dict[str, type[Choice]] = {choice.GROUP: choice for choice in (Network, Objective, Anchor, Sampler)}
"""Groups whose fields depend on the name chosen."""
Changes = dict[str, dict[str, Any]]
"""Group -> field -> value."""
BY_SEEING: Changes = {"training": {"iterations": 1, "minutes": None, "ema": 0.0, "penalty": 0.0}}
"""What else changes when a network that learns is replaced by one that seeing the data determines."""


def apply(settings: dict[str, Any], changes: Changes, exact: Changes) -> dict[str, Any]:
    """Settings with the changes applied, including unknown keys; a new choice brings what goes with it.

    Args:
        settings: Group -> field -> value.
        changes: The changes, in the same form.
        exact: What else changes when an unadjusted sampler is replaced by a Metropolis one.
    """
    for group, choice in CHOICES.items():
        name = changes.get(group, {}).get("name")
        if name is not None and is_known(choice, str(name)):
            settings = switched(settings, choice, str(name), exact)
    return without_truism(lay_over(settings, changes))


def is_known(choice: type[Choice], name: str) -> bool:
    """Whether this name exists; if not, the check of the settings reports it."""
    with suppress(ValueError):
        return bool(choice.kind(name))
    return False


def switched(settings: dict[str, Any], choice: type[Choice], name: str, exact: Changes) -> dict[str, Any]:
    """Settings for the new name: fields that it shares stay, the others are dropped, and a sampler that becomes exact
    brings what goes with it.

    Raises:
        SettingsError: If the name stands for something that is not a sampler.
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
    """Whether seeing the data determines a network of this name."""
    return bool(getattr(Network.kind(name).make, "by_seeing", False))


def carried(choice: type[Choice], name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a group that the new name has too. A temperature stays, to be refused: dropping it would change
    the law.
    """
    has = {f.name for f in fields(choice.kind(name))} - {"name", "code"}  # pyright: ignore[reportArgumentType]
    if choice is Sampler and Sampler.typical(name).exact:
        has |= {"temperature"}
    return {key: value for key, value in settings.items() if key in has}


def without_truism(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings without a temperature of 1 for an exact sampler, as it has no other."""
    sampler = settings.get("sampler", {})
    name = str(sampler.get("name"))
    if str(sampler.get("temperature")) not in ("1", "1.0") or not is_known(Sampler, name):
        return settings
    if "temperature" in Sampler.kind(name).own or not Sampler.typical(name).exact:
        return settings
    return settings | {"sampler": {key: value for key, value in sampler.items() if key != "temperature"}}


def lay_over(settings: dict[str, Any], changes: Changes) -> dict[str, Any]:
    """Settings with all changes applied."""
    return settings | {group: {**settings.get(group, {}), **values} for group, values in changes.items()}

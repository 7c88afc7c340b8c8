"""Names that can be trained, with their descriptions, and settings: read without torch, which imports slowly."""

import difflib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from anila.messages import did_you_mean, meant

NOT_RUN = "not yet run to the end here"


class SettingsError(ValueError):
    """All problems found in a configuration, one per line."""


class Story(NamedTuple):
    """The description of a preset."""

    summary: str
    result: str
    """The result it is known to reach, with the machine; or why that is unknown."""


KNOWN_TO: dict[str, Story] = {
    "rings": Story(
        "four rings in the plane; exact chains with global moves", "KL 0.0066 nats (worst of 10 seeds 0.0078), 42 s"
    ),
    "mixture": Story(
        "eight Gaussians on a circle; exact chains with global moves", "KL 0.0034 nats (worst of 10 seeds 0.0040), 30 s"
    ),
    "kernel": Story("rows of a table, in a second: anila train FILE.csv", "outliers: docs/tables.md"),
    "table": Story("the same by a net, in 20 seconds: anila train FILE.csv network=mlp", "no benchmark yet"),
    "mnist": Story("digits, padded to 32 × 32", "20 min on a core: 93% read as one, fd 0.09"),
    "fashion-mnist": Story("clothes, padded to 32 × 32", NOT_RUN),
    "flowers": Story("Oxford flowers at 32 × 32", "20 min on a core: blossoms, fd 0.7"),
    "cifar10": Story("CIFAR-10", "20 min on a core: scenes, fd 1.4"),
    "mnist-chains": Story("digits by chains alone", "digits; 2,000 steady iterations at width 8"),
    "flowers-chains": Story("flowers by chains alone", "flower shapes; 2,000 steady iterations at width 8"),
    "cifar10-chains": Story("CIFAR-10 by chains alone", "colour structure; 2,000 steady iterations at width 8"),
    "rings-stanley": Story(
        "STANLEY's rings as printed; start and noise not stated there: U(−1, 1) and ε = 0.125, as in the anatomy study",
        "KL 0.76 ± 0.02 nats, no rings; 73 s compiled",
    ),
    "rings-anatomy": Story("anatomy's rings, convergent regime", NOT_RUN),
    "rings-anatomy-shortrun": Story("anatomy's rings, short-run regime", NOT_RUN),
    "mixture-anatomy": Story("anatomy's mixture, convergent regime", NOT_RUN),
    "flowers-stanley": Story(
        "STANLEY's flowers; start not stated: U(−1, 1)", "published FID 48.1; reach 0.0025, see docs"
    ),
    "flowers-anatomy": Story("anatomy's flowers, convergent regime; course of the learning rate not stated", NOT_RUN),
    "cifar10-stanley": Story(
        "STANLEY's CIFAR-10; start not stated: U(−1, 1)", "published FID 42.5; reach 0.01, see docs"
    ),
    "cifar10-anatomy": Story("anatomy's CIFAR-10, short-run; chains not stated: 100", NOT_RUN),
}
TOYS = ("moons", "checkerboard", "spirals", "pinwheel", "circles", "swissroll", "rings", "mixture")
"""The rows of `anila.data.TOYS`."""
DENSITIES = ("gaussian", "mixture", "rings", "banana", "funnel", "double-well")
"""The rows of `anila.density.targets.DENSITIES`."""
PLANE = ("gaussian", "double-well", "rings", "funnel", "banana", "mixture", "sine")
"""The rows of `anila.reports.playground.plane.PLANE`."""
SETTINGS: dict[str, tuple[str, ...]] = {
    "data": (
        "name", "size", "channels", "split", "flip", "on_error", "columns", "label", "missing", "dependent", "held_out",
    ),
    "network": (
        "name", "spectral", "whitened", "classes", "confine", "temperature", "hidden", "fourier", "width", "widths",
    ),
    "objective": ("name", "sd"),
    "anchor": ("name", "sd"),
    "sampler": (
        "name", "steps", "step_size", "clipped", "final_temperature", "accept", "global_every", "global_sd",
        "draw_steps", "levels", "level_steps", "guidance", "temperature", "threshold", "refresh", "leapfrog_steps",
    ),
    "start": ("name", "kind", "scale", "size", "fresh", "shift", "storage"),
    "optimizer": ("name", "learning_rate", "momentum", "decay", "final_rate", "warmup"),
    "training": (
        "iterations", "minutes", "batch", "chains", "seed", "data_noise", "final_data_noise", "max_grad_norm",
        "penalty", "classify", "precision", "compile", "rollbacks", "ema", "log_every", "log_to", "checkpoint_every",
        "picture_every", "threads", "device", "micro_batch", "shard", "timeout",
    ),
}  # fmt: skip
"""The fields of each group of settings. Groups in which something with its own options is chosen are incomplete."""
CHOSEN = ("network", "objective", "anchor", "sampler")
WHERE = "command line"


def require_known(what: str) -> None:
    """Refuse an unknown PRESET|PATH.

    Raises:
        SettingsError: Naming similar names.
        FileNotFoundError: If it looks like a path that does not exist.
    """
    if not what:
        raise SettingsError("the preset or path is empty; see anila presets")
    path = Path(what)
    with suppress(RuntimeError):  # a file's name may begin with ~
        path = path.expanduser()
    if what in KNOWN_TO or what in TOYS or path.exists():
        return
    if path.suffix or len(path.parts) > 1 or what.endswith("/"):
        raise FileNotFoundError(f"no file or folder {path.absolute()}")
    near = did_you_mean(what, [*KNOWN_TO, *TOYS]) or f"; known: {', '.join(dict.fromkeys([*KNOWN_TO, *TOYS]))}"
    raise SettingsError(f"unknown preset {what!r}{near}; a path or a .toml file will do too")


def require_density(what: str, known: Iterable[str], kind: str) -> None:
    """Refuse an unknown word that is not a path, a file, a folder or a name with a colon.

    Raises:
        ValueError: Naming similar names.
    """
    if what not in known and not set(what) & set("/\\:~.") and not Path(what).exists():
        raise ValueError(unknown_density(what, known, kind))


def unknown_density(what: str, known: Iterable[str], kind: str) -> str:
    """The refusal of a word that does not name a density."""
    return f"no {kind} {what!r}{did_you_mean(what, known)}; known: {', '.join(known)}; your own is FILE.py:NAME"


def require_keys(overrides: Iterable[str]) -> None:
    """Refuse key=value texts if all of them are wrong whatever is trained. If one may be right, all mistakes are
    reported when values are read.

    Raises:
        SettingsError: Naming each, with the nearest known setting.
    """
    mistakes = [mistake_in(text) for text in overrides]
    if mistakes and all(mistakes):
        raise SettingsError("\n".join(f"{WHERE}: {mistake}" for mistake in mistakes))


def mistake_in(text: str) -> str | None:
    """What is wrong with a key=value text by itself; None if that depends on other choices."""
    key, equals, value = text.partition("=")
    if not equals:
        return f"expected key=value, got {text!r}"
    group, _, field = key.strip().partition(".")
    if group == "stages" or group in CHOSEN:
        return None
    if (field or "name") in SETTINGS.get(group, ()):
        from anila.runs.plain import wrong_value

        return wrong_value(group, field or "name", value.strip())
    location = [group, field or "name"] if group in SETTINGS else [group]
    return f"unknown setting {'.'.join(location)!r}{nearest_setting(location, SETTINGS, SETTINGS.get(group, ()))}"


def nearest_setting(location: list[str], known: Mapping[str, Iterable[str]], own: Iterable[str]) -> str:
    """The hint for an unknown group, or an unknown field of a group.

    Args:
        location: Group, or group and field.
        known: The fields of each group, for any choice in it.
        own: The fields that the group has now.
    """
    if len(location) == 2:
        elsewhere = [f"{group}.{field}" for group, found in known.items() for field in found if field == location[1]]
        return nearest(".".join(location), elsewhere or [f"{location[0]}.{field}" for field in own])
    full: dict[str, list[str]] = {group: [group] for group in known}
    for group, found in known.items():
        for field in found:
            if field != "name":
                full.setdefault(field, []).append(f"{group}.{field}")
    close = difflib.get_close_matches(location[0], full, n=1)
    return meant(full[close[0]]) if close else nearest(location[0], list(known))


def nearest(name: str, known: list[str]) -> str:
    """The hint at the end of a message about an unknown name: the closest known names, or all."""
    return did_you_mean(name, known) or f"; known: {', '.join(known)}"

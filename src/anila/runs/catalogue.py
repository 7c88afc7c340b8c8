"""What can be trained by name, in words: read without torch, which takes seconds to import."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from anila.messages import did_you_mean

NOT_RUN = "not yet run to its end here"


class SettingsError(ValueError):
    """Every problem found in a configuration, a line each."""


class Story(NamedTuple):
    """What is told of a preset."""

    summary: str
    result: str
    """What it is known to reach, with the machine; or why that is not known."""


KNOWN_TO: dict[str, Story] = {
    "rings": Story(
        "four rings in the plane; exact chains with global moves", "KL 0.0066 nats (worst of 10 seeds 0.0078), 42 s"
    ),
    "mixture": Story(
        "eight Gaussians on a circle; exact chains with global moves", "KL 0.0034 nats (worst of 10 seeds 0.0040), 30 s"
    ),
    "kernel": Story("rows of a table, in a second: anila train FILE.csv", "outliers: docs/tables.md"),
    "table": Story("the same by a net, in a minute: anila train FILE.csv network=mlp", "no benchmark yet"),
    "mnist": Story("digits, padded to 32 × 32", "20 min on a core: 86% read as one, fd 0.11"),
    "fashion-mnist": Story("clothes, padded to 32 × 32", NOT_RUN),
    "flowers": Story("Oxford flowers at 32 × 32", "20 min on a core: blossoms, fd 1.5"),
    "cifar10": Story("CIFAR-10", "20 min on a core: scenes, fd 2.4"),
    "mnist-chains": Story("digits by chains alone", "digits; 2,000 steady iterations at width 8"),
    "flowers-chains": Story("flowers by chains alone", "flower shapes; 2,000 steady iterations at width 8"),
    "cifar10-chains": Story("CIFAR-10 by chains alone", "colour structure; 2,000 steady iterations at width 8"),
    "rings-stanley": Story(
        "STANLEY's rings as printed; start and noise not stated there: U(−1, 1) and ε = 0.125, as in the anatomy study",
        NOT_RUN,
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


def require_known(what: str) -> None:
    """Refuse PRESET|PATH where nothing is known by that name.

    Raises:
        SettingsError: Naming what is near.
        FileNotFoundError: If it looks like a path and there is nothing.
    """
    path = Path(what)
    with suppress(RuntimeError):  # a file's name may begin with ~
        path = path.expanduser()
    if what in KNOWN_TO or what in TOYS or path.exists():
        return
    if path.suffix or len(path.parts) > 1 or what.endswith("/"):
        raise FileNotFoundError(f"no file or folder {path.absolute()}")
    near = did_you_mean(what, [*KNOWN_TO, *TOYS]) or f"; known: {', '.join(dict.fromkeys([*KNOWN_TO, *TOYS]))}"
    raise SettingsError(f"unknown preset {what!r}{near}; a path or a .toml file will do too")

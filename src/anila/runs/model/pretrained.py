"""Models that come with the package: folders made by `anila export`, in src/anila/pretrained.

`scripts/pretrained.py` makes them; each one's card says how, and how good it is.
"""

from pathlib import Path

from anila.messages import did_you_mean

PREFIX = "pretrained:"
FOLDER = Path(__file__).parents[2] / "pretrained"


def names() -> list[str]:
    """Names of the pretrained models."""
    return sorted(path.parent.name for path in FOLDER.glob("*/anila.json"))


def folder(source: str) -> Path:
    """The folder of a model.

    Args:
        source: "pretrained:NAME".

    Raises:
        ValueError: If there is no model of that name.
    """
    name, known = source.removeprefix(PREFIX), names()
    if name not in known:
        there = ", ".join(PREFIX + other for other in known)
        near = did_you_mean(name, known) or "."
        raise ValueError(f"no pretrained model {name!r}{near} There are {there}")
    return FOLDER / name

"""What a page of images is made for: the net itself where the page can run it, else films of its chains."""

from typing import Any

from anila.reports.playground.films import films_of
from anila.reports.playground.net import fits, net_of
from anila.runs.model.model import Model

SAMPLERS = ("langevin", "anisotropic")
"""Kernels that the page has for images."""
SHARED = ("level_steps", "guidance")
"""Settings of a run that the page takes as they are."""


def of_images(model: Model) -> dict[str, Any]:
    """The shape of images, classes, and the net or films."""
    channels, side, _ = model.data.event_shape
    about = {"side": side, "channels": channels, "classes": list(model.classes)}
    if not fits(model.f):
        return about | {"films": films_of(model)}
    return about | {"net": net_of(model.f), "state": state_of(model)}


def state_of(model: Model) -> dict[str, Any]:
    """The settings of the run's sampler, where the page has it."""
    s = model.sampler
    state: dict[str, Any] = {"levels": s.levels, "steps": s.draw_steps or s.steps} | {k: getattr(s, k) for k in SHARED}
    if s.name not in SAMPLERS:
        return state
    return (
        state
        | {"sampler": s.name, "step_size": s.step_size}
        | {key: s.options[key] for key in ("threshold", "temperature") if key in s.options}
    )

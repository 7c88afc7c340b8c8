"""Objectives: rules that say where f goes up and where down. A new one is a file here and a row."""

from collections.abc import Callable

from anila.learning.objectives.base import Contrast, Objective
from anila.learning.objectives.classes import classes, of_classes
from anila.learning.objectives.denoising import denoising
from anila.learning.objectives.likelihood import likelihood
from anila.learning.objectives.nothing import nothing
from anila.learning.objectives.recovery import recovery
from anila.learning.objectives.transport import transport

OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "likelihood": likelihood,
    "denoising": denoising,
    "transport": transport,
    "recovery": recovery,
}
"""Name -> constructor. The contract tests and the command line run over this table; `of_classes` makes each objective
learn classes too."""

__all__ = [
    "OBJECTIVES", "Contrast", "Objective", "classes", "denoising", "likelihood", "nothing", "of_classes", "recovery",
    "transport",
]  # fmt: skip

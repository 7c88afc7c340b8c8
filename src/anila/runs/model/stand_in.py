"""Stand-ins in an export for what is not exported: rows of data from which chains start, and a sampler that is the
user's own code, represented by its facts and how to call it.

An export includes no code. Its f can be used with any sampler; to draw as the run did, call the user's own sampler:

    anila.sample(kick(model, step_size=0.02, strength=0.3), x0, 100, generator)
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from anila.density.log_density import Anneals, LogDensity
from anila.density.ranges import NonNegative
from anila.learning.starts import FromModel, FromNoise, Persistent
from anila.runs.experiment import settings
from anila.runs.experiment.choice import with_options
from anila.runs.experiment.code import is_code
from anila.runs.experiment.settings import Sampler
from anila.runs.model.trained import Trained
from anila.samplers import Sampler as Kernel


def stand_in(f: LogDensity, step_size: float, call: str, exact: bool, law: NonNegative) -> Kernel:  # noqa: ARG001
    """A kernel that has the facts of the sampler it stands for, and does not move.

    Args:
        f: Log-density.
        step_size: γ.
        call: The call that makes the sampler.
        exact: Whether the sampler accepts or rejects.
        law: Its temperature.
    """

    def init(_: Tensor) -> Any:
        raise ValueError(
            f"this model's sampler is custom code, which its folder does not hold: load that file and call "
            f"anila.sample({call}, x0, steps, generator)"
        )

    return Kernel(init, lambda state, _: state, target_accept=0.57 if exact else None, temperature=law)


def portable(sampler: Sampler) -> Sampler:
    """The settings as an export holds them."""
    if not is_code(sampler.name):
        return sampler
    path, _, name = sampler.name.rpartition(":")
    told = "".join(f", {key}={value!r}" for key, value in sampler.options.items())
    return with_options(Sampler, f"{Path(path).name}:{name}", stand_in, sampler.code)(
        steps=sampler.steps,
        step_size=sampler.step_size,
        draw_steps=sampler.draw_steps,
        call=f"{name}(model, step_size={sampler.step_size!r}{told})",
        exact=sampler.kernel.exact,
        law=float(sampler.kernel.temperature),
    )


def ported(settings: dict[str, Any]) -> Any:
    """The sampler's settings in an export, without reading any file named there.

    Raises:
        ValidationError: If it is not a stand-in.
    """
    if not is_code(str(settings.get("name"))):
        return settings
    return with_options(Sampler, settings["name"], stand_in, str(settings.get("code")))(**settings)


def start_of(trained: Trained) -> settings.Start:
    """The start of chains without the rows of the data: kept chains, samples or noise."""
    start = trained.config.start
    if isinstance(trained.start, FromNoise):
        return replace(start, name="noise")
    if isinstance(trained.start, Persistent):
        return start
    return settings.Start(name="noise" if begins_from_noise(trained) else "persistent")


def begins_from_noise(trained: Trained) -> bool:
    """Whether new chains can begin without data points."""
    return isinstance(trained.start, FromNoise | FromModel) or isinstance(trained.f, Anneals)

"""From settings to a kernel bound to f, with global moves if asked for."""

from inspect import signature

from torch import Tensor, nn

from anila.data import DataSet
from anila.density.log_density import LogDensity
from anila.density.networks import Whitened
from anila.rng import derived
from anila.runs.experiment import settings
from anila.samplers import Proposal, Sampler, kernel_density, with_global_moves
from anila.samplers.global_moves import IDLE_ROUNDS

CENTRES = 200
"""Number of data points that are centres of the global proposal's kernel density."""


def build_sampler(
    config: settings.Sampler,
    f: LogDensity,
    proposal: Proposal | None = None,
    patience: int | None = IDLE_ROUNDS,
    **changed: float | Tensor,
) -> Sampler:
    """The kernel bound to f, with global moves from the proposal if the settings ask for them.

    Args:
        config: Settings.
        f: Log-density.
        proposal: Source of candidates for global moves.
        patience: Rounds without an acceptance after which they stop; None never stops, as several processes require.
        changed: Values that replace those of the settings, e.g. `step_size`.
    """
    kernel = config.make(f, **{"step_size": config.step_size} | known_shape(config, f) | config.options | changed)
    if proposal is None or not config.global_every:
        return kernel
    return with_global_moves(kernel, proposal, config.global_every, patience)


def known_shape(config: settings.Sampler, f: LogDensity) -> dict[str, Tensor]:
    """The preconditioner that f provides, for a kernel that takes one."""
    if not isinstance(f, nn.Module) or "preconditioner" not in signature(config.make).parameters:
        return {}
    known = next((part.preconditioner() for part in f.modules() if isinstance(part, Whitened)), None)
    return {} if known is None else {"preconditioner": known}


def build_proposal(config: settings.Sampler, data: DataSet, seed: int) -> Proposal | None:
    """A kernel density of data points, if the sampler makes global moves.

    Raises:
        ValueError: If the data are images, where no global move is ever accepted.
    """
    if not config.global_every:
        return None
    if len(data.event_shape) > 1:
        raise ValueError("global moves are for points in few dimensions; for images set sampler.global_every=0")
    return kernel_density(data.batch(CENTRES, derived(seed, "proposal"), 0), config.global_sd)

"""Posteriors of images under a run's model, and the pictures of them.

Where y is as long as x chains start from it; else, and where a part is hidden, from the kept chains whose view is
nearest to y, blended into what is seen. At the low temperature of the image recipes a chain keeps the mode that it
starts in.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anila import applications
from anila.applications import Draws
from anila.applications.on_runs.draws import draws_of, nearest_starts
from anila.applications.on_runs.kernel import require_stable, temperature
from anila.applications.poisson_blend import blended
from anila.evaluation import pictures
from anila.runs.model.model import Model


def inpainted(
    model: Model, y: Tensor, mask: Tensor, count: int, sd: float | None, steps: int | None, seed: int
) -> Draws:
    """`count` completions of each image of y, hidden where the mask is True."""
    f, t = model.f, temperature(model)
    y, mask = y.to(model.device), mask.expand(y.shape[1:]).to(model.device)
    if sd is not None:
        require_stable(model.sampler, sd, ", or leave it out to keep what is seen as it is")

    def starts(part: slice, generator: torch.Generator) -> Tensor:
        near = nearest_starts(model, lambda x: x[:, ~mask], y[part][:, ~mask], count, generator)
        return blended(near, y[part].repeat_interleave(count, 0), mask)

    return draws_of(
        model,
        lambda part: applications.inpaint(f, y[part], mask, sd, t),
        starts,
        len(y), count, steps, seed,
    )  # fmt: skip


def denoised(model: Model, y: Tensor, sd: Tensor, count: int, steps: int | None, seed: int) -> Draws:
    """`count` clean versions of each image of y, whose noise is sd, (n,)."""
    require_stable(model.sampler, sd.min().item(), "")
    f, t, y = model.f, temperature(model), y.to(model.device)
    return draws_of(
        model, lambda part: applications.denoise(f, y[part], sd[part], t), *from_itself(y, count), steps, seed
    )


def restored(
    model: Model,
    y: Tensor,
    degrade: Callable[[Tensor], Tensor],
    sd: float,
    count: int,
    steps: int | None,
    seed: int,
) -> Draws:
    """`count` images whose degraded view is y, (n, *seen)."""
    require_stable(model.sampler, sd, "")
    f, t, y = model.f, temperature(model), y.to(model.device)
    return draws_of(
        model,
        lambda part: applications.restore(f, y[part], degrade, sd, t),
        lambda part, generator: nearest_starts(model, degrade, y[part], count, generator),
        len(y), count, steps, seed,
    )  # fmt: skip


def purified(model: Model, y: Tensor, within: float, count: int, steps: int | None, seed: int) -> Draws:
    """`count` images within so much of each image of y, in every pixel."""
    f, t, y = model.f, temperature(model), y.to(model.device)
    return draws_of(model, lambda part: applications.purify(f, y[part], within, t), *from_itself(y, count), steps, seed)


def edited(model: Model, y: Tensor, sd: float, frames: int, steps: int | None, seed: int) -> Draws:
    """One walk from each image of y to a lower energy near it."""
    require_stable(model.sampler, sd, "")
    f, t, y = model.f, temperature(model), y.to(model.device)
    return draws_of(
        model, lambda part: applications.edit(f, y[part], sd, None, t), *from_itself(y, 1), steps, seed, frames
    )


def from_itself(y: Tensor, count: int) -> tuple[Callable[[slice, torch.Generator], Tensor], int, int]:
    """Chains that start at their observation; how many observations; how many chains each."""
    return lambda part, _: y[part].repeat_interleave(count, 0), len(y), count


def write(
    path: Path, draws: Draws, names: list[str], before: Mapping[str, Tensor], after: Mapping[str, Tensor]
) -> None:
    """A picture with a row for each draw, or the arrays.

    Args:
        path: .png or .npz.
        draws: What was drawn for n images.
        names: Theirs.
        before: Rows above the draws, (n, *event) each, e.g. what was seen.
        after: Rows below, e.g. the truth.
    """
    if path.suffix.lower() == ".npz":
        arrays = {"x": draws.x, "energy": draws.energy, "path": draws.path, **before, **after}
        named: dict[str, Any] = {name.replace(" ", "_"): array.numpy(force=True) for name, array in arrays.items()}
        np.savez_compressed(path, names=np.array(names), **named)
        return
    middle = {f"draw {j + 1}": draws.x[:, j] for j in range(draws.x.shape[1])}
    pictures.save(pictures.image_rows({**before, **middle, **after}), path)

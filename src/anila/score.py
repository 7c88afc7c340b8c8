"""What a trained model is worth, as numbers: exact by grid in the plane, sample statistics elsewhere."""

import math
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anila import pictures
from anila.core import rng
from anila.data import Rows
from anila.densities import DENSITIES
from anila.evaluate import (
    Base,
    Grid,
    bits_per_dim,
    dequantised,
    estimate_log_z,
    find_ladder,
    kl,
    log_likelihood,
    log_z,
    mode_mass,
    nearest,
    ring_mass,
    wasserstein2,
)
from anila.run import Run
from anila.samplers import sample
from anila.trained import Trained

RING_RADII = (1.0, 2.0, 3.0, 4.0)
W2_ROWS = 2000
ANNEALED, SETTLING, MOST_RUNGS = 200, 100, 2000
"""Chains that go up and down the ladder of laws, exact transitions before, and rungs at most."""
SHOWN_POINTS, SHOWN_IMAGES, SHOWN_PAIRS = 2000, 64, 16


def in_plane(event_shape: tuple[int, ...]) -> bool:
    """Whether points are in the plane, where everything is exact by grid."""
    return event_shape == (2,)


def plane_grid(x_data: Tensor) -> Grid:
    """Where plane densities are integrated: the data's box, doubled for what a model may spill over."""
    return Grid.around(x_data, margin=0.5)


def plane_frame(x_data: Tensor) -> Grid:
    """The frame of pictures."""
    return Grid.around(x_data, margin=0.1)


def exact_kl(trained: Trained, x_data: Tensor) -> float | None:
    """KL(data ‖ model) by grid, in nats; None where the data's density is not known."""
    if not in_plane(trained.data.event_shape) or trained.config.data.name not in DENSITIES:
        return None
    truth = DENSITIES[trained.config.data.name]()
    return kl(trained.f, truth.log_prob, plane_grid(x_data))


def scores(trained: Trained, x_data: Tensor, x_model: Tensor) -> dict[str, Any]:
    """All scores of the samples x_model beside the data x_data, both (n, *event), with how they were made.

    Returns:
        energy_gap: mean f(data) − mean f(samples), nats.
        kl, log_z: exact by grid, nats (plane).
        w2: exact 2-Wasserstein distance, in units of x; w2_data is that between two sets of data (plane, tables).
        mode_mass: fraction of samples nearest each mode or ring (where modes are known).
        nearest_distance: mean distance of a sample from its nearest training image.
    """
    with torch.no_grad():
        gap = (trained.f(x_data).mean() - trained.f(x_model).mean()).item()
    found: dict[str, Any] = {"energy_gap": gap}
    if len(trained.data.event_shape) == 1:
        n = min(W2_ROWS, len(x_model) // 2, len(x_data) // 2)
        found["w2"] = wasserstein2(x_model[:n], x_data[:n])
        found["w2_data"] = wasserstein2(x_data[n : 2 * n], x_data[:n])
    if in_plane(trained.data.event_shape):
        found["log_z"] = log_z(trained.f, plane_grid(x_data))
        exact = exact_kl(trained, x_data)
        found |= {"kl": exact} if exact is not None else {}
        found |= masses(trained.config.data.name, x_model)
    return found


def masses(name: str, x: Tensor) -> dict[str, list[float]]:
    """The fraction of points nearest each mode, where the data has known modes."""
    if name == "rings":
        return {"mode_mass": ring_mass(x, RING_RADII).tolist()}
    if name in DENSITIES and (centres := DENSITIES[name]().modes) is not None:
        return {"mode_mass": mode_mass(x, centres.to(x)).tolist()}
    return {}


def mixing(trained: Trained, seed: int) -> dict[str, float]:
    """R̂ and ESS, the worst over f and coordinates, of chains that run as the scored samples' chains did."""
    found = trained.convergence(seed)
    if found is None:
        return {}
    numbers = {"rhat": found.rhat, "ess_bulk": found.ess_bulk, "ess_tail": found.ess_tail}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def likelihood(trained: Trained, x_data: Tensor, x_model: Tensor, seed: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Mean log-likelihood of data by annealed importance sampling, each with its interval, and how it was found.

    The law is exp(f/T), T the temperature the chains have: what unadjusted samplers aim at. Its draws are the samples
    x_model after some exact transitions.

    Returns:
        log_z_annealed, log_likelihood: nats, a row, with _low and _high; bits_per_dim of images of 256 levels.
        The protocol.

    Raises:
        ValueError: If the sampler has no noise, hence no law.
    """
    heat = trained.sampler.temperature if trained.sampler.name != "descent" else 0.0
    if heat == 0:
        raise ValueError("a likelihood needs a law, and a sampler without noise has none: expected temperature > 0")
    x_data, x_model = x_data.to(trained.device), x_model.to(trained.device)[:ANNEALED]
    levels = isinstance(trained.data, Rows) and trained.data.half_range == 127.5
    if levels:
        x_data = dequantised(x_data, rng(seed, "levels"))

    def f(x: Tensor) -> Tensor:
        return trained.f(x) / heat

    ladder = find_ladder(f, Base.around(x_data), rng(seed, "ladder"), most_rungs=MOST_RUNGS)
    x_model, _ = sample(ladder.kernel(-1), x_model, SETTLING, rng(seed, "settling"))
    z = estimate_log_z(ladder, x_model, rng(seed, "annealing"))
    data = log_likelihood(f, z, x_data)
    found = {"log_z_annealed": z.value, "log_z_annealed_low": z.low, "log_z_annealed_high": z.high}
    found |= {"log_likelihood": data.value, "log_likelihood_low": data.low, "log_likelihood_high": data.high}
    if levels:
        bits = [bits_per_dim(nats, x_data[0].numel()) for nats in (data.value, data.high, data.low)]
        found |= dict(zip(("bits_per_dim", "bits_per_dim_low", "bits_per_dim_high"), bits, strict=True))
    return found, {
        "chains": len(x_model),
        "effective_chains": list(z.ess),
        "rungs": len(ladder.rungs) - 1,
        "transitions_a_rung": ladder.steps,
        "length": ladder.length,
        "kernel": "anisotropic_mala",
        "temperature": heat,
        "draws": f"the scored samples after {SETTLING} exact transitions",
        "data": "dequantised training rows" if levels else "the rows that samples are scored beside",
    }


def evaluate_run(
    trained: Trained, path: Path | str, count: int, seed: int, with_likelihood: bool = False
) -> dict[str, Any]:
    """Draw samples, score them, and write RUN/scores.json and the pictures that go with it.

    Args:
        trained: The run's model.
        path: The run folder.
        count: Samples to draw.
        seed: Seed of the draw.
        with_likelihood: Estimate log Z by annealed importance sampling, and with it the likelihood of data.
    """
    run = Run(path)
    x_model, x_data = trained.draw(count, seed), trained.reference_data(count)
    found = scores(trained, x_data, x_model)
    found |= mixing(trained, seed)
    if in_plane(trained.data.event_shape):
        panel = pictures.plane_panel(x_data[:SHOWN_POINTS], x_model[:SHOWN_POINTS], trained.f, plane_frame(x_data))
        pictures.save(panel, run.samples / "evaluation.png")
    elif len(trained.data.event_shape) == 3 and isinstance(trained.data, Rows):
        index, distance = nearest(x_model[:SHOWN_PAIRS], trained.data.chunks())
        found["nearest_distance"] = distance.mean().item()
        pictures.save(pictures.image_grid(x_model[:SHOWN_IMAGES]), run.samples / "evaluation.png")
        pairs = pictures.neighbours_grid(x_model[:SHOWN_PAIRS], trained.data.rows(index))
        pictures.save(pairs, run.samples / "nearest.png")
    found["protocol"] = {
        "samples": count,
        "seed": seed,
        "iteration": trained.learner.iteration,
        "sampler": asdict(trained.config.sampler),
        "data": trained.data.name,
        "data_fingerprint": trained.data.fingerprint,
        "rows_of_data": len(x_data),
        "anila": version("anila"),
        "torch": version("torch"),
        "date": datetime.now(UTC).date().isoformat(),
    }
    if with_likelihood:
        numbers, how = likelihood(trained, x_data, x_model, seed)
        found = {**numbers, **found}
        found["protocol"]["likelihood"] = how
    run.write_scores(found)
    return found

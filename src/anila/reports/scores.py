"""What a trained model is worth, as numbers: exact by grid in the plane, sample statistics elsewhere."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from anila.data import Rows, Table
from anila.density.log_density import Anneals, ClosedForm, LogDensity, values
from anila.density.targets import DENSITIES
from anila.evaluation import pictures
from anila.evaluation.chains.convergence import effective
from anila.evaluation.likelihood import (
    Base,
    bits_per_dim,
    dequantised,
    estimate_log_z,
    find_path,
    log_likelihood,
    log_z,
)
from anila.evaluation.likelihood.grid import in_plane, plane_frame, plane_grid
from anila.evaluation.samples import (
    Extractor,
    anila_features,
    coarse_distance,
    frechet_distance,
    kernel_distance,
    mode_mass,
    nearest,
    ring_mass,
    support,
    wasserstein2,
)
from anila.learning.starts import Persistent
from anila.messages import counted
from anila.reports.count import count_of
from anila.reports.drawn_rows import drawn_rows
from anila.rng import derived, rng
from anila.runs.folder.run import Run
from anila.runs.model.trained import Trained, exact_kl, test_split
from anila.samplers import sample
from anila.samplers.estimates import quantities

RING_RADII = (1.0, 2.0, 3.0, 4.0)
W2_ROWS = 2000
ANNEALED, SETTLING, MOST_RUNGS = 200, 100, 2000
"""Chains that go up and down the annealing path, exact transitions before, and rungs at most."""
FEWEST, SUBSET, NEIGHBOURS = 10, 1000, 5
"""Images that features say something of; rows of a kernel distance's subset; k of `support`."""
SHOWN_POINTS, SHOWN_IMAGES, SHOWN_PAIRS = 2000, 64, 16


def scores(trained: Trained, x_data: Tensor, x_model: Tensor) -> dict[str, Any]:
    """All scores of the samples x_model beside the data x_data, both (n, *event), with how they were made.

    Returns:
        energy_gap: mean f(data) − mean f(samples), nats.
        log_likelihood: mean log p of a row of data under all others, nats, of standardised columns (closed forms).
        kl, log_z: exact by grid, nats (plane).
        w2: exact 2-Wasserstein distance, in units of x; w2_data is that between two sets of data (plane, tables).
        mode_mass: fraction of samples nearest each mode or ring (where modes are known).
        nearest_distance: mean distance of a sample from its nearest training image.
    """
    gap = (values(trained.f, x_data).mean() - values(trained.f, x_model).mean()).item()
    found: dict[str, Any] = {"energy_gap": gap}
    if isinstance(trained.f, ClosedForm):
        found |= of_closed_form(trained.f, x_model)
    if len(trained.data.event_shape) == 1:
        n = min(W2_ROWS, len(x_model) // 2, len(x_data) // 2)
        found["w2"] = wasserstein2(x_model[:n], x_data[:n])
        found["w2_data"] = wasserstein2(x_data[n : 2 * n], x_data[:n])
    if in_plane(trained.data.event_shape):
        found.setdefault("log_z", log_z(trained.f, plane_grid(x_data.to(trained.device))))
        exact = exact_kl(trained, x_data)
        found |= {"kl": exact} if exact is not None else {}
        found |= masses(trained.config.data.name, x_model)
    return found


def of_closed_form(f: ClosedForm, x_model: Tensor) -> dict[str, float]:
    """Scores of an f that knows rows of the data: each of them is judged by the others."""
    log_p = f.leave_one_out().mean().item()
    gap = log_p + f.log_z - values(f, x_model).mean().item()
    return {"energy_gap": gap, "log_z": f.log_z, "log_likelihood": log_p}


def masses(name: str, x: Tensor) -> dict[str, list[float]]:
    """The fraction of points nearest each mode, where the data has known modes."""
    if name == "rings":
        return {"mode_mass": ring_mass(x, RING_RADII).tolist()}
    if name in DENSITIES and (centres := DENSITIES[name]().modes) is not None:
        return {"mode_mass": mode_mass(x, centres.to(x)).tolist()}
    return {}


class Reference(NamedTuple):
    """Images that samples are measured against."""

    x: Tensor
    """(n, c, h, w)."""
    others: Tensor
    """As many other images of the data, for what a perfect model would score; none where there are too few."""
    about: dict[str, Any]


def reference_images(trained: Trained, n: int) -> Reference:
    """Up to n images kept out of training or test images where there are some, else of training, in random order."""
    data, seed = trained.data, derived(trained.config.training.seed, "reference images")
    assert isinstance(data, Rows)
    if trained.apart:
        unseen, source = trained.apart, "images kept out of training"
    else:
        unseen, source = test_split(trained.config.data, data), "test images"
    n = min(n, len(unseen or data))
    about = {"rows": n, "of": len(unseen or data), "fingerprint": (unseen or data).fingerprint}
    if unseen:
        return Reference(unseen.batch(n, seed, 0), trained.reference_data(n), about | {"source": source})
    about["source"] = "training images: the set has no test images"
    rows = data.indices(min(2 * n, len(data)), seed, 0)
    return Reference(data.rows(rows[:n]), data.rows(rows[n : 2 * n]), about)


def image_scores(extractor: Extractor, reference: Reference, x_model: Tensor, seed: int) -> dict[str, float]:
    """How far samples are from data, measured on features of images.

    Args:
        extractor: Makes the features.
        reference: The data.
        x_model: Samples, (n, c, h, w).
        seed: Chooses the subsets of the kernel distance.

    Returns:
        frechet; frechet_data is that of other data, which a perfect model would have.
        coarse: Fréchet distance of the images averaged down to 8 × 8 pixels; coarse_data is that of other data.
        kid: kernel distance, and its standard error kid_error.
        precision, recall, density, coverage.
    """
    y, x = extractor.features(reference.x), extractor.features(x_model)
    n = min(len(x), len(y))
    found = {"frechet": frechet_distance(x, y), "coarse": coarse_distance(x_model, reference.x)}
    if len(reference.others) == len(y):
        found["frechet_data"] = frechet_distance(extractor.features(reference.others), y)
        found["coarse_data"] = coarse_distance(reference.others, reference.x)
    kernel = kernel_distance(x, y, rng(seed, "subsets"), min(SUBSET, n // 4))
    found |= {"kid": kernel.value, "kid_error": kernel.error}
    return found | support(y[:n], x[:n], NEIGHBOURS)._asdict()


def names_of(extractor: Extractor) -> dict[str, str]:
    """What the scores on features are called."""
    return {
        "frechet": extractor.distance,
        "frechet_data": f"{extractor.distance} of data",
        "coarse": "Fréchet distance (8 × 8 pixels)",
        "coarse_data": "Fréchet distance (8 × 8 pixels) of data",
        "kid": extractor.kernel_distance,
        "kid_error": f"{extractor.kernel_distance}, standard error",
    }


def sampling_recipe(trained: Trained) -> dict[str, Any]:
    """How `Trained.draw` makes samples."""
    start, s, ema = trained.start, trained.sampler, trained.config.training.ema
    if isinstance(trained.f, ClosedForm):
        return {"from": "exact draws", "parameters": f"in closed form: {trained.config.network.name}"}
    kept = (
        f"{counted(len(start.bank), 'kept chain')}, in random order" if isinstance(start, Persistent) else "new starts"
    )
    if isinstance(trained.f, Anneals):
        kept = f"noise, annealed along {counted(s.levels, 'level')}; noise taken away at the end"
    return {
        "from": kept,
        "transitions": s.draw_steps or s.steps,
        "sampler": asdict(s),
        "parameters": f"averaged, decay {ema:g}" if ema else "those of the last iteration",
    }


def mixing(f: LogDensity, passed: Sequence[Tensor]) -> dict[str, float]:
    """R̂ and ESS, the worst over f and coordinates, of positions that chains of the scored samples passed, each
    (chains, *event); nothing of fewer than four, or of a single chain.
    """
    if len(passed) < 4 or len(passed[0]) < 2:
        return {}
    x = torch.stack([*passed])
    f_x = values(f, x.flatten(0, 1)).to(x).view(x.shape[:2])
    found = effective(*quantities(x, value=f_x))
    numbers = {"rhat": found.rhat, "ess_bulk": found.bulk, "ess_tail": found.tail}
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
    heat = float(trained.sampler.kernel.temperature)
    if heat == 0:
        raise ValueError(
            "a likelihood needs a distribution, and a sampler without noise has none: expected temperature > 0"
        )
    x_data, x_model = x_data.to(trained.device), x_model.to(trained.device)[:ANNEALED]
    levels = isinstance(trained.data, Rows) and trained.data.half_range == 127.5
    if levels:
        x_data = dequantised(x_data, rng(seed, "levels"))

    def f(x: Tensor) -> Tensor:
        return trained.f(x) / heat

    path = find_path(f, Base.around(x_data), rng(seed, "ladder"), most_rungs=MOST_RUNGS)
    x_model, _ = sample(path.kernel(-1), x_model, SETTLING, rng(seed, "settling"))
    z = estimate_log_z(path, x_model, rng(seed, "annealing"))
    data = log_likelihood(f, z, x_data)
    found = {"log_z_annealed": z.value, "log_z_annealed_low": z.low, "log_z_annealed_high": z.high}
    found |= {"log_likelihood": data.value, "log_likelihood_low": data.low, "log_likelihood_high": data.high}
    if levels:
        bits = [bits_per_dim(nats, x_data[0].numel()) for nats in (data.value, data.high, data.low)]
        found |= dict(zip(("bits_per_dim", "bits_per_dim_low", "bits_per_dim_high"), bits, strict=True))
    return found, {
        "chains": len(x_model),
        "effective_chains": list(z.ess),
        "rungs": len(path.rungs) - 1,
        "transitions_a_rung": path.steps,
        "length": path.length,
        "kernel": "anisotropic_mala",
        "temperature": heat,
        "draws": f"the scored samples after {SETTLING} exact transitions",
        "data": "dequantised training rows" if levels else "the rows that samples are scored beside",
    }


def on_features(
    trained: Trained, extractor: Extractor, x_model: Tensor, seed: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """The scores of samples on features, and their protocol; none of fewer than ten samples."""
    reference = reference_images(trained, len(x_model))
    if min(len(x_model), len(reference.x)) < FEWEST:
        warnings.warn(f"fewer than {FEWEST} images: no distances on features", RuntimeWarning, stacklevel=2)
        return {}, {}
    about = {"features": extractor.about, "reference": reference.about, "names": names_of(extractor)}
    return image_scores(extractor, reference, x_model, seed), about


def protocol_of(trained: Trained, count: int, seed: int, rows: int) -> dict[str, Any]:
    """How samples were drawn, and the data beside which they were scored."""
    return {
        "samples": count,
        "seed": seed,
        "iteration": trained.learner.iteration,
        "sampler": asdict(trained.config.sampler),
        "data": trained.data.name,
        "data_fingerprint": trained.data.fingerprint,
        "rows_of_data": rows,
        "anila": version("anila"),
        "torch": version("torch"),
        "date": datetime.now(UTC).date().isoformat(),
        "sampling": sampling_recipe(trained),
    }


def evaluate_run(
    trained: Trained,
    path: Path | str,
    count: int | None,
    seed: int,
    with_likelihood: bool = False,
    extractor: Extractor | None = None,
    watch: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Draw samples, score them, and write RUN/scores.json and the pictures that go with it.

    Args:
        trained: The run's model.
        path: The run folder.
        count: Samples to draw; `count_of` the run by default.
        seed: Seed of the draw.
        with_likelihood: Estimate log Z by annealed importance sampling, and with it the likelihood of data.
        extractor: What features distances of images are measured on; `anila_features` by default.
        watch: Called with how many samples there are, now and then.

    Raises:
        ValueError: If features are asked for of what is no image.
    """
    trained.require_data()
    run, protocol = Run(path), {}
    run.samples.mkdir(exist_ok=True)
    of_images = len(trained.data.event_shape) == 3 and isinstance(trained.data, Rows)
    if extractor and not of_images:
        raise ValueError(f"features are for images; this run is on points of shape {trained.data.event_shape}")
    count = count or count_of(trained)
    passed: list[Tensor] = []
    x_model, x_data = trained.draw(count, seed, watch=watch, visit=passed.append), trained.reference_data(count)
    found = scores(trained, x_data, x_model) | mixing(trained.f, passed)
    if isinstance(trained.data, Table):
        measured, protocol = drawn_rows(trained, x_model, seed)
        found |= measured
    if in_plane(trained.data.event_shape):
        frame = plane_frame(x_data.to(trained.device))
        panel = pictures.plane_panel(x_data[:SHOWN_POINTS], x_model[:SHOWN_POINTS], trained.f, frame)
        pictures.save(panel, run.samples / "evaluation.png")
    elif of_images:
        assert isinstance(trained.data, Rows)
        measured, protocol = on_features(trained, extractor or anila_features(), x_model, seed)
        found |= measured
        index, distance = nearest(x_model[:SHOWN_PAIRS], trained.data.chunks())
        found["nearest_distance"] = distance.mean().item()
        pictures.save(pictures.image_grid(x_model[:SHOWN_IMAGES]), run.samples / "evaluation.png")
        pairs = pictures.neighbours_grid(x_model[:SHOWN_PAIRS], trained.data.rows(index))
        pictures.save(pairs, run.samples / "nearest.png")
    found["protocol"] = protocol_of(trained, count, seed, len(x_data)) | protocol
    if with_likelihood:
        numbers, how = likelihood(trained, x_data, x_model, seed)
        found = {**numbers, **found}
        found["protocol"]["likelihood"] = how
    run.write_scores(found)
    return found

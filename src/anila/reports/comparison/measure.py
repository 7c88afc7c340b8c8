"""How good a run is, as one number: KL(data ‖ model) where it is exact, distances of samples elsewhere.

The model is the law that the chains aim at, exp(f/T) at temperature T, so that a sampler at temperature 1 of f/T is
measured alike. Without noise there is no such law, and exp f is taken.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from anila.data import Rows
from anila.evaluation.samples import Moments, anila_features, frechet_distance, wasserstein2
from anila.reports.scores import W2_ROWS
from anila.rng import rng
from anila.runs.experiment import build_data, settings
from anila.runs.model.trained import Trained, exact_kl, is_known, test_split

MOST = 10_000
"""Images of data that the Fréchet distance is from."""
SEED = 1


class Measure(NamedTuple):
    """A score, smaller is better."""

    name: str
    of: Callable[[Trained], tuple[float, Tensor]]
    """The score of a model, infinite for one that is lost, and samples of it."""


def measure_of(trained: Trained, samples: int) -> Measure:
    """What suits the data of a run.

    Args:
        trained: The run.
        samples: Samples that are drawn for a score of samples.
    """
    x_data = trained.reference_data(MOST)
    if is_known(trained):
        return Measure(
            "KL(data ‖ model), nats",
            lambda t: (lost(exact_kl(t, x_data, t.sampler.target_temperature)), t.draw(samples, SEED)),
        )
    if len(trained.data.event_shape) == 3 and isinstance(trained.data, Rows):
        extractor, moments = anila_features(), data_moments(trained.config.data)

        def frechet(t: Trained) -> tuple[float, Tensor]:
            x = t.draw(samples, SEED)
            return frechet_distance(extractor.moments(x), moments) if is_finite(x) else torch.inf, x

        return Measure(extractor.distance, frechet)
    n = min(samples, W2_ROWS, len(x_data))

    def w2(t: Trained) -> tuple[float, Tensor]:
        x = t.draw(n, SEED)
        return wasserstein2(x.flatten(1), x_data[:n].flatten(1)) if is_finite(x) else torch.inf, x

    return Measure("W₂, in units of x", w2)


@lru_cache(maxsize=2)
def data_moments(config: settings.Data) -> Moments:
    """Of features of up to 10,000 images: test images where the set has some, else those of training."""
    data = build_data(config)
    rows = test_split(config, data) or data
    assert isinstance(rows, Rows)
    order = torch.randperm(len(rows), generator=rng(SEED, "reference"))[:MOST]
    return anila_features().moments(rows.rows(part) for part in order.split(1000))


def lost(score: float | None) -> float:
    return torch.inf if score is None or score != score else score


def is_finite(x: Tensor) -> bool:
    return bool(torch.isfinite(x).all())

"""Laws of how many samples are scored: what a draw costs decides, and nothing else does."""

from pathlib import Path

import pytest

from anila.reports import count
from anila.reports.count import IMAGES, POINTS, count_of, evaluations, operations
from anila.runs.experiment import PRESETS, resolve
from anila.runs.model.trained import Trained
from tiny import IMAGES as SMALL
from tiny import write_noise


def of_images(folder: Path, *words: str) -> Trained:
    for i in range(2):
        write_noise(folder / f"{i}.png", i)
    return Trained.untrained(resolve(PRESETS["flowers-chains"].experiment, [*SMALL, f"data.name={folder}", *words]))


@pytest.mark.parametrize(("sampler", "each"), [("langevin", 1), ("mala", 1), ("hmc", 3)])
def test_every_point_that_f_is_asked_about_counts(tmp_path: Path, sampler: str, each: int):
    """Sees a transition, or a gradient within one, that is left out."""
    kind = [f"sampler.name={sampler}", "sampler.temperature=1", *(["sampler.leapfrog_steps=3"] if each > 1 else [])]
    few, many = (evaluations(of_images(tmp_path, *kind, f"sampler.steps={steps}")) for steps in (2, 9))
    assert many - few == 7 * each


def test_draws_of_classes_count(tmp_path: Path):
    """Sees points that are asked about by f of a class, on the way down the levels, left out."""
    for i in range(4):
        write_noise(tmp_path / str(i % 2) / f"{i}.png", i)
    words = [
        "network.widths=[4]",
        "training.minutes=none",
        "sampler.levels=5",
        "sampler.steps=3",
        f"data.name={tmp_path}",
    ]
    config = resolve(PRESETS["mnist"].experiment, [*words, "sampler.level_steps=2", "data.size=8"])
    trained, counted = Trained.untrained(config), []
    assert evaluations(trained) >= 5 * 2 + 4 + 3
    trained.draw(12, watch=counted.append)
    assert counted == [0, 2, 4, 6, 8, 12]  # a bar that stands still until all are drawn is none


def test_draws_that_cost_more_are_fewer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees a budget that is overdrawn, or one that leaves too few samples to say anything."""
    trained = of_images(tmp_path)
    cost = operations(trained)
    found = []
    for share in (2000, 999, 500, 250, 1):
        monkeypatch.setattr(count, "OPERATIONS", share * cost)
        found.append(count_of(trained))
    assert found == [1000, 500, 500, 250, IMAGES[-1]]


def test_the_net_is_part_of_the_cost(tmp_path: Path):
    """Sees a cost that counts calls only: convolutions of twice the width cost nearly four times as much."""
    narrow, wide = (operations(of_images(tmp_path, f"network.width={width}")) for width in (8, 16))
    assert 3 < wide / narrow < 4


def test_points_are_many():
    assert count_of(Trained.untrained(PRESETS["rings"].experiment)) == POINTS

"""Seconds and memory of the kernel energy on tables of up to a million rows.

    python benchmarks/many_rows.py --rows 10000 100000 1000000

The rows have 10 columns and form three clusters; one column follows another closely. `EnergyDetector` is fitted to them
and scores all of them, with and without trimming; network=kernel is found from them and scores all of them. It prints
CPU seconds of both, and the memory that they take beyond the rows, each in its own process. Run with OMP_NUM_THREADS=1.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from adbench import MIB, apart_of, peak, resident
from anila.data import Table
from anila.density.networks import Kernel
from anila.estimators import EnergyDetector

COLUMNS = 10


def rows(n: int) -> np.ndarray:
    g = np.random.default_rng(0)
    x = g.standard_normal((n, COLUMNS)) + 4 * g.integers(0, 3, (n, 1))
    x[:, 0] = x[:, 1] + 0.3 * x[:, 0]
    return x


def of_detector(x: np.ndarray, trimmed: float) -> tuple[float, float]:
    """CPU seconds to fit, and to score all rows."""
    began = time.process_time()
    detector = EnergyDetector(trimmed=trimmed, random_state=0).fit(x)
    fitted = time.process_time()
    detector.score_samples(x)
    return fitted - began, time.process_time() - fitted


def of_run(x: np.ndarray) -> tuple[float, float]:
    """CPU seconds to be found, and to score all rows."""
    began = time.process_time()
    points = torch.from_numpy(Table(x, [str(j) for j in range(COLUMNS)]).values)
    f = Kernel((COLUMNS,))
    f.see(points[: f.sees])
    found = time.process_time()
    f.oddness(points)
    return found - began, time.process_time() - found


WAYS: dict[str, Callable[[np.ndarray], tuple[float, float]]] = {
    "EnergyDetector": partial(of_detector, trimmed=0.0),
    "EnergyDetector, trimmed": partial(of_detector, trimmed=0.2),
    "network=kernel": of_run,
}


def measured(way: str, x: np.ndarray) -> tuple[float, float, float]:
    """Seconds to fit and to score, and MiB."""
    before = resident()
    fit, score = WAYS[way](x)
    return fit, score, (peak() - before) / MIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    EnergyDetector().fit(rows(100))  # what is made once is not counted
    for n in arguments.rows:
        x = rows(n)
        for way in WAYS:
            fit, score, mib = apart_of(partial(measured, way, x))
            print(f"| {way} | {n:,} | {fit:.1f} | {score:.1f} | {mib:.0f} |", flush=True)


if __name__ == "__main__":
    main()

"""Whether network=kernel keeps its promise of false alarms, on the normal rows of ADBench's tables.

    python benchmarks/alarms.py ../shared/data/adbench --seeds 0 1 2

A random half of the normal rows (3,000 at most) is learned, the other half is new. Printed: the share of new rows that
are called outliers at each rate, over all tables that have rows enough to promise it.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from anila.applications import calibrated
from anila.data import Table
from anila.density.networks import Kernel

MOST = 3000
RATES = (0.01, 0.05, 0.1)


def alarms(x: np.ndarray, seed: int) -> tuple[int, dict[float, float]]:
    """New rows, and the share of them above the threshold of each rate that can be promised."""
    order = np.random.default_rng(seed).permutation(len(x))[:MOST]
    table = Table(x[order], [str(j) for j in range(x.shape[1])])
    points = torch.from_numpy(table.values)
    old, new = points.tensor_split(2)
    f = Kernel((points.shape[1],))
    f.see(old)
    judge = calibrated(lambda z: -f.oddness(z), -f.ordinary)
    score = judge.score(new)
    return len(new), {rate: judge.flagged(score, rate).double().mean().item() for rate in RATES
                      if judge.promised(rate) == rate}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[float, list[tuple[int, float]]] = {rate: [] for rate in RATES}
    for path in sorted(options.folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            x = file["X"][file["y"] == 0].astype(np.float64)
        for seed in options.seeds:
            rows, shares = alarms(x, seed)
            for rate, share in shares.items():
                found[rate].append((rows, share))
    for rate, cases in found.items():
        rows, shares = map(np.array, zip(*cases, strict=True))
        print(f"rate {rate:.0%}: {np.average(shares, weights=rows):.2%} of {rows.sum():,} new rows in "
              f"{len(cases)} splits; mean of the splits {shares.mean():.2%}")  # fmt: skip


if __name__ == "__main__":
    main()

"""Are promised rates of false alarms kept? On the normal rows of ADBench's tables.

    python benchmarks/alarms.py FOLDER --seeds 0 1 2
    python benchmarks/alarms.py FOLDER --seeds 0 1 2 --trimmed 0.2

A random half of the normal rows (3,000 at most) is learned, the other half is new. It prints the share of new rows that
are called outliers at each rate, over all tables with enough rows to promise it, by network=kernel and by
`EnergyDetector.predict_proba`; and the binomial error of that share, √Σ w² r(1 − r)(1/old + 1/new), w the share of the
new rows that a split has. Splits of one table share rows, so the error over several seeds is larger.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from anila.applications import calibrated
from anila.data import Table
from anila.density.networks import Kernel
from anila.estimators import EnergyDetector

MOST = 3000
RATES = (0.01, 0.05, 0.1)


def of_run(x: np.ndarray, old: int, trimmed: float) -> np.ndarray:
    """p of the new rows, those from `old` on, by network=kernel: the least rate at which each is called an outlier."""
    table = Table(x, [str(j) for j in range(x.shape[1])])
    points = torch.from_numpy(table.values)
    f = Kernel((points.shape[1],), trimmed=trimmed)
    f.see(points[:old])
    judge = calibrated(lambda z: -f.oddness(z), -f.ordinary)
    odder = len(f.ordinary) - np.searchsorted(judge.held_out.numpy(), judge.score(points[old:]).numpy())
    return (1 + odder) / (1 + len(f.ordinary))


def of_detector(x: np.ndarray, old: int, trimmed: float) -> np.ndarray:
    """p of the new rows by `EnergyDetector`."""
    return EnergyDetector(trimmed=trimmed, random_state=0).fit(x[:old]).predict_proba(x[old:])[:, 0]


WAYS: dict[str, Callable[[np.ndarray, int, float], np.ndarray]] = {
    "network=kernel": of_run,
    "EnergyDetector": of_detector,
}


def printed(rate: float, cases: list[tuple[int, int, float]]) -> str:
    """The share over all cases of old rows, new rows, and the share of these that are alarms."""
    old, new, share = map(np.array, zip(*cases, strict=True))
    weight = new / new.sum()
    error = (weight**2 * rate * (1 - rate) * (1 / old + 1 / new)).sum() ** 0.5
    return (f"rate {rate:.0%}: {weight @ share:.2%} of {new.sum():,} new rows in {len(cases)} splits, "
            f"binomial error {error:.2%}; mean of the splits {share.mean():.2%}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--trimmed", type=float, default=0.0, help="share of the learned rows that judge none")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, dict[float, list[tuple[int, int, float]]]] = {way: {rate: [] for rate in RATES} for way in WAYS}
    for path in sorted(options.folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as file:
            x = file["X"][file["y"] == 0].astype(np.float64)
        for seed in options.seeds:
            rows = x[np.random.default_rng(seed).permutation(len(x))[:MOST]]
            old = (len(rows) + 1) // 2
            for way, of in WAYS.items():
                p = of(rows, old, options.trimmed)
                for rate in RATES:
                    if 1 / (old + 1) <= rate:
                        found[way][rate].append((old, len(p), float((p <= rate + 1e-9).mean())))
    for way, of in found.items():
        print(way, *(printed(rate, cases) for rate, cases in of.items()), sep="\n")


if __name__ == "__main__":
    main()

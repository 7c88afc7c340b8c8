"""Outlier detectors side by side on the 20 ADBench tables, one setting for all tables.

    python benchmarks/adbench.py ../shared/data/adbench --seeds 0 1 2 3 4 --out runs/adbench.json

One-class protocol (Livernoche et al. 2024): a random half of the normal rows trains; the other half and all anomalies
are tested. Every detector sees the same split. The others are given standardised columns, `EnergyDetector` the columns
as they are. Printed: AUROC and average precision, means over tables of means over seeds; the mean rank and the wins by
AUROC to three digits (ties share); CPU seconds to fit and score, median and longest. Run with OMP_NUM_THREADS=1.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import (
    KernelDensity,
    LocalOutlierFactor,
    NearestNeighbors,
)
from sklearn.svm import OneClassSVM

from anila.estimators import EnergyDetector

Score = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""Training rows, test rows and a seed -> scores of the test rows, the larger the odder."""


class Figures(NamedTuple):
    """Of one detector on one split."""

    auroc: float
    precision: float
    seconds: float


def neighbours(k: int) -> Score:
    """Mean distance to the k nearest training rows."""
    return lambda a, b, _: NearestNeighbors(n_neighbors=min(k, len(a))).fit(a).kneighbors(b)[0].mean(1)


def of_sklearn(build: Callable[[int, int], object]) -> Score:
    """A detector built for so many rows with a seed, on standardised columns."""
    return lambda a, b, seed: -build(len(a), seed).fit(a).score_samples(b)  # pyright: ignore[reportAttributeAccessIssue]


DETECTORS: dict[str, Score] = {
    "kNN, 1": neighbours(1),
    "kNN, 5": neighbours(5),
    "kNN, 20": neighbours(20),
    "LOF, 20": of_sklearn(lambda n, _: LocalOutlierFactor(n_neighbors=min(20, n - 1), novelty=True)),
    "IsolationForest": of_sklearn(lambda _, seed: IsolationForest(random_state=seed)),
    "OneClassSVM": of_sklearn(lambda *_: OneClassSVM(nu=0.1)),
    "GaussianMixture, 5": of_sklearn(
        lambda n, seed: GaussianMixture(min(5, max(1, n // 20)), reg_covar=1e-2, random_state=seed)
    ),
    "KernelDensity, Scott": of_sklearn(lambda *_: KernelDensity(bandwidth="scott")),  # pyright: ignore[reportArgumentType]
}


def of_pyod() -> dict[str, Score]:
    """PyOD's detectors with its defaults; none where PyOD is not installed."""
    try:
        from pyod.models.copod import COPOD  # pyright: ignore[reportMissingImports]
        from pyod.models.ecod import ECOD  # pyright: ignore[reportMissingImports]
        from pyod.models.hbos import HBOS  # pyright: ignore[reportMissingImports]
        from pyod.models.inne import INNE  # pyright: ignore[reportMissingImports]
        from pyod.models.pca import PCA  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        print(f"PyOD's detectors are left out: {error}")
        return {}
    build: dict[str, Callable[[int], object]] = {
        "ECOD": lambda _: ECOD(), "COPOD": lambda _: COPOD(), "HBOS": lambda _: HBOS(), "PCA": lambda _: PCA(),
        "INNE": lambda seed: INNE(random_state=seed),
    }  # fmt: skip
    return {
        name: lambda a, b, seed, build=build: build(seed).fit(a).decision_function(b)  # pyright: ignore[reportAttributeAccessIssue]
        for name, build in build.items()
    }


def energy(a: np.ndarray, b: np.ndarray, seed: int) -> np.ndarray:
    return -EnergyDetector(random_state=seed).fit(a).score_samples(b)


def split(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Training rows, test rows, and which test rows are anomalies."""
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(y == 0))
    test = np.concatenate([normal[len(normal) // 2 :], np.flatnonzero(y == 1)])
    return x[normal[: len(normal) // 2]], x[test], y[test]


def standardised(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sd = a.std(0)
    sd = np.where(sd < 1e-12, 1, sd)
    return (a - a.mean(0)) / sd, (b - a.mean(0)) / sd


def judged(score: Score, a: np.ndarray, b: np.ndarray, y: np.ndarray, seed: int) -> Figures:
    began = time.process_time()
    found = np.nan_to_num(score(a, b, seed))  # a score may be infinite
    seconds = time.process_time() - began
    return Figures(float(roc_auc_score(y, found)), float(average_precision_score(y, found)), seconds)


def of_table(path: Path, seeds: list[int], detectors: dict[str, Score]) -> dict[str, list[Figures]]:
    """Detector -> figures of each seed."""
    with np.load(path, allow_pickle=False) as file:
        x, y = file["X"].astype(np.float64), file["y"].astype(int)
    found: dict[str, list[Figures]] = {}
    for seed in seeds:
        a, b, odd = split(x, y, seed)
        found.setdefault("EnergyDetector", []).append(judged(energy, a, b, odd, seed))
        for name, score in detectors.items():
            found.setdefault(name, []).append(judged(score, *standardised(a, b), odd, seed))
    return found


def show_table(name: str, found: dict[str, list[Figures]]) -> None:
    """One line: each detector's mean AUROC."""
    print(f"{name:20s}", *(f"{np.mean([f.auroc for f in of]):.3f}" for of in found.values()), flush=True)


def summary(found: dict[str, dict[str, list[Figures]]]) -> Iterator[str]:
    """Table -> detector -> figures of each seed; lines of a Markdown table, the best detector first."""
    names = list(next(iter(found.values())))
    mean = np.array([[np.mean(table[name], 0) for name in names] for table in found.values()])
    auroc = mean[:, :, 0].round(3)
    ranks = rankdata(-auroc, axis=1)
    wins = (auroc == auroc.max(1, keepdims=True)).sum(0)
    longest = np.array([max(f.seconds for table in found.values() for f in table[name]) for name in names])
    yield "| detector | AUROC | average precision | mean rank | wins | CPU s, median | longest |"
    yield "|---|---|---|---|---|---|---|"
    for i in np.argsort(-mean[:, :, 0].mean(0)):
        quality = " | ".join(f"{m:.4f}" for m in mean[:, i, :2].mean(0))
        seconds = f"{np.median(mean[:, i, 2]):.2f} | {longest[i]:.1f}"
        yield f"| {names[i]} | {quality} | {ranks[:, i].mean():.2f} | {wins[i]} | {seconds} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, help="folder of ADBench's NUMBER_name.npz")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, help="JSON file of all figures")
    arguments = parser.parse_args()
    paths = sorted(arguments.tables.glob("*.npz"), key=lambda path: path.stat().st_size)
    if not paths:
        print(f"skipped: no .npz tables in {arguments.tables}; they are ADBench's adbench/datasets/Classical")
        return
    torch.set_num_threads(1)
    detectors = DETECTORS | of_pyod()
    print("EnergyDetector", *detectors, sep=", ")
    found = {}
    for path in paths:
        found[path.stem] = of_table(path, arguments.seeds, detectors)
        show_table(path.stem, found[path.stem])
    print(*summary(found), sep="\n")
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

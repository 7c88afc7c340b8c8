"""Outlier detectors side by side on the 20 ADBench tables, one setting for all tables.

    python benchmarks/adbench.py FOLDER --seeds 0 1 2 3 4 --out runs/adbench.json
    python benchmarks/adbench.py FOLDER --deep --seeds 0 --out runs/adbench.json

Two protocols. one-class (Livernoche et al. 2024): a random half of the normal rows trains; the other half and all
anomalies are tested. contaminated (Han et al. 2022): a random 70% of all rows trains, anomalies among them; the others
are tested. Every detector sees the same split. `EnergyDetector` gets the columns as they are, the other detectors
standardised ones.

It prints AUROC and average precision, means over tables of means over seeds; the mean rank and the wins by AUROC to
three digits (ties share); p of Wilcoxon's signed-rank test over tables against `EnergyDetector`, after Holm; CPU
seconds to fit and score, and the memory that this takes. Every fit runs in its own process.

Each figure is saved as soon as it is found, and the same command continues. Run with OMP_NUM_THREADS=1. `--deep` adds
PyOD's nets on tables of at most 2,500 rows and 100 columns.
"""

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata, wilcoxon
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KernelDensity, LocalOutlierFactor, NearestNeighbors
from sklearn.svm import OneClassSVM

from anila.estimators import EnergyDetector

Score = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""Training rows, test rows and a seed -> scores of the test rows, the larger the odder."""

OURS, TRIMMED = "EnergyDetector", "EnergyDetector, trimmed"
DEEP_ROWS, DEEP_COLUMNS = 2500, 100
MIB = 1024
"""Kilobytes, in which Linux counts memory."""


def neighbours(k: int) -> Score:
    """Mean distance to the k nearest training rows."""
    return lambda a, b, _: NearestNeighbors(n_neighbors=min(k, len(a))).fit(a).kneighbors(b)[0].mean(1)


def of_sklearn(build: Callable[[int, int], Any]) -> Score:
    """A detector built for so many rows with a seed, on standardised columns."""
    return lambda a, b, seed: -build(len(a), seed).fit(a).score_samples(b)


DETECTORS: dict[str, Score] = {
    OURS: lambda a, b, seed: -EnergyDetector(random_state=seed).fit(a).score_samples(b),
    TRIMMED: lambda a, b, seed: -EnergyDetector(trimmed=0.2, random_state=seed).fit(a).score_samples(b),
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


def of_pyod(deep: bool) -> dict[str, Score]:
    """PyOD's detectors with its defaults; none where PyOD is not installed."""
    try:
        build = nets() if deep else classical()
    except ImportError as error:
        print(f"PyOD's detectors are left out: {error}")
        return {}
    return {
        name: lambda a, b, seed, build=build: build(seed, a.shape[1]).fit(a).decision_function(b)
        for name, build in build.items()
    }


def classical() -> dict[str, Callable[[int, int], Any]]:
    """Of a seed and a number of columns."""
    from pyod.models.copod import COPOD  # pyright: ignore[reportMissingImports]
    from pyod.models.ecod import ECOD  # pyright: ignore[reportMissingImports]
    from pyod.models.hbos import HBOS  # pyright: ignore[reportMissingImports]
    from pyod.models.inne import INNE  # pyright: ignore[reportMissingImports]
    from pyod.models.pca import PCA  # pyright: ignore[reportMissingImports]

    return {
        "ECOD": lambda *_: ECOD(), "COPOD": lambda *_: COPOD(), "HBOS": lambda *_: HBOS(), "PCA": lambda *_: PCA(),
        "INNE": lambda seed, _: INNE(random_state=seed),
    }  # fmt: skip


def nets() -> dict[str, Callable[[int, int], Any]]:
    """Of a seed and a number of columns."""
    from pyod.models.auto_encoder import AutoEncoder  # pyright: ignore[reportMissingImports]
    from pyod.models.deep_svdd import DeepSVDD  # pyright: ignore[reportMissingImports]
    from pyod.models.dif import DIF  # pyright: ignore[reportMissingImports]
    from pyod.models.lunar import LUNAR  # pyright: ignore[reportMissingImports]

    return {
        "LUNAR": lambda *_: LUNAR(),
        "DeepSVDD": lambda seed, d: DeepSVDD(n_features=d, random_state=seed, verbose=0),
        "DIF": lambda seed, _: DIF(random_state=seed),
        "AutoEncoder": lambda seed, _: AutoEncoder(random_state=seed, verbose=0),
    }


Split = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Training rows, test rows, and which test rows are anomalies."""


def one_class(x: np.ndarray, y: np.ndarray, seed: int) -> Split:
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(y == 0))
    test = np.concatenate([normal[len(normal) // 2 :], np.flatnonzero(y == 1)])
    return x[normal[: len(normal) // 2]], x[test], y[test]


def contaminated(x: np.ndarray, y: np.ndarray, seed: int) -> Split:
    parts = train_test_split(x, y, train_size=0.7, stratify=y, random_state=seed)
    a, b, _, odd = map(np.asarray, parts)
    return a, b, odd


PROTOCOLS: dict[str, Callable[[np.ndarray, np.ndarray, int], Split]] = {
    "one-class": one_class,
    "contaminated": contaminated,
}


def standardised(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sd = a.std(0)
    sd = np.where(sd < 1e-12, 1, sd)
    return (a - a.mean(0)) / sd, (b - a.mean(0)) / sd


def measured(score: Score, a: np.ndarray, b: np.ndarray, odd: np.ndarray, seed: int) -> dict[str, float]:
    """AUROC, average precision, CPU seconds, and the MiB that the fit adds to the process."""
    before, began = resident(), time.process_time()
    torch.manual_seed(seed)  # some of PyOD's nets take no seed
    found = np.nan_to_num(score(a, b, seed))  # a score may be infinite
    seconds, most = time.process_time() - began, peak()
    quality = {"auroc": float(roc_auc_score(odd, found)), "precision": float(average_precision_score(odd, found))}
    return quality | {"seconds": seconds, "mib": max(0.0, most - before) / MIB}


def resident() -> float:
    """Kilobytes of this process in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmRSS")))


def peak() -> float:
    """The most kilobytes that this process has had."""
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def apart_of(work: Callable[[], Any]) -> Any:
    """What `work` gives in a process of its own, which begins as this one is now."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)
    process = fork.Process(target=lambda: there.send(work()))
    process.start()
    there.close()
    try:
        return here.recv()
    finally:
        process.join()


def cases(paths: list[Path], seeds: list[int], names: list[str]) -> Iterator[tuple[str, Path, int, str]]:
    """Protocol, table, seed and detector: one seed of all tables before the next, the smallest table first."""
    for seed in seeds:
        for path in paths:
            for protocol in PROTOCOLS:
                yield from ((protocol, path, seed, name) for name in names)


def too_large(x: np.ndarray) -> bool:
    return len(x) > DEEP_ROWS or x.shape[1] > DEEP_COLUMNS


Figures = dict[str, dict[str, float]]
"""protocol/table/detector/seed -> what `measured` gives."""
Seen = dict[str, dict[str, dict[str, dict[str, float]]]]
"""Detector -> table -> seed -> the same."""


def summary(found: Figures, protocol: str) -> Iterator[str]:
    """Markdown tables: the detectors that saw all tables; and all, on the tables and seeds that all saw."""
    seen: Seen = {}
    for key, figures in found.items():
        of, table, name, seed = key.split("/")
        if of == protocol:
            seen.setdefault(name, {}).setdefault(table, {})[seed] = figures
    tables = seen[OURS]
    full = [name for name, of in seen.items() if of.keys() == tables.keys()]
    yield from ranking(seen, full, list(tables))
    if len(full) < len(seen):
        common = {table: set.intersection(*({*of.get(table, ())} for of in seen.values())) for table in tables}
        shared = [table for table in tables if common[table]]
        seen = {
            name: {table: {seed: of[table][seed] for seed in sorted(common[table])} for table in shared}
            for name, of in seen.items()
        }
        seeds = sorted({seed for table in shared for seed in common[table]})
        yield f"\nOn the {len(shared)} tables that the nets saw, seeds {', '.join(seeds)}: {', '.join(shared)}\n"
        yield from ranking(seen, list(seen), shared)


def ranking(
    seen: dict[str, dict[str, dict[str, dict[str, float]]]], names: list[str], tables: list[str]
) -> Iterator[str]:
    """The best detector first."""

    def mean(what: str) -> np.ndarray:
        return np.array(
            [
                [np.nanmean([f.get(what, np.nan) for f in seen[name][table].values()]) for name in names]
                for table in tables
            ]
        )

    auroc, seconds, memory = mean("auroc").round(3), mean("seconds"), mean("mib")
    ranks, wins = rankdata(-auroc, axis=1).mean(0), (auroc == auroc.max(1, keepdims=True)).sum(0)
    p = holm(auroc, names.index(OURS))
    quality = np.stack([mean("auroc").mean(0), mean("precision").mean(0)], 1)
    yield "| detector | AUROC | precision | mean rank | wins | p | CPU s, median | longest | MiB, median | most |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for i in np.argsort(-quality[:, 0]):
        tested = "" if np.isnan(p[i]) else f"{p[i]:.2g}"
        yield (
            f"| {names[i]} | {quality[i, 0]:.4f} | {quality[i, 1]:.4f} | {ranks[i]:.2f} | {wins[i]} | {tested} | "
            f"{np.median(seconds[:, i]):.2f} | {seconds[:, i].max():.1f} | {np.median(memory[:, i]):.0f} | "
            f"{memory[:, i].max():.0f} |"
        )


def holm(auroc: np.ndarray, ours: int) -> np.ndarray:
    """p of Wilcoxon's signed-rank test of each column against ours, after Holm 1979; NaN of ours."""
    others = [i for i in range(auroc.shape[1]) if i != ours]
    raw = np.array([wilcoxon(auroc[:, i], auroc[:, ours], zero_method="zsplit")[1] for i in others])
    order, p = raw.argsort(), np.full(auroc.shape[1], np.nan)
    steps = np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1)).clip(max=1)
    p[np.array(others)[order]] = steps
    return p


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, help="folder of ADBench's NUMBER_name.npz")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--deep", action="store_true", help="PyOD's nets too, on small tables")
    parser.add_argument("--out", type=Path, default=Path("runs/adbench.json"), help="JSON file of all figures")
    arguments = parser.parse_args()
    paths = sorted(arguments.tables.glob("*.npz"), key=lambda path: path.stat().st_size)
    if not paths:
        print(f"skipped: no .npz tables in {arguments.tables}; they are ADBench's adbench/datasets/Classical")
        return
    torch.set_num_threads(1)
    deep = of_pyod(deep=True) if arguments.deep else {}
    detectors = DETECTORS | of_pyod(deep=False) | deep
    g = np.random.default_rng(0)
    for score in detectors.values():  # what is compiled once is not counted
        score(g.standard_normal((60, 3)), g.standard_normal((60, 3)), 0)
    found: Figures = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for protocol, path, seed, name in cases(paths, arguments.seeds, list(detectors)):
        key = f"{protocol}/{path.stem}/{name}/{seed}"
        with np.load(path, allow_pickle=False) as file:
            x, y = file["X"].astype(np.float64), file["y"].astype(int)
        if key in found or (name in deep and too_large(x)):
            continue
        a, b, odd = PROTOCOLS[protocol](x, y, seed)
        given = (a, b) if name in (OURS, TRIMMED) else standardised(a, b)
        found[key] = apart_of(partial(measured, detectors[name], *given, odd, seed))
        print(key, *(f"{value:.3f}" for value in found[key].values()), flush=True)
        unfinished = arguments.out.with_suffix(".part")
        unfinished.write_text(json.dumps(found, indent=1))
        unfinished.replace(arguments.out)
    for protocol in PROTOCOLS:
        print(f"\n{protocol}\n", *summary(found, protocol), sep="\n")


if __name__ == "__main__":
    main()

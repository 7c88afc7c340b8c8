"""Conditional draws of a hidden cell: how good they are, by network=kernel, network=mlp, and two usual imputers.

    python benchmarks/conditionals.py ../shared/data/adbench --out runs/conditionals

A random half of the normal rows of each table is learned. In up to 100 rows of the other half one cell at a time is
hidden, in up to 6 columns, and drawn 50 times given the others. Printed: the mean CRPS, in standard deviations of the
column, the lower the better: E|X − y| − ½ E|X − X'|. ridge + noise: RidgeCV, and its residuals' deviation.
IterativeImputer: scikit-learn's, sample_posterior=True. The runs stay in the folder: anila evaluate FOLDER/TABLE-mlp.

Reference: Gneiting & Raftery 2007 (CRPS).
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer
from sklearn.linear_model import RidgeCV

import anila
from anila.applications.on_runs.draws import filled
from anila.data.dependent import pivots
from anila.runs.experiment.choose import choose
from anila.runs.training.train import train

TABLES = ("44_Wilt", "37_Stamps", "6_cardio", "40_vowels", "29_Pima")
ROWS, COLUMNS, DRAWS = 100, 6, 50

Fill = Callable[[np.ndarray, int], np.ndarray]
"""Standardised rows and the column that is hidden -> its draws, (rows, DRAWS)."""


def crps(draws: np.ndarray, y: np.ndarray) -> float:
    """E|X − y| − ½ E|X − X'| over the pairs of different draws, the mean over rows."""
    n = draws.shape[1]
    order = np.sort(draws, 1)
    pairs = (order * (2 * np.arange(n) - n + 1)).sum(1) / (n * (n - 1))
    return float((np.abs(draws - y[:, None]).mean(1) - pairs).mean())


def ridge(a: np.ndarray) -> Fill:
    g = np.random.default_rng(0)

    def fill(b: np.ndarray, j: int) -> np.ndarray:
        others = np.arange(a.shape[1]) != j
        fit = RidgeCV(np.logspace(-3, 3, 13)).fit(a[:, others], a[:, j])
        sd = (a[:, j] - fit.predict(a[:, others])).std()
        return fit.predict(b[:, others])[:, None] + sd * g.standard_normal((len(b), DRAWS))

    return fill


def iterative(a: np.ndarray) -> Fill:
    def fill(b: np.ndarray, j: int) -> np.ndarray:
        holed = np.where(np.arange(a.shape[1]) == j, np.nan, b)
        fit = IterativeImputer(sample_posterior=True, random_state=0, max_iter=5).fit(np.concatenate([a, holed[:1]]))
        return np.stack([np.asarray(fit.transform(holed))[:, j] for _ in range(DRAWS)], 1)

    return fill


def of_run(a: np.ndarray, run: Path, words: list[str], seed: int) -> Fill:
    table = run.with_suffix(".csv")
    names = [f"c{j}" for j in range(a.shape[1])]
    table.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(table, a, delimiter=",", header=",".join(names), comments="", fmt="%.9g")
    train(choose(str(table), words)[1], run)
    model = anila.load(run)
    units = model.units

    def fill(b: np.ndarray, j: int) -> np.ndarray:
        hidden = torch.zeros(len(b), b.shape[1], dtype=torch.bool)
        hidden[:, j] = True
        x = filled(model, units.inward(b), hidden, DRAWS, seed=seed).x
        return units.outward(x)[..., j]

    return fill


def of_table(path: Path, out: Path, seed: int) -> dict[str, tuple[float, float]]:
    """Method -> mean CRPS over the columns, and CPU seconds."""
    with np.load(path, allow_pickle=False) as file:
        x = file["X"][file["y"] == 0].astype(np.float64)
    g = np.random.default_rng(seed)
    a, b = np.array_split(x[g.permutation(len(x))], 2)
    varying = a.std(0) > 0
    mean, sd = a[:, varying].mean(0), a[:, varying].std(0)
    a, b = (a[:, varying] - mean) / sd, (b[:ROWS, varying] - mean) / sd
    free = pivots(a.T @ a / len(a))  # the others follow from these
    a, b = a[:, free], b[:, free]
    columns = g.permutation(a.shape[1])[:COLUMNS].tolist()
    name = path.stem.split("_", 1)[1]
    methods: dict[str, Callable[[], Fill]] = {
        "kernel": lambda: of_run(a, out / f"{name}-kernel", [], seed),
        "mlp": lambda: of_run(a, out / f"{name}-mlp", ["network=mlp"], seed),
        "ridge + noise": lambda: ridge(a),
        "IterativeImputer": lambda: iterative(a),
    }
    found = {}
    for method, build in methods.items():
        began = time.process_time()
        fill = build()
        score = float(np.mean([crps(fill(b, j), b[:, j]) for j in columns]))
        found[method] = (score, time.process_time() - began)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/conditionals"), help="folder of the runs")
    arguments = parser.parse_args()
    paths = [path for name in TABLES if (path := arguments.folder / f"{name}.npz").is_file()]
    if not paths:
        print(f"skipped: none of {', '.join(TABLES)} in {arguments.folder}")
        return
    torch.set_num_threads(1)
    for path in paths:
        found = of_table(path, arguments.out, arguments.seed)
        if path == paths[0]:
            print("| table | " + " | ".join(found) + " |\n|---|" + "---|" * len(found))
        cells = [f"{score:.3f} ({seconds:.0f} s)" for score, seconds in found.values()]
        print(f"| {path.stem} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

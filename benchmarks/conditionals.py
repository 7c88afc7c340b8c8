"""Conditional draws of a hidden cell: how good they are, by network=kernel, network=mlp, and two usual imputers.

    python benchmarks/conditionals.py FOLDER --out runs/conditionals

A random half of the normal rows of each table is learned. In up to 100 rows of the other half one cell at a time is
hidden, in up to 6 columns, and drawn 50 times given the others, 10 times by the net. It prints the mean CRPS, in
standard deviations of the column, the lower the better: E|X − y| − ½ E|X − X'|, whose mean does not depend on the
number of draws. ridge + noise: RidgeCV, and its residuals' deviation. IterativeImputer: scikit-learn's,
sample_posterior=True. The runs stay in the folder: anila evaluate FOLDER/TABLE-mlp.

FOLDER/crps.json saves the figures of a table as soon as they are found, and the same command continues. Run with
OMP_NUM_THREADS=1.

Reference: Gneiting & Raftery 2007 (CRPS).
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
ROWS, COLUMNS, DRAWS, DRAWS_OF_NET = 100, 6, 50, 10

Fill = Callable[[np.ndarray, int], np.ndarray]
"""Standardised rows and the column that is hidden -> its draws, (rows, draws)."""


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


def of_run(a: np.ndarray, run: Path, words: list[str], draws: int, seed: int) -> Fill:
    table = run.with_suffix(".csv")
    names = [f"c{j}" for j in range(a.shape[1])]
    table.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(table, a, delimiter=",", header=",".join(names), comments="", fmt="%.9g")
    if train(choose(str(table), words)[1], run).stopped_by is not None:
        raise SystemExit("stopped: a run that is not complete has no figures")
    model = anila.load(run)
    units = model.units

    def fill(b: np.ndarray, j: int) -> np.ndarray:
        hidden = torch.zeros(len(b), b.shape[1], dtype=torch.bool)
        hidden[:, j] = True
        x = filled(model, units.inward(b), hidden, draws, seed=seed).x
        return units.outward(x)[..., j]

    return fill


METHODS: dict[str, Callable[[np.ndarray, Path, int], Fill]] = {
    "kernel": lambda a, run, seed: of_run(a, run, [], DRAWS, seed),
    "ridge + noise": lambda a, *_: ridge(a),
    "IterativeImputer": lambda a, *_: iterative(a),
    "mlp": lambda a, run, seed: of_run(a, run, ["network=mlp"], DRAWS_OF_NET, seed),
}
"""Training rows, the folder of a run and a seed -> what fills in."""


def split(path: Path, seed: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Training rows, test rows and the columns that are hidden; standardised, without what follows from others."""
    with np.load(path, allow_pickle=False) as file:
        x = file["X"][file["y"] == 0].astype(np.float64)
    g = np.random.default_rng(seed)
    a, b = np.array_split(x[g.permutation(len(x))], 2)
    varying = a.std(0) > 0
    mean, sd = a[:, varying].mean(0), a[:, varying].std(0)
    a, b = (a[:, varying] - mean) / sd, (b[:ROWS, varying] - mean) / sd
    free = pivots(a.T @ a / len(a))
    return a[:, free], b[:, free], g.permutation(len(free))[:COLUMNS].tolist()


def measured(path: Path, method: str, out: Path, seed: int) -> dict[str, Any]:
    """The hidden columns, the CRPS of each, and CPU seconds."""
    a, b, columns = split(path, seed)
    began, scores = time.process_time(), []
    fill = METHODS[method](a, out / f"{path.stem.split('_', 1)[1]}-{method}", seed)
    for j in columns:
        scores.append(crps(fill(b, j), b[:, j]))
        print(path.stem, method, f"column {j}: {scores[-1]:.4f}", flush=True)
    return {"columns": columns, "crps": scores, "seconds": time.process_time() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/conditionals"), help="folder of the runs and crps.json")
    arguments = parser.parse_args()
    paths = [path for name in TABLES if (path := arguments.folder / f"{name}.npz").is_file()]
    if not paths:
        print(f"skipped: none of {', '.join(TABLES)} in {arguments.folder}")
        return
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / "crps.json"
    found: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
    for method in METHODS:
        for path in paths:
            if (key := f"{path.stem}/{method}/{arguments.seed}") not in found:
                found[key] = measured(path, method, arguments.out, arguments.seed)
                file.write_text(json.dumps(found, indent=1))
    print("\n| table | " + " | ".join(METHODS) + " |\n|---|" + "---|" * len(METHODS))
    for path in paths:
        figures = [found[f"{path.stem}/{method}/{arguments.seed}"] for method in METHODS]
        cells = [f"{np.mean(of['crps']):.3f} ({of['seconds']:.0f} s)" for of in figures]
        print(f"| {path.stem} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

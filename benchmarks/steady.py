"""Do the image presets train to their end: 2,000 iterations, several seeds, a small network, one CPU thread a run?

    python benchmarks/steady.py mnist-chains=FOLDER flowers-chains=ZIP cifar10-chains=FOLDER --out runs/steady   (docs)

Width 8 and 16 chains in place of the presets' 16 and 32, bf16; all else is the preset. A run that is there is resumed,
one that is complete only read, so several of these commands may share the work by naming other presets. For each run:
returns of the divergence guard, the largest |d| after iteration 200, d over the last 1,000 iterations (mean and sd), r
over the last 1,000, the largest chain range, and what `anila train` says of the regime.
"""

import argparse
import statistics
from pathlib import Path

from anila.evaluation import training
from anila.runs.experiment import PRESETS, resolve
from anila.runs.folder.run import Run
from anila.runs.training.train import train

SMALL = ["network.width=8", "training.batch=16", "training.precision=bf16", "training.threads=1"]


def row(run: Run) -> str:
    """One line of the table."""
    series = run.series()
    gaps, last = series["energy_gap"], series["energy_gap"][-1000:]
    cells = [
        f"{len(gaps):,}",
        str(len(run.events())),
        f"{max(abs(d) for d in gaps[200:]):.2f}",
        f"{statistics.mean(last):.4f} ± {statistics.stdev(last):.3f}",
        f"{statistics.mean(series['grad_norm'][-1000:]):.4f}",
        f"{max(series['chain_range']):.1f}",
        training.regime(training.course(series)).lines[0].partition(":")[0],
    ]
    return " | ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="+", metavar="PRESET=DATA")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    print("| preset | seed | iterations | returns | largest \\|d\\| | d at the end | r | range | regime |")
    print("|---|---|---|---|---|---|---|---|---|")
    for preset, _, data in (text.partition("=") for text in arguments.presets):
        for seed in arguments.seeds:
            config = resolve(PRESETS[preset].experiment, [f"data={data}", *SMALL, f"training.seed={seed}"])
            run = Run(arguments.out / f"{preset}-{seed}")
            if train(config, run.path, lambda _: None, preset=preset).stopped_by is not None:
                raise SystemExit("stopped: a run that is not complete has no figures")
            print(f"| {preset} | {seed} | {row(run)} |", flush=True)


if __name__ == "__main__":
    main()

"""Train, score and export the models that come with the package, into src/anila/pretrained.

    python scripts/pretrained.py                  # all of them
    python scripts/pretrained.py mnist cifar10    # some

A run in WORK/NAME that is finished is used as it is; for an unfinished one, the same command continues training.
Parameters and kept chains are rounded to float16 before scoring, so the scores are those of what is stored.
"""

import argparse
import csv
from pathlib import Path
from shutil import rmtree
from typing import Any, NamedTuple

import torch

from anila.learning.starts import Persistent
from anila.reports.scores import evaluate_run
from anila.runs.experiment.choose import choose
from anila.runs.folder.run import Run
from anila.runs.model.export import CARD, FILES, write
from anila.runs.model.pretrained import FOLDER, PREFIX
from anila.runs.model.trained import Trained
from anila.runs.training.train import train

CHAINS = {3: 64, 1: 500}
"""Kept chains that are passed on: of images, which are three-dimensional, and of points."""
MOST, MOST_IN_ALL = 3e6, 8e6
"""Bytes."""
SEED = 1


class Recipe(NamedTuple):
    """What `anila train` takes."""

    what: str
    changes: tuple[str, ...] = ()


RECIPES = {
    "rings": Recipe("rings"),
    "iris": Recipe("iris.csv"),
    "mnist": Recipe("mnist", ("stages.1.iterations=5400", "stages.2.iterations=450")),
    "flowers": Recipe("flowers", ("stages.1.iterations=5086", "stages.2.iterations=450")),
    "cifar10": Recipe("cifar10", ("stages.1.iterations=4400", "stages.2.iterations=450")),
}
"""Iterations are written out: those planned from minutes depend on the machine."""


def make(name: str, work: Path) -> None:
    """Train one, score what is left of it in float16, and export that."""
    recipe, run = RECIPES[name], Run(work / name)
    what = write_iris(work) if name == "iris" else recipe.what
    preset, config = choose(str(what), list(recipe.changes))
    if (number := train(config, run.path, print, preset=preset).stopped_by) is not None:
        raise SystemExit(f"stopped by signal {number}; the same command goes on")
    trained = Trained.load(run)
    round_to_half(trained)
    evaluate_run(trained, run.path, None, SEED)
    rmtree(FOLDER / name, ignore_errors=True)
    FOLDER.mkdir(exist_ok=True)
    write(trained, run, FOLDER / name, PREFIX + name)
    with (FOLDER / name / CARD).open("a", encoding="utf-8") as card:
        card.write(made_by(name, recipe))


def made_by(name: str, recipe: Recipe) -> str:
    """How it was made, for the card."""
    words = " ".join(["anila train", recipe.what, *recipe.changes])
    return (
        f"\n## Made by\n\n    python scripts/pretrained.py {name}\n\nwhich trains it by `{words}`, rounds parameters "
        "and kept chains to float16, scores the result by `anila evaluate` and exports it.\n"
    )


@torch.no_grad()
def round_to_half(trained: Trained) -> None:
    """Parameters, and as many chains as are passed on, to the nearest float16."""
    for value in trained.f.state_dict().values():
        if value.is_floating_point():
            value.copy_(value.half())
    start, most = trained.start, CHAINS[len(trained.data.event_shape)]
    if isinstance(start, Persistent):
        kept = start.bank[:most]
        start.bank = kept.half().to(kept.dtype) if kept.is_floating_point() else kept


def write_iris(work: Path) -> Path:
    """The measures of 150 irises (Anderson 1935, Fisher 1936), as scikit-learn has them."""
    from sklearn.datasets import load_iris

    iris: Any = load_iris()
    path = work / "iris.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([name.removesuffix(" (cm)").replace(" ", "_") for name in iris.feature_names])
        table.writerows(iris.data.tolist())
    return path


def sizes() -> dict[str, int]:
    """Bytes of every model in the package."""
    return {path.name: sum((path / name).stat().st_size for name in FILES) for path in sorted(FOLDER.iterdir())}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(RECIPES)}; all by default")
    parser.add_argument("--work", type=Path, default=Path("runs/pretrained"), help="folder of the runs")
    args = parser.parse_args()
    if unknown := set(args.names) - set(RECIPES):
        parser.error(f"expected names of {', '.join(RECIPES)}; got {', '.join(sorted(unknown))}")
    args.work.mkdir(parents=True, exist_ok=True)
    for name in args.names or RECIPES:
        make(name, args.work)
    found = sizes()
    for name, size in found.items():
        print(f"{name:10}{size / 1e6:6.2f} MB")
    if max(found.values()) > MOST or sum(found.values()) > MOST_IN_ALL:
        parser.exit(1, f"expected at most {MOST / 1e6:g} MB each and {MOST_IN_ALL / 1e6:g} MB in all\n")


if __name__ == "__main__":
    main()

"""Image models against what users would use instead: equal CPU seconds on one core, parameters and held-out images.

    python benchmarks/images.py --out runs/images                                                   (docs; hours)
    python benchmarks/images.py --out runs/images --data mnist --seconds 300 --recipes Anila        (part of it)
    python benchmarks/images.py --out runs/toy --short                                              (a minute)

Data are looked for as `anila train` does: $ANILA_DATA/NAME, ./data/NAME; or name=path. Recipes: `image_recipes.py`. A
budget is CPU seconds of this process, sampling of banks included; the learning rate falls to 0 with it. Scored on 1,000
draws (640 of flowers) against as many held-out images: fd, the Fréchet distance on anila-features-1; KID on the same
features; coarse, that of 8 × 8 means; precision and recall; for digits the share that a held-out classifier takes for
one digit at > 0.9, and the entropy of its classes. `real images` are others of the training set: what a perfect model
scores.

Each result is a file in --out, with its 64 first draws beside it. What is there is not run again, so the same command
continues where it was stopped, and several may share the work. At the end: a table, grids side by side, and
docs/numbers/images.json, or another place by --json.
"""

import argparse
import json
import statistics
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from anila.evaluation.pictures import image_grid, save
from anila.rng import rng
from image_recipes import RECIPES, Size, missing
from image_sets import KNOWN, SCORED, Clock, ImageSet, Scorer, image_set, judge_of, points, protocol

SHOWN = 64
REAL = "real images"
COLUMNS = ("fd", "coarse", "kid", "precision", "recall", "share", "entropy", "seconds_for_64", "lost")
WORDS = {"seconds_for_64": "s for 64", "share": "judged", "kid": "KID"}


class Trial:
    """One recipe, budget and seed on one set, as files."""

    def __init__(self, out: Path, data: str, recipe: str, seconds: float, seed: int):
        self.data, self.recipe, self.seconds, self.seed = data, recipe, seconds, seed
        words = "-".join("".join(c if c.isalnum() else " " for c in recipe).lower().split())
        self.path = out / f"{data}-{words}-{seconds:g}-{seed}.json"

    @property
    def done(self) -> bool:
        return self.path.exists()

    def run(self, data: ImageSet, score: Scorer, size: Size, n: int) -> None:
        learned = RECIPES[self.recipe](data, self.seconds, self.seed, size)
        clock = Clock(1)
        learned.draw(SHOWN, rng(self.seed, "timing"))
        found: dict[str, Any] = {"seconds_for_64": clock.used()}
        x = learned.draw(n, rng(self.seed, "draws"))
        self.write(x, found | score(x), {
            "parameters": learned.parameters, "iterations": learned.iterations, "remarks": learned.remarks,
            "widths": size.widths,
        })  # fmt: skip

    def write(self, x: Tensor, scores: dict[str, Any], about: dict[str, Any]) -> None:
        """The scores and the pictures; the file of scores comes last, whole or not at all."""
        levels = ((x[:SHOWN].nan_to_num().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        np.save(self.path.with_suffix(".npy"), levels.numpy())
        about |= {"data": self.data, "recipe": self.recipe, "seconds": self.seconds, "seed": self.seed}
        text = json.dumps({"scores": scores, **about, "protocol": protocol()}, indent=1)
        half = self.path.with_suffix(".half")
        half.write_text(text)
        half.replace(self.path)

    def read(self) -> dict[str, Any]:
        return json.loads(self.path.read_text())

    def shown(self) -> Tensor:
        return points(torch.from_numpy(np.load(self.path.with_suffix(".npy"))))


def told(values: Sequence[float]) -> str:
    """Mean ± standard error."""
    if len(values) < 2:
        return f"{values[0]:.3g}" if values else ""
    return f"{statistics.mean(values):.3g} ± {statistics.stdev(values) / len(values) ** 0.5:.1g}"


def rows_of(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """A row for each recipe and budget: every score of every seed."""
    found: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for trial in trials:
        if trial.done:
            found.setdefault((trial.recipe, trial.seconds), []).append(trial.read())
    return [
        {
            "recipe": recipe,
            "seconds": seconds,
            "parameters": results[0]["parameters"],
            "iterations": [r["iterations"] for r in results],
            "seeds": [r["seed"] for r in results],
            **{name: [r["scores"][name] for r in results if name in r["scores"]] for name in COLUMNS},
        }
        for (recipe, seconds), results in found.items()
    ]


def tell(data: str, rows: Sequence[dict[str, Any]]) -> None:
    names = [name for name in COLUMNS if any(row[name] for row in rows)]
    print(f"\n| {data} | CPU s | {' | '.join(WORDS.get(name, name) for name in names)} |\n{'|---' * (len(names) + 2)}|")
    for row in rows:
        print(f"| {row['recipe']} | {row['seconds']:g} | {' | '.join(told(row[name]) for name in names)} |")


def side_by_side(trials: Sequence[Trial], path: Path) -> None:
    """The first seed's grids, each under its name, data first."""
    panels = []
    for trial in trials:
        grid = image_grid(trial.shown())
        panel = Image.new("RGB", (grid.width, grid.height + 40), "white")
        panel.paste(grid, (0, 40))
        ImageDraw.Draw(panel).text((10, 4), f"{trial.recipe}, {trial.seconds:g} s", "black", font_size=26)
        panels.append(panel.resize((panel.width // 2, panel.height // 2), Image.Resampling.LANCZOS))
    columns = min(4, len(panels))
    wide, high = panels[0].size
    sheet = Image.new("RGB", (columns * wide, -(-len(panels) // columns) * high), "white")
    for k, panel in enumerate(panels):
        sheet.paste(panel, (k % columns * wide, k // columns * high))
    save(sheet, path)


def real(out: Path, data: ImageSet, score: Scorer, n: int, seed: int) -> Trial:
    """Other images of the training set, scored as draws are."""
    trial = Trial(out, data.name, REAL, 0, seed)
    if not trial.done:
        x = points(data.train[torch.randperm(len(data.train), generator=rng(seed, "real"))[:n]])
        about: dict[str, Any] = {"parameters": 0, "iterations": 0}
        about |= {"judge's accuracy": score.accuracy()} if score.judge else {}
        trial.write(x, score(x), about)
    return trial


def of_one_set(name: str, source: str, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All trials of one set, its table and its grids."""
    out, n = arguments.out, arguments.draws or SCORED[name]
    data = image_set(name, source)
    score, size = Scorer(data, judge_of(data, out / f"judge-{name}.pt")), Size(arguments.widths, out)
    floor = [real(out, data, score, n, seed) for seed in arguments.seeds]
    recipes = [recipe for recipe in arguments.recipes if not missing(recipe)]
    trials = [
        Trial(out, name, recipe, seconds, seed)
        for seed in arguments.seeds for seconds in arguments.seconds for recipe in recipes
    ]  # fmt: skip
    for trial in trials:
        if not trial.done:
            trial.run(data, score, size, n)
            print(f"{trial.path.name}: {json.dumps(trial.read()['scores'])}", flush=True)
    rows = rows_of([*floor, *trials])
    tell(name, rows)
    first = [t for t in trials if t.seed == arguments.seeds[0]]
    for seconds in arguments.seconds:
        side_by_side([floor[0], *(t for t in first if t.seconds == seconds)], out / f"{name}-{seconds:g}.png")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for results; what is there is not run again")
    parser.add_argument("--data", nargs="+", default=list(KNOWN), metavar="NAME[=PATH]", help=", ".join(KNOWN))
    parser.add_argument("--seconds", type=float, nargs="+", default=[300.0, 1200.0], help="CPU seconds of training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES, metavar="RECIPE")
    parser.add_argument("--widths", type=lambda text: tuple(map(int, text.split(","))), default=(32, 64, 64))
    parser.add_argument("--draws", type=int, help="draws that are scored; 1,000, or 640 of flowers, by default")
    parser.add_argument("--json", type=Path, default=Path(__file__).parents[1] / "docs/numbers/images.json")
    parser.add_argument("--short", action="store_true", help="digits, 4 s, one seed, 64 draws, small nets; no JSON")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.seconds, arguments.seeds, arguments.draws, arguments.widths = [4.0], [0], 64, (8, 16, 16)
        arguments.data, arguments.json = arguments.data[:1], arguments.out / "images.json"
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    arguments.out.mkdir(parents=True, exist_ok=True)
    for recipe in arguments.recipes:
        if reason := missing(recipe):
            print(reason)
    sets = dict(text.partition("=")[::2] for text in arguments.data)
    found = {name: of_one_set(name, path or KNOWN[name], arguments) for name, path in sets.items()}
    about = {"command": " ".join(["python", *sys.argv]), **protocol()}
    arguments.json.write_text(json.dumps({"protocol": about, "rows": found}, indent=1) + "\n")
    print(f"\nwritten to {arguments.out} and {arguments.json}")


if __name__ == "__main__":
    main()

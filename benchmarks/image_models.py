"""How good a trained image model is: its draws, classes and completions, compared with held-out images.

    python benchmarks/image_models.py pretrained:mnist --set mnist --data FOLDER --out runs/models
    python benchmarks/image_models.py runs/flowers --set flowers --data ZIP --out runs/models

Draws are scored by the Fréchet distance of features (fd), that of images averaged to 8 × 8 pixels (coarse), the kernel
distance, precision and recall. For digits a judge, trained on the training images, says how many draws it takes for
one digit at more than .9, how evenly its classes are spread, which share of the draws of a class it reads as that
class, and which share of completed lower halves it takes for a digit, and for the digit that was there. It prints a
table, and writes it with its protocol to OUT/NAME.json, and the draws to OUT/NAME.png.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

import anila
from anila.applications import box_mask
from anila.applications.on_runs.draws import completion, drawn
from anila.applications.on_runs.observed import Observed
from anila.evaluation import pictures
from anila.evaluation.samples import judged
from anila.rng import rng
from anila.runs.model.model import Model
from image_sets import KNOWN, SCORED, Scorer, image_set, judge_of, points, protocol

GRID, OF_A_CLASS, COMPLETED = 64, 20, 300


def of_draws(model: Model, scorer: Scorer, n: int, out: Path, steps: int | None) -> dict[str, float]:
    """Scores of n draws, and seconds of a processor for 64 of them; a grid of the first."""
    began = time.process_time()
    x = model.draw(n, seed=1, steps=steps)
    seconds = (time.process_time() - began) * GRID / n
    pictures.save(pictures.image_grid(x[:GRID].clamp(-1, 1)), out)
    return scorer(x) | {"seconds for 64": seconds}


def of_classes(model: Model, judge: nn.Module) -> dict[str, float]:
    """Which share of draws of a class the judge reads as that class."""
    read = []
    for y in range(len(model.classes)):
        x = model.draw(OF_A_CLASS, seed=2 + y, label=y).clamp(-1, 1)
        read.append((judge(x.contiguous()).argmax(1) == y).double())
    return {"read as asked": float(torch.cat(read).mean())}


def of_completions(model: Model, judge: nn.Module, x: Tensor, y: Tensor, out: Path) -> dict[str, float]:
    """What the judge takes completed lower halves for."""
    size = x.shape[-1]
    mask = box_mask((size, size), (size // 2, 0, size // 2, size)).expand(x.shape[1:])
    observed = Observed(x.masked_fill(mask, 0), hidden=mask)
    found = drawn(model, observed, completion, 1, None, 0).x[:, 0].clamp(-1, 1).contiguous()
    shown = torch.cat([x.masked_fill(mask, 0)[:16], found[:16], x[:16]])
    pictures.save(pictures.image_grid(shown, 16), out)
    return {
        "completions judged": judged(found, judge).share,
        "the digit that was there": float((judge(found).argmax(1) == y).double().mean()),
        "the originals judged": judged(x, judge).share,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a run, an exported folder, or pretrained:NAME")
    parser.add_argument("--set", choices=KNOWN, required=True)
    parser.add_argument("--data", help="where the image set is, if not known by name")
    parser.add_argument("--count", type=int, help="draws; as many as images held out by default")
    parser.add_argument("--guidance", type=float, help="w of draws, in place of the model's sampler.guidance")
    parser.add_argument("--levels", type=int, help="levels of draws, in place of sampler.levels")
    parser.add_argument("--level-steps", type=int, help="transitions at each, in place of sampler.level_steps")
    parser.add_argument("--steps", type=int, help="transitions at f(x), in place of sampler.draw_steps")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    model, data = anila.load(arguments.model), image_set(arguments.set, arguments.data)
    given = {name: getattr(arguments, name) for name in ("guidance", "levels", "level_steps")}
    sampler = replace(model.config.sampler, **{name: value for name, value in given.items() if value is not None})
    model.config = replace(model.config, sampler=sampler)
    judge = judge_of(data, arguments.out / "judge.pt")
    scorer, name = Scorer(data, judge), Path(arguments.model.replace(":", "-")).name
    scores = of_draws(
        model, scorer, arguments.count or SCORED[arguments.set], arguments.out / f"{name}.png", arguments.steps
    )
    if judge:
        scores |= of_classes(model, judge) if model.classes else {}
        x, y = points(data.test[0][:COMPLETED]), data.test[1][:COMPLETED]
        scores |= of_completions(model, judge, x, y, arguments.out / f"{name}-completed.png")
    rows = torch.randperm(len(data.train), generator=rng(0, "training images"))[: len(data.held_out)]
    floor = scorer(points(data.train[rows]))
    for key, value in scores.items():
        print(f"{key:28}{value:9.3f}" + (f"   training images {floor[key]:.3f}" if key in floor else ""))
    record = {"model": arguments.model, "scores": scores, "floor": floor, "protocol": protocol()}
    (arguments.out / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Completions by runs that differ in their sampler, above each other: the rows of the paper's figure.

    anila train flowers-chains network.width=8 training.batch=16 training.precision=bf16 --run runs/flowers
    anila train flowers-chains sampler=langevin network.width=8 training.batch=16 training.precision=bf16 \
        --run runs/langevin
    python benchmarks/inpainting.py runs/flowers runs/langevin --box 8,8,16,16 --out flowers.png

Each run completes the same images with its own sampler, from its own kept chains nearest to what is seen, by as many
transitions. It prints, with standard errors over images: mean squared error of the hidden pixels against the truth (in
units of x, images in [-1, 1]), that of the mean image of the data, and f of the completions minus f of the truth. A
completion need not be the truth; an error far above that of the mean image says that it is not even near the data.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

import anila
from anila.applications import box_mask
from anila.applications.on_runs.draws import completion, drawn
from anila.applications.on_runs.observed import Observed
from anila.data import Images, images
from anila.density.log_density import values
from anila.evaluation import pictures
from anila.rng import derived

MEAN_OF, SHOWN = 2000, 12
"""Images of the data whose mean is compared with; images in the figure."""


def shown(values: Tensor) -> str:
    """A mean over images with its standard error."""
    return f"{values.mean().item():.3f} ± {values.std().item() / len(values) ** 0.5:.3f}"


def pictures_of(path: Path | None, model: anila.Model, n: int) -> Tensor:
    """Images to complete: n of a file or folder, else of those that the run held out."""
    if path is None:
        return model.held_out(n).x
    found: Images = images(path, size=model.data.event_shape[1])
    return found.batch(n, derived(0, "pictures"), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--box", default="8,8,16,16", help="TOP,LEFT,HEIGHT,WIDTH in pixels")
    parser.add_argument("--data", type=Path, help="images to complete; by default the first run's held-out ones")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    models = {path: anila.load(path) for path in arguments.runs}
    first = next(iter(models.values()))
    y = pictures_of(arguments.data, first, arguments.images)
    top, left, height, width = map(int, arguments.box.split(","))
    mask = box_mask((y.shape[2], y.shape[3]), (top, left, height, width)).expand(y.shape[1:])
    rows: dict[str, Tensor] = {"masked": y.masked_fill(mask, 0)}
    mean = first.reference_data(MEAN_OF).mean(0)
    print("| sampler | iterations | squared error | of the mean image | f, completion − truth |\n|---|---|---|---|---|")
    for model in models.values():
        x = drawn(model, Observed(y, mask), completion, 1, arguments.steps).x[:, 0]
        error, base = (shown((z - y)[:, mask].square().mean(1)) for z in (x, mean.expand_as(y)))
        gap = shown(values(model.f, x) - values(model.f, y))
        name = model.sampler.name
        rows[name] = x
        print(f"| {name} | {model.iteration:,} | {error} | {base} | {gap} |", flush=True)
    pictures.save(pictures.image_rows({name: row[:SHOWN] for name, row in {**rows, "truth": y}.items()}), arguments.out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

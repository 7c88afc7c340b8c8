"""Has f memorised the images it learned? The share of noise that denoising leaves in them and in others.

    anila train FOLDER stages.1.iterations=4000 stages.2.iterations=450 --run runs/photos
    python benchmarks/by_heart.py runs/photos --others OTHERS

E |x − y|² / (s² d) for noisy x + s ξ, denoised to y by f(·, s), at levels s: for up to 256 images that a run learned,
and for as many from a folder or archive that it did not see. If the first is much below the second, f has memorised its
images, and removes too little noise from anything else.
"""

import argparse

import torch
from torch import Tensor

from anila.data import images
from anila.density.log_density import HasLevels, gradient
from anila.rng import rng
from anila.runs.folder.run import Run
from anila.runs.model.trained import Trained

LEVELS = (0.05, 0.1, 0.3, 1.0, 3.0)
COUNT = 256


def noise_left(f: HasLevels, x: Tensor, s: float) -> float:
    """E |x − y|² / (s² d) over the rows of x."""
    x_s = x + s * torch.randn(x.shape, generator=rng(0, "noise"))
    y = x_s + s**2 * gradient(f.at(torch.full((len(x),), s)), x_s)
    return float((x - y).square().mean() / s**2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--others", required=True, help="a folder or archive of images that the run did not see")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    trained = Trained.load(Run.existing(arguments.run))
    f = trained.f
    if not isinstance(f, HasLevels):
        parser.error(f"{arguments.run} was not learned at levels of noise")
    channels, size = trained.data.event_shape[0], trained.data.event_shape[-1]
    others = images(arguments.others, size=size, channels=3 if channels == 3 else 1)
    sides = {"learned": trained.reference_data(COUNT), "others": others.batch(min(COUNT, len(others)), 0, 0)}
    print("s" + "".join(f"{name:>10}" for name in sides))
    for s in LEVELS:
        print(f"{s:g}" + "".join(f"{noise_left(f, x, s):10.3f}" for x in sides.values()))


if __name__ == "__main__":
    main()

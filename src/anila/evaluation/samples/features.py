"""Features of images, on which distances between image sets are measured.

    u → x = u/127.5 − 1,   x ← clip(x, −1, 1),   grey ← (grey, grey, grey),   resize to 32 × 32   →   128 numbers

Resizing is bilinear with antialiasing. The network is that of `classifier`, trained on CIFAR-10 (see the card beside
its weights), and a distance on its features carries its name: "Fréchet distance (anila-features-1)". It is not an FID
and not comparable with one. Only `inception`, with weights that you bring, gives an FID.

Images go through the network in blocks of 128 rows, the last one padded with zeros, whatever their batches. So the
features of an image are bitwise the same for any batch size, even if convolutions round differently for another number
of rows.

References: Heusel et al. 2017 (FID); Parmar, Zhang & Zhu 2022 (resizing).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from anila.density.rows import finite_rows
from anila.evaluation.samples.classifier import Classifier
from anila.evaluation.samples.frechet import Moments

BLOCK = 128
"""Images that go through a network at once."""
SIDE = 32
WEIGHTS = Path(__file__).parent / "weights"
NAME = "anila-features-1"


class Extractor(NamedTuple):
    """A map from images to features, with its description."""

    name: str
    map: Callable[[Tensor], Tensor]
    """A block of images x in [−1, 1], (block, 3, h, w) -> (block, d)."""
    about: dict[str, Any]
    """Protocol: weights with their sha256, resizing, number of features."""
    distance: str
    """Name of a Fréchet distance of these features."""
    kernel_distance: str
    """Name of a kernel distance of these features."""

    def __repr__(self) -> str:
        return f"<Extractor: features {self.name}, for {self.distance} and {self.kernel_distance}>"

    def features(self, images: Tensor | Iterable[Tensor]) -> Float[Tensor, "n d"]:
        """The features of images, (n, d) float32 on the CPU.

        Args:
            images: (n, c, h, w), c 1 or 3: x in [−1, 1] (values beyond are clipped) or levels as uint8. Or batches of
                them.

        Raises:
            ValueError: If there is no image, one is not finite, or their shape, range or dtype is another.
        """
        return torch.cat(list(self.stream(images)))

    def moments(self, images: Tensor | Iterable[Tensor]) -> Moments:
        """Mean and covariance of the features in float64; only one block of images is kept in memory.

        Raises:
            ValueError: As in `features`.
        """
        moments = Moments()
        for features in self.stream(images):
            moments.add(features)
        return moments

    def stream(self, images: Tensor | Iterable[Tensor]) -> Iterator[Float[Tensor, "_ d"]]:
        """Features of up to 128 images at a time."""
        seen = 0
        for block in blocks([images] if isinstance(images, Tensor) else images):
            short = BLOCK - len(block)
            with torch.no_grad():
                found = self.map(F.pad(colour(block), (0, 0, 0, 0, 0, 0, 0, short)))
            yield found[: len(block)].float().cpu()
            seen += len(block)
        if not seen:
            raise ValueError("expected at least one image, got none")


def anila_features() -> Extractor:
    """The features that come with this package: 128 numbers of a CIFAR-10 classifier.

    Raises:
        ValueError: If the weights do not match their card.
    """
    card, net = packaged(WEIGHTS)
    about = {
        "name": NAME,
        "weights_sha256": card["sha256"],
        "resize": f"{SIDE} × {SIDE}, bilinear, antialiased",
        "features": card["features"],
    }

    def extract(x: Tensor) -> Tensor:
        return net.features(resized(x).to(memory_format=torch.channels_last))

    return Extractor(NAME, extract, about, f"Fréchet distance ({NAME})", f"kernel distance ({NAME})")


@lru_cache(maxsize=2)
def packaged(folder: Path) -> tuple[dict[str, Any], Classifier]:
    """The card and the network of a folder of weights.

    Raises:
        ValueError: If they are missing, altered or do not fit.
    """
    path = folder / f"{NAME}.safetensors"
    try:
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} or its card is missing or unreadable: {error}; install the package again") from None
    found = hashlib.sha256(data).hexdigest()
    if found != card["sha256"]:
        raise ValueError(f"{path}: expected sha256 {card['sha256']}, got {found}; install the package again")
    net = Classifier()
    try:
        net.load_state_dict({name: value.float() for name, value in load(data).items()})
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{path} does not hold the weights of its card: {error}") from None
    return card, net.eval().requires_grad_(False)


def blocks(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """The same rows in blocks of 128, the last one shorter."""
    waiting: list[Tensor] = []
    for batch in batches:
        waiting.append(in_range(batch))
        while sum(map(len, waiting)) >= BLOCK:
            rows = torch.cat(waiting)
            yield rows[:BLOCK]
            waiting = [rows[BLOCK:]]
    if len(rest := torch.cat(waiting) if waiting else torch.empty(0)):
        yield rest


def in_range(images: Tensor) -> Float[Tensor, "n c h w"]:
    """Images as x in [−1, 1].

    Raises:
        ValueError: If they are not images.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"expected images (n, c, h, w) with c 1 or 3; got shape {tuple(images.shape)}")
    if images.dtype == torch.uint8:
        return images.float() / 127.5 - 1
    if not images.is_floating_point():
        raise ValueError(f"expected x in [−1, 1] as floating point or levels as uint8; got {images.dtype}")
    if bad := int((~finite_rows(images)).sum()):
        raise ValueError(f"expected finite images; {bad} of {len(images)} hold NaN or infinity: leave them out")
    if images.numel() and images.min() >= 0 and images.max() > 2:
        raise ValueError(
            f"expected x in [−1, 1], got values from {images.min():g} to {images.max():g}: levels are given as uint8"
        )
    return images.detach().float().clamp(-1, 1)


def colour(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 3 h w"]:
    """Grey repeated into three channels."""
    return x.expand(-1, 3, -1, -1)


def resized(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c 32 32"]:
    """Images resized to 32 × 32."""
    if x.shape[2:] == (SIDE, SIDE):
        return x
    return F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)

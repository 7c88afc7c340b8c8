"""Pictures in the page: those that training and other commands left in the folder, and strips of chains."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

from anila.density.rows import across, finite_rows
from anila.evaluation import pictures
from anila.messages import counted
from anila.reports.page.walk import Frame, evenly
from anila.runs.folder.contents import NUMBER
from anila.runs.folder.run import Run


class Picture(NamedTuple):
    """A picture with what it is called and what is on it."""

    label: str
    uri: str
    alt: str
    width: int
    height: int
    is_figure: bool = False
    """Whether it is drawn on white paper, and may be turned dark."""


def data_uri(png: bytes) -> str:
    """Bytes of a PNG as an address that holds them."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def read(path: Path, label: str, alt: str) -> Picture | None:
    """A picture of a file, pixel for pixel; figures in 256 colours, a quarter of the size. None where it is damaged."""
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            image.load()
            is_figure = image.mode == "RGBA"
            png = png_of(image.quantize(256)) if is_figure else content
            return Picture(label, data_uri(png), alt, *image.size, is_figure)
    except (OSError, SyntaxError, ValueError):
        return None


def png_of(image: Image.Image) -> bytes:
    """An image as the bytes of a PNG."""
    png = io.BytesIO()
    image.save(png, format="png")
    return png.getvalue()


def through_training(run: Run, most: int) -> list[Picture]:
    """Pictures of training, oldest first: so many of them, evenly chosen."""
    paths = sorted(run.samples.glob(f"{NUMBER}.png"))
    found = [
        read(paths[k], f"{int(paths[k].stem):,}", f"samples after {counted(int(paths[k].stem), 'iteration')}")
        for k in evenly(len(paths), most)
    ]
    return [picture for picture in found if picture]


def strips(frames: Sequence[Frame], chains: int) -> list[Picture]:
    """Each moment as one column of images, a row a chain; white where a chain is lost."""
    found = []
    for label, x in frames:
        finite = across(finite_rows(x), x)
        image = pictures.image_grid(torch.where(finite, x, torch.ones_like(x))[:chains], columns=1)
        alt = f"{counted(min(chains, len(x)), 'chain')} at {label}"
        found.append(Picture(label, data_uri(png_of(image)), alt, *image.size))
    return found

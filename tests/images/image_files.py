"""Small image files and sets, made for a test."""

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image

from anila.data import Images
from anila.data import cache as packing
from anila.data.decode import open_image, pixels


def noise(n: int, shape: tuple[int, ...] = (6, 8, 3)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)


def levels(data: Images) -> np.ndarray:
    """Back to 8-bit levels, channels last."""
    x = torch.cat(list(data.chunks()))
    return ((x + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def encoded(image: Image.Image, kind: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def decoded(raw: bytes, channels: Literal[1, 3] | None = None) -> np.ndarray:
    return pixels(open_image(raw), channels)


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    return path


def idx(path: Path, values: np.ndarray) -> Path:
    raw = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def cifar(path: Path) -> np.ndarray:
    pixels = noise(4, (3, 32, 32))
    with tarfile.open(path, "w:gz") as archive:
        for name, rows in (("data_batch_1.bin", range(3)), ("test_batch.bin", range(3, 4))):
            raw = b"".join(bytes([9 - i]) + pixels[i].tobytes() for i in rows)
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return pixels


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """No image is decoded from here on."""

    def no(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(packing, "decoded", no)


PNG = encoded(Image.fromarray(noise(1)[0]), "PNG")

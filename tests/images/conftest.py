"""Image sets that tests read."""

from pathlib import Path

import numpy as np
import pytest
from image_files import idx, noise
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test has its own cache, data folder and working folder."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ANILA_CACHE", str(folder))
    monkeypatch.setenv("ANILA_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve colour images of 8 × 6 in two classes."""
    root = tmp_path / "photos"
    for i, image in enumerate(noise(12)):
        path = root / ("cat" if i < 5 else "dog") / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return root


@pytest.fixture(params=["", ".gz"])
def digits(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path / "digits"
    for split, n in (("train", 5), ("t10k", 3)):
        idx(folder / f"{split}-images-idx3-ubyte{request.param}", noise(n, (28, 28)))
        idx(folder / f"{split}-labels-idx1-ubyte{request.param}", np.arange(n, dtype=np.uint8)[::-1])
    return folder

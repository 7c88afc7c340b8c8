"""The cache of decoded images: whole or not at all, and never that of other settings."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import forbid, levels, noise
from PIL import Image

from anila.data import cache as packing
from anila.data import images


def test_the_second_load_does_not_decode(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = images(photos, size=4)
    forbid(monkeypatch)
    again = images(photos, size=4)
    assert torch.equal(first.rows(range(12)), again.rows(range(12)))
    assert first.fingerprint == again.fingerprint
    assert first.labels.tolist() == again.labels.tolist()
    assert isinstance(again.values, np.memmap)


def test_other_content_or_settings_are_another_cache(photos: Path, cache: Path) -> None:
    seen = {
        images(photos).fingerprint,
        images(photos, size=4).fingerprint,
        images(photos, channels=1).fingerprint,
    }
    assert len(list(cache.glob("*.npy"))) == 3
    Image.fromarray(255 - noise(1)[0]).save(photos / "cat" / "00.png")
    changed = images(photos)
    np.testing.assert_array_equal(levels(changed)[0], 255 - noise(1)[0])
    seen |= {changed.fingerprint, images(photos, flip=True).fingerprint}
    assert len(seen) == 5


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError("no space left on device")])
def test_an_interrupted_decode_leaves_nothing(photos: Path, cache: Path, stop: BaseException) -> None:
    def progress(done: int, _: int) -> None:
        if done == 7:
            raise stop

    with pytest.raises((KeyboardInterrupt, OSError)):
        images(photos, progress=progress)
    assert list(cache.iterdir()) == []
    assert len(images(photos)) == 12


@pytest.mark.parametrize("fault", ["truncated", "empty", "other", "no labels", "zeroed"])
def test_a_damaged_cache_is_made_again(photos: Path, cache: Path, fault: str) -> None:
    images(photos)
    (path,) = cache.glob("*.npy")
    if fault == "no labels":
        path.with_suffix(".json").unlink()
    elif fault == "other":
        np.save(path, np.zeros((3, 3, 6, 8), np.uint8))
    elif fault == "zeroed":
        np.load(path, mmap_mode="r+")[5] = 0
    else:
        path.write_bytes(path.read_bytes()[: 0 if fault == "empty" else 500])
    np.testing.assert_array_equal(levels(images(photos)), noise(12))


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nobody can tell a dead process")
def test_temporary_files_of_dead_processes_are_removed(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sees one of a dead process that stays, and one of a living process that does not."""
    cache.mkdir()
    alive = packing.temporary_name(cache / "a.npy")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    monkeypatch.setattr(os, "getpid", lambda: dead.pid)
    left, old = packing.temporary_name(cache / "b.npy"), cache / ".c.npy.12345678.tmp"
    for path in (alive, left, old):
        path.touch()
    os.utime(old, (0, 0))
    images(photos)
    assert [path.exists() for path in (alive, left, old)] == [True, False, False]


def test_progress_counts_every_image_once(photos: Path) -> None:
    calls: list[tuple[int, int]] = []
    images(photos, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i + 1, 12) for i in range(12)]


def test_a_cache_that_cannot_be_made_says_what_to_set(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"cannot make the cache folder .* set ANILA_CACHE"):
        images(photos, cache=tmp_path / "file" / "cache")


def test_the_cache_argument_comes_before_the_environment(photos: Path, tmp_path: Path, cache: Path) -> None:
    images(photos, cache=tmp_path / "elsewhere")
    assert len(list((tmp_path / "elsewhere").glob("*.npy"))) == 1
    assert not cache.exists()

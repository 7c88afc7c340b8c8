"""Laws of image sets (the source's pixels, decoded once, whole or not at all) and their faults."""

import gzip
import io
import json
import lzma
import os
import re
import struct
import subprocess
import sys
import tarfile
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from anila.data import Images, archives, images, load
from anila.data import cache as packing
from anila.data.decode import open_image, pixels
from anila.data.download import download, md5_of
from anila.data.images import require_settings
from anila.data.known import KNOWN, Known

PALETTE = [(i * 16, 255 - i * 16, 40) for i in range(16)]


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


PNG = encoded(Image.fromarray(noise(1)[0]), "PNG")


# What is decoded


def test_pixels_labels_and_order_are_those_of_the_folder(photos: Path) -> None:
    data = images(photos)
    assert data.event_shape == (3, 6, 8)
    np.testing.assert_array_equal(levels(data), noise(12))
    assert data.labels.tolist() == [0] * 5 + [1] * 7
    assert data.classes == ("cat", "dog")


@pytest.mark.parametrize("pack", ["zip", "tar", "tgz", "zips"])
def test_archives_give_what_the_folder_gives(photos: Path, tmp_path: Path, pack: str) -> None:
    files = sorted(photos.rglob("*.png"))
    names = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in files}
    source = tmp_path / f"p.{pack}"
    if pack == "zips":
        source.mkdir()
        zipped(source / "a.zip", dict(list(names.items())[:7]))
        zipped(source / "b.zip", dict(list(names.items())[7:]))
    elif pack == "zip":
        zipped(source, dict(reversed(names.items())))
    else:
        with tarfile.open(source, "w:gz" if pack == "tgz" else "w") as archive:
            for path in files:
                archive.add(path, path.relative_to(tmp_path).as_posix())
    data, folder = images(source), images(photos)
    assert torch.equal(data.rows(range(12)), folder.rows(range(12)))
    assert data.labels.tolist() == folder.labels.tolist()
    assert data.classes == folder.classes


def test_a_folder_that_holds_everything_is_no_label(tmp_path: Path) -> None:
    data = images(zipped(tmp_path / "a.zip", {"album/2024/a.png": PNG, "album/2024/b.png": PNG}))
    assert data.labels.tolist() == [-1, -1]
    assert data.classes == ()


def test_hidden_and_other_files_are_passed_over(photos: Path) -> None:
    (photos / ".hidden").mkdir()
    for name in (".hidden/a.png", ".b.png", "notes.txt"):
        (photos / name).write_bytes(b"no image")
    assert len(images(photos)) == 12


def test_splits_are_selected(tmp_path: Path) -> None:
    names = [f"set/{split}/{label}/{i}.png" for split in ("test", "train") for label in "ab" for i in range(2)]
    source = zipped(tmp_path / "a.zip", dict.fromkeys(names[:-1], PNG))
    assert [len(images(source, split=split)) for split in ("train", "test", "all")] == [3, 4, 7]
    assert images(source).classes == ("a", "b")
    with pytest.raises(ValueError, match=r"no split 'val': it has 'test' \(4 images\), 'train' \(3 images\)"):
        images(source, split="val")


def test_a_split_is_no_label(tmp_path: Path) -> None:
    data = images(zipped(tmp_path / "a.zip", {"train/a.png": PNG, "test/b.png": PNG}))
    assert data.labels.tolist() == [-1]
    assert data.classes == ()


def test_a_set_of_training_images_has_no_test_images(tmp_path: Path) -> None:
    source = zipped(tmp_path / "a.zip", {"x/train/a/1.png": PNG, "x/train/b/2.png": PNG})
    assert images(source).classes == ("a", "b")
    with pytest.raises(ValueError, match=r"no split 'test': it has 'train' \(2 images\)"):
        images(source, split="test")


def test_a_set_without_splits_has_no_test_images(photos: Path) -> None:
    with pytest.raises(ValueError, match="no split 'test': it has no split folders"):
        images(photos, split="test")


def tree(root: Path, names: list[str], kind: str) -> Path:
    """The same image under these names, in a folder, a zip or a tar."""
    if kind == "folder":
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(PNG)
        return root
    path = root.with_suffix(f".{kind}")
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                info = zipfile.ZipInfo("x")
                info.filename = name
                archive.writestr(info, PNG)
        return path
    with tarfile.open(path, "w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(PNG)
            archive.addfile(info, io.BytesIO(PNG))
    return path


@pytest.mark.skipif(os.name == "nt", reason="there it is a folder")
@pytest.mark.parametrize("kind", ["zip", "tar", "folder"])
def test_a_backslash_between_folders_is_a_slash(tmp_path: Path, kind: str) -> None:
    """Sees test images that join training, classes that are lost, and hidden files that are not hidden."""
    names = [f"{split}\\{label}\\{i}.png" for split in ("train", "test") for label in "ab" for i in range(3)]
    source = tree(tmp_path / "w", [*names, "__MACOSX\\._a.png"], kind)
    data = images(source)
    assert len(data) == 6
    assert data.classes == ("a", "b")
    assert len(images(source, split="test")) == 6


LAYOUTS = {
    "a stray image": ["train/a/1", "train/b/2", "test/a/3", "cover"],
    "a stray image above all": ["x/train/a/1", "x/train/b/2", "x/test/a/3", "cover"],
    "other words": ["training_set/a/1", "training_set/b/2", "test_set/a/3"],
    "years": ["train2017/a/1", "train2017/b/2", "val2017/a/3"],
    "capitals": ["Train/a/1", "Train/b/2", "TEST/a/3"],
    "splits in classes": ["a/train/1", "b/train/2", "a/test/3"],
    "another folder": ["train/a/1", "train/b/2", "valid/a/3", "extra/c/4"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_held_out_images_do_not_join_training(tmp_path: Path, layout: str) -> None:
    source = tree(tmp_path / "w", [f"{name}.png" for name in LAYOUTS[layout]], "zip")
    stray = sum("cover" in name or "extra" in name for name in LAYOUTS[layout])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        data = images(source)
    assert len(data) == 2
    assert data.classes == ("a", "b")
    assert [f"left out {stray} images in no split" in str(w.message) for w in said] == [True] * stray


def test_archives_called_like_splits_are_splits(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    for split in ("train", "test"):
        tree(tmp_path / "w" / split, ["a/1.png", "b/2.png"], "zip")
    data = images(tmp_path / "w")
    assert len(data) == 2
    assert data.classes == ("a", "b")
    assert len(images(tmp_path / "w", split="all")) == 4


def test_what_is_taken_of_which_split_is_said_in_one_line(tmp_path: Path, photos: Path) -> None:
    source = tree(tmp_path / "w", ["train/a/1.png", "train/b/2.png", "test/a/3.png"], "zip")
    for _ in range(2):  # from the cache too
        assert images(source).description == f"2 images from {source}, split 'train' of 'test' (1), 'train' (2)"
    assert images(photos).description == f"12 images from {photos} (no split folders)"
    (photos / "cat" / "03.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="left out"):
        data = images(photos, on_error="skip")
    assert "11 images" in data.description
    assert data.description.endswith("left out 1 that cannot be decoded (cat/03.png (zero bytes))")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train.zip", r"left out 1 × archive \(train\.zip\)"),
        ("cat/a.HEIC", r"left out 1 × image of a kind not read here \(cat/a\.HEIC\)"),
        ("images.rar", r"left out 1 × archive"),
    ],
)
def test_what_lies_beside_and_looks_like_images_is_said(photos: Path, name: str, message: str) -> None:
    (photos / name).write_bytes(PNG)
    with pytest.warns(UserWarning, match=message):
        assert re.search(message, images(photos).description)


def test_a_linked_folder_is_said(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (photos / "bird").symlink_to(tmp_path / "more")
    with pytest.warns(UserWarning, match="left out linked folder .*bird"):
        images(photos)


def test_test_images_that_join_others_are_said(photos: Path) -> None:
    tree(photos, ["test/1.png"], "folder")
    with pytest.warns(UserWarning, match="took 1 images in a folder 'test' with the others"):
        images(photos)


@pytest.mark.parametrize("suffix", ["jfif", "jpe", "JPG", "avif"])
def test_other_suffixes_of_the_same_kinds_are_read(tmp_path: Path, suffix: str) -> None:
    kind = "AVIF" if suffix == "avif" else "JPEG"
    source = zipped(tmp_path / "a.zip", {f"a.{suffix}": encoded(Image.fromarray(noise(1)[0]), kind)})
    assert len(images(source)) == 1


def test_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(noise(1)[0])
    turned = decoded(encoded(image, "PNG", exif=exif))
    np.testing.assert_array_equal(turned, np.rot90(noise(1)[0], -1).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("mode", "kind", "channels"),
    [
        ("1", "PNG", 1),
        ("L", "PNG", 1),
        ("LA", "PNG", 1),
        ("P", "PNG", 3),
        ("RGBA", "PNG", 3),
        ("CMYK", "TIFF", 3),
        ("P", "GIF", 3),
        ("RGB", "WEBP", 3),
        ("RGB", "BMP", 3),
        ("L", "PPM", 1),
    ],
)
def test_every_mode_becomes_grey_or_colour(mode: str, kind: str, channels: int) -> None:
    source = Image.fromarray(noise(1)[0]).convert(mode)
    settings = {"lossless": True} if kind == "WEBP" else {}
    got = decoded(encoded(source, kind, **settings))
    assert got.shape == (channels, 6, 8)
    expected = np.asarray(source.convert("L" if channels == 1 else "RGB"))
    np.testing.assert_array_equal(got, expected[None] if channels == 1 else expected.transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_composited_on_mid_grey(mode: str) -> None:
    layered = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 255, 51)):
        layered.putpixel((x, 0), (255, 255, 255, alpha))
    if mode == "P":
        layered.putpixel((2, 0), (255, 255, 255, 255))
    expected = [128, 255, 255 if mode == "P" else round(128 + 0.2 * 127)]
    assert decoded(encoded(layered.convert(mode), "PNG"))[0, 0].tolist() == expected


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    deep = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    assert decoded(encoded(Image.fromarray(deep), "PNG"))[0, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(
    "values",
    [
        np.full((2, 2), 1e6, np.int32),
        np.full((2, 2), 200, np.int32),
        np.ones((2, 2), np.float32),
        np.array([[0, 4095]], np.uint16),
    ],
)
def test_numbers_of_no_known_range_are_refused(values: np.ndarray) -> None:
    """Sees 32-bit levels taken for 16-bit ones, and 12-bit levels in 16 bits, which would be nearly black."""
    with pytest.raises(ValueError, match=r"no known range|are they 12-bit"):
        decoded(encoded(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("kind", ["tiff", "pgm"])
def test_twelve_bits_that_say_so_are_scaled_by_their_own_white(kind: str) -> None:
    levels = [0, 2048, 4095, 257]
    if kind == "pgm":
        raw = b"P5 4 1 4095\n" + struct.pack(">4H", *levels)
    else:
        packed = b"".join(bytes((a >> 4, (a & 15) << 4 | b >> 8, b & 255)) for a, b in (levels[:2], levels[2:]))
        tags = ((256, 4), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 6))
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        raw = b"II*\0" + struct.pack("<I", 14) + packed + struct.pack("<H", len(tags)) + entries + bytes(4)
    assert decoded(raw)[0, 0].tolist() == [0, 128, 255, 16]


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    raw = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decoded(raw)[:, 0, 0].tolist() == [255, 0, 0]


def test_a_postscript_file_with_the_suffix_of_an_image_is_not_run() -> None:
    with pytest.raises(ValueError, match="cannot identify the kind of image"):
        open_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")


@pytest.mark.parametrize("first", ["grey", "colour"])
def test_a_set_is_grey_only_if_every_image_is(tmp_path: Path, first: str) -> None:
    grey, colour = noise(5, (4, 4)), noise(5, (4, 4, 3))
    order = (grey, colour) if first == "grey" else (colour, grey)
    every = [image for part in order for image in part]
    source = zipped(tmp_path / "a.zip", {f"{i}.png": encoded(Image.fromarray(a), "PNG") for i, a in enumerate(every)})
    expected = [a if a.ndim == 3 else np.repeat(a[..., None], 3, 2) for a in every]
    np.testing.assert_array_equal(levels(images(source)), np.stack(expected))
    assert images(source, channels=1).event_shape == (1, 4, 4)


def test_greyscale_stays_one_channel_unless_asked(tmp_path: Path) -> None:
    source = zipped(tmp_path / "a.zip", {"a.png": encoded(Image.fromarray(noise(1, (4, 4))[0]), "PNG")})
    np.testing.assert_array_equal(levels(images(source))[..., 0], noise(1, (4, 4)))
    assert images(source, channels=3).event_shape == (3, 4, 4)


def test_sizes_that_differ_ask_for_a_size(tmp_path: Path) -> None:
    source = zipped(tmp_path / "a.zip", {"a.png": PNG, "b.png": encoded(Image.new("RGB", (5, 5)), "PNG")})
    with pytest.raises(ValueError, match=r"a.png is 6 × 8, b.png is 5 × 5 .*data.size=32"):
        images(source)
    assert images(source, size=4).event_shape == (3, 4, 4)


def test_resizing_crops_the_centre_and_averages(tmp_path: Path) -> None:
    wide = np.zeros((32, 64, 3), dtype=np.uint8)
    wide[:, :16] = wide[:, 48:] = (255, 0, 0)
    wide[::2, 16:48] = 200
    source = zipped(tmp_path / "a.zip", {"a.png": encoded(Image.fromarray(wide), "PNG")})
    small = levels(images(source, size=4))[0].astype(int)
    assert abs(small - 100).max() <= 16


# idx and CIFAR files


def idx(path: Path, values: np.ndarray) -> Path:
    raw = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


@pytest.fixture(params=["", ".gz"])
def digits(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path / "digits"
    for split, n in (("train", 5), ("t10k", 3)):
        idx(folder / f"{split}-images-idx3-ubyte{request.param}", noise(n, (28, 28)))
        idx(folder / f"{split}-labels-idx1-ubyte{request.param}", np.arange(n, dtype=np.uint8)[::-1])
    return folder


def test_idx_folders_have_splits_and_labels(digits: Path) -> None:
    train, test = images(digits), images(digits, split="test")
    assert train.event_shape == (1, 28, 28)
    np.testing.assert_array_equal(levels(train)[..., 0], noise(5, (28, 28)))
    assert [train.classes[i] for i in train.labels] == ["4", "3", "2", "1", "0"]
    assert len(test) == 3


def test_one_idx_file_is_a_set(digits: Path) -> None:
    (path,) = digits.glob("t10k-images*")
    assert images(path).labels.tolist() == [2, 1, 0]
    next(digits.glob("t10k-labels*")).unlink()
    assert images(path).labels.tolist() == [-1, -1, -1]


def test_idx_images_are_padded_a_little_and_resized_a_lot(digits: Path) -> None:
    small, large, less = (levels(images(digits, size=size)) for size in (32, 37, 14))
    np.testing.assert_array_equal(small[:, 2:-2, 2:-2, 0], noise(5, (28, 28)))
    assert small.sum(dtype=int) == noise(5, (28, 28)).sum(dtype=int)
    assert large[:, 0].mean() > 100
    assert less.shape[1:3] == (14, 14)


def test_labels_that_do_not_fit_are_refused(digits: Path) -> None:
    (path,) = digits.glob("train-labels*")
    idx(path, np.zeros(4, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"train-labels.*expected 5 labels .* got 4"):
        images(digits)


@pytest.mark.parametrize("fault", ["empty", "header", "short"])
def test_a_damaged_idx_file_is_refused_by_name(tmp_path: Path, fault: str) -> None:
    path = idx(tmp_path / "train-images-idx3-ubyte", noise(5, (28, 28)))
    raw = {"empty": b"", "header": b"\x00" * 200, "short": path.read_bytes()[:1000]}[fault]
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte|images cannot be decoded: 000001"):
        images(path)


def cifar(path: Path) -> np.ndarray:
    pixels = noise(4, (3, 32, 32))
    with tarfile.open(path, "w:gz") as archive:
        for name, rows in (("data_batch_1.bin", range(3)), ("test_batch.bin", range(3, 4))):
            raw = b"".join(bytes([9 - i]) + pixels[i].tobytes() for i in rows)
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return pixels


def test_the_published_cifar_archive_is_read(tmp_path: Path) -> None:
    (tmp_path / "data" / "cifar10").mkdir(parents=True)
    pixels = cifar(tmp_path / "data" / "cifar10" / "cifar-10-binary.tar.gz")
    data = load("cifar10")
    assert isinstance(data, Images)
    np.testing.assert_array_equal(levels(data), pixels[:3].transpose(0, 2, 3, 1))
    assert [data.classes[i] for i in data.labels] == ["truck", "ship", "horse"]
    assert len(images("cifar10", split="test")) == 1


# The cache


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: object) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr(packing, "decoded", no)


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


# Batches


def test_flips_are_fair_coins_of_seed_and_iteration(photos: Path) -> None:
    plain, flipped = images(photos), images(photos, flip=True)
    count = 0
    for iteration in range(100):
        x, y = plain.batch(4, 0, iteration), flipped.batch(4, 0, iteration)
        coin = (x != y).flatten(1).any(1)
        assert torch.equal(torch.where(coin[:, None, None, None], x.flip(-1), x), y)
        count += int(coin.sum())
    assert 160 < count < 240
    assert torch.equal(flipped.batch(4, 0, 7), images(photos, flip=True).batch(4, 0, 7))
    assert torch.equal(flipped.rows([3]), plain.rows([3]))


# Faults


def test_a_missing_folder_is_named_in_full_and_makes_no_cache(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "none")):
        images("none")
    assert not cache.exists()


def test_an_empty_folder_says_what_was_seen_and_what_is_accepted(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"docs: 0 files seen \(none\); accepted are .png"):
        images(folder)
    for name in ("a.txt", "b.txt", "c.psd"):
        (folder / name).touch()
    with pytest.raises(ValueError, match=r"3 files seen \(2 .txt, 1 .psd\); accepted are .png.*\.zip"):
        images(folder)


def test_an_archive_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no images in .*a.zip; accepted suffixes are .png"):
        images(zipped(tmp_path / "a.zip", {"a.txt": b"x"}))


BAD: dict[str, Callable[[], bytes]] = {
    "zero bytes": lambda: b"",
    "half a jpeg": lambda: (raw := encoded(Image.fromarray(noise(1)[0]), "JPEG"))[: len(raw) - 40],
    "half a png": lambda: PNG[: len(PNG) // 2],
    "a broken png": lambda: PNG[:60] + b"\0" * 9 + PNG[69:],
    "a text": lambda: b"<html>404</html>",
}


@pytest.mark.parametrize("fault", BAD)
def test_an_image_that_cannot_be_decoded_is_refused_or_skipped(
    photos: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "cat" / "03.png").write_bytes(BAD[fault]())
    message = r"1 of 12 images cannot be decoded: cat/03.png \("
    with pytest.raises(ValueError, match=rf"{message}.*data.on_error=skip"):
        images(photos)
    with pytest.warns(UserWarning, match=rf"{message}.*left out"):
        data = images(photos, on_error="skip")
    np.testing.assert_array_equal(levels(data), np.delete(noise(12), 3, 0))
    assert data.labels.tolist() == [0] * 4 + [1] * 7
    forbid(monkeypatch)
    with pytest.warns(UserWarning, match=message):
        images(photos, on_error="skip")
    with pytest.raises(ValueError, match=message):
        images(photos)


def test_only_the_first_few_bad_images_are_listed(tmp_path: Path) -> None:
    members = {f"{i:03d}.png": b"" if i % 20 == 0 else PNG for i in range(140)}
    with pytest.raises(ValueError, match=r"7 of 140 .*: 000.png .*080.png \(zero bytes\) and 2 more; repair"):
        images(zipped(tmp_path / "a.zip", members))


@pytest.mark.parametrize("on_error", ["error", "skip"])
def test_more_than_a_tenth_of_bad_images_stops(photos: Path, on_error: Literal["error", "skip"]) -> None:
    for name in ("cat/01.png", "dog/07.png"):
        (photos / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"more than 10% of 12 images cannot be decoded: cat/01.png .*dog/07"):
        images(photos, on_error=on_error)


def test_a_set_of_nothing_but_bad_images_is_not_skipped(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot be decoded: a\.png"):
        images(zipped(tmp_path / "a.zip", {"a.png": b"x"}), on_error="skip")


def photo(*tags: tuple[int, int, int, bytes]) -> bytes:
    """A whole JPEG with these EXIF tags: number, type, count and value."""
    body = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in tags)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + body + bytes(36)
    raw = encoded(Image.fromarray(noise(1)[0]), "JPEG")
    return raw[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + raw[2:]


TURNED = (0x112, 3, 1, struct.pack("<HH", 6, 0))
BROKEN = {
    "artist as a rational": (0x13B, 5, 1, struct.pack("<I", 38)),
    "compression as text": (0x103, 2, 4, b"abc\0"),
    "an unknown type": (0x132, 99, 7, b"\xff" * 4),
}


@pytest.mark.parametrize("tag", BROKEN)
def test_a_photo_is_not_lost_to_a_tag_that_nobody_needs(tag: str) -> None:
    assert open_image(photo(TURNED, BROKEN[tag])).size == (6, 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_that_of_pillow(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    raw = encoded(Image.fromarray(noise(1)[0]), "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(raw)))
    np.testing.assert_array_equal(decoded(raw), np.asarray(expected).transpose(2, 0, 1))


@pytest.mark.parametrize("value", [1, 2, 7, 255])
def test_whatever_byte_is_broken_there_is_an_image_or_a_refusal(value: int) -> None:
    """Sees an error of Pillow that is not turned into a refusal; TIFF's tags bring most kinds."""
    raw = encoded(Image.fromarray(noise(1, (2, 2, 3))[0]), "TIFF")
    for i in range(len(raw)):
        with warnings.catch_warnings(), suppress(ValueError):
            warnings.simplefilter("ignore")
            open_image(raw[:i] + bytes([value]) + raw[i + 1 :])


@pytest.mark.parametrize(
    "error", [TypeError("x"), AttributeError("x"), lzma.LZMAError("x"), struct.error("x"), MemoryError()]
)
@pytest.mark.parametrize("where", ["read", "open"])
def test_whatever_a_library_raises_on_one_image_it_is_skipped(
    photos: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, where: str
) -> None:
    def fail(*_: object, **__: object) -> bytes:
        raise error

    if where == "open":
        (photos / "cat" / "03.png").write_bytes(b"odd")
        real = Image.open
        monkeypatch.setattr(Image, "open", lambda f, **k: fail() if f.getvalue() == b"odd" else real(f, **k))
    else:
        real_read = Path.read_bytes
        monkeypatch.setattr(Path, "read_bytes", lambda p: fail() if p.name == "03.png" else real_read(p))
    with pytest.warns(UserWarning, match=r"1 of 12 images cannot be decoded: cat/03.png"):
        assert len(images(photos, on_error="skip")) == 11


def test_a_zip_of_an_unknown_method_names_the_member(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.png": PNG, "b.png": PNG})
    raw = bytearray(path.read_bytes())
    raw[8] = raw[raw.index(b"PK\x01\x02") + 10] = 99
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"1 of 2 images cannot be decoded: a\.png \(That compression method"):
        images(path)


@pytest.mark.parametrize("offset", [10, 14])
def test_a_damaged_gzip_is_refused_by_name(tmp_path: Path, offset: int) -> None:
    path = idx(tmp_path / "train-images-idx3-ubyte.gz", noise(5, (28, 28)))
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz|images cannot be decoded: 000000"):
        images(path)


def test_an_idx_header_that_promises_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(bytes((0, 0, 8, 3)) + struct.pack(">3I", 4_000_000_000, 28, 28) + bytes(100))
    with pytest.raises(ValueError, match=r"idx3-ubyte: its header promises 4000000000 images of 28 × 28"):
        images(path)


def test_a_cifar_label_out_of_range_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("data_batch_1.bin")
        member.size = 3073
        archive.addfile(member, io.BytesIO(b"\xff" + bytes(3072)))
    with pytest.raises(ValueError, match=r"cifar-10-binary\.tar\.gz"):
        images(path)


def test_hostile_names_are_escaped_in_every_message(tmp_path: Path) -> None:
    """Sees a file or member name that moves the cursor or ends the line."""
    name = "\x1b[2Ja\nb"
    path = zipped(tmp_path / f"{name}.zip", {f"{name}/c.png": b"", "d/e.png": PNG, f"{name}/f.png": PNG})
    with pytest.warns(UserWarning, match=r"\\x1b\[2Ja\\nb/c\.png") as said:
        data = images(path, on_error="skip")
    with pytest.raises(ValueError) as refused:
        images(path)
    with pytest.raises(FileNotFoundError) as missing:
        load(f"./{name}")
    texts = [str(said[0].message), str(refused.value), str(missing.value), data.name, *data.classes]
    assert all(map(str.isprintable, texts))


def test_no_home_asks_for_a_cache_and_takes_a_tilde_as_a_name(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless(path: str) -> str:
        return path

    monkeypatch.setattr("os.path.expanduser", homeless)
    monkeypatch.delenv("ANILA_CACHE")
    with pytest.raises(ValueError, match="this user has no home; set ANILA_CACHE"):
        images(photos)
    (tmp_path / "~$people.csv").write_text("a,b\n1.5,2\n3,5\n4,4\n")
    assert load("~$people.csv").event_shape == (2,)


def huge_png(side: int) -> bytes:
    """A header that promises side × side pixels, and none of them."""
    header = b"IHDR" + struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
    chunks = (header, b"IDAT", b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )


@pytest.mark.parametrize("side", [10_000, 20_000])
@pytest.mark.parametrize("action", ["ignore", "error"])
def test_a_huge_image_is_refused_before_it_is_decoded(
    photos: Path, side: int, action: Literal["ignore", "error"]
) -> None:
    (photos / "cat" / "huge.png").write_bytes(huge_png(side))
    with warnings.catch_warnings():
        warnings.simplefilter(action)
        with pytest.raises(ValueError, match=r"cat/huge.png \(.*pixels"):
            images(photos, size=4)


def member(name: str, **settings: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.png", PNG)
            info = zipfile.ZipInfo(name)
            for key, value in settings.items():
                setattr(info, key, value)
            archive.writestr(info, PNG)

    return write


def encrypted(path: Path) -> None:
    zipped(path, {"secret.png": PNG})
    raw = bytearray(path.read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)


def bomb(path: Path) -> None:
    zipped(path, {"zeros.png": bytes(2**25)})


def tar_member(path: Path, name: str, kind: bytes) -> None:
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)


UNSAFE: dict[str, tuple[Callable[[Path], None], str]] = {
    "climbs.zip": (member("../b.png"), r"'\.\./b\.png' climbs out"),
    "sibling.zip": (member("x/../../dst-evil/b.png"), "climbs out"),
    "backslash.zip": (member("..\\b.png"), "climbs out"),
    "absolute.zip": (member("/etc/b.png"), "'/etc/b.png' has an absolute name"),
    "drive.zip": (member("C:\\b.png"), "has an absolute name"),
    "not-even-an-image.zip": (member("../../.bashrc"), "climbs out"),
    "link.zip": (member("b.png", external_attr=0o120777 << 16), "'b.png' is a symbolic link"),
    "encrypted.zip": (encrypted, "'secret.png' is encrypted"),
    "bomb.zip": (bomb, "zip bomb: its member 'zeros.png' unpacks to more than 200 times"),
    "climbs.tar": (partial(tar_member, name="../b.png", kind=tarfile.REGTYPE), "climbs out"),
    "link.tar": (partial(tar_member, name="b.png", kind=tarfile.SYMTYPE), "'b.png' is a link or a device"),
    "hardlink.tar": (partial(tar_member, name="b.png", kind=tarfile.LNKTYPE), "is a link or a device"),
    "device.tar": (partial(tar_member, name="b.png", kind=tarfile.CHRTYPE), "is a link or a device"),
}


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_archive_is_refused_whole_and_the_member_named(tmp_path: Path, cache: Path, name: str) -> None:
    write, message = UNSAFE[name]
    folder = tmp_path / "deep" / "deeper"
    folder.mkdir(parents=True)
    write(folder / name)
    with pytest.raises(ValueError, match=rf"{name} is refused.*{message}"):
        images(folder / name)
    assert [path.name for path in (tmp_path / "deep").rglob("*") if path.is_file()] == [name]
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("MEMBERS", 3, "more than 3 members"),
        ("MEMBER_BYTES", 10, "more than 10"),
        ("TOTAL_BYTES", 500, "total"),
    ],
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_limits_on_count_and_size(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    value: int,
    message: str,
    kind: str,
) -> None:
    monkeypatch.setattr(archives, limit, value)
    source = tmp_path / f"a.{kind}"
    files = {path.name: path.read_bytes() for path in photos.rglob("*.png")}
    if kind == "zip":
        zipped(source, files)
    else:
        with tarfile.open(source, "w") as archive:
            for path in photos.rglob("*.png"):
                archive.add(path, path.name)
    with pytest.raises(ValueError, match=f"zip bomb: .*{message}"):
        images(source)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "cifar-10-binary.tar.gz"])
@pytest.mark.parametrize("keep", [0, 0.5])
def test_a_truncated_archive_is_refused_by_name(tmp_path: Path, name: str, keep: float) -> None:
    path = tmp_path / name
    if name.endswith("zip"):
        zipped(path, {"a.png": PNG})
    else:
        cifar(path)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(ValueError, match=rf"{name} is not a whole (zip|tar) file"):
        images(path)


def test_a_flipped_bit_in_a_zip_is_noticed(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"a.png": PNG, "b.png": PNG})
    raw = bytearray(path.read_bytes())
    raw[80] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"1 of 2 images cannot be decoded: a.png"):
        images(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 0}, "size: expected a side of at least 1 pixel or None, got 0"),
        ({"channels": 2}, "channels: expected 1, 3 or None, got 2"),
        ({"on_error": "ignore"}, "on_error: expected 'error' or 'skip', got 'ignore'"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        require_settings(**{"size": None, "channels": None, "on_error": "error", **settings})


# Downloads

CONTENT = bytes(range(256)) * 5000


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT; "/short" breaks off half way unless asked for a range."""

    asked: list[str | None]

    def do_GET(self) -> None:
        start = self.headers.get("Range", "")
        self.asked.append(start)
        first = int(start.removeprefix("bytes=").removesuffix("-") or 0)
        if first >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(CONTENT) - first))
        self.end_headers()
        half = self.path.endswith("short") and not first
        self.wfile.write(CONTENT[first : len(CONTENT) // 2 if half else None])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Server.asked = []
    with HTTPServer(("127.0.0.1", 0), Server) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()
        thread.join()


@pytest.fixture
def md5(tmp_path: Path) -> str:
    (tmp_path / "content").write_bytes(CONTENT)
    return md5_of(tmp_path / "content")


def test_a_good_download_is_kept_whole(server: str, md5: str, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    path = download(f"{server}file", tmp_path / "d" / "file", md5, lambda *call: calls.append(call))
    assert path.read_bytes() == CONTENT
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert [file.name for file in path.parent.iterdir()] == ["file"]


def test_a_wrong_checksum_leaves_nothing(server: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"{server}file is not the published file: expected md5 beef, got \w+"):
        download(f"{server}file", tmp_path / "d" / "file", "beef")
    assert list((tmp_path / "d").iterdir()) == []


def test_a_download_that_breaks_off_is_resumed(server: str, md5: str, tmp_path: Path) -> None:
    path = tmp_path / "d" / "file"
    with pytest.raises(ConnectionError, match=r"short: broke off after 640,000 of 1,280,000 bytes"):
        download(f"{server}short", path, md5)
    assert [file.name for file in path.parent.iterdir()] == ["file.part"]
    assert download(f"{server}short", path, md5).read_bytes() == CONTENT
    assert Server.asked == ["", "bytes=640000-"]


def test_a_complete_part_is_checked_and_renamed(server: str, md5: str, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert download(f"{server}file", tmp_path / "file", md5).read_bytes() == CONTENT


def test_a_known_set_that_cannot_be_had_says_what_to_put_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path
) -> None:
    monkeypatch.setitem(KNOWN, "mnist", KNOWN["mnist"]._replace(address="http://127.0.0.1:9/mnist/"))
    with pytest.raises(FileNotFoundError) as caught:
        load("mnist")
    message = str(caught.value)
    for part in (
        str(tmp_path / "nowhere" / "mnist"),
        str(tmp_path / "data" / "mnist"),
        "http://127.0.0.1:9/mnist/train-images-idx3-ubyte.gz",
        "md5 f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "ANILA_DATA",
    ):
        assert part in message
    assert list(cache.rglob("*.gz")) == []


def test_a_known_set_is_downloaded_once(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    def fetch(address: str, path: Path, md5: str, _: object) -> Path:  # noqa: ARG001
        fetched.append(address)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((digits / path.name).read_bytes())
        return path

    files = {path.name: "" for path in sorted(digits.iterdir())}
    monkeypatch.setitem(KNOWN, "mnist", Known("http://x/", files))
    monkeypatch.setattr("anila.data.known.download", fetch)
    assert [len(images("mnist")), len(images("mnist"))] == [5, 5]
    assert fetched == [f"http://x/{name}" for name in files]
    assert images("mnist").name == "mnist"


def test_local_files_come_before_the_network(digits: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    digits.rename(tmp_path / "mnist")
    monkeypatch.setenv("ANILA_DATA", str(tmp_path))
    assert len(images("mnist")) == 5


# Real files


@pytest.mark.slow
def test_the_published_mnist_is_read(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANILA_DATA", str(shared_data))
    data = load("mnist", split="test")
    assert isinstance(data, Images)
    assert len(data) == 10_000
    assert data.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert abs(float((data.rows(range(10_000)).double().mean() + 1) / 2) - 0.13251) < 1e-5


@pytest.mark.slow
def test_the_published_flowers_are_read(shared_data: Path, cache: Path) -> None:
    data = images(shared_data / "flowers102", size=32)
    assert data.event_shape == (3, 32, 32)
    assert (len(data), len(data.classes)) == (8189, 102)
    assert len(json.loads(next(cache.glob("*.json")).read_text())["labels"]) == 8189


@pytest.mark.slow
def test_the_published_cifar_is_read_from_three_zips(shared_data: Path) -> None:
    data = images(shared_data / "cifar10")
    assert np.bincount(data.labels).tolist() == [5000] * 10
    mean = torch.stack([x.double().sum((0, 2, 3)) for x in data.chunks()]).sum(0) / (50_000 * 1024)
    np.testing.assert_allclose((mean + 1) / 2, [0.49139968, 0.48215841, 0.44653091], atol=2e-7)

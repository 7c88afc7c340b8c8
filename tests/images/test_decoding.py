"""Laws of image sets: the source's pixels in its order, decoded once."""

import io
import os
import re
import struct
import tarfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import PNG, decoded, encoded, levels, noise, zipped
from PIL import Image

from anila.data import images
from anila.data.decode import open_image

PALETTE = [(i * 16, 255 - i * 16, 40) for i in range(16)]


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
    assert [f"left out {stray} image in no split" in str(w.message) for w in said] == [True] * stray


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
        ("cat/a.HEIC", r"left out 1 × image of an unsupported kind \(cat/a\.HEIC\)"),
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
    with pytest.warns(UserWarning, match="took 1 image in a folder 'test' with the others"):
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

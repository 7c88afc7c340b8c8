"""Faults of image files and archives: each an image or a refusal that names it."""

import io
import lzma
import os
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from image_files import PNG, cifar, decoded, encoded, forbid, idx, levels, noise, zipped
from PIL import Image, ImageOps

from anila.data import archives, images, load, table
from anila.data.decode import open_image
from anila.data.images import require_settings


def test_a_missing_folder_is_named_in_full_and_makes_no_cache(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "none")):
        images("none")
    assert not cache.exists()


def test_an_empty_folder_says_what_was_seen_and_what_is_accepted(tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"docs: 0 files seen \(none\); accepted: .png"):
        images(folder)
    for name in ("a.txt", "b.txt", "c.psd"):
        (folder / name).touch()
    with pytest.raises(ValueError, match=r"3 files seen \(2 .txt, 1 .psd\); accepted: .png.*\.zip"):
        images(folder)


def test_an_archive_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"no images in .*a.zip: 1 file seen \(1 .txt\); accepted suffixes of images are"
    ):
        images(zipped(tmp_path / "a.zip", {"a.txt": b"x"}))


def test_a_table_in_a_folder_or_an_archive_is_named_with_what_to_do(tmp_path: Path) -> None:
    """Sees "no images" said of a table that would be read if it were unpacked, and macOS's own files named."""
    members = {"__MACOSX/a/._people.csv": b"x", "a/people.csv": b"x,y\n1,2\n", "a/read me.txt": b"x"}
    archive = zipped(tmp_path / "a.zip", members)
    said = r"2 files seen \(1 .csv, 1 .txt\); to use a/people.csv, unpack it and give that file; accepted"
    with pytest.raises(ValueError, match=said):
        images(archive)
    with pytest.raises(ValueError, match=r"got .zip; unpack it and give the table"):
        table(archive)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.add(archive, "people.npy")
    with pytest.raises(ValueError, match="to use people.npy, unpack it and give that file"):
        images(tmp_path / "a.tar.gz")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/people.csv.gz").touch()
    with pytest.raises(ValueError, match=r"1 file seen \(1 .csv.gz\); to use people.csv.gz, give that file; accepted"):
        images(tmp_path / "folder")


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
    with pytest.raises(ValueError, match=r"a.zip: its only image cannot be decoded: a\.png"):
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


@pytest.mark.parametrize("name", ["pipe.png", "pipe.zip"])
def test_a_pipe_is_not_waited_for(photos: Path, name: str) -> None:
    """Sees a run that waits for ever for what nobody writes."""
    os.mkfifo(photos / name)
    with pytest.warns(UserWarning, match=rf"left out .*{name} \(a pipe or a device\)"):
        images(photos, size=8)
    if name.endswith("zip"):
        with pytest.raises(ValueError, match=r"pipe.zip: expected .* got a pipe"):
            images(photos / name, size=8)


def test_a_folder_called_like_an_image_is_none(tmp_path: Path) -> None:
    """Sees a folder in an archive taken for an image of zero bytes."""
    assert len(images(zipped(tmp_path / "a.zip", {"cats.png/": b"", "cats.png/1.png": PNG, "2.png": PNG}))) == 2


def test_a_member_without_a_name_is_no_image(tmp_path: Path) -> None:
    """Sees Python's own look at the last character of an empty name."""
    path = zipped(tmp_path / "a.zip", {"1.png": PNG, "2.png": PNG, "x": b""})
    raw = bytearray(path.read_bytes())
    raw[raw.rindex(b"PK\x01\x02") + 46] = 0
    path.write_bytes(raw)
    assert len(images(path)) == 2


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
    with pytest.raises(ValueError, match=r"idx3-ubyte: its header promises 4,000,000,000 images of 28 × 28"):
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
    with pytest.raises(ValueError, match=rf"{name} is not a complete (zip|tar) file"):
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

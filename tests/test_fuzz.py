"""Foreign bytes become a value or a refusal that names the file: whatever they are, and in bounded time.

In the default suite a few inputs for each target, the same each time. `make fuzz` tries new ones for FUZZ_SECONDS each,
and prints the smallest that fails.
"""

import io
import json
import os
import tarfile
import time
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from anila.data import images, load
from anila.runs.experiment import PRESETS, Experiment, from_toml, resolve
from anila.runs.experiment.changes import CHOICES
from anila.runs.experiment.overrides import GROUPS, fields_of
from anila.runs.folder import checkpoint

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
HOW = settings(
    max_examples=200 if SECONDS else 6,
    derandomize=not SECONDS,
    database=None,
    deadline=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large),
)
EXPERIMENTS = {name: preset.experiment for name, preset in PRESETS.items()}


def repeatedly(check: Callable[[], object]) -> None:
    """Once, or until the seconds are over."""
    began = time.monotonic()
    check()
    while time.monotonic() - began < SECONDS:
        check()


def refused(read: Callable[[], Any], *names: str) -> bool:
    """Whether reading refuses, in one printable paragraph with a name in it, and not by an error of another kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read()
        except (ValueError, FileNotFoundError) as error:
            text = str(error)
            assert text.replace("\n", "").isprintable()
            assert any(name in text for name in names), text
            return True
    return False


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The bytes with a few changed, cut, repeated or put in."""
    raw = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(raw) - 1)))
        match draw(st.sampled_from(["flip", "cut", "put in", "repeat", "zero", "high"])):
            case "flip" if raw:
                raw[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del raw[at : at + draw(st.integers(1, len(raw) or 1))]
            case "put in":
                raw[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "repeat":
                raw[at:at] = raw[at : at + draw(st.integers(1, 64))]
            case kind:
                n = draw(st.integers(1, 8))
                raw[at : at + n] = (b"\0" if kind == "zero" else b"\xff") * len(raw[at : at + n])
    return bytes(raw)


# Configuration

KEYS = [
    f"{group}.{name}" for group in GROUPS for name in fields_of(group, list(getattr(CHOICES.get(group), "TABLE", {})))
]
VALUES = st.one_of(
    st.sampled_from(
        ["", "none", "true", "auto", "-1", "0", "1e400", "nan", "inf", "9" * 5000, "[1,2]", "[[", "[" * 3000]
    ),
    st.text(max_size=8),
    st.integers().map(str),
    st.floats().map(str),
)


@given(st.lists(st.tuples(st.sampled_from([*KEYS, "x", "network", "stages", ""]), VALUES), max_size=4))
@HOW
def settings_typed(pairs: list[tuple[str, str]]) -> None:
    words = [f"{key}={value}" for key, value in pairs if ".py:" not in value]
    with suppress(ValueError):
        assert isinstance(resolve(EXPERIMENTS["rings"], words), Experiment)


def test_settings_that_are_typed():
    """Sees a traceback at a word."""
    repeatedly(settings_typed)


TOML = b"""preset = "rings"
[network]
name = "mlp"
hidden = [16, 16]
[[stages]]
share = 0.5
training.iterations = 10
[stages.objective]
name = "denoising"
sd = 0.3
"""


@pytest.mark.parametrize("kind", ["damaged", "made up"])
def test_settings_files(tmp_path: Path, kind: str):
    """Sees a traceback at a file that is no TOML, or TOML of something else."""
    path, words = tmp_path / "mine.toml", [*GROUPS, "stages", "preset", "name", "iterations", "share", "changes", "x"]
    made = st.recursive(
        st.one_of(st.booleans(), st.integers(-9, 9), st.floats(), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(words), inner, max_size=3)
        ),
        max_leaves=8,
    )
    tables = st.dictionaries(st.sampled_from(words), made, max_size=4).map(lambda t: toml(t).encode())

    @given(damaged(TOML) if kind == "damaged" else tables)
    @HOW
    def check(raw: bytes) -> None:
        if b".py:" not in raw:
            path.write_bytes(raw)
            refused(lambda: from_toml(path, EXPERIMENTS), "mine.toml")

    repeatedly(check)


def toml(table: dict[str, Any]) -> str:
    """A table as TOML: JSON's words, which are TOML's too, with tables inline."""

    def spelled(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key} = {spelled(v)}" for key, v in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(spelled, value)) + "]"
        return json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf")

    return "\n".join(f"{key} = {spelled(value)}" for key, value in table.items())


# Checkpoints


def test_checkpoints(tmp_path: Path):
    """Sees something else than a refusal of a damaged part, its checksum made to agree or not."""
    parts = {"model": {"w": torch.arange(6.0).view(2, 3), "n": [1, (2.5, None)], "pairs": {1: torch.ones(1)}}}
    path = checkpoint.save(tmp_path, 7, parts)
    whole = {file.name: file.read_bytes() for file in path.iterdir()}
    changes = st.sampled_from(sorted(whole)).flatmap(lambda name: st.tuples(st.just(name), damaged(whole[name])))

    @given(changes, st.booleans())
    @HOW
    def check(change: tuple[str, bytes], agrees: bool) -> None:
        name, raw = change
        for file, content in whole.items():
            (path / file).write_bytes(content)
        (path / name).write_bytes(raw)
        if agrees and name != "manifest.json":
            manifest = json.loads(whole["manifest.json"])
            manifest["sha256"][name] = checkpoint.digest(path / name)
            (path / "manifest.json").write_text(json.dumps(manifest))
        same = raw == whole[name]
        assert refused(lambda: checkpoint.load(path, "model"), "000000007") or same or agrees or "manifest" in name

    repeatedly(check)


# Images


def zipped(names: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return raw.getvalue()


def tarred(names: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for name, content in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return raw.getvalue()


def encoded(kind: str) -> bytes:
    raw = io.BytesIO()
    exif = Image.Exif()
    exif[0x112], exif[0x13B] = 6, "somebody"
    more = {} if kind in ("BMP", "GIF", "PPM") else {"exif": exif}
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 6, 3)).astype("u1")).save(raw, kind, **more)
    return raw.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_archives_of_images(tmp_path: Path, kind: str):
    """Sees an archive whose damage comes out of a library as its own error, or writes somewhere."""
    names = {
        f"{split}/{name}/{i}.png": encoded("PNG") for split in ("train", "test") for name in "ab" for i in range(2)
    }
    whole, path = (zipped if kind == "zip" else tarred)(names), tmp_path / f"w.{kind}"

    @given(damaged(whole))
    @HOW
    def check(raw: bytes) -> None:
        path.write_bytes(raw)
        refused(lambda: images(path, size=8, cache=tmp_path / "cache", on_error="skip"), path.name)
        assert sorted(p.name for p in tmp_path.iterdir() if p.name != "cache") == [path.name]

    repeatedly(check)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_one_image_among_others(tmp_path: Path, kind: str):
    """Sees one bad file that is neither skipped nor named."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(12):
        Image.new("RGB", (8, 8), (i, i, i)).save(folder / f"{i}.png")
    path = folder / f"bad.{kind.lower()}"

    @given(damaged(encoded(kind)))
    @HOW
    def check(raw: bytes) -> None:
        path.write_bytes(raw)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert len(images(folder, size=8, cache=tmp_path / "cache", on_error="skip")) in (12, 13)

    repeatedly(check)


# Tables


def table(kind: str) -> bytes:
    x, raw = np.random.default_rng(0).normal(size=(30, 3)), io.BytesIO()
    if kind == "csv":
        return b"a,b,c\n" + b"\n".join(b",".join(b"%.4f" % v for v in row) for row in x) + b"\n"
    if kind == "parquet":
        parquet.write_table(pa.table({name: x[:, i] for i, name in enumerate("abc")}), raw)
    elif kind == "npy":
        np.save(raw, x)
    else:
        np.savez_compressed(raw, x=x)
    return raw.getvalue()


@pytest.mark.parametrize("kind", ["csv", "parquet", "npy", "npz"])
def test_tables(tmp_path: Path, kind: str):
    """Sees rows that are not finite, or an error that is the library's."""
    path = tmp_path / f"t.{kind}"

    @given(damaged(table(kind)))
    @HOW
    def check(raw: bytes) -> None:
        path.write_bytes(raw)
        found: list[Any] = []
        if not refused(lambda: found.append(load(path)), path.name):
            assert bool(torch.isfinite(found[0].batch(5, 0, 0)).all())

    repeatedly(check)

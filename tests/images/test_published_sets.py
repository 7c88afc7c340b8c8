"""MNIST, CIFAR-10 and flowers, in the files that they are published in."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from image_files import cifar, idx, levels, noise

from anila.data import Images, images, load


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


def test_the_published_cifar_archive_is_read(tmp_path: Path) -> None:
    (tmp_path / "data" / "cifar10").mkdir(parents=True)
    pixels = cifar(tmp_path / "data" / "cifar10" / "cifar-10-binary.tar.gz")
    data = load("cifar10")
    assert isinstance(data, Images)
    np.testing.assert_array_equal(levels(data), pixels[:3].transpose(0, 2, 3, 1))
    assert [data.classes[i] for i in data.labels] == ["truck", "ship", "horse"]
    assert len(images("cifar10", split="test")) == 1


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

"""Laws of features: a function of the image alone, whatever batch it comes in, and called by its own name."""

import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from anila.data import images
from anila.evaluation.samples import Extractor, anila_features, features, frechet_distance, inception
from anila.evaluation.samples.classifier import Classifier, Unit, folded
from anila.evaluation.samples.features import WEIGHTS, packaged, resized
from anila.reports import scores
from anila.rng import rng


def pictures(n: int = 150, channels: int = 3, size: int = 32) -> Tensor:
    return torch.rand(n, channels, size, size, generator=rng(0, "images")) * 2 - 1


class TestAnilaFeatures:
    @pytest.mark.parametrize("batch", [1, 7, 128, 149])
    def test_bit_for_bit_the_same_for_any_batch_size(self, batch: int):
        """Sees batches that go through the network as they come, and rows lost or doubled between blocks."""
        x, extractor = pictures(), anila_features()
        assert torch.equal(extractor.features(x.split(batch)), extractor.features(x))

    def test_an_image_has_the_same_features_beside_others(self):
        x, extractor = pictures(130), anila_features()
        assert torch.equal(extractor.features(x[:3]), extractor.features(x)[:3])

    def test_a_network_sees_whole_blocks_only(self):
        """Sees a last block as short as it comes: some kernels round otherwise for another number of rows."""
        extractor = Extractor("rows", lambda x: torch.full((len(x), 1), float(len(x))), {}, "", "")
        assert extractor.features(pictures(130)).unique().tolist() == [128.0]

    def test_moments_are_those_of_the_features(self):
        x, extractor = pictures(300), anila_features()
        found, y = extractor.moments(x.split(11)), extractor.features(x).double()
        torch.testing.assert_close(found.mean, y.mean(0))
        torch.testing.assert_close(found.covariance, torch.cov(y.T))

    def test_levels_are_images(self):
        u = torch.randint(256, (5, 3, 32, 32), generator=rng(1, "levels"), dtype=torch.uint8)
        assert torch.equal(anila_features().features(u), anila_features().features(u.float() / 127.5 - 1))

    def test_grey_is_colour_of_three_equal_channels(self):
        x, extractor = pictures(4, 1), anila_features()
        assert torch.equal(extractor.features(x), extractor.features(x.repeat(1, 3, 1, 1)))

    def test_beyond_the_range_is_cut_off(self):
        x, extractor = 3 * pictures(4), anila_features()
        assert torch.equal(extractor.features(x), extractor.features(x.clamp(-1, 1)))

    def test_resizing_does_not_alias(self):
        """Sees only the pixels about the middle taken: of these stripes they are black, and the mean is grey."""
        x = torch.tensor([1.0, -1.0, -1.0, 1.0]).repeat(32).expand(1, 3, 128, 128)
        assert resized(x)[..., 2:-2, 2:-2].abs().max() < 1e-5

    def test_they_know_more_of_images_than_noise_does(self, shared_data: Path):
        x = torch.tensor(images(shared_data / "cifar10", size=32, split="test").values[:400:2])
        y = torch.tensor(images(shared_data / "cifar10", size=32, split="test").values[1:400:2])
        noise = torch.randint(256, x.shape, generator=rng(0, "noise"), dtype=torch.uint8)
        a, b, c = (anila_features().features(u) for u in (x, y, noise))
        assert frechet_distance(a, b) < 0.2 * frechet_distance(a, c)

    def test_the_card_says_how_well_the_classifier_names(self, shared_data: Path):
        card, net = packaged(WEIGHTS)
        data = images(shared_data / "cifar10", size=32, split="test")
        right = net(data.rows(range(0, 10_000, 20))).argmax(1) == torch.from_numpy(data.labels[::20])
        assert card["test_accuracy"] >= 0.85
        assert right.double().mean() == pytest.approx(card["test_accuracy"], abs=0.05)

    def test_the_name_is_never_fid(self):
        extractor = anila_features()
        assert extractor.distance == "Fréchet distance (anila-features-1)"
        assert not any("FID" in text or "KID" in text for text in scores.names_of(extractor).values())

    @pytest.mark.parametrize(
        ("x", "message"),
        [
            (torch.zeros(2, 2, 32, 32), "c 1 or 3"),
            (torch.zeros(3, 32, 32), "expected images"),
            (torch.full((2, 3, 32, 32), torch.nan), "2 of 2 hold NaN"),
            (torch.rand(2, 3, 32, 32) * 255, "levels are given as uint8"),
            (torch.zeros(2, 3, 32, 32, dtype=torch.int64), "floating point or levels"),
            (torch.zeros(0, 3, 32, 32), "at least one image"),
        ],
    )
    def test_what_is_no_image_is_refused(self, x: Tensor, message: str):
        with pytest.raises(ValueError, match=message):
            anila_features().features(x)

    def test_altered_weights_are_refused(self, tmp_path: Path):
        """Sees a flipped bit, which safetensors loads as if nothing were."""
        for path in WEIGHTS.glob("anila-features-1.*"):
            shutil.copy(path, tmp_path)
        weights = tmp_path / "anila-features-1.safetensors"
        data = bytearray(weights.read_bytes())
        data[-100] ^= 1
        weights.write_bytes(data)
        with pytest.raises(ValueError, match="expected sha256"):
            packaged(tmp_path)
        weights.unlink()
        with pytest.raises(ValueError, match="missing or unreadable"):
            packaged(tmp_path)


def test_folding_the_norms_changes_nothing():
    """Sees a mean, a scale or ε left out."""
    torch.manual_seed(0)
    net = Classifier(nn.BatchNorm2d)
    for unit in net.modules():
        if isinstance(unit, Unit):
            assert isinstance(unit.norm, nn.BatchNorm2d)
            assert unit.norm.running_mean is not None
            assert unit.norm.running_var is not None
            for parameter in (*unit.norm.parameters(), unit.norm.running_mean):
                nn.init.normal_(parameter)
            nn.init.uniform_(unit.norm.running_var, 0.001, 2.0)
    x = pictures(3)
    torch.testing.assert_close(folded(net)(x), net.eval()(x), rtol=1e-4, atol=1e-3)


class Touch:
    """A pickle that makes a file where it is read."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


class Stub(nn.Module):
    """What torch-fidelity's extractor is from outside."""

    def __init__(self, name: str, wanted: list[str], feature_extractor_weights_path: str):
        super().__init__()
        assert (name, wanted) == ("inception-v3-compat", ["2048"])
        self.scale = nn.Parameter(torch.zeros(1))
        self.load_state_dict(torch.load(feature_extractor_weights_path))

    def forward(self, u: Tensor) -> tuple[Tensor]:
        assert u.dtype == torch.uint8
        return (self.scale * u.float().flatten(1)[:, :5],)


@pytest.fixture
def fidelity(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("torch_fidelity.feature_extractor_inceptionv3")
    module.__dict__["FeatureExtractorInceptionV3"] = Stub
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, module.__name__, module)


class TestInception:
    @pytest.mark.usefixtures("fidelity")
    @pytest.mark.parametrize("suffix", ["pth", "safetensors"])
    def test_features_are_of_levels_with_the_users_weights(self, tmp_path: Path, suffix: str):
        weights = tmp_path / f"weights.{suffix}"
        (torch.save if suffix == "pth" else save_file)({"scale": torch.full((1,), 2.0)}, weights)
        extractor = inception(weights)
        u = torch.randint(256, (3, 3, 32, 32), generator=rng(1, "levels"), dtype=torch.uint8)
        assert torch.equal(extractor.features(u.float() / 127.5 - 1), 2.0 * u.float().flatten(1)[:, :5])
        assert (extractor.distance, extractor.kernel_distance) == ("FID", "KID")
        assert len(extractor.about["weights_sha256"]) == 64

    @pytest.mark.usefixtures("fidelity")
    def test_code_and_foreign_weights_are_refused(self, tmp_path: Path):
        torch.save({"scale": Touch(tmp_path / "touched")}, tmp_path / "code.pth")
        with pytest.raises(ValueError, match="tensors alone"):
            inception(tmp_path / "code.pth")
        assert not (tmp_path / "touched").exists()
        save_file({"other": torch.zeros(1)}, tmp_path / "other.safetensors")
        with pytest.raises(ValueError, match="Inception's weights"):
            inception(tmp_path / "other.safetensors")

    def test_a_missing_file_and_a_missing_extra_are_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        with pytest.raises(FileNotFoundError, match="weights-inception-2015-12-05"):
            inception(tmp_path / "none.pth")
        save_file({"scale": torch.zeros(1)}, tmp_path / "w.safetensors")
        monkeypatch.setitem(sys.modules, "torch_fidelity", None)
        with pytest.raises(ImportError, match=r"anila\[inception\]"):
            inception(tmp_path / "w.safetensors")


def test_scores_tell_data_from_noise(monkeypatch: pytest.MonkeyPatch):
    """Sees samples and reference exchanged, or others left out."""
    extractor = Extractor("mean", lambda x: x.mean(3).flatten(1)[:, :6], {}, "Fréchet distance (mean)", "kernel")
    monkeypatch.setattr(features, "BLOCK", 16)
    x = pictures(240, channels=1)
    reference = scores.Reference(x[:80], x[80:160], {})
    same, other = (scores.image_scores(extractor, reference, y, 0) for y in (x[160:], torch.ones_like(x[160:]) * 0.5))
    assert same["frechet"] == pytest.approx(same["frechet_data"], rel=0.9)
    assert other["frechet"] > 5 * same["frechet"]
    assert same["coarse"] == pytest.approx(same["coarse_data"], rel=0.5)
    assert other["coarse"] > 5 * same["coarse"]
    assert other["coverage"] < 0.1 < 0.5 < same["coverage"]
    few = scores.image_scores(extractor, reference, x[:4].repeat(20, 1, 1, 1), 0)
    assert few["recall"] < 0.3 < 0.9 < few["precision"]
    assert json.dumps(same)

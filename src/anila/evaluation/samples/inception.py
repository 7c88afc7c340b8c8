"""Inception's features, with weights that you bring: the only features whose Fréchet distance is an FID.

The network and its resizing (299 × 299, bilinear as in TensorFlow 1, levels 0..255) are those of torch-fidelity, which
the extra `inception` installs. Images are first rounded to levels, as if read from files. Nothing is downloaded, and
only tensors are read from a .pth file, never code.

Reference: Heusel et al. 2017; Obukhov et al. 2020 (torch-fidelity).
"""

import hashlib
import pickle
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from anila.data.foreign import expanded
from anila.evaluation.samples.features import Extractor

FEATURES = 2048


def inception(weights: Path | str) -> Extractor:
    """The features of the FID: the 2,048 numbers of Inception v3's last pooling.

    Args:
        weights: torch-fidelity's `weights-inception-2015-12-05-6726825d.pth`, or the same tensors as .safetensors.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the extra is not installed.
        ValueError: If the file does not hold these weights.
    """
    path = expanded(weights)
    if not path.is_file():
        raise FileNotFoundError(
            f"no file {path.absolute()}; FID needs the weights of Inception, which are not part of this package: "
            "weights-inception-2015-12-05-6726825d.pth of torch-fidelity"
        )
    net = network(path)
    about = {
        "name": "inception-v3-compat",
        "weights": path.name,
        "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "resize": "299 × 299, bilinear as in TensorFlow 1, from levels 0..255",
        "features": FEATURES,
    }

    def extract(x: Tensor) -> Tensor:
        levels = ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return net(levels)[0]

    return Extractor("inception-v3-compat", extract, about, "FID", "KID")


def network(path: Path) -> Any:
    """torch-fidelity's extractor with the tensors of a file, passed to it in a file without code."""
    try:
        fidelity = import_module("torch_fidelity.feature_extractor_inceptionv3")
    except ImportError as error:
        raise ImportError(
            f"FID needs an extra that is not installed: pip install 'anila[inception]' ({error})"
        ) from None
    tensors = tensors_of(path)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "weights.pth"
        torch.save(tensors, plain)
        try:
            return fidelity.FeatureExtractorInceptionV3(
                "inception-v3-compat", [str(FEATURES)], feature_extractor_weights_path=str(plain)
            )
        except RuntimeError as error:
            raise ValueError(f"{path} does not hold Inception's weights: {str(error)[:300]}") from None


def tensors_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pth file, by name; code in it is refused.

    Raises:
        ValueError: If it holds anything else.
    """
    try:
        found = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} does not hold tensors alone: {str(error).splitlines()[0]}") from None
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise ValueError(f"{path}: expected tensors by name, got {type(found).__name__}")
    return found

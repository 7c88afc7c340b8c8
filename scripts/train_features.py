"""Train the classifier that gives `anila-features-1`, and write its weights and their card into the package.

    python scripts/train_features.py CIFAR10_FOLDER --work runs/features

10 epochs of SGD with Nesterov momentum on a one-cycle learning rate, label smoothing, mirror images and shifts of up to
4 pixels; convolutions in bf16, channels last. State is saved after every epoch, and the same command continues from
it. The test images are used once, at the end: nothing is chosen by them.

References: Page 2018, "How to train your ResNet"; Smith & Topin 2018 (one cycle); Szegedy et al. 2016 (smoothing).
"""

import argparse
import hashlib
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from anila.data import images
from anila.evaluation.samples import classifier
from anila.evaluation.samples.classifier import Classifier, folded
from anila.rng import rng
from anila.runs.folder.whole import write_atomically

SEED, EPOCHS, BATCH = 0, 10, 256
RATE, MOMENTUM, DECAY, SMOOTHING, SHIFT = 0.2, 0.9, 5e-4, 0.1, 4
WEIGHTS = Path(classifier.__file__).parent / "weights"


def augmented(x: Tensor, generator: torch.Generator) -> Tensor:
    """Each image (n, 3, 32, 32) mirrored by a fair coin and moved by up to 4 pixels each way, edges reflected."""
    n, _, height, width = x.shape
    x = torch.where((torch.rand(n, generator=generator) < 0.5)[:, None, None, None], x.flip(-1), x)
    x = F.pad(x, (SHIFT,) * 4, mode="reflect")
    down, right = torch.randint(2 * SHIFT + 1, (2, n, 1), generator=generator)
    rows, columns = down + torch.arange(height), right + torch.arange(width)
    return x[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def scaled(u: Tensor) -> Tensor:
    """Levels 0..255 as x in [−1, 1]."""
    return (u.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def train_epoch(
    net: Classifier, optimizer: torch.optim.SGD, u: Tensor, label: Tensor, epoch: int, steps: int | None
) -> float:
    """One pass over the images u, (n, 3, 32, 32) uint8; the mean loss."""
    net.train()
    generator = rng(SEED, "features", epoch)
    batches = torch.randperm(len(u), generator=generator).split(BATCH)[: len(u) // BATCH]
    total = torch.zeros(())
    for k, rows in enumerate(batches[:steps]):
        for group in optimizer.param_groups:
            group["lr"] = RATE * one_cycle((epoch + k / len(batches)) / EPOCHS)
        x = augmented(scaled(u[rows]), generator).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(net(x), label[rows], label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach()
    return float(total / len(batches[:steps]))


def one_cycle(done: float) -> float:
    """Learning rate relative to its peak: up over the first fifth of training, down to 0 over the rest."""
    return min(done / 0.2, (1 - done) / 0.8)


@torch.no_grad()
def accuracy(net: Classifier, u: Tensor, label: Tensor) -> float:
    """Share of images whose class is named right, in float32."""
    net.eval()
    right = [(net(scaled(x)).argmax(1) == y).sum() for x, y in zip(u.split(500), label.split(500), strict=True)]
    return int(sum(right)) / len(u)


def state_of(net: Classifier, optimizer: torch.optim.SGD) -> dict[str, Tensor]:
    """All that the next epoch needs."""
    momenta = optimizer.state_dict()["state"]
    return {f"net.{k}": v.contiguous() for k, v in net.state_dict().items()} | {
        f"momentum.{k}": v["momentum_buffer"].contiguous() for k, v in momenta.items()
    }


def restore(net: Classifier, optimizer: torch.optim.SGD, path: Path) -> None:
    """Be where `state_of` was taken."""
    state = load_file(path)
    net.load_state_dict({k.removeprefix("net."): v for k, v in state.items() if k.startswith("net.")})
    momenta = {int(k.removeprefix("momentum.")): v for k, v in state.items() if k.startswith("momentum.")}
    saved = optimizer.state_dict()
    optimizer.load_state_dict(saved | {"state": {k: {"momentum_buffer": v} for k, v in momenta.items()}})


def write_weights(net: Classifier, folder: Path, test: tuple[Tensor, Tensor], card: dict[str, Any]) -> None:
    """The folded weights in float16, tried as stored, and their card."""
    half = {name: value.half().contiguous() for name, value in folded(net).state_dict().items()}
    stored = Classifier()
    stored.load_state_dict({name: value.float() for name, value in half.items()})
    data = save(half)
    card |= {"test_accuracy": accuracy(stored, *test), "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "anila-features-1.safetensors").write_bytes(data)
    write_atomically(folder / "anila-features-1.json", json.dumps(card, indent=2) + "\n")
    print(json.dumps(card, indent=2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder or archive of CIFAR-10 with its train and test images")
    parser.add_argument("--work", type=Path, required=True, help="folder for the state between epochs")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the weights go; the package by default")
    parser.add_argument("--steps", type=int, help="batches an epoch, for a trial")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    sets = {split: images(arguments.data, size=32, channels=3, split=split) for split in ("train", "test")}
    pairs = {k: (torch.tensor(d.values[:]), torch.from_numpy(d.labels)) for k, d in sets.items()}
    torch.manual_seed(rng(SEED, "network").initial_seed())
    net = Classifier(nn.BatchNorm2d).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.SGD(net.parameters(), RATE, momentum=MOMENTUM, weight_decay=DECAY, nesterov=True)
    record = arguments.work / "epochs.json"
    epochs: list[dict[str, float]] = json.loads(record.read_text()) if record.exists() else []
    if epochs:
        restore(net, optimizer, arguments.work / f"epoch-{len(epochs)}.safetensors")
    for epoch in range(len(epochs), EPOCHS):
        wall, cpu = time.perf_counter(), time.process_time()
        loss = train_epoch(net, optimizer, *pairs["train"], epoch, arguments.steps)
        seconds = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
        epochs.append({"loss": loss, **seconds})
        save_file(state_of(net, optimizer), arguments.work / f"epoch-{epoch + 1}.safetensors")
        write_atomically(record, json.dumps(epochs))
        (arguments.work / f"epoch-{epoch}.safetensors").unlink(missing_ok=True)
        print(f"epoch {epoch + 1}", {k: round(v, 4) for k, v in epochs[-1].items()}, flush=True)
    card = {
        "name": "anila-features-1",
        "architecture": "anila.evaluation.samples.classifier.Classifier, widths "
        + "-".join(map(str, classifier.WIDTHS)),
        "features": classifier.FEATURES,
        "parameters": sum(p.numel() for p in folded(net).parameters()),
        "dtype": "float16",
        "data": f"CIFAR-10, {len(sets['train']):,} train images; accuracy on the {len(sets['test']):,} test images",
        "train_fingerprint": sets["train"].fingerprint,
        "command": "python scripts/train_features.py CIFAR10_FOLDER --work runs/features",
        "epochs": EPOCHS,
        "cpu_minutes": round(sum(e["cpu_seconds"] for e in epochs) / 60, 1),
        "torch": torch.__version__,
        "date": datetime.now(UTC).date().isoformat(),
    }
    write_weights(net, arguments.weights, pairs["test"], card)


if __name__ == "__main__":
    main()

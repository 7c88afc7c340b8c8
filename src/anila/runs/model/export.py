"""Exported models: a folder that holds everything needed to use a model, and no code.

anila.json           settings, the sampler's recipe, what the points are, scores, versions
model.safetensors    parameters of f, averaged ones if there are any
chains.safetensors   kept chains, and f of held-out rows, which calibrates outlier scores
manifest.json        sha256 of these three
README.md            the model card

The rows of data are not exported, except those of which `network=kernel` consists. Nothing is ever unpickled, no memory
is allocated on a file's word, and files that do not match their checksums are refused.

    anila.load("digits")           a folder made by `anila export`, or a run
    anila.load("hub:me/digits")    the same from the Hugging Face Hub (extra `hub`)
    anila.load("pretrained:rings") one that comes with the package
"""

import json
import os
import shutil
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from anila.data import TOYS, DataSet, Elsewhere, Rows, Toy, Units
from anila.data.foreign import expanded
from anila.density.log_density import Anneals
from anila.density.networks import NETWORKS
from anila.density.networks.noise_conditional import NoiseConditional, add_widening
from anila.density.precision import own_defaults
from anila.learning.starts import FromNoise, Persistent, Start, unpacked
from anila.messages import counted
from anila.runs.experiment import PRESETS, Experiment, build_network, choose_device, settings
from anila.runs.experiment.build import with_classes
from anila.runs.experiment.build_sampler import build_proposal
from anila.runs.experiment.code import is_code
from anila.runs.experiment.saved import current
from anila.runs.folder.checkpoint import digest, flush, write_tensors
from anila.runs.folder.run import Run
from anila.runs.model import hub, pretrained
from anila.runs.model.card import Record, card
from anila.runs.model.model import Calibration, HeldOut, Model
from anila.runs.model.stand_in import begins_from_noise, portable, ported, start_of
from anila.runs.model.trained import Trained
from anila.samplers import Proposal

RECORD, WEIGHTS, CHAINS, MANIFEST, CARD = FILES = (
    "anila.json", "model.safetensors", "chains.safetensors", "manifest.json", "README.md"
)  # fmt: skip
CALIBRATED, DRAWN = 5000, 500
"""Number of held-out rows whose f is kept, and of samples kept if a run has no chains and starts from data."""
MOST_TEXT = 2**24
"""Most bytes of a JSON file that are read."""
TRAINING_HERE: dict[str, Any] = {"minutes": None, "device": "auto", "threads": None, "log_to": (), "compile": False}
"""Settings of training that depend on the machine, with neutral values."""
STORED = {"float32": torch.float32, "bf16": torch.bfloat16, "uint8": torch.uint8}


class ShareError(ValueError):
    """A folder that is not a sound export, or cannot become one."""


def load(source: str | Path) -> Model:
    """The model of an exported folder, of a run, of a repository of the Hugging Face Hub, or of the package.

    Args:
        source: A folder, "hub:OWNER/NAME", followed by "@REVISION" for one version, or "pretrained:NAME".

    Raises:
        ValueError: If no model of that name comes with the package.
        ShareError, RunError: Naming the file that is missing, altered or not what it claims to be.
        ImportError: If the extra `hub` is needed and not installed.
    """
    if str(source).startswith(hub.PREFIX):
        return read(hub.pull(str(source)))
    if str(source).startswith(pretrained.PREFIX):
        return read(pretrained.folder(str(source)))
    path = expanded(source)
    if any((path / name).exists() for name in (RECORD, MANIFEST)):
        return read(path)
    return Trained.load(Run.existing(path))


@own_defaults()
def export(run: Run, path: Path | str) -> "Shared":
    """Write the model of a run into a new folder.

    Args:
        run: The run.
        path: The folder; it must not exist yet.

    Returns:
        The model that `load` returns for it.

    Raises:
        ShareError: If the path exists, its parent folder does not, or the network is the user's own code, which an
            export does not include.
        RunError: If the run has no sound checkpoint.
        OSError: From the file system; then nothing is left behind.
    """
    path = Path(path)
    if os.path.lexists(path):
        raise ShareError(f"{path.absolute()} already exists; choose another folder or delete it")
    if not path.absolute().parent.is_dir():
        raise ShareError(f"there is no folder {path.absolute().parent}")
    trained = Trained.load(run)
    if is_code(trained.config.network.name):
        raise ShareError(
            f"the network is {trained.config.network.name}, and an export carries no code: share that file with the "
            "run's folder, or train one of " + ", ".join(NETWORKS)
        )
    write(trained, run, path, path.name)
    return read(path)


def write(trained: Trained, run: Run, path: Path, name: str) -> None:
    """Write a run's model into a new folder, atomically.

    Args:
        trained: The model.
        run: The run, for its scores and the returns of its guard.
        path: The folder.
        name: Its name in the card, and for `load`.
    """
    chains, calibration = kept_chains(trained), trained.calibration(CALIBRATED)
    record = record_of(run, trained, calibration)
    aside = path.absolute().with_name(f".{path.name}.{uuid4().hex[:8]}.writing")
    aside.mkdir()
    try:
        kept = {} if chains is None else {"chains": chains}
        write_tensors(narrowed(trained.f.state_dict()), aside / WEIGHTS)
        write_tensors({"held_out": calibration.f, **narrowed(kept)}, aside / CHAINS)
        (aside / RECORD).write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
        sums = {name: digest(aside / name) for name in (RECORD, WEIGHTS, CHAINS)}
        (aside / MANIFEST).write_text(json.dumps({"sha256": sums}, indent=1))
        (aside / CARD).write_text(card(record, name, isinstance(trained.f, Anneals)), encoding="utf-8")
        flush(*aside.iterdir(), aside)
        aside.rename(path.absolute())
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def narrowed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """float32 tensors as float16 if that loses nothing, as their numbers were rounded to it before."""
    return {
        name: value.half() if value.dtype == torch.float32 and torch.equal(value.half().float(), value) else value
        for name, value in tensors.items()
    }


def kept_chains(trained: Trained) -> Tensor | None:
    """The bank of chains as stored; samples if chains start from data; None if they start from noise, as they can if f
    has levels.
    """
    if isinstance(trained.start, Persistent):
        return trained.start.bank
    return None if begins_from_noise(trained) else trained.draw(DRAWN)


def record_of(run: Run, trained: Trained, calibration: Calibration) -> Record:
    """The content of anila.json, without any path or row of the data."""
    config, data, saved = trained.config, trained.data, run.config() or {}
    shown: Experiment = replace(
        config,
        data=replace(config.data, name=Path(config.data.name).name),
        network=with_classes(config.network, data),
        objective=settings.Objective() if is_code(config.objective.name) else config.objective,
        anchor=settings.Anchor() if is_code(config.anchor.name) else config.anchor,
        sampler=portable(trained.sampler),
        start=start_of(trained),
        training=replace(config.training, **TRAINING_HERE, iterations=trained.whole.iterations),
    )
    return Record(
        format=1,
        preset=saved["preset"] if saved.get("preset") in PRESETS else None,
        iteration=trained.iteration,
        experiment=shown,
        event_shape=data.event_shape,
        data=data.name,
        rows=len(data) if isinstance(data, Rows) else getattr(data, "rows", None),
        fingerprint=data.fingerprint,
        classes=trained.classes,
        columns=trained.units.columns,
        mean=trained.units.mean,
        scale=trained.units.scale,
        held_out=calibration.source,
        unseen=calibration.unseen,
        returns=len(run.events()),
        scores=run.scores(),
        versions={name: version(name) for name in ("anila", "torch")},
        encoding=trained.units.encoding,
    )


class Shared(Model):
    """The model of an exported folder.

    Args:
        record: The content of anila.json.
        f: The log-density.
        start: Kept chains, or the source of new ones.
        held_out: f of held-out rows, (n,).
    """

    def __init__(self, record: Record, f: nn.Module, start: Start, held_out: Tensor):
        self.record, self.net, self.kept, self.values = record, f, start, held_out
        self.config, self.notices = record.experiment, list[str]()
        self.data: DataSet = data_of(record)

    @property
    def f(self) -> nn.Module:
        """The log-density."""
        return self.net

    @property
    def sampler(self) -> settings.Sampler:
        """The sampler's settings as training left them."""
        return self.config.sampler

    @property
    def start(self) -> Start:
        """Kept chains, or the source of new ones."""
        return self.kept

    @property
    def iteration(self) -> int:
        """Number of iterations of training."""
        return self.record.iteration

    def proposal(self) -> Proposal | None:
        """A kernel density of data points, or of kept chains if the data are not here."""
        if not isinstance(self.data, Elsewhere):
            return build_proposal(self.sampler, self.data, self.config.training.seed)
        return self.proposal_of_chains()

    @own_defaults()
    def reference_data(self, n: int) -> Tensor:
        """Up to n rows of data, or chains if the data are not here, (n, *event)."""
        if not isinstance(self.data, Elsewhere):
            return self.data.batch(n, self.config.training.seed, 0)
        return self.chains_as_data(n)

    @own_defaults()
    def held_out(self, n: int) -> HeldOut:
        """Fresh draws of a toy.

        Raises:
            ValueError: If the data are not here.
        """
        return HeldOut(self.data.batch(n, self.config.training.seed, 0), self.data.name, True)

    def calibration(self, n: int) -> Calibration:
        """f of the rows that were held out where the model was exported."""
        return Calibration(self.values[:n], self.record.held_out, self.record.unseen)


def data_of(record: Record) -> DataSet:
    """A toy, which can be drawn anywhere; for other data, what is known without the rows."""
    if record.data in TOYS and (toy := Toy(record.data)).fingerprint == record.fingerprint:
        return toy
    units = Units(record.columns, record.mean, record.scale, record.encoding)
    return Elsewhere(record.event_shape, record.data, record.fingerprint, record.classes, units)


@own_defaults()
def read(path: Path) -> Shared:
    """The model of an exported folder, verified first.

    Raises:
        ShareError: Naming the file that is missing, altered or not what it claims to be.
    """
    require_sums(path)
    record = read_record(path / RECORD)
    weights, chains = read_tensors(path / WEIGHTS), read_tensors(path / CHAINS)
    return Shared(
        record,
        build_f(record, weights, path / WEIGHTS).to(choose_device("auto")).eval(),
        build_start(record, chains.get("chains"), path / CHAINS),
        held_out_values(chains.get("held_out"), path / CHAINS),
    )


def require_sums(path: Path) -> None:
    """Refuse a folder in which a file is missing or does not match its checksum."""
    manifest = read_json(path / MANIFEST)
    sums = manifest.get("sha256") if isinstance(manifest, dict) else None
    for name in (RECORD, WEIGHTS, CHAINS):
        expected = sums.get(name) if isinstance(sums, dict) else None
        if not isinstance(expected, str):
            raise ShareError(f"{path / MANIFEST} does not list {name}; copy or download the folder again")
        if not (path / name).is_file():
            raise ShareError(f"{path / name} is missing; copy or download the folder again")
        if digest(path / name) != expected:
            raise ShareError(
                f"{path / name} does not match its checksum: it was altered or cut short; copy or download it again"
            )


def read_json(path: Path) -> Any:
    """The content of a JSON file of reasonable size."""
    if not path.is_file():
        raise ShareError(f"{path} is missing; copy or download the folder again")
    if path.stat().st_size > MOST_TEXT:
        raise ShareError(f"{path} has {counted(path.stat().st_size, 'byte')}; expected at most {MOST_TEXT}")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ShareError(f"{path} is unreadable: {error}; copy or download it again") from None


def read_record(path: Path) -> Record:
    """The content of anila.json, with every field checked."""
    found = read_json(path)
    if isinstance(found, dict) and found.get("format") != 1:
        raise ShareError(f"{path} has format {found.get('format')!r}; this version of anila reads format 1: update it")
    try:
        return TypeAdapter(Record).validate_python(without_code(found))
    except ValueError as error:
        raise ShareError(f"{path} does not describe a model: {error}") from None


def without_code(found: Any) -> Any:
    """The content of anila.json in this version's terms, such that no file named there is run.

    Raises:
        ValueError: If its network or objective is such a file.
    """
    experiment = current(found.get("experiment")) if isinstance(found, dict) else None
    if not isinstance(experiment, dict):
        return found
    for group in ("network", "objective", "anchor"):
        if isinstance(chosen := experiment.get(group), dict) and is_code(str(chosen.get("name"))):
            raise ValueError(f"{group}.name={chosen['name']}: an export carries no code")
    sampler = experiment.get("sampler")
    return found | {"experiment": experiment | ({"sampler": ported(sampler)} if isinstance(sampler, dict) else {})}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, all finite."""
    try:
        tensors = load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise ShareError(f"{path} is not a safetensors file: {error}") from None
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ShareError(f"{path} holds NaN or infinity in {name}")
    return tensors


def build_f(record: Record, weights: dict[str, Tensor], path: Path) -> nn.Module:
    """f with these parameters; first built without memory, to check that the settings need no more than is there."""
    network, seed = record.experiment.network, record.experiment.training.seed
    try:
        with torch.device("meta"):
            bare = build_network(replace(network, spectral=False), record.event_shape, seed)
        if isinstance(bare, NoiseConditional):
            add_widening(bare, weights)
        if (wanted := numbers(bare.state_dict())) > (there := numbers(weights)):
            raise ValueError(f"the settings ask for {counted(wanted, 'number')}, the file holds {there}")
        f = build_network(network, record.event_shape, seed)
        for name, own in f.state_dict().items():
            if name in weights and weights[name].dtype not in (own.dtype, torch.float16):
                raise ValueError(f"{name} is {weights[name].dtype}; expected {own.dtype} or float16")
        f.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise ShareError(f"{path} does not fit the settings in {RECORD}: {error}") from None
    return f


def numbers(tensors: dict[str, Tensor]) -> int:
    """Total number of elements of the tensors."""
    return sum(value.numel() for value in tensors.values())


def build_start(record: Record, chains: Tensor | None, path: Path) -> Start:
    """The kept chains, or noise."""
    start = record.experiment.start
    if chains is None and start.name == "noise" and start.kind in ("uniform", "normal"):
        return FromNoise(record.event_shape, start.kind, start.scale)
    expected = STORED[start.storage]
    if chains is not None and chains.dtype == torch.float16:
        chains = chains.to(expected)
    if chains is None or chains.dtype != expected or tuple(chains.shape[1:]) != record.event_shape or not len(chains):
        got = "none" if chains is None else f"{chains.dtype} of shape {tuple(chains.shape)}"
        raise ShareError(f"{path}: expected chains, {expected} of shape (n, *{record.event_shape}); got {got}")
    return Persistent(unpacked(chains, torch.float32), None if start.storage == "float32" else start.storage)


def held_out_values(values: Tensor | None, path: Path) -> Tensor:
    """f of held-out rows."""
    if values is None or values.dtype != torch.float64 or values.ndim != 1:
        raise ShareError(f"{path}: expected held_out, float64 of shape (n,)")
    return values

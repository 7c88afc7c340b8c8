"""Laws of checkpoints: what is written comes back, what is damaged is seen, what is whole is found."""

import json
from pathlib import Path

import pytest
import torch

from anila.runs.folder import checkpoint
from anila.runs.folder.checkpoint import Damaged

PARTS = {
    "learner": {
        "model": {"a.weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(3)},
        "optimizer": {
            "state": {0: {"step": torch.tensor(2.0)}, 1: {}},
            "param_groups": [{"lr": 0.1, "params": [0, 1]}],
        },
        "iteration": 5,
        "nothing": None,
    }
}


def flip_bit(path: Path, at: float = 0.7) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)


def test_what_is_written_comes_back(tmp_path: Path):
    """Sees lost dtypes, integer keys turned into strings, and shared or scalar tensors dropped."""
    path = checkpoint.save(tmp_path, 5, PARTS)
    iteration, parts = checkpoint.load(path, "learner")
    learner = parts["learner"]
    assert iteration == 5
    assert learner["optimizer"]["state"].keys() == {0, 1}
    assert learner["optimizer"]["param_groups"] == [{"lr": 0.1, "params": [0, 1]}]
    assert torch.equal(learner["model"]["a.weight"], PARTS["learner"]["model"]["a.weight"])
    assert learner["model"]["count"].dtype == torch.int64
    assert learner["nothing"] is None


@pytest.mark.parametrize("file", ["learner.safetensors", "learner.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
def test_damage_is_seen_and_the_previous_checkpoint_found(tmp_path: Path, file: str, damage: str):
    """Sees a checkpoint taken at its word: one flipped bit loads silently from safetensors."""
    old, new = checkpoint.save(tmp_path, 5, PARTS), checkpoint.save(tmp_path, 10, PARTS)
    victim = new / file
    match damage:
        case "flip":
            flip_bit(victim, 0.0 if file == "manifest.json" else 0.7)
        case "truncate":
            victim.write_bytes(victim.read_bytes()[:20])
        case "empty":
            victim.write_bytes(b"")
        case "remove":
            victim.unlink()
    with pytest.raises(Damaged, match=file.replace(".", r"\.")):
        checkpoint.load(new, "learner")
    found, notices = checkpoint.newest(tmp_path)
    assert found == old
    assert len(notices) == 1
    assert file in notices[0]


def test_a_manifest_cannot_point_outside(tmp_path: Path):
    path = checkpoint.save(tmp_path, 1, PARTS)
    secret = tmp_path / "secret"
    secret.write_text("x")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["sha256"]["../secret"] = checkpoint.digest(secret)
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Damaged, match="secret is missing"):
        checkpoint.verify(path)


def test_half_written_folders_are_never_found(tmp_path: Path):
    """Sees a crash while writing taken for a checkpoint: only the rename makes one."""
    checkpoint.save(tmp_path, 5, PARTS)
    (tmp_path / ".writing-000000010").mkdir()
    (tmp_path / "notes").mkdir()
    assert [p.name for p in checkpoint.listed(tmp_path)] == ["000000005"]


def test_numbers_order_checkpoints_not_dates(tmp_path: Path):
    checkpoint.save(tmp_path, 20, PARTS)
    checkpoint.save(tmp_path, 3, PARTS)
    found, _ = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.name == "000000020"


def test_a_checkpoint_may_go_while_it_is_read(tmp_path: Path):
    """Sees `anila sample` of a run that is training end in an error, or call what was pruned damaged."""
    checkpoint.save(tmp_path, 1, PARTS)
    later = iter([2, 3, 4, 5])

    def slowly(path: Path) -> None:
        for i in [i for i in (next(later, None), next(later, None)) if i]:
            checkpoint.save(tmp_path, i, PARTS)
        checkpoint.verify(path)

    assert checkpoint.newest(tmp_path, slowly) == (tmp_path / "000000005", [])


def test_newest_two_and_the_best_are_kept(tmp_path: Path):
    for i in range(1, 6):
        path = checkpoint.save(tmp_path, i, PARTS)
        if i == 2:
            checkpoint.mark_best(tmp_path, path, 0.5)
    assert [int(p.name) for p in checkpoint.listed(tmp_path)] == [2, 4, 5]
    assert checkpoint.best_of(tmp_path) == tmp_path / "000000002"
    assert checkpoint.best_score(tmp_path) == 0.5


def test_a_failed_write_leaves_the_old_ones_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees a full disk take the last good checkpoint along, or its error hidden."""
    checkpoint.save(tmp_path, 5, PARTS)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, 6, PARTS)
    assert [p.name for p in tmp_path.iterdir()] == ["000000005"]


def test_pickles_are_not_read(tmp_path: Path):
    path = checkpoint.save(tmp_path, 5, PARTS)
    torch.save(PARTS, path / "learner.safetensors")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["sha256"]["learner.safetensors"] = checkpoint.digest(path / "learner.safetensors")
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Damaged, match="learner"):
        checkpoint.load(path, "learner")


def test_tied_weights_are_written(tmp_path: Path):
    """Sees a training lost at its first checkpoint because two parts of a network share their weights."""
    shared = torch.arange(6.0)
    model = {"a": shared, "b": shared, "part": shared[2:4]}
    _, parts = checkpoint.load(checkpoint.save(tmp_path, 5, {"learner": {"model": model}}), "learner")
    assert all(torch.equal(parts["learner"]["model"][name], value) for name, value in model.items())

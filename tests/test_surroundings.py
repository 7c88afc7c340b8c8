"""Nothing depends on what surrounds a run: torch's defaults, threads, streams, foreign lines, hostile names."""

import errno
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as parquet
import pytest
import torch
from safetensors.torch import load_file, save_file

import anila
from anila.applications.files import outputs
from anila.data import download
from anila.density.precision import own_defaults
from anila.density.transform import unvalidated, validates
from anila.messages import lines_printable, surviving
from anila.runs.experiment import PRESETS, Experiment, SettingsError, from_toml, resolve
from anila.runs.folder.run import Run
from anila.runs.model.card import plain
from anila.runs.model.export import MANIFEST, WEIGHTS, ShareError, digest, export, load
from anila.runs.training.train import train
from tiny import anila as command
from tiny import quiet, small_rings, trained_rings

pytestmark = pytest.mark.usefixtures("unmeasured")


def small(*more: str) -> Experiment:
    return small_rings("training.iterations=3", *more)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_rings(tmp_path_factory.mktemp("whole") / "run", "training.iterations=3")


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints/000000003/learner.safetensors")


# torch's global state (FAULTS 55)


@contextmanager
def in_double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


AROUND: dict[str, Callable[[], Any]] = {
    "default dtype": in_double,
    "default device": lambda: torch.device("meta"),
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@pytest.mark.parametrize("around", AROUND)
def test_a_run_is_the_same_whatever_torch_is_set_to(tmp_path: Path, run: Path, around: str):
    """Sees a setting of the caller's reach a network, a start or a gradient."""
    export(Run(run), tmp_path / "export")
    expected = [anila.load(path).draw(20) for path in (run, tmp_path / "export")]
    before = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
    with AROUND[around]():
        train(small(), tmp_path / "run", quiet)
        for path, x in zip((run, tmp_path / "export"), expected, strict=True):
            model = anila.load(path)
            assert torch.equal(model.draw(20), x)
            assert model.f(x).shape == (20,)
            assert model.held_out(5).x.dtype == torch.float32
            assert next(model.f.parameters()).device.type == "cpu"
    assert (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()) == before
    found, whole = weights(tmp_path / "run"), weights(run)
    assert all(torch.equal(found[name], whole[name]) for name in whole)


@pytest.mark.parametrize("setting", ["default dtype", "checks of distributions"])
def test_the_last_of_two_threads_puts_a_setting_back(setting: str):
    """Sees what one thread set left for good, because another came second and took it for the caller's."""
    inside, read = (
        (unvalidated, validates) if setting == "checks of distributions" else (own_defaults, torch.get_default_dtype)
    )
    with in_double():
        before, first, second = read(), inside(), inside()
        first.__enter__()
        changed = read()
        second.__enter__()
        first.__exit__(None, None, None)
        assert read() == changed != before
        second.__exit__(None, None, None)
        assert read() == before


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_a_learner_learns_where_gradients_are_off(off: Callable[[], Any]):
    """Sees θ's gradient missing in a block that is for evaluation."""
    f = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Flatten(0))
    learner = anila.Learner(
        f, anila.mala(f, 0.1), anila.Persistent(torch.zeros(4, 2)), torch.optim.SGD(f.parameters(), 0.1), steps=2
    )
    with off():
        assert learner.update(torch.ones(4, 2))["theta_grad_norm"] > 0


def test_a_run_trains_in_a_thread(tmp_path: Path, run: Path):
    """Sees the signals of the main thread claimed by another, which Python refuses."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(train(small(), tmp_path / "run", quiet)))
    thread.start()
    thread.join()
    assert found[0].iteration == 3
    assert all(torch.equal(weights(tmp_path / "run")[name], value) for name, value in weights(run).items())


# Streams (FAULTS 43, 55)


def full_disk(_: str) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def closed(_: str) -> None:
    raise ValueError("I/O operation on closed file")


@pytest.mark.parametrize("say", [full_disk, closed])
def test_training_goes_on_where_nothing_can_be_said(tmp_path: Path, say: Callable[[str], None]):
    """Sees `nohup anila train … > log` end with the disk that the log is on."""
    assert train(small(), tmp_path / "run", say).iteration == 3


def test_an_old_encoding_gets_escapes():
    """Sees training end at a "‖" that the stream does not have."""
    stream = io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True)
    surviving(lambda text: print(text, file=stream))("KL(data ‖ model)")
    assert stream.buffer.getvalue() == b"KL(data \\u2016 model)\n"  # pyright: ignore[reportAttributeAccessIssue]


def outcome(words: list[str], stdout: Any, **environment: str) -> tuple[int, bytes]:
    code = "import sys; sys.argv = ['anila', *sys.argv[1:]]; from anila.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], stdout=stdout, stderr=subprocess.PIPE, env=os.environ | environment
    )
    return done.returncode, done.stderr


def test_the_command_line_bears_any_stream():
    """Sees a traceback, or a failure, where a stream is ASCII, or a pipe is closed before all is said."""
    with Path(os.devnull).open("w") as sink:
        status, err = outcome(["presets"], sink, PYTHONIOENCODING="ascii")
    assert (status, err) == (0, b"")
    read, write = os.pipe()
    os.close(read)
    assert outcome(["presets", "--json"], write)[1] == b""
    os.close(write)


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP is that of torch on Linux")
def test_threads_of_the_command_line_hardly_spin():
    """Sees threads that spin long: with another process on one of two cores, drawing took ten times as long."""
    err = outcome(["evaluate", os.devnull], subprocess.DEVNULL, OMP_DISPLAY_ENV="VERBOSE")[1]
    assert b"GOMP_SPINCOUNT = '1000'" in err


@pytest.mark.skipif(sys.platform != "linux", reason="GNU's malloc is that of Linux")
def test_the_command_line_keeps_freed_memory():
    """Sees pages that go back to the system, and are cleared again for the next tensors: a fifth of drawing's time."""
    code = """
import os, resource, anila.runs.training.machine
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    [bytearray(2**24) for _ in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
if not hasattr(__import__("ctypes").CDLL(None), "mallopt"): print(0, 1)
else: anila.runs.training.machine.keep_freed_memory(); first = faults(); print(faults(), first)
"""
    again, first = map(int, subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split())
    assert again < first / 10


# Foreign settings and lines (FAULTS 54)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = " + "[" * 5000 + "]" * 5000, "not valid TOML"),
        ('preset = ["rings"]', 'expected one name, e.g. preset = "rings"; got'),
        ("preset = 3", "expected one name"),
        ("preset = 'ring'", "did you mean 'rings'"),
        ("a = 1" + "0" * 5000, "not valid TOML"),
        ("stages = [{stages = []}]", "a stage has no stages of its own"),
        ("\xff", "not valid TOML"),
    ],
)
def test_a_settings_file_that_is_none_is_refused_by_name(tmp_path: Path, text: str, says: str):
    """Sees a RecursionError, a TypeError, or a refusal that does not say of what."""
    path = tmp_path / "mine.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=rf"mine\.toml.*{says}"):
        from_toml(path, {name: preset.experiment for name, preset in PRESETS.items()})


def test_a_deep_override_is_refused():
    """Sees a RecursionError."""
    with pytest.raises(SettingsError, match=r"network\.hidden"):
        resolve(PRESETS["rings"].experiment, ["network.hidden=" + "[" * 100_000])


def test_foreign_lines_of_statistics_are_passed_over(tmp_path: Path):
    """Sees a KeyError at a rollback that this version did not write, or a picture of words."""
    other = Run(tmp_path)
    lines = ['{"iteration": 1, "event": "rollback"}', '{"iteration": 2, "f": "much", "g": 1e3, "h": [1]}',
             '{"iteration": 3, "g": 1' + "0" * 400 + "}"]  # fmt: skip
    other.stats_path.write_text("\n".join(lines))
    assert (other.returns(), other.events()) == ([], [])
    assert other.stats() == [{"iteration": 2, "g": 1e3}, {"iteration": 3}]


def test_numbers_of_another_kind_are_no_parameters(tmp_path: Path, run: Path):
    """Sees int8 weights loaded as if they were those that were learned."""
    export(Run(run), tmp_path / "x")
    path = tmp_path / "x" / WEIGHTS
    save_file({name: value.to(torch.int8) for name, value in load_file(path).items()}, path)
    manifest = json.loads((tmp_path / "x" / MANIFEST).read_text())
    manifest["sha256"][WEIGHTS] = digest(path)
    (tmp_path / "x" / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ShareError, match=r"is torch\.int8; expected torch\.float32 or float16"):
        load(tmp_path / "x")


def test_a_download_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees a server that never stops fill the disk, and its bytes kept."""

    class Endless(io.BytesIO):
        status, headers = 200, {}

        def read(self, size: int | None = -1) -> bytes:
            return bytes(size or 0)

    monkeypatch.setattr(download, "MOST", 5 * download.BLOCK)
    monkeypatch.setattr(download.urllib.request, "urlopen", lambda *_, **__: Endless())
    with pytest.raises(ValueError, match="sends more than 5,242,880 bytes"):
        download.download("http://x/y", tmp_path / "y", "0")
    assert not list(tmp_path.iterdir())


# Hostile names (FAULTS 56)

HOSTILE = "\x1b[31mred\x1b]0;title\x07\r"


def test_names_do_nothing_to_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Sees escape sequences of a file, a column or a class reach the screen or log.txt."""
    assert lines_printable(f"a\n{HOSTILE}") == "a\n\\x1b[31mred\\x1b]0;title\\x07\\r"
    path = tmp_path / f"{HOSTILE}.csv"
    path.write_text(f'"{HOSTILE}",b\n' + "\n".join(f"{i},{i * i % 7}" for i in range(20)) + "\n")
    words = ["network.hidden=[4]", "training.batch=5", "training.chains=5", "training.iterations=1"]
    assert command("train", path, *words, "--run", tmp_path / "run") == 0
    assert command("outliers", tmp_path / "run", path, "--rate", "0.2") == 0
    assert command("sample", tmp_path / "run", "--count", "3", "--out", path) == 2
    said = capsys.readouterr()
    log = (tmp_path / "run/log.txt").read_text()
    assert all(text.replace("\n", "").isprintable() for text in (said.out, said.err, log))
    assert "\\x1b[31mred" in said.err


@pytest.mark.parametrize("cell", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3+cmd|x", "\t=1"])
def test_a_table_of_names_holds_no_formula(tmp_path: Path, cell: str):
    """Sees a class or a file called like a formula run by the spreadsheet that opens a result."""
    table = pa.table({"class": [cell, "cats", None], cell: [1.0, -2.0, 3.0], "t": ["-3.5", "+1e-7", "-"]})
    more = {"coded": table["class"].dictionary_encode(), "long": table["class"].cast(pa.large_string())}
    outputs.write_table(
        pa.table({**dict(zip(table.column_names, table.columns, strict=True)), **more}), tmp_path / "x.csv"
    )
    back = pyarrow.csv.read_csv(
        tmp_path / "x.csv", convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True)
    )
    assert back.column_names == ["class", f"'{cell}", "t", "coded", "long"]
    assert [back[name][0].as_py() for name in ("class", "coded", "long")] == [f"'{cell}"] * 3
    outputs.write_table(table, tmp_path / "x.parquet")
    assert parquet.read_table(tmp_path / "x.parquet").equals(table)
    assert ",-3.5," in (tmp_path / "x.csv").read_text()


def test_a_card_holds_no_markup():
    """Sees a class that is a script, a heading or a link in the page that shows the card."""
    assert plain("<script>x</script>") == "&lt;script&gt;x&lt;/script&gt;"
    assert plain("a\n# head [l](u) `c` |") == "a\\\\n\\# head \\[l\\](u) \\`c\\` \\|"

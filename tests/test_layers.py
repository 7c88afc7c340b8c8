"""The import rule of pyproject.toml sees an import that points up, sideways or around."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLANTED = {
    "up": ("density/precision.py", "import anila.runs.folder.run", "imports point down only BROKEN"),
    "sideways": ("evaluation/samples/mmd.py", "import anila.evaluation.chains.bias", "within evaluation BROKEN"),
    "a new room": ("lounge.py", "import anila.rng", "marked as 'exhaustive'"),
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """What the rule says of the package in a folder."""
    command = [
        str(Path(sys.executable).with_name("lint-imports")),
        "--no-cache",
        "--config",
        str(ROOT / "pyproject.toml"),
    ]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env={"PYTHONPATH": str(folder)})


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_import_breaks_the_rule(fault: str, tmp_path: Path):
    """Sees a rule that lets rooms import each other, or that does not know of a room."""
    package = tmp_path / "anila"
    shutil.copytree(ROOT / "src/anila", package, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    file, line, message = PLANTED[fault]
    with (package / file).open("a") as source:
        source.write(f"\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr

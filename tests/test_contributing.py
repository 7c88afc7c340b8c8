"""CONTRIBUTING.md is true: its tree is that of the package, its paths exist, and what it says to add works."""

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anila.learning.objectives import OBJECTIVES
from anila.runs.experiment.code import load_code
from anila.samplers import SAMPLERS
from tiny import anila

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
TINY = ["training.batch=20", "training.chains=10", "training.iterations=2", "network.hidden=[8]"]
EXAMPLES = {"src/anila/samplers/kick.py", "src/anila/learning/objectives/discrepancy.py"}


def test_the_tree_is_that_of_the_package():
    """Sees a room that came, went or changed its docstring: run `python scripts/tree.py --write`."""
    script = runpy.run_path(str(ROOT / "scripts/tree.py"))
    assert script["parts"](PAGE)[1] == script["tree"]()


def test_every_path_leads_somewhere():
    """Sees a file that was moved or renamed since the page was written."""
    named = set(re.findall(r"`((?:src|tests|scripts|docs)/[\w./]+\.\w+)`", PAGE)) - EXAMPLES
    missing = [path for path in named if "NAME" not in path and not (ROOT / path).exists()]
    assert named
    assert not missing


@pytest.mark.parametrize("table", ["SAMPLERS", "NETWORKS", "OBJECTIVES", "TOYS", "KNOWN", "COMMANDS", "SETTINGS"])
def test_every_table_is_where_the_page_says(table: str):
    """Sees a table that was renamed or moved."""
    files = re.findall(rf"`{table}` (?:in|of) `([\w./]+)`", PAGE)
    assert files
    assert all(re.search(rf"^{table}\b.* = ", (ROOT / path).read_text(), re.MULTILINE) for path in files)


@pytest.mark.parametrize(
    ("name", "table", "words"),
    [
        ("kick", SAMPLERS, ["sampler=kick", "sampler.strength=0.25"]),
        ("discrepancy", OBJECTIVES, ["objective=discrepancy", "objective.sd=0.2"]),
    ],
)
def test_one_file_and_one_row_are_enough(
    name: str, table: dict[str, Callable[..., Any]], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Sees an example of the page that is out of date, and a list of names in some room."""
    (example,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if f"def {name}(" in block]
    (tmp_path / f"{name}.py").write_text(example)
    monkeypatch.setitem(table, name, load_code(f"{tmp_path}/{name}.py:{name}", "test").thing)
    assert anila("train", "rings", *TINY, *words, "--run", tmp_path / "run") == 0
    assert anila("sample", tmp_path / "run", "--count", "5", "--out", tmp_path / "x.csv") == 0

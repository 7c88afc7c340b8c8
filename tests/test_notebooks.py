"""The notebooks run, with small settings, and are committed as they were run with their own."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
SMALL: dict[str, dict[str, Any]] = {
    "posterior": {"STEPS": 60, "DRAWS": 40},
    "first-model": {"ITERATIONS": 20},
    "table": {},
    "photos": {"COUNT": 4, "MINUTES": 0.05},
    "paper": {"ITERATIONS": 20, "CHAINS": 2000},
}
"""Notebook -> values of its parameters that make it quick."""
LARGEST = 600_000
"""Bytes of a notebook with its outputs."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "posterior")) for n in SMALL])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees a cell that fails; its parameters are small here."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    page = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4)
    parameters = [i for i, cell in enumerate(page.cells) if "parameters" in cell.metadata.get("tags", [])]
    for i in parameters:
        page.cells[i].source += "\n" + "\n".join(f"{key} = {value!r}" for key, value in SMALL[name].items())
    assert bool(parameters) == bool(SMALL[name])
    here = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(page, timeout=600, resources=here).execute()


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_the_notebook_is_as_it_was_run(path: Path):
    """Sees a notebook that no test runs, one that is large, one with an error in it, one run out of order, and
    lines that end as a terminal's do."""
    assert path.stem in SMALL
    assert path.stat().st_size < LARGEST
    run = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in run] == list(range(1, len(run) + 1))
    assert not [output for cell in run for output in cell["outputs"] if output["output_type"] == "error"]
    assert not [found for cell in run for found in cell["outputs"] if "\r" in "".join(found.get("text", []))]
    assert any("pip install" in "".join(cell["source"]) for cell in run)

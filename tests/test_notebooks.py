"""The notebooks run, with small settings."""

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
    nbclient.NotebookClient(page, timeout=600, resources=here, skip_cells_with_tag="").execute()

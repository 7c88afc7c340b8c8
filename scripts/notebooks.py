"""Run the notebooks in place and keep their outputs.

python scripts/notebooks.py [NAME]...        all of them, or notebooks/NAME.ipynb; about ten minutes on a core
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def main(names: list[str]) -> None:
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    for path in [NOTEBOOKS / f"{name}.ipynb" for name in names] or sorted(NOTEBOOKS.glob("*.ipynb")):
        print(path.name)
        notebook = nbformat.read(path, 4)
        with tempfile.TemporaryDirectory() as folder:
            here = {"metadata": {"path": folder}}
            NotebookClient(notebook, timeout=3600, resources=here, coalesce_streams=True).execute()
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
            for output in cell.get("outputs", []):
                if "text" in output:  # of a terminal, where commands of the shell print
                    output.text = output.text.replace("\r\n", "\n")
        path.write_text(nbformat.writes(notebook).replace(f"{folder}/", "") + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

"""The documentation site: its pages are collected in build/pages, then built by zensical into build/site.

python scripts/site.py        what `make docs` runs; a warning stops it

The pages are those of docs/, CONTRIBUTING.md, CHANGELOG.md and the notebooks as they are committed, with their outputs.
A link to a file of the package becomes a link to its reference.
"""

import base64
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build/pages"
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def main() -> None:
    shutil.rmtree(ROOT / "build", ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES)
    for path in [*ROOT.glob("docs/**/*.md"), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        write(path, path.read_text("utf-8"))
    for path in ROOT.glob("notebooks/*.ipynb"):
        write(path, notebook_page(path))
    zensical = Path(sys.executable).with_name("zensical")
    sys.exit(subprocess.run([zensical, "build", "--clean", "--strict"], cwd=ROOT).returncode)


def write(path: Path, text: str) -> None:
    """Stage the page of a file of the repository."""
    here = staged(path.relative_to(ROOT).as_posix())
    page = PAGES / here
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(LINK.sub(lambda link: moved(link, path, here), text), "utf-8")


def staged(path: str) -> str:
    """Where the site has a file: docs/a.md is a.md, CHANGELOG.md changelog.md, notebooks/a.ipynb notebooks/a.md."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return path.replace(".ipynb", ".md") if path.startswith("notebooks/") else path.lower()


def moved(link: re.Match[str], source: Path, here: str) -> str:
    """A link of a file of the repository as its page has it."""
    target, anchor = link[1], link[2] or ""
    path = os.path.relpath(source.parent / target, ROOT)
    if path.startswith("src/"):
        return f"][{path.removeprefix('src/').removesuffix('.py').replace('/', '.')}]"
    if not (ROOT / path).exists():
        return link[0]
    return f"]({posixpath.relpath(staged(path), posixpath.dirname(here) or '.')}{anchor})"


def notebook_page(path: Path) -> str:
    """A notebook as Markdown; its pictures are files beside the page."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    pictures = PAGES / "notebooks" / path.stem
    pictures.mkdir(parents=True)
    return "\n\n".join(part for i, cell in enumerate(cells) for part in parts(cell, pictures / str(i)))


def parts(cell: dict[str, Any], picture: Path) -> list[str]:
    """The text of a cell, then what it printed and showed."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [source]
    outputs = [shown(output, picture.with_name(f"{picture.name}_{i}.png")) for i, output in enumerate(cell["outputs"])]
    return [f"```python\n{source}\n```", *outputs]


def shown(output: dict[str, Any], picture: Path) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        picture.write_bytes(base64.b64decode("".join(data["image/png"])))
        return f"![what the cell draws]({picture.parent.name}/{picture.name})"
    if "text/html" in data:
        return f'<div class="output">\n{"".join(data["text/html"]).strip()}\n</div>'
    text = "".join(data.get("text/plain", output.get("text", "")))
    return f"```text\n{ANSI.sub('', text).rstrip()}\n```"


if __name__ == "__main__":
    main()

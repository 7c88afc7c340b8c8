"""The rooms of the package, one line each, from the layers of pyproject.toml and the first lines of docstrings.

    python scripts/tree.py             print the tree
    python scripts/tree.py --write     put it into CONTRIBUTING.md

The test of CONTRIBUTING.md compares the two.
"""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src/anila"
PAGE = ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- tree: made by scripts/tree.py --write -->\n", "<!-- end of tree -->"
INDENT, COLUMN = 2, 20


def tree() -> str:
    """The package and all its rooms, those that import first."""
    lines = [f"{PACKAGE.relative_to(ROOT)}/"]
    for name in layers():
        lines += room(PACKAGE / name, 1) if (PACKAGE / name).is_dir() else [line(PACKAGE / f"{name}.py", 1)]
    return "```text\n" + "\n".join(lines) + "\n```\n"


def layers() -> list[str]:
    """The rooms, from the highest layer to the lowest."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (c["layers"] for c in contracts if c["type"] == "layers" and c["containers"] == ["anila"])
    return [name for layer in layers for name in layer.split(" | ") if name != "__main__"]


def room(folder: Path, depth: int) -> Iterator[str]:
    """A room and the rooms in it."""
    yield line(folder / "__init__.py", depth)
    for inner in sorted(folder.glob("*/__init__.py")):
        yield from room(inner.parent, depth + 1)


def line(file: Path, depth: int) -> str:
    """The name of a room or file, and the first line of its docstring."""
    docstring = ast.get_docstring(ast.parse(file.read_text()))
    if not docstring:
        raise ValueError(f"{file} has no docstring: begin it with one line that says what is there")
    name = f"{file.parent.name}/" if file.name == "__init__.py" else file.name
    return " " * INDENT * depth + name.ljust(COLUMN - INDENT * depth) + docstring.splitlines()[0]


def parts(page: str) -> tuple[str, str, str]:
    """What is before the tree, the tree, and what is after it."""
    before, begin, rest = page.partition(BEGIN)
    inside, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE.name} has no lines {BEGIN.strip()!r} and {END!r}: put the tree between them")
    return before + begin, inside, end + after


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        before, _, after = parts(PAGE.read_text())
        PAGE.write_text(before + tree() + after)
    else:
        print(tree(), end="")

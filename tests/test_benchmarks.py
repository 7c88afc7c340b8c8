"""Benchmarks and scripts, before hours go into them: what code in strings imports, and commands that pages show."""

import argparse
import ast
import importlib
import re
import runpy
import shlex
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from anila.runs.experiment import PRESETS, resolve

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("*.md", "Makefile", "docs/**/*.md", "src/**/*.md", "src/**/*.json", "benchmarks/*.py", "scripts/*.py")
IMPORT = re.compile(r"\bfrom (anila(?:\.\w+)*) import (\([^)]*\)|[\w, ]+)|\bimport (anila(?:\.\w+)*)")
COMMAND = re.compile(r"python ((?:benchmarks|scripts)/\w+\.py)(?: (?! )([^`\n]*))?")
OF_THEN = re.compile(r"^    git checkout .*\n(?: {4}.*\n)*", re.MULTILINE)
"""Commands of another commit."""
READ_AS_THEY_ARE = ("action", "choices", "nargs", "required")
"""What decides whether an argument parses, where it is written out."""


def strings(path: Path) -> str:
    """All strings of a file of Python or JSON, the syntax of which is Python's too; all of any other file."""
    text = path.read_text("utf-8")
    if path.suffix not in (".py", ".json", ".ipynb"):
        return text
    found = (node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
    return "\n".join(value for value in found if isinstance(value, str))


def files(*patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


def test_what_strings_import_is_there():
    """Sees code for another process, or for a package that is not installed here, that names what has moved."""
    lost = [
        (path.relative_to(ROOT).as_posix(), module or whole, name)
        for path in files("benchmarks/*.py", "scripts/*.py", "tests/**/*.py", "notebooks/*.ipynb", "docs/**/*.md")
        for module, names, whole in IMPORT.findall(strings(path))
        for name in re.findall(r"(?:^|,)\W*(\w+)", names) or [""]
        if not there(module or whole, name)
    ]
    assert not lost


def there(module: str, name: str) -> bool:
    """Whether a module, and a name of it if there is one, can be imported."""
    with suppress(ModuleNotFoundError):
        found = importlib.import_module(module)
        return not name or hasattr(found, name) or find_spec(f"{module}.{name}") is not None
    return False


@pytest.mark.parametrize(
    "path",
    [path for path in files(*PAGES) if COMMAND.search(path.read_text("utf-8"))],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_every_script_understands_its_commands(path: Path):
    """Sees a script, an option or an argument that is no longer so, and one that a command lacks."""
    for script, rest in COMMAND.findall(re.sub(r"\s*\\\n\s*", " ", OF_THEN.sub("", strings(path)))):
        words = shlex.split(re.split(r"\s{2,}", re.sub(r"[\[\]]", "", rest))[0], comments=True)
        if declared := arguments(ROOT / script):
            parser = argparse.ArgumentParser(script, allow_abbrev=False)
            for names, how in declared:
                parser.add_argument(*names, **how)
            parser.parse_args(words)
        else:
            code = (ROOT / script).read_text("utf-8")
            assert not [word for word in words if word.startswith("--") and f'"{word}"' not in code]


def arguments(script: Path) -> list[tuple[list[str], dict[str, Any]]]:
    """The calls of `add_argument` in a script, which is not run: its peers need not be installed."""
    return [
        ([ast.literal_eval(name) for name in call.args], written_out(call))
        for call in ast.walk(ast.parse(script.read_text("utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"
    ]


def written_out(call: ast.Call) -> dict[str, Any]:
    """The keywords of a call that are literals and matter here, and whether it wants numbers."""
    found: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg in READ_AS_THEY_ARE:
            with suppress(ValueError):
                found[keyword.arg] = ast.literal_eval(keyword.value)
        elif keyword.arg == "type" and isinstance(keyword.value, ast.Name) and keyword.value.id in ("int", "float"):
            found["type"] = {"int": int, "float": float}[keyword.value.id]
    return found


def test_the_samplers_of_rings_have_their_settings():
    """Sees a setting that all of the benchmark's samplers are given and one of them does not have."""
    script = runpy.run_path(str(ROOT / "benchmarks/rings_samplers.py"))
    for overrides in script["SAMPLERS"].values():
        resolve(PRESETS["rings"].experiment, [*script["SETTINGS"], *overrides])

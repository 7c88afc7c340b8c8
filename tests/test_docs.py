"""The pages of docs/ do what they say: their Python runs, their links lead somewhere, and the site has them all."""

import importlib
import re
import shlex
import shutil
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import typer

import anila
from anila.cli.app import app
from anila.runs.catalogue import KNOWN_TO
from anila.runs.experiment.choose import choose
from compilers import CXX
from exact import as_users_run_it

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("**/*.md"))
ELSEWHERE = ("bridges.md",)
"""Pages whose blocks need a package each: `test_bridges.py` runs them."""
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^ {4,}anila (.*)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)\s#]*)(?:#([^)\s]*))?\)")


@pytest.mark.parametrize("page", [p.name for p in PAGES if p.name not in ELSEWHERE and BLOCK.search(p.read_text())])
def test_the_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees a name, a signature or a promise of the page that is no longer so, and one that warns."""
    code = "\n".join(BLOCK.findall((DOCS / page).read_text()))
    monkeypatch.chdir(tmp_path)
    if "arviz_stats" in code:
        pytest.importorskip("xarray_einstats", reason="the page shows ArviZ: pip install 'anila[arviz]'")
    if "compile=True" in code and not shutil.which(CXX):
        pytest.skip(f"the page shows compiled steps, and there is no C++ compiler {CXX}")
    with as_users_run_it():
        exec(compile(code, page, "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("*.md")], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path):
    """Sees a page, a picture or a heading that was renamed, moved or deleted."""
    lost = []
    for target, anchor in LINK.findall(page.read_text()):
        path = page.parent / target if target else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            lost.append(f"{target}#{anchor}")
    assert not lost


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_every_block_stands_alone(page: Path):
    """Sees commands right below a line of text, which flow into it."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    assert not re.findall(r"^(?![-*:|\d\s]).+\n    \S.*", text, re.MULTILINE)


@pytest.mark.parametrize(
    "page",
    [*PAGES, ROOT / "README.md", *sorted(ROOT.glob("benchmarks/*.py")), *sorted(ROOT.glob("scripts/*.py"))],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)
def test_every_command_is_understood(page: Path):
    """Sees an option, a setting or a preset that is no longer so; runs and files of the page need not be there."""
    commands = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    for line in COMMAND.findall(page.read_text("utf-8").replace("\\\n", "")):
        name, *words = shlex.split(line, comments=True)
        if name.startswith("--") or "…" in words:
            continue
        with suppress(ValueError):  # of a run or a folder that is not there
            commands[name].make_context(name, list(words))
        if name == "train" and words[0] in KNOWN_TO and ".py:" not in line:
            choose(words[0], [word for word in words[1:] if "=" in word])


@pytest.mark.parametrize(
    "page", [*PAGES, *ROOT.glob("*.md"), *ROOT.glob("notebooks/*.ipynb")], ids=lambda path: path.name
)
def test_what_is_installed_can_be_found(page: Path):
    """Sees a first command that fails: no registry has a package of this name."""
    assert not re.search(r"^\W*pip install (-\S+ )*anila(?![-[\w])", page.read_text("utf-8"), re.MULTILINE)


def test_the_site_has_every_page():
    """Sees a page that nobody would find: give it a line in `nav` of zensical.toml."""
    nav = set(leaves(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]))
    pages = {path.relative_to(DOCS).as_posix() for path in PAGES} | {"contributing.md", "changelog.md"}
    assert nav == pages | {f"notebooks/{path.stem}.md" for path in ROOT.glob("notebooks/*.ipynb")}


def leaves(nav: list[Any]) -> list[str]:
    """The pages of a navigation."""
    return [
        page
        for entry in nav
        for value in entry.values()
        for page in (leaves(value) if isinstance(value, list) else [value])
    ]


def test_the_reference_has_every_name():
    """Sees a name of `anila` that the reference lacks, and an entry for what is no longer there."""
    entries = [name for path in PAGES for name in re.findall(r"^::: ([\w.]+)$", path.read_text(), re.MULTILINE)]
    for entry in entries:
        module, _, name = entry.rpartition(".")
        assert hasattr(importlib.import_module(module), name), entry
    assert not set(anila.__all__) - {entry.rpartition(".")[2] for entry in entries}


def test_every_test_of_a_fault_is_there():
    """Sees a line of the faults held by a test that was renamed or deleted, and one that is held by none."""
    page = (DOCS / "faults.md").read_text()
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", page)
    assert not [name for file, name in named if f"def {name}(" not in (Path(__file__).parent / file).read_text()]
    lines = re.findall(r"^\| (\d+) \|.*\| (\w+) \| (.*) \|$", page, re.MULTILINE)
    assert [int(number) for number, *_ in lines] == list(range(1, len(lines) + 1))
    assert all(("::" in tests) == (held in ("yes", "partly")) for _, held, tests in lines)

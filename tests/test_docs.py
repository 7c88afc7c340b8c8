"""The pages of docs/ do what they say: their blocks of Python run, one after the other."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.mark.parametrize(
    "page",
    [
        "sampling.md",
        "training.md",
        "extend.md",
        "applications.md",
        "classes.md",
        "evaluation.md",
        "sharing.md",
        "tables.md",
    ],
)
def test_the_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Sees a name, a signature or a promise of the page that is no longer so, and one that warns."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL))
    assert code
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page, "exec"), {"__name__": "__main__"})


def test_every_test_of_a_fault_is_there():
    """Sees a line of the faults held by a test that was renamed or deleted, and one that is held by none."""
    page = (DOCS / "faults.md").read_text()
    named = re.findall(r"`(test_\w+\.py)::(\w+)`", page)
    assert not [name for file, name in named if f"def {name}(" not in (Path(__file__).parent / file).read_text()]
    lines = re.findall(r"^\| (\d+) \|.*\| (\w+) \| (.*) \|$", page, re.MULTILINE)
    assert [int(number) for number, *_ in lines] == list(range(1, len(lines) + 1))
    assert all(("::" in tests) == (held in ("yes", "partly")) for _, held, tests in lines)

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

"""The pages of docs/ do what they say: their blocks of Python run, one after the other, as a user runs them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.mark.parametrize(
    "page", ["sampling.md", "extend.md", "applications.md", "classes.md", "evaluation.md", "sharing.md"]
)
def test_the_page_runs(page: str, tmp_path: Path):
    """Sees a name, a signature or a promise of the page that is no longer so, and one that warns."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL))
    assert code
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

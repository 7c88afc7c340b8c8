"""Reasons why steps are not C++, as they stand after "because": a clause each."""

import ast
from collections.abc import Iterator
from pathlib import Path

from anila.samplers import compiled
from anila.samplers.compiled.graphs import reason

VERBS = {
    "acts", "are", "branches", "broadcasts", "cannot", "changes", "depend", "draws", "gives", "has", "holds", "is",
    "makes", "needs", "picks", "reads", "remembers", "rounds", "takes",
}  # fmt: skip


def reasons() -> Iterator[str]:
    """The text of every refusal in the package, with x for what is filled in."""
    for path in Path(compiled.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                for text in node.exc.args:
                    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
                    yield "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in parts)


def test_every_reason_is_a_clause():
    """Sees "because a norm of order 3": each has a verb, begins as within a sentence and does not end one."""
    found = list(reasons())
    assert len(found) > 30
    assert [
        text for text in found if not set(VERBS) & set(text.split()) or text.endswith(".") or text[:2].istitle()
    ] == []


def test_an_error_without_words_is_named_by_a_clause():
    assert reason(KeyError()) == "tracing raised KeyError"
    assert reason(ValueError("f has moods\nand more")) == "f has moods"
